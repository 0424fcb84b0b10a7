"""What a clip of the pocket world shows and sounds like: one Description per clip, and a Batch of them as tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ltx_live.pocket.words import TEMPO_RANGE_BPM

SCENES = (
    "tunnel",
    "rings",
    "plasma",
    "stripes",
    "waves",
    "metaballs",
    "grid",
    "spiral",
    "checker",
    "kaleidoscope",
    "starfield",
    "ribbons",
)
PALETTES = ("red", "orange", "gold", "green", "cyan", "blue", "purple", "pink", "white")
SPEEDS = ("still", "slow", "normal", "fast")
MODIFIERS = ("reverse", "pulsing", "zooming in", "zooming out", "rotating")
SOUNDS = ("silence", "low drone", "pad", "arpeggio", "bells", "drums", "hi-hats", "noise")

# Chance of each speed, and how much faster than "normal" it is.
_SPEED_CHANCES = (0.22, 0.25, 0.28, 0.25)
_SPEED_FACTORS = (0.0, 0.35, 1.0, 2.8)
_MODIFIER_CHANCE = 0.45
_NOT_TOGETHER = ({"zooming in", "zooming out"}, {"reverse", "zooming in"}, {"reverse", "zooming out"})

# One uniform number in 0..1 per clip and name: what differs between clips of the same words.
VARIATIONS = (
    "centre_x",
    "centre_y",
    "frequency",
    "phase",
    "hue",
    "thickness",
    "angle",
    "count",
    "layout",
    "second_layout",
    "zoom",
    "tempo_of_motion",
    "beat",
    "key",
    "mode",
    "density",
    "level",
    "pan",
)


@dataclass(frozen=True)
class Description:
    """One clip in words and numbers; `seed` decides everything the words leave open."""

    scene: str
    palette: str
    speed: str
    modifiers: tuple[str, ...]
    sound: str
    tempo_bpm: int
    seed: int


@dataclass(frozen=True)
class Batch:
    """Descriptions as tensors on one device, for the renderers; B clips."""

    scene: Tensor  # (B,) int64, index into SCENES
    palette: Tensor  # (B,) int64, index into PALETTES
    speed: Tensor  # (B,) int64, index into SPEEDS
    modifiers: Tensor  # (B, 5) bool, columns as MODIFIERS
    sound: Tensor  # (B,) int64, index into SOUNDS
    tempo_bpm: Tensor  # (B,) float64
    variation: Tensor  # (B, len(VARIATIONS)) float64 in 0..1
    seed: Tensor  # (B,) int64

    @classmethod
    def of(cls, descriptions: Sequence[Description], device: torch.device | str = "cpu") -> Batch:
        """The batch of these descriptions; ValueError (or KeyError) for words that the world does not have."""
        seed = torch.tensor([d.seed for d in descriptions], dtype=torch.int64)  # (B,)
        columns = torch.arange(len(VARIATIONS), dtype=torch.int64)
        batch = cls(
            scene=torch.tensor([SCENES.index(d.scene) for d in descriptions]),
            palette=torch.tensor([PALETTES.index(d.palette) for d in descriptions]),
            speed=torch.tensor([SPEEDS.index(d.speed) for d in descriptions]),
            modifiers=torch.tensor([[m in d.modifiers for m in MODIFIERS] for d in descriptions]),
            sound=torch.tensor([SOUNDS.index(d.sound) for d in descriptions]),
            tempo_bpm=torch.tensor([d.tempo_bpm for d in descriptions], dtype=torch.float64),
            variation=uniform_hash(columns[None, :], seed[:, None]),  # (B, V)
            seed=seed,
        )
        return batch.to(device)

    def __len__(self) -> int:
        return len(self.scene)

    def __getitem__(self, index: Tensor | slice) -> Batch:
        """The clips at these indices."""
        return Batch(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return Batch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def vary(self, name: str, low: float, high: float) -> Tensor:
        """This clip's own number for `name`, between low and high. (B,) float64"""
        return low + (high - low) * self.variation[:, VARIATIONS.index(name)]

    def has(self, modifier: str) -> Tensor:
        """Whether each clip has this modifier. (B,) float64, 0 or 1"""
        return self.modifiers[:, MODIFIERS.index(modifier)].double()

    def sounds_like(self, *sounds: str) -> Tensor:
        """Whether each clip's sound is one of these. (B,) bool"""
        return torch.stack([self.sound == SOUNDS.index(s) for s in sounds]).any(0)

    def pace(self) -> Tensor:
        """How fast each clip moves, 1 = normal, never negative. (B,) float64"""
        factors = torch.tensor(_SPEED_FACTORS, dtype=torch.float64, device=self.speed.device)
        return factors[self.speed] * self.vary("tempo_of_motion", 0.9, 1.1)

    def beats(self, times_s: Tensor) -> Tensor:
        """Position in beats at each time; a whole number is a beat. (B, N) -> (B, N) float64"""
        return times_s * (self.tempo_bpm / 60.0)[:, None] - self.vary("beat", 0.0, 1.0)[:, None]

    def notes_per_beat(self) -> Tensor:
        """Hits per beat of each clip's sound, 0 where it has none. (B,) float64"""
        dense = self.vary("density", 0.0, 1.0) < 0.5
        fast = self.speed == SPEEDS.index("fast")
        notes = torch.zeros_like(self.tempo_bpm)
        notes = torch.where(self.sounds_like("drums"), 1.0, notes)
        notes = torch.where(self.sounds_like("bells"), torch.where(dense, 1.0, 0.5), notes)
        notes = torch.where(self.sounds_like("arpeggio"), torch.where(fast, 4.0, 2.0), notes)
        return torch.where(self.sounds_like("hi-hats"), torch.where(dense, 4.0, 2.0), notes)


