"""Where each point of the shown picture comes from (mirror, pan, zoom, rotation), for the shader and for numpy."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np


class View(NamedTuple):
    """How the picture is looked at. A place is (x, y), 0..1 from the top left.

    The place s of the mirrored picture that is seen at the place p is `matrix` (row by row) times (p - 0.5), minus
    `pan`, plus 0.5. `mirror` tells for each axis whether its second half repeats the first.
    """

    matrix: tuple[float, float, float, float]
    pan: tuple[float, float]
    mirror: tuple[bool, bool]
    zoom: float


def view(output: Any, width: int, height: int) -> View | None:
    """The view that OutputParams ask for of a picture of that size in pixels; None = the picture as it is.

    The mirrored picture is moved by parts of its size (right and down), made `out_zoom` times as large around the
    middle, and turned clockwise, in pixels, so that it keeps its shape.
    """
    mirror = output.out_mirror in ("h", "quad"), output.out_mirror in ("v", "quad")
    pan = output.out_panx, output.out_pany
    if not any(mirror) and not any(pan) and output.out_zoom == 1 and not output.out_rotate:
        return None
    angle = math.radians(output.out_rotate)
    cosine, sine = math.cos(angle) / output.out_zoom, math.sin(angle) / output.out_zoom
    return View((cosine, sine * height / width, -sine * width / height, cosine), pan, mirror, output.out_zoom)


def seen_through(pixels: np.ndarray, view: View) -> np.ndarray:
    """The picture (H, W, 3) float32 through a view, sampled bilinearly; black, with a soft edge, beyond its edges."""
    height, width = pixels.shape[:2]
    x = ((np.arange(width, dtype=np.float32) + 0.5) / width - 0.5)[None, :]
    y = ((np.arange(height, dtype=np.float32) + 0.5) / height - 0.5)[:, None]
    a, b, c, d = view.matrix
    places = a * x + b * y - view.pan[0] + 0.5, c * x + d * y - view.pan[1] + 0.5  # two of (H, W)
    cover = np.ones((height, width), np.float32)
    axes = []
    for place, size, mirrored in zip(places, (width, height), view.mirror, strict=True):
        inside = np.minimum(place, 1 - place)
        cover *= np.clip(inside * size * view.zoom + 0.5, 0, 1)
        texel = np.clip((inside if mirrored else place) * size - 0.5, 0, size - 1)
        low = np.floor(texel).astype(np.intp)
        axes.append((low, np.minimum(low + 1, size - 1), (texel - low).astype(np.float32)[..., None]))
    (left, right, across), (top, bottom, down) = axes
    upper = pixels[top, left] * (1 - across) + pixels[top, right] * across
    lower = pixels[bottom, left] * (1 - across) + pixels[bottom, right] * across
    return (upper * (1 - down) + lower * down) * cover[..., None]
