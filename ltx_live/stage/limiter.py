"""A look-ahead peak limiter: loud sound is turned down smoothly before it could clip, quiet sound is left bit-exact."""

from __future__ import annotations

import math

import numpy as np

from ltx_live.chunk import SAMPLE_RATE_HZ

CEILING = 10 ** (-0.1 / 20)
"""Largest sample that leaves: -0.1 dBFS."""

ATTACK_SAMPLES = 96
RELEASE_S = 0.15
_TARGET = 10 ** (-0.4 / 20)  # below the ceiling, because short kernels read peaks between samples a little low
_QUIET = 0.4  # peaks between samples cannot pass the target when no sample passes this, but for contrived signals
_HALF_TAPS = 8
LOOKAHEAD_SAMPLES = ATTACK_SAMPLES + _HALF_TAPS


def _interpolators() -> np.ndarray:
    """Windowed-sinc kernels for the signal between two samples, (3, taps). Source: ITU-R BS.1770-4, annex 2."""
    taps = np.arange(-_HALF_TAPS, _HALF_TAPS)
    kernels = [
        np.sinc(taps + shift) * np.cos(np.pi * (taps + shift) / (2 * _HALF_TAPS)) ** 2 for shift in (0.25, 0.5, 0.75)
    ]
    return np.stack([kernel / kernel.sum() for kernel in kernels])


_KERNELS = _interpolators()
_DECAY = math.exp(-1 / (RELEASE_S * SAMPLE_RATE_HZ))


class Limiter:
    """Keeps state from block to block: the reduction so far, and the last samples for the interpolation."""

    def __init__(self) -> None:
        self._history = np.zeros((_HALF_TAPS, 2), np.float32)
        self._reductions = np.zeros(ATTACK_SAMPLES)
        self._last = 0.0

    def process(self, samples: np.ndarray) -> np.ndarray:
        """The first N of (N + LOOKAHEAD_SAMPLES, 2) samples, limited: true peak under -0.1 dBFS.

        The rest is what comes next, read ahead from the playlist, so nothing is delayed. Should something else come
        next, the last line still keeps every sample under the ceiling.
        """
        num = len(samples) - LOOKAHEAD_SAMPLES
        block = np.concatenate((self._history, samples))
        self._history = block[num : num + _HALF_TAPS].copy()
        if self._last < 1e-6 and not self._reductions.any() and np.abs(block).max() < _QUIET:
            return samples[:num]
        needed = 1.0 - _TARGET / np.maximum(_true_peaks(block), _TARGET)  # (N + attack,) reduction each sample needs
        ahead = np.lib.stride_tricks.sliding_window_view(needed, ATTACK_SAMPLES + 1).max(axis=1)  # (N,)
        falling = _DECAY ** np.arange(1, num + 1)
        held = falling * np.maximum(np.maximum.accumulate(ahead / falling), self._last)
        held[held < 1e-6] = 0.0
        self._last = float(held[-1])
        line = np.concatenate((self._reductions, held))
        self._reductions = line[-ATTACK_SAMPLES:].copy()
        sums = np.cumsum(np.concatenate(([0.0], line)))
        smooth = (sums[ATTACK_SAMPLES + 1 :] - sums[1:-ATTACK_SAMPLES]) / ATTACK_SAMPLES  # mean of the last `attack`
        limited = samples[:num] * (1.0 - smooth[:, None]).astype(np.float32)
        return np.clip(limited, -CEILING, CEILING)


def _true_peaks(block: np.ndarray) -> np.ndarray:
    """Largest magnitude at and beside each sample, between samples too, (N + attack,)."""
    inner = block[_HALF_TAPS : len(block) - _HALF_TAPS]
    peaks = np.abs(inner).max(axis=1)
    for kernel in _KERNELS:
        for channel in range(2):
            between = np.convolve(block[:, channel], kernel[::-1], "valid")  # signal between sample i+7 and i+8
            np.maximum(peaks, np.abs(between[1 : 1 + len(peaks)]), out=peaks)
            np.maximum(peaks, np.abs(between[: len(peaks)]), out=peaks)
    return peaks
