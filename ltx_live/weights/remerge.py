"""LoRAs that were merged into a transformer at load, merged anew at other strengths: beside the computation, and exact.

Every layer is made of the original weight, read again from the checkpoint's file, as `adapters.merge` made it at load:
the result is that of a transformer loaded with these strengths, bit for bit, whatever was merged in between.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ltx_live.errors import CheckpointError
from ltx_live.model.transformer import Transformer
from ltx_live.weights.adapters import merge_layer, one_thread, replace_weights, shares, weights_of
from ltx_live.weights.checkpoint import Storage, read_linear
from ltx_live.weights.fp8 import FP8Linear
from ltx_live.weights.headers import read_tensors
from ltx_live.weights.lora import CONNECTORS, Lora
from ltx_live.weights.parts import Source
from ltx_live.weights.streaming import Unit, WeightStream

LONGEST_REST_S = 0.1
RESTS = {"cpu": 1.0, "cuda": 2.0}
"""Of the time that merging a layer took, before the next: Python's lock and the driver's are taken from chunks too."""


class Originals:
    """What a transformer and its LoRAs were loaded from; files that have changed since are refused."""

    def __init__(self, source: Source, storage: Storage, loras: Sequence[Lora] = ()):
        """To be made before the weights are read."""
        self._source = source
        self._storage = storage
        paths = {entry.path for entry in source.entries.values()} | {lora.path for lora in loras}
        self._signs = {path: _sign(path) for path in sorted(paths)}

    def check(self) -> None:
        """Raises CheckpointError for a file that is gone or is not what it was."""
        for path, sign in self._signs.items():
            if _sign(path) != sign:
                raise CheckpointError(f"{path}: was changed since it was loaded; put it back, or start again")

    def read(self, linears: Mapping[str, nn.Linear | FP8Linear]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Each layer's tensors as they were loaded, before anything was merged; views of the files where they can be.

        Raises CheckpointError for a file that cannot be read.
        """
        names = [f"{layer}.{name}" for layer in linears for name in ("weight", "weight_scale")]
        state = read_tensors({name: self._source.entries[name] for name in names if name in self._source.entries})
        for layer, linear in linears.items():
            yield layer, read_linear(state, layer, isinstance(linear, FP8Linear), self._storage)


@dataclass(frozen=True)
class Work:
    """Layers that are exchanged together, because they lie in one unit of a stream, or a single one of no `unit`.

    `num_bytes` is what it takes beside the old, in host memory with `on_host`.
    """

    layers: tuple[str, ...]
    unit: Unit | None
    num_bytes: int
    on_host: bool


class Exchange:
    """Merged layers that are not computed with yet."""

    def __init__(self):
        self.layers: list[str] = []
        self.resident: list[tuple[nn.Linear | FP8Linear, dict[str, Tensor]]] = []
        self.streamed: list[tuple[Unit, Tensor]] = []

    @property
    def touches_text(self) -> bool:
        """Whether contexts that were made before are out of date."""
        return any(layer.startswith(CONNECTORS) for layer in self.layers)


