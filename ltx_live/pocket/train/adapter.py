"""Trains a LoRA beside the exported transformer, which stays as it is; the tasks are style, structure and voice."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from ltx_live.model.av import AV
from ltx_live.model.latents import (
    AUDIO_LATENTS_PER_SECOND,
    VideoGeometry,
    audio_end_s,
    audio_positions,
    reference_video_positions,
)
from ltx_live.pocket import configs
from ltx_live.pocket.looks import GUIDE_FACTOR, GUIDE_SIZE
from ltx_live.pocket.train.loop import Batch, Loop, Settings
from ltx_live.pocket.train.studio import Studio
from ltx_live.pocket.train.takes import Window
from ltx_live.pocket.train.transformer import KINDS, Sigmas, masked, positions_of, velocity_error
from ltx_live.weights.lora import linear_shapes
from ltx_live.weights.save import save_tensors

MAX_FILE_BYTES = 2_000_000
_STEPS_PER_RENEWAL, _RENDERED_AT_ONCE = 16, 16
_SHORT_REFERENCES = 0.25  # share of the batches whose sound reference is half as long
_VIDEO, _AUDIO = ("attn1", "attn2", "ff"), ("audio_attn1", "audio_attn2", "audio_ff")
VIDEO_LAYERS = tuple(f"transformer_blocks.{n}.{part}." for n in range(6) for part in _VIDEO)
AUDIO_LAYERS = tuple(f"transformer_blocks.{n}.{part}." for n in range(6) for part in _AUDIO)

Windows = Callable[[Studio, bool, int, torch.Generator], Batch]
"""Studio, whether continued, how many, generator -> latents `video`, `audio` (and `prefix`), contexts, `video_start_s`;
with a reference also `video_reference` or `audio_reference` and `strength` (B,)."""


@dataclass(frozen=True)
class Task:
    """What a LoRA learns. `file` is its name in the package; layers begin with one of `layers`."""

    name: str
    file: str
    layers: tuple[str, ...]
    rank: int
    with_reference: Windows | None
    without: Windows
    share_without: float  # of the batches that have no reference
    audio_weight: float = 0.5  # of the error of the sound, that of the picture being 1
    metadata: dict[str, str] = field(default_factory=dict)


class Branches(nn.Module):
    """y + (x A^T) B^T beside some layers of a network, whose own weights are no part of this module."""

    def __init__(self, network: nn.Module, layers: tuple[str, ...], rank: int):
        super().__init__()
        self.sigmas = Sigmas()
        self.names = [name for name in linear_shapes(network) if name.startswith(layers)]
        self.a, self.b = nn.ParameterList(), nn.ParameterList()
        for name in self.names:
            layer = network.get_submodule(name)
            small = min(rank, layer.in_features, layer.out_features)
            self.a.append(torch.randn(small, layer.in_features) / layer.in_features**0.5)
            self.b.append(torch.zeros(layer.out_features, small))
            layer.register_forward_hook(self._hook(len(self.a) - 1))
        self._network = (network,)  # in a tuple it is no submodule

    @property
    def network(self) -> nn.Module:
        return self._network[0]

    def _hook(self, index: int) -> Callable[..., Tensor]:
        def hook(layer: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
            (x,) = args
            return output + F.linear(F.linear(x, self.a[index].to(x.dtype)), self.b[index].to(x.dtype))

        return hook

    def factors(self) -> dict[str, Tensor]:
        """The tensors of the file, bfloat16, in the common key format."""
        tensors = {}
        for name, a, b in zip(self.names, self.a, self.b, strict=True):
            tensors[f"diffusion_model.{name}.lora_A.weight"] = a.detach().to(torch.bfloat16).cpu()
            tensors[f"diffusion_model.{name}.lora_B.weight"] = b.detach().to(torch.bfloat16).cpu()
        return tensors


class Pool:
    """The newest windows of each kind, on the device: rendered anew while training goes on."""

    def __init__(self, task: Task, settings: Settings):
        self.task, self.settings, self.studio = task, settings, Studio(settings.device)
        self.generator = torch.Generator().manual_seed(settings.seed + 31)
        self.kept: dict[tuple[bool, bool], Batch] = {}
        self._written: dict[tuple[bool, bool], int] = {}
        self._turn = 0
        self.keys = [(c, r) for r in (True, False) for c in (True, False) if self._share(r) > 0]
        for key in self.keys:
            while self._written.get(key, 0) < self._size(key):
                self._renew(key)
            print(f"[{task.name}] {self._size(key)} windows, continued {key[0]}, reference {key[1]}", flush=True)

    def draw(self, window: Window, with_reference: bool) -> Batch:
        """Random rows of a kind, as long as its windows; now and then some are made anew."""
        self._turn += 1
        if self._turn % _STEPS_PER_RENEWAL == 0:
            self._renew(random.choice(self.keys))
        stored = self.kept[window.continued, with_reference]
        rows = torch.randint(len(stored["video"]), (self.settings.batch_size,), device=self.settings.device)
        batch = {name: column[rows] for name, column in stored.items()}
        num_latents = (window.num_frames - 1) // 8 + 1
        batch["video"] = batch["video"][:, : num_latents * _tokens(configs.WIDTH_PX, configs.HEIGHT_PX)]
        batch["audio"] = batch["audio"][:, : window.num_audio]
        if "video_reference" in batch:
            batch["video_reference"] = batch["video_reference"][:, : num_latents * _tokens(*GUIDE_SIZE)]
        if "audio_reference" in batch and random.random() < _SHORT_REFERENCES:
            batch["audio_reference"] = batch["audio_reference"][:, : batch["audio_reference"].shape[1] // 2]
        if window.continued:
            prefix = batch.pop("prefix")
            batch["video"] = torch.cat((prefix, batch["video"][:, prefix.shape[1] :]), dim=1)
        return batch

    def _share(self, with_reference: bool) -> float:
        return 1 - self.task.share_without if with_reference else self.task.share_without

    def _size(self, key: tuple[bool, bool]) -> int:
        return max(1, round(self.settings.pool_size * self._share(key[1])))

    def _renew(self, key: tuple[bool, bool]) -> None:
        continued, with_reference = key
        count = min(self.settings.batch_size, _RENDERED_AT_ONCE)
        make = self.task.with_reference if with_reference else self.task.without
        made = make(self.studio, continued, count, self.generator)
        if key not in self.kept:
            size = max(count, self._size(key))
            self.kept[key] = {name: x.new_empty(size, *x.shape[1:]) for name, x in made.items()}
            for name, column in self.kept[key].items():
                column[:] = made[name][torch.arange(size) % count]
        size, first = len(self.kept[key]["video"]), self._written.get(key, 0)
        rows = (first + torch.arange(count)) % size
        for name, column in self.kept[key].items():
            column[rows.to(column.device)] = made[name]
        self._written[key] = first + count


def train(task: Task, settings: Settings) -> dict[str, float]:
    """Train or go on training `settings.folder/<name>.safetensors`, and write the file that is played beside it."""
    torch.manual_seed(settings.seed)
    random.seed(settings.seed)
    pool = Pool(task, settings)
    branches = Branches(pool.studio.transformer, task.layers, task.rank).to(settings.device)
    loop = Loop(task.name, branches, settings, functools.partial(loss, audio_weight=task.audio_weight))
    kinds, weights = zip(*KINDS, strict=True)
    positions = {window: positions_of(window, settings.device) for window in kinds}
    references = {window: _guide_positions(window, settings.device) for window in kinds}

    def next_batch() -> Batch:
        window = random.choices(kinds, weights)[0]
        rows = pool.draw(window, random.random() >= task.share_without)
        rows = masked(rows, window)
        start_s = rows["video_start_s"]
        return with_references(rows | positions[window](rows), references[window], start_s)

    losses = loop.run(next_batch)
    loop.use_averages()
    export(task, branches, settings.folder, {"seed": str(settings.seed)})
    return losses


def loss(branches: Branches, batch: Batch, audio_weight: float) -> dict[str, Tensor]:
    """Squared error of the velocity, in the precision of the frozen network."""
    network = branches.network
    contexts = AV(*(batch[f"{name}_context"].to(network.dtype) for name in ("video", "audio")))
    with torch.autocast(batch["video"].device.type, enabled=False):
        errors = velocity_error(network, contexts, branches.sigmas(len(batch["video"])), batch)
    return {**errors, "loss": errors["video"] + audio_weight * errors["audio"]}


def with_references(batch: Batch, guide_positions: Tensor, start_s: Tensor) -> Batch:
    """References appended as `model/conditioning.py` does: held with `strength`, before or over what is made."""
    strength = batch.pop("strength", None)
    for name in ("video", "audio"):
        reference = batch.pop(f"{name}_reference", None)
        if reference is None:
            continue
        count, length = reference.shape[:2]
        if name == "video":
            positions = guide_positions.repeat(count, 1, 1, 1)
            positions[:, 0] += start_s[:, None, None].float()
        else:
            ends_s = audio_end_s(length) + 1 / AUDIO_LATENTS_PER_SECOND
            positions = (audio_positions(length) - ends_s).to(reference.device).expand(count, -1, -1, -1)
        batch[name] = torch.cat((batch[name], reference), dim=1)
        batch[f"{name}_mask"] = torch.cat((batch[f"{name}_mask"], (1 - strength)[:, None].expand(-1, length)), dim=1)
        batch[f"{name}_positions"] = torch.cat((batch[f"{name}_positions"], positions), dim=2)
    return batch


def export(task: Task, branches: Branches, folder: Path, metadata: dict[str, str]) -> Path:
    """Write the LoRA as it is played; SystemExit says where it is too big."""
    path = folder / f"{task.file}.safetensors"
    about = {"name": task.file, "base_model": "ltx_live pocket", "licence": "Apache-2.0", **metadata, **task.metadata}
    save_tensors(path, branches.factors(), about)
    if path.stat().st_size > MAX_FILE_BYTES:
        raise SystemExit(f"{path}: {path.stat().st_size} bytes, must be at most {MAX_FILE_BYTES}; take a lower rank")
    return path


def trained(task: Task, folder: Path) -> Branches:
    """The branches of a training run; SystemExit says what is missing."""
    path = folder / f"{task.name}.safetensors"
    if not path.exists():
        raise SystemExit(f"{path}: not there; make it first with `python -m ltx_live.pocket.train {task.name}`")
    branches = Branches(Studio("cpu").transformer, task.layers, task.rank)
    branches.load_state_dict(load_file(path))
    return branches


def _guide_positions(window: Window, device: str) -> Tensor:
    geometry = VideoGeometry(window.num_frames, *GUIDE_SIZE)
    return reference_video_positions(geometry, configs.FRAME_RATE, GUIDE_FACTOR).to(device)


def _tokens(width: int, height: int) -> int:
    return (width // 32) * (height // 32)
