"""Trains the IC-LoRA: light and shade of a half-size guide, in the palette of the prompt.

`control_strength` is a fader: at 0.5 the picture is half the guide's and half that of the prompt's own scene.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ltx_live.pocket.description import Batch as Clips
from ltx_live.pocket.description import sample_descriptions
from ltx_live.pocket.fields import render_fields
from ltx_live.pocket.looks import GUIDE_FACTOR, GUIDE_PICTURE, edges, filled, halved
from ltx_live.pocket.phrases import write_prompt
from ltx_live.pocket.scenes import painted, render_frames
from ltx_live.pocket.train import adapter
from ltx_live.pocket.train.adapter import VIDEO_LAYERS, Task
from ltx_live.pocket.train.loop import Batch, Settings
from ltx_live.pocket.train.studio import Studio, Take

_EDGES, _COLOURED = 0.25, 0.25  # shares of the guides that are edges, that have colours; the others are grey
_WHOLE = 0.4  # share of the windows with strength 1
_LEAST_STRENGTH = 0.1
_SAME_SCENE = 0.25  # share of the prompts that name the scene of their guide, where it is one
_GUIDED_BEFORE = 0.5  # share of the continued windows whose prefix follows the guide already


def windows(studio: Studio, continued: bool, count: int, generator: torch.Generator) -> Batch:
    """The guide's light mixed with that of the prompt's scene by the strength, in the prompt's colours."""
    take = Take.draw(continued, count, generator, studio.device)
    chance = torch.rand(5, count, generator=generator).to(studio.device)
    strength = torch.where(chance[0] < _WHOLE, 1.0, _LEAST_STRENGTH + (1 - _LEAST_STRENGTH) * chance[1])
    guide = Guides(take, chance[2], generator)
    frames = guided(take.second, guide.light(take.moments.frames_s), strength, take.moments.frames_s)
    before = None
    if continued:
        follows = (chance[3] < _GUIDED_BEFORE)[:, None, None, None, None]
        times_s = take.moments.frames_before_s
        before = torch.where(follows, guided(take.first, guide.light(times_s), strength, times_s), take.frames_before())
        times_s = take.moments.frames_s
        plain = render_frames(Clips.of(take.first, studio.device), times_s)
        old = torch.where(follows, guided(take.first, guide.light(times_s), strength, times_s), plain)
        frames = frames.lerp_(old, take.moments.old_share(times_s)[..., None, None, None])
    prompts = [write_prompt(each, generator) for each in take.second]
    batch = studio.windows(take, (frames, before), take.sound(), prompts)
    return batch | {"video_reference": studio.video(guide.frames(chance[4])), "strength": strength}


def without(studio: Studio, continued: bool, count: int, generator: torch.Generator) -> Batch:
    """Ordinary takes: without a guide nothing changes."""
    take = Take.draw(continued, count, generator, studio.device)
    before = take.frames_before() if continued else None
    prompts = [write_prompt(each, generator) for each in take.second]
    return studio.windows(take, (take.frames(), before), take.sound(), prompts)


def guided(descriptions: list, light: Tensor, strength: Tensor, times_s: Tensor) -> Tensor:
    """Pictures whose light is the scene's at strength 0 and `light` (B, F, H, W) at 1. -> (B, F, H, W, 3)"""
    clips = Clips.of(descriptions, light.device)
    own = render_frames(clips, times_s).amax(-1)
    return painted(clips, own.lerp_(light, strength[:, None, None, None]))


class Guides:
    """B sources of light: the first half fields that are no scene, the others scenes of the pocket world."""

    def __init__(self, take: Take, chance: Tensor, generator: torch.Generator):
        device, count = take.device, len(take.second)
        scenes = sample_descriptions(count, generator)
        same = (chance < _SAME_SCENE).tolist()
        scenes = [replace(a, scene=b.scene) if s else a for a, b, s in zip(scenes, take.second, same, strict=True)]
        self.take, self.clips = take, Clips.of(scenes, device)
        self.seeds = torch.randint(2**31, (count // 2,), generator=generator).to(device)

    def light(self, times_s: Tensor) -> Tensor:
        """(B, F) -> (B, F, H, W) in 0..1"""
        half = len(self.seeds)
        scenes = render_frames(self.clips[half:], times_s[half:]).amax(-1)
        return torch.cat((render_fields(self.seeds, times_s[:half]), scenes)) if half else scenes

    def frames(self, chance: Tensor) -> Tensor:
        """The guides of the windows, as `chance` (B,) says edges, coloured or grey: (B, F, 96, 160, 3)."""
        small = halved(self.light(self.take.moments.frames_s))
        coloured = painted(self.clips, small)
        grey = torch.where((chance < _EDGES)[:, None, None, None], edges(small), small)[..., None]
        has_colour = (chance > 1 - _COLOURED)[:, None, None, None, None]
        return filled(torch.where(has_colour, coloured, grey))


METADATA = {"reference_downscale_factor": str(GUIDE_FACTOR), "guide_picture": "x".join(map(str, GUIDE_PICTURE))}
TASK = Task("structure", "pocket-ic-lora-structure", VIDEO_LAYERS, 24, windows, without, 0.1, metadata=METADATA)


def train(settings: Settings) -> dict[str, float]:
    """Train or go on training."""
    return adapter.train(TASK, settings)
