"""Identity guidance: away from what the sound would be without its reference."""

from __future__ import annotations

import torch
from torch import Tensor

from ltx_live.model.av import AV
from ltx_live.model.sampler import VelocityModel


class IdentityGuidance:
    """Two passes a step: velocity of the sound + scale * (its difference from the pass without the reference).

    `plain` is the model without the audio reference, whose tokens follow the first `num_target` of the sound. The
    picture is that of the pass with it. Source: scope-ltx-2 `pipeline.py` (ID-LoRA).
    """

    def __init__(self, model: VelocityModel, plain: VelocityModel, num_target: int, scale: float):
        self.model = model
        self.plain = plain
        self.num_target = num_target
        self.scale = scale

    def __call__(self, latents: AV[Tensor], sigma: float, context: AV[Tensor]) -> AV[Tensor]:
        """Velocities (B, T, C) of noisy latents (B, T, C) at sigma."""
        num = self.num_target
        video, audio = self.model(latents, sigma, context)
        _, other = self.plain(AV(latents.video, latents.audio[:, :num]), sigma, context)
        target = audio[:, :num]
        return AV(video, torch.cat((target + self.scale * (target - other), audio[:, num:]), dim=1))
