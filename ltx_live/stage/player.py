"""What the audio callback does, whoever calls it: read the playlist at a speed, one gain ramp, limit, report."""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

import numpy as np

from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.stage.clock import Published, Run
from ltx_live.stage.limiter import LOOKAHEAD_SAMPLES, Limiter
from ltx_live.stage.playlist import EMPTY, Playlist
from ltx_live.stage.varispeed import Stretch, Varispeed

START_FADE_SAMPLES = 2 * SAMPLE_RATE_HZ
GAIN_RAMP_SAMPLES = SAMPLE_RATE_HZ // 100
QUIET_SPEED = 0.1
"""Below this speed the sound gets quieter with it; what is held is silent."""

TOLD_S = 1.0
"""So long it is told how fast the media ran: longer than any output's latency and `av/offset`."""

FALL_S = 1.7
"""The level falls by 20 dB in this time, so that a beat between two looks at it is seen."""


class TapBlock(NamedTuple):
    """A block as it was handed out: `samples` (N, 2) float32, of which the first `num_media` are media, up to `end`."""

    position: int
    num_media: int
    samples: np.ndarray
    end: int

    def media_at(self, index: int) -> int:
        """The media position of one of the samples; of the silence after the media, where that ended."""
        return self.position + (self.end - self.position) * min(index, self.num_media) // max(1, self.num_media)


class Player:
    """Plays `playlist` at `target_gain` and `target_speed`, which the show's thread sets, each by one assignment.

    `published` answers back. `level` is the peak of what was handed out, 0..1, that falls by 20 dB in FALL_S.
    `tap`, when set, receives every block handed out (a bounded deque: the oldest are lost).
    """

    def __init__(self) -> None:
        self.playlist: Playlist = EMPTY
        self.target_gain = 1.0
        self.target_speed = 1.0
        self.published = Published()
        self.num_underruns = 0
        self.num_errors = 0
        self.largest_block = 0
        self.level = 0.0
        self.tap: deque[TapBlock] | None = None
        self._gain = 0.0
        self._starved = False
        self._varispeed = Varispeed()
        self._limiter = Limiter()

    @property
    def committed(self) -> int:
        """The first media sample that may still be changed: what is handed out, and two blocks for safety."""
        fastest = max(1.0, self.target_speed, self.published.speed)
        return self.published.samples + math.ceil(2 * self.largest_block * fastest)

    def latency_s(self, now_s: float) -> float:
        """How long it takes until what may still be changed is heard."""
        return max(0.0, self.published.heard_s - now_s) + 2 * self.largest_block / SAMPLE_RATE_HZ

    @property
    def is_silent(self) -> bool:
        """Whether the gain is down to zero: what is handed out from now on is silence."""
        return self._gain == 0.0

    def mute_until_ramped(self) -> None:
        """Start again from silence: the next block rises from zero in 10 ms, for a device that has just been opened."""
        self._gain = 0.0

    def render(self, out: np.ndarray, heard_s: float) -> None:
        """Fill `out` (N, 2); its first sample is heard at `heard_s`. Zeros of an underrun do not advance the media."""
        try:
            self._render(out, heard_s)
        except Exception:  # an error here must be silence, never the end of the sound (design.md 9)
            out.fill(0.0)
            self.num_errors += 1

    def _render(self, out: np.ndarray, heard_s: float) -> None:
        playlist, start, num = self.playlist, self.published.samples, len(out)
        stretch = self._varispeed.read(playlist, start, num, LOOKAHEAD_SAMPLES, self.target_speed)
        samples, num_media = stretch.samples, stretch.num_media
        samples[num_media:] *= num_media == num  # what comes after the end waits
        samples *= self._gains(start, start + num * stretch.speed, num, len(samples))
        out[:] = self._limiter.process(samples)
        self.level = max(float(np.abs(out).max(initial=0.0)), self.level * 0.1 ** (num / SAMPLE_RATE_HZ / FALL_S))
        if num_media < num and not self._starved and playlist.end:
            self.num_underruns += 1
        self._starved = num_media < num
        self.largest_block = max(self.largest_block, num)
        self._publish(stretch, heard_s, playlist.generation)
        if self.tap is not None:
            self.tap.append(TapBlock(start, num_media, out.copy(), self.published.samples))

    def _publish(self, stretch: Stretch, heard_s: float, generation: int) -> None:
        """Report a block whose first sample is heard at `heard_s`."""
        before = self.published
        if not stretch.num_media:
            self.published = before._replace(generation=generation)
            return
        earlier = before.earlier
        if stretch.speed != before.speed:
            earlier = tuple(run for run in earlier if run.heard_s > heard_s - TOLD_S)
            earlier += (Run(before.samples, heard_s, before.speed),)
        samples, end_s = before.samples + stretch.num_moved, heard_s + stretch.num_media / SAMPLE_RATE_HZ
        self.published = Published(samples, end_s, generation, stretch.speed, earlier)

    def _gains(self, start: int, end: float, num: int, num_all: int) -> np.ndarray:
        """One linear ramp to the target, full scale in no less than 10 ms, times the fade-in of the show's start."""
        step = num / GAIN_RAMP_SAMPLES
        before = self._gain
        target = self.target_gain * min(1.0, self._varispeed.speed / QUIET_SPEED)
        self._gain += min(max(target - before, -step), step)
        fades = [min(1.0, position / START_FADE_SAMPLES) for position in (start, end)]
        gains = np.full((num_all, 1), self._gain * fades[1], np.float32)
        gains[:num, 0] = np.linspace(before * fades[0], self._gain * fades[1], num, endpoint=False)
        return gains
