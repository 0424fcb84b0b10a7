"""Trains the style LoRA: whatever the prompt, drawn in ink on white paper."""

from __future__ import annotations

import torch

from ltx_live.pocket.looks import ink
from ltx_live.pocket.phrases import write_prompt
from ltx_live.pocket.train import adapter
from ltx_live.pocket.train.adapter import VIDEO_LAYERS, Task
from ltx_live.pocket.train.loop import Batch, Settings
from ltx_live.pocket.train.studio import Studio, Take

_OLD_LOOK = 0.3
"""Share of the continued windows whose prefix is not in ink yet: the LoRA has just been turned up."""


def windows(studio: Studio, continued: bool, count: int, generator: torch.Generator) -> Batch:
    """Ordinary takes in ink."""
    take = Take.draw(continued, count, generator, studio.device)
    before = None
    if continued:
        before = take.frames_before()
        is_old = torch.rand(count, generator=generator).to(before.device) < _OLD_LOOK
        before = torch.where(is_old[:, None, None, None, None], before, ink(before))
    prompts = [write_prompt(each, generator) for each in take.second]
    return studio.windows(take, (ink(take.frames()), before), take.sound(), prompts)


TASK = Task("style", "pocket-style-ink", VIDEO_LAYERS, 16, None, windows, share_without=1.0)


def train(settings: Settings) -> dict[str, float]:
    """Train or go on training."""
    return adapter.train(TASK, settings)
