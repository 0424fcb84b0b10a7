"""Modulators: what is added to a parameter's base value, from tick to tick. Pure logic; time and signals are given."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ltx_live import params
from ltx_live.params import NUM_MODULATORS, SIGNALS, Parameter

DECAY = 0.01
"""What an envelope has left after one cycle: -40 dB."""


@dataclass(slots=True)
class _Modulator:
    """One modulator: its values as in the rows `mod/N/`, and how far it has come.

    `cycles` counts those of the wave, `since` those since the envelope began; `held` is what a random one shows since
    cycle `held_cycle`.
    """

    is_active: bool = False
    target: str = ""
    shape: str = "sine"
    rate: float = 1.0
    unit: str = "hz"
    depth: float = 0.0
    phase: float = 0.0
    cycles: float = 0.0
    since: float = math.inf
    held: float = 0.0
    held_cycle: int | None = None

    def take(self, values: Mapping[str, Any], prefix: str) -> None:
        """Follow its rows; one that is switched on begins its wave anew."""
        if values[f"{prefix}active"] and not self.is_active:
            self.cycles, self.held_cycle = 0.0, None
        self.is_active = values[f"{prefix}active"]
        for name in ("target", "shape", "rate", "unit", "depth", "phase"):
            setattr(self, name, values[f"{prefix}{name}"])

    def advance(self, elapsed_s: float, beat: float, elapsed_beats: float) -> None:
        """Go on in time. A wave in beats is always at the same place of the bar, whenever it was switched on."""
        in_beats = self.unit == "beats"
        passed = max(0.0, elapsed_beats) / self.rate if in_beats else elapsed_s * self.rate
        self.cycles = beat / self.rate if in_beats else self.cycles + passed
        self.since += passed

    def wave(self, signals: Mapping[str, float], rng: random.Random) -> float:
        """Its value now: a wave from -1 to 1, an envelope or signal from 0 to 1."""
        if self.shape in SIGNALS:
            return signals.get(self.shape, 0.0)
        if self.shape == "envelope":
            return DECAY**self.since
        place = self.cycles + self.phase
        if self.shape == "random":
            if math.floor(place) != self.held_cycle:
                self.held_cycle, self.held = math.floor(place), rng.uniform(-1.0, 1.0)
            return self.held
        return wave(self.shape, place)


def wave(shape: str, place: float) -> float:
    """A periodic wave -1..1 at a place counted in cycles; sine and triangle begin at 0 and rise, saw begins at -1."""
    part = place % 1.0
    match shape:
        case "sine":
            return math.sin(2 * math.pi * part)
        case "triangle":
            return 4 * abs((part + 0.75) % 1.0 - 0.5) - 1
        case "saw":
            return 2 * part - 1
    return 1.0 if part < 0.5 else -1.0


class Modulators:
    """The modulators `mod/1` to `mod/8`. `update` once a tick; `apply` gives values as they are with what they add.

    Several on one target add up; the sum with the base value is clamped to the target's range. A base value is nowhere
    changed. `offsets` is what is added now, by the target's name, in its own unit.
    """

    def __init__(self, rng: random.Random | None = None):
        self.offsets: dict[str, float] = {}
        self._rng = rng or random.Random()
        self._modulators = tuple(_Modulator() for _ in range(NUM_MODULATORS))
        self._now: tuple[float, float] | None = None  # seconds and beats at the last update

    @property
    def follows_sound(self) -> bool:
        """Whether any needs the signals."""
        return any(each.is_active and each.target and each.shape in SIGNALS for each in self._modulators)

    def take(self, values: Mapping[str, Any], numbers: Iterable[int] = range(1, NUM_MODULATORS + 1)) -> None:
        """Follow the rows `mod/N/` of these numbers."""
        for number in numbers:
            self._modulators[number - 1].take(values, f"mod/{number}/")

    def trigger(self, number: int) -> None:
        """The envelope of modulator 1..8 begins."""
        self._modulators[number - 1].since = 0.0

    def update(self, now_s: float, beat: float, signals: Mapping[str, float]) -> None:
        """Go on to a time and a beat, with the signals (0..1) of this moment."""
        before_s, beat_before = self._now or (now_s, beat)
        self._now = now_s, beat
        self.offsets = {}
        for modulator in self._modulators:
            modulator.advance(max(0.0, now_s - before_s), beat, beat - beat_before)
            if modulator.is_active and modulator.target:
                row = params.find(modulator.target)
                added = modulator.depth * modulator.wave(signals, self._rng) * (row.maximum - row.minimum)
                self.offsets[modulator.target] = self.offsets.get(modulator.target, 0.0) + added

    def apply(self, snapshot: Any) -> Any:
        """GenerationParams or OutputParams with what is added to their fields now; the same object when nothing is."""
        changed: dict[str, Any] = {}
        for name, offset in self.offsets.items():
            row = params.find(name)
            field = params.field_name(row.name)
            if hasattr(snapshot, field):
                changed[field] = _added(row, name, changed.get(field, getattr(snapshot, field)), offset)
        return dataclasses.replace(snapshot, **changed) if changed else snapshot


def _added(row: Parameter, name: str, value: Any, offset: float) -> Any:
    """A field's value with an offset on the parameter `name`, which is one of several in a field of a row with N."""
    if not row.count:
        return row.coerce(value + offset)
    index = int(name.removeprefix(row.name.partition("N")[0]).split("/")[0]) - 1
    return (*value[:index], row.coerce(value[index] + offset), *value[index + 1 :])
