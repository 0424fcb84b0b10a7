"""What the audio callback does, whoever calls it: copy from the playlist, one gain ramp, limit, report."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.stage.clock import Published
from ltx_live.stage.limiter import LOOKAHEAD_SAMPLES, Limiter
from ltx_live.stage.playlist import EMPTY, Playlist, read

START_FADE_SAMPLES = 2 * SAMPLE_RATE_HZ
GAIN_RAMP_SAMPLES = SAMPLE_RATE_HZ // 100
FALL_S = 1.7
"""The level falls by 20 dB in this time, so that a beat between two looks at it is seen."""


class TapBlock(NamedTuple):
    """A block as it was handed out: media position of its first sample, how many are media, samples (N, 2) float32."""

    position: int
    num_media: int
    samples: np.ndarray


class Player:
    """Plays `playlist` at `target_gain`; both are set by the show's thread, by one reference assignment each.

    `published` answers back. `level` is the peak of what was handed out, 0..1, that falls by 20 dB in FALL_S.
    `tap`, when set, receives every block handed out (a bounded deque: the oldest are lost).
    """

    def __init__(self) -> None:
        self.playlist: Playlist = EMPTY
        self.target_gain = 1.0
        self.published = Published()
        self.num_underruns = 0
        self.num_errors = 0
        self.largest_block = 0
        self.level = 0.0
        self.tap: deque[TapBlock] | None = None
        self._gain = 0.0
        self._starved = False
        self._limiter = Limiter()

    @property
    def committed(self) -> int:
        """The first media sample that may still be changed: what is handed out, and two blocks for safety."""
        return self.published.samples + 2 * self.largest_block

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
        num_media = min(max(playlist.end - start, 0), num)
        samples = np.empty((num + LOOKAHEAD_SAMPLES, 2), np.float32)
        read(playlist.segments, start, samples)
        samples[num_media:] *= num_media == num  # what comes after the end waits
        samples *= self._gains(start, num, len(samples))
        out[:] = self._limiter.process(samples)
        self.level = max(float(np.abs(out).max(initial=0.0)), self.level * 0.1 ** (num / SAMPLE_RATE_HZ / FALL_S))
        if num_media < num and not self._starved and playlist.end:
            self.num_underruns += 1
        self._starved = num_media < num
        self.largest_block = max(self.largest_block, num)
        if num_media:
            heard_s += num_media / SAMPLE_RATE_HZ
        else:
            heard_s = self.published.heard_s
        self.published = Published(start + num_media, heard_s, playlist.generation)
        if self.tap is not None:
            self.tap.append(TapBlock(start, num_media, out.copy()))

    def _gains(self, start: int, num: int, num_all: int) -> np.ndarray:
        """One linear ramp to the target, full scale in no less than 10 ms, times the fade-in of the show's start."""
        step = num / GAIN_RAMP_SAMPLES
        before = self._gain
        self._gain += min(max(self.target_gain - before, -step), step)
        fades = [min(1.0, position / START_FADE_SAMPLES) for position in (start, start + num)]
        gains = np.full((num_all, 1), self._gain * fades[1], np.float32)
        gains[:num, 0] = np.linspace(before * fades[0], self._gain * fades[1], num, endpoint=False)
        return gains
