"""Translates MIDI events to parameter events by mappings: pages, shift, presses short and long, takeover, glides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Mapping as Values
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltx_live import params
from ltx_live.control.binding import PRESSED, Binding, Control, Key, Options, Takeover, position, turned
from ltx_live.control.clock import Clock
from ltx_live.control.device import Device, Feedback
from ltx_live.control.event import NOTICE, Event, Origin, Transaction
from ltx_live.control.glide import Glides
from ltx_live.control.halves import Halves, Nrpn
from ltx_live.control.midi import is_like, numbered
from ltx_live.control.pace import Pace
from ltx_live.control.registry import as_number

PAGE = "midi/page"
Message = tuple[str, tuple[Any, ...]]
NextBeat = Callable[[str, float], float]
"""When, by `time.perf_counter`, the next beat of a grid is: (grid, from when on)."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """One mapping file: the bindings for the ports whose name matches `inputs` (globs; none = every port).

    Of ports with equal names only that at `index` (from 1) is served, where there is one. `device` are the facts of the
    controller, `controls` all that are known by a name. `files` are all that it was read from. `serves_device`: it was
    chosen, or made, for the ports it serves, and is no general one.
    """

    name: str
    inputs: tuple[str, ...]
    bindings: tuple[Binding, ...]
    index: int | None = None
    path: Path | None = None
    device: Device | None = None
    controls: tuple[Control, ...] = ()
    feedback: tuple[Feedback, ...] = ()
    clock: Clock = Clock()
    options: Options = Options()
    serves_device: bool = True
    files: tuple[Path, ...] = ()

    def fit(self, port: str) -> tuple[int, ...]:
        """How well a port, by its unique name, is the controller that this mapping is for: () = not, more = better."""
        if not self.inputs:
            return (0, 0)
        name, place = numbered(port)
        if self.index not in (None, place):
            return ()
        names = (port,) if self.index is None else (port, name)
        fitting = [len(glob) for glob in self.inputs if any(is_like(each, glob) for each in names)]
        return (1 if self.index is None else 2, max(fitting)) if fitting else ()

    def control_at(self, kind: str, channel: int, number: int | None) -> Control | None:
        """The named control of a place."""
        keys = keys_of(kind, channel, number)
        return next((control for key in keys for control in self.controls if control.key == key), None)


def keys_of(kind: str, channel: int, number: int | None) -> list[Key]:
    """The keys under which a control may be known, exact first."""
    return [(kind, c, n) for c in (channel, None) for n in dict.fromkeys((number, None))]


class Bound:
    """A mapping's bindings, found by the place of their control."""

    def __init__(self, mapping: Mapping | None):
        self.mapping = mapping
        self._by_key: dict[Key, list[Binding]] = {}
        for binding in mapping.bindings if mapping else ():
            self._by_key.setdefault(binding.control.key, []).append(binding)
        self.controls = {key: bindings[0].control for key, bindings in self._by_key.items()}
        self.shifts = {b.shift.key for b in mapping.bindings if b.shift} if mapping else set()
        self.has_nrpn = any(key[0] == "nrpn" for key in self._by_key)
        wide = [control for control in self.controls.values() if control.bits == 14 and control.kind == "cc"]
        self._wide = {
            (control.channel, number): control for control in wide for number in (control.number, control.lsb)
        }

    def at(self, kind: str, channel: int, number: int | None) -> list[Binding]:
        """The bindings of a control; those with an exact channel and number before those for any."""
        return next((self._by_key[key] for key in keys_of(kind, channel, number) if key in self._by_key), [])

    def wide(self, channel: int, number: int) -> Control | None:
        """The 14-bit control that a CC is half of."""
        return self._wide.get((channel, number)) or self._wide.get((None, number))


@dataclass(frozen=True, slots=True)
class Heard:
    """A message of a control: `x` is its position 0..1; `pressed` as it goes down, `down` while it is."""

    port: str
    place: tuple[str, int, int | None]
    raw: int
    x: float
    pressed: bool
    down: bool
    event: Event

    @property
    def label(self) -> str:
        return ":".join(str(part) for part in self.place if part is not None)


