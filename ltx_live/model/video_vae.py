"""Video autoencoder: frames in [-1, 1] <-> latents, 8 times fewer frames and 32 x 32 times fewer pixels.

Layout of the `vae` section and tensor names: Lightricks/LTX-2, ltx-core/src/ltx_core/model/video_vae
(reference/model.md 3).
Shape letters: B batch, C channels, F frames, H W pixels, T h w latent frames, rows and columns.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDES = {"compress_time": (2, 1, 1), "compress_space": (1, 2, 2), "compress_all": (2, 2, 2)}  # frames, rows, columns
PADDING_MODES = ("zeros", "reflect")
NUM_LOG_VAR = {"none": lambda c: 0, "uniform": lambda c: 1, "constant": lambda c: 1, "per_channel": lambda c: c}


class PerChannelStatistics(nn.Module):
    """Mean and standard deviation of every latent channel; the transformer only sees normalised latents."""

    def __init__(self, num_channels: int):
        super().__init__()
        self.register_buffer("mean-of-means", torch.zeros(num_channels))
        self.register_buffer("std-of-means", torch.ones(num_channels))

    def normalize(self, latents: Tensor, dim: int = 1) -> Tensor:
        """(x - mean) / std along `dim`."""
        mean, std = self._broadcast(latents, dim)
        return (latents - mean) / std

    def denormalize(self, latents: Tensor, dim: int = 1) -> Tensor:
        """x * std + mean along `dim`."""
        mean, std = self._broadcast(latents, dim)
        return latents * std + mean

    def set(self, mean: Tensor, std: Tensor) -> None:
        """Store measured statistics, each of shape (C,)."""
        self.get_buffer("mean-of-means").copy_(mean)
        self.get_buffer("std-of-means").copy_(std)

    def _broadcast(self, latents: Tensor, dim: int) -> list[Tensor]:
        shape = [1] * latents.ndim
        shape[dim] = -1
        return [self.get_buffer(name).to(latents).view(shape) for name in ("mean-of-means", "std-of-means")]


def patchify_pixels(frames: Tensor, patch: int) -> Tensor:
    """(B, C, F, H, W) -> (B, C * patch * patch, F, H / patch, W / patch); column offset outer, row offset inner."""
    batch, channels, num_frames, height, width = frames.shape
    x = frames.reshape(batch, channels, num_frames, height // patch, patch, width // patch, patch)
    return x.permute(0, 1, 6, 4, 2, 3, 5).flatten(1, 3)


def unpatchify_pixels(x: Tensor, patch: int) -> Tensor:
    """Inverse of patchify_pixels."""
    x = x.unflatten(1, (-1, patch, patch))  # (B, C, column offset, row offset, F, h, w)
    return x.permute(0, 1, 4, 5, 3, 6, 2).flatten(5, 6).flatten(3, 4)


def space_to_depth(x: Tensor, stride: tuple[int, int, int]) -> Tensor:
    """(B, C, F, H, W) -> (B, C * prod(stride), F / s0, H / s1, W / s2); channel outermost, then frame, row, column."""
    st, sy, sx = stride
    x = x.movedim(1, -1).unflatten(3, (-1, sx)).unflatten(2, (-1, sy)).unflatten(1, (-1, st))
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(4).movedim(-1, 1)  # stays channels-last


def depth_to_space(x: Tensor, stride: tuple[int, int, int]) -> Tensor:
    """Inverse of space_to_depth."""
    x = x.movedim(1, -1).unflatten(-1, (-1, *stride))  # (B, F, H, W, C, s0, s1, s2)
    return x.permute(0, 1, 5, 2, 6, 3, 7, 4).flatten(5, 6).flatten(3, 4).flatten(1, 2).movedim(-1, 1)


def norm_silu(x: Tensor, eps: float = 1e-8) -> Tensor:
    """SiLU of x / sqrt(mean over channels of x^2 + eps), without weights."""
    scale = torch.linalg.vector_norm(x, dim=1, keepdim=True).square().div(x.shape[1]).add(eps).rsqrt()
    return F.silu(x * scale, inplace=True)


def _onednn_is_faster(x: Tensor) -> bool:
    """True where torch would take its own slow loop: small float32 clips on a CPU (10 times slower, measured)."""
    small = x.is_cpu and x.dtype == torch.float32 and x.shape[:4].numel() <= 20480  # ATen/native/Convolution.cpp
    return small and torch.backends.mkldnn.is_available()


class Conv(nn.Module):
    """3 x 3 x 3 convolution; the first frame is repeated twice before (causal) or the ends once on both sides."""

    def __init__(self, num_in: int, num_out: int, padding_mode: str, causal: bool):
        super().__init__()
        self.causal = causal
        self.conv = nn.Conv3d(num_in, num_out, 3, padding=(0, 1, 1), padding_mode=padding_mode)

    def forward(self, x: Tensor) -> Tensor:
        first, last = x[:, :, :1], x[:, :, -1:]
        x = torch.cat([first, first, x] if self.causal else [first, x, last], dim=2)
        if _onednn_is_faster(x) and self.conv.padding_mode == "zeros":
            ones = [1, 1, 1]
            return torch.ops.aten.mkldnn_convolution(x, self.conv.weight, self.conv.bias, [0, 1, 1], ones, ones, 1)
        return self.conv(x)


class ResBlock(nn.Module):
    """x + conv2(SiLU(norm(conv1(SiLU(norm(x))))))."""

    def __init__(self, width: int, padding_mode: str, causal: bool):
        super().__init__()
        self.conv1 = Conv(width, width, padding_mode, causal)
        self.conv2 = Conv(width, width, padding_mode, causal)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(norm_silu(self.conv1(norm_silu(x))))


class ResStack(nn.Module):
    """`num_layers` residual blocks of one width."""

    def __init__(self, width: int, num_layers: int, padding_mode: str, causal: bool):
        super().__init__()
        self.res_blocks = nn.ModuleList(ResBlock(width, padding_mode, causal) for _ in range(num_layers))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.res_blocks:
            x = block(x)
        return x


class Downsample(nn.Module):
    """Convolution and space-to-depth, plus the input shuffled likewise and averaged over channel groups."""

    def __init__(self, num_in: int, num_out: int, stride: tuple[int, int, int], padding_mode: str):
        super().__init__()
        self.stride, self.num_out = stride, num_out
        self.conv = Conv(num_in, num_out // math.prod(stride), padding_mode, causal=True)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] == 2:
            x = torch.cat([x[:, :, :1], x], dim=2)
        skip = space_to_depth(x, self.stride).unflatten(1, (self.num_out, -1)).mean(dim=2)
        return space_to_depth(self.conv(x), self.stride) + skip


class Upsample(nn.Module):
    """Convolution and depth-to-space; of twice as many frames the first is dropped."""

    def __init__(self, num_in: int, num_out: int, stride: tuple[int, int, int], padding_mode: str, causal: bool):
        super().__init__()
        self.stride = stride
        self.conv = Conv(num_in, num_out * math.prod(stride), padding_mode, causal)

    def forward(self, x: Tensor) -> Tensor:
        return depth_to_space(self.conv(x), self.stride)[:, :, self.stride[0] - 1 :]


class VideoEncoder(nn.Module):
    """Causal encoder: (B, 3, 8 k + 1, H, W) -> mean (B, C, k + 1, H / 32, W / 32), not normalised."""

    def __init__(self, section: dict):
        super().__init__()
        self.patch = section.get("patch_size", 4)
        self.latent_channels = section["latent_channels"]
        padding = _padding_mode(section, "encoder")
        width = section.get("encoder_base_channels", self.latent_channels)
        self.conv_in = Conv(section.get("in_channels", 3) * self.patch**2, width, padding, causal=True)
        self.down_blocks = nn.ModuleList()
        blocks = _blocks(section, "encoder_blocks", suffix="_res")
        for name, options in blocks:
            if name == "res_x":
                self.down_blocks.append(ResStack(width, options["num_layers"], padding, causal=True))
            else:
                num_out = width * options.get("multiplier", 1)
                self.down_blocks.append(Downsample(width, num_out, STRIDES[name], padding))
                width = num_out
        used = [STRIDES[name] for name, _ in blocks if name in STRIDES]
        frames, rows, columns = (math.prod(stride[axis] for stride in used) for axis in range(3))
        self.strides = (frames, rows * self.patch, columns * self.patch)  # pixels to a latent: (8, 32, 32) in LTX-2.3
        num_log_var = NUM_LOG_VAR[section.get("latent_log_var", "uniform")](self.latent_channels)
        self.conv_out = Conv(width, self.latent_channels + num_log_var, padding, causal=True)

    @classmethod
    def from_config(cls, section: dict) -> "VideoEncoder":
        """Build from the `vae` section of the checkpoint's configuration; ValueError names an unusable key."""
        _check(section)
        return cls(section)

    def moments(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (B, C, T, h, w) and log variance (B, 0 | 1 | C, T, h, w); ValueError names a size that does not fit."""
        num_frames, height, width = frames.shape[2:]
        if (num_frames - 1) % self.strides[0] or height % self.strides[1] or width % self.strides[2]:
            raise ValueError(
                f"video encoder: {num_frames} frames of {width} x {height} do not fit; "
                f"give {self.strides[0]} k + 1 frames and multiples of {self.strides[2]} x {self.strides[1]} pixels"
            )
        x = self.conv_in(_channels_last(patchify_pixels(frames, self.patch)))
        for block in self.down_blocks:
            x = block(x)
        x = self.conv_out(norm_silu(x))
        return x[:, : self.latent_channels], x[:, self.latent_channels :]

    def forward(self, frames: Tensor) -> Tensor:
        return self.moments(frames)[0]


class VideoDecoder(nn.Module):
    """Decoder: (B, C, T, h, w), not normalised -> (B, 3, 8 (T - 1) + 1, 32 h, 32 w) in [-1, 1], not clamped."""

    def __init__(self, section: dict):
        super().__init__()
        self.patch = section.get("patch_size", 4)
        padding, causal = _padding_mode(section, "decoder"), section.get("causal_decoder", False)
        blocks = _blocks(section, "decoder_blocks")[::-1]  # listed in the encoder's order
        width = section.get("decoder_base_channels", section["latent_channels"])
        width *= math.prod(options.get("multiplier", 1) for _, options in blocks)
        self.conv_in = Conv(section["latent_channels"], width, padding, causal)
        self.up_blocks = nn.ModuleList()
        for name, options in blocks:
            if name == "res_x":
                self.up_blocks.append(ResStack(width, options["num_layers"], padding, causal))
            else:
                num_out = width // options.get("multiplier", 1)
                self.up_blocks.append(Upsample(width, num_out, STRIDES[name], padding, causal))
                width = num_out
        self.conv_out = Conv(width, section.get("out_channels", 3) * self.patch**2, padding, causal)

    @classmethod
    def from_config(cls, section: dict) -> "VideoDecoder":
        """Build from the `vae` section of the checkpoint's configuration; ValueError names an unusable key."""
        _check(section)
        return cls(section)

    def patches(self, latents: Tensor) -> Tensor:
        """Decode to pixel patches (B, 3 * patch * patch, F, H / patch, W / patch)."""
        x = self.conv_in(_channels_last(latents))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(norm_silu(x))

    def forward(self, latents: Tensor) -> Tensor:
        return unpatchify_pixels(self.patches(latents), self.patch)


class VideoVAE(nn.Module):
    """Encoder, decoder and the statistics they share; latents outside of it are normalised."""

    def __init__(self, section: dict):
        super().__init__()
        self.encoder = VideoEncoder.from_config(section)
        self.decoder = VideoDecoder.from_config(section)
        self.per_channel_statistics = PerChannelStatistics(section["latent_channels"])

    @classmethod
    def from_config(cls, section: dict) -> "VideoVAE":
        """Build from the `vae` section of the checkpoint's configuration; ValueError names an unusable key."""
        return cls(section)

    def encode(self, frames: Tensor) -> Tensor:
        """(B, 3, 8 k + 1, H, W) in [-1, 1] -> normalised latents (B, C, k + 1, H / 32, W / 32)."""
        return self.per_channel_statistics.normalize(self.encoder(frames))

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents (B, C, T, h, w) -> frames (B, 3, 8 (T - 1) + 1, 32 h, 32 w), not clamped."""
        return self.decoder(self.per_channel_statistics.denormalize(latents))

    def decode_u8(self, latents: Tensor) -> Tensor:
        """Normalised latents (B, C, T, h, w) -> pictures (B, F, H, W, 3) as uint8; converted before the shuffle."""
        x = self.decoder.patches(self.per_channel_statistics.denormalize(latents))
        x = x.float().mul_(127.5).add_(128.0).clamp_(0, 255).to(torch.uint8)
        return unpatchify_pixels(x, self.decoder.patch).permute(0, 2, 3, 4, 1).contiguous()


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last_3d)


def _padding_mode(section: dict, side: str) -> str:
    mode = section.get(f"{side}_spatial_padding_mode", section.get("spatial_padding_mode", "zeros"))
    if mode not in PADDING_MODES:
        raise ValueError(f"vae configuration: {side} padding mode '{mode}' is not known; use one of {PADDING_MODES}")
    return mode


def _blocks(section: dict, key: str, suffix: str = "") -> list[tuple[str, dict]]:
    blocks = []
    for name, options in section[key]:
        plain = name if name == "res_x" else name.removesuffix(suffix) if name.endswith(suffix) else ""
        if plain != "res_x" and plain not in STRIDES:
            raise ValueError(f"vae configuration: {key} has a block '{name}' that LTX-2.3 does not have")
        if options.get("residual") or options.get("inject_noise"):
            raise ValueError(f"vae configuration: {key} asks for residual or inject_noise, which LTX-2.3 does not have")
        blocks.append((plain, options))
    return blocks


def _check(section: dict) -> None:
    if section.get("timestep_conditioning", False):
        raise ValueError("vae configuration: timestep_conditioning is true (an older model); LTX-2.3 needs false")
    if section.get("norm_layer", "pixel_norm") != "pixel_norm":
        raise ValueError(f"vae configuration: norm_layer '{section['norm_layer']}' is not known; use pixel_norm")
    if section.get("latent_log_var", "uniform") not in NUM_LOG_VAR:
        raise ValueError(f"vae configuration: latent_log_var must be one of {tuple(NUM_LOG_VAR)}")
