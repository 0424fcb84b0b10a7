"""The look of a drawn frame in numpy: what the shader computes, for recording without OpenGL and for checking it.

Its order, here and in look.frag.glsl: the two frames of a seam are blended; geometry (mirror, pan, zoom, rotation);
feedback; colour (brightness, contrast, gamma, saturation, hue, invert); level and strobe.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ltx_live.config import STROBE_LIMIT_HZ
from ltx_live.stage.geometry import seen_through, view
from ltx_live.stage.timeline import Picture

LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Weights of red, green and blue in brightness. Source: ITU-R BT.709."""

FEEDBACK_HZ = 60
"""`out/feedback` is what stays of the picture before from one frame to the next at this rate."""


def level(output: Any) -> float:
    """How bright the picture is shown, 0..1, from OutputParams."""
    return 0.0 if output.out_blackout else output.out_master * output.out_opacity


def limit_strobe(output: Any, limit_hz: float) -> Any:
    """OutputParams whose strobe is no faster than that."""
    return dataclasses.replace(output, out_strobe=limit_hz) if output.out_strobe > limit_hz else output


_BEGIN = 1e-6
"""Where a strobe begins, in cycles: frames that fall on an edge are beyond it, however their sum is rounded."""


class Motion:
    """What of the look goes on in time, whatever the number of draws: the strobe's light, and how long trails last.

    `is_lit` is the strobe's half: each dark one is followed by a light one of its whole length, however the rate is
    moved, so the rate is never exceeded. `kept` is the share 0..1 of the trail that is left at `time_s`, the time now,
    of what it was at the advance before.
    """

    def __init__(self) -> None:
        self.is_lit = True
        self.kept = 0.0
        self.time_s: float | None = None
        self._rate_hz = 0.0
        self._phase = _BEGIN  # in cycles; the first half is light

    def advance(self, time_s: float, output: Any) -> None:
        """Go on to a time in seconds, with the rate and the feedback of OutputParams; a time before is no other."""
        before_s = time_s if self.time_s is None else self.time_s
        self.time_s = max(time_s, before_s)
        passed_s = self.time_s - before_s
        self.kept = output.out_feedback ** (FEEDBACK_HZ * passed_s) if output.out_feedback else 0.0
        if output.out_strobe:
            self._rate_hz = output.out_strobe
            self._phase = (self._phase + passed_s * self._rate_hz) % 1.0
        elif self._phase >= 0.5:  # what is dark is completed, in no more than the half of STROBE_LIMIT_HZ
            self._phase += passed_s * max(self._rate_hz, STROBE_LIMIT_HZ)
            self._phase = self._phase if self._phase < 1 else _BEGIN
        else:
            self._phase = _BEGIN
        self.is_lit = self._phase < 0.5


def turn_hue(color: np.ndarray, degrees: float) -> np.ndarray:
    """Colours (..., 3) in 0..1 with their hue turned; value and saturation (HSV) stay."""
    high = color.max(axis=-1, keepdims=True)
    chroma = high - color.min(axis=-1, keepdims=True)
    red, green, blue = (color[..., k : k + 1] for k in range(3))
    divisor = np.where(chroma > 0, chroma, 1)
    in_red, in_green, in_blue = (green - blue) / divisor, 2 + (blue - red) / divisor, 4 + (red - green) / divisor
    sector = np.where(high == red, in_red, np.where(high == green, in_green, in_blue))
    k = np.mod(np.array([5, 3, 1], np.float32) + sector + degrees / 60, 6)  # (..., 3)
    return high - chroma * np.clip(np.minimum(k, 4 - k), 0, 1)


def apply_look(pixels: np.ndarray, output: Any, is_lit: bool = True) -> np.ndarray:
    """Colours (H, W, 3) in 0..255 with the colour and level of OutputParams, as uint8; black while not lit."""
    color = np.asarray(pixels, np.float32) / 255
    color = (color + output.out_brightness - 0.5) * output.out_contrast + 0.5
    if output.out_gamma != 1:
        color = np.maximum(color, 0) ** np.float32(1 / output.out_gamma)
    grey = (color @ LUMA)[..., None]  # (H, W, 1)
    color = np.clip(grey + (color - grey) * output.out_saturation, 0, 1)
    if output.out_hue:
        color = turn_hue(color, output.out_hue)
    if output.out_invert:
        color += (1 - 2 * color) * np.float32(output.out_invert)
    return np.rint(color * (level(output) * is_lit) * 255).astype(np.uint8)


class NumpyCompositor:
    """Composes pictures without OpenGL, with the interface of `compositor.Compositor`."""

    def __init__(self) -> None:
        self._motion = Motion()
        self._blended: np.ndarray | None = None
        self._trail: np.ndarray | None = None
        self._composed = np.zeros((0, 0, 3), np.uint8)

    def compose(self, picture: Picture | None, output: Any) -> None:
        """Take the picture, unless frozen, and give it the look of OutputParams."""
        if picture is not None and not (output.out_freeze and self._blended is not None):
            blended = picture.frame.pixels.astype(np.float32)
            if picture.incoming is not None:
                blended += (picture.incoming.pixels - blended) * np.float32(picture.mix)
            self._blended = blended
        if picture is not None:
            self._motion.advance(picture.time_s, output)
        if self._blended is not None:
            self._composed = apply_look(self._trailed(output), output, self._motion.is_lit)

    def _trailed(self, output: Any) -> np.ndarray:
        """The picture (H, W, 3) as it is placed, with what feedback keeps of those before."""
        height, width = self._blended.shape[:2]
        seen = view(output, width, height)
        placed = self._blended if seen is None else seen_through(self._blended, seen)
        if not output.out_feedback:
            self._trail = None
            return placed
        if self._trail is not None and self._trail.shape == placed.shape:
            placed = placed + (self._trail - placed) * np.float32(self._motion.kept)
        self._trail = placed
        return placed

    def grab(self) -> np.ndarray:
        """The composed picture (H, W, 3) uint8; empty before the first one."""
        return self._composed