@dataclass(slots=True)
class _Press:
    """A control that is held and whose meaning depends on how long."""

    heard: Heard
    short: list[Binding]
    long: list[Binding]


@dataclass(slots=True)
class _State:
    """What is remembered of controls, by port and place."""

    x: dict[Any, float] = field(default_factory=dict)
    held: set[Any] = field(default_factory=set)
    down: dict[Any, list[Binding]] = field(default_factory=dict)
    presses: dict[Any, _Press] = field(default_factory=dict)
    before: dict[Any, Any] = field(default_factory=dict)
    waiting: list[tuple[str, float | None, Transaction]] = field(default_factory=list)


class Mapper:
    """Translates MIDI events by the mapping that fits their port best; remembers where controls stand."""

    def __init__(self, mappings: Sequence[Mapping]):
        self._takeover, self._glides, self._state = Takeover(), Glides(), _State()
        self._halves, self._nrpn, self._pace = Halves(), Nrpn(), Pace()
        self.replace(mappings)

    def replace(self, mappings: Sequence[Mapping]) -> None:
        """Use other mappings from now on; bindings that stay keep what they have taken over."""
        self._mappings = tuple(mappings)
        self._bound: dict[str, Bound] = {}

    def bound(self, port: str) -> Bound:
        """What is bound at a port: by the first of the mappings that fit it best."""
        if port not in self._bound:
            best = max(self._mappings, key=lambda mapping: mapping.fit(port), default=None)
            self._bound[port] = Bound(best if best is not None and best.fit(port) else None)
        return self._bound[port]

    def translate(self, event: Event, values: Values[str, Any]) -> tuple[Event, ...]:
        """Parameter events for a `/midi/...` event, its origin kept and the control's name added; others pass as is.

        `values` are the registry's: what toggles and pickup depend on. A control that does nothing gives a notice.
        """
        if not event.address.startswith("/midi/"):
            return (event,)
        bound = self.bound(event.origin.name)
        heard = self._hear(event, bound)
        if heard is None:
            return ()
        bindings = bound.at(*heard.place)
        keys = [(heard.port, key) for key in keys_of(*heard.place)]
        (self._state.held.update if heard.down else self._state.held.difference_update)(keys)
        if not bindings:
            is_shift = any(key in bound.shifts for _, key in keys)
            text = f"{event.origin}: {heard.label} = {heard.raw} is not mapped"
            return (Event(NOTICE, (text,), event.origin, event.time_s),) if heard.raw and not is_shift else ()
        meant = self._meant(heard, bindings, values)
        rate_hz = bindings[0].rate_hz if meant and all(binding.is_continuous for binding, _ in meant) else 0
        if rate_hz and self._pace.holds((heard.port, heard.place), meant, rate_hz, event.time_s):
            return ()
        events = self._do_all(meant, values)
        self._takeover.note(heard.port, bindings[0].control, heard.x)
        return events

    def hears_lesson(self, event: Event) -> bool:
        """Whether a `/midi/...` event is for learning: not one of the kinds that the port's mapping lets it ignore."""
        mapping = self.bound(event.origin.name).mapping
        return mapping is None or event.address.split("/")[3] not in mapping.options.learn_ignores

    def chosen(self, port: str, bindings: Iterable[Binding], values: Values[str, Any]) -> list[Binding]:
        """Of a control's bindings those that work now: the most special one, and what works beside others."""
        active = [b for b in bindings if self._is_active(port, b, values)]
        alone = [b for b in active if not b.also]
        return [*([max(alone, key=lambda b: b.rank)] if alone else []), *(b for b in active if b.also)]

    def tick(self, now_s: float, values: Values[str, Any], next_beat: NextBeat) -> list[Transaction]:
        """What is due without a message: long presses, glides, and what waited for the beat."""
        due: list[Transaction] = []
        for key, press in list(self._state.presses.items()):
            ripe = [b for b in press.long if now_s - press.heard.event.time_s >= b.long_s]
            if ripe:
                del self._state.presses[key]
                due.append(self._do_all([(binding, press.heard) for binding in ripe], values))
        for meant in self._pace.due(now_s):
            due.append(self._do_all(meant, values))
            binding, heard = meant[0]
            self._takeover.note(heard.port, binding.control, heard.x)
        due += [(event,) for event in self._glides.tick(now_s, values)]
        waiting, self._state.waiting = self._state.waiting, []
        for rule, due_s, events in waiting:
            due_s = next_beat(rule, events[0].time_s) if due_s is None else due_s
            if due_s <= now_s:
                due.append(events)
            else:
                self._state.waiting.append((rule, due_s, events))
        return [events for events in due if events]

    def _hear(self, event: Event, bound: Bound) -> Heard | None:
        """The message as that of a control; None for half of a value."""
        _, _, port, kind, *rest = event.address.split("/")
        channel, number = int(rest[0]), int(rest[1]) if len(rest) > 1 else None
        raw, bits = event.args[0], 7
        if kind == "cc" and bound.has_nrpn and Nrpn.speaks(number):
            told = self._nrpn.take((port, channel), number, raw)
            if told is None:
                return None
            kind, (number, raw) = "nrpn", told
        elif kind == "cc" and (wide := bound.wide(channel, number)) is not None:
            half = self._halves.low if wide.lsb == number else self._halves.high
            joined = half((port, channel, wide.number), raw)
            if joined is None:
                return None
            number, raw, bits = wide.number, joined, 14
        place = kind, channel, number
        x = position(kind, raw, bits)
        last, self._state.x[port, place] = self._state.x.get((port, place), 0.0), x
        down = raw > 0 if kind == "note" else x >= PRESSED
        toggles = any(binding.control.button == "toggle_hw" for binding in bound.at(*place))
        pressed = toggles or kind == "program" or (down and (kind == "note" or last < PRESSED or last == x))
        return Heard(port, place, raw, x, pressed, down, event)

    def _is_active(self, port: str, binding: Binding, values: Values[str, Any]) -> bool:
        if binding.page is not None and binding.page != values.get(PAGE, 1):
            return False
        if binding.shift is not None and (port, binding.shift.key) not in self._state.held:
            return False
        return all(values.get(name) == value for name, value in binding.when)

    def _meant(self, heard: Heard, bindings: list[Binding], values: Values[str, Any]) -> list[tuple[Binding, Heard]]:
        """What a message is for, and as what it is heard.

        What a control did when it went down is also told when it comes up, whatever page or shift is then. Where a long
        press means something of its own, the short one is done as the control comes up.
        """
        key = heard.port, heard.place
        press = self._state.presses.pop(key, None)
        if press is not None and not heard.down:
            return [(binding, press.heard) for binding in press.short]
        held = self._state.down.pop(key, None)
        if held is not None and not heard.down:
            return [(binding, heard) for binding in held]
        short = self.chosen(heard.port, [b for b in bindings if not b.long_s], values)
        long = self.chosen(heard.port, [b for b in bindings if b.long_s], values)
        if heard.pressed and long:
            self._state.presses[key] = _Press(heard, [b for b in short if b.is_press], long)
            short = [b for b in short if not b.is_press]
        if heard.down and any(b.action != "set" or b.control.is_button for b in short):
            self._state.down[key] = short
        return [(binding, heard) for binding in short]

    def _do_all(self, meant: list[tuple[Binding, Heard]], values: Values[str, Any]) -> tuple[Event, ...]:
        return tuple(event for binding, heard in meant for event in self._do(binding, heard, values))

    def _do(self, binding: Binding, heard: Heard, values: Values[str, Any]) -> list[Event]:
        """The events that a binding makes of a message; what waits for the beat is kept for `tick`."""
        messages = self._messages(binding, heard, values)
        control, event = binding.control, heard.event
        name = heard.label if control.id.startswith(f"{control.kind}:") else control.id
        origin = Origin(event.origin.kind, f"{event.origin.name} {name}", event.origin.reply_to)
        events = [Event(address, args, origin, event.time_s) for address, args in messages]
        if binding.quantise == "now" or not events:
            return events
        self._state.waiting.append((binding.quantise, None, tuple(events)))
        return [Event(NOTICE, (f"{name}: {binding.to} waits for the {binding.quantise}",), origin, event.time_s)]

    def _messages(self, binding: Binding, heard: Heard, values: Values[str, Any]) -> list[Message]:
        if binding.is_press:
            if binding.control.motion != "abs":
                return self._turn(binding, heard, values)
            return press_messages(binding, heard, values) if heard.pressed else []
        if binding.control.motion != "abs":
            return self._turn(binding, heard, values)
        if binding.action == "gate":
            return self._gate(binding, heard, values)
        if binding.action == "momentary" or binding.control.kind == "note":
            if binding.velocity and not heard.down and binding.action == "set":
                return []
            return [_set(binding, held_number(binding, heard))]
        place, waits = self._takeover.moved(heard.port, binding, heard.x, values)
        return [(NOTICE, (waits,))] if place is None else self._send(binding, binding.number_at(place), heard, values)

    def _gate(self, binding: Binding, heard: Heard, values: Values[str, Any]) -> list[Message]:
        """High, or as loud as the note, while it is held; afterwards what was before."""
        key = heard.port, binding
        if heard.down:
            if heard.pressed:
                self._state.before.setdefault(key, values[binding.to])
            return [_set(binding, held_number(binding, heard))]
        return [(f"/ltx/{binding.to}", (before,))] if (before := self._state.before.pop(key, None)) is not None else []

    def _turn(self, binding: Binding, heard: Heard, values: Values[str, Any]) -> list[Message]:
        """An encoder without ends turns its value on from where it is, within the binding's range."""
        row = params.find(binding.to)
        if row.kind == "trigger" or binding.action not in ("set", "inc"):
            return press_messages(binding, heard, values)
        start = self._glides.target(binding.to)
        start = as_number(row, values[binding.to]) if start is None else start
        low, high = sorted((binding.low, binding.high))
        return self._send(binding, min(high, max(low, start + turned(binding, heard.raw))), heard, values)

    def _send(self, binding: Binding, number: float, heard: Heard, values: Values[str, Any]) -> list[Message]:
        """A number for the binding's parameter, now or by a glide."""
        if not binding.smooth_s:
            return [_set(binding, number)]
        self._glides.aim(binding, number, heard.event, values)
        return []


