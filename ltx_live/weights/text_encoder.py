"""The text encoder: Gemma 3 without its head, and the SentencePiece tokenizer that its file carries (model.md 2)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from sentencepiece import SentencePieceProcessor
from torch import Tensor
from transformers import Gemma3TextConfig, Gemma3TextModel

from ltx_live.errors import CheckpointError
from ltx_live.weights.checkpoint import Storage, build_on_meta, load_network, load_tensors
from ltx_live.weights.files import Source
from ltx_live.weights.headers import Entry, read_tensors
from ltx_live.weights.known import GEMMA_3_12B
from ltx_live.weights.transfer import as_bytes

EMBEDDING = "embed_tokens."
COMPUTED_SO = {"use_cache": False, "attn_implementation": "sdpa"}


def gemma_config(section: Mapping[str, Any]) -> Gemma3TextConfig:
    """Configuration of Gemma from a section with exactly the keys of GEMMA_3_12B, or from Hugging Face's `text_config`.

    Raises ValueError that names keys that are missing, unknown or unusable.
    """
    try:
        if section.get("model_type") == "gemma3_text":
            return Gemma3TextConfig(**dict(section) | COMPUTED_SO)
        return _from_own_keys(section)
    except StrictDataclassError as error:
        raise ValueError(f"the configuration of Gemma cannot be used ({' '.join(str(error).split())})") from error


def _from_own_keys(section: Mapping[str, Any]) -> Gemma3TextConfig:
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
        **COMPUTED_SO,
    )


def build_gemma(section: Mapping[str, Any]) -> Gemma3TextModel:
    """Gemma without its head, from a section as in `gemma_config`."""
    return Gemma3TextModel(gemma_config(section))


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
        ids = torch.tensor([self.tokens(prompt)])  # (1, S)
        embedded = self.gemma.embed_tokens(ids).to(self.gemma.norm.weight.device)  # (1, S, D)
        output = self.gemma(inputs_embeds=embedded, output_hidden_states=True)
        states = (*output.hidden_states[:-1], output.last_hidden_state)  # L of (1, S, D)
        return torch.stack(states, dim=-1)[0]  # (S, D, L)


def build_text_encoder(source: Source, tokenizer: Entry | Path) -> tuple[Gemma3TextModel, SentencePieceProcessor]:
    """Gemma on the meta device, and its tokenizer; CheckpointError where one of them is damaged or they do not fit."""
    words = read_tokenizer(tokenizer)
    gemma = build_on_meta(lambda: build_gemma(source.config), source.label)
    if words.vocab_size() > gemma.config.vocab_size:
        sizes = f"{words.vocab_size()} tokens, the network has {gemma.config.vocab_size}"
        raise CheckpointError(f"{source.label}: the tokenizer has {sizes}; they do not belong together")
    return gemma, words


def load_text_encoder(
    source: Source,
    tokenizer: Entry | Path,
    text_length: int,
    storage: Storage | None = None,
    on_host: tuple[str, ...] = (),
) -> TextEncoder:
    """Gemma and its tokenizer; the table of embeddings, of which a prompt needs a few rows, stays on the CPU.

    So do tensors whose names begin with one of `on_host`. Raises CheckpointError as `load_network` does, and for a
    tokenizer that is damaged or not Gemma's.
    """
    storage = storage or Storage()
    gemma, words = build_text_encoder(source, tokenizer)
    _compute_buffers(gemma, storage.device)
    gemma = load_network(gemma, load_tensors(source, storage, (EMBEDDING, *on_host)), source.label, storage)
    return TextEncoder(gemma, words, text_length)


def read_tokenizer(where: Entry | Path) -> SentencePieceProcessor:
    """The tokenizer in a tensor or a file; CheckpointError where it is none or lacks a begin-of-sequence token."""
    if isinstance(where, Entry):
        title = f"{where.path}: tensor {where.name}"
        model_proto = as_bytes(read_tensors({where.name: where})[where.name]).numpy().tobytes()
    else:
        title, model_proto = str(where), _read(where)
    try:
        tokenizer = SentencePieceProcessor(model_proto=model_proto)
    except RuntimeError as error:
        raise CheckpointError(f"{title}: not a SentencePiece model; the file is damaged, get it again") from error
    if tokenizer.bos_id() < 0:
        raise CheckpointError(f"{title}: the tokenizer has no begin-of-sequence token; use Gemma 3's")
    return tokenizer


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error


def _compute_buffers(gemma: Gemma3TextModel, device: torch.device | str) -> None:
    """Fill what no file holds: the rotary frequencies of both kinds of layers, and the factor of the embedding."""
    gemma.rotary_emb = type(gemma.rotary_emb)(gemma.config).to(device)
    gemma.embed_tokens.embed_scale = torch.tensor(gemma.config.hidden_size**0.5)
