"""Reads the media faster or slower than it was made, as a tape does: the pitch follows. At 1 it copies exactly."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.stage.playlist import Playlist, Segment, read

RAMP_SAMPLES = SAMPLE_RATE_HZ // 20
"""The speed changes by 1 in no less than 50 ms: a tape that is stopped, or let go."""


class Stretch(NamedTuple):
    """What is read for a block: `samples` (N + ahead, 2) float32, of the first N of which `num_media` are media.

    The media moves on by `num_moved` whole samples; `speed` is that of the block, on average.
    """

    samples: np.ndarray
    num_media: int
    num_moved: int
    speed: float


class Varispeed:
    """The one owner of how fast the media runs: `speed` media samples for one that is handed out, at present."""

    def __init__(self) -> None:
        self.speed = 1.0
        self._fraction = 0.0  # of a sample, by which the media has moved on beyond whole ones; 0 at a speed of 1

    def read(self, playlist: Playlist, start: int, num: int, ahead: int, target: float) -> Stretch:
        """The next `num` samples from media position `start` on, and `ahead` (1 or more) that follow if it stays so.

        Towards the speed `target` it goes by a ramp. When it comes to 1, the media comes to a whole sample: the last
        ramp is as much longer or shorter, by half a sample at most.
        """
        before, most = self.speed, num / RAMP_SAMPLES
        self.speed = min(max(target, before - most), before + most)
        left = max(playlist.end - start, 0)
        if before == self.speed == 1.0:
            samples = np.empty((num + ahead, 2), np.float32)
            read(playlist.segments, start, samples)
            return Stretch(samples, min(left, num), min(left, num), 1.0)
        places = self._places(before, num, ahead)
        samples = interpolated(playlist.segments, start, places)
        num_media = int(np.searchsorted(places[:num], left))
        end = min(float(places[num]), float(left))
        num_moved = int(end)
        self._fraction = end - num_moved if num_media == num else 0.0
        return Stretch(samples, num_media, num_moved, (before + self.speed) / 2)

    def _places(self, before: float, num: int, ahead: int) -> np.ndarray:
        """Where the samples of a block and what follows stand, in media samples from its start, (num + ahead,)."""
        end = self._fraction + (before + self.speed) / 2 * num
        if self.speed == 1.0:
            end = float(round(end))
        index = np.arange(num + ahead, dtype=np.float64)
        places = self._fraction + before * index + (end - self._fraction - before * num) * (index / num) ** 2
        places[num:] = end + self.speed * (index[num:] - num)
        return places


def interpolated(segments: tuple[Segment, ...], start: int, places: np.ndarray) -> np.ndarray:
    """The media at `places` (N,), ascending, in samples from position `start` on, (N, 2): a cubic through four samples.

    Source: Catmull and Rom, "A class of local interpolating splines", 1974. On a whole sample it is that sample.
    """
    whole = np.floor(places)
    index = whole.astype(np.int64)
    media = np.empty((int(index[-1]) + 4, 2), np.float32)  # from the sample before the start on
    read(segments, start - 1, media)
    t = (places - whole).astype(np.float32)[:, None]  # (N, 1)
    a, b, c, d = (media[index + k] for k in range(4))
    return b + t * 0.5 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
