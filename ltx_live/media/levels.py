"""How loud a sound is, in all and in three bands, and where something begins in it; for a look that follows it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ltx_live.chunk import SAMPLE_RATE_HZ

HOP = SAMPLE_RATE_HZ // 200
"""Samples between two looks at the sound: 5 ms."""

LOW_HZ, HIGH_HZ = 250.0, 2500.0
"""Where the bands meet. DJ mixers split so: Mixxx at 246 and 2484 Hz (src/effects/backends/builtin, LVMixEQ)."""

FLOOR_DB = -60.0
"""What counts as silence: 0 on the scale to 1, which is a sine of full scale (0 dBFS, AES17)."""

_WINDOW, _FALL = 2048, 256
_EDGES_HZ = (20.0, LOW_HZ, HIGH_HZ, 20_000.0)
_NOVELTY_BANDS = 24
_LAG = 2  # hops that a rise is looked at over
_NEW = 0.3  # share of the sound that must be new
_STEADY = 0.5  # the share falls below this part of it before there can be another onset
_REST_HOPS = 10  # 50 ms: a 32nd at 150 bpm
_QUIET_DB = -50.0
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Response:
    """How fast the values rise and fall (time constants, s)."""

    attack_s: float = 0.005
    release_s: float = 0.15


@dataclass(frozen=True, slots=True)
class Levels:
    """What a sound is like just now.

    `level`, `low`, `mid` and `high` are 0..1, linear in dB from FLOOR_DB up, smoothed; `level_db` is the RMS,
    not smoothed. `onset` jumps to 1 where something begins and falls from there. `onsets` are the samples, counted from
    the first that was given, at which onsets were noticed since the last call.
    """

    level: float = 0.0
    level_db: float = -math.inf
    low: float = 0.0
    mid: float = 0.0
    high: float = 0.0
    onset: float = 0.0
    onsets: tuple[int, ...] = ()


class LevelMeter:
    """Measures a stream of sound, block by block; what it says does not depend on how the stream is cut into blocks."""

    def __init__(self, response: Response | None = None) -> None:
        self.response = response or Response()
        self.levels = Levels()
        self._sound = np.zeros((_WINDOW - HOP, 2), np.float32)
        self._num_samples = 0
        self._smooth = np.zeros(4)  # level, low, mid, high
        self._onset = 0.0
        self._onsets = _Onsets()

    def update(self, samples: np.ndarray) -> Levels:
        """Go on with (S, 1 or 2) float32 at 48 kHz, of any length; the newest levels."""
        pair = np.broadcast_to(samples, (len(samples), 2))
        self._sound = np.concatenate((self._sound, pair))
        self._num_samples += len(samples)
        num_hops = (len(self._sound) - (_WINDOW - HOP)) // HOP
        if num_hops <= 0:
            self.levels = Levels(*self._values(self.levels.level_db), ())
            return self.levels
        power = _power(self._sound, num_hops)  # (hops, bins)
        self._sound = self._sound[num_hops * HOP :]
        level_db, onsets = self._follow(power)
        self.levels = Levels(*self._values(level_db), onsets)
        return self.levels

    def _values(self, level_db: float) -> tuple[float, ...]:
        level, low, mid, high = self._smooth.tolist()
        return level, level_db, low, mid, high, self._onset

    def _follow(self, power: np.ndarray) -> tuple[float, tuple[int, ...]]:
        """Smooth over the hops (hops, bins); (the newest RMS in dB, the samples of the onsets)."""
        bands = power @ _BANDS  # (hops, 3)
        decibels = _decibels(np.concatenate((bands.sum(axis=1, keepdims=True), bands), axis=1))  # (hops, 4)
        values = np.clip(1 - decibels / FLOOR_DB, 0, 1)
        rise, fall = (math.exp(-HOP / SAMPLE_RATE_HZ / max(1e-6, time_s)) for time_s in self._times_s)
        end = self._num_samples - len(self._sound) + _WINDOW - HOP  # of the last hop
        onsets = []
        begins = self._onsets.find(power @ _NOVELTY, decibels[:, 0])
        for hop, (value, begin) in enumerate(zip(values, begins, strict=True), start=1 - len(values)):
            kept = np.where(value > self._smooth, rise, fall)
            self._smooth = value + (self._smooth - value) * kept
            self._onset = 1.0 if begin else self._onset * fall
            if begin:
                onsets.append(end + hop * HOP)
        return float(decibels[-1, 0]), tuple(onsets)

    @property
    def _times_s(self) -> tuple[float, float]:
        return self.response.attack_s, self.response.release_s


class _Onsets:
    """Notices where much of the sound was not there 10 ms before: the spectral flux as a share of the spectrum.

    A band is compared with the loudest of itself and its neighbours, so that a glide is not an onset (Boeck and Widmer,
    Maximum Filter Vibrato Suppression for Onset Detection, DAFx 2013).
    """

    def __init__(self) -> None:
        self._before = np.zeros((_LAG, _NOVELTY_BANDS))
        self._rest = 0
        self._is_armed = True

    def find(self, power: np.ndarray, level_db: np.ndarray) -> Iterator[bool]:
        """For each hop of the bands' power (hops, bands), whether something begins."""
        size = np.concatenate((self._before, np.sqrt(power)))  # (lag + hops, bands)
        self._before = size[-_LAG:]
        now, before = size[_LAG:], np.pad(size[:-_LAG], ((0, 0), (1, 1)))
        before = np.maximum(np.maximum(before[:, :-2], before[:, 1:-1]), before[:, 2:])
        new = np.maximum(now - before, 0).sum(axis=1) / (now.sum(axis=1) + _TINY)  # (hops,)
        for share, decibel in zip(new.tolist(), level_db.tolist(), strict=True):
            self._rest = max(0, self._rest - 1)
            self._is_armed |= share < _NEW * _STEADY
            begins = self._is_armed and not self._rest and share > _NEW and decibel > _QUIET_DB
            if begins:
                self._rest, self._is_armed = _REST_HOPS, False
            yield begins


