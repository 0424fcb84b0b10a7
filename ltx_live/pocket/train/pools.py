"""Rendered clips of the pocket world, kept on the training device."""

from __future__ import annotations

import torch
from torch import Tensor

from ltx_live.pocket.configs import FRAME_RATE, HEIGHT_PX, WIDTH_PX
from ltx_live.pocket.description import Batch, sample_descriptions
from ltx_live.pocket.scenes import render_frames
from ltx_live.pocket.sounds import render_audio

_RENDERED_AT_ONCE = 16
SOUND_RATE_HZ = 48_000
HELD_OUT = 999_983
"""Added to a training seed: what training never sees."""


def random_batch(count: int, generator: torch.Generator, device: str) -> Batch:
    """`count` random descriptions as tensors."""
    return Batch.of(sample_descriptions(count, generator), device)


def random_starts(count: int, generator: torch.Generator) -> Tensor:
    """Random moments of a take, in whole frames. (B,) float64 seconds"""
    return torch.randint(0, int(120 * FRAME_RATE), (count,), generator=generator).double() / FRAME_RATE


def frame_times(start_s: Tensor, num_frames: int) -> Tensor:
    """(B,) -> (B, F) seconds at the pocket's frame rate."""
    return start_s[:, None] + torch.arange(num_frames, device=start_s.device).double() / FRAME_RATE


def video_pool(count: int, num_frames: int, seed: int, device: str) -> Tensor:
    """`count` clips as uint8 (N, F, H, W, 3)."""
    generator = torch.Generator().manual_seed(seed)
    pool = torch.empty(count, num_frames, HEIGHT_PX, WIDTH_PX, 3, dtype=torch.uint8, device=device)
    for first in range(0, count, _RENDERED_AT_ONCE):
        number = min(_RENDERED_AT_ONCE, count - first)
        batch = random_batch(number, generator, device)
        times = frame_times(random_starts(number, generator).to(device), num_frames)
        pool[first : first + number] = to_bytes(render_frames(batch, times, WIDTH_PX, HEIGHT_PX))
    return pool


def audio_pool(count: int, seconds: float, seed: int, device: str) -> Tensor:
    """`count` sounds at 48 kHz as float16 (N, 2, S); a quarter fade into another sound, as prompts change."""
    generator = torch.Generator().manual_seed(seed)
    num_samples = int(seconds * SOUND_RATE_HZ)
    pool = torch.empty(count, 2, num_samples, dtype=torch.float16, device=device)
    for first in range(0, count, 64):
        number = min(64, count - first)
        start = random_starts(number, generator).to(device)
        sound = render_audio(random_batch(number, generator, device), start, num_samples)
        other = render_audio(random_batch(number, generator, device), start, num_samples)
        change = torch.rand(number, generator=generator).to(device) < 0.25
        ramp = torch.linspace(-2, 3, num_samples, device=device).clamp(0, 1)[:, None]  # a fifth of the clip long
        sound = torch.where(change[:, None, None], sound * (1 - ramp).sqrt() + other * ramp.sqrt(), sound)
        pool[first : first + number] = sound.transpose(1, 2).half()
    return pool


def to_bytes(frames: Tensor) -> Tensor:
    """Pictures in 0..1 as uint8."""
    return (frames * 255 + 0.5).clamp(0, 255).to(torch.uint8)


def to_signed(frames: Tensor) -> Tensor:
    """uint8 (..., F, H, W, 3) -> float32 in -1..1 with channels first (..., 3, F, H, W)."""
    return frames.movedim(-1, -4).float() / 127.5 - 1


def choose(pool: Tensor, count: int) -> Tensor:
    """`count` random rows of a pool."""
    return pool[torch.randint(len(pool), (count,), device=pool.device)]


def windows(pool: Tensor, count: int, length: int, dim: int) -> Tensor:
    """`count` random rows, each cut to a random window of `length` along `dim` (the same window for all)."""
    start = int(torch.randint(pool.shape[dim] - length + 1, ()))
    return choose(pool.narrow(dim, start, length), count)
