"""The twelve scenes: each turns coordinates and a phase into brightness and tone, soft-edged, in closed form.

Letters: N rows (a row is one picture of one clip), H height, W width. y runs from -1 (top) to 1, x from -W/H to W/H.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ltx_live.pocket.description import Batch, wrap_angle

Shape = tuple[Tensor, Tensor]  # brightness (N, H, W) in 0..1, tone (N, H, W) in 0..1


@dataclass(frozen=True)
class View:
    """What a scene is drawn from: N rows of one scene, their coordinates and where their motion stands."""

    clips: Batch  # N rows
    phase: Tensor  # (N,) float64, radians
    x: Tensor  # (N, H, W)
    y: Tensor  # (N, H, W)

    def angle(self, multiple: float = 1.0) -> Tensor:
        """The phase times `multiple`, plus nothing else, in 0..2 pi. (N, 1, 1)"""
        return wrap_angle(self.phase * multiple)[:, None, None]

    def vary(self, name: str, low: float, high: float) -> Tensor:
        """The clip's own number for `name`. (N, 1, 1)"""
        return self.clips.vary(name, low, high).float()[:, None, None]

    def choose(self, name: str, *numbers: float) -> Tensor:
        """One of `numbers` for each clip. (N, 1, 1)"""
        index = (self.vary(name, 0, len(numbers))).long()
        return torch.tensor(numbers, device=index.device)[index]

    def frequency(self) -> Tensor:
        """How fine the pattern is, about 1. (N, 1, 1)"""
        return self.vary("frequency", 0.85, 1.15)

    def radius(self) -> Tensor:
        """Distance from the centre. (N, H, W)"""
        return torch.sqrt(self.x * self.x + self.y * self.y + 1e-4)

    def theta(self) -> Tensor:
        """Angle around the centre in radians. (N, H, W)"""
        return torch.atan2(self.y, self.x)


def _soft(wave: Tensor, threshold: Tensor | float, hardness: float) -> Tensor:
    """A soft-edged band where `wave` is above `threshold`."""
    return torch.sigmoid((wave - threshold) * hardness)


def _rise(value: Tensor, low: float, high: float) -> Tensor:
    """0 below low, 1 above high, smooth between (smoothstep)."""
    step = ((value - low) / (high - low)).clamp(0.0, 1.0)
    return step * step * (3.0 - 2.0 * step)


def _half(wave: Tensor) -> Tensor:
    return wave * 0.5 + 0.5


def tunnel(view: View) -> Shape:
    """Ribs and beams of a rounded corridor coming out of the dark."""
    square = torch.sqrt(torch.sqrt(view.x**4 + view.y**4 + 1e-6))  # (N, H, W) distance in a rounded square
    depth = torch.log(square + 0.06) * 6.5 * view.frequency() - view.angle()
    ribs = _soft(torch.cos(depth), view.vary("thickness", 0.0, 0.5), 6.0)
    beams = _soft(torch.cos(view.theta() * view.choose("count", 4.0, 8.0)), 0.55, 7.0)
    far = _rise(square, 0.12, 0.8)
    brightness = (torch.maximum(ribs, beams * 0.7) * 0.9 + 0.1) * far
    return brightness, far * _half(torch.sin(depth))


def rings(view: View) -> Shape:
    """Glowing circles that travel outwards, slightly lobed so that turning shows."""
    lobes = torch.cos(view.theta() * view.choose("count", 2.0, 3.0, 4.0))
    radius = view.radius()
    wave = radius * (1.0 + 0.07 * lobes) * 12.5 * view.frequency() - view.angle()
    brightness = _soft(torch.cos(wave), view.vary("thickness", 0.1, 0.6), 6.0) * (1.1 - 0.32 * radius).clamp(0.0, 1.0)
    return brightness, _half(lobes) * 0.6 + 0.2 * radius


def plasma(view: View) -> Shape:
    """Slow clouds of light: sums of sines."""
    k = view.frequency()
    shift = view.vary("layout", -1.0, 1.0)
    bowl = torch.sqrt((view.x - shift) ** 2 + (view.y + 0.5 * shift) ** 2 + 0.1)
    clouds = torch.sin(view.x * 2.1 * k + view.angle()) + torch.sin(view.y * 2.7 * k - view.angle(0.8))
    clouds = (
        clouds + torch.sin((view.x + view.y) * 1.6 * k + view.angle(0.6)) + torch.sin(bowl * 3.0 * k - view.angle(1.1))
    )
    brightness = _half(torch.sin(clouds * 1.5 + view.vary("second_layout", 0.0, 6.2)))
    return brightness * brightness * 0.95, _half(torch.cos(clouds * 1.1))


