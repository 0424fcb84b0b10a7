"""When to ask the engine for a chunk, and for what. Pure logic: time, positions and values are given to it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ltx_live import params as table
from ltx_live.chunk import SAMPLE_RATE_HZ, Chunk, ChunkRequest, EngineInfo, Progress, num_prefix_frames, num_steps
from ltx_live.engine.process import Cancelled, Died, Failed, Message, Ready

MARGIN_S = 0.1
NUM_TIMES = 8
FIRST_RETRY_DELAY_S = 0.5
LONGEST_RETRY_DELAY_S = 10.0
MAX_FAILURES = 2
"""Failures in a row after which the values are given up for those of the last chunk, until they change."""

SHORTEST_CHUNK = 17  # frames; below it nearly all work goes into the prefix
FIXED_SHARE = 0.2  # of a chunk's time does not depend on its length (pocket probe: 1.3 s for 33, 2.0 s for 57 frames)

NOW_FIELDS = tuple(
    table.field_name(row.name)
    for row in table.PARAMETERS
    if row.landing == "now" and row.kind != "trigger" and not row.count and row.name != "bank/selected"
)
"""Fields of GenerationParams whose change makes a running request outdated; a bank slot plays through its prompt."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What is decided from at one tick: `position` heard and `end` of the timeline in media samples, values."""

    now_s: float
    position: float
    end: int
    params: Any
    epoch: int
    num_free_slots: int
    output_latency_s: float = 0.0

    @property
    def unplayed_s(self) -> float:
        return max(0, self.end - self.position) / SAMPLE_RATE_HZ

    @property
    def free_from(self) -> int:
        """Where the next chunk goes on: the end, or where the position stands still in an underrun."""
        return max(self.end, math.ceil(self.position))

    @property
    def margin_s(self) -> float:
        return self.output_latency_s + MARGIN_S


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """The request under way is outdated: cancel it, the next one follows."""

    index: int


@dataclass(slots=True)
class Statistics:
    """Figures for HUD and benches.

    `chunk_time_s` is T, the 95th percentile (the longest) of the last 8 times of the last chunk's shape, its warm-up
    left out; `real_time_factor` is new seconds per second of work over the last chunks.
    """

    num_chunks: int = 0
    num_underruns: int = 0
    num_failed: int = 0
    num_deaths: int = 0
    num_cancelled: int = 0
    num_prompts: int = 0
    chunk_time_s: float = 0.0
    real_time_factor: float = 0.0


@dataclass(slots=True)
class _Running:
    request: ChunkRequest
    asked_s: float
    is_new_take: bool
    step: int = 0
    is_cancelled: bool = False


def chunk_seed(seed: int, index: int) -> int:
    """The seed of chunk `index` of a show with this base seed: a hash of both, 0..2^31 - 1."""
    digest = hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") & table.SEED_MAX


class ChunkTimes:
    """How long chunks took, by (frames, steps); what was not measured is estimated from the last that was.

    The first chunk of a shape in a new engine process warms it up: it counts only until there is a better one.
    """

    def __init__(self):
        self._times: dict[tuple[int, int], deque[float]] = {}
        self._last: tuple[int, int] | None = None
        self._warm: set[tuple[int, int]] = set()
        self._provisional: set[tuple[int, int]] = set()

    def engine_started(self) -> None:
        self._warm.clear()

    def add(self, num_frames: int, steps: int, time_s: float) -> None:
        shape = self._last = num_frames, steps
        times = self._times.setdefault(shape, deque(maxlen=NUM_TIMES))
        if shape in self._warm:
            if shape in self._provisional:
                self._provisional.remove(shape)
                times.clear()
            times.append(time_s)
            return
        self._warm.add(shape)
        if not times:
            self._provisional.add(shape)
            times.append(time_s)

    def p95_s(self, num_frames: int, steps: int) -> float | None:
        """95th percentile of the last 8 times, which is the longest of them; None before the first chunk."""
        measured = self._times.get((num_frames, steps))
        if measured:
            return max(measured)
        if self._last is None:
            return None
        work = num_frames * steps / (self._last[0] * self._last[1])
        return max(self._times[self._last]) * (FIXED_SHARE + (1 - FIXED_SHARE) * work)


