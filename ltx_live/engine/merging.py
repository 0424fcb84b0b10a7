"""Live strengths of LoRAs merged at load: merged anew beside the chunks, exchanged between two of them."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from torch import Tensor

from ltx_live import params
from ltx_live.engine.device import one_line
from ltx_live.engine.worker import LoraFailed, LoraMerged, LoraMerging
from ltx_live.errors import DeviceError
from ltx_live.weights.catalogue import size
from ltx_live.weights.memory import MERGE_BYTES, MERGE_WORKING_BYTES
from ltx_live.weights.remerge import Exchange, MergedLoras, Work

LOWEST_PRIORITY = 19
FADER = params.find("lora/1/strength")


@dataclass(frozen=True)
class Budget:
    """Bytes that merged weights may take beside those that are played; None without a limit."""

    device: int | None
    host: int | None

    def affords(self, work: Sequence[Work]) -> int:
        """How many of them, from the first on, may be there at once."""
        left = {False: self.device, True: self.host}
        for number, each in enumerate(work):
            room = left[each.on_host]
            if room is not None:
                if each.num_bytes > room:
                    return number
                left[each.on_host] = room - each.num_bytes
        return len(work)


class Merging:
    """What the strengths of merged LoRAs are to be, and the thread that brings them there.

    All but that thread belongs to the one that makes chunks, and `swap` between two of them. A merge that has begun
    is ended, then the newest wish is merged. Where memory does not hold all changed weights twice, they are exchanged
    in instalments, between which chunks are made with some of them. `forget(contexts)` is called where weights change.
    """

    def __init__(self, merged: MergedLoras, forget: Callable[[bool], None], budget: Callable[[], Budget]):
        self._merged = merged
        self._forget = forget
        self._budget = budget
        self._thread = ThreadPoolExecutor(1, "LoRA merger", _lower_priority)
        self._is_open = True
        self._faders = tuple(FADER.coerce(strength) for strength in merged.at_load)
        self._played: tuple[float | None, ...] = merged.at_load  # None: some layers are at another strength
        self._wish = self._tried = merged.at_load
        self._merge: _Merge | None = None
        self._messages: list[LoraMerging | LoraMerged | LoraFailed] = []

    @property
    def num_slots(self) -> int:
        """The slots from 1 on whose LoRAs are merged."""
        return len(self._merged.loras)

    @property
    def is_busy(self) -> bool:
        """Whether something waits for `swap`."""
        return self._merge is not None or bool(self._messages)

    @property
    def device_bytes(self) -> int:
        """GPU memory that is kept for merging, or that it takes."""
        under_way = 0 if self._merge is None else sum(each.num_bytes for each in self._merge.work if not each.on_host)
        return max(MERGE_BYTES, MERGE_WORKING_BYTES + under_way)

    def ask(self, strengths: Sequence[float]) -> None:
        """Where the faders are. One that moved is a wish: a strength at load may be one that no fader reaches."""
        faders = tuple(strengths[: self.num_slots])
        moves = zip(faders, self._faders, self._wish, strict=True)
        self._wish = tuple(new if new != old else wish for new, old, wish in moves)
        self._faders = faders
        self._begin()

    def swap(self) -> list[LoraMerging | LoraMerged | LoraFailed]:
        """Play from now on what has been merged; what happened, in one line each."""
        if self._merge is not None and self._merge.job.done():
            error = self._merge.job.exception()
            if error is not None:
                self._fail(error)
            else:
                self._exchange(self._merge, self._merge.job.result())
            self._begin()
        messages, self._messages = self._messages, []
        return messages

    def close(self) -> None:
        """Give up what is being merged."""
        self._is_open = False
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _begin(self) -> None:
        if self._merge is None and self._wish != self._tried:
            self._tried = self._wish
            self._merge = _Merge(self._wish, self._merged.work(self._wish))
            self._messages += [LoraMerging(slot, self._wish[slot - 1]) for slot in self._changed(self._wish)]
            self._continue(self._merge)

    def _changed(self, target: tuple[float, ...]) -> list[int]:
        pairs = zip(target, self._played, strict=True)
        return [slot for slot, (new, old) in enumerate(pairs, start=1) if new != old]

    def _continue(self, merge: _Merge) -> None:
        """Have as much merged as memory holds; what was exchanged before is dropped first, in the thread."""
        budget = self._budget()
        merge.work = merge.left[: budget.affords(merge.left)]
        old, merge.old = merge.old, []
        too_large = next((each for each in merge.left if not budget.affords([each])), None)
        if too_large is not None:
            self._thread.submit(old.clear)
            merge.job = Future()
            merge.job.set_exception(_lacking(too_large, budget))
            return

        def run(work: Sequence[Work] = merge.work) -> Exchange:
            old.clear()
            return self._merged.merge(work, merge.target, lambda: self._is_open) if work else Exchange()

        merge.job = self._thread.submit(run)

    def _exchange(self, merge: _Merge, made: Exchange) -> None:
        start_s = time.perf_counter()
        merge.old = self._merged.exchange(made, merge.target)
        if made.layers:
            self._forget(made.touches_text)
        merge.swap_s = max(merge.swap_s, time.perf_counter() - start_s)
        merge.left = merge.left[len(merge.work) :]
        merge.has_exchanged |= bool(made.layers)
        if merge.left:
            self._continue(merge)
            return
        self._thread.submit(merge.old.clear)
        merge_s = time.perf_counter() - merge.start_s
        for slot in self._changed(merge.target):
            strength = merge.target[slot - 1]
            text = f"lora/{slot}: {self._name(slot)} at {strength:g}, merged in {merge_s:.1f} s"
            self._messages.append(LoraMerged(slot, strength, text, {"merge": merge_s, "swap": merge.swap_s}))
        self._played, self._merge = merge.target, None

    def _fail(self, error: BaseException) -> None:
        merge, self._merge = self._merge, None
        played = list(self._played)
        for slot in self._changed(merge.target):
            path, old = self._merged.loras[slot - 1].path, played[slot - 1]
            if merge.has_exchanged or old is None:
                played[slot - 1], stays = None, f"is at {merge.target[slot - 1]:g} in some layers only"
            else:
                stays = f"stays at {old:g}"
            reason = one_line(error, "GPU memory: there is not enough to merge; play with less beside it")
            kept = played[slot - 1]
            strength = kept if kept is not None and FADER.coerce(kept) == kept else None
            self._messages.append(LoraFailed(slot, path, f"{self._name(slot)} {stays}: {reason}", strength))
        self._played = tuple(played)

    def _name(self, slot: int) -> str:
        return self._merged.loras[slot - 1].name


class _Merge:
    """A merge under way: `work` is what its job makes, `left` all that is not exchanged yet."""

    def __init__(self, target: tuple[float, ...], left: list[Work]):
        self.target = target
        self.left = left
        self.work: Sequence[Work] = ()
        self.job: Future = Future()
        self.old: list[Tensor] = []
        self.has_exchanged = False
        self.start_s = time.perf_counter()
        self.swap_s = 0.0


def _lacking(work: Work, budget: Budget) -> DeviceError:
    where, room = ("RAM", budget.host) if work.on_host else ("GPU memory", budget.device)
    return DeviceError(
        f"memory: merging takes {size(work.num_bytes)} of {where} or more, {size(room)} can be had; take a LoRA out of "
        "another slot, or start with --set lora_merge_strategy=runtime"
    )


def _lower_priority() -> None:
    """Chunks come first where cores are short; only Linux has priorities of threads by their number."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
