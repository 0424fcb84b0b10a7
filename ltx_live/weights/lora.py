"""LoRA files -> low-rank factors by the transformer's own module names, whichever trainer wrote the file.

Key formats: ComfyUI and official (`diffusion_model.`), PEFT, diffusers, kohya and musubi (reference/model.md 1.8, 6).
"""

import json
import logging
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from ltx_live.errors import CheckpointError
from ltx_live.weights.catalogue import size
from ltx_live.weights.diffusers_layout import CONNECTOR_MODULES, TRANSFORMER_MODULES
from ltx_live.weights.fp8 import FP8Linear
from ltx_live.weights.headers import count, open_checkpoint

logger = logging.getLogger(__name__)

CONNECTORS = ("video_embeddings_connector.", "audio_embeddings_connector.")
FACTOR_DTYPES = ("F32", "F16", "BF16")  # as safetensors writes them

FACTOR = re.compile(r"(?P<layer>.+)\.lora[._](?P<factor>A|B|down|up)(?:\.\w+)?(?:\.weight)?")
ALPHA = re.compile(r"(?P<layer>.+)\.(?P<factor>alpha)")
ROLES = {"A": "a", "down": "a", "B": "b", "up": "b", "alpha": "alpha"}

UNSUPPORTED = {  # what is not a plain LoRA, by the keys that give it away
    "DoRA": re.compile(r"\.(dora_scale|lora_magnitude_vector)\b"),
    "LoKr": re.compile(r"\.lokr_"),
    "LoHa": re.compile(r"\.hada_"),
    "OFT": re.compile(r"\.oft_"),
    "a full difference (.diff)": re.compile(r"\.(diff|diff_b|set_weight)$"),
    "a Tucker factor (.lora_mid)": re.compile(r"\.lora_mid\b"),
    "a bias in a LoRA": re.compile(r"\.lora[._](B|up)(\.\w+)?\.bias$"),
}

# Module names are compared with "_" for every ".", as kohya writes them: one index serves all formats.
PREFIXES = ("lora_unet_", "lora_transformer_", "lycoris_", "base_model_model_", "diffusion_model_", "model_")
PREFIXES += ("transformer_", "connectors_")
DIFFUSERS_NAMES = {ours: theirs for theirs, ours in (TRANSFORMER_MODULES | CONNECTOR_MODULES).items()}

IC_LORA = re.compile(r"(?<![a-z])ic[-_ ]?lora", re.IGNORECASE)
SPATIAL_KEYS = ("reference_downscale_factor", "reference_spatial_scale_factor")  # the same number, old and new name
TEMPORAL_KEYS = ("reference_temporal_scale_factor",)
TITLE_KEYS = ("modelspec.title", "ss_output_name", "name")
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
        key = next((key for key in (*SPATIAL_KEYS, *TEMPORAL_KEYS) if key in self.metadata), None)
        if key is not None:
            return f"{key} in its metadata"
        if IC_LORA.search(self.name):
            return "by its file name"
        if any(IC_LORA.search(self.metadata.get(key, "")) for key in TITLE_KEYS):
            return "by its title"
        return None

    @property
    def is_ic_lora(self) -> bool:
        return self.ic_lora_sign is not None


def read_lora(path: Path, network: nn.Module, unmatched: Literal["error", "warn"] = "error") -> Lora:
    """Read a LoRA for `network` (a Transformer, on any device, meta too).

    Raises CheckpointError, one line, for a file that is no LoRA, of another model, damaged or of a kind not supported;
    for keys that match no layer too, unless `unmatched` is "warn".
    """
    layers = linear_shapes(network)
    with open_checkpoint(path) as file:
        metadata = file.metadata() or {}
        keys = list(file.keys())
        found, strangers = _sort(path, keys, layers)
        faults = _faults(file, found, layers) | ({"matching no layer": strangers} if unmatched == "error" else {})
        text = "; ".join(f"{fault}: {count(names)}" for fault, names in faults.items() if names)
        if text:
            raise CheckpointError(f"{path}: LoRA: {text}. The file is damaged or of another model: use another one")
        alphas = _alphas_from_metadata(path, metadata)
        factors = {}
        for layer, parts in found.items():
            a, b = file.get_tensor(parts["a"]), file.get_tensor(parts["b"])
            if "alpha" in parts:
                scale = float(file.get_tensor(parts["alpha"])) / len(a)
            else:
                scale = alphas.scale(parts["a"], len(a))
            factors[layer] = Factors(a, b, scale)
    if strangers:
        logger.warning("%s: matching no layer and not used: %s", path, count(strangers))
    spatial, temporal = (_reference_factor(path, metadata, names) for names in (SPATIAL_KEYS, TEMPORAL_KEYS))
    return Lora(path, factors, metadata, tuple(strangers), spatial, temporal)


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
    if lora.touches_text:
        rows.append(("text", "changes the text connectors: they run anew for each prompt when its strength changes"))
    for label, keys in (("title", TITLE_KEYS), ("trigger", TRIGGER_KEYS), ("trained on", BASE_MODEL_KEYS)):
        text = next((lora.metadata[key] for key in keys if lora.metadata.get(key)), None)
        if text is not None:
            rows.append((label, " ".join(text.split())))
    return rows


