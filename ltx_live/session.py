"""When to ask the engine for a chunk, and for what. Pure logic: time, positions and values are given to it.

How a gesture is answered by a cut, with a timing diagram: docs/decisions/0007-cuts.md.
"""

from __future__ import annotations

import dataclasses
import math
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ltx_live import params as table
from ltx_live.chunk import (
    SAMPLE_RATE_HZ,
    Chunk,
    ChunkRequest,
    EngineInfo,
    Progress,
    StepValues,
    WeightedPrompts,
    chunk_seed,
    num_steps,
    work,
)
from ltx_live.chunk_times import ChunkTimes
from ltx_live.engine.process import Cancelled, Died, Failed, Message, Ready
from ltx_live.failures import Failures
from ltx_live.gestures import RESTART, STEP_FIELDS, waiting, with_fields
from ltx_live.lengths import RESERVE, Lengths
from ltx_live.moment import Landing, Moment
from ltx_live.show_log import record
from ltx_live.statistics import Statistics

SLACK_S = 0.1
"""How much earlier than just in time a cut on the grid is asked for: several ticks, so that none of them misses it."""


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """The request under way is outdated: cancel it, the next one follows."""

    index: int


@dataclass(slots=True)
class _Running:
    """The request under way; `is_answer` tells that it has the values of a gesture, `dropped_s` what it cuts away.

    `base` is it without what modulators add; `sent` are those values, and what it was sent while being made, by epoch.
    """

    request: ChunkRequest
    asked_s: float
    is_answer: bool
    dropped_s: float
    base: ChunkRequest
    sent: dict[int, Any]
    step: int = 0
    is_cancelled: bool = False

    @property
    def is_new_take(self) -> bool:
        return self.request.continue_from is None

    @property
    def may_cancel(self) -> bool:
        """Whether its last step has not begun."""
        return not self.is_cancelled and self.step < num_steps(self.request.params) - 1


