"""Mel-to-waveform generator with anti-aliased periodic activations, used at 16 kHz and again for 48 kHz.

Design: BigVGAN (Lee et al., 2023). Layout of the `vocoder` section and tensor names: Lightricks/LTX-2,
ltx-core/src/ltx_core/model/audio_vae/vocoder.py (reference/model.md 4.3). Run it in float32.
Shape letters: B batch, C channels, T mel frames, M mel bands, L samples.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NUM_TAPS = 12
HALF = NUM_TAPS // 2
REQUIRED = {"resblock": "AMP1", "activation": "snakebeta", "stereo": True, "use_tanh_at_final": False}


def kaiser_sinc(num_taps: int = NUM_TAPS, cutoff: float = 0.25, half_width: float = 0.3) -> Tensor:
    """Low-pass filter of unit gain, (1, 1, num_taps), even length; cutoff and half width in cycles per sample."""
    attenuation_db = 2.285 * (num_taps // 2 - 1) * math.pi * 4 * half_width + 7.95  # Kaiser's formula
    beta = 0.1102 * (attenuation_db - 8.7)  # for attenuations above 50 dB
    window = torch.kaiser_window(num_taps, periodic=False, beta=beta, dtype=torch.float64)
    time = torch.arange(num_taps, dtype=torch.float64) - (num_taps - 1) / 2
    taps = window * torch.sinc(2 * cutoff * time)
    return (taps / taps.sum()).float().view(1, 1, -1)


class Resample(nn.Module):
    """Holds the stored filter of one resampling step."""

    def __init__(self):
        super().__init__()
        self.register_buffer("filter", kaiser_sinc())


class Downsample(nn.Module):
    """Holds the stored filter as `lowpass.filter`."""

    def __init__(self):
        super().__init__()
        self.lowpass = Resample()


class SnakeBeta(nn.Module):
    """x + sin^2(e^alpha x) / (e^beta + 1e-9), per channel."""

    def __init__(self, width: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(width))
        self.beta = nn.Parameter(torch.zeros(width))

    def forward(self, *phases: Tensor) -> list[Tensor]:
        frequency = self.alpha.exp()[:, None]
        gain = 1 / (self.beta.exp() + 1e-9)[:, None]
        return [torch.addcmul(x, torch.sin(x * frequency).square(), gain) for x in phases]


class Activation(nn.Module):
    """SnakeBeta at twice the rate: x2 interpolation, activation, low-pass and decimation, edges held.

    Only the two phases (even and odd samples of the double rate) are ever formed, as weighted sums of shifted slices:
    1.6 to 4.5 times faster on a CPU than depthwise convolutions of the interleaved signal, and fusible by a compiler.
    """

    def __init__(self, width: int):
        super().__init__()
        self.act = SnakeBeta(width)
        self.upsample = Resample()
        self.downsample = Downsample()

    def forward(self, x: Tensor) -> Tensor:
        return self._decimate(*self.act(*self._interpolate(x)))

    def _interpolate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """even[n] = 2 sum_j h[11 - 2 j] x[n - 3 + j], odd[n] = 2 sum_j h[10 - 2 j] x[n - 2 + j], j = 0..5."""
        taps = (self.upsample.filter.view(-1) * 2).unbind()
        length = x.shape[-1]
        x = F.pad(x, (3, 3), mode="replicate")
        even, odd = x[..., :length] * taps[11], x[..., 1 : length + 1] * taps[10]
        for j in range(1, HALF):
            even.addcmul_(x[..., j : j + length], taps[11 - 2 * j])
            odd.addcmul_(x[..., j + 1 : j + 1 + length], taps[10 - 2 * j])
        return even, odd

    def _decimate(self, even: Tensor, odd: Tensor) -> Tensor:
        """out[n] = sum_j g[2 j + 1] even[n - 2 + j] + g[2 j] odd[n - 3 + j], j = 0..5."""
        taps = self.downsample.lowpass.filter.view(-1).unbind()
        length = even.shape[-1]
        edges = even.shape[:-1] + (3,)
        first, last = even[..., :1].expand(edges), odd[..., -1:].expand(edges)  # ends of the interleaved signal
        even, odd = torch.cat([first, even, last], dim=-1), torch.cat([first, odd, last], dim=-1)
        out = odd[..., :length] * taps[0]
        out.addcmul_(even[..., 1 : length + 1], taps[1])
        for j in range(1, HALF):
            out.addcmul_(odd[..., j : j + length], taps[2 * j])
            out.addcmul_(even[..., j + 1 : j + 1 + length], taps[2 * j + 1])
        return out


class AMPBlock(nn.Module):
    """For each dilation: x + conv2(act(dilated conv1(act(x))))."""

    def __init__(self, width: int, kernel: int, dilations: list[int]):
        super().__init__()
        self.convs1 = nn.ModuleList(
            nn.Conv1d(width, width, kernel, dilation=d, padding=d * (kernel - 1) // 2) for d in dilations
        )
        self.convs2 = nn.ModuleList(nn.Conv1d(width, width, kernel, padding=(kernel - 1) // 2) for _ in dilations)
        self.acts1 = nn.ModuleList(Activation(width) for _ in dilations)
        self.acts2 = nn.ModuleList(Activation(width) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for act1, conv1, act2, conv2 in zip(self.acts1, self.convs1, self.acts2, self.convs2, strict=True):
            x = x + conv2(act2(conv1(act1(x))))
        return x


class Vocoder(nn.Module):
    """Log-mel (B, 2, T, M) -> waveform (B, 2, T * prod(upsample_rates)); clamped to [-1, 1] if final_clamp."""

    def __init__(self, part: dict, final_clamp: bool):
        super().__init__()
        self.final_clamp = final_clamp
        self.hop = math.prod(part["upsample_rates"])
        width = part["upsample_initial_channel"]
        kernels = part["resblock_kernel_sizes"]
        self.conv_pre = nn.Conv1d(2 * part.get("num_mels", 64), width, 7, padding=3)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for rate, kernel in zip(part["upsample_rates"], part["upsample_kernel_sizes"], strict=True):
            up = nn.ConvTranspose1d(width, width // 2, kernel, stride=rate, padding=(kernel - rate) // 2)
            width //= 2
            self.ups.append(up)
            for size, dilations in zip(kernels, part["resblock_dilation_sizes"], strict=True):
                self.resblocks.append(AMPBlock(width, size, dilations))
        self.act_post = Activation(width)
        self.conv_post = nn.Conv1d(width, 2, 7, padding=3, bias=part.get("use_bias_at_final", False))

    @classmethod
    def from_config(cls, part: dict) -> "Vocoder":
        """Build from `vocoder.vocoder` or `vocoder.bwe` of the configuration; ValueError names an unusable key."""
        for key, value in REQUIRED.items():
            if part.get(key, value) != value:
                raise ValueError(f"vocoder configuration: {key} is {part[key]!r}; LTX-2.3 has {value!r}")
        for rate, kernel in zip(part["upsample_rates"], part["upsample_kernel_sizes"], strict=True):
            if kernel < rate or (kernel - rate) % 2:
                raise ValueError(
                    f"vocoder configuration: upsample_kernel_sizes has {kernel} for rate {rate}; "
                    "the difference must be even and not negative"
                )
        return cls(part, final_clamp=part.get("apply_final_activation", True))

    def forward(self, mel: Tensor) -> Tensor:
        x = self.conv_pre(mel.transpose(2, 3).flatten(1, 2))  # (B, C, T)
        num_kernels = len(self.resblocks) // len(self.ups)
        for i, up in enumerate(self.ups):
            x = up(x)
            blocks = self.resblocks[i * num_kernels : (i + 1) * num_kernels]
            x = sum(block(x) for block in blocks) / num_kernels
        x = self.conv_post(self.act_post(x))
        return x.clamp(-1, 1) if self.final_clamp else x
