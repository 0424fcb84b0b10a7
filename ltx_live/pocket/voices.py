"""Timbres for the tonal sounds of the pocket world: how strong each overtone is, by its frequency and number."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

TONAL = ("low drone", "pad", "arpeggio")
"""The sounds that have a timbre."""

FORMANT_HZ = (280.0, 1700.0)
"""Where a formant may lie: above 2 kHz the pocket's vocoder does not tell timbres apart (docs/LOG.md)."""

NEUTRAL_SLOPE_DB = -9.0

_REFERENCE_HZ = 250.0
_HIGHEST_HZ = 5000.0


@dataclass(frozen=True)
class Voices:
    """B timbres: a slope, a band of frequencies that is stronger (a formant), and how much of the even overtones."""

    slope_db: Tensor  # (B,) per octave
    formant_hz: Tensor  # (B,)
    width_octaves: Tensor  # (B,)
    gain_db: Tensor  # (B,)
    even: Tensor  # (B,) 0..1

    def __len__(self) -> int:
        return len(self.slope_db)

    def __getitem__(self, index: Tensor | slice) -> Voices:
        """The voices at these indices."""
        return Voices(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def to(self, device: torch.device | str) -> Voices:
        """The same voices on another device."""
        return Voices(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def softened(self, share: float | Tensor) -> Voices:
        """The way from a neutral timbre to these: 0 is neutral, 1 they themselves; above 1 they are exaggerated."""
        return Voices(
            slope_db=NEUTRAL_SLOPE_DB + share * (self.slope_db - NEUTRAL_SLOPE_DB),
            formant_hz=self.formant_hz,
            width_octaves=self.width_octaves,
            gain_db=share * self.gain_db,
            even=self.even**share,
        )

    def sing(self, phase: Tensor, hz: Tensor, num_overtones: int) -> Tensor:
        """A tone of each voice, of the same loudness whatever its timbre and height. phase, hz (B, S) -> (B, S)

        sin(n phase) by the recurrence 2 cos(phase) sin((n - 1) phase) - sin((n - 2) phase).
        """
        before, now, twice = torch.zeros_like(phase), torch.sin(phase), 2.0 * torch.cos(phase)
        total, power = torch.zeros_like(phase), torch.zeros_like(hz)
        for number in range(1, num_overtones + 1):
            level = self._level(number * hz)
            if number % 2 == 0:
                level = level * self.even[:, None]
            total = total + level * now
            power = power + level.square()
            before, now = now, twice * now - before
        return total / power.sqrt().clamp(min=1e-6)

    def _level(self, hz: Tensor) -> Tensor:
        """How strong an overtone of this frequency is, (B, S) -> (B, S)."""
        octaves = torch.log2(hz / _REFERENCE_HZ)
        away = (octaves - torch.log2(self.formant_hz / _REFERENCE_HZ)[:, None]) / self.width_octaves[:, None]
        level_db = self.slope_db[:, None] * octaves + self.gain_db[:, None] * torch.exp(-away.square())
        return torch.pow(10.0, level_db / 20.0) * (hz < _HIGHEST_HZ)


def random_voices(count: int, generator: torch.Generator) -> Voices:
    """Voices from a CPU generator, float32: dark to bright, with a formant, with and without even overtones."""

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    low, high = FORMANT_HZ
    hollow = draw(0.0, 1.0) < 0.2
    return Voices(
        slope_db=draw(-11.0, -7.0),
        formant_hz=low * (high / low) ** draw(0.0, 1.0),
        width_octaves=draw(0.4, 0.7),
        gain_db=draw(20.0, 36.0),
        even=torch.where(hollow, draw(0.05, 0.3), draw(0.7, 1.0)),
    )