def stripes(view: View) -> Shape:
    """Parallel bars, each lit from one side."""
    wave = view.x * 10.5 * view.frequency() - view.angle()
    bars = _soft(torch.cos(wave), view.vary("thickness", -0.3, 0.3), 7.0)
    light = _half(torch.cos(wave - 0.9))
    return bars * (0.55 + 0.45 * light), _half(torch.sin(view.y * 1.4 + view.vary("layout", 0.0, 6.2)))


def waves(view: View) -> Shape:
    """Four swells in front of each other, bright at the crest and dark below."""
    brightness = torch.zeros_like(view.x)
    tone = torch.zeros_like(view.x)
    for layer in range(4):
        travel = view.angle((0.55, 0.7, 0.85, 1.0)[layer]) + view.vary("layout", 0.0, 6.2) * (layer + 1)
        swell = torch.sin(view.x * (3.4 - 0.35 * layer) * view.frequency() - travel)
        below = view.y - (-0.62 + 0.42 * layer + (0.13 + 0.03 * layer) * swell)  # (N, H, W) how far below the crest
        cover = torch.sigmoid(below * 26.0)
        lit = torch.exp(-below.clamp(min=0.0) * 3.6) * (0.7 + 0.12 * layer)
        brightness = brightness + cover * (lit - brightness)
        tone = tone + cover * (0.2 + 0.25 * layer - tone)
    return brightness, tone


def metaballs(view: View) -> Shape:
    """Six drops that melt into each other."""
    field = torch.zeros_like(view.x)
    for ball in range(6):
        start = view.vary("layout", 0.0, 6.2) * (ball + 1) + 2.4 * ball
        way_x, way_y = (0.5, 0.7, 0.9, 0.6, 0.8, 1.0)[ball], (0.8, 1.0, 0.6, 0.9, 0.5, 0.7)[ball]
        at_x = torch.sin(view.angle(way_x) + start) * (0.55 + 0.17 * ball)
        at_y = torch.cos(view.angle(way_y) + start * 1.7) * 0.62
        size = view.vary("thickness", 0.085, 0.13) * (1.25 - 0.1 * ball)
        field = field + size / ((view.x - at_x) ** 2 + (view.y - at_y) ** 2 + 0.03)
    inside = torch.sigmoid((field - 1.0) * 6.0)
    core = _rise(field, 1.0, 2.6)
    return inside * (0.5 + 0.5 * core), core


def grid(view: View) -> Shape:
    """A floor and a ceiling of glowing lines that run to the horizon."""
    height = view.y.abs() + 0.18
    along = 6.5 * view.frequency() / height + view.angle()
    across = view.x / height * view.vary("layout", 5.8, 7.0) - view.angle(0.4)
    threshold = view.vary("thickness", 0.45, 0.62)
    lines = torch.maximum(_soft(torch.cos(along), threshold, 9.0), _soft(torch.cos(across), threshold, 9.0))
    near = _rise(height, 0.34, 0.72)
    horizon = torch.exp(-((view.y * 11.0) ** 2)) * 0.75
    return lines * near + horizon, 1.0 - near * 0.8


def spiral(view: View) -> Shape:
    """Arms that wind out of the centre."""
    arms = view.choose("count", 2.0, 3.0, 4.0)
    radius = view.radius()
    wave = -view.theta() * arms + torch.log(radius + 0.08) * 5.0 * view.frequency() - view.angle()
    brightness = _soft(torch.cos(wave), view.vary("thickness", -0.2, 0.3), 4.5) * _rise(radius, 0.0, 0.35)
    return brightness * (1.08 - 0.25 * radius).clamp(0.0, 1.0), _half(torch.sin(wave))


def checker(view: View) -> Shape:
    """A chessboard on cloth that sways."""
    cell = 7.0 * view.frequency()
    across = (view.x + 0.07 * torch.sin(view.y * 2.0 + view.angle(0.4))) * cell - view.angle()
    down = (view.y + 0.07 * torch.sin(view.x * 1.7 - view.angle(0.4))) * cell - view.angle(0.5)
    fields = _soft(torch.sin(across) * torch.sin(down), 0.0, 9.0)
    light = _half(torch.sin(view.x * 1.1 + view.y * 1.3 + view.vary("layout", 0.0, 6.2)))
    return fields * (0.6 + 0.4 * light), light


