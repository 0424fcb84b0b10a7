"""Trains the text encoder: a small SentencePiece vocabulary, then Gemma 3 layers that learn to read prompts."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import sentencepiece
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Gemma3TextModel

from ltx_live.pocket import configs
from ltx_live.pocket.description import MODIFIERS, PALETTES, SCENES, SOUNDS, SPEEDS, sample_descriptions
from ltx_live.pocket.phrases import corpus, understand, write_prompt
from ltx_live.pocket.train.loop import Batch, Loop, Settings
from ltx_live.pocket.train.pools import HELD_OUT
from ltx_live.weights.text_encoder import gemma_config

MAX_TOKENS = 48
NUM_TEMPI = 13  # one class for every 10 bpm
_FIELDS = {
    "scene": len(SCENES), "palette": len(PALETTES), "speed": len(SPEEDS), "sound": len(SOUNDS), "tempo": NUM_TEMPI
}  # fmt: skip
_NOT_SAID = -100  # what cross-entropy ignores


def tokenizer(folder: Path) -> sentencepiece.SentencePieceProcessor:
    """The vocabulary of `folder`, trained first if it is not there."""
    path = folder / "tokenizer.model"
    if not path.exists():
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus(40_000, torch.Generator().manual_seed(0))),
            model_writer=model,
            vocab_size=configs.VOCABULARY_SIZE,
            model_type="unigram",
            normalization_rule_name="nmt_nfkc_cf",
            byte_fallback=True,
            pad_id=0,
            eos_id=1,
            bos_id=2,
            unk_id=3,
            minloglevel=2,
        )
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())


def tokenize(words: sentencepiece.SentencePieceProcessor, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Prompts -> token numbers (B, MAX_TOKENS) padded behind, and how many are real (B,)."""
    rows = [[words.bos_id(), *words.encode(prompt.strip())][:MAX_TOKENS] for prompt in prompts]
    tokens = torch.zeros(len(rows), MAX_TOKENS, dtype=torch.long)
    for row, numbers in zip(tokens, rows, strict=True):
        row[: len(numbers)] = torch.tensor(numbers)
    return tokens, torch.tensor([len(numbers) for numbers in rows])


class Reader(nn.Module):
    """The text encoder with one read-out per field of a description; the read-outs are only for training."""

    def __init__(self):
        super().__init__()
        self.model = Gemma3TextModel(gemma_config(configs.TEXT_ENCODER))
        width = configs.TEXT_ENCODER["hidden_size"]
        self.heads = nn.ModuleDict({name: nn.Linear(width, count) for name, count in _FIELDS.items()})
        self.heads["modifiers"] = nn.Linear(width, len(MODIFIERS))

    def hidden_states(self, tokens: Tensor) -> Tensor:
        """Token numbers (B, S) -> all hidden states (B, S, D, L)."""
        return torch.stack(self.model(input_ids=tokens, output_hidden_states=True).hidden_states, dim=-1)


def loss(reader: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Cross-entropy of every field that the prompt names, read from the mean of the last hidden state."""
    hidden = reader.model(input_ids=batch["tokens"]).last_hidden_state.float()
    real = (torch.arange(hidden.shape[1], device=hidden.device) < batch["num_tokens"][:, None])[..., None]
    mean = (hidden * real).sum(1) / real.sum(1)
    losses, right = [], []
    for name in _FIELDS:
        scores, wanted = reader.heads[name](mean), batch[name]
        losses.append(F.cross_entropy(scores, wanted, ignore_index=_NOT_SAID))
        said = wanted != _NOT_SAID
        right.append(((scores.argmax(1) == wanted) & said).sum() / said.sum().clamp(min=1))
    modifiers = F.binary_cross_entropy_with_logits(reader.heads["modifiers"](mean), batch["modifiers"])
    return {"loss": torch.stack(losses).sum() + modifiers, "right": torch.stack(right).mean(), "modifier": modifiers}


def train(settings: Settings) -> dict[str, float]:
    """Train or go on training on `pool_size` prompts."""
    torch.manual_seed(settings.seed)
    words = tokenizer(settings.folder)
    pool = prompt_pool(words, settings.pool_size, settings.seed, settings.device)
    loop = Loop("text", Reader().to(settings.device), settings, loss, graphs=False)

    def next_batch() -> Batch:
        rows = torch.randint(settings.pool_size, (settings.batch_size,), device=settings.device)
        return {name: column[rows] for name, column in pool.items()}

    loop.run(next_batch)
    with torch.no_grad():
        test = prompt_pool(words, min(512, settings.pool_size), settings.seed + HELD_OUT, settings.device)
        right = loss(loop.use_averages(), test)["right"].item()
    print(f"[text] held-out fields right: {100 * right:.1f} %", flush=True)
    return {"right": right}


def prompt_pool(words: sentencepiece.SentencePieceProcessor, count: int, seed: int, device: str) -> Batch:
    """Random prompts as tokens, with what each says as classes."""
    generator = torch.Generator().manual_seed(seed)
    prompts = [write_prompt(description, generator) for description in sample_descriptions(count, generator)]
    said = [understand(prompt) for prompt in prompts]
    tokens, num_tokens = tokenize(words, prompts)
    names = {"scene": SCENES, "palette": PALETTES, "speed": SPEEDS, "sound": SOUNDS}
    pool = {"tokens": tokens, "num_tokens": num_tokens}
    for field, options in names.items():
        values = [getattr(one, field) for one in said]
        pool[field] = torch.tensor([_NOT_SAID if v is None else options.index(v) for v in values])
    pool["tempo"] = torch.tensor([_NOT_SAID if s.tempo_bpm is None else (s.tempo_bpm - 60) // 10 for s in said])
    pool["modifiers"] = torch.tensor([[float(m in s.modifiers) for m in MODIFIERS] for s in said])
    return {name: column.to(device) for name, column in pool.items()}
