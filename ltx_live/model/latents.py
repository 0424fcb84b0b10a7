"""Geometry of latents: sizes that fit, tokens, their positions in time and space, and the window of a chunk."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

AUDIO_LATENTS_PER_SECOND = 25
MEL_FRAMES_PER_LATENT = 4
MEL_FRAME_S = 0.01
MAX_AUDIO_PREFIX = 25
ROUNDING = 1e-6  # binary floating point must not turn 145 latents into 146


@dataclass(frozen=True)
class VideoGeometry:
    """Size of a clip in pixels and in latents; the factors are those of the video VAE."""

    num_frames: int
    width: int
    height: int
    temporal_factor: int = 8
    spatial_factor: int = 32

    def __post_init__(self) -> None:
        if self.num_frames < 1 or (self.num_frames - 1) % self.temporal_factor:
            raise ValueError(f"num_frames must be 1 + a multiple of {self.temporal_factor}, not {self.num_frames}")
        if self.width % self.spatial_factor or self.height % self.spatial_factor:
            size = f"{self.width}x{self.height}"
            raise ValueError(f"width and height must be multiples of {self.spatial_factor}, not {size}")

    @property
    def num_latent_frames(self) -> int:
        """The first latent is one frame, every other `temporal_factor` frames."""
        return (self.num_frames - 1) // self.temporal_factor + 1

    @property
    def latent_width(self) -> int:
        """Columns of the latent grid."""
        return self.width // self.spatial_factor

    @property
    def latent_height(self) -> int:
        """Rows of the latent grid."""
        return self.height // self.spatial_factor

    @property
    def tokens_per_frame(self) -> int:
        """Tokens of one latent frame."""
        return self.latent_width * self.latent_height

    @property
    def num_tokens(self) -> int:
        """Tokens of the whole clip."""
        return self.num_latent_frames * self.tokens_per_frame


def patchify_video(latent: Tensor) -> Tensor:
    """(B, C, F, h, w) -> tokens (B, F * h * w, C): frame, then row, then column."""
    return latent.flatten(2).transpose(1, 2)


def unpatchify_video(tokens: Tensor, geometry: VideoGeometry) -> Tensor:
    """Tokens (B, F * h * w, C) -> (B, C, F, h, w)."""
    grid = (geometry.num_latent_frames, geometry.latent_height, geometry.latent_width)
    return tokens.transpose(1, 2).unflatten(2, grid)


def patchify_audio(latent: Tensor) -> Tensor:
    """(B, C, T, bins) -> tokens (B, T, C * bins)."""
    return latent.transpose(1, 2).flatten(2)


def unpatchify_audio(tokens: Tensor, num_bins: int = 16) -> Tensor:
    """Tokens (B, T, C * bins) -> (B, C, T, bins)."""
    return tokens.unflatten(2, (-1, num_bins)).transpose(1, 2)


def video_positions(geometry: VideoGeometry, frame_rate: float, start_s: float = 0.0) -> Tensor:
    """[start, end) of every video token in seconds, pixels, pixels: (1, 3, T, 2) float32.

    Latent frame k shows frames 8k-7 to 8k, the first one a single frame (ltx-core tools.py, causal fix).
    """
    factor, pixels = geometry.temporal_factor, geometry.spatial_factor
    frames = torch.arange(geometry.num_latent_frames) * factor + 1 - factor
    times = _spans(frames, factor).clamp(min=0) / frame_rate + start_s  # (F, 2)
    rows = _spans(torch.arange(geometry.latent_height) * pixels, pixels)  # (h, 2)
    columns = _spans(torch.arange(geometry.latent_width) * pixels, pixels)  # (w, 2)
    grid = (geometry.num_latent_frames, geometry.latent_height, geometry.latent_width, 2)
    axes = (times[:, None, None], rows[None, :, None], columns[None, None])
    return torch.stack([axis.expand(grid).flatten(0, 2) for axis in axes])[None]


def audio_positions(num_latents: int) -> Tensor:
    """[start, end) of every audio token in seconds: (1, 1, T, 2) float32; the first lasts 10 ms, the others 40."""
    mel_frames = torch.arange(num_latents) * MEL_FRAMES_PER_LATENT + 1 - MEL_FRAMES_PER_LATENT
    return _spans(mel_frames, MEL_FRAMES_PER_LATENT).clamp(min=0)[None, None] * MEL_FRAME_S


def _spans(starts: Tensor, length: int) -> Tensor:
    return torch.stack((starts, starts + length), dim=-1).to(torch.float32)


def audio_end_s(num_latents: int) -> float:
    """When the last of `num_latents` audio latents ends."""
    return (MEL_FRAMES_PER_LATENT * num_latents - 3) * MEL_FRAME_S


def reference_video_positions(
    geometry: VideoGeometry, frame_rate: float, downscale_factor: int = 1, start_s: float = 0.0
) -> Tensor:
    """Positions of a reference video of its own, smaller size laid over the whole picture (IC-LoRA)."""
    positions = video_positions(geometry, frame_rate, start_s)
    positions[:, 1:] *= downscale_factor
    return positions


@dataclass(frozen=True)
class ChunkWindow:
    """Where the frames and audio latents of a chunk lie on its own clock, which starts with the first audio latent."""

    num_frames: int
    frame_rate: float
    num_prefix_frames: int = 0  # pictures at the start which are given, not made
    num_audio_prefix: int = 0  # audio latents at the start which are given
    carry_s: float = 0.0  # how far the last given audio latent ends before the cut; 0 <= carry_s < 0.04

    @property
    def cut_s(self) -> float:
        """When the new material starts."""
        return audio_end_s(self.num_audio_prefix) + self.carry_s if self.num_audio_prefix else 0.0

    @property
    def video_start_s(self) -> float:
        """Shift of the video positions: the given frames end where the new material starts."""
        return self.cut_s - self.num_prefix_frames / self.frame_rate

    @property
    def end_s(self) -> float:
        """When the last frame ends."""
        return self.video_start_s + self.num_frames / self.frame_rate

    @property
    def num_audio_latents(self) -> int:
        """All audio latents, given and new: they reach to the end of the window or beyond it."""
        if not self.num_audio_prefix:
            return math.ceil(AUDIO_LATENTS_PER_SECOND * self.end_s - ROUNDING)
        return math.ceil((self.end_s / MEL_FRAME_S + 3) / MEL_FRAMES_PER_LATENT - ROUNDING)

    def continued(self, cut_frame: int, num_frames: int, num_prefix_frames: int = 9) -> "ChunkWindow":
        """The window of a chunk which continues this one before its frame `cut_frame` (its overlap counted)."""
        cut_s = self.video_start_s + cut_frame / self.frame_rate
        whole = self.whole_latents(cut_s)
        return ChunkWindow(
            num_frames=num_frames,
            frame_rate=self.frame_rate,
            num_prefix_frames=num_prefix_frames if cut_frame >= num_prefix_frames else 1,
            num_audio_prefix=min(whole, MAX_AUDIO_PREFIX),
            carry_s=max(cut_s - audio_end_s(whole), 0.0),
        )

    def whole_latents(self, cut_s: float) -> int:
        """How many of this window's audio latents have ended at `cut_s`; the last of them are the next prefix."""
        whole = math.floor((cut_s / MEL_FRAME_S + 3) / MEL_FRAMES_PER_LATENT + ROUNDING)
        return min(whole, self.num_audio_latents)
