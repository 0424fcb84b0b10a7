"""Do the pocket's LoRAs do what they are for? Style, structure (IC-LoRA) and voice (ID-LoRA), on held-out inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ltx_live import params
from ltx_live.bench._bars import Bar
from ltx_live.chunk import NO_INPUTS, Chunk, ChunkRequest, Inputs
from ltx_live.engine.ltx import LtxEngine
from ltx_live.media.guide import Guide, Preparation
from ltx_live.model.mel import decimate, log_mel
from ltx_live.pocket import lora_folder, measure
from ltx_live.pocket.description import Batch, Description, sample_descriptions
from ltx_live.pocket.fields import render_fields
from ltx_live.pocket.looks import edges, filled, halved
from ltx_live.pocket.phrases import write_prompt
from ltx_live.pocket.scenes import render_frames
from ltx_live.pocket.sounds import render_audio
from ltx_live.pocket.voices import Voices
from ltx_live.weights.adapters import RuntimeAdapter
from ltx_live.weights.lora import read_lora

STYLE, STRUCTURE, VOICE = "pocket-style-ink", "pocket-ic-lora-structure", "pocket-id-lora-voice"
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
SEED = 777_100_001  # far from every training seed
SLOT, FRAME_RATE, GUIDE_FACTOR = 1, 24.0, 2
NUM_FRAMES, QUICK_FRAMES = 57, 33
FORMANTS_HZ = (280.0, 430.0, 660.0, 1000.0)
SUNG = ("low drone", "pad")
"""Of the three tonal sounds those that last; an arpeggio's timbre is right less often (docs/LOG.md)."""

SPEAKER_S = 5.0


@contextmanager
def playing(engine: LtxEngine, name: str) -> Iterator[None]:
    """One of the pocket's LoRAs in the first slot, taken out again."""
    network = engine.networks.transformer
    engine.loras.put(SLOT, RuntimeAdapter(network, read_lora(lora_folder() / f"{name}.safetensors", network)))
    try:
        yield
    finally:
        engine.loras.put(SLOT, None)


@dataclass(frozen=True)
class Player:
    """Asks an engine for chunks of these values; each of its chunks has the seed of its number."""

    engine: LtxEngine
    values: Mapping[str, Any]
    num_frames: int

    def play(
        self, number: int, prompt: str, inputs: Inputs = NO_INPUTS, after: Chunk | None = None, **values: Any
    ) -> Chunk:
        """A new take, or what continues `after`; the LoRA is played at strength 1 unless `values` say otherwise."""
        strengths = (values.pop("strength", 1.0), *[1.0] * (params.NUM_LORAS - 1))
        generation = params.snapshot(params.GenerationParams, {**self.values, "prompt": prompt})
        request = ChunkRequest(
            index=number if after is None else after.index + 1,
            params=replace(generation, lora_strength=strengths, **values),
            seed=SEED + number,
            start=0 if after is None else after.end,
            num_frames=self.num_frames,
            continue_from=None if after is None else (after.index, after.num_frames),
            inputs=inputs,
        )
        *_, chunk = self.engine.generate(request)
        return chunk


# --- Style -----------------------------------------------------------------------------------------------------------


def style_bars(engine: LtxEngine, values: Mapping[str, Any], quick: bool = False) -> list[Bar]:
    """Is strength 0 nothing at all, and does the paper get whiter with the strength?"""
    player = Player(engine, values, QUICK_FRAMES if quick else NUM_FRAMES)
    prompts = _prompts(1 if quick else 12)
    plain = [player.play(number, prompt) for number, prompt in enumerate(prompts)]
    with playing(engine, STYLE):
        made = {s: [player.play(n, p, strength=s) for n, p in enumerate(prompts)] for s in STRENGTHS}
    same = [
        np.array_equal(a.frames, b.frames) and np.array_equal(a.audio, b.audio)
        for a, b in zip(plain, made[0.0], strict=True)
    ]
    paper = [float(np.mean([measure.paper_of(chunk.frames) for chunk in made[s]])) for s in STRENGTHS]
    return [
        Bar("style 0 is bit for bit none", 100 * float(np.mean(same)), 100, "%"),
        Bar(f"white at style 1 ({_listed(paper)})", paper[-1], 0.5),
        Bar("white, least growth of a quarter of strength", float(np.diff(paper).min()), 0.02),
    ]


# --- Structure -------------------------------------------------------------------------------------------------------