def _power(sound: np.ndarray, num_hops: int) -> np.ndarray:
    """Mean square of each frequency (hops, bins), both channels together, in windows that end at each hop."""
    windows = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW, axis=0)[::HOP][:num_hops]  # (hops, 2, window)
    spectra = np.fft.rfft(windows * _SHAPE, axis=-1)  # (hops, 2, bins)
    return (spectra.real**2 + spectra.imag**2).mean(axis=1) * _SCALE


def _decibels(mean_square: np.ndarray) -> np.ndarray:
    """RMS in dBFS, where a sine of full scale is 0 (AES17)."""
    return 10 * np.log10(2 * mean_square + _TINY)


def _shape() -> np.ndarray:
    """A Hann window that falls in 5 ms: what has just come counts almost at once."""
    rise = np.sin(np.pi / 2 * (np.arange(_WINDOW - _FALL) + 0.5) / (_WINDOW - _FALL)) ** 2
    fall = np.cos(np.pi / 2 * (np.arange(_FALL) + 0.5) / _FALL) ** 2
    return np.concatenate((rise, fall)).astype(np.float32)


def _band_matrix(edges_hz: np.ndarray) -> np.ndarray:
    """(bins, bands): 1 where a bin lies in a band."""
    bins_hz = np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE_HZ)[:, None]
    return ((bins_hz >= edges_hz[:-1]) & (bins_hz < edges_hz[1:])).astype(np.float32)


_SHAPE = _shape()
_SCALE = np.float32(2 / (_WINDOW * float(_SHAPE.astype(np.float64) @ _SHAPE)))
_BANDS = _band_matrix(np.array(_EDGES_HZ))
_NOVELTY = _band_matrix(np.concatenate(([0.0], np.geomspace(100, 16_000, _NOVELTY_BANDS))))
