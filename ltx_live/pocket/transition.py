"""A change from one clip to another: pictures cross-fade, sound with equal power, and time goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ltx_live.pocket.description import Batch
from ltx_live.pocket.scenes import render_frames
from ltx_live.pocket.sounds import LATTICE_HZ, render_audio


@dataclass(frozen=True)
class Transition:
    """B clips that turn from `first` into `second`: wholly first until `cut_s`, wholly second `fade_s` later."""

    first: Batch
    second: Batch
    cut_s: Tensor  # (B,) float64, absolute time
    fade_s: Tensor  # (B,) float64, above 0

    def frames(self, times_s: Tensor, width: int = 288, height: int = 160) -> Tensor:
        """Pictures at absolute times. times_s (B, F) float64 -> (B, F, H, W, 3) float32 in 0..1"""
        share = self._share(times_s)
        share = (share * share * (3.0 - 2.0 * share)).float()[..., None, None, None]
        first = render_frames(self.first, times_s, width, height)
        return first.lerp_(render_frames(self.second, times_s, width, height), share)

    def audio(self, start_s: Tensor, num_samples: int, sample_rate: int = LATTICE_HZ) -> Tensor:
        """Sound from absolute times. start_s (B,) float64 -> (B, num_samples, 2) float32 in -1..1"""
        lattice_start_s = torch.round(start_s.double() * LATTICE_HZ) / LATTICE_HZ
        times_s = lattice_start_s[:, None] + torch.arange(num_samples, device=start_s.device).double() / sample_rate
        angle = (self._share(times_s) * (math.pi / 2.0)).float()[..., None]  # (B, S, 1)
        first = render_audio(self.first, start_s, num_samples, sample_rate)
        return first * torch.cos(angle) + render_audio(self.second, start_s, num_samples, sample_rate) * torch.sin(
            angle
        )

    def _share(self, times_s: Tensor) -> Tensor:
        """How much of the second clip there is at each time. (B, N) -> (B, N) float64 in 0..1"""
        cut_s, fade_s = self.cut_s.to(times_s), self.fade_s.to(times_s)
        return ((times_s - cut_s[:, None]) / fade_s[:, None]).clamp(0.0, 1.0)