def structure_bars(engine: LtxEngine, values: Mapping[str, Any], quick: bool = False) -> list[Bar]:
    """Does the light follow the guide, as far as `control_strength` says, in new and in continued chunks?"""
    player = Player(engine, values, QUICK_FRAMES if quick else NUM_FRAMES)
    guides = guides_of(held_out_light(2 if quick else 20, player.num_frames))
    prompts = _prompts(len(guides))
    strengths = (0.0, 0.5, 1.0) if quick else STRENGTHS
    with playing(engine, STRUCTURE):
        alike = [
            [
                likeness(player, n, prompt, guide, s)
                for n, (prompt, guide) in enumerate(zip(prompts, guides, strict=True))
            ]
            for s in strengths
        ]
        later = [continued_likeness(player, n, prompts[n], guides[n]) for n in range(1 if quick else 6)]
        light = held_out_light(1 if quick else 6, player.num_frames)
        outlines = [outline_likeness(player, n, prompts[n], light[n : n + 1], strength=1.0) for n in range(len(light))]
    means = [float(np.mean(each)) for each in alike]
    return [
        Bar(f"luminance and guide at 1 ({_listed(means)})", means[-1], 0.7, "r"),
        Bar("luminance and guide at 0", means[0], 0.3, "r", is_most=True),
        Bar("least growth from strength to strength", float(np.diff(means).min()), 0.0, "r"),
        Bar(f"guides with 0.7 or more at 1 (least {min(alike[-1]):.2f})", _share(alike[-1], 0.7), 90, "%"),
        Bar("luminance and guide in continued chunks", float(np.mean(later)), 0.7, "r"),
        Bar("light behind an edge guide", float(np.mean(outlines)), 0.3, "r"),
    ]


def held_out_light(count: int, num_frames: int) -> torch.Tensor:
    """Moving light (count, F, 160, 288): fields, scenes, and a kind that no training has, in turn."""
    times_s = torch.arange(num_frames).double()[None] / FRAME_RATE
    scenes = Batch.of(sample_descriptions(count, torch.Generator().manual_seed(SEED)))
    makers = (
        lambda n: render_fields(torch.tensor([SEED + 5 * n]), times_s),
        lambda n: render_frames(scenes[n : n + 1], times_s + n).amax(-1),
        lambda n: _fan(n, times_s),
    )
    return torch.cat([makers[n % len(makers)](n) for n in range(count)])


def _fan(number: int, times_s: torch.Tensor) -> torch.Tensor:
    """Blades that turn around a wandering middle, (1, F, 160, 288)."""
    x = (torch.arange(288) + 0.5 - 144) / 160 - 0.3 * torch.sin(1.1 * times_s.float() + number)[..., None, None]
    y = ((torch.arange(160) + 0.5) / 160 - 0.5)[:, None]
    turn = torch.atan2(y, x) * (2 + number % 4) + (1.5 + number % 3) * times_s.float()[..., None, None]
    return torch.sigmoid(6 * torch.sin(turn)) * (torch.hypot(x, y) < 0.45)


def guides_of(light: torch.Tensor) -> list[np.ndarray]:
    """Guides (F, 96, 160, 3) uint8 of light (N, F, 160, 288)."""
    return list(filled(halved(light)[..., None]).mul(255).round().byte().numpy())


def likeness(player: Player, number: int, prompt: str, guide: np.ndarray, strength: float) -> float:
    """Correlation of a new take with its guide."""
    inputs = Inputs(guide=guide, guide_factor=GUIDE_FACTOR)
    return measure.likeness(player.play(number, prompt, inputs, control_strength=strength).frames, guide, GUIDE_FACTOR)


def continued_likeness(player: Player, number: int, prompt: str, guide: np.ndarray) -> float:
    """Correlation of the new frames of a chunk with its guide, where the chunk before it had none."""
    before = player.play(number, prompt)
    after = player.play(number, prompt, Inputs(guide=guide, guide_factor=GUIDE_FACTOR), before)
    new = slice(after.num_overlap + 8, None)  # the change takes a third of a second
    return measure.likeness(after.frames[new], guide[new], GUIDE_FACTOR)


def outline_likeness(player: Player, number: int, prompt: str, light: torch.Tensor, strength: float) -> float:
    """Correlation of a take, guided by the edges of `light`, with that light, which it has not seen."""
    small = halved(light)
    (guide,) = filled(edges(small)[..., None]).mul(255).round().byte().numpy()
    inputs = Inputs(guide=guide, guide_factor=GUIDE_FACTOR)
    chunk = player.play(number, prompt, inputs, control_strength=strength)
    (wanted,) = filled(small[..., None]).mul(255).round().byte().numpy()
    return measure.likeness(chunk.frames, wanted, GUIDE_FACTOR)


