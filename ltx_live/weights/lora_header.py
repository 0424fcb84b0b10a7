"""What a LoRA file is, found out from its header alone and without torch, whichever trainer wrote it.

Key formats: ComfyUI and official (`diffusion_model.`), PEFT, diffusers, kohya and musubi (reference/model.md 1.8, 6).
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ltx_live.errors import CheckpointError
from ltx_live.weights.diffusers_layout import CONNECTOR_MODULES, TRANSFORMER_MODULES
from ltx_live.weights.header_json import count, read_header
from ltx_live.weights.ic_loras import KnownLora, known_lora

CONNECTORS = ("video_embeddings_connector.", "audio_embeddings_connector.")
FACTOR_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
"""The types that factors may have, as safetensors writes them."""

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
ID_LORA = re.compile(r"(?<![a-z])id[-_ ]?lora", re.IGNORECASE)
SPATIAL_KEYS = ("reference_downscale_factor", "reference_spatial_scale_factor")  # the same number, old and new name
TEMPORAL_KEYS = ("reference_temporal_scale_factor",)
TITLE_KEYS = ("modelspec.title", "ss_output_name", "name")

Kind = Literal["style", "IC", "ID"]
Unmatched = Literal["error", "warn"]


class Targets:
    """The layers that LoRAs can change: `shapes` are (out, in) by module name."""

    def __init__(self, shapes: Mapping[str, tuple[int, int]]):
        self.shapes = shapes
        self._index = {spelling.replace(".", "_"): layer for layer in shapes for spelling in _spellings(layer)}

    def find(self, name: str) -> str | None:
        """The layer that a trainer's name means, whatever prefixes it has."""
        name = name.replace(".", "_")
        while name not in self._index:
            prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), None)
            if prefix is None:
                return None
            name = name.removeprefix(prefix)
        return self._index[name]


@dataclass(frozen=True)
class Matched:
    """The keys of a file for each layer, by their role: "a" (R, in), "b" (out, R), perhaps "alpha"; and the rest."""

    parts: Mapping[str, Mapping[str, str]]
    strangers: tuple[str, ...]  # keys that belong to no layer


@dataclass(frozen=True)
class LoraHeader:
    """A LoRA file of any model; `tensors` are (type, shape) by key.

    The reference factors say how much smaller and slower an IC-LoRA's reference video is than the result (ltx-trainer
    training_strategies/flexible.py); where the metadata say nothing, what is published of the file, else 1.
    """

    path: Path
    metadata: Mapping[str, str]
    tensors: Mapping[str, tuple[str, tuple[int, ...]]]
    reference_downscale_factor: int
    reference_temporal_scale_factor: int

    @property
    def ranks(self) -> tuple[int, ...]:
        """The ranks that occur, ascending."""
        factors = ((FACTOR.fullmatch(key), shape) for key, (_, shape) in self.tensors.items() if shape)
        return tuple(sorted({shape[0] for found, shape in factors if found and ROLES[found["factor"]] == "a"}))

    @property
    def kind(self) -> Kind:
        """What the file is for."""
        return kind_of(self.path, self.metadata)

    @property
    def known(self) -> KnownLora | None:
        """What is published of the file, where it is one of the catalogue."""
        return known_lora(self.path.name)

    def match(self, targets: Targets, unmatched: Unmatched = "error") -> Matched:
        """Find the layers of a model. Raises CheckpointError, one line, for a file of another model or a damaged one.

        For keys that match no layer too, unless `unmatched` is "warn".
        """
        matched = self._sort(targets)
        faults = self._faults(matched.parts, targets.shapes)
        if unmatched == "error":
            faults["matching no layer"] = list(matched.strangers)
        text = "; ".join(f"{fault}: {count(names)}" for fault, names in faults.items() if names)
        if text:
            raise CheckpointError(
                f"{self.path}: LoRA: {text}. The file is damaged or of another model: use another one"
            )
        return matched

    def _sort(self, targets: Targets) -> Matched:
        found, strangers = defaultdict(dict), []
        for key in self.tensors:
            match = FACTOR.fullmatch(key) or ALPHA.fullmatch(key)
            layer = targets.find(match["layer"]) if match else None
            if layer is None:
                strangers.append(key)
            elif (same := found[layer].setdefault(ROLES[match["factor"]], key)) is not key:
                raise CheckpointError(
                    f"{self.path}: LoRA: {same} and {key} are the same part of {layer}; use another file"
                )
        if not found:
            raise CheckpointError(
                f"{self.path}: a LoRA of another model: matching no layer of this one: {count(strangers)}; "
                "use one that was made for it"
            )
        return Matched(dict(found), tuple(strangers))

    def _faults(
        self, found: Mapping[str, Mapping[str, str]], layers: Mapping[str, tuple[int, int]]
    ) -> dict[str, list[str]]:
        """What is wrong with the factors."""
        faults = defaultdict(list)
        for layer, parts in found.items():
            shapes = {part: self.tensors[key][1] for part, key in parts.items()}
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
                if self.tensors[parts[part]][0] not in FACTOR_BYTES:
                    faults[f"of a dtype that is not {', '.join(FACTOR_BYTES)}"].append(parts[part])
        return faults


