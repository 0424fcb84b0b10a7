"""A model in any layout -> a folder of split files, in float8 or bfloat16, with LoRAs folded in; tensor by tensor.

Dtypes and prefixes are those of the published split set (reference/model.md 7). The files are not called as in that
set: `models verify` knows published files by their names.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ltx_live.errors import CheckpointError, ConfigError
from ltx_live.weights.adapters import merged_weight
from ltx_live.weights.catalogue import GB
from ltx_live.weights.checkpoint import build_transformer, is_always_float32
from ltx_live.weights.download import free_bytes
from ltx_live.weights.files import SPIECE_MODEL, ModelFiles
from ltx_live.weights.fp8 import FLOAT8, dequantise, quantise
from ltx_live.weights.headers import Entry, read_tensors
from ltx_live.weights.lora import Lora, read_lora
from ltx_live.weights.parts import PARTS, Source
from ltx_live.weights.save import Promise, save_promises, tokenizer_tensor

FILES = {  # what `only` chooses from: the networks in each file, with what stands before their names
    "transformer": {"transformer": "model.diffusion_model."},
    "text-projection": {"text_projection": "text_embedding_projection."},
    "text-encoder": {"text_encoder": "model."},
    "video-vae": {"video_vae": ""},
    "audio-vae": {"audio_vae": "audio_vae.", "vocoder": "vocoder."},
}
STEMS = {"text-encoder": "gemma"}  # of file names, where not the key
SECTIONS = {part.field: part.section for part in PARTS if part.needs_config}
FIRST_FLOAT8_BLOCK = 2  # the published files keep the blocks before it in bfloat16
FLOAT8_LAYERS = ("transformer_blocks.", "layers.")  # of the transformer and of Gemma: where float8 weights are
COMFY_QUANT = json.dumps({"format": "float8_e4m3fn"}).encode()  # what ComfyUI knows a float8 layer by
COMPANIONS = (".weight_scale", ".input_scale", ".comfy_quant")  # of a float8 weight
HEADER_BYTES = 4 << 20  # room for the header of a file

Report = Callable[[Path, int, int], None]
"""Called as (file, work done, work in all), in bytes to be read; both are equal once the file is complete."""


@dataclass(frozen=True)
class Recipe:
    """What is made: `only` these of FILES (none: all), `loras` (file, strength) folded into the transformer.

    Keys of theirs that match no layer are an error or, by `lora_unmatched`, a warning.
    """

    dtype: Literal["fp8", "bf16"] = "fp8"
    loras: tuple[tuple[Path, float], ...] = ()
    only: tuple[str, ...] = ()
    lora_unmatched: Literal["error", "warn"] = "error"


@dataclass(frozen=True)
class Planned(Promise):
    """A tensor to be written, and how many bytes of the source are read for it."""

    num_read: int = 0


def convert(files: ModelFiles, out: Path, recipe: Recipe, report: Report = lambda *work: None) -> list[Path]:
    """Write split files into the folder `out`, which is empty or not there; returns them. Stopped, it leaves none.

    Linear weights of Gemma's layers and of the transformer's blocks, the first two excepted, become float8 with a
    scale and ComfyUI's mark (`.comfy_quant`) unless `recipe.dtype` is "bf16". What is float8 already keeps its bits,
    or is dequantised. Everything else is bfloat16, modulation tables float32. Weights that LoRAs change are summed in
    float32 and rounded once. Raises ConfigError for an `out` that is in use, CheckpointError for a LoRA that does not
    fit and for too little space.
    """
    chosen = [title for title in FILES if title in recipe.only or not recipe.only]
    if recipe.loras and "transformer" not in chosen:
        raise ConfigError("a LoRA changes the transformer, which is not among what is converted; leave one of them out")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: is there already and not an empty folder; choose another one")
    adapters = _read_loras(files, recipe)
    plans: dict[Path, list[Planned]] = {}
    for title in chosen:
        tensors = _file_tensors(files, title, recipe.dtype == "fp8", adapters)
        kind = "fp8_scaled" if any(tensor.dtype == FLOAT8 for tensor in tensors) else "bf16"
        stem = STEMS.get(title, title).replace("-", "_")
        plans[out / f"{stem}_{kind}.safetensors"] = tensors
    _check_space(out, plans)
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as undo:
        for title, (path, tensors) in zip(chosen, plans.items(), strict=True):
            undo.callback(path.unlink, missing_ok=True)
            undo.callback(path.with_name(path.name + ".part").unlink, missing_ok=True)
            save_promises(path, _reported(path, tensors, report), _metadata(files, title, adapters))
            total = sum(tensor.num_read for tensor in tensors)
            report(path, total, total)
        undo.pop_all()
    return list(plans)


def _read_loras(files: ModelFiles, recipe: Recipe) -> list[tuple[Lora, float]]:
    if not recipe.loras:
        return []
    network = build_transformer(files.transformer)
    return [
        (read_lora(path, network, recipe.lora_unmatched), strength) for path, strength in recipe.loras if strength != 0
    ]


def _check_space(out: Path, plans: dict[Path, list[Planned]]) -> None:
    needed = sum(HEADER_BYTES + sum(tensor.num_bytes for tensor in tensors) for tensors in plans.values())
    if needed > (free := free_bytes(out)):
        raise CheckpointError(
            f"{out}: {needed / GB:.1f} GB are needed, {free / GB:.1f} GB are free; make room or choose another disk"
        )


def _metadata(files: ModelFiles, title: str, adapters: Sequence[tuple[Lora, float]]) -> dict[str, str]:
    sources = {network: getattr(files, network) for network in FILES[title]}
    config = {SECTIONS[network]: source.config for network, source in sources.items() if network in SECTIONS}
    origins = [f"{source.title} of {source.where.name}" for source in sources.values()]
    if title == "transformer":
        origins += [f"{lora.path.name} at {strength:g}" for lora, strength in adapters]
    made_from = f"{files.name} ({files.layout}): {', '.join(origins)}"
    return ({"config": json.dumps(config)} if config else {}) | {"name": files.name, "made_from": made_from}


def _reported(path: Path, tensors: Sequence[Planned], report: Report) -> Iterator[Planned]:
    """The tensors, each of which reports when it is made how much was done before it."""
    done, total = 0, sum(tensor.num_read for tensor in tensors)

    def make(tensor: Planned) -> Tensor:
        nonlocal done
        report(path, done, total)
        done += tensor.num_read
        return tensor.make()

    for tensor in tensors:
        yield replace(tensor, make=lambda tensor=tensor: make(tensor))


def _file_tensors(
    files: ModelFiles, title: str, to_float8: bool, adapters: Sequence[tuple[Lora, float]]
) -> list[Planned]:
    """Everything in one file."""
    tensors = [_tokenizer(files.tokenizer)] if title == "text-encoder" else []
    for network, prefix in FILES[title].items():
        source = getattr(files, network)
        for name in source.entries:
            if not name.endswith(COMPANIONS):
                stored = StoredTensor(source, name, adapters if network == "transformer" else ())
                is_float8 = to_float8 and (stored.entry.dtype == FLOAT8 or _becomes_float8(network, stored))
                made = _float8(stored) if is_float8 else [_plain(stored)]
                tensors += [replace(tensor, name=prefix + tensor.name) for tensor in made]
    return tensors


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of the source, and the LoRAs that may change it."""

    source: Source
    name: str
    adapters: Sequence[tuple[Lora, float]]

    @property
    def entry(self) -> Entry:
        return self.source.entries[self.name]

    @property
    def layer(self) -> str:
        return self.name.removesuffix(".weight")

    @property
    def is_layer(self) -> bool:
        """Whether it is the matrix of a layer that published files have in float8, the first blocks' included."""
        return self.name.startswith(FLOAT8_LAYERS) and self.name.endswith(".weight") and len(self.entry.shape) == 2

    @property
    def is_merged(self) -> bool:
        """Whether a LoRA changes it."""
        return self.name.endswith(".weight") and any(self.layer in lora.factors for lora, _ in self.adapters)

    def companions(self) -> dict[str, Entry]:
        """What stands beside it where it is float8: scales and ComfyUI's blob, by own name."""
        names = [self.layer + suffix for suffix in COMPANIONS if self.entry.dtype == FLOAT8]
        return {name: self.source.entries[name] for name in names if name in self.source.entries}

    def value(self) -> Tensor:
        """What it stands for: in float32 where it is float8 or a LoRA changes it, else as stored.

        It is read through a mapping of its own, so that what was read does not stay in this process.
        """
        tensors = read_tensors({self.name: self.entry, **self.companions()})
        value = tensors[self.name]
        if value.dtype == FLOAT8:
            value = dequantise(value, tensors[f"{self.layer}.weight_scale"].float().reshape(()), torch.float32)
        elif self.is_merged:
            value = value.to(torch.float32, copy=True)  # never into the mapped file
        return merged_weight(value, self.layer, self.adapters) if self.is_merged else value


