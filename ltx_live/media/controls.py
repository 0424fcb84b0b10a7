"""Control signals for IC-LoRAs: edges, luminance and masks of frames (F, H, W, 3) uint8, and drawn motion tracks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

GROUP_PX = 1 << 18
"""Pixels that are worked on at once: what fits into a processor's cache."""

LUMA_WEIGHTS = (13933, 46871, 4732)
"""BT.709's 0.2126, 0.7152, 0.0722 (ITU-R BT.709-6, item 3.2) in 1/65536."""

BINOMIAL = (1, 4, 6, 4, 1)
"""The Gaussian of standard deviation 1 that `canny` smooths with, in 1/16: a binomial has the same variance."""

SHARP_STEP = 4 * 256 * 0.625
"""What BINOMIAL twice and Sobel's operator make of a sharp step of height 1, in the units that they count in."""

TAN_22_5 = 0.41421356

MASK_COLOUR = (255, 0, 255)
MASK_BLOCK_PX = 8
"""How the community inpaint LoRA wants a mask in the guide: blocks of 8x8 (specification, IC-LoRA catalogue) in magenta
(its README on Hugging Face as cited by others; not seen by us, nor whether blocks start at the picture's corner)."""

TRAIL_FRAMES = 50
TRAIL_SHORT_SIDE_PX = 1080
HEAD_RADIUS_PX = 8.0
TAIL_RADIUS_PX = 2.0
TRAIL_COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255)], np.float32)
"""Trails as the Motion Track IC-LoRA knows them: one circle for each frame since the first, at most TRAIL_FRAMES old,
from head to tail smaller, the newest on top; colours by age, evenly spaced from the oldest to the newest; radii at a
short side of TRAIL_SHORT_SIDE_PX (facts of Lightricks/ComfyUI-LTXVideo `sparse_tracks.py` LTXVDrawTracks, second-hand:
read in a port of it; the node exchanges red and blue, so that the newest is blue)."""

GAP_S = 1.0
"""A point that is not heard of for longer stood still until it moved: controls send changes only."""

MAX_POINTS = 2048


def luminance(frames: np.ndarray) -> np.ndarray:
    """BT.709 luma of frames (F, H, W, 3) uint8, in three equal channels. It is no depth, and is not called so."""
    grey = np.empty(frames.shape[:3], np.uint8)
    for group in _groups(frames):
        grey[group] = _luma(frames[group])
    return np.repeat(grey[..., None], 3, axis=-1)


def canny(frames: np.ndarray, low: float = 0.1, high: float = 0.2) -> np.ndarray:
    """Edges of frames (F, H, W, 3) uint8, white on black, one pixel wide.

    The thresholds are the contrast of a sharp step (0..1) that is an edge where it touches one (low), and by itself
    (high). J. Canny, A Computational Approach to Edge Detection, IEEE PAMI 8(6), 1986: Gaussian, gradient (Sobel),
    non-maximum suppression across four directions, hysteresis.
    """
    edges = np.empty(frames.shape[:3], np.uint8)
    low, high = (SHARP_STEP * 255 * threshold for threshold in (min(low, high), high))
    for group in _groups(frames):
        edges[group] = _edges(_luma(frames[group]), np.float32(max(1.0, low * low)), np.float32(high * high))
    return np.repeat(edges[..., None], 3, axis=-1)


def blocks(mask: np.ndarray) -> np.ndarray:
    """A mask (..., H, W) bool grown to whole blocks of MASK_BLOCK_PX, counted from the top left corner."""
    size = MASK_BLOCK_PX
    height, width = mask.shape[-2:]
    padding = [(0, 0)] * (mask.ndim - 2) + [(0, -height % size), (0, -width % size)]
    padded = np.pad(mask, padding)
    rows, columns = padded.shape[-2] // size, padded.shape[-1] // size
    touched = padded.reshape(*mask.shape[:-2], rows, size, columns, size).any(axis=(-3, -1))
    return touched.repeat(size, axis=-2).repeat(size, axis=-1)[..., :height, :width]


