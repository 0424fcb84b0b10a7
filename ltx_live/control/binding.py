"""The arithmetic of MIDI bindings: where a control stands, how it turns, its curve, and when it takes a value over."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ltx_live import params
from ltx_live.control.registry import as_number
from ltx_live.params import Parameter

KINDS = ("cc", "note", "pitchbend", "program", "aftertouch", "polytouch", "nrpn")
NUMBERED = ("cc", "note", "polytouch", "nrpn")
MOTIONS = ("abs", "rel_2c", "rel_offset", "rel_sign")
BUTTONS = ("none", "momentary", "toggle_hw")
ACTIONS = ("set", "momentary", "gate", "toggle", "solo", "trigger", "inc", "cycle", "goto", "scene")
TAKEOVERS = ("auto", "jump", "pickup", "scale")

PICKUP_THRESHOLD = 3 / 128
"""Distance, as a fraction of the range, at which a control takes a value over. Source: Mixxx `softtakeover.cpp`."""

PRESSED = 0.5  # a CC button is down from this position on

_CURVE_BASE = 20.0
_DETENT = 1.5 / 127  # how far a knob that rests in its middle may be off
CURVES: dict[str, Callable[[float], float]] = {
    "lin": lambda x: x,
    "log": lambda x: math.log1p(x * (_CURVE_BASE - 1)) / math.log(_CURVE_BASE),
    "exp": lambda x: (_CURVE_BASE**x - 1) / (_CURVE_BASE - 1),
    "s": lambda x: x * x * (3 - 2 * x),
}
"""Shapes from 0..1 to 0..1 that keep both ends: `exp` starts slowly, `log` is its inverse, `s` does both."""

Key = tuple[str, int | None, int | None]


@dataclass(frozen=True, slots=True)
class Control:
    """A knob, key or fader of a controller; `channel` (1..16) or `number` None means any.

    A CC has 14 `bits` only where that is declared: its lower seven come as CC `lsb`. `motion` other than abs is an
    encoder without ends. `button` says that a CC is one: `momentary`, or `toggle_hw` where the hardware sends 127 and
    0 in turn. `detent`: it rests in its middle. `motor`: it moves by itself.
    """

    id: str
    kind: str
    channel: int | None
    number: int | None
    bits: int = 7
    lsb: int | None = None
    motion: str = "abs"
    button: str = "none"
    detent: bool = False
    motor: bool = False

    @property
    def key(self) -> Key:
        return self.kind, self.channel, self.number

    @property
    def is_button(self) -> bool:
        """Whether it is known to be pressed rather than moved."""
        return self.kind in ("note", "program") or self.button != "none"


@dataclass(frozen=True, slots=True)
class Binding:
    """What one control does to the parameter `to`; `low` and `high` are in the parameter's own unit.

    `table` is a curve's points; `num_steps` rounds to so many places. `step` is what a press or a click of an encoder
    adds, and n clicks at once n to the power of `accel`. `deadzone` of the way at either end counts as the end.
    `smooth_s` is the time constant of a glide. It works on its `page`, while `shift` is held, where the values of
    `when` are so, beside others where `also`. With `long_s` a press of that length means it. `velocity`: a note's
    loudness is the value. `rate_hz` is how many values a second it sends at most, 0 = all. `targets` are what goto and
    scene set.
    """

    control: Control
    to: str
    action: str = "set"
    low: float = 0.0
    high: float = 1.0
    curve: str = "lin"
    invert: bool = False
    takeover: str = "jump"
    step: float = 1.0
    table: tuple[float, ...] = ()
    num_steps: int = 0
    accel: float = 1.0
    deadzone: float = 0.0
    smooth_s: float = 0.0
    quantise: str = "now"
    page: int | None = None
    shift: Control | None = None
    when: tuple[tuple[str, Any], ...] = ()
    also: bool = False
    long_s: float = 0.0
    velocity: bool = False
    threshold: float = PICKUP_THRESHOLD
    rate_hz: float = 0.0
    targets: tuple[tuple[str, Any], ...] = ()

    @property
    def condition(self) -> tuple[Any, ...]:
        """When it works: two bindings of a control with the same condition contradict each other."""
        return self.page, self.shift and self.shift.key, self.when, self.long_s > 0

    @property
    def rank(self) -> int:
        """How special its condition is; the most special one that holds wins."""
        return (self.page is not None) + 2 * (self.shift is not None) + 4 * bool(self.when)

    @property
    def is_press(self) -> bool:
        """Whether it answers to a press, not to a position."""
        return self.action not in ("set", "momentary", "gate")

    @property
    def is_continuous(self) -> bool:
        """Whether each place of its control is a value, which a newer one makes needless."""
        return self.action == "set" and self.control.motion == "abs" and not self.control.is_button

    def number_at(self, y: float) -> float:
        """The parameter's number at a place of the curve, 0..1."""
        return self.low + y * (self.high - self.low)

    def place_of(self, number: float) -> float:
        """The place, 0..1, of a parameter's number."""
        return min(1.0, max(0.0, (number - self.low) / (self.high - self.low)))

    def shaped(self, x: float) -> float:
        """The place, 0..1, for a control's position 0..1."""
        if self.control.detent and abs(x - 0.5) <= _DETENT:
            x = 0.5
        x = min(1.0, max(0.0, (x - self.deadzone) / (1 - 2 * self.deadzone)))
        x = 1 - x if self.invert else x
        y = _interpolated(self.table, x) if self.table else CURVES[self.curve](x)
        return round(y * (self.num_steps - 1)) / (self.num_steps - 1) if self.num_steps > 1 else y


