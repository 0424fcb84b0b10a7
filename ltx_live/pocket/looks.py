"""What the pocket's adapters make of pictures: drawn in ink, or painted after a guide."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

LUMA = (0.2126, 0.7152, 0.0722)
"""Weights of red, green and blue in brightness. Source: ITU-R BT.709."""

GUIDE_FACTOR = 2
GUIDE_PICTURE = (144, 80)  # width, height in pixels
GUIDE_SIZE = (160, 96)
"""Of a guide for the pocket's 288x160 by 2, which is filled up to whole latents at the right and at the bottom."""

_PAPER = 0.97
_SHADE, _LINE = 0.8, 0.5  # how dark a light thing and its outline get
_LINE_STEEPNESS = 2.5
_EDGE_CONTRAST = 0.1  # of a sharp step that is just an edge


def ink(frames: Tensor) -> Tensor:
    """Light on black becomes ink on white paper, without colour, with dark outlines. (..., H, W, 3) in 0..1 -> same"""
    light = frames.amax(-1)  # (..., H, W)
    flat = light.flatten(0, -3)[:, None]  # (N, 1, H, W)
    steepness = torch.hypot(*_slopes(F.avg_pool2d(flat, 3, 1, 1)))[:, 0].view(light.shape)
    line = (_LINE_STEEPNESS * steepness).clamp(0.0, 1.0)
    grey = _PAPER * (1.0 - _SHADE * light) * (1.0 - _LINE * line)
    return grey[..., None].expand_as(frames)


def luminance(frames: Tensor) -> Tensor:
    """BT.709 luma. (..., 3) -> (...)"""
    return frames @ torch.tensor(LUMA, device=frames.device)


def edges(light: Tensor) -> Tensor:
    """Edges one pixel wide, 1 on 0, of pictures (B, F, H, W) in 0..1.

    Gaussian, Sobel, non-maximum suppression in four directions (J. Canny, IEEE PAMI 8(6), 1986); one threshold.
    """
    flat = light.flatten(0, 1)[:, None]  # (N, 1, H, W)
    binomial = torch.tensor((1.0, 4.0, 6.0, 4.0, 1.0), device=light.device) / 16
    flat = F.conv2d(F.pad(flat, (2, 2, 2, 2), mode="replicate"), (binomial[:, None] * binomial)[None, None])
    across, down = _slopes(flat)
    steepness = torch.hypot(across, down)
    padded = F.pad(steepness, (1, 1, 1, 1))
    height, width = light.shape[-2:]

    def beside(x: int, y: int) -> Tensor:
        first, second = (padded[..., 1 + s * y : 1 + s * y + height, 1 + s * x : 1 + s * x + width] for s in (1, -1))
        return (steepness >= first) & (steepness > second)

    level, upright = across.abs() > 2.414 * down.abs(), down.abs() > 2.414 * across.abs()
    falling = (across * down > 0) & ~level & ~upright
    rising = ~level & ~upright & ~falling
    highest = (level & beside(1, 0)) | (upright & beside(0, 1)) | (falling & beside(1, 1)) | (rising & beside(-1, 1))
    return (highest & (steepness > 0.6 * _EDGE_CONTRAST)).float()[:, 0].view(light.shape)


def halved(light: Tensor) -> Tensor:
    """Pictures (B, F, H, W) half as large."""
    return F.avg_pool2d(light, GUIDE_FACTOR)


def filled(pictures: Tensor) -> Tensor:
    """A guide of pictures (B, F, 80, 144, C), C 1 or 3: their edge pixels repeated. -> (B, F, 96, 160, 3)"""
    right, bottom = (whole - part for whole, part in zip(GUIDE_SIZE, GUIDE_PICTURE, strict=True))
    wide = torch.cat((pictures, pictures[..., -1:, :].expand(*[-1] * 3, right, -1)), dim=3)
    tall = torch.cat((wide, wide[:, :, -1:].expand(-1, -1, bottom, -1, -1)), dim=2)
    return tall.expand(*[-1] * 4, 3)


def _slopes(flat: Tensor) -> tuple[Tensor, Tensor]:
    """Half the differences of the neighbours to the right and below, smoothed across (Sobel / 8). (N, 1, H, W) each"""
    sobel = torch.tensor(((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0)), device=flat.device) / 4
    kernels = torch.stack((sobel, sobel.T))[:, None]
    return F.conv2d(F.pad(flat, (1, 1, 1, 1), mode="replicate"), kernels).split(1, dim=1)
