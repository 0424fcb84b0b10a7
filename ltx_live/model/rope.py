"""Rotary position embedding of LTX-2.3: split halves per head, one contiguous slice of the spectrum per head."""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F


class Rope(NamedTuple):
    """Rotation of every head's two halves: x * cos + swap_halves(x) * sin, the sign folded into sin."""

    cos: Tensor  # (B, T, H, d)
    sin: Tensor  # (B, T, H, d)

    def to(self, like: Tensor) -> Self:
        """The same tables with the device and dtype of `like`."""
        return type(self)(self.cos.to(like), self.sin.to(like))


def frequencies(num_frequencies: int, theta: float) -> Tensor:
    """theta^(k / (n - 1)) * pi / 2 for k = 0..n-1 -> (n,) float32, computed in float64 (ltx-core rope.py)."""
    exponents = torch.linspace(0.0, 1.0, num_frequencies, dtype=torch.float64, device="cpu")
    return (theta**exponents * (math.pi / 2)).to(torch.float32)


@functools.lru_cache(maxsize=32)
def _constants(
    num_frequencies: int, theta: float, max_pos: tuple[float, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Frequencies (n,) and axis limits (A, 1) on the device, copied once: a CUDA graph holds no such copy."""
    with torch.inference_mode(False):
        limits = torch.tensor(max_pos, dtype=torch.float32)[:, None]
        return frequencies(num_frequencies, theta).to(device), limits.to(device)


def rope_tables(positions: Tensor, max_pos: Sequence[float], heads: tuple[int, int], theta: float) -> Rope:
    """Tables for `positions` (B, A, T), `heads` = (number, width), in float32 on the device of the positions.

    Angles run frequency-major and axis-minor; what an odd number of axes leaves over is identity, in front.
    """
    num_heads, head_dim = heads
    num_pairs = num_heads * head_dim // 2
    grid, limits = _constants(num_heads * head_dim // (2 * len(max_pos)), theta, tuple(max_pos), positions.device)
    fractions = (positions.to(torch.float32) / limits * 2 - 1).transpose(1, 2)  # (B, T, A)
    angles = (fractions[:, :, None, :] * grid[:, None]).flatten(2)  # (B, T, n * A)
    angles = F.pad(angles, (num_pairs - angles.shape[-1], 0))  # (B, T, H * d / 2)
    angles = angles.unflatten(2, (num_heads, head_dim // 2))  # (B, T, H, d / 2)
    cos, sin = angles.cos(), angles.sin()
    return Rope(torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1))


def rotate(x: Tensor, rope: Rope) -> Tensor:
    """Rotate (B, T, H, d) by the tables."""
    return torch.addcmul(x * rope.cos, x.roll(x.shape[-1] // 2, dims=-1), rope.sin)
