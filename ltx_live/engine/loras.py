"""The LoRAs that are played, by slot: read or merged while chunks are made, exchanged between two chunks.

In every memory mode: a LoRA for which GPU memory was not planned stays in host memory and is copied layer by layer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ltx_live.engine.device import one_line
from ltx_live.engine.merging import Budget, Merging
from ltx_live.engine.worker import LoraAnswer, LoraFailed, LoraLoaded
from ltx_live.errors import DeviceError, EngineError
from ltx_live.model.transformer import Transformer
from ltx_live.params import NUM_LORAS
from ltx_live.weights.adapters import RuntimeAdapter
from ltx_live.weights.catalogue import size
from ltx_live.weights.lora import Lora, linear_shapes, read_factors
from ltx_live.weights.lora_header import Targets, Unmatched
from ltx_live.weights.memory import MERGE_WORKING_BYTES, free_host_bytes
from ltx_live.weights.remerge import MergedLoras

LACKING = "GPU memory: there is not enough for this LoRA; take another one out"


@dataclass(frozen=True)
class Room:
    """What LoRAs have to go by: `device_bytes` of GPU memory (None: all that there is).

    `unmatched` says what keys of a file that match no layer are.
    """

    device_bytes: int | None = None
    unmatched: Unmatched = "error"


class Loras:
    """Slots 1 to NUM_LORAS. `ask` and `swap` belong to the thread that makes chunks, and `swap` between two of them.

    The first hold what was `merged` into the network, if anything; see `Merging` for their strengths.
    `forget(contexts)` is called where weights have changed: what was computed with them is out of date, and with
    `contexts` the prompts' too. Chunks are those of an engine that was started with the same LoRAs, bit for bit.
    """

    def __init__(
        self,
        network: Transformer,
        forget: Callable[[bool], None],
        room: Room | None = None,
        merged: MergedLoras | None = None,
    ):
        self.targets = Targets(linear_shapes(network))
        self._network = network
        self._forget = forget
        self._room = room or Room()
        self._merging = None if merged is None else Merging(merged, forget, self._merge_budget)
        self._adapters: dict[int, RuntimeAdapter] = {}
        self._jobs: dict[int, tuple[Path | None, Future]] = {}
        self._reader = ThreadPoolExecutor(1, "LoRA reader")

    @property
    def layers(self) -> dict[str, tuple[int, int]]:
        """(out, in) of the layers that a LoRA of this model may change, by name."""
        return dict(self.targets.shapes)

    @property
    def is_loading(self) -> bool:
        """Whether something that was asked for waits for `swap`."""
        return bool(self._jobs) or (self._merging is not None and self._merging.is_busy)

    def ask(self, slot: int, path: Path | None) -> None:
        """Have a file read for a slot, or with None have the slot emptied; the newest wish for a slot counts."""
        _, before = self._jobs.get(slot, (None, Future()))
        before.cancel()
        job = Future()
        try:
            self._check(slot)
        except EngineError as error:
            job.set_exception(error)
        else:
            if path is None:
                job.set_result(None)
            else:
                job = self._reader.submit(self._read, path)
        self._jobs[slot] = path, job

    def swap(self) -> list[LoraAnswer]:
        """Play from now on what has been read or merged; what happened, in one line each. A failure changes nothing."""
        answers = [] if self._merging is None else self._merging.swap()
        for slot, (path, job) in list(self._jobs.items()):
            if job.done():
                del self._jobs[slot]
                error = job.exception()
                if error is None:
                    answers.append(self._loaded(slot, path, job.result()))
                else:
                    answers.append(LoraFailed(slot, path, one_line(error, LACKING)))
        return answers

    def put(self, slot: int, adapter: RuntimeAdapter | None) -> None:
        """Play an adapter in a slot instead of what is there; what is gone gives its memory back."""
        old = self._adapters.pop(slot, None)
        if old is not None:
            old.detach()
            if old.strength != 0:
                self._forget(old.touches_text)
        if adapter is None:
            return
        self._adapters[slot] = adapter
        for number in sorted(self._adapters):
            if number >= slot:  # they add up in the order of their slots: sums are rounded
                self._adapters[number].detach()
                self._adapters[number].attach()
        if adapter.strength != 0:
            self._forget(adapter.touches_text)

    def set_strengths(self, strengths: Sequence[float]) -> None:
        """Play each slot at its strength; what is merged follows as soon as it can."""
        if self._merging is not None:
            self._merging.ask(strengths)
        for slot, adapter in self._adapters.items():
            strength = strengths[slot - 1]
            if adapter.strength != strength:
                adapter.strength = strength
                self._forget(adapter.touches_text)

    def close(self) -> None:
        """Give up what is being read and merged."""
        self._reader.shutdown(wait=False, cancel_futures=True)
        if self._merging is not None:
            self._merging.close()

    def _check(self, slot: int) -> None:
        if not 1 <= slot <= NUM_LORAS:
            raise EngineError(f"lora/{slot}: there is no such slot; they are 1 to {NUM_LORAS}")
        if self._merging is not None and slot <= self._merging.num_slots:
            raise EngineError(
                f"lora/{slot}: its LoRA was merged at load and stays; use another slot, or start with "
                "--set lora_merge_strategy=runtime"
            )

    def _read(self, path: Path) -> tuple[RuntimeAdapter, float]:
        """In the thread: the adapter of a file, and how long that took."""
        start_s = time.perf_counter()
        lora = read_factors(path, self.targets, self._room.unmatched)
        adapter = RuntimeAdapter(self._network, lora, on_host=not self._fits(lora))
        return adapter, time.perf_counter() - start_s

    def _fits(self, lora: Lora) -> bool:
        """Whether GPU memory was planned for it; raises DeviceError where there is no other memory either."""
        num_bytes = lora.num_values * self._network.dtype.itemsize
        room = self._room.device_bytes
        kept = 0 if self._merging is None else self._merging.device_bytes
        if room is None or kept + self._device_bytes() + num_bytes <= room:
            return True
        free = free_host_bytes()
        if free is not None and num_bytes > free:
            raise DeviceError(
                f"memory: {lora.path.name} takes {size(num_bytes)}, for which neither GPU memory was planned nor RAM "
                "is free; take another LoRA out"
            )
        return False

    def _merge_budget(self) -> Budget:
        """Memory for weights merged anew: what LoRAs leave on the device, and half of what is free on the host."""
        room, free = self._room.device_bytes, free_host_bytes()
        device = None if room is None else max(0, room - self._device_bytes() - MERGE_WORKING_BYTES)
        return Budget(device, None if free is None else free // 2)

    def _device_bytes(self) -> int:
        return sum(each.num_bytes for each in self._held() if not each.on_host)

    def _held(self) -> list[RuntimeAdapter]:
        """All adapters that take memory: played, and read but not yet played."""
        jobs = [job for path, job in list(self._jobs.values()) if path is not None and job.done()]
        read = [job.result()[0] for job in jobs if job.exception() is None]
        return [*list(self._adapters.values()), *read]

    def _loaded(self, slot: int, path: Path | None, read: tuple[RuntimeAdapter, float] | None) -> LoraLoaded:
        start_s = time.perf_counter()
        adapter, read_s = read or (None, 0.0)
        self.put(slot, adapter)
        swap_s = time.perf_counter() - start_s
        if adapter is None:
            return LoraLoaded(slot, None, f"lora/{slot}: empty", {"swap": swap_s})
        where = ", copied as it is used" if adapter.on_host else ""
        text = f"lora/{slot}: {path.stem}, {size(adapter.num_bytes)}{where}, read in {read_s:.1f} s"
        return LoraLoaded(slot, path, text, {"read": read_s, "swap": swap_s})