def sample_descriptions(count: int, generator: torch.Generator) -> list[Description]:
    """`count` random descriptions from a CPU generator; a still picture never rotates, zooms or reverses."""

    def choose(size: int) -> list[int]:
        return torch.randint(size, (count,), generator=generator).tolist()

    scenes, palettes, sounds, seeds = choose(len(SCENES)), choose(len(PALETTES)), choose(len(SOUNDS)), choose(2**31)
    speeds = torch.multinomial(torch.tensor(_SPEED_CHANCES), count, True, generator=generator).tolist()
    low, high = TEMPO_RANGE_BPM
    tempos = [low + bpm for bpm in choose(high - low + 1)]
    firsts, seconds = choose(len(MODIFIERS)), choose(len(MODIFIERS))
    how_many = torch.rand(count, generator=generator).tolist()
    descriptions = []
    for i in range(count):
        speed = SPEEDS[speeds[i]]
        chosen = {MODIFIERS[firsts[i]]} if how_many[i] < _MODIFIER_CHANCE else set()
        if how_many[i] < _MODIFIER_CHANCE / 3 and {*chosen, MODIFIERS[seconds[i]]} not in _NOT_TOGETHER:
            chosen.add(MODIFIERS[seconds[i]])
        if speed == "still":
            chosen &= {"pulsing"}
        modifiers = tuple(m for m in MODIFIERS if m in chosen)
        words = (SCENES[scenes[i]], PALETTES[palettes[i]], speed, modifiers, SOUNDS[sounds[i]])
        descriptions.append(Description(*words, tempos[i], seeds[i]))
    return descriptions


def uniform_hash(index: Tensor, seed: Tensor) -> Tensor:
    """A uniform number in 0..1 for every (index, seed), the same on every device. int64 -> float64, broadcast

    The 32-bit mixer is lowbias32 (C. Wellons, "Prospecting for hash functions"), applied twice.
    """
    return _mix(_mix(index) ^ _mix(seed + 0x9E3779B9)).double() / 2.0**32


def _mix(value: Tensor) -> Tensor:
    mask = 0xFFFFFFFF
    value = (value & mask) ^ ((value & mask) >> 16)
    value = (value * 0x21F0AAAD) & mask
    value = value ^ (value >> 15)
    value = (value * 0x735A2D97) & mask
    return value ^ (value >> 15)


def wrap_angle(angle: Tensor) -> Tensor:
    """A float64 angle in radians brought to 0..2 pi as float32, so that hours of time keep their precision."""
    return torch.remainder(angle, 2.0 * math.pi).float()