def guide_file_bar(engine: LtxEngine, values: Mapping[str, Any], path: Path, count: int = 3) -> Bar:
    """The same through the guide of a show: a film of any size and frame rate, fitted and picked by time."""
    player = Player(engine, values, NUM_FRAMES)
    guide = Guide(288, 160)
    guide.preparation = Preparation(144, 80, control="luminance")
    try:
        guide.load(str(path))
        frames = guide.wait(0, player.num_frames, FRAME_RATE)
    finally:
        guide.close()
    with playing(engine, STRUCTURE):
        alike = [likeness(player, n, prompt, frames, 1.0) for n, prompt in enumerate(_prompts(count))]
    return Bar(f"luminance and guide of {path.name}", float(np.mean(alike)), 0.7, "r")


# --- Voice -----------------------------------------------------------------------------------------------------------


def voice_bars(engine: LtxEngine, values: Mapping[str, Any], quick: bool = False) -> list[Bar]:
    """Is the timbre of the sound nearest to that of its reference, of four, and more so with identity guidance?"""
    player = Player(engine, values, QUICK_FRAMES if quick else NUM_FRAMES)
    margins = voice_margins(player, range(4 if quick else 40), (0.0, 3.0))
    means = {scale: float(np.mean(found)) for scale, found in margins.items()}
    return [
        Bar(f"timbre nearest to its reference ({_share(margins[0.0], 0):.0f} at 0)", _share(margins[3.0], 0), 85, "%"),
        Bar(f"nearer than the next voice, at 3 less at 0 ({means[0.0]:.2f})", means[3.0] - means[0.0], 0.0, "dB"),
    ]


def voice_margins(player: Player, trials: Sequence[int], scales: Sequence[float]) -> dict[float, list[float]]:
    """For each scale of identity guidance: how much nearer (dB) the given reference is than the nearest other."""
    margins: dict[float, list[float]] = {scale: [] for scale in scales}
    with playing(player.engine, VOICE):
        for number in trials:
            trial = Trial.draw(number)
            heard = [measure.timbre_of(played_back(player.engine, each)) for each in trial.references]
            inputs = Inputs(speaker=trial.references[trial.voice])
            for scale, found in margins.items():
                chunk = player.play(number, trial.prompt, inputs, identity_guidance_scale=scale)
                away = [float(np.sqrt(np.square(measure.timbre_of(chunk.audio) - each).mean())) for each in heard]
                found.append(min(away[: trial.voice] + away[trial.voice + 1 :]) - away[trial.voice])
    return margins


@dataclass(frozen=True)
class Trial:
    """A prompt, and references that play the same phrase, on other notes, in four voices, one of which is given."""

    prompt: str
    voice: int
    references: list[np.ndarray]  # (S, 2) float32 at 48 kHz each

    @classmethod
    def draw(cls, number: int) -> Trial:
        """Sounds, voices, and whether the reference plays the other kind of sound take turns."""
        sound, other = SUNG if number % 2 else SUNG[::-1]
        generator = torch.Generator().manual_seed(SEED + number)
        (drawn,) = sample_descriptions(1, generator)
        prompt = f"slow {drawn.palette} {drawn.scene} with a {sound}"
        played = sound if number // 8 % 2 else other
        phrase = Description("rings", "red", "slow", (), played, drawn.tempo_bpm, drawn.seed)
        references = render_audio(
            Batch.of([phrase] * len(FORMANTS_HZ)),
            torch.zeros(len(FORMANTS_HZ)).double(),
            round(SPEAKER_S * 48_000),
            voices=voices(),
        )
        return cls(prompt, number // 2 % len(FORMANTS_HZ), list(references.numpy()))


def voices() -> Voices:
    """Four timbres of the family that was trained, evenly spaced."""
    formants = torch.tensor(FORMANTS_HZ)
    same = torch.ones_like(formants)
    return Voices(-9 * same, formants, 0.5 * same, 30 * same, same)


@torch.inference_mode()
def played_back(engine: LtxEngine, sound: np.ndarray) -> np.ndarray:
    """Sound (S, 2) through autoencoder and vocoder: what of its timbre the pocket can play."""
    vae, vocoder = engine.networks.audio_vae, engine.networks.vocoder
    weight = vae.decoder.conv_in.conv.weight
    wave = torch.from_numpy(sound.T.copy())[None].to(weight.device)  # (1, 2, S)
    mel = log_mel(decimate(wave, 3))
    mel = mel[:, :, : (mel.shape[2] - 1) // 4 * 4 + 1]
    return vocoder(vae.decode(vae.encode(mel.to(weight))).float())[0].T.float().cpu().numpy()


def _prompts(count: int) -> list[str]:
    generator = torch.Generator().manual_seed(SEED + 1)
    return [write_prompt(description, generator) for description in sample_descriptions(count, generator)]


def _share(values: list[float], least: float) -> float:
    return 100 * float(np.mean([value >= least for value in values]))


def _listed(values: list[float]) -> str:
    return " ".join(f"{value:.2f}" for value in values)