@dataclass(frozen=True, slots=True)
class Options:
    """The table `[options]` of a mapping file: what all its bindings have in common.

    `pickup_threshold` and `rate_hz` are those of Binding, `learn_ignores` the kinds of messages that learning does not
    hear; it never hears a clock nor active sensing.
    """

    pickup_threshold: float = PICKUP_THRESHOLD
    rate_hz: float = 0.0
    learn_ignores: tuple[str, ...] = ("clock", "active")


def position(kind: str, raw: int, bits: int = 7) -> float:
    """Where a control stands, 0..1; the middle value of a continuous one (64, 8192 of 14 bits) is exactly 0.5."""
    top = 16383 if kind in ("pitchbend", "nrpn") or bits == 14 else 127
    middle = (top + 1) // 2
    if kind in ("program", "note"):
        return raw / top
    return raw / (2 * middle) if raw <= middle else 0.5 + (raw - middle) / (2 * (top - middle))


def clicks(motion: str, raw: int) -> int:
    """How many clicks an encoder has turned, + is clockwise. Source: the three relative encodings of MIDI controllers,
    as named by Ardour and Native Instruments: two's complement, offset from 64, sign in bit 6."""
    match motion:
        case "rel_2c":
            return raw - 128 if raw >= 64 else raw
        case "rel_offset":
            return raw - 64
        case "rel_sign":
            return 64 - raw if raw >= 64 else raw
    raise ValueError(f"{motion} is not a relative encoding")


def turned(binding: Binding, raw: int) -> float:
    """What an encoder's message adds to the parameter's number."""
    num = clicks(binding.control.motion, raw) * (-1 if binding.invert else 1)
    return 0.0 if num == 0 else math.copysign(binding.step * abs(num) ** binding.accel, num)


def smallest_step(row: Parameter, whole: tuple[float, float]) -> float:
    """What a press adds where a mapping does not say: one choice, one whole number, one twentieth of the range."""
    if row.snap is not None:
        low = row.snap(whole[0])
        return next(value for i in range(1, 10_000) if (value := row.snap(low + i)) != low) - low
    return 1 if row.kind in ("int", "enum", "bool") else (whole[1] - whole[0]) / 20


def resolved_takeover(binding: Binding) -> str:
    """What `auto` means: a fader that stands somewhere picks its value up; what springs back or is pressed jumps."""
    if binding.takeover != "auto":
        return binding.takeover
    control = binding.control
    stays = control.kind in ("cc", "nrpn") and not control.is_button and not control.motor
    return "pickup" if stays and control.motion == "abs" and params.find(binding.to).kind != "bool" else "jump"


def _interpolated(table: tuple[float, ...], x: float) -> float:
    place = x * (len(table) - 1)
    index = min(int(place), len(table) - 2)
    return table[index] + (table[index + 1] - table[index]) * (place - index)


@dataclass(slots=True)
class Takeover:
    """Remembers where controls stand, and which value each has taken, so that touching one never jumps."""

    _last: dict[tuple[str, Key], float] = field(default_factory=dict)
    _taken: dict[tuple[str, Binding], tuple[float, float]] = field(default_factory=dict)

    def moved(self, port: str, binding: Binding, x: float, values: Mapping[str, Any]) -> tuple[float | None, str]:
        """The place, 0..1, that a control moved to x gives; None and what to tell while it waits for its value."""
        y = binding.shaped(x)
        last = self._last.get((port, binding.control.key))
        how = resolved_takeover(binding)
        row, value = params.find(binding.to), values[binding.to]
        there = binding.place_of(as_number(row, value))
        if how == "scale":
            taken = self._taken.get((port, binding))
            if taken is not None and row.coerce(binding.number_at(taken[1])) == value:
                there = taken[1]  # more exact than a whole number
            y = _scaled(there, y, None if last is None else binding.shaped(last))
        elif how == "pickup" and not (self._holds(port, binding, last, value) or _meets(binding, there, y, last)):
            way = "up" if (there > y) != binding.invert else "down"
            shown = f"{value:.4g}" if isinstance(value, float) else value
            return None, f"{binding.control.id} waits for {binding.to} ({shown}): move it {way}"
        self._taken[port, binding] = (x, y)
        return y, ""

    def note(self, port: str, control: Control, x: float) -> None:
        """A control stands here now, whatever it did."""
        self._last[port, control.key] = x

    def _holds(self, port: str, binding: Binding, last: float | None, value: Any) -> bool:
        """Whether the value is still the one this control gave, and the control where it was then."""
        taken = self._taken.get((port, binding))
        if taken is None or taken[0] != last:
            return False
        return params.find(binding.to).coerce(binding.number_at(taken[1])) == value


def _meets(binding: Binding, there: float, y: float, last: float | None) -> bool:
    crossed = last is not None and (binding.shaped(last) - there) * (y - there) <= 0
    return crossed or abs(y - there) <= binding.threshold


def _scaled(there: float, y: float, last: float | None) -> float:
    """The value moves so that it reaches an end together with its control; the first touch moves nothing."""
    if last is None or y == last:
        return there
    if y > last:
        return there + (y - last) * (1 - there) / (1 - last)
    return there + (y - last) * there / last