def _becomes_float8(network: str, stored: StoredTensor) -> bool:
    """Whether the published FP8 files hold this weight as float8."""
    if network == "transformer":
        return stored.is_layer and int(stored.name.split(".")[1]) >= FIRST_FLOAT8_BLOCK
    return network == "text_encoder" and stored.is_layer


def _float8(stored: StoredTensor) -> list[Planned]:
    """Weight and scale: the source's bits, or both new where it has others or a LoRA changes it; and the mark."""
    is_kept = stored.entry.dtype == FLOAT8 and not stored.is_merged
    made = [_copy(stored.name, stored.entry)] if is_kept else _quantised(stored)
    beside = [_copy(name, entry) for name, entry in stored.companions().items()]
    if stored.is_layer:
        mark = torch.tensor(list(COMFY_QUANT), dtype=torch.uint8)
        beside.append(Planned(f"{stored.layer}.comfy_quant", mark.dtype, tuple(mark.shape), lambda: mark))
    tensors: dict[str, Planned] = {}
    for tensor in (*made, *beside):
        tensors.setdefault(tensor.name, tensor)  # what is made new goes before what stands beside the old
    return list(tensors.values())


def _quantised(stored: StoredTensor) -> list[Planned]:
    """Weight and scale, made together: the scale waits here from the weight's turn to its own."""
    scales: list[Tensor] = []

    def make_weight() -> Tensor:
        weight, scale = quantise(stored.value())
        scales.append(scale)
        return weight

    return [
        Planned(stored.name, FLOAT8, stored.entry.shape, make_weight, stored.entry.num_bytes),
        Planned(f"{stored.layer}.weight_scale", torch.float32, (), scales.pop),
    ]


def _plain(stored: StoredTensor) -> Planned:
    dtype = torch.float32 if is_always_float32(stored.name) else torch.bfloat16
    return Planned(stored.name, dtype, stored.entry.shape, lambda: stored.value().to(dtype), stored.entry.num_bytes)


def _copy(name: str, entry: Entry) -> Planned:
    return Planned(name, entry.dtype, entry.shape, lambda: read_tensors({name: entry})[name], entry.num_bytes)


def _tokenizer(where: Entry | Path) -> Planned:
    if isinstance(where, Entry):
        return _copy(SPIECE_MODEL, where)
    tensor = tokenizer_tensor(where.read_bytes())
    return Planned(SPIECE_MODEL, tensor.dtype, tuple(tensor.shape), lambda: tensor, tensor.nbytes)
