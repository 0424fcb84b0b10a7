"""`ltx-live bench pocket`: does the pocket paint and play what a prompt says? Judged by measures that know no renderer.

60 held-out prompts at 8 distilled steps; scenes are told by a small network trained here on rendered pictures only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ltx_live import params
from ltx_live.bench._bars import Bar, print_bars
from ltx_live.chunk import Chunk, ChunkRequest
from ltx_live.config import initial_values
from ltx_live.engine.ltx import LtxEngine, load
from ltx_live.engine.settings import LtxSettings
from ltx_live.model.mel import log_mel
from ltx_live.options import Parser
from ltx_live.pocket import measure, weights_folder
from ltx_live.pocket.classifier import train_scene_classifier
from ltx_live.pocket.description import Batch, Description, sample_descriptions
from ltx_live.pocket.phrases import understand, write_prompt
from ltx_live.pocket.scenes import render_frames
from ltx_live.pocket.sounds import render_audio

SEED = 777_000_001  # far from every training seed
SPEEDS = ("still", "slow", "fast")
SOUNDS = ("silence", "low drone", "bells", "drums", "noise")
NUM_FRAMES, FRAME_RATE, WIDTH_PX, HEIGHT_PX = 57, 24.0, 288, 160
_MEL_FLOOR = 1e-3


@dataclass(frozen=True)
class Case:
    """A prompt, what it says, and what was made of it."""

    prompt: str
    description: Description
    chunk: Chunk


def main(argv: list[str]) -> int:
    """Print the figures beside their bars; the exit status is 1 where one is missed."""
    parser = Parser(prog="ltx-live bench pocket", description=__doc__)
    parser.add_argument("--model", type=Path, default=weights_folder(), help="folder of split files")
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--judge-steps", type=int, default=400, help="training steps of the scene classifier")
    parser.add_argument("--details", action="store_true", help="print every case")
    options = parser.parse_args(argv)
    engine = load(print, LtxSettings(options.model, WIDTH_PX, HEIGHT_PX))
    bars = [picture_bar(engine), sound_bar(engine)]
    judge = train_scene_classifier(options.judge_steps)
    verdicts: dict[str, list[bool]] = {"palette": [], "scene": [], "speed": [], "sound": []}
    for case in cases(engine, options.prompts):
        frames, wanted = case.chunk.frames, case.description
        seen = {
            "palette": measure.palette_of(frames),
            "scene": judge.scene_of(torch.from_numpy(frames)),
            "speed": measure.speed_of(frames, FRAME_RATE),
            "sound": measure.sound_of(case.chunk.audio),
        }
        for field, value in seen.items():
            verdicts[field].append(value == getattr(wanted, field))
        if options.details:
            wrong = {f: f"{getattr(wanted, f)} -> {v}" for f, v in seen.items() if v != getattr(wanted, f)}
            print(f"{case.prompt!r}: {wrong or 'right'}")
    for field, least in (("palette", 90.0), ("scene", 70.0), ("speed", 85.0), ("sound", 75.0)):
        share = 100 * sum(verdicts[field]) / len(verdicts[field])
        bars.append(Bar(f"{field} right, {len(verdicts[field])} prompts", share, least, unit="%"))
    return print_bars("pocket", bars)


def cases(engine: LtxEngine, count: int) -> Iterator[Case]:
    """Prompts that name scene, colour, speed and sound, each made into one chunk of a new take."""
    generator = torch.Generator().manual_seed(SEED)
    values = initial_values("pocket", None, {})
    for index, drawn in enumerate(sample_descriptions(count, generator)):
        description = replace(
            drawn, speed=SPEEDS[index % len(SPEEDS)], modifiers=(), sound=SOUNDS[index // len(SPEEDS) % len(SOUNDS)]
        )
        prompt = _telling_prompt(description, generator)
        generation = params.snapshot(params.GenerationParams, {**values, "prompt": prompt})
        yield Case(prompt, description, _chunk(engine, ChunkRequest(index, generation, SEED + index, 0, NUM_FRAMES)))


def _telling_prompt(description: Description, generator: torch.Generator) -> str:
    """One of the many forms that leaves none of the four fields out."""
    while True:
        prompt = write_prompt(description, generator)
        said = understand(prompt)
        if all(getattr(said, field) == getattr(description, field) for field in ("scene", "palette", "speed", "sound")):
            return prompt


def _chunk(engine: LtxEngine, request: ChunkRequest) -> Chunk:
    *_, chunk = engine.generate(request)
    return chunk


@torch.inference_mode()
def picture_bar(engine: LtxEngine, count: int = 24) -> Bar:
    """Mean PSNR of held-out clips through the video autoencoder."""
    clips = Batch.of(sample_descriptions(count, torch.Generator().manual_seed(SEED + 1)))
    times_s = torch.arange(25).double()[None] / FRAME_RATE + torch.arange(count).double()[:, None]
    vae = engine.networks.video_vae
    weight = vae.decoder.conv_in.conv.weight
    values = []
    for first in range(0, count, 4):
        frames = render_frames(clips[first : first + 4], times_s[first : first + 4], WIDTH_PX, HEIGHT_PX)
        pixels = frames.movedim(-1, 1).mul(2).sub(1)  # (B, 3, F, H, W)
        decoded = vae.decode_u8(vae.encode(pixels.to(weight))).cpu().float() / 255
        values += [-10 * torch.log10((a - b).square().mean()) for a, b in zip(decoded, frames, strict=True)]
    return Bar("video autoencoder PSNR", float(torch.stack(values).mean()), 26.0, unit="dB")


@torch.inference_mode()
def sound_bar(engine: LtxEngine, count: int = 24) -> Bar:
    """Mean log-mel error of held-out sounds through audio autoencoder and vocoder, against the sounds themselves."""
    clips = Batch.of(sample_descriptions(count, torch.Generator().manual_seed(SEED + 2)))
    start_s = torch.arange(count).double()
    sound = render_audio(clips, start_s, 2 * 16000, 16000).transpose(1, 2)  # (B, 2, S)
    wanted = log_mel(sound)[:, :, :197]
    vae, vocoder = engine.networks.audio_vae, engine.networks.vocoder
    weight = vae.decoder.conv_in.conv.weight
    decoded = vae.decode(vae.encode(wanted.to(weight))).float().to(next(vocoder.parameters()).device)
    made = log_mel(vocoder.core(decoded).cpu())
    difference = _floored(made)[:, :, 8:188] - _floored(wanted)[:, :, 8:188]
    return Bar("audio autoencoder + vocoder log-mel error", float(difference.abs().mean()), 0.6, is_most=True)


def _floored(mel: torch.Tensor) -> torch.Tensor:
    return mel.clamp(min=float(np.log(_MEL_FLOOR)))