class Session:
    """Decides at every tick on at most one action: a ChunkRequest, a CancelRequest, or nothing.

    `longest(num_frames, frame_rate)` is how long a request may be to fit a slot; `write_log(line)` takes one JSON line
    per appended chunk, which holds all a replay needs; `draw_seed()` gives fresh seeds for `randomize_seed`.
    `history` and the history of the request under way must not be released: a chunk continues them.
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
        self._write_log = write_log
        self._draw_seed = draw_seed
        self._times = ChunkTimes()
        self._lengths = Lengths(longest, self._times)
        self._engine: EngineInfo | None = None
        self._running: _Running | None = None
        self._index = 0
        self._is_new_take = False
        self._failures = Failures()
        self._last_made: ChunkRequest | None = None
        self._answered_at = 0  # where the last gesture that was answered is heard first
        self._is_starving = False
        self._has_waited_for_text = False  # for a chunk, which is enough where the engine is never idle
        self._played: WeightedPrompts = ()

    @property
    def running(self) -> ChunkRequest | None:
        """The request under way."""
        return None if self._running is None else self._running.request

    @property
    def step(self) -> tuple[int, int]:
        """(steps done, steps) of the request under way, (0, 0) when there is none."""
        return (0, 0) if self._running is None else (self._running.step, num_steps(self._running.request.params))

    def expected_factor(self, params: Any) -> float | None:
        """How many times faster than real time a whole chunk with these values will be made; None before the first."""
        return None if self._engine is None else self._lengths.factor(params)

    def restart(self) -> None:
        """A gesture: the chunk that answers it starts a new take that continues nothing."""
        self._is_new_take = True

    def handle(self, message: Message, now_s: float) -> None:
        """Take note of what the engine says. A Chunk given here is one that the timeline appends."""
        match message:
            case Ready(info):
                self._engine = self._lengths.engine = info
                self._times.engine_started()
                self.notice = self._failures.refusal
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

    def comes_too_late(self, chunk: Chunk, position: float, end: int, speed: float) -> bool:
        """Whether a cut has taken so long that nothing could follow it in time, while what it replaces reaches on."""
        ready = position + self._time_s(self.running) * speed * SAMPLE_RATE_HZ if speed else position
        return chunk.end < min(end, ready)

    def drop(self, chunk: Chunk, now_s: float) -> None:
        """A chunk was not appended because it came too late; its gesture is still waiting."""
        self._learn(chunk, now_s)
        self._running = None
        self.statistics.num_cancelled += 1

    def decide(self, moment: Moment) -> ChunkRequest | CancelRequest | None:
        """The one thing to do now. A request is under way once it was returned here."""
        self._count_underruns(moment)
        moment = self._with_working_values(moment)
        waits = self._waiting(moment)
        can_land = waits and self._last_made is not None and self._engine is not None
        landing = self._landing(moment, waits) if can_land else None
        self._foresee(moment, bool(waits), landing)
        if moment.params.pause or self._engine is None:
            return None
        if self._running is not None:
            return self._cancel() if waits and self._is_in_the_way(moment, landing) else None
        if not moment.num_free_slots or moment.now_s < self._failures.retry_at_s:
            return None
        if landing is not None and landing.needed_end <= moment.end:
            if landing.ask_in_s > 0:
                return None
            return self._ask(self._without(moment, landing.later), waits.keys() - landing.later, landing)
        if landing is not None and landing.on_grid:
            is_last_chance = self._fill_s(moment) + SLACK_S >= landing.ask_in_s
            return self._play_on(moment, waits.keys(), landing.gridded, is_last_chance)
        waits_for_text = moment.is_encoding(moment.params) and not self._has_waited_for_text
        action = self._play_on(moment, waits.keys(), waits.keys() if waits_for_text else frozenset())
        self._has_waited_for_text = self._has_waited_for_text or (waits_for_text and action is not None)
        return action

    def step_values(self, moment: Moment) -> StepValues | None:
        """What the chunk under way shall take up while its noise is high; None when it has been told already.

        What lands on a grid is not taken up; nor is anything beside a gesture that waits, whose epoch it would have.
        """
        running, params = self._running, self._with_working_values(moment).params
        if running is None or running.is_cancelled or not params.late_latch:
            return None
        *_, last = running.sent.values()
        newest = with_fields(last, params, [name for name in STEP_FIELDS if moment.rules.get(name) in ("now", "chunk")])
        restarts = self._is_new_take and not running.is_new_take
        if newest == last or waiting(newest, moment.params, moment.rules, restarts):
            return None
        running.sent[moment.epoch] = newest
        sampled = moment.sample(newest)
        prompts = moment.prompts(sampled, running.request.start, running.request.index)
        taken = {name: getattr(sampled, name) for name in ("lora_strength", "identity_guidance_scale")}
        return StepValues({"prompts": prompts, **taken}, moment.epoch)

    def _finish(self, chunk: Chunk, now_s: float) -> None:
        took_s = self._learn(chunk, now_s)
        running, self._running = self._running, None
        request = running.request
        self.history = chunk
        self._index = chunk.index + 1
        self._is_new_take = self._is_new_take and not running.is_new_take
        self._failures.worked()
        values = running.sent.get(chunk.epoch, running.base.params)
        self._last_made = dataclasses.replace(request, history=None, params=values, epoch=chunk.epoch)
        self.notice = self._failures.refusal
        if running.is_answer:
            self._answered_at = request.start
            self._has_waited_for_text = False
        self.statistics.add(chunk, took_s, running.dropped_s)
        self.statistics.chunk_time_s = self._time_s(request)
        self.statistics.num_prompts += request.played != self._played
        self._played = request.played
        self._write_log(record(request, chunk, now_s, took_s))

    def _learn(self, chunk: Chunk, now_s: float) -> float:
        """How long the request under way took, in s; T is learned without what was spent on new texts."""
        request = self.running
        took_s = max(1e-6, now_s - self._running.asked_s)
        text_s = chunk.timings_s.get("wait", 0.0) + chunk.timings_s.get("text", 0.0)
        self._times.add(request.num_frames, work(request.params), max(1e-6, took_s - text_s))
        return took_s

    def _fail(self, text: str, index: int | None, fatal: bool, now_s: float) -> None:
        self.notice = text
        if fatal or index is None or self._running is None:
            return
        failed, self._running = self._running.base.params, None
        self.statistics.num_failed += 1
        made = self._last_made
        self.notice = self._failures.add(failed, None if made is None else made.params, text, now_s)

    def _with_working_values(self, moment: Moment) -> Moment:
        """The moment with the values of the last chunk for those that failed; its epoch does not claim them."""
        made = self._last_made
        working = moment.params if made is None else self._failures.working(moment.params, made.params)
        return moment if working is moment.params else dataclasses.replace(moment, params=working, epoch=made.epoch)

    def _count_underruns(self, moment: Moment) -> None:
        """An underrun begins when all is played; a pause, what is held or a show that has not begun is none."""
        is_starving = self.history is not None and moment.position >= moment.end and moment.speed > 0
        if is_starving and not self._is_starving and not moment.params.pause:
            self.statistics.num_underruns += 1
        self._is_starving = is_starving

    def _waiting(self, moment: Moment) -> dict[str, str]:
        """The gesture that neither the request under way nor the last chunk has taken up: its fields, and rules."""
        newest = self._newest
        if newest is None:
            return {}
        running = self._running
        restarts = self._is_new_take and (running is None or running.is_cancelled or not running.is_new_take)
        return waiting(newest.params, moment.params, moment.rules, restarts)

    @property
    def _newest(self) -> ChunkRequest | None:
        """The newest request whose values are, or will be, heard; without what modulators add."""
        running = self._running
        return self._last_made if running is None or running.is_cancelled else running.base

    def _without(self, moment: Moment, fields: Collection[str]) -> Moment:
        """The moment with the values before for these fields; its epoch does not claim them."""
        if not fields:
            return moment
        params = with_fields(moment.params, self._newest.params, fields)
        return dataclasses.replace(moment, params=params, epoch=self._newest.epoch)

    def _landing(self, moment: Moment, waits: Mapping[str, str]) -> Landing | None:
        """Where what waits lands first; None where that is with the next chunk.

        On a grid beyond the end of the material, chunks with the values before come first, so there must be time.
        """
        params = moment.sampled().params
        num_frames = self._lengths.cut(params, self._continues(params, self.history, RESTART in waits), moment.speed)
        if num_frames is None:
            return None
        time_s = self._times.bound_s(num_frames, work(params)) + moment.text_s(params)
        reserve = moment.samples((RESERVE - 1) * time_s)
        wait_s = self._wait_s(moment)
        earliest = moment.ready(wait_s + time_s)
        places = moment.places(waits, earliest)
        if not places:
            return None
        target = min(places.values())
        on_grid = target != earliest
        if on_grid and target + reserve > moment.end:
            places = moment.places(waits, moment.ready(self._fill_s(moment) + time_s))
            target = min(places.values())
        ask_in_s = moment.until_s(target - moment.lead(time_s)) if on_grid else wait_s
        later = frozenset(field for field, place in places.items() if place > target)
        return Landing(num_frames, target, ask_in_s - SLACK_S, target + reserve, on_grid, later, frozenset(places))

    def _time_s(self, request: ChunkRequest) -> float:
        """T of a request's shape; infinite before the first chunk."""
        time_s = self._times.p95_s(request.num_frames, work(request.params))
        return math.inf if time_s is None else time_s

    def _remaining_s(self, moment: Moment) -> float:
        return max(0.0, self._running.asked_s + self._time_s(self.running) - moment.now_s)

    def _wait_s(self, moment: Moment) -> float:
        """Until the engine is free for a cut: one step for a request that can be cancelled."""
        running = self._running
        if running is None:
            return 0.0
        if running.is_cancelled or (running.may_cancel and not running.is_answer):
            return self._time_s(running.request) / num_steps(running.request.params)
        return self._remaining_s(moment)

    def _fill_s(self, moment: Moment) -> float:
        """Until a chunk that fills up with the values before is there: the one under way, or a new one."""
        if self._running is not None:
            return self._remaining_s(moment)
        time_s = self._times.p95_s(self._lengths.whole(moment.params), work(moment.params))
        return time_s + moment.text_s(self._newest.params)

    def _foresee(self, moment: Moment, is_waiting: bool, landing: Landing | None) -> None:
        """Predict when the newest gesture is heard."""
        running = self._running
        if landing is not None:
            at = landing.target
        elif is_waiting:
            at = moment.free_from
        elif running is not None and running.is_answer:
            at = running.request.start
        else:
            at = self._answered_at
        ahead_s = moment.until_s(at)
        self.statistics.landing_s = ahead_s if 0 < ahead_s < math.inf else None

    def _is_in_the_way(self, moment: Moment, landing: Landing | None) -> bool:
        """Whether the request under way is to be cancelled, while what replaces it will be ready in time.

        The answer to a gesture is never cancelled for a cut: a stream of gestures gets a cut after the other.
        """
        running = self._running
        if not running.may_cancel or running.is_answer:
            return False
        if landing is None:
            again_s = self._wait_s(moment) + RESERVE * self._time_s(running.request) + moment.text_s(moment.params)
            return moment.has_room(again_s)
        if landing.needed_end > moment.end:
            return False
        return self._remaining_s(moment) > landing.ask_in_s

    def _cancel(self) -> CancelRequest:
        self._running.is_cancelled = True
        return CancelRequest(self._running.request.index)

    def _is_due(self, moment: Moment, restarts: bool) -> bool:
        """Whether so little is unplayed that the next chunk, made twice, would come just in time."""
        wanted_s = self._lengths.wanted_s(moment, self._continues(moment.params, self.history, restarts))
        return wanted_s is None or moment.unplayed_s <= wanted_s

    def _play_on(
        self, moment: Moment, waits: Collection[str], later: Collection[str], at_once: bool = False
    ) -> ChunkRequest | None:
        """The next chunk when it is due or `at_once`, without what of the gesture comes later."""
        moment, answered = self._without(moment, later), waits - later
        return self._ask(moment, answered) if at_once or self._is_due(moment.sampled(), RESTART in answered) else None

    def _ask(self, moment: Moment, answered: Collection[str], landing: Landing | None = None) -> ChunkRequest:
        """A request that goes on from the cut, or from the end; `answered` is what it takes up of the gesture."""
        wanted, moment = moment.params, moment.sampled()
        params, history, start = moment.params, self.history, moment.free_from
        frame = None if history is None else history.num_frames
        if landing is not None:
            history, frame, start = moment.cut_at(landing.cut_from(history.frame_rate))
        continues = self._continues(params, history, RESTART in answered)
        request = ChunkRequest(
            index=self._index,
            params=params,
            seed=self._draw_seed() if params.randomize_seed else chunk_seed(params.seed, self._index),
            start=start,
            num_frames=self._lengths.next(moment, continues) if landing is None else landing.num_frames,
            continue_from=(history.index, frame) if continues else None,
            history=history if continues else None,
            epoch=moment.epoch,
            prompts=moment.prompts(params, start, self._index),
        )
        dropped_s = max(0, moment.end - start) / SAMPLE_RATE_HZ
        base = dataclasses.replace(request, params=wanted)
        self._running = _Running(request, moment.now_s, bool(answered), dropped_s, base, {moment.epoch: wanted})
        return request

    def _continues(self, params: Any, history: Chunk | None, restarts: bool) -> bool:
        """Whether a chunk with these values can go on from `history`."""
        return (
            history is not None
            and not restarts
            and params.continuity > 0
            and history.frame_rate == params.frame_rate
            and history.frames.shape[1:3] == (self._engine.height, self._engine.width)
        )
