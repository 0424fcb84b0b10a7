"""Log-mel analysis of sound at 16 kHz, the front end of the audio encoder (reference/model.md 4.1)."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

NUM_TAPS = 129  # of the low-pass filter before decimation

FLOOR = 1e-5


@dataclass(frozen=True)
class MelConfig:
    """Analysis settings; the defaults are those of LTX-2.3."""

    sample_rate_hz: int = 16000
    window: int = 1024
    hop: int = 160
    num_bands: int = 64
    low_hz: float = 0.0
    high_hz: float = 8000.0

    @classmethod
    def from_config(cls, section: dict) -> "MelConfig":
        """Build from the `preprocessing` part of the `audio_vae` section of the checkpoint's configuration."""
        parts = section["preprocessing"]
        stft, mel = parts["stft"], parts["mel"]
        if stft.get("win_length", stft["filter_length"]) != stft["filter_length"]:
            raise ValueError("audio_vae configuration: win_length differs from filter_length; LTX-2.3 has both equal")
        return cls(
            sample_rate_hz=parts["audio"]["sampling_rate"],
            window=stft["filter_length"],
            hop=stft["hop_length"],
            num_bands=mel["n_mel_channels"],
            low_hz=mel["mel_fmin"],
            high_hz=mel["mel_fmax"],
        )


def log_mel(waveform: Tensor, config: MelConfig = MelConfig()) -> Tensor:  # noqa: B008 (frozen)
    """Waveform (B, C, S) -> log-mel (B, C, S // hop + 1, bands): log(max(mel magnitude, 1e-5)), frames centred.

    Raises ValueError when the waveform is not longer than half a window.
    """
    batch, channels, num_samples = waveform.shape
    half = config.window // 2
    if num_samples <= half:
        raise ValueError(f"log_mel: {num_samples} samples are too few; give more than {half}")
    window, bank = _constants(config, waveform.device, waveform.dtype)
    padded = F.pad(waveform, (half, half), mode="reflect").flatten(0, 1)
    spectrum = torch.stft(padded, config.window, config.hop, window=window, center=False, return_complex=True)
    mel = spectrum.abs().transpose(1, 2) @ bank  # (B * C, T, bands)
    return mel.clamp(min=FLOOR).log().unflatten(0, (batch, channels))


def decimate(waveform: Tensor, ratio: int) -> Tensor:
    """Waveform (B, C, S) -> (B, C, S / ratio) at a lower rate: a Hann-windowed sinc up to 96 % of the new band."""
    half = NUM_TAPS // 2
    taps = torch.arange(-half, half + 1, device=waveform.device, dtype=waveform.dtype)
    kernel = torch.sinc(taps / ratio * 0.96) * torch.hann_window(NUM_TAPS, periodic=False, device=waveform.device)
    kernel = (kernel / kernel.sum())[None, None]
    low = F.conv1d(waveform.flatten(0, 1)[:, None], kernel, stride=ratio, padding=half)
    return low.unflatten(0, waveform.shape[:2]).squeeze(2)


def slaney_filterbank(num_bins: int, config: MelConfig) -> Tensor:
    """Triangles of unit area between Slaney mel points, (num_bins, bands), float64 (Slaney, Auditory Toolbox, 1998)."""
    mels = torch.linspace(
        _hz_to_mel(config.low_hz), _hz_to_mel(config.high_hz), config.num_bands + 2, dtype=torch.float64
    )
    edges = torch.where(mels < 15, mels * 200 / 3, 1000 * torch.exp((mels - 15) * math.log(6.4) / 27))
    bins = torch.linspace(0, config.sample_rate_hz / 2, num_bins, dtype=torch.float64)[:, None]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = torch.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clamp(min=0)
    return triangles * 2 / (high - low)


def _hz_to_mel(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)


@lru_cache(maxsize=8)
def _constants(config: MelConfig, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Periodic Hann window and filterbank; usable in training even when first asked for in inference mode."""
    with torch.inference_mode(False):
        window = torch.hann_window(config.window, dtype=torch.float64)
        bank = slaney_filterbank(config.window // 2 + 1, config)
        return window.to(device, dtype), bank.to(device, dtype)
