"""Time of the show: the media position that is heard now, and the pace of drawing. Time itself is injected."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from ltx_live.chunk import SAMPLE_RATE_HZ

JUMP_S = 0.04
CORRECTION_S = 0.5
PLAUSIBLE_TIMES = 16
_EARLY_S = 0.0005  # by which a sleep may end too soon and still count as done


class Run(NamedTuple):
    """A stretch in which the media ran at one `speed`: its end, `samples`, leaves the speaker at `heard_s`."""

    samples: int
    heard_s: float
    speed: float

    def at(self, time_s: float) -> float:
        """The media position that is heard at a time, as if it were within the stretch."""
        return self.samples - (self.heard_s - time_s) * SAMPLE_RATE_HZ * self.speed


class Published(NamedTuple):
    """What the audio callback says: `samples` of media handed out; the last leaves the speaker at `heard_s`.

    `speed` is how many media samples it takes for one that is heard. Where that has changed within the last second,
    `earlier` tells what was handed out before.
    """

    samples: int = 0
    heard_s: float = 0.0
    generation: int = 0
    speed: float = 1.0
    earlier: tuple[Run, ...] = ()

    def run_at(self, time_s: float) -> Run:
        """What is heard at a time; the last, when that is over."""
        run = Run(self.samples, self.heard_s, self.speed)
        for before in reversed(self.earlier):
            if time_s >= before.heard_s:
                break
            run = before
        return run

    def at(self, time_s: float) -> float:
        """The media position that is heard at a time, if the last speed stays."""
        return self.run_at(time_s).at(time_s)


class PlayClock:
    """The heard media position, from the callback's reports: smooth between them, never backwards."""

    def __init__(self) -> None:
        self._position = 0.0
        self._time_s: float | None = None

    def position(self, published: Published, now_s: float) -> float:
        """Samples of the media clock heard at `now_s`.

        Callbacks come in bursts, so the reports lead a free-running clock that follows them slowly; it jumps ahead,
        or waits, when it is more than 40 ms off. It stands still where the media ended (underrun), or is held.
        """
        if published.samples == 0:
            return self._position
        run = published.run_at(now_s)
        reported = min(published.samples, run.at(now_s))
        before_s = now_s if self._time_s is None else min(self._time_s, now_s)
        self._time_s = now_s
        running = self._position + run.at(now_s) - published.at(before_s)
        error = reported - running
        if run.speed and abs(error) < JUMP_S * SAMPLE_RATE_HZ:
            running += error * min(1.0, (now_s - before_s) / CORRECTION_S)
        else:
            running = reported
        self._position = max(self._position, min(running, published.samples))
        return self._position


class DacLatency:
    """Seconds from callback to speaker: the stream's own times once they have been plausible for a while."""

    def __init__(self, nominal_s: float) -> None:
        self._nominal_s = nominal_s
        self._num_plausible = 0

    def update(self, reported_s: float) -> float:
        """The latency to use for this block; `reported_s` = outputBufferDacTime - currentTime."""
        plausible = 0.001 <= reported_s <= 2 * self._nominal_s + 0.2
        self._num_plausible = self._num_plausible + 1 if plausible else 0
        return reported_s if self._num_plausible >= PLAUSIBLE_TIMES else self._nominal_s


class FramePacer:
    """Waits for the next drawing time; vsync is not to be trusted. A late frame moves the beat instead of hurrying."""

    def __init__(
        self,
        rate_hz: float,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._period_s = 1 / rate_hz
        self._clock = clock
        self._sleep = sleep
        self._next_s = clock()

    def wait(self) -> bool:
        """Sleep until the next frame is due; False where `sleep` ended before that."""
        now = self._clock()
        if now >= self._next_s:
            self._next_s = now + self._period_s
            return True
        self._sleep(self._next_s - now)
        if self._clock() < self._next_s - _EARLY_S:
            return False
        self._next_s += self._period_s
        return True
