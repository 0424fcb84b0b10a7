"""LoRA files -> low-rank factors by the transformer's own module names, whichever trainer wrote the file."""

import json
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from ltx_live.errors import CheckpointError
from ltx_live.weights.catalogue import size
from ltx_live.weights.fp8 import FP8Linear
from ltx_live.weights.header_json import count
from ltx_live.weights.headers import open_checkpoint
from ltx_live.weights.ic_loras import known_lora
from ltx_live.weights.lora_header import (
    CONNECTORS,
    FACTOR,
    TITLE_KEYS,
    Targets,
    Unmatched,
    ic_lora_sign,
    read_lora_header,
)

logger = logging.getLogger(__name__)

TRIGGER_KEYS = ("modelspec.trigger_phrase", "trigger_phrase", "trigger_word", "trigger_words", "ss_trigger_words")
BASE_MODEL_KEYS = ("model_version", "ss_base_model_version", "modelspec.architecture", "base_model")


@dataclass(frozen=True)
class Factors:
    """What a LoRA adds to one layer's weight at strength 1: scale * b @ a."""

    a: Tensor  # (R, in), in the file's dtype
    b: Tensor  # (out, R)
    scale: float  # alpha / rank, 1 without alpha

    @property
    def rank(self) -> int:
        return len(self.a)


@dataclass(frozen=True)
class Lora:
    """A LoRA file; `factors` by the names of Linear layers in Transformer, on the CPU as views of the file.

    `unmatched` are the file's keys that belong to no layer. The reference factors say how much smaller and slower an
    IC-LoRA's reference video is than the result (ltx-trainer training_strategies/flexible.py; 1 where not written).
    """

    path: Path
    factors: Mapping[str, Factors]
    metadata: Mapping[str, str]
    unmatched: tuple[str, ...]
    reference_downscale_factor: int
    reference_temporal_scale_factor: int

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def num_bytes(self) -> int:
        """Size of all factors as stored."""
        return sum(tensor.nbytes for factors in self.factors.values() for tensor in (factors.a, factors.b))

    @property
    def num_values(self) -> int:
        """Numbers in all factors."""
        return sum(tensor.numel() for factors in self.factors.values() for tensor in (factors.a, factors.b))

    @property
    def touches_text(self) -> bool:
        """True where connectors are changed too: contexts made before a change of strength are then out of date."""
        return any(name.startswith(CONNECTORS) for name in self.factors)

    @property
    def ic_lora_sign(self) -> str | None:
        """How the file is known to be an IC-LoRA (made to follow a reference video); None where it is none."""
        return ic_lora_sign(self.path, self.metadata)

    @property
    def is_ic_lora(self) -> bool:
        return self.ic_lora_sign is not None


def read_lora(path: Path, network: nn.Module, unmatched: Unmatched = "error") -> Lora:
    """Read a LoRA for `network` (a Transformer, on any device, meta too); see `read_factors`."""
    return read_factors(path, Targets(linear_shapes(network)), unmatched)


def read_factors(path: Path, targets: Targets, unmatched: Unmatched = "error") -> Lora:
    """Read a LoRA for the network that has these layers.

    Raises CheckpointError, one line, for a file that is no LoRA, of another model, damaged or of a kind not supported;
    for keys that match no layer too, unless `unmatched` is "warn".
    """
    header = read_lora_header(path)
    matched = header.match(targets, unmatched)
    alphas = _alphas_from_metadata(path, header.metadata)
    factors = {}
    with open_checkpoint(path) as file:
        for layer, parts in matched.parts.items():
            a, b = file.get_tensor(parts["a"]), file.get_tensor(parts["b"])
            if "alpha" in parts:
                scale = float(file.get_tensor(parts["alpha"])) / len(a)
            else:
                scale = alphas.scale(parts["a"], len(a))
            factors[layer] = Factors(a, b, scale)
    if matched.strangers:
        logger.warning("%s: matching no layer and not used: %s", path, count(matched.strangers))
    return Lora(
        path,
        factors,
        header.metadata,
        matched.strangers,
        header.reference_downscale_factor,
        header.reference_temporal_scale_factor,
    )


