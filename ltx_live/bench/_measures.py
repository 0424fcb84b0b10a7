"""Measures of films: pictures, motion and sound, over time and at seams. They know no model and no renderer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SAMPLE_RATE_HZ = 48_000
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Weights of red, green and blue in brightness. Source: ITU-R BT.709."""

LEAST_DIFFERENCE = 1 / 255
"""No denominator of a picture ratio is smaller: one step of 8 bits."""

LEAST_MOTION_PX = 0.1
LEAST_STEP = 1e-4
RMS_SAMPLES = SAMPLE_RATE_HZ // 100
OVERLAP_SAMPLES = SAMPLE_RATE_HZ // 10
QUIET_DB = -90.0

_BLOCK = (40, 36)  # rows, columns of a picture of 80 rows
_MOTION_ROWS = 80
_THUMBNAIL_ROWS = 20
_LEAST_SEEN = 0.4
_FLOOR = 0.02  # share of the strongest frequency below which one hardly counts


class Meter:
    """Takes a film's frames and sound as a VideoWriter does, and keeps figures of every frame and the mono sound."""

    def __init__(self) -> None:
        self.num_samples = 0
        self._rows: list[FrameFigures] = []
        self._sound: list[np.ndarray] = []
        self._grey: np.ndarray | None = None
        self._small: np.ndarray | None = None

    @property
    def num_frames(self) -> int:
        return len(self._rows)

    def write_frame(self, frame: np.ndarray) -> None:
        """Measure one picture (H, W, 3) uint8."""
        light = frame.astype(np.float32) / 255
        grey = light @ LUMA  # (H, W)
        small = shrink(grey, _MOTION_ROWS)
        still = self._grey is None
        self._rows.append(
            FrameFigures(
                colour=light.mean((0, 1)),
                contrast=float(grey.std()),
                sharpness=sharpness(grey),
                difference=0.0 if still else float(np.abs(grey - self._grey).mean()),
                motion=block_motion(small if still else self._small, small) * (len(grey) / len(small)),
                thumbnail=shrink(light, _THUMBNAIL_ROWS),
            )
        )
        self._grey, self._small = grey, small

    def write_audio(self, samples: np.ndarray) -> None:
        """Keep sound (S, 2) float32."""
        self._sound.append(samples.mean(axis=1))
        self.num_samples += len(samples)

    def film(self) -> Measured:
        """All that was measured."""
        names = FrameFigures.__dataclass_fields__
        columns = {name: np.array([getattr(row, name) for row in self._rows]) for name in names}
        return Measured(**columns, sound=np.concatenate(self._sound or [np.zeros(0, np.float32)]))


@dataclass(frozen=True)
class FrameFigures:
    """Of one picture in 0..1; `difference` and `motion` from the picture before, motion (blocks, 2) in pixels."""

    colour: np.ndarray
    contrast: float
    sharpness: float
    difference: float
    motion: np.ndarray
    thumbnail: np.ndarray


@dataclass(frozen=True)
class Measured:
    """FrameFigures of F frames as columns, and the mono sound (S,)."""

    colour: np.ndarray  # (F, 3)
    contrast: np.ndarray  # (F,)
    sharpness: np.ndarray  # (F,)
    difference: np.ndarray  # (F,)
    motion: np.ndarray  # (F, blocks, 2)
    thumbnail: np.ndarray  # (F, h, w, 3)
    sound: np.ndarray  # (S,)

    @property
    def brightness(self) -> np.ndarray:
        """Mean luma of every frame, (F,)."""
        return self.colour @ LUMA

    def part(self, start: int, stop: int, frame_rate: float) -> Measured:
        """Frames `start` to `stop` with their sound."""
        columns = {name: getattr(self, name)[start:stop] for name in FrameFigures.__dataclass_fields__}
        edges = (round(frame * SAMPLE_RATE_HZ / frame_rate) for frame in (start, stop))
        return Measured(**columns, sound=self.sound[slice(*edges)])


