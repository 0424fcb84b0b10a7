"""The text encoder: Gemma 3 without its head, and the SentencePiece tokenizer that its file carries (model.md 2)."""

from pathlib import Path
from typing import Any

import torch
from sentencepiece import SentencePieceProcessor
from torch import Tensor
from transformers import Gemma3TextConfig, Gemma3TextModel

from ltx_live.errors import CheckpointError
from ltx_live.weights.checkpoint import (
    TEXT_ENCODER,
    Storage,
    build_on_meta,
    load_network,
    load_state,
    open_checkpoint,
    read_config,
    read_metadata,
    read_shapes,
)

# Section `text_encoder` of the configuration, with the names and values of Gemma 3 12B's own (google/gemma-3-12b-it).
# Published files of that model carry no configuration.
GEMMA_3_12B = {
    "vocab_size": 262208,
    "hidden_size": 3840,
    "intermediate_size": 15360,
    "num_hidden_layers": 48,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-6,
    "sliding_window": 1024,
    "sliding_window_pattern": 6,  # every 6th layer attends to everything
    "rope_theta": 1e6,  # of those layers, whose positions are divided by rope_scaling's factor
    "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    "rope_local_base_freq": 1e4,  # of the others
    "max_position_embeddings": 131072,
}


def gemma_config(section: dict[str, Any]) -> Gemma3TextConfig:
    """Configuration of Gemma from a section with exactly the keys of GEMMA_3_12B; ValueError names what differs."""
    differing = section.keys() ^ GEMMA_3_12B.keys()
    if differing:
        raise ValueError(f"the configuration of Gemma lacks or does not know {', '.join(sorted(differing))}")
    sizes = dict(section)
    pattern = sizes.pop("sliding_window_pattern")
    full = {"rope_theta": float(sizes.pop("rope_theta")), **sizes.pop("rope_scaling")}
    sliding = {"rope_theta": float(sizes.pop("rope_local_base_freq")), "rope_type": "default"}
    kinds = (
        "full_attention" if (i + 1) % pattern == 0 else "sliding_attention" for i in range(sizes["num_hidden_layers"])
    )
    return Gemma3TextConfig(
        **sizes,
        layer_types=list(kinds),
        rope_parameters={"full_attention": full, "sliding_attention": sliding},
        use_cache=False,
        attn_implementation="sdpa",
    )


class TextEncoder:
    """Prompt -> hidden states of all layers. `text_length` is the most tokens a prompt may have, the first included."""

    def __init__(self, gemma: Gemma3TextModel, tokenizer: SentencePieceProcessor, text_length: int):
        self.gemma = gemma
        self.tokenizer = tokenizer
        self.text_length = text_length

    def tokens(self, prompt: str) -> list[int]:
        """Token ids of the stripped prompt: begin-of-sequence first, no end, no padding, cut at `text_length`."""
        return [self.tokenizer.bos_id(), *self.tokenizer.encode(prompt.strip())][: self.text_length]

    @torch.no_grad()
    def encode(self, prompt: str) -> Tensor:
        """Hidden states (S, D, L) of the S tokens: scaled embedding, each layer's output, the last after the norm."""
        ids = torch.tensor([self.tokens(prompt)], device=self.gemma.embed_tokens.weight.device)  # (1, S)
        output = self.gemma(input_ids=ids, output_hidden_states=True)
        states = (*output.hidden_states[:-1], output.last_hidden_state)  # L of (1, S, D)
        return torch.stack(states, dim=-1)[0]  # (S, D, L)


def load_text_encoder(path: Path, text_length: int, storage: Storage | None = None) -> TextEncoder:
    """Gemma and its tokenizer from a split file; CheckpointError as in `load_network`, or for a broken tokenizer."""
    storage = storage or Storage()
    where = f"{path}: {TEXT_ENCODER.title}"
    section = _read_section(path)
    tokenizer = _read_tokenizer(path)
    gemma = build_on_meta(lambda: Gemma3TextModel(gemma_config(section)), where)
    if tokenizer.vocab_size() > gemma.config.vocab_size:
        sizes = f"{tokenizer.vocab_size()} tokens, the network has {gemma.config.vocab_size}"
        raise CheckpointError(f"{where}: the tokenizer (spiece_model) has {sizes}; they do not belong together")
    _compute_buffers(gemma, storage.device)
    gemma = load_network(gemma, load_state(path, TEXT_ENCODER, storage.device), where, storage)
    return TextEncoder(gemma, tokenizer, text_length)


def _compute_buffers(gemma: Gemma3TextModel, device: torch.device | str) -> None:
    """Fill what no file holds: the rotary frequencies of both kinds of layers, and the factor of the embedding."""
    gemma.rotary_emb = type(gemma.rotary_emb)(gemma.config).to(device)
    gemma.embed_tokens.embed_scale = torch.tensor(gemma.config.hidden_size**0.5, device=device)


def _read_section(path: Path) -> dict[str, Any]:
    if "config" in read_metadata(path):
        config = read_config(path)
        if TEXT_ENCODER.section not in config:
            raise CheckpointError(f"{path}: its configuration has no section '{TEXT_ENCODER.section}'")
        return config[TEXT_ENCODER.section]
    embedding = (GEMMA_3_12B["vocab_size"], GEMMA_3_12B["hidden_size"])
    if read_shapes(path).get("model.embed_tokens.weight") == embedding:
        return GEMMA_3_12B
    return read_config(path)  # raises: only the 12B model is known without a configuration


def _read_tokenizer(path: Path) -> SentencePieceProcessor:
    with open_checkpoint(path) as file:
        if "spiece_model" not in file.keys():  # noqa: SIM118 (not a dict)
            raise CheckpointError(f"{path}: tensor spiece_model (the tokenizer) is missing; use a file that has it")
        model_proto = file.get_tensor("spiece_model").numpy().tobytes()
    try:
        tokenizer = SentencePieceProcessor(model_proto=model_proto)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: tensor spiece_model is not a SentencePiece model; the file is damaged"
        ) from error
    if tokenizer.bos_id() < 0:
        raise CheckpointError(f"{path}: the tokenizer (spiece_model) has no begin-of-sequence token")
    return tokenizer
