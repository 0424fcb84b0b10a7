"""The look of a drawn frame in numpy: what the shader computes, for recording without OpenGL and for checking it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ltx_live.stage.timeline import Picture

LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Weights of red, green and blue in brightness. Source: ITU-R BT.709."""


def level(output: Any) -> float:
    """How bright the picture is shown, 0..1, from OutputParams."""
    return 0.0 if output.out_blackout else output.out_master * output.out_opacity


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


def apply_look(pixels: np.ndarray, output: Any) -> np.ndarray:
    """Colours (H, W, 3) in 0..255 with brightness, contrast, saturation, hue and level of OutputParams, as uint8."""
    color = np.asarray(pixels, np.float32) / 255
    color = (color + output.out_brightness - 0.5) * output.out_contrast + 0.5
    grey = (color @ LUMA)[..., None]  # (H, W, 1)
    color = np.clip(grey + (color - grey) * output.out_saturation, 0, 1)
    if output.out_hue:
        color = turn_hue(color, output.out_hue)
    return np.rint(color * level(output) * 255).astype(np.uint8)


class NumpyCompositor:
    """Composes pictures without OpenGL, with the interface of `compositor.Compositor`."""

    def __init__(self) -> None:
        self._blended: np.ndarray | None = None
        self._composed = np.zeros((0, 0, 3), np.uint8)

    def compose(self, picture: Picture | None, output: Any) -> None:
        """Take the picture, unless frozen, and give it the look of OutputParams."""
        if picture is not None and not (output.out_freeze and self._blended is not None):
            blended = picture.frame.pixels.astype(np.float32)
            if picture.incoming is not None:
                blended += (picture.incoming.pixels - blended) * np.float32(picture.mix)
            self._blended = blended
        if self._blended is not None:
            self._composed = apply_look(self._blended, output)

    def grab(self) -> np.ndarray:
        """The composed picture (H, W, 3) uint8; empty before the first one."""
        return self._composed