class MergedLoras:
    """The LoRAs of a transformer, in the order in which they were merged at load, each at its strength.

    `exchange` belongs to the thread that computes, while nothing is computed; `merge` to any one.
    """

    def __init__(
        self,
        network: Transformer,
        adapters: Sequence[tuple[Lora, float]],
        originals: Originals,
        device: torch.device | str,
        stream: WeightStream | None = None,
    ):
        self.loras = tuple(lora for lora, _ in adapters)
        self.at_load = tuple(strength for _, strength in adapters)
        self._network = network
        self._originals = originals
        self._device = torch.device(device)
        self._stream = stream
        layers = dict.fromkeys(layer for lora in self.loras for layer in lora.factors)
        self._merged = {layer: self._relevant(layer, self.at_load) for layer in layers}
        self._beside = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None
        self._pinned = torch.empty(0, dtype=torch.uint8)

    def work(self, strengths: Sequence[float]) -> list[Work]:
        """What is to be merged so that all layers are at these strengths, in the order of the layers."""
        found: dict[Unit | str, list[str]] = {}
        for layer, merged in self._merged.items():
            if merged != self._relevant(layer, strengths):
                found.setdefault(self._place(layer)[0] or layer, []).append(layer)
        return [self._work(key if isinstance(key, Unit) else None, layers) for key, layers in found.items()]

    @torch.no_grad()
    @one_thread()
    def merge(self, work: Sequence[Work], strengths: Sequence[float], is_wanted: Callable[[], bool]) -> Exchange:
        """Merge layers from their original weights; nothing that is computed with is touched.

        Ends early where it is not wanted any more. Raises CheckpointError for files that are not what they were,
        DeviceError where memory cannot be pinned.
        """
        self._originals.check()
        made, adapters = Exchange(), tuple(zip(self.loras, strengths, strict=True))
        linears = {layer: self._network.get_submodule(layer) for each in work for layer in each.layers}
        resident = self._memory({layer: linears[layer] for each in work if each.unit is None for layer in each.layers})
        originals = self._originals.read(linears)
        for each in work:
            host = None if each.unit is None else each.unit.copy()
            for _ in each.layers:
                start_s = time.perf_counter()
                layer, old = next(originals)
                with self._on_stream():
                    old = self._staged(old)
                    added = shares(adapters, layer, self._device)
                    new = resident[layer] if host is None else self._views(layer, host)
                    if added or self._device.type != "cpu" or host is not None:
                        merge_layer(new, old, added)
                    else:
                        new = old  # views of the file, as at load
                if host is None:
                    made.resident.append((linears[layer], new))
                made.layers.append(layer)
                if not is_wanted():
                    return made
                self._rest(time.perf_counter() - start_s)
            if host is not None:
                made.streamed.append((each.unit, host))
        self._originals.check()  # what was read in between is what was meant
        return made

    def exchange(self, made: Exchange, strengths: Sequence[float]) -> list[Tensor]:
        """Compute with what was merged at these strengths from now on; what it replaces, to be dropped anywhere."""
        old = []
        for linear, new in made.resident:
            old.append(linear.weight)
            replace_weights(linear, new)
        old += [self._stream.exchange(unit, host) for unit, host in made.streamed]
        self._merged |= {layer: self._relevant(layer, strengths) for layer in made.layers}
        return old

    def _relevant(self, layer: str, strengths: Sequence[float]) -> tuple[float, ...]:
        """The strengths that a layer's weight depends on."""
        pairs = zip(self.loras, strengths, strict=True)
        return tuple(strength for lora, strength in pairs if layer in lora.factors)

    def _place(self, layer: str) -> tuple[Unit | None, str]:
        """The unit that a layer is streamed in, if it is, and its name there."""
        path = layer.split(".")
        for depth in range(1, len(path)) if self._stream is not None else ():
            unit = self._stream.units.get(self._network.get_submodule(".".join(path[:depth])))
            if unit is not None:
                return unit, ".".join(path[depth:])
        return None, layer

    def _work(self, unit: Unit | None, layers: list[str]) -> Work:
        if unit is not None:
            return Work(tuple(layers), unit, unit.num_bytes, on_host=True)
        num_bytes = self._network.get_submodule(layers[0]).weight.nbytes
        return Work(tuple(layers), None, num_bytes, on_host=self._device.type == "cpu")

    def _memory(self, linears: Mapping[str, nn.Linear | FP8Linear]) -> dict[str, dict[str, Tensor]]:
        """Tensors to be filled for layers that stay on the device."""
        made = {
            layer: {name: torch.empty_like(tensor) for name, tensor in weights_of(linear).items()}
            for layer, linear in linears.items()
        }
        if self._beside is not None:  # it comes from where chunks are computed, and may be in use there
            self._beside.wait_stream(torch.cuda.default_stream(self._device))
        return made

    def _staged(self, old: dict[str, Tensor]) -> dict[str, Tensor]:
        """A layer's weight on its way to a GPU, in pinned memory: a copy from a file's pages holds up the driver.

        The memory is used again for the next layer, which begins when all that was asked for is done.
        """
        if self._beside is None:
            return old
        weight = old["weight"]
        if weight.nbytes > len(self._pinned):
            self._pinned = torch.empty(weight.nbytes, dtype=torch.uint8, pin_memory=True)
        pinned = self._pinned[: weight.nbytes].view(weight.dtype).view(weight.shape).copy_(weight)
        return old | {"weight": pinned.to(self._device, non_blocking=True)}

    def _views(self, layer: str, host: Tensor) -> dict[str, Tensor]:
        unit, name = self._place(layer)
        views = unit.views(host)
        return {part: views[f"{name}.{part}"] for part in ("weight", "weight_scale") if f"{name}.{part}" in views}

    @contextlib.contextmanager
    def _on_stream(self) -> Iterator[None]:
        """On a GPU beside what is computed there; what was asked for is done at the end."""
        if self._beside is None:
            yield
            return
        with torch.cuda.stream(self._beside):
            yield
        self._beside.synchronize()

    def _rest(self, busy_s: float) -> None:
        """Leave the cores, or the driver, to the chunks."""
        time.sleep(min(RESTS[self._device.type] * busy_s, LONGEST_REST_S))


def _sign(path: Path) -> tuple[int, int, int]:
    """What changes when a file does. Raises CheckpointError where there is none."""
    try:
        about = os.stat(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read any more ({error.strerror}); put it back") from error
    return about.st_ino, about.st_size, about.st_mtime_ns
