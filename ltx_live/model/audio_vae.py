"""Audio autoencoder: stereo log-mel at 100 frames a second <-> 8 x 16 latents at 25 a second, causal in time.

Layout of the `audio_vae` section and tensor names: Lightricks/LTX-2, ltx-core/src/ltx_core/model/audio_vae
(reference/model.md 4.2).
Shape letters: B batch, C channels, T time steps, M mel bands.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltx_live.model.video_vae import PerChannelStatistics, norm_silu

EPS = 1e-6
REQUIRED = {"causality_axis": "height", "norm_type": "pixel", "mid_block_add_attention": False, "attn_resolutions": []}


class CausalConv(nn.Module):
    """Convolution over (time, mel) that sees no later time step; zeros outside."""

    def __init__(self, num_in: int, num_out: int, kernel: int = 3):
        super().__init__()
        self.conv = nn.Conv2d(num_in, num_out, kernel, padding=(kernel - 1, kernel // 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)[:, :, : x.shape[2]]  # both ends are padded; the rows that would look ahead are dropped


class ResBlock(nn.Module):
    """shortcut(x) + conv2(SiLU(norm(conv1(SiLU(norm(x))))))."""

    def __init__(self, num_in: int, num_out: int):
        super().__init__()
        self.conv1 = CausalConv(num_in, num_out)
        self.conv2 = CausalConv(num_out, num_out)
        if num_in != num_out:
            self.nin_shortcut = CausalConv(num_in, num_out, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(norm_silu(self.conv1(norm_silu(x, EPS)), EPS))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class Downsample(nn.Module):
    """Half as many time steps and mel bands."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 2, 0)))


class Upsample(nn.Module):
    """Twice as many time steps, less the first, and twice as many mel bands."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = CausalConv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))[:, :, 1:]


class Level(nn.Module):
    """The residual blocks of one resolution and the change to the next."""

    def __init__(self, num_in: int, num_out: int, num_blocks: int):
        super().__init__()
        self.block = nn.ModuleList(ResBlock(num_in if i == 0 else num_out, num_out) for i in range(num_blocks))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        for resample in ("downsample", "upsample"):
            if hasattr(self, resample):
                x = getattr(self, resample)(x)
        return x


class Middle(nn.Module):
    """Two residual blocks at the lowest resolution."""

    def __init__(self, width: int):
        super().__init__()
        self.block_1 = ResBlock(width, width)
        self.block_2 = ResBlock(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.block_1(x))


class AudioEncoder(nn.Module):
    """Causal encoder: log-mel (B, 2, T_mel, M) -> mean (B, z, (T_mel - 1) // 4 + 1, M / 4), not normalised."""

    def __init__(self, dd: dict):
        super().__init__()
        self.z_channels = dd["z_channels"]
        widths = [dd["ch"] * multiplier for multiplier in dd["ch_mult"]]
        self.conv_in = CausalConv(dd["in_channels"], dd["ch"])
        self.down = nn.ModuleList()
        for num_in, num_out in zip([dd["ch"], *widths], widths, strict=False):
            self.down.append(Level(num_in, num_out, dd["num_res_blocks"]))
        for level in self.down[:-1]:
            level.downsample = Downsample(level.block[-1].conv2.conv.out_channels)
        self.mid = Middle(widths[-1])
        self.conv_out = CausalConv(widths[-1], self.z_channels * (2 if dd.get("double_z", True) else 1))

    @classmethod
    def from_config(cls, section: dict) -> "AudioEncoder":
        """Build from the `audio_vae` section of the checkpoint's configuration; ValueError names an unusable key."""
        return cls(_ddconfig(section))

    def moments(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (B, z, T, M / 4) and log variance (B, z, T, M / 4), which has no channels without double_z."""
        x = self.conv_in(_channels_last(mel))
        for level in self.down:
            x = level(x)
        x = self.conv_out(norm_silu(self.mid(x), EPS))
        return x[:, : self.z_channels], x[:, self.z_channels :]

    def forward(self, mel: Tensor) -> Tensor:
        return self.moments(mel)[0]


class AudioDecoder(nn.Module):
    """Causal decoder: (B, z, T, M / 4), not normalised -> log-mel (B, 2, 4 T - 3, M)."""

    def __init__(self, dd: dict):
        super().__init__()
        widths = [dd["ch"] * multiplier for multiplier in dd["ch_mult"]]
        self.conv_in = CausalConv(dd["z_channels"], widths[-1])
        self.mid = Middle(widths[-1])
        self.up = nn.ModuleList()  # index 0 is the highest resolution, which runs last
        for num_in, num_out in zip([*widths[1:], widths[-1]], widths, strict=True):
            self.up.append(Level(num_in, num_out, dd["num_res_blocks"] + 1))
        for level in self.up[1:]:
            level.upsample = Upsample(level.block[-1].conv2.conv.out_channels)
        self.conv_out = CausalConv(widths[0], dd["out_ch"])

    @classmethod
    def from_config(cls, section: dict) -> "AudioDecoder":
        """Build from the `audio_vae` section of the checkpoint's configuration; ValueError names an unusable key."""
        return cls(_ddconfig(section))

    def forward(self, latents: Tensor) -> Tensor:
        x = self.mid(self.conv_in(_channels_last(latents)))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(norm_silu(x, EPS))


class AudioVAE(nn.Module):
    """Encoder, decoder and statistics per (channel, band) of a latent; latents outside of it are normalised."""

    def __init__(self, section: dict):
        super().__init__()
        dd = _ddconfig(section)
        self.encoder = AudioEncoder(dd)
        self.decoder = AudioDecoder(dd)
        self.latent_bands = dd["mel_bins"] // 2 ** (len(dd["ch_mult"]) - 1)
        self.per_channel_statistics = PerChannelStatistics(dd["z_channels"] * self.latent_bands)

    @classmethod
    def from_config(cls, section: dict) -> "AudioVAE":
        """Build from the `audio_vae` section of the checkpoint's configuration; ValueError names an unusable key."""
        return cls(section)

    def encode(self, mel: Tensor) -> Tensor:
        """Log-mel (B, 2, T_mel, M) at 100 frames a second -> normalised latents (B, z, (T_mel - 1) // 4 + 1, M / 4)."""
        return self._split(self.per_channel_statistics.normalize(self._tokens(self.encoder(mel)), dim=2))

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents (B, z, T, M / 4) -> log-mel (B, 2, 4 T - 3, M) at 100 frames a second."""
        return self.decoder(self._split(self.per_channel_statistics.denormalize(self._tokens(latents), dim=2)))

    def _tokens(self, latents: Tensor) -> Tensor:
        return latents.transpose(1, 2).flatten(2)  # (B, T, z * M / 4), band fastest

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (-1, self.latent_bands)).transpose(1, 2)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _ddconfig(section: dict) -> dict:
    dd = dict(section["model"]["params"]["ddconfig"])
    dd.setdefault("mel_bins", section.get("preprocessing", {}).get("mel", {}).get("n_mel_channels", 64))
    for key, value in REQUIRED.items():
        if dd.get(key, value) != value:
            raise ValueError(f"audio_vae configuration: {key} is {dd[key]!r}; LTX-2.3 has {value!r}")
    return dd
