"""Measures what a clip shows and sounds like from its pictures and samples alone, knowing nothing of the renderer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 48000
Frames = NDArray[np.uint8]  # (F, H, W, 3)
Audio = NDArray[np.float32]  # (S, 2) at 48 kHz

_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # ITU-R BT.709

# Hue in degrees of colours by their plain names.
_HUES = {
    "red": 0.0,
    "orange": 25.0,
    "gold": 47.0,
    "green": 125.0,
    "cyan": 182.0,
    "blue": 226.0,
    "purple": 273.0,
    "pink": 328.0,
}


def palette_of(frames: Frames) -> str:
    """The palette of a clip: the hue that most of its coloured light has, or "white". frames (F, H, W, 3) uint8"""
    light = frames[:: max(1, len(frames) // 8)].astype(np.float64) / 255.0
    brightest, darkest = light.max(-1), light.min(-1)
    colourfulness = brightest - darkest
    if colourfulness.sum() < 0.2 * brightest.sum():
        return "white"
    red, green, blue = light[..., 0], light[..., 1], light[..., 2]
    # Hue as a direction: hexagonal coordinates of the colour, weighted by its colourfulness.
    along, across = red - 0.5 * (green + blue), np.sqrt(0.75) * (green - blue)
    hue = np.degrees(np.arctan2(across, along))
    weight = colourfulness * (brightest > 0.15)
    weights, _ = np.histogram(hue % 360.0, bins=180, range=(0.0, 360.0), weights=weight)
    centres = np.arange(180) * 2.0 + 1.0
    near = {name: weights[np.abs((centres - h + 180.0) % 360.0 - 180.0) < 40.0].sum() for name, h in _HUES.items()}
    main = _HUES[max(near, key=near.__getitem__)]
    close = np.abs((centres - main + 180.0) % 360.0 - 180.0) < 40.0
    angle = np.radians(centres[close])
    mean = np.degrees(np.arctan2((weights[close] * np.sin(angle)).sum(), (weights[close] * np.cos(angle)).sum()))
    return min(_HUES, key=lambda name: abs((mean - _HUES[name] + 180.0) % 360.0 - 180.0))


def flow_of(frames: Frames, frame_rate: float = 24.0) -> float:
    """How fast edges travel, in picture heights per second; beats, flashes and sparkles are left out.

    Temporal over spatial gradient (the normal flow of Horn and Schunck 1981) of the typical edge, at quiet moments.
    """
    grey = _shrink(frames.astype(np.float32).mean(-1), max(1, frames.shape[1] // 80))  # (F, H, W)
    flows = []
    for before, after in zip(grey[:-1], grey[1:], strict=True):
        lit = before > 0.25 * before.max()
        after = after / max(1e-3, float(np.median(after[lit] / before[lit])))
        down, right = np.gradient((before + after) * 0.5)
        steepness = np.hypot(down, right)
        edges = steepness > 0.3 * np.percentile(steepness, 98)
        flows.append(np.percentile(np.abs(after - before)[edges] / steepness[edges], 70))
    return float(np.percentile(flows, 15)) * frame_rate / grey.shape[1]


def speed_of(frames: Frames, frame_rate: float = 24.0) -> str:
    """ "still", "slow" or "fast" by the flow of the pictures."""
    flow = flow_of(frames, frame_rate)
    return "still" if flow < STILL_FLOW else "slow" if flow < FAST_FLOW else "fast"


STILL_FLOW, FAST_FLOW = 0.037, 0.3  # picture heights per second


def flash_times(frames: Frames, frame_rate: float = 24.0) -> NDArray[np.float64]:
    """When the whole picture suddenly brightens: start in seconds of each frame that is a flash. -> (K,)"""
    level = frames.astype(np.float32).mean((1, 2, 3)) + 1.0
    return (_peaks(np.diff(np.log(level)), 0.08, 2) + 1) / frame_rate


def onsets(audio: Audio) -> NDArray[np.float64]:
    """When something is struck: times in seconds, to about 10 ms. audio (S, 2) at 48 kHz -> (K,)

    Spectral flux in half-octave bands (as in Dixon, "Onset detection revisited", 2006).
    """
    hop, size = SAMPLE_RATE // 400, 2048
    mono = np.pad(audio.astype(np.float64).mean(-1), (size // 2, size // 2))
    pieces = np.lib.stride_tricks.sliding_window_view(mono, size)[::hop] * np.hanning(size)
    power = np.abs(np.fft.rfft(pieces)) ** 2  # (T, size / 2 + 1)
    edges = np.unique(np.round(np.geomspace(1, size // 2, 18)).astype(int))
    bands = np.add.reduceat(power[:, : edges[-1]], edges[:-1], axis=1)  # (T, bands)
    floor = 1e-3 + 0.02 * bands.max()  # what is 17 dB below the loudest band hardly counts
    level_db = 10.0 * np.log10(bands + floor)
    rise = np.clip(level_db[8:] - level_db[:-8], 0.0, None).sum(-1)  # (T - 8,) over 20 ms
    return (_peaks(rise, 12.0, 28) + 4) * hop / SAMPLE_RATE


@dataclass(frozen=True)
class SoundFeatures:
    """What `sound_of` decides by."""

    level_db: float  # RMS, full scale
    low: float  # shares of the energy: below 130 Hz,
    middle: float  # 130 to 700 Hz,
    high: float  # 700 to 4500 Hz,
    air: float  # above
    flatness: float  # of the spectrum 100 to 5000 Hz: 0 a few tones, 1 noise
    depth_db: float  # how far the level falls between its loud and its quiet moments
    onsets_per_s: float


def sound_features(audio: Audio) -> SoundFeatures:
    """Level, balance, tonality and movement of a sound. audio (S, 2) at 48 kHz"""
    mono = audio.astype(np.float64).mean(-1)
    size, hop = 4096, 480
    starts = np.arange(0, max(1, len(mono) - size), hop)
    pieces = mono[starts[:, None] + np.arange(size)] * np.hanning(size)
    power = np.abs(np.fft.rfft(pieces)) ** 2 + 1e-12  # (T, size / 2 + 1)
    hz = np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE)
    mean = power.mean(0)
    shares = [
        mean[(hz >= a) & (hz < b)].sum() / mean.sum() for a, b in ((20, 130), (130, 700), (700, 4500), (4500, 24000))
    ]
    band = mean[(hz > 100) & (hz < 5000)]
    flatness = float(np.exp(np.log(band).mean()) / band.mean())
    hop = SAMPLE_RATE // 50
    level = 10.0 * np.log10((mono[: len(mono) // hop * hop].reshape(-1, hop) ** 2).mean(-1) + 1e-9)
    return SoundFeatures(
        level_db=float(10.0 * np.log10((audio.astype(np.float64) ** 2).mean() + 1e-12)),
        low=shares[0],
        middle=shares[1],
        high=shares[2],
        air=shares[3],
        flatness=flatness,
        depth_db=float(np.percentile(level, 95) - np.percentile(level, 15)),
        onsets_per_s=len(onsets(audio)) * SAMPLE_RATE / len(audio),
    )


def sound_of(audio: Audio) -> str:
    """The sound of a clip, by one of the names the pocket world has for them. audio (S, 2) at 48 kHz"""
    heard = sound_features(audio)
    if heard.level_db < -60.0:
        return "silence"
    if heard.air > 0.4:
        return "hi-hats"
    if heard.depth_db > 12.0 and (heard.low > 0.5 or heard.flatness > 0.05):
        return "drums"
    if heard.flatness > 0.05:
        return "noise"
    if heard.low > 0.04:
        return "low drone"
    if heard.high > 0.2 and heard.onsets_per_s < 3.4:
        return "bells"
    return "arpeggio" if heard.onsets_per_s > 1.4 else "pad"


def paper_of(frames: Frames) -> float:
    """How much of a clip is white: the least of red, green and blue, on average. frames (F, H, W, 3) -> 0..1"""
    return float(frames.min(-1).mean() / 255.0)


def likeness(frames: Frames, guide: Frames, factor: int) -> float:
    """Correlation of the brightness of a clip with that of a guide that is smaller by the whole number `factor`.

    frames (F, H, W, 3), guide (F, h, w, 3), which may be filled up at the right and at the bottom -> -1..1
    """
    made = _shrink(frames.astype(np.float32) @ _LUMA, factor)  # (F, h', w')
    wanted = (guide.astype(np.float32) @ _LUMA)[:, : made.shape[1], : made.shape[2]]
    return float(np.corrcoef(made.ravel(), wanted.ravel())[0, 1])


def timbre_of(audio: Audio) -> NDArray[np.float64]:
    """The harmonic profile of a sound: level in dB of third-octaves from 200 to 2000 Hz, on average 0. -> (11,)

    What is 35 dB below the loudest counts as that; neighbours overlap, so that single notes hardly matter.
    """
    size = 8192
    pieces = np.lib.stride_tricks.sliding_window_view(audio.astype(np.float64).mean(-1), size)[:: size // 4]
    power = (np.abs(np.fft.rfft(pieces * np.hanning(size))) ** 2).mean(0)  # (size / 2 + 1,)
    octaves = np.log2(np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE)[1:] / 200.0)
    bands = np.exp(-(((octaves - np.arange(11)[:, None] / 3.0) * 3.0) ** 2)) @ power[1:]
    level_db = 10.0 * np.log10(bands + 1e-12)
    level_db = np.maximum(level_db, level_db.max() - 35.0)
    return level_db - level_db.mean()


def _shrink(grey: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Averages blocks of factor x factor pixels. (F, H, W) -> (F, H / factor, W / factor)"""
    num_frames, height, width = grey.shape
    height, width = height // factor, width // factor
    cut = grey[:, : height * factor, : width * factor]
    return cut.reshape(num_frames, height, factor, width, factor).mean((2, 4))


def _peaks(signal: NDArray[np.float64], threshold: float, apart: int) -> NDArray[np.int64]:
    """Where a signal is above the threshold and highest among its neighbours less than `apart` away. -> (K,)"""
    padded = np.pad(signal, apart, constant_values=-np.inf)
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * apart + 1)
    best = around.argmax(-1) == apart
    return np.nonzero(best & (signal > threshold))[0]