def shrink(picture: np.ndarray, num_rows: int) -> np.ndarray:
    """Averages of square blocks, so that about `num_rows` rows are left. (H, W, ...) -> (h, w, ...)"""
    factor = max(1, picture.shape[0] // num_rows)
    height, width = (size // factor for size in picture.shape[:2])
    cut = picture[: height * factor, : width * factor]
    return cut.reshape(height, factor, width, factor, *picture.shape[2:]).mean((1, 3))


def sharpness(grey: np.ndarray) -> float:
    """Fine detail of brightness (H, W): root mean square of the discrete Laplacian."""
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float(np.sqrt(np.square(4 * grey[1:-1, 1:-1] - around).mean()))


def block_motion(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How far half-overlapping blocks moved, (blocks, 2) down and right in pixels of these pictures (H, W).

    Phase correlation (Kuglin and Hines 1975) with weak frequencies held back, so that what stripes leave open stays 0;
    the peak is refined by a parabola.
    """
    height, width = (min(size, length) for size, length in zip(_BLOCK, before.shape, strict=True))
    window = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[1:-1]
    old, new = (np.fft.rfft2(_blocks(picture, height, width) * window) for picture in (before, after))
    cross = np.conj(old) * new
    strength = np.abs(cross)
    floor = _FLOOR * strength.max(axis=(1, 2), keepdims=True) + 1e-9
    surface = np.fft.irfft2(cross / (strength + floor), s=(height, width))
    seen = np.fft.irfft2(np.abs(np.fft.rfft2(window)) ** 2, s=(height, width))  # less of what moves out of the window
    surface = np.fft.fftshift(surface / np.maximum(seen / seen.max(), _LEAST_SEEN), axes=(1, 2))
    peak = surface.reshape(len(surface), -1).argmax(1)
    return np.stack([_refined(each, *divmod(int(at), width)) for each, at in zip(surface, peak, strict=True)])


def _blocks(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Half-overlapping blocks without their mean. (H, W) -> (blocks, height, width)"""
    views = np.lib.stride_tricks.sliding_window_view(picture, (height, width))
    blocks = views[:: max(1, height // 2), :: max(1, width // 2)].reshape(-1, height, width)
    return blocks - blocks.mean((1, 2), keepdims=True)


def _refined(surface: np.ndarray, row: int, column: int) -> tuple[float, float]:
    """The peak's place relative to the centre, to a fraction of a pixel; (0, 0) where there is nothing to match."""
    if surface[row, column] <= 1e-6:
        return 0.0, 0.0
    height, width = surface.shape
    down = _vertex(*(surface[(row + k) % height, column] for k in (-1, 0, 1)))
    right = _vertex(*(surface[row, (column + k) % width] for k in (-1, 0, 1)))
    return row + down - height // 2, column + right - width // 2


def _vertex(left: float, middle: float, right: float) -> float:
    """Where the parabola through three values at -1, 0, 1 is highest, its middle being the largest."""
    bend = left - 2 * middle + right
    return 0.5 * (left - right) / bend if bend < 0 else 0.0


def speed(motion: np.ndarray) -> np.ndarray:
    """Median length of block motions (F, blocks, 2): pixels a frame, (F,)."""
    return np.median(np.hypot(motion[..., 0], motion[..., 1]), axis=1)


def motion_jump(motion: np.ndarray) -> np.ndarray:
    """How much speed and direction of the blocks change from one pair of frames to the next: pixels a frame, (F,)."""
    jump = np.diff(motion, axis=0, prepend=motion[:1])
    return np.median(np.hypot(jump[..., 0], jump[..., 1]), axis=1)


@dataclass(frozen=True)
class AtSeams:
    """A figure of every frame in its places around each seam (seams, places), and everywhere else (N,)."""

    seams: np.ndarray
    elsewhere: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, seams: np.ndarray, reach: tuple[int, int]) -> AtSeams:
        """Of values (F,): `reach` frames before and after the seams' first new frames belong to them, the first not."""
        places = seams[:, None] + np.arange(-reach[0], reach[1] + 1)
        places = places[(places[:, 0] > 0) & (places[:, -1] < len(values))]
        apart = np.ones(len(values), bool)
        apart[places] = apart[0] = False
        return cls(values[places], values[apart])

    def ratios(self, least: float) -> np.ndarray:
        """Seams over the median elsewhere, which counts as `least` at least. (seams, places)"""
        return self.seams / max(float(np.median(self.elsewhere)), least)


def breathing_db(values: np.ndarray, rate_hz: float, value_rate_hz: float) -> float:
    """Energy of values (N,) at a rate over that of neighbouring frequencies, in dB.

    Averaged over segments of 8 periods that overlap by half, each without its trend (Welch 1967); the rate has 3 bins
    of the Hann window, its neighbours are 4 bins on either side.
    """
    length = round(8 * value_rate_hz / rate_hz)
    if len(values) < length:
        return float("nan")
    time = np.arange(length) - (length - 1) / 2
    powers = []
    for start in range(0, len(values) - length + 1, length // 2):
        piece = values[start : start + length] - values[start : start + length].mean()
        piece = piece - time * (piece @ time) / (time @ time)
        powers.append(np.abs(np.fft.rfft(piece * np.hanning(length))) ** 2)
    power = np.mean(powers, axis=0)
    neighbours = np.concatenate((power[3:7], power[10:14]))
    return float(10 * np.log10((power[7:10].mean() + 1e-20) / (neighbours.mean() + 1e-20)))


def rms(sound: np.ndarray, size: int = RMS_SAMPLES) -> np.ndarray:
    """Root mean square of pieces of `size` samples of mono sound (S,). -> (S / size,)"""
    return np.sqrt(np.square(sound[: len(sound) // size * size].reshape(-1, size), dtype=np.float64).mean(axis=1))


def loudness_db(sound: np.ndarray) -> float:
    """Mean power of sound in dB of full scale."""
    return 10 * np.log10(float(np.square(sound, dtype=np.float64).mean()) + 1e-9) if len(sound) else QUIET_DB


def sound_steps(sound: np.ndarray, seams: np.ndarray) -> tuple[float, float]:
    """Largest sample step and 10 ms RMS step of the overlap before each seam (samples), mean over that elsewhere.

    Elsewhere: all other stretches of that length, 10 ms more on either side of the overlap included.
    """
    length = OVERLAP_SAMPLES + 2 * RMS_SAMPLES
    starts = seams - OVERLAP_SAMPLES - RMS_SAMPLES
    starts = starts[(starts > 0) & (starts + length < len(sound))]
    others = np.arange(0, len(sound) - length, length)
    others = others[np.abs(others[:, None] - starts).min(axis=1) >= length] if len(starts) else others
    ratios = []
    for largest in (_largest_sample_step, _largest_rms_step):
        at_seams, elsewhere = (
            np.mean([largest(sound[at : at + length]) for at in where]) for where in (starts, others)
        )
        ratios.append(float(at_seams / max(elsewhere, LEAST_STEP)))
    return ratios[0], ratios[1]


def _largest_sample_step(sound: np.ndarray) -> float:
    return float(np.abs(np.diff(sound)).max())


def _largest_rms_step(sound: np.ndarray) -> float:
    return float(np.abs(np.diff(rms(sound))).max())


def distance_apart(thumbnails: np.ndarray, num_frames: int) -> float:
    """Mean absolute difference of pictures (F, h, w, 3) that lie `num_frames` apart; every 12th is looked at."""
    early = np.arange(0, len(thumbnails) - num_frames, 12)
    return float(np.abs(thumbnails[early + num_frames] - thumbnails[early]).mean()) if len(early) else float("nan")
