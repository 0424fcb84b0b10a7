"""What MIDI controls do: bindings with curves and takeover, and the translation of MIDI events to parameter events."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Sequence
from collections.abc import Mapping as Values
from dataclasses import dataclass
from typing import Any

from ltx_live import params
from ltx_live.control.event import NOTICE, Event, Origin
from ltx_live.control.registry import as_number

KINDS = ("cc", "note", "pitchbend", "program", "aftertouch", "polytouch")
ACTIONS = ("set", "toggle", "trigger", "inc")
TAKEOVERS = ("jump", "pickup")

PICKUP_THRESHOLD = 3 / 128
"""Distance, as a fraction of the range, at which a control takes a value over. Source: Mixxx `softtakeover.cpp`."""

_CURVE_BASE = 20.0
CURVES: dict[str, Callable[[float], float]] = {
    "lin": lambda x: x,
    "log": lambda x: math.log1p(x * (_CURVE_BASE - 1)) / math.log(_CURVE_BASE),
    "exp": lambda x: (_CURVE_BASE**x - 1) / (_CURVE_BASE - 1),
    "s": lambda x: x * x * (3 - 2 * x),
}
"""Shapes from 0..1 to 0..1 that keep both ends: `exp` starts slowly, `log` is its inverse, `s` does both."""


@dataclass(frozen=True, slots=True)
class Control:
    """A knob, key or fader of a controller; `channel` (1..16) or `number` None means any."""

    id: str
    kind: str
    channel: int | None
    number: int | None

    @property
    def key(self) -> tuple[str, int | None, int | None]:
        return self.kind, self.channel, self.number


@dataclass(frozen=True, slots=True)
class Binding:
    """What one control does to the parameter `to`; `low` and `high` are in the parameter's own unit."""

    control: Control
    to: str
    action: str = "set"
    low: float = 0.0
    high: float = 1.0
    curve: str = "lin"
    invert: bool = False
    takeover: str = "jump"
    step: float = 1.0


@dataclass(frozen=True, slots=True)
class Mapping:
    """One mapping file: the bindings for the ports whose name matches `inputs` (globs; none = every port)."""

    name: str
    inputs: tuple[str, ...]
    bindings: tuple[Binding, ...]

    def matches(self, port: str) -> bool:
        """Whether a port, by its cleaned name, is the controller that this mapping is for."""
        return not self.inputs or any(fnmatch.fnmatchcase(port.lower(), glob.lower()) for glob in self.inputs)

    def bound_to(self, kind: str, channel: int, number: int | None) -> list[Binding]:
        """The bindings of a control; those with an exact channel and number before those for any."""
        keys = [(kind, c, n) for c in (channel, None) for n in dict.fromkeys((number, None))]
        return next((found for key in keys if (found := [b for b in self.bindings if b.control.key == key])), [])


class Mapper:
    """Translates MIDI events by the first of its mappings that matches their port; remembers where controls stand."""

    def __init__(self, mappings: Sequence[Mapping]):
        self._mappings = tuple(mappings)
        self._positions: dict[tuple[str, Binding], float] = {}
        self._taken: dict[tuple[str, Binding], float] = {}
        self._raw: dict[str, int] = {}

    def translate(self, event: Event, values: Values[str, Any]) -> tuple[Event, ...]:
        """Parameter events for a `/midi/...` event, its origin kept and the control's name added; others pass as is.

        `values` are the registry's: what toggles and pickup depend on. A control that does nothing gives a notice.
        """
        if not event.address.startswith("/midi/"):
            return (event,)
        _, _, port_id, kind, *rest = event.address.split("/")
        channel, number = int(rest[0]), int(rest[1]) if len(rest) > 1 else None
        raw = event.args[0]
        pressed = self._is_press(event.address, kind, raw)
        label = ":".join([kind, *rest])
        mapping = next((m for m in self._mappings if m.matches(event.origin.name)), None)
        bindings = mapping.bound_to(kind, channel, number) if mapping else []
        if not bindings:
            text = f"{event.origin}: {label} = {raw} is not mapped"
            return (Event(NOTICE, (text,), event.origin, event.time_s),) if raw else ()
        events = []
        for binding in bindings:
            name = label if binding.control.id.startswith(f"{kind}:") else binding.control.id
            origin = Origin(event.origin.kind, f"{event.origin.name} {name}", event.origin.reply_to)
            for address, args in self._act(port_id, binding, position(kind, raw), pressed, values):
                events.append(Event(address, args, origin, event.time_s))
        return tuple(events)

    def _is_press(self, address: str, kind: str, raw: int) -> bool:
        """Whether a button went down: any program, a note with velocity, a CC that reaches 64 or repeats its value."""
        last = self._raw.get(address, 0)
        self._raw[address] = raw
        if kind == "program":
            return True
        if kind == "note":
            return raw > 0
        return raw >= 64 and (last < 64 or last == raw)

    def _act(
        self, port_id: str, binding: Binding, x: float, pressed: bool, values: Values[str, Any]
    ) -> list[tuple[str, tuple[Any, ...]]]:
        address = f"/ltx/{binding.to}"
        if binding.action == "set":
            return self._set(port_id, binding, x, values)
        if not pressed:
            return []
        if binding.action == "toggle":
            return [(address, (int(not values[binding.to]),))]
        if binding.action == "inc":
            return [(address, ("-" if binding.invert else "+", binding.step))]
        return [(address, ())]

    def _set(self, port_id: str, binding: Binding, x: float, values: Values[str, Any]) -> list[tuple[str, tuple]]:
        y = CURVES[binding.curve](1 - x if binding.invert else x)
        key = (port_id, binding)
        if binding.takeover == "pickup":
            waiting = self._waits(key, y, values[binding.to])
            self._positions[key] = y
            if waiting:
                return [(NOTICE, (waiting,))]
            self._taken[key] = y
        return [(f"/ltx/{binding.to}", (_value_at(binding, y),))]

    def _waits(self, key: tuple[str, Binding], y: float, value: Any) -> str | None:
        """What to tell when a control must not move its parameter yet; None when it holds, meets or crosses it."""
        binding, row = key[1], params.find(key[1].to)
        taken, last = self._taken.get(key), self._positions.get(key)
        if taken is not None and row.coerce(_value_at(binding, taken)) == value:
            return None
        there = min(1.0, max(0.0, (as_number(row, value) - binding.low) / (binding.high - binding.low)))
        crossed = last is not None and (last - there) * (y - there) <= 0
        if crossed or abs(y - there) <= PICKUP_THRESHOLD:
            return None
        way = "up" if (there > y) != binding.invert else "down"
        shown = f"{value:.4g}" if isinstance(value, float) else value
        return f"{binding.control.id} waits for {binding.to} ({shown}): move it {way}"


def position(kind: str, raw: int) -> float:
    """Where a control stands, 0..1; the middle value of a continuous one (64, or 8192 of a bend) is exactly 0.5."""
    top = 16383 if kind == "pitchbend" else 127
    middle = (top + 1) // 2
    if kind in ("program", "note"):
        return raw / top
    return raw / (2 * middle) if raw <= middle else 0.5 + (raw - middle) / (2 * (top - middle))


def _value_at(binding: Binding, y: float) -> float:
    return binding.low + y * (binding.high - binding.low)
