"""Measures of pulses: how brightness follows onsets, how far it is off them, and how far two sounds are apart."""

from __future__ import annotations

import numpy as np

EXPOSURE_S = 1 / 24
"""A frame shows what happens until the next one: a hit within it is already seen."""

DECAY_S = 0.1
"""How fast a pulse fades, as the pocket's world draws it."""

_TREND_S = 1.0
_DARKEST = 1 / 255


def correlation(brightness: np.ndarray, times_s: np.ndarray, hits_s: np.ndarray) -> float:
    """Pearson correlation of log brightness (F,) at its frames' times (F,) with pulses at `hits_s` (K,).

    Both without their trend, the mean over a second.
    """
    light, pulses = _light(brightness, times_s), _pulses(times_s, hits_s)
    spread = float(light.std() * pulses.std())
    return float((light * pulses).mean() / spread) if spread > 1e-12 else 0.0


def depth(brightness: np.ndarray, times_s: np.ndarray, hits_s: np.ndarray) -> float:
    """How much brighter a hit is than what is between hits, as a share: the regression of log brightness on pulses."""
    light, pulses = _light(brightness, times_s), _pulses(times_s, hits_s)
    return float(np.expm1((light * pulses).mean() / max(float(pulses.var()), 1e-12)))


def off_the_beat(brightness: np.ndarray, times_s: np.ndarray, beats_s: np.ndarray) -> tuple[float, float]:
    """(how much later than the beats the pulses are, in s; their correlation there), by trying every 5 ms.

    Within half a beat to both sides, because pulses of steady music that are late by a beat are on the beat again.
    """
    half_s = float(np.median(np.diff(beats_s))) / 2
    shifts_s = np.arange(-half_s, half_s, 0.005)
    ties = [correlation(brightness, times_s, beats_s + shift_s) for shift_s in shifts_s]
    best = int(np.argmax(ties))
    return float(shifts_s[best]), float(ties[best])


def place(piece: np.ndarray, sound: np.ndarray) -> int:
    """The sample of `sound` (S,) at which `piece` (N,) is found in it: the peak of their normalised correlation."""
    length = len(sound) + len(piece)
    cross = np.fft.irfft(np.fft.rfft(sound, length) * np.conj(np.fft.rfft(piece, length)), length)
    energy = np.concatenate(([0.0], np.cumsum(np.square(sound, dtype=np.float64))))
    norm = np.sqrt(energy[len(piece) :] - energy[: -len(piece)] + 1e-9)  # (S - N + 1,)
    return int(np.argmax(cross[: len(norm)] / norm))


def _light(brightness: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    return _without_trend(np.log(np.maximum(brightness, _DARKEST)), times_s)


def _pulses(times_s: np.ndarray, hits_s: np.ndarray) -> np.ndarray:
    """What frames would show of hits (K,): 1 where one falls, fading after. (F,)"""
    last = np.searchsorted(hits_s, times_s + EXPOSURE_S, side="right") - 1
    age_s = times_s + EXPOSURE_S - np.append(hits_s, -np.inf)[last]  # before the first hit: infinite
    return _without_trend(np.exp(-age_s / DECAY_S), times_s)


def _without_trend(values: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """Values (F,) without their mean over the second around each."""
    width = max(1, round(_TREND_S / float(np.median(np.diff(times_s))))) // 2 * 2 + 1
    padded = np.pad(values, width // 2, mode="edge")
    return values - np.convolve(padded, np.ones(width) / width, "valid")
