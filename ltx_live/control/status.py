"""What the show tells of itself under `/ltx/status/`: pending and applied, latency, buffer, engine, beat."""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
from dataclasses import dataclass
from typing import Any

from ltx_live.control.event import Event
from ltx_live.control.registry import ERROR, Reply

STATUS = "/ltx/status"
_MAX_WAITING = 1024


@dataclass(frozen=True, slots=True)
class Status:
    """One read-only value per field, at `/ltx/status/` + its name; what is not known is None, sent as "none".

    `state` and `detail` are the HUD's words. `pending` names the values that are not seen yet; the newest
    gesture is expected to land in `landing_s`. `latency_s` was measured at the last change that was seen, from the
    control's arrival to the picture. What is made lasts `buffer_s`, for ever (None) while it is held. `chunk_s` is T,
    the time that a chunk takes; `dropped_s` was made but cut away.
    `mode` says what is in use beside the prompts, and what is live of it is seen `delay_s` after it was there.
    `fps` counts the new pictures of the last second, `gen_fps` is how many the engine makes in one, `chunk` counts the
    chunk that is seen, from 0, and `seed` is its seed; `level` is that of the output (peak, 0 to 1). `gpu_mem_gib` was
    in use on the GPU after the last chunk, by other programs too. `reload` names the values that the engine was not
    loaded with, `error` is the last line that told of a fault. `clock_s` is the media time played. `beat` counts from 1
    within the bar, `bar` from 1.
    """

    state: str = "loading"
    detail: str = ""
    prompt_applied: str = ""
    prompt_pending: str = ""
    pending: str = ""
    landing_s: float | None = None
    latency_s: float | None = None
    buffer_s: float | None = 0.0
    chunk_s: float | None = None
    real_time_factor: float | None = None
    output_latency_s: float = 0.0
    num_cuts: int = 0
    dropped_s: float = 0.0
    num_underruns: int = 0
    mode: str = ""
    delay_s: float = 0.0
    clock_s: float = 0.0
    bpm: float = 120.0
    beat: float = 1.0
    bar: int = 1
    fps: float = 0.0
    gen_fps: float | None = None
    gpu_mem_gib: float | None = None
    chunk: int | None = None
    level: float = 0.0
    seed: int | None = None
    recording: bool = False
    reload: str = ""
    error: str = ""


NAMES = tuple(field.name for field in dataclasses.fields(Status))


def is_status(address: str) -> bool:
    """Whether an address belongs to the status, which the registry does not hold."""
    return address == STATUS or address.startswith(STATUS + "/")


def answer(event: Event, status: Status) -> tuple[Reply, ...]:
    """Replies to `/ltx/status/NAME ?` (NAME may be a pattern) and `/ltx/status ?`, one message for each value.

    No argument asks too, as with any value. An unknown name, and a value for what is read-only, gets `/ltx/error`;
    what came from where nothing can be sent gets nothing.
    """
    if event.origin.reply_to is None:
        return ()
    pattern = event.address.removeprefix(STATUS).strip("/") or "*"
    names = [name for name in NAMES if fnmatch.fnmatchcase(name, pattern)]
    if not names:
        near = difflib.get_close_matches(pattern[:60], NAMES, n=1, cutoff=0.5)
        hint = f"; did you mean {STATUS}/{near[0]}?" if near else f"; {STATUS} ? sends them all"
        return (Reply(event.origin, ERROR, (event.address[:200], f"{event.address[:80]}: no such status{hint}")),)
    if event.args not in ((), ("?",)):
        return (Reply(event.origin, ERROR, (event.address[:200], f"{event.address[:80]}: read-only; ask with ?")),)
    return tuple(Reply(event.origin, f"{STATUS}/{name}", (getattr(status, name),)) for name in names)


def beat_in_bar(beat: float, beats_per_bar: int) -> dict[str, Any]:
    """The fields `beat` (1 to less than beats_per_bar + 1) and `bar` (1, 2, ...) for beats counted from 0."""
    bar, within = divmod(beat, beats_per_bar)
    return {"beat": 1 + within, "bar": 1 + int(bar)}


class Latency:
    """Measures the time from a control's arrival to the first picture made with it, by control epochs."""

    def __init__(self):
        self._asked: dict[int, float] = {}
        self.last_s: float | None = None

    def asked(self, epoch: int, time_s: float) -> None:
        """An event that arrived at this time began this epoch."""
        self._asked.setdefault(epoch, time_s)
        if len(self._asked) > _MAX_WAITING:
            del self._asked[next(iter(self._asked))]

    def shown(self, epoch: int, now_s: float) -> None:
        """A picture of this epoch is seen now; the newest change in it counts."""
        newest_s = self._asked.get(epoch)
        for seen in [asked for asked in self._asked if asked <= epoch]:
            del self._asked[seen]
        if newest_s is not None:
            self.last_s = now_s - newest_s