class Session:
    """Decides at every tick on at most one action: a ChunkRequest, a CancelRequest, or nothing.

    `longest(num_frames, frame_rate)` is how long a request may be to fit a slot; `write_log(line)` takes one JSON line
    per appended chunk, which holds all a replay needs; `draw_seed()` gives fresh seeds for `randomize_seed`.
    `history` must not be released while it is set here: the next chunk continues it.
    """

    def __init__(
        self,
        longest: Callable[[int, float], int] = lambda num_frames, frame_rate: num_frames,
        write_log: Callable[[str], None] = lambda line: None,
        draw_seed: Callable[[], int] = lambda: secrets.randbelow(table.SEED_MAX + 1),
    ):
        self.statistics = Statistics()
        self.history: Chunk | None = None
        self.notice = ""
        self._longest = longest
        self._write_log = write_log
        self._draw_seed = draw_seed
        self._times = ChunkTimes()
        self._factors: deque[tuple[float, float]] = deque(maxlen=NUM_TIMES)
        self._engine: EngineInfo | None = None
        self._running: _Running | None = None
        self._index = 0
        self._is_new_take = False
        self._retry_at_s = 0.0
        self._retry_delay_s = FIRST_RETRY_DELAY_S
        self._num_failures = 0  # in a row
        self._last_made: ChunkRequest | None = None
        self._refused: Any = None  # values that failed too often
        self._refusal = ""  # what is said of them
        self._is_starving = False
        self._prompt: str | None = None

    @property
    def running(self) -> ChunkRequest | None:
        """The request under way."""
        return None if self._running is None else self._running.request

    @property
    def step(self) -> tuple[int, int]:
        """(steps done, steps) of the request under way, (0, 0) when there is none."""
        return (0, 0) if self._running is None else (self._running.step, num_steps(self._running.request.params))

    def restart(self) -> None:
        """The next chunk starts a new take that continues nothing."""
        self._is_new_take = True

    def handle(self, message: Message, now_s: float) -> None:
        """Take note of what the engine says. A Chunk given here is one that the timeline appends."""
        match message:
            case Ready(info):
                self._engine = info
                self._times.engine_started()
                self.notice = self._refusal
            case Progress(_, step) if self._running is not None:
                self._running.step = step
            case Chunk():
                self._finish(message, now_s)
            case Cancelled():
                self._running = None
                self.statistics.num_cancelled += 1
            case Failed(text, index, fatal):
                self._fail(text, index, fatal, now_s)
            case Died():
                self._engine = self._running = None
                self.statistics.num_deaths += 1
                self.notice = f"{message.text}; it starts again"

    def decide(self, moment: Moment) -> ChunkRequest | CancelRequest | None:
        """The one thing to do now. A request is under way once it was returned here."""
        self._count_underruns(moment)
        moment = self._with_working_values(moment)
        if self._running is not None:
            return self._reconsider(moment)
        if self._engine is None or moment.params.pause or not moment.num_free_slots or moment.now_s < self._retry_at_s:
            return None
        return self._ask(moment) if self._is_due(moment) else None

    def _finish(self, chunk: Chunk, now_s: float) -> None:
        running, self._running = self._running, None
        request, took_s = running.request, max(1e-6, now_s - running.asked_s)
        self.history = chunk
        self._index = chunk.index + 1
        self._is_new_take = self._is_new_take and not running.is_new_take
        self._retry_delay_s = FIRST_RETRY_DELAY_S
        self._num_failures = 0
        self._last_made = dataclasses.replace(request, history=None)
        self.notice = self._refusal
        shape = request.num_frames, num_steps(request.params)
        self._times.add(*shape, took_s)
        self._factors.append(((chunk.end - chunk.cut) / SAMPLE_RATE_HZ, took_s))
        new_s, work_s = map(sum, zip(*self._factors, strict=True))
        statistics = self.statistics
        statistics.num_chunks += 1
        statistics.chunk_time_s = self._times.p95_s(*shape)
        statistics.real_time_factor = new_s / work_s
        statistics.num_prompts += request.params.prompt != self._prompt
        self._prompt = request.params.prompt
        record = {
            "time_s": round(now_s, 3),
            "took_s": round(took_s, 3),
            **{
                name: getattr(request, name)
                for name in ("index", "seed", "start", "num_frames", "continue_from", "epoch")
            },
            "params": dataclasses.asdict(request.params),
            "latched": [(step, dict(values)) for step, values in chunk.latched],
        }
        self._write_log(json.dumps(record))

    def _fail(self, text: str, index: int | None, fatal: bool, now_s: float) -> None:
        self.notice = text
        if fatal or index is None or self._running is None:
            return
        failed, self._running = self._running.request, None
        self.statistics.num_failed += 1
        self._num_failures += 1
        made = self._last_made
        if self._num_failures >= MAX_FAILURES and made is not None and failed.params != made.params:
            self._refused, self._refusal = failed.params, f"{text}; the values before go on until one is changed"
        self.notice = self._refusal or f"{text} (again in {self._retry_delay_s:g} s)"
        self._retry_at_s = now_s + self._retry_delay_s
        self._retry_delay_s = min(LONGEST_RETRY_DELAY_S, 2 * self._retry_delay_s)

    def _with_working_values(self, moment: Moment) -> Moment:
        """The moment with the values and epoch of the last chunk while the present ones are those that failed."""
        if self._refused is None:
            return moment
        if moment.params != self._refused:
            self._refused, self._refusal, self._num_failures = None, "", 0
            return moment
        return dataclasses.replace(moment, params=self._last_made.params, epoch=self._last_made.epoch)

    def _count_underruns(self, moment: Moment) -> None:
        """An underrun begins when all is played; a pause or a show that has not begun is none."""
        is_starving = self.history is not None and moment.position >= moment.end
        if is_starving and not self._is_starving and not moment.params.pause:
            self.statistics.num_underruns += 1
        self._is_starving = is_starving

    def _reconsider(self, moment: Moment) -> CancelRequest | None:
        """Cancel a request that is outdated, as long as the one that replaces it will be ready in time."""
        running, old, new = self._running, self._running.request.params, moment.params
        is_outdated = any(getattr(old, name) != getattr(new, name) for name in NOW_FIELDS)
        is_outdated = is_outdated or (self._is_new_take and not running.is_new_take)
        if not is_outdated or running.is_cancelled or not self._may_cancel(moment):
            return None
        running.is_cancelled = True
        return CancelRequest(running.request.index)

    def _may_cancel(self, moment: Moment) -> bool:
        """Before the last step has begun, and while there is time to make the chunk anew."""
        request = self._running.request
        time_s = self._times.p95_s(request.num_frames, num_steps(request.params))
        in_time = time_s is not None and moment.unplayed_s >= time_s + moment.margin_s
        return in_time and self._running.step < num_steps(request.params) - 1

    def _is_due(self, moment: Moment) -> bool:
        """Whether so little is unplayed that the next chunk, made twice, would come just in time."""
        params = moment.params
        num_frames = self._longest(params.num_frames, params.frame_rate)
        time_s = self._times.p95_s(num_frames, num_steps(params))
        if time_s is None:
            return True
        num_prefix = self._num_prefix(num_frames, params)
        overlap_s, new_s = num_prefix / params.frame_rate, (num_frames - num_prefix) / params.frame_rate
        wanted_s = time_s + max(time_s, overlap_s) + moment.margin_s + params.realtime_pacing_slack * new_s
        return moment.unplayed_s <= wanted_s

    def _ask(self, moment: Moment) -> ChunkRequest:
        params = moment.params
        num_frames = self._num_frames(moment)
        num_prefix = self._num_prefix(num_frames, params)
        history = self.history if num_prefix else None
        request = ChunkRequest(
            index=self._index,
            params=params,
            seed=self._draw_seed() if params.randomize_seed else chunk_seed(params.seed, self._index),
            start=moment.free_from,
            num_frames=num_frames,
            continue_from=None if history is None else (history.index, history.num_frames),
            history=history,
            epoch=moment.epoch,
        )
        self._running = _Running(request, moment.now_s, is_new_take=history is None)
        return request

    def _num_prefix(self, num_frames: int, params: Any) -> int:
        """Frames that a chunk of this length would begin with of the last one: 9, else 1, or 0 for a new take."""
        history = self.history
        continues = (
            history is not None
            and not self._is_new_take
            and params.continuity > 0
            and history.frame_rate == params.frame_rate
            and history.frames.shape[1:3] == (self._engine.height, self._engine.width)
        )
        if not continues:
            return 0
        return num_prefix_frames(num_frames, history.num_frames)

    def _num_frames(self, moment: Moment) -> int:
        """The longest 8K + 1 that will be ready before all is played.

        A shorter chunk is taken only where the engine keeps up with real time at that length. Where nothing fits,
        there is an underrun anyway, and one pause before a whole chunk is better than several: full length. So an
        engine slower than real time always makes whole chunks, which cost least per new second.
        """
        params = moment.params
        longest, steps = self._longest(params.num_frames, params.frame_rate), num_steps(params)
        for num_frames in range(longest, min(longest, SHORTEST_CHUNK) - 1, -8):
            time_s = self._times.p95_s(num_frames, steps)
            if time_s is None:
                break
            new_s = (num_frames - self._num_prefix(num_frames, params)) / params.frame_rate
            keeps_up = num_frames == longest or time_s <= new_s
            if keeps_up and time_s + moment.margin_s <= moment.unplayed_s:
                return num_frames
        return longest
