"""The limiter: never above -0.1 dBFS, also between the samples, and quiet sound untouched."""

import numpy as np
import pytest

from ltx_live.stage.limiter import CEILING, LOOKAHEAD_SAMPLES, Limiter

TIME = np.arange(48_000) / 48_000
KICK = 2.5 * np.exp(-20 * (TIME % 0.25)) * np.sin(2 * np.pi * 60 * (TIME % 0.25))
LOUD = {
    "kick": KICK,
    "sine": 3 * np.sin(2 * np.pi * 1000 * TIME),
    "between samples": 1.5 * np.sin(2 * np.pi * 12_000 * TIME + np.pi / 4),
    "mix": KICK + 0.8 * np.sin(2 * np.pi * 440 * TIME) + 0.4 * np.sin(2 * np.pi * 7000 * TIME),
    "noise": np.convolve(np.random.default_rng(0).standard_normal(48_000), np.hanning(9), "same"),
}


def limit(samples, block):
    """Through the limiter in blocks, after 512 samples of silence."""
    stereo = np.repeat(np.concatenate((np.zeros(512), samples, np.zeros(8192)))[:, None], 2, axis=1).astype(np.float32)
    limiter = Limiter()
    starts = range(0, len(stereo) - block - LOOKAHEAD_SAMPLES, block)
    return np.concatenate([limiter.process(stereo[k : k + block + LOOKAHEAD_SAMPLES]) for k in starts])


def true_peak(samples, factor=8):
    """Largest magnitude of the band-limited signal between the samples too (zero-padded spectrum)."""
    num = 1 << (len(samples) - 1).bit_length()
    spectrum = np.zeros(num * factor // 2 + 1, complex)
    spectrum[: num // 2 + 1] = np.fft.rfft(samples, num)
    return np.abs(np.fft.irfft(spectrum, num * factor) * factor).max()


@pytest.mark.parametrize("block", [64, 480, 1024])
@pytest.mark.parametrize("name", LOUD)
def test_nothing_passes_the_ceiling(name, block):
    limited = limit(LOUD[name], block)
    assert np.abs(limited).max() <= CEILING
    assert true_peak(limited[:, 0]) <= CEILING
    assert np.abs(limited).max() > 0.5, "it turns down, it does not mute"


def test_quiet_sound_is_bit_exact():
    quiet = (0.05 * np.random.default_rng(1).standard_normal(48_000)).astype(np.float32)
    np.testing.assert_array_equal(limit(quiet, 480)[512:40_000, 0], quiet[: 40_000 - 512])


def test_the_gain_moves_smoothly_and_comes_back():
    low = np.full(48_000, 0.3)
    low[20_000:20_050] = 2.0
    gain = limit(low, 333)[512 : 512 + 48_000, 0] / low
    assert np.abs(np.diff(gain)).max() < 0.01
    assert gain[19_000] == pytest.approx(1) and gain[20_025] < 0.5 and gain[47_000] > 0.98


def test_sound_that_was_not_announced_is_still_kept_under_the_ceiling():
    limiter, silence = Limiter(), np.zeros((480 + LOOKAHEAD_SAMPLES, 2), np.float32)
    limiter.process(silence)
    assert np.abs(limiter.process(silence + 4.0)).max() <= CEILING
