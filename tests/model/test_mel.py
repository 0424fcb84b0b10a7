"""Log-mel analysis against a direct Fourier sum and triangles written out in numpy."""

import math

import numpy as np
import pytest
import torch

from ltx_live.model.mel import MelConfig, log_mel


def mel_points_hz(num_bands: int, high_hz: float) -> list[float]:
    """Slaney: linear to 1 kHz (66.7 Hz a mel), then 27 mels for each factor of 6.4."""
    top = 15 + math.log(high_hz / 1000) / (math.log(6.4) / 27)
    mels = [top * i / (num_bands + 1) for i in range(num_bands + 2)]
    return [m * 200 / 3 if m < 15 else 1000 * 6.4 ** ((m - 15) / 27) for m in mels]


def reference(wave: np.ndarray, window: int = 1024, hop: int = 160, num_bands: int = 64) -> np.ndarray:
    """Waveform (S,) -> (T, bands), by definition."""
    padded = np.pad(wave, window // 2, mode="reflect")
    n = np.arange(window)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / window)
    bins_hz = np.arange(window // 2 + 1) * 16000 / window
    dft = np.exp(-2j * np.pi * np.outer(np.arange(window // 2 + 1), n) / window)
    points = mel_points_hz(num_bands, 8000)
    rows = []
    for start in range(0, len(wave) + 1, hop):
        magnitude = np.abs(dft @ (padded[start : start + window] * hann))
        row = []
        for low, centre, high in zip(points, points[1:], points[2:], strict=False):
            rising, falling = (bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre)
            weights = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
            row.append(weights @ magnitude)
        rows.append(np.log(np.maximum(row, 1e-5)))
    return np.array(rows)


def test_equals_the_definition():
    wave = np.random.default_rng(0).normal(size=(2, 1600)) * 0.3
    mel = log_mel(torch.from_numpy(wave)[None])  # (B, stereo, T, M)
    assert mel.shape == (1, 2, 11, 64)
    for channel in range(2):
        assert np.abs(mel[0, channel].numpy() - reference(wave[channel])).max() < 1e-9
    single = log_mel(torch.from_numpy(wave)[None].float())
    assert (single.double() - mel).abs().max() < 1e-3


def test_sine_peaks_in_its_band_at_its_level():
    time = torch.arange(16000) / 16000
    mel = log_mel(0.5 * torch.sin(2 * math.pi * 1000 * time).expand(1, 2, -1))
    points = mel_points_hz(64, 8000)
    band = int(mel[0, 0, 50].argmax())
    assert points[band] < 1000 < points[band + 2]
    # The window's lobe of a sine of amplitude a sums to a * window / 2 over its bins of magnitude, for Hann.
    area = mel[0, 0, 50].exp() @ torch.tensor([(b - a) / 2 for a, b in zip(points, points[2:], strict=False)])
    assert area / (0.5 * 1024 / 2) == pytest.approx(1.0, rel=0.05)
    quieter = log_mel(0.05 * torch.sin(2 * math.pi * 1000 * time).expand(1, 2, -1))
    assert float(mel[0, 0, 50, band] - quieter[0, 0, 50, band]) == pytest.approx(math.log(10), abs=1e-3)


def test_silence_is_the_floor_and_short_sound_is_refused():
    assert torch.allclose(log_mel(torch.zeros(1, 2, 1600)), torch.tensor(math.log(1e-5)))
    with pytest.raises(ValueError, match="512 samples are too few"):
        log_mel(torch.zeros(1, 2, 512))


def test_constants_made_in_inference_mode_serve_training():
    config = MelConfig(num_bands=20)
    with torch.inference_mode():
        log_mel(torch.randn(1, 1, 2000), config)
    wave = torch.randn(1, 1, 2000, requires_grad=True)
    log_mel(wave, config).sum().backward()
    assert wave.grad.norm() > 0


def test_configuration_of_the_checkpoint():
    section = {
        "preprocessing": {
            "audio": {"sampling_rate": 16000},
            "mel": {"mel_fmax": 8000, "mel_fmin": 0, "n_mel_channels": 64},
            "stft": {"filter_length": 1024, "hop_length": 160, "win_length": 1024},
        }
    }
    assert MelConfig.from_config(section) == MelConfig()