def with_mask(frames: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Frames (F, H, W, 3) uint8 with the blocks of a mask, (H, W) or (F, H, W) bool, painted in MASK_COLOUR."""
    return np.where(blocks(mask)[..., None], np.uint8(MASK_COLOUR), frames)


class Tracks:
    """Points that move over time, drawn as trails of circles; `add` is quick, and a copy can be drawn elsewhere."""

    def __init__(self) -> None:
        self._points: dict[int, tuple[tuple[float, float, float], ...]] = {}  # (time, x, y) in order of time

    def add(self, index: int, x: float, y: float, time_s: float) -> None:
        """Track `index` is at (x, y), 0..1 from the top left corner, and stays there until it is told otherwise."""
        points = self._points.get(index, ())
        if points and time_s <= points[-1][0]:
            points = tuple(point for point in points if point[0] < time_s)
        self._points[index] = (*points[1 - MAX_POINTS :], (time_s, x, y))

    def end(self, index: int, time_s: float) -> None:
        """Track `index` is nowhere from this time on, until it is added to again."""
        if index in self._points:
            self.add(index, np.nan, np.nan, time_s)

    def clear(self) -> None:
        """Forget every track."""
        self._points.clear()

    def copy(self) -> Tracks:
        """The tracks as they are now."""
        tracks = Tracks()
        tracks._points = dict(self._points)
        return tracks

    def positions(self, index: int, times_s: np.ndarray) -> np.ndarray:
        """(x, y) of a track at each time (N,), as (N, 2) float64, moving evenly from point to point; nan = nowhere."""
        points = np.array(self._points[index])  # (P, 3)
        before = np.searchsorted(points[:, 0], times_s, side="right") - 1
        after = np.minimum(before + 1, len(points) - 1)
        gap = points[after, 0] - points[before, 0]
        moves = (before >= 0) & (gap > 0) & (gap <= GAP_S) & ~np.isnan(points[after, 1])
        part = np.where(moves, (times_s - points[before, 0]) / np.where(moves, gap, 1.0), 0.0)[:, None]
        step = np.where(moves[:, None], points[after, 1:] - points[before, 1:], 0.0)
        return np.where(before[:, None] >= 0, points[before, 1:] + part * step, np.nan)

    def drawn(self, times_s: np.ndarray, width: int, height: int) -> np.ndarray:
        """Trails on black at each time (F,), (F, height, width, 3) uint8. They begin with the first of the times."""
        times_s = np.asarray(times_s, np.float64)
        scale = min(width, height) / TRAIL_SHORT_SIDE_PX
        margin = int(HEAD_RADIUS_PX * scale) + 2
        canvas = np.zeros((len(times_s), height + 2 * margin, width + 2 * margin, 3), np.uint8)
        at = [self.positions(index, times_s) * (width, height) - 0.5 + margin for index in sorted(self._points)]
        for age in range(min(TRAIL_FRAMES, len(times_s) - 1), -1, -1):
            freshness = 1 - age / TRAIL_FRAMES
            radius = scale * (TAIL_RADIUS_PX + (HEAD_RADIUS_PX - TAIL_RADIUS_PX) * freshness)
            for track in at:
                _stamp(canvas[age:], track[: len(times_s) - age], radius, _trail_colour(freshness))
        return np.ascontiguousarray(canvas[:, margin : margin + height, margin : margin + width])


def _groups(frames: np.ndarray) -> Iterator[slice]:
    """Frames in groups of about GROUP_PX."""
    size = max(1, GROUP_PX // max(1, frames.shape[1] * frames.shape[2]))
    for start in range(0, len(frames), size):
        yield slice(start, start + size)


def _luma(frames: np.ndarray) -> np.ndarray:
    """(F, H, W, 3) uint8 -> (F, H, W) uint8, rounded."""
    red, green, blue = (frames[..., channel] * np.uint32(LUMA_WEIGHTS[channel]) for channel in range(3))
    return ((red + green + blue + 32768) >> 16).astype(np.uint8)


def _edges(grey: np.ndarray, low: np.float32, high: np.float32) -> np.ndarray:
    """Grey (F, H, W) uint8 and thresholds of the squared gradient -> edges (F, H, W) uint8, 0 or 255.

    Pixels are counted in a field with a border of one pixel, where no edge is, so that neighbours are plain offsets.
    """
    x, y = _gradient(grey)  # (F, H, W) float32
    field = np.zeros((len(grey), grey.shape[1] + 2, grey.shape[2] + 2), np.float32)
    inside = (slice(None), slice(1, -1), slice(1, -1))
    field[inside] = x * x + y * y
    strength = field.ravel()
    row = field.shape[2]

    candidates = np.flatnonzero(strength >= low)
    at = np.unravel_index(candidates, field.shape)
    x, y = x[at[0], at[1] - 1, at[2] - 1], y[at[0], at[1] - 1, at[2] - 1]
    level, upright = np.abs(y) <= TAN_22_5 * np.abs(x), np.abs(x) <= TAN_22_5 * np.abs(y)
    across = np.select([level, upright, x * y > 0], [1, row, row + 1], row - 1)
    here = strength[candidates]
    thin = candidates[(here > strength[candidates - across]) & (here >= strength[candidates + across])]

    weak = np.zeros(strength.shape, bool)
    weak[thin] = True
    edges = np.zeros(strength.shape, np.uint8)
    around = np.array([-row - 1, -row, -row + 1, -1, 1, row - 1, row, row + 1])
    reached = thin[strength[thin] >= high]
    while len(reached):
        weak[reached] = False
        edges[reached] = 255
        near = (reached[:, None] + around).ravel()
        reached = np.unique(near[weak[near]])
    return edges.reshape(field.shape)[inside]


def _gradient(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sobel's x and y gradient of (F, H, W) uint8 smoothed by BINOMIAL, (F, H, W) float32; the border is repeated."""
    padded = np.pad(grey, ((0, 0), (3, 3), (3, 3)), mode="edge").astype(np.float32)
    height, width = padded.shape[1] - 4, padded.shape[2] - 4
    smooth = sum(weight * padded[:, k : k + height] for k, weight in enumerate(BINOMIAL))
    smooth = sum(weight * smooth[:, :, k : k + width] for k, weight in enumerate(BINOMIAL))  # (F, H + 2, W + 2)
    slope = smooth[:, :, 2:] - smooth[:, :, :-2]
    level = smooth[:, :, :-2] + 2 * smooth[:, :, 1:-1] + smooth[:, :, 2:]
    return slope[:, :-2] + 2 * slope[:, 1:-1] + slope[:, 2:], level[:, 2:] - level[:, :-2]


def _trail_colour(freshness: float) -> np.ndarray:
    """Colour of a circle, (3,) float32; freshness is 0 for the oldest, 1 for the newest."""
    place = freshness * (len(TRAIL_COLOURS) - 1)
    return np.array([np.interp(place, range(len(TRAIL_COLOURS)), channel) for channel in TRAIL_COLOURS.T], np.float32)


def _stamp(canvas: np.ndarray, at: np.ndarray, radius: float, colour: np.ndarray) -> None:
    """Draw a soft-edged disc at (x, y) of `at` (N, 2) into each of the frames (N, H, W, 3) uint8; nan draws nothing."""
    reach = int(radius) + 1
    height, width = canvas.shape[1:3]
    seen = np.all((at >= reach) & (at < (width - reach - 1, height - reach - 1)), axis=1)
    frames = np.flatnonzero(seen)
    if not len(frames):
        return
    centre = np.floor(at[frames]).astype(np.int64)
    offsets = np.arange(-reach, reach + 2)
    columns, rows = centre[:, :1] + offsets, centre[:, 1:] + offsets  # (N, K)
    distance = np.hypot((columns - at[frames, :1])[:, None, :], (rows - at[frames, 1:])[:, :, None])  # (N, K, K)
    cover = np.clip(radius + 0.5 - distance, 0, 1) * min(1.0, 4 * radius * radius)  # a disc below one pixel is faint
    place = frames[:, None, None], rows[:, :, None], columns[:, None, :]
    canvas[place] = canvas[place] + np.rint(cover[..., None] * (colour - canvas[place])).astype(np.int16)
