"""Small layers: norm, feed-forward, timestep embedding and the modulation (AdaLN) driven by it."""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def rms_norm(x: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) over the last dimension, without weight."""
    return F.rms_norm(x, (x.shape[-1],), eps=eps)


def modulate(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """x * (1 + scale) + shift."""
    return torch.addcmul(shift, x, 1 + scale)


class GeluProjection(nn.Module):
    """Linear, then GELU in its tanh form."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.proj = nn.Linear(width, inner)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.proj(x), approximate="tanh")  # (B, T, 4 D)


class FeedForward(nn.Module):
    """D -> 4 D -> D, token by token; of at most `chunk_size` tokens at a time, None for all at once."""

    def __init__(self, width: int):
        super().__init__()
        self.chunk_size: int | None = None
        self.net = nn.Sequential(GeluProjection(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        if self.chunk_size is None or x.shape[1] <= self.chunk_size:
            return self.net(x)  # (B, T, D)
        return torch.cat([self.net(part) for part in x.split(self.chunk_size, dim=1)], dim=1)


@dataclass(frozen=True)
class TokenTimesteps:
    """Timesteps of tokens as their few distinct values, so that AdaLN runs once per value instead of once per token."""

    values: Tensor  # (B, K) float32
    index: Tensor | None  # (B, T), which of the B * K values a token has; None: K = 1, all tokens of an item share it

    @classmethod
    def from_tokens(cls, timestep: Tensor) -> Self:
        """From a timestep per token (B, T). Synchronises the device: do it once per chunk and scale per step."""
        ordered, order = timestep.to(torch.float32).sort(dim=1)
        rank = F.pad((ordered.diff(dim=1) > 0).cumsum(dim=1), (1, 0))  # (B, T)
        batch, num_values = len(timestep), int(rank.max()) + 1
        values = ordered.new_zeros(batch, num_values).scatter(1, rank, ordered)  # (B, K)
        if num_values == 1:
            return cls(values, None)
        first = torch.arange(batch, device=rank.device)[:, None] * num_values  # (B, 1)
        return cls(values, torch.empty_like(rank).scatter(1, order, rank) + first)

    @classmethod
    def common(cls, sigma: Tensor) -> Self:
        """All tokens at the sigma (B,) of their batch item."""
        return cls(sigma[:, None], None)

    def scaled(self, sigma: float | Tensor) -> Self:
        """Multiplied by sigma, a number or (B,)."""
        return type(self)(self.values * (sigma[:, None] if isinstance(sigma, Tensor) else sigma), self.index)


@dataclass(frozen=True)
class Modulation:
    """Rows of scale, shift and gate made from distinct timesteps; a block adds its own table to them."""

    rows: Tensor  # (B, K, R, D)
    index: Tensor | None  # (B, T) as in TokenTimesteps

    def with_table(self, table: Tensor) -> tuple[Tensor, ...]:
        """The R rows plus the `table` (R, D), each (B, K, D), in the dtype of the rows."""
        return (self.rows + table).to(self.rows.dtype).unbind(2)

    def expand(self, row: Tensor) -> Tensor:
        """A row (B, K, D) for every token: (B, T, D), or (B, 1, D) where all tokens share one timestep."""
        if self.index is None:
            return row
        if not row.requires_grad:
            return F.embedding(self.index, row.flatten(0, 1))
        # The same as a product, whose gradient is one product too and is summed in float32.
        values = torch.arange(row.shape[1], device=row.device)
        return (self.index[..., None] % row.shape[1] == values).to(row.dtype) @ row


class TimestepEmbedder(nn.Module):
    """256 sinusoids of a timestep -> Linear -> SiLU -> Linear."""

    NUM_SINUSOIDS = 256

    def __init__(self, width: int):
        super().__init__()
        self.linear_1 = nn.Linear(self.NUM_SINUSOIDS, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, timestep: Tensor) -> Tensor:
        half = self.NUM_SINUSOIDS // 2
        index = torch.arange(half, dtype=torch.float32, device=timestep.device)
        angles = timestep[..., None] * torch.exp(index * (-math.log(10000.0) / half))  # (B, K, 128)
        sinusoids = torch.cat((angles.cos(), angles.sin()), dim=-1)  # (B, K, 256)
        return self.linear_2(F.silu(self.linear_1(sinusoids.to(self.linear_1.bias.dtype))))  # (B, K, D)


class AdaLayerNormSingle(nn.Module):
    """Timesteps -> `num_rows` modulation rows (adaLN-single of PixArt-alpha, arXiv 2310.00426)."""

    def __init__(self, width: int, num_rows: int):
        super().__init__()
        self.emb = nn.ModuleDict({"timestep_embedder": TimestepEmbedder(width)})
        self.linear = nn.Linear(width, num_rows * width)
        self.num_rows = num_rows

    def forward(self, timesteps: TokenTimesteps, multiplier: float) -> tuple[Modulation, Modulation]:
        """The rows, and the embedded timestep as a single row, which the output head uses."""
        embedded = self.emb["timestep_embedder"](timesteps.values * multiplier)  # (B, K, D)
        rows = self.linear(F.silu(embedded)).unflatten(-1, (self.num_rows, -1))  # (B, K, R, D)
        return Modulation(rows, timesteps.index), Modulation(embedded.unsqueeze(2), timesteps.index)
