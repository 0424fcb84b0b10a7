"""Trains the ID-LoRA: drone, pad and arpeggio take over the timbre of a reference that plays something else."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ltx_live.pocket.description import Batch as Clips
from ltx_live.pocket.description import Description, sample_descriptions
from ltx_live.pocket.phrases import write_prompt
from ltx_live.pocket.sounds import render_audio
from ltx_live.pocket.train import adapter
from ltx_live.pocket.train.adapter import AUDIO_LAYERS, Task
from ltx_live.pocket.train.loop import Batch, Settings
from ltx_live.pocket.train.pools import random_starts
from ltx_live.pocket.train.studio import Studio, Take
from ltx_live.pocket.voices import TONAL, Voices, random_voices

NUM_REFERENCE_LATENTS = 125  # five seconds
_TONAL_SHARE = 0.85  # of the windows; the others have sounds without timbre, which stay as they are
_SUNG_BEFORE = 0.7  # share of the continued windows whose prefix has a timbre, more or less of it
_SOFTENED = 0.5
"""How much of the reference's timbre a pass has. Identity guidance adds `scale` times what it has: at 0 a third of the
timbre is heard, at the default of 3 all of it and some more."""


def windows(studio: Studio, continued: bool, count: int, generator: torch.Generator) -> Batch:
    """Takes in a softened timbre, and five seconds of it on other notes."""
    voices = random_voices(count, generator).to(studio.device)
    batch = _sung(studio, continued, voices, _SOFTENED, generator)
    tokens = studio.audio(phrases(voices, generator, studio.device), NUM_REFERENCE_LATENTS)
    return batch | {"audio_reference": tokens, "strength": torch.ones(count, device=studio.device)}


def without(studio: Studio, continued: bool, count: int, generator: torch.Generator) -> Batch:
    """Takes in the neutral timbre, whatever the prefix has: what guidance goes away from."""
    return _sung(studio, continued, random_voices(count, generator).to(studio.device), 0.0, generator)


def _sung(studio: Studio, continued: bool, voices: Voices, share: float, generator: torch.Generator) -> Batch:
    """Takes with so much of the voices' timbre; what is before the cut may have more or less of it."""
    count = len(voices)
    take = Take.draw(continued, count, generator, studio.device)
    take = replace(take, second=_tonal(take.second, generator))
    take = replace(take, first=take.second if _chance(generator) < 0.6 else _tonal(take.first, generator))
    moments = take.moments
    start_s, num_samples = moments.sound_start_s, moments.num_samples
    sound = render_audio(Clips.of(take.second, studio.device), start_s, num_samples, voices=voices.softened(share))
    if continued:
        clips = Clips.of(take.first, studio.device)
        chance = torch.rand(2, count, generator=generator).to(studio.device)
        before = voices.softened(1.5 * chance[0])
        sung, plain = (render_audio(clips, start_s, num_samples, voices=each) for each in (before, None))
        old = torch.where((chance[1] < _SUNG_BEFORE)[:, None, None], sung, plain)
        times_s = start_s[:, None] + torch.arange(num_samples, device=start_s.device).double() / 48_000
        angle = moments.old_share(times_s)[..., None] * (math.pi / 2)
        sound = sound * torch.cos(angle) + old * torch.sin(angle)
    prompts = [write_prompt(each, generator) for each in take.second]
    pictures = take.frames(), take.frames_before() if continued else None
    return studio.windows(take, pictures, sound, prompts)


def phrases(voices: Voices, generator: torch.Generator, device: str) -> Tensor:
    """Something tonal in each voice, long enough for a reference, (B, S, 2) at 48 kHz."""
    count = len(voices)
    played = [replace(each, sound=_choose(generator)) for each in sample_descriptions(count, generator)]
    num_samples = round((NUM_REFERENCE_LATENTS * 0.04 + 0.03) * 48_000)
    return render_audio(
        Clips.of(played, device), random_starts(count, generator).to(device), num_samples, voices=voices
    )


def _tonal(descriptions: list[Description], generator: torch.Generator) -> list[Description]:
    """Most of them with a sound that has a timbre."""
    chances = torch.rand(len(descriptions), generator=generator).tolist()
    return [
        replace(each, sound=_choose(generator)) if chance < _TONAL_SHARE else each
        for each, chance in zip(descriptions, chances, strict=True)
    ]


def _chance(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))


def _choose(generator: torch.Generator) -> str:
    return TONAL[int(torch.randint(len(TONAL), (), generator=generator))]


TASK = Task("voice", "pocket-id-lora-voice", AUDIO_LAYERS, 48, windows, without, 0.25, audio_weight=4.0)


def train(settings: Settings) -> dict[str, float]:
    """Train or go on training."""
    return adapter.train(TASK, settings)
