"""What the audio callback plays: an immutable list of sample arrays on the media clock, and the fades between them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ltx_live.chunk import SAMPLE_RATE_HZ

TAIL_SAMPLES = SAMPLE_RATE_HZ * 20 // 1000
"""The fade-out at the end of every playlist, and the shortest fade at a seam."""

CUT_SAMPLES = SAMPLE_RATE_HZ * 30 // 1000
"""The fade between two sounds that are not decodes of the same moment."""

Segment = tuple[int, np.ndarray]
"""(media clock position of the first sample, samples (S, 2) float32)."""


class Playlist(NamedTuple):
    """All sound there is to play; `end` is the media position where it runs out. Publishing is one assignment."""

    generation: int = 0
    segments: tuple[Segment, ...] = ()
    end: int = 0


EMPTY = Playlist()


def read(segments: Iterable[Segment], start: int, out: np.ndarray) -> None:
    """Fill `out` (N, 2) with the media from position `start` on; where there is none it is silent."""
    out.fill(0.0)
    for first, samples in segments:
        low, high = max(start, first), min(start + len(out), first + len(samples))
        if low < high:
            out[low - start : high - start] = samples[low - first : high - first]


def fade_out(samples: np.ndarray) -> np.ndarray:
    """The samples (S, 2) with an equal-power fade to silence over their whole length."""
    return (samples * np.cos(_ramp(len(samples)) * np.pi / 2)).astype(np.float32)


def cross_fade(old: np.ndarray, new: np.ndarray, same_moment: bool) -> np.ndarray:
    """From `old` (at most N, 2) to `new` (N, 2).

    Linear between two decodes of the same moment, which are correlated; else with equal power. An `old` that ends
    early fades over what it has.
    """
    rise, fall = _ramp(len(new)), _ramp(len(old))
    up, down = (rise, 1.0 - fall) if same_moment else (np.sin(rise * np.pi / 2), np.cos(fall * np.pi / 2))
    mixed = new * up
    mixed[: len(old)] += old * down
    return mixed.astype(np.float32)


def _ramp(num_samples: int) -> np.ndarray:
    return ((np.arange(num_samples) + 0.5) / max(1, num_samples))[:, None]  # (N, 1)
