"""Moving fields of light that are no scene of the pocket world, as cameras and drawings give them: (B, F, H, W)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ltx_live.pocket.description import uniform_hash

_SOFT = 0.02  # of an outline, in picture heights


@dataclass(frozen=True)
class _View:
    """Pixels of B fields in picture heights from the middle, moments, and each field's own numbers."""

    x: Tensor  # (W,)
    y: Tensor  # (H, 1)
    times_s: Tensor  # (B, F) float32
    seeds: Tensor  # (B,) int64

    def draw(self, number: int, low: float, high: float) -> Tensor:
        """The fields' own number of this index. (B, 1, 1, 1) float32"""
        drawn = uniform_hash(torch.full_like(self.seeds, number), self.seeds).float()
        return (low + (high - low) * drawn)[:, None, None, None]

    def wander(self, number: int, reach: float) -> Tensor:
        """A place that swings to and fro, (B, F, 1, 1)."""
        pace = self.draw(number, 0.4, 2.5) * self.times_s[..., None, None]
        return reach * torch.sin(pace + self.draw(number + 1, 0.0, 2.0 * math.pi))


def render_fields(seeds: Tensor, times_s: Tensor, width: int = 288, height: int = 160) -> Tensor:
    """Light of B fields at absolute times; the seed decides all. seeds (B,), times_s (B, F) -> (B, F, H, W) in 0..1"""
    device = seeds.device
    x = (torch.arange(width, device=device) + 0.5 - width / 2) / height
    y = ((torch.arange(height, device=device) + 0.5) / height - 0.5)[:, None]
    fields = torch.empty(*times_s.shape, height, width, device=device)
    for number, make in enumerate(_KINDS):
        where = torch.nonzero(seeds % len(_KINDS) == number)[:, 0]
        if len(where):
            view = _View(x, y, times_s[where].float(), seeds[where])
            floor, gain = view.draw(90, 0.0, 0.25), view.draw(91, 0.7, 1.0)
            fields[where] = floor + (gain - floor) * make(view).clamp(0.0, 1.0)
    return fields


def _blobs(view: _View) -> Tensor:
    """Soft spots that swing about."""
    total = 0.0
    for spot in range(4):
        away_x = view.x - view.wander(10 * spot, 0.75)
        away_y = view.y - view.wander(10 * spot + 2, 0.4)
        size = view.draw(10 * spot + 4, 0.08, 0.28)
        total = total + torch.exp(-(away_x.square() + away_y.square()) / size.square())
    return total


def _discs(view: _View) -> Tensor:
    """Discs and rings with sharp outlines, of different light."""
    total = 0.0
    for disc in range(3):
        away = torch.hypot(view.x - view.wander(10 * disc, 0.7), view.y - view.wander(10 * disc + 2, 0.35))
        radius = view.draw(10 * disc + 4, 0.1, 0.32)
        whole = torch.sigmoid((radius - away) / _SOFT)
        hole = torch.sigmoid((0.55 * radius - away) / _SOFT) * (view.draw(10 * disc + 5, 0.0, 1.0) < 0.35)
        total = torch.maximum(total * torch.ones_like(whole), (whole - hole) * view.draw(10 * disc + 6, 0.5, 1.0))
    return total


def _bars(view: _View) -> Tensor:
    """Two bars that turn and shift."""
    total = torch.zeros(1, device=view.x.device)
    for bar in range(2):
        turn = view.draw(10 * bar, 0.0, math.pi) + view.draw(10 * bar + 1, -1.2, 1.2) * view.times_s[..., None, None]
        off = view.x * torch.cos(turn) + view.y * torch.sin(turn) - view.wander(10 * bar + 2, 0.4)
        inside = torch.sigmoid((view.draw(10 * bar + 4, 0.04, 0.2) - off.abs()) / _SOFT)
        total = torch.maximum(total, inside * view.draw(10 * bar + 5, 0.6, 1.0))
    return total


def _letters(view: _View) -> Tensor:
    """Large block letters that pass by: cells of a grid, some of them full."""
    size = view.draw(0, 0.06, 0.14)
    along = view.draw(1, -0.8, 0.8) * view.times_s[..., None, None]
    column, row = (view.x + along) / size, (view.y + view.draw(2, -0.2, 0.2)) / size + 8.0
    cell = torch.floor(column).long() * 64 + torch.floor(row).long()
    full = uniform_hash(cell, view.seeds[:, None, None, None]).float() < 0.5
    is_gap = torch.remainder(torch.floor(column), 6.0) == 5.0
    in_line = torch.remainder(torch.floor(row), 8.0) < 6.0
    return (full & ~is_gap & in_line).float()


def _clouds(view: _View) -> Tensor:
    """Smooth noise: waves in many directions."""
    total = 0.0
    for wave in range(6):
        turn = view.draw(10 * wave, 0.0, 2.0 * math.pi)
        height = view.draw(10 * wave + 1, 2.5, 11.0)
        pace = view.draw(10 * wave + 2, -3.0, 3.0) * view.times_s[..., None, None]
        phase = height * (view.x * torch.cos(turn) + view.y * torch.sin(turn)) + pace
        total = total + torch.sin(phase + view.draw(10 * wave + 3, 0.0, 6.3))
    return 0.5 + 0.22 * total


def _steps(view: _View) -> Tensor:
    """Clouds in a few flat tones, as a poster or a mask has."""
    return torch.sigmoid((_clouds(view) - view.draw(80, 0.4, 0.6)) / _SOFT)


_KINDS: tuple[Callable[[_View], Tensor], ...] = (_blobs, _discs, _bars, _letters, _clouds, _steps)