def read_lora_header(path: Path) -> LoraHeader:
    """Read a header. Raises CheckpointError, one line, for a damaged file, no LoRA, or of a kind not supported."""
    header, metadata = read_header(path)
    for kind, sign in UNSUPPORTED.items():
        if of_kind := [key for key in header if sign.search(key)]:
            raise CheckpointError(
                f"{path}: {kind} is not supported: {count(of_kind)}; use a plain LoRA (lora_A and lora_B, or "
                "lora_down and lora_up)"
            )
    if not any(FACTOR.fullmatch(key) for key in header):
        raise CheckpointError(f"{path}: not a LoRA: no tensor is named ...lora_A, ...lora_down or the like; use a LoRA")
    tensors = {key: _about(path, key, about) for key, about in header.items()}
    known = known_lora(path.name)
    downscale = 1 if known is None else known.reference_downscale_factor
    return LoraHeader(
        path,
        metadata,
        tensors,
        _reference_factor(path, metadata, SPATIAL_KEYS, downscale),
        _reference_factor(path, metadata, TEMPORAL_KEYS, 1),
    )


def ic_lora_sign(path: Path, metadata: Mapping[str, str]) -> str | None:
    """How a file is known to be an IC-LoRA (made to follow a reference video); None where it is none."""
    key = next((key for key in (*SPATIAL_KEYS, *TEMPORAL_KEYS) if key in metadata), None)
    if key is not None:
        return f"{key} in its metadata"
    if IC_LORA.search(path.stem):
        return "by its file name"
    if any(IC_LORA.search(metadata.get(key, "")) for key in TITLE_KEYS):
        return "by its title"
    known = known_lora(path.name)
    return f"published as {known.title}" if known is not None and known.kind == "IC" else None


def kind_of(path: Path, metadata: Mapping[str, str]) -> Kind:
    """Whether a file is an IC-LoRA, an ID-LoRA (made to take over a voice), or changes how things look and sound."""
    if any(ID_LORA.search(text) for text in (path.stem, *(metadata.get(key, "") for key in TITLE_KEYS))):
        return "ID"
    return "style" if ic_lora_sign(path, metadata) is None else "IC"


def _about(path: Path, key: str, about: Mapping[str, Any]) -> tuple[str, tuple[int, ...]]:
    dtype, shape = about["dtype"], tuple(about["shape"])
    start, end = about["data_offsets"]
    if dtype in FACTOR_BYTES and end - start != math.prod(shape) * FACTOR_BYTES[dtype]:
        raise CheckpointError(f"{path}: not a complete safetensors file ({key} has not its size); get it again")
    return dtype, shape


def _reference_factor(path: Path, metadata: Mapping[str, str], names: Iterable[str], default: int) -> int:
    key = next((name for name in names if name in metadata), None)
    if key is None:
        return default
    try:
        factor = float(metadata[key])
    except ValueError:
        factor = math.nan
    if not (factor >= 1 and factor.is_integer()):
        raise CheckpointError(f"{path}: '{key}' in its metadata is '{metadata[key]}', must be a whole number from 1")
    return int(factor)


def _spellings(layer: str) -> Iterator[str]:
    """The names that trainers give to a layer: its own, diffusers', and musubi's of the video connector."""
    diffusers = ".".join(DIFFUSERS_NAMES.get(part, part) for part in layer.split("."))
    for name in (layer, diffusers, layer.removeprefix("video_")):
        yield name
        if name.endswith(".to_out.0"):
            yield name.removesuffix(".0")