def _sort(path: Path, keys: list[str], layers: Iterable[str]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Keys of the file -> {layer: {"a", "b" or "alpha": key}}, and the keys that belong to no layer."""
    for kind, sign in UNSUPPORTED.items():
        if of_kind := [key for key in keys if sign.search(key)]:
            raise CheckpointError(
                f"{path}: {kind} is not supported: {count(of_kind)}; use a plain LoRA (lora_A and lora_B, or "
                "lora_down and lora_up)"
            )
    if not any(FACTOR.fullmatch(key) for key in keys):
        raise CheckpointError(f"{path}: not a LoRA: no tensor is named ...lora_A, ...lora_down or the like; use a LoRA")
    index = {spelling.replace(".", "_"): layer for layer in layers for spelling in _spellings(layer)}
    found, strangers = defaultdict(dict), []
    for key in keys:
        match = FACTOR.fullmatch(key) or ALPHA.fullmatch(key)
        layer = _resolve(match["layer"], index) if match else None
        if layer is None:
            strangers.append(key)
        elif (same := found[layer].setdefault(ROLES[match["factor"]], key)) is not key:
            raise CheckpointError(f"{path}: LoRA: {same} and {key} are the same part of {layer}; use another file")
    if not found:
        raise CheckpointError(
            f"{path}: a LoRA of another model: matching no layer of this one: {count(strangers)}; "
            "use one that was made for it"
        )
    return dict(found), strangers


def _spellings(layer: str) -> Iterator[str]:
    """The names that trainers give to a layer: its own, diffusers', and musubi's of the video connector."""
    diffusers = ".".join(DIFFUSERS_NAMES.get(part, part) for part in layer.split("."))
    for name in (layer, diffusers, layer.removeprefix("video_")):
        yield name
        if name.endswith(".to_out.0"):
            yield name.removesuffix(".0")


def _resolve(name: str, index: Mapping[str, str]) -> str | None:
    """The layer that a trainer's name means, whatever prefixes it has."""
    name = name.replace(".", "_")
    while name not in index:
        prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), None)
        if prefix is None:
            return None
        name = name.removeprefix(prefix)
    return index[name]


def _faults(
    file: Any, found: Mapping[str, Mapping[str, str]], layers: Mapping[str, tuple[int, int]]
) -> dict[str, list[str]]:
    """What is wrong with the factors, judged by the header alone."""
    faults = defaultdict(list)
    for layer, parts in found.items():
        slices = {part: file.get_slice(key) for part, key in parts.items()}
        shapes = {part: tuple(each.get_shape()) for part, each in slices.items()}
        num_out, num_in = layers[layer]
        if not {"a", "b"} <= parts.keys():
            faults["without partner"] += parts.values()
            continue
        a, b = shapes["a"], shapes["b"]
        if len(a) > 2 or len(b) > 2:
            faults["of a convolution"] += [f"{parts['a']} is {a}", f"{parts['b']} is {b}"]
        elif len(a) != 2 or len(b) != 2 or (b[0], a[1]) != (num_out, num_in) or a[0] != b[1] or a[0] == 0:
            faults["misshapen"].append(f"{parts['a']} is {a}, must be (rank, {num_in})")
            faults["misshapen"].append(f"{parts['b']} is {b}, must be ({num_out}, rank)")
        if math.prod(shapes.get("alpha", ())) != 1:
            faults["misshapen"].append(f"{parts['alpha']} is {shapes['alpha']}, must be one number")
        for part in ("a", "b"):
            if slices[part].get_dtype() not in FACTOR_DTYPES:
                faults[f"of a dtype that is not {', '.join(FACTOR_DTYPES)}"].append(parts[part])
    return faults


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


def _reference_factor(path: Path, metadata: Mapping[str, str], names: Iterable[str]) -> int:
    key = next((name for name in names if name in metadata), None)
    if key is None:
        return 1
    try:
        factor = float(metadata[key])
    except ValueError:
        factor = math.nan
    if not (factor >= 1 and factor.is_integer()):
        raise CheckpointError(f"{path}: '{key}' in its metadata is '{metadata[key]}', must be a whole number from 1")
    return int(factor)


def _group(layer: str) -> str:
    """What part of the network a layer belongs to, as listed: attn1, audio_ff, adaln, ..."""
    first, *rest = layer.split(".")
    if first == "transformer_blocks":
        return rest[1]
    return "adaln" if "adaln" in first else first


def _range(numbers: Sequence[float]) -> str:
    lowest, highest = min(numbers), max(numbers)
    return f"{lowest:g}" if lowest == highest else f"{lowest:g} to {highest:g}"
