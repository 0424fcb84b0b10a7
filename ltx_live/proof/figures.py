"""What is measured of latents, pictures and sound: arrays in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ltx_live.chunk import SAMPLE_RATE_HZ

QUIET = 1e-6
"""Below it (-120 dBFS) a level is silence."""

LEVEL_WINDOW_S = 0.1
NEAR_SEAM_S = 0.005
SMALLEST_CHANGE = 0.01  # of 255: pictures that change less stand still


def latent_statistics(tokens: np.ndarray) -> dict[str, float]:
    """Of latents (T, C): moments of what is finite, the range of the channels' deviations, the share not finite."""
    finite = np.ma.masked_invalid(tokens.astype(np.float64))
    channel_std = finite.std(axis=0)  # (C,)
    figures = {
        "mean": finite.mean(),
        "std": finite.std(),
        "min": finite.min(),
        "max": finite.max(),
        "channel_std_min": channel_std.min(),
        "channel_std_max": channel_std.max(),
    }
    share = float(1 - np.isfinite(tokens).mean())
    return {name: float(np.ma.filled(value, np.nan)) for name, value in figures.items()} | {"non_finite": share}


def relative_difference(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """Norm of the difference over the norm of `one`, the larger of picture and sound."""
    pairs = zip(one, other, strict=True)
    return max(float(np.linalg.norm(b - a) / max(np.linalg.norm(a), 1e-12)) for a, b in pairs)


def psnr_db(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two uint8 films, at most 99 dB."""
    error = np.mean([np.square(a.astype(np.float32) - b).mean() for a, b in zip(one, other, strict=True)])
    return float(min(99.0, 10 * np.log10(255**2 / max(error, 1e-10))))


def changes(frames: np.ndarray) -> np.ndarray:
    """Mean absolute difference of each frame (F, H, W, 3) uint8 to the one before: (F - 1,) of 255."""
    pairs = zip(frames[:-1], frames[1:], strict=True)
    return np.array([np.abs(b.astype(np.int16) - a).mean() for a, b in pairs])


def level_db(sound: np.ndarray) -> float:
    """RMS of sound (S, 2) in dB of full scale, at least -120."""
    power = np.square(sound.astype(np.float64)).mean() if len(sound) else 0.0
    return float(10 * np.log10(max(power, QUIET**2)))


@dataclass(frozen=True)
class Joined:
    """Two chunks cut together hard: frames (F, H, W, 3), sound (S, 2), and where the second begins in both."""

    frames: np.ndarray
    audio: np.ndarray
    seam_frame: int
    seam_sample: int

    def figures(self) -> dict[str, float]:
        """How the seam compares with everywhere else, in picture and sound."""
        jumps = changes(self.frames)
        elsewhere = float(np.median(np.delete(jumps, self.seam_frame - 1)))
        steps = np.abs(np.diff(self.audio, axis=0)).max(axis=1)  # (S - 1,)
        near = slice(max(0, self.seam_sample - _samples(NEAR_SEAM_S)), self.seam_sample + _samples(NEAR_SEAM_S))
        window = _samples(LEVEL_WINDOW_S)
        before = self.audio[max(0, self.seam_sample - window) : self.seam_sample]
        after = self.audio[self.seam_sample : self.seam_sample + window]
        return {
            "picture_change_at_seam": float(jumps[self.seam_frame - 1]),
            "picture_change_elsewhere": elsewhere,
            "picture_ratio": float(jumps[self.seam_frame - 1] / max(elsewhere, SMALLEST_CHANGE)),
            "sound_before_db": level_db(before),
            "sound_after_db": level_db(after),
            "sound_all_db": level_db(self.audio),
            "largest_sample_step_at_seam": float(steps[near].max()),
            "largest_sample_step_elsewhere": float(np.delete(steps, near).max()),
        }


def contact_sheet(frames: np.ndarray, columns: int, rows: int) -> np.ndarray:
    """Frames of a film (F, H, W, 3), evenly chosen from first to last, row by row in one picture."""
    chosen = frames[np.linspace(0, len(frames) - 1, columns * rows).round().astype(int)]
    height, width = frames.shape[1:3]
    grid = chosen.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, 3)


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE_HZ)