def kaleidoscope(view: View) -> Shape:
    """A pattern mirrored into sectors around the centre."""
    sector = math.pi / view.choose("count", 3.0, 4.0, 5.0)
    radius = view.radius()
    folded = (torch.remainder(view.theta(), 2.0 * sector) - sector).abs()  # (N, H, W) 0..sector
    x, y = radius * torch.cos(folded), radius * torch.sin(folded)
    k = view.frequency()
    glass = torch.sin(x * 5.2 * k - view.angle()) + torch.sin(
        y * 6.6 * k + view.angle(0.7) + view.vary("layout", 0.0, 6.2)
    )
    glass = glass + torch.sin((x - y) * 3.6 * k + view.angle(0.5) + view.vary("second_layout", 0.0, 6.2))
    brightness = _soft(glass, view.vary("thickness", 0.0, 0.5), 3.2) * (1.1 - 0.3 * radius).clamp(0.0, 1.0)
    return brightness, _half(torch.sin(glass * 1.6 + radius * 2.0))


def starfield(view: View) -> Shape:
    """Soft stars flying out of the centre, one in each cell of a log-polar lattice."""
    brightness = torch.zeros_like(view.x)
    depth = torch.log(view.radius() + 0.02) * 1.9 * view.frequency()
    turn = view.theta() / (2.0 * math.pi)
    table = torch.rand(997, 2, generator=torch.Generator().manual_seed(7)).to(view.x.device)  # one star in each
    for layer in range(2):
        flown = view.phase * (0.75 + 0.25 * layer) / (2.0 * math.pi)  # (N,) float64, in cells
        cells = 9.0 + 2.0 * layer
        ring = depth - (flown % 1.0).float()[:, None, None] + 0.5 * layer
        slot = (turn + 0.5 + 0.3 * layer) * cells
        ring_cell, slot_cell = torch.floor(ring), torch.floor(slot)
        salt = torch.floor(flown).long() * 31 - view.clips.seed  # (N,)
        number = (
            ring_cell.long() * 31 + torch.remainder(slot_cell, cells).long() * 131 - salt[:, None, None] + layer * 401
        )
        star = table[torch.remainder(number, 997)]  # (N, H, W, 2)
        away_x = (slot - slot_cell - 0.5 - (star[..., 0] - 0.5) * 0.4) * (2.0 * math.pi / cells) * 1.9
        away_y = ring - ring_cell - 0.5 - (star[..., 1] - 0.5) * 0.4
        size = view.vary("thickness", 0.16, 0.2)
        brightness = brightness + torch.exp(-((away_x**2 + away_y**2) / (size * size)))
    near = _rise(view.radius(), 0.15, 0.75)
    return brightness.clamp(max=1.0) * near, 1.0 - near


def ribbons(view: View) -> Shape:
    """Four silk bands that weave around each other."""
    brightness = torch.zeros_like(view.x)
    tone = torch.full_like(view.x, 0.5)
    for band in range(4):
        start = view.vary("layout", 0.0, 6.2) * (band + 1) + 1.7 * band
        sway = torch.sin(
            view.x * (1.7 + 0.25 * band) * view.frequency() - view.angle((0.7, 1.0, 0.85, 0.6)[band]) + start
        )
        twist = torch.sin(view.x * 1.3 + view.angle((0.6, 0.4, 0.5, 0.7)[band]) + start * 2.0)
        width = view.vary("thickness", 0.11, 0.14) * (1.0 + 0.4 * twist)
        away = (view.y - (-0.6 + 0.4 * band + 0.3 * sway)) / width
        silk = torch.exp(-(away**4) * 0.5) * (0.62 + 0.38 * torch.sin(away * 1.2 + twist))
        brightness = torch.maximum(brightness, silk)
        tone = tone + silk * (0.33 * band - tone)
    return brightness, tone


SHAPES: dict[str, Callable[[View], Shape]] = {
    shape.__name__: shape
    for shape in (
        tunnel,
        rings,
        plasma,
        stripes,
        waves,
        metaballs,
        grid,
        spiral,
        checker,
        kaleidoscope,
        starfield,
        ribbons,
    )
}
