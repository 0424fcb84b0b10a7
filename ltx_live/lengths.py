"""How many frames to ask for: as long as asked, as short as it must be to come in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ltx_live.chunk import PREFIX_FRAMES, SAMPLE_RATE_HZ, EngineInfo, num_prefix_frames, work
from ltx_live.chunk_times import ChunkTimes
from ltx_live.moment import Moment
from ltx_live.params import snap_num_frames

SHORTEST_CHUNK = 17  # frames; below it nearly all work goes into the prefix
RESERVE = 1.1
"""A chunk may take so many times longer than the longest of its shape lately."""

SLOWEST = 0.5
"""A slower show is supplied as if it ran at this speed: when it runs at 1 again, the next chunk comes just in time."""


def in_beats(params: Any, bpm: float) -> Any:
    """The params with the `num_frames` whose new frames come nearest to `beats` at a tempo; as they are without."""
    if not params.beats:
        return params
    num_new = params.beats * 60 / bpm * params.frame_rate
    return replace(params, num_frames=snap_num_frames(num_new + PREFIX_FRAMES))


class Lengths:
    """Lengths of requests, 8K + 1 frames. `longest(num_frames, frame_rate)` is how long one may be to fit a slot.

    `continues` says whether the chunk will go on from another: then it begins with frames of that one.
    """

    def __init__(self, longest: Callable[[int, float], int], times: ChunkTimes):
        self.engine: EngineInfo | None = None
        self._longest = longest
        self._times = times

    def whole(self, params: Any) -> int:
        """What is asked for, where slot and engine allow it."""
        return min(self._longest(params.num_frames, params.frame_rate), self.engine.max_num_frames)

    def new_s(self, num_frames: int, params: Any, continues: bool) -> float:
        """Seconds of a chunk that were not there before."""
        num_prefix = num_prefix_frames(num_frames, PREFIX_FRAMES) if continues else 0
        return (num_frames - num_prefix) / params.frame_rate

    def factor(self, params: Any) -> float | None:
        """How many times faster than real time a whole, continued chunk is made; None before the first."""
        num_frames = self.whole(params)
        time_s = self._times.p95_s(num_frames, work(params))
        return None if time_s is None else self.new_s(num_frames, params, True) / time_s

    def wanted_s(self, moment: Moment, continues: bool) -> float | None:
        """Unplayed seconds of media at which the next chunk, made twice, comes just in time; None before the first."""
        params = moment.params
        num_frames = self.whole(params)
        time_s = self._times.p95_s(num_frames, work(params))
        if time_s is None:
            return None
        moment = replace(moment, speed=max(SLOWEST, moment.speed))
        new_s = self.new_s(num_frames, params, continues)
        overlap_s = num_frames / params.frame_rate - new_s
        soonest_s = moment.lead(time_s + moment.text_s(params)) / SAMPLE_RATE_HZ
        return soonest_s + max(time_s * moment.speed, overlap_s) + params.realtime_pacing_slack * new_s

    def next(self, moment: Moment, continues: bool) -> int:
        """The longest that will be ready before all is played.

        A shorter chunk is taken only where the engine keeps up with the show at that length. Where nothing fits,
        there is an underrun anyway, and one pause before a whole chunk is better than several: full length. So an
        engine slower than the show always makes whole chunks, which cost least per new second.
        """
        params = moment.params
        whole = self.whole(params)
        for num_frames in range(whole, min(whole, SHORTEST_CHUNK) - 1, -8):
            time_s = self._times.p95_s(num_frames, work(params))
            if time_s is None:
                break
            keeps_up = num_frames == whole or time_s * moment.speed <= self.new_s(num_frames, params, continues)
            if keeps_up and moment.has_room(RESERVE * time_s + moment.text_s(params)):
                return num_frames
        return whole

    def cut(self, params: Any, continues: bool, speed: float = 1.0) -> int | None:
        """The longest up to `cut_frames` that feeds the show: one cut after the other, each made while one plays.

        Where none does, the shortest above it that does, at a speed of 1 at least, else at the show's; or what brings
        most new seconds per second of work. None where that is less than the speed: every cut would end in an underrun.
        """
        whole = self.whole(params)
        shortest = min(SHORTEST_CHUNK, params.cut_frames, whole)
        gains = {
            num_frames: self.new_s(num_frames, params, continues) / self._times.p95_s(num_frames, work(params))
            for num_frames in range(shortest, whole + 1, 8)
        }
        for pace in (max(1.0, speed), speed):
            feeding = [num_frames for num_frames, gain in gains.items() if gain >= RESERVE * pace]
            short = [num_frames for num_frames in feeding if num_frames <= params.cut_frames]
            if feeding:
                return max(short) if short else min(feeding)
        best = max(gains, key=gains.__getitem__)
        return best if gains[best] >= speed else None