def _set(binding: Binding, number: float) -> Message:
    return f"/ltx/{binding.to}", (number,)


def held_number(binding: Binding, heard: Heard) -> float:
    """The number of a key or button: the high end while it is down, with `velocity` by its loudness; else the low."""
    if not heard.down:
        x = 0.0
    else:
        x = binding.shaped(heard.raw / 127) if binding.velocity else 1.0
    return binding.number_at(1 - x if binding.invert and not (binding.velocity and heard.down) else x)


def press_messages(binding: Binding, heard: Heard, values: Values[str, Any]) -> list[Message]:
    """What a press sends."""
    match binding.action:
        case "trigger":
            return [(f"/ltx/{binding.to}", ())]
        case "goto" | "scene":
            return [(f"/ltx/{name}", (value,)) for name, value in binding.targets]
        case "solo":
            return [(f"/ltx/{name}", (value,)) for name, value in solo(binding)]
    row = params.find(binding.to)
    number = as_number(row, values[binding.to])
    low, high = sorted((binding.low, binding.high))
    if binding.action == "toggle":
        if binding.control.button == "toggle_hw":
            return [_set(binding, binding.high if heard.down else binding.low)]
        is_high = abs(number - binding.high) < abs(number - binding.low)
        return [_set(binding, binding.low if is_high else binding.high)]
    number += -binding.step if binding.invert else binding.step
    if binding.action == "inc":
        return [_set(binding, min(high, max(low, number)))]
    return [_set(binding, low if number > high + 1e-9 else high if number < low - 1e-9 else number)]


def solo(binding: Binding) -> list[tuple[str, float]]:
    """This one high and its neighbours of the same row low: `prompts/3/weight` among eight."""
    row = params.find(binding.to)
    names = [row.name.replace("/N/", f"/{index}/") for index in range(1, row.count + 1)]
    return [(name, binding.high if name == binding.to else binding.low) for name in names]
