"""What a look can follow of a sound: level, low, mid, high and onset, each 0..1, from tick to tick."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.media.levels import LevelMeter, Response
from ltx_live.params import SIGNALS

LONGEST_SAMPLES = SAMPLE_RATE_HZ // 4
"""Of more that came since the last tick, only the newest count."""

STALL_S = 0.1
"""A sound of which nothing new came for this long is silent: a live input's blocks take 10 to 40 ms."""


class Stream(NamedTuple):
    """A sound that grows: `read(position, num_samples)` gives (num_samples, 2) float32; `end` is where it is now."""

    read: Callable[[int, int], np.ndarray]
    end: int


class Signals:
    """Call `update` once a tick with the sound as it is heard now; `values` are the signals then, by name."""

    def __init__(self) -> None:
        self.values: Mapping[str, float] = dict.fromkeys(SIGNALS, 0.0)
        self._meter = LevelMeter()
        self._shapes: dict[str, tuple[float, float]] = dict.fromkeys(SIGNALS, (1.0, 0.0))
        self._end = 0
        self._told_s = self._new_s = -1e9

    def take(self, values: Mapping[str, Any]) -> None:
        """Follow the rows `react/`."""
        self._meter.response = Response(values["react/attack"], values["react/release"])
        self._shapes = {name: (values[f"react/{name}/gain"], values[f"react/{name}/cutoff"]) for name in SIGNALS}

    def update(self, sound: Stream | None, now_s: float) -> Mapping[str, float]:
        """Measure what has come since the last tick; None is silence. Times are `time.perf_counter` seconds."""
        levels = self._meter.update(self._new(sound, now_s))
        self.values = {name: shaped(getattr(levels, name), *self._shapes[name]) for name in SIGNALS}
        return self.values

    def _new(self, sound: Stream | None, now_s: float) -> np.ndarray:
        """The samples (N, 2) since the last tick; where the sound stands still, silence as long as the tick took."""
        num_elapsed = round(min(now_s - self._told_s, 1.0) * SAMPLE_RATE_HZ)
        self._told_s = now_s
        num = num_elapsed
        if sound is not None:
            num, self._end = sound.end - self._end, sound.end
            if num:
                self._new_s = now_s
                num = min(num if num > 0 else num_elapsed, LONGEST_SAMPLES)  # it may have jumped back
                return sound.read(sound.end - num, num)
            num = num_elapsed if now_s - self._new_s > STALL_S else 0
        return np.zeros((min(num, LONGEST_SAMPLES), 2), np.float32)


def shaped(value: float, gain: float, cutoff: float) -> float:
    """A value 0..1 from `cutoff` up, stretched to 0..1 again, times `gain`, at most 1; below the cutoff it is 0."""
    return min(1.0, gain * (value - cutoff) / (1 - cutoff)) if value > cutoff else 0.0
