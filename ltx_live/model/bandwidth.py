"""Bandwidth extension: the 16 kHz vocoder followed by a generator that adds what a plain resampling to 48 kHz lacks.

Tensor names and formulas: Lightricks/LTX-2, ltx-core/src/ltx_core/model/audio_vae/vocoder.py (reference/model.md 4.3).
Shape letters: B batch, T mel frames, M mel bands, L samples at 16 kHz.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltx_live.model.mel import FLOOR, MelConfig, slaney_filterbank
from ltx_live.model.vocoder import Vocoder

ROLLOFF = 0.99
NUM_ZEROS = 6  # zero crossings of the sinc on each side


class STFT(nn.Module):
    """Stored bases of a windowed Fourier transform: cosines, then negative sines, times a Hann window."""

    def __init__(self, window: int):
        super().__init__()
        num_bins = window // 2 + 1
        time = torch.arange(window, dtype=torch.float64)
        angle = torch.arange(num_bins, dtype=torch.float64)[:, None] * time * (2 * math.pi / window)
        hann = torch.hann_window(window, dtype=torch.float64)
        basis = torch.cat([angle.cos(), -angle.sin()]) * hann
        self.register_buffer("forward_basis", basis.float()[:, None])  # (2 * bins, 1, window)
        self.register_buffer("inverse_basis", torch.zeros(2 * num_bins, 1, window))  # in the checkpoint, never used


class MelSTFT(nn.Module):
    """Causal log-mel of a waveform: (B, L) -> (B, L / hop, M); L must be a multiple of hop."""

    def __init__(self, config: MelConfig):
        super().__init__()
        self.window, self.hop = config.window, config.hop
        bank = slaney_filterbank(config.window // 2 + 1, config)
        self.register_buffer("mel_basis", bank.T.float().contiguous())  # (M, bins)
        self.stft_fn = STFT(config.window)

    def forward(self, waveform: Tensor) -> Tensor:
        padded = F.pad(waveform, (self.window - self.hop, 0))
        spectrum = F.conv1d(padded[:, None], self.stft_fn.forward_basis, stride=self.hop)
        real, imaginary = spectrum.chunk(2, dim=1)
        power = torch.addcmul(real.square(), imaginary, imaginary)
        magnitude = (power + 1e-20).sqrt()  # (B, bins, T); the tiny term keeps the gradient of silence finite
        return (self.mel_basis @ magnitude).clamp(min=FLOOR).log().transpose(1, 2)


def upsample_sinc(waveform: Tensor, ratio: int) -> Tensor:
    """Hann-windowed sinc interpolation, edges held: (B, C, L) -> (B, C, ratio * L)."""
    batch, channels, length = waveform.shape
    phases = _sinc_phases(ratio, waveform.device).to(waveform.dtype)
    pad = phases.shape[-1] // 2
    padded = F.pad(waveform, (pad, pad), mode="replicate").view(batch * channels, 1, -1)
    return F.conv1d(padded, phases).transpose(1, 2).reshape(batch, channels, ratio * length)


@lru_cache(maxsize=8)
def _sinc_phases(ratio: int, device: torch.device) -> Tensor:
    """One filter per output phase, (ratio, 1, 2 w + 1); computed, not stored: tap i is at (i / ratio - w) * 0.99."""
    reach = math.ceil(NUM_ZEROS / ROLLOFF)
    with torch.inference_mode(False):  # usable in training even when first asked for in inference mode
        phase = torch.arange(ratio, device=device)[:, None]
        index = phase + ratio * torch.arange(2 * reach, -1, -1, device=device)  # past the last tap the window is 0
        time = (index / ratio - reach) * ROLLOFF
        window = (time.clamp(-NUM_ZEROS, NUM_ZEROS) * (math.pi / NUM_ZEROS / 2)).cos().square()
        return (torch.sinc(time) * window * ROLLOFF)[:, None]


class VocoderWithBWE(nn.Module):
    """Log-mel (B, 2, T, M) -> waveform (B, 2, 480 T) at 48 kHz in [-1, 1]; `core` stops at 16 kHz. Float32."""

    def __init__(self, section: dict):
        super().__init__()
        bwe = section["bwe"]
        self.input_rate_hz, self.output_rate_hz = bwe["input_sampling_rate"], bwe["output_sampling_rate"]
        self.vocoder = Vocoder.from_config(section["vocoder"])
        self.bwe_generator = Vocoder.from_config({"apply_final_activation": False} | bwe)
        self.mel_stft = MelSTFT(
            MelConfig(
                sample_rate_hz=self.input_rate_hz,
                window=bwe["n_fft"],
                hop=bwe["hop_length"],
                num_bands=bwe["num_mels"],
                high_hz=self.input_rate_hz / 2,
            )
        )

    @classmethod
    def from_config(cls, section: dict) -> "VocoderWithBWE":
        """Build from the `vocoder` section of the checkpoint's configuration; ValueError names an unusable key."""
        bwe = section.get("bwe")
        if bwe is None:
            raise ValueError("vocoder configuration: the part 'bwe' is missing (an older model); LTX-2.3 has it")
        if bwe.get("win_size", bwe["n_fft"]) != bwe["n_fft"]:
            raise ValueError("vocoder configuration: win_size differs from n_fft; LTX-2.3 has both equal")
        made = math.prod(bwe["upsample_rates"]) * bwe["input_sampling_rate"]
        if made != bwe["hop_length"] * bwe["output_sampling_rate"]:
            raise ValueError("vocoder configuration: upsample_rates of 'bwe' do not fit its hop and sampling rates")
        return cls(section)

    def core(self, mel: Tensor) -> Tensor:
        """Log-mel (B, 2, T, M) -> waveform (B, 2, 160 T) at 16 kHz."""
        return self.vocoder(mel)

    def extend(self, waveform: Tensor) -> Tensor:
        """Waveform (B, 2, L) at 16 kHz -> (B, 2, 3 L) at 48 kHz."""
        length, ratio = waveform.shape[-1], self.output_rate_hz // self.input_rate_hz
        waveform = F.pad(waveform, (0, -length % self.mel_stft.hop))
        mel = self.mel_stft(waveform.flatten(0, 1)).unflatten(0, waveform.shape[:2])
        full = self.bwe_generator(mel) + upsample_sinc(waveform, ratio)
        return full.clamp(-1, 1)[..., : ratio * length]

    def forward(self, mel: Tensor) -> Tensor:
        return self.extend(self.core(mel))