def linear_shapes(network: nn.Module) -> dict[str, tuple[int, int]]:
    """(out, in) of the layers that a LoRA can change, by module name."""
    return {
        name: (module.out_features, module.in_features)
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | FP8Linear)
    }


def describe(lora: Lora) -> list[tuple[str, str]]:
    """What the file is, as rows of (label, text)."""
    dtypes = sorted({str(each.a.dtype).removeprefix("torch.") for each in lora.factors.values()})
    scales = sorted({each.scale for each in lora.factors.values()})
    alphas = [each.scale * each.rank for each in lora.factors.values()]
    groups = Counter(_group(layer) for layer in lora.factors)
    rows = [
        ("file", f"{lora.path}, {size(lora.num_bytes)}, {' and '.join(dtypes)}"),
        ("rank", _range([each.rank for each in lora.factors.values()])),
        ("alpha", "none, or equal to the rank" if scales == [1.0] else f"{_range(alphas)} (times {_range(scales)})"),
        ("targets", ", ".join(f"{group} {num}" for group, num in sorted(groups.items()))),
        ("matched", f"{len(lora.factors)} layers"),
        ("unmatched", count(lora.unmatched) if lora.unmatched else "none"),
        ("IC-LoRA", f"yes ({lora.ic_lora_sign})" if lora.is_ic_lora else "no"),
    ]
    if lora.is_ic_lora:
        rows.append(("reference downscale", f"{lora.reference_downscale_factor}"))
        rows.append(("reference time scale", f"{lora.reference_temporal_scale_factor}"))
    known = known_lora(lora.path.name)
    if known is not None:
        rows.append(("published as", f"{known.title}, {known.page}: {known.purpose}"))
    if lora.touches_text:
        rows.append(("text", "changes the text connectors: they run anew for each prompt when its strength changes"))
    for label, keys in (("title", TITLE_KEYS), ("trigger", TRIGGER_KEYS), ("trained on", BASE_MODEL_KEYS)):
        text = next((lora.metadata[key] for key in keys if lora.metadata.get(key)), None)
        if text is not None:
            rows.append((label, " ".join(text.split())))
    return rows


@dataclass(frozen=True)
class _Alphas:
    """Alphas that diffusers writes into the metadata instead of into tensors (PEFT's LoraConfig)."""

    alpha: float | None
    pattern: Mapping[str, float]
    rank_stabilised: bool  # alpha / sqrt(rank), arXiv 2312.03732

    def scale(self, key: str, rank: int) -> float:
        layer = FACTOR.fullmatch(key)["layer"]
        alpha = next((value for name, value in self.pattern.items() if f".{layer}".endswith(f".{name}")), self.alpha)
        return 1.0 if alpha is None else alpha / (math.sqrt(rank) if self.rank_stabilised else rank)


def _alphas_from_metadata(path: Path, metadata: Mapping[str, str]) -> _Alphas:
    """Read `lora_adapter_metadata` (diffusers loaders/lora_base.py), whose keys may begin with `transformer.`."""
    try:
        config = json.loads(metadata.get("lora_adapter_metadata", "{}"))
        config = {key.removeprefix("transformer."): value for key, value in config.items()}
        alpha, pattern = config.get("lora_alpha"), config.get("alpha_pattern") or {}
        return _Alphas(
            None if alpha is None else float(alpha),
            {name: float(value) for name, value in pattern.items()},
            bool(config.get("use_rslora", False)),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: 'lora_adapter_metadata' is damaged ({error})") from error


def _group(layer: str) -> str:
    """What part of the network a layer belongs to, as listed: attn1, audio_ff, adaln, ..."""
    first, *rest = layer.split(".")
    if first == "transformer_blocks":
        return rest[1]
    return "adaln" if "adaln" in first else first


def _range(numbers: Sequence[float]) -> str:
    lowest, highest = min(numbers), max(numbers)
    return f"{lowest:g}" if lowest == highest else f"{lowest:g} to {highest:g}"
