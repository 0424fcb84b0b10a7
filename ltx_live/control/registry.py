"""The live values: every event ends here. Lives on the main thread, so it needs no locks."""

from __future__ import annotations

import math
import operator
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from ltx_live import params
from ltx_live.control import bank
from ltx_live.control.addresses import find_address
from ltx_live.control.aliases import ours_to_resolume
from ltx_live.control.arguments import as_text, number_in, number_of, short
from ltx_live.control.event import NOTICE, Event, Origin, Transaction
from ltx_live.control.patterns import NORM_ROOT, ROOT, compile_pattern
from ltx_live.control.prompt_hold import PromptHold
from ltx_live.errors import ParameterError
from ltx_live.params import Parameter

PONG, ERROR = "/ltx/sys/pong", "/ltx/error"
_REPEAT_S = 0.5  # a non-zero value repeated within this time is the same press of a trigger
_QUICK_REPEAT_S = 0.1  # the same for what is pressed in quick succession; 300 bpm are 0.2 s
_QUICK = ("tempo/tap", "tempo/nudge_up", "tempo/nudge_down", "mod/")
_MAX_PRESSES = 256
_FLOAT32_STEP = 2.0**-23
_PROGRAMS = ("osc", "web")  # which send back what they were told
_WITH_ANY_ARGUMENT = re.compile(
    r"sys/(ping|dump|subscribe|unsubscribe|quit|preset)|out/fade|(ref|audioin)/seek|track/\d+|lora/(drop|list)"
    r"|cue/(goto|list)|tempo/nudge"
)
"""Triggers that are no buttons: what comes with them is an argument, and every message counts."""
_MODULATORS = tuple(f"mod/{number}/active" for number in range(1, params.NUM_MODULATORS + 1))
_RELATIVE = {"+": operator.add, "-": operator.sub, "*": operator.mul}
_LANDING_WORDS = {"now": "", "chunk": " (next chunk)", "reload": " (needs a reload)"}


@dataclass(frozen=True, slots=True)
class Change:
    """A value that is different after a transaction; `known_to` is who sent just this value."""

    name: str
    old: Any
    new: Any
    tier: str
    landing: str | None
    known_to: Origin | None = None


@dataclass(frozen=True, slots=True)
class Fired:
    """A trigger that fired."""

    name: str
    args: tuple[Any, ...]
    tier: str
    landing: str | None


@dataclass(frozen=True, slots=True)
class Reply:
    """A message for the sender at `origin.reply_to`."""

    origin: Origin
    address: str
    args: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a transaction did. `messages` and `errors` are lines for HUD and log: what arrived and what it did.

    `bent` names the values that are not what was sent: clamped, snapped, given relatively or as a word.
    """

    changes: tuple[Change, ...] = ()
    fired: tuple[Fired, ...] = ()
    replies: tuple[Reply, ...] = ()
    messages: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    bent: tuple[str, ...] = ()

    @property
    def landing(self) -> str | None:
        """When the generation is to follow: `now` (cut), `chunk`, or None if it is not concerned."""
        landings = {item.landing for item in (*self.changes, *self.fired) if item.tier in ("step", "chunk")}
        return next((landing for landing in ("now", "chunk") if landing in landings), None)


@dataclass(slots=True)
class _Draft:
    """A transaction being applied."""

    before: dict[str, Any] = field(default_factory=dict)
    fired: list[Fired] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    known_to: dict[str, Origin | None] = field(default_factory=dict)

    def report(self, line: str, event: Event) -> None:
        self.messages.append(f"{_shown(event)}: {line}")


def full_range(row: Parameter) -> tuple[float, float] | None:
    """Lowest and highest number of a row, choices counted from 0; None for a row without (text, triggers)."""
    if row.kind in ("enum", "bool"):
        return 0, max(1, len(row.choices) - 1)
    return None if row.minimum is None or row.maximum is None else (row.minimum, row.maximum)


def as_number(row: Parameter, value: Any) -> float:
    """A value of a row as a number, a choice as its index."""
    return row.choices.index(value) if row.kind == "enum" else float(value)


def normalise(row: Parameter, value: Any) -> float:
    """A value's place in its row's range, 0..1, linear. Raises ParameterError for a row without a range."""
    low, high = _bounds(row)
    return (as_number(row, value) - low) / (high - low)


def denormalise(row: Parameter, position: float) -> float:
    """The number at a place of a row's range (0..1, linear); `Parameter.coerce` makes the value of it."""
    low, high = _bounds(row)
    return low + min(1.0, max(0.0, position)) * (high - low)


def _bounds(row: Parameter) -> tuple[float, float]:
    span = full_range(row)
    if span is None:
        raise ParameterError(f"{row.address}: has no range for {NORM_ROOT}; send {row.range_text} to {row.address}")
    return span


class Effects(Protocol):
    """What triggers and values set besides themselves, beyond what the registry knows; ParameterError refuses them."""

    def of_trigger(self, name: str, args: tuple[Any, ...], values: Mapping[str, Any]) -> dict[str, Any]: ...

    def of_value(self, name: str, value: Any, values: Mapping[str, Any]) -> dict[str, Any]: ...


class Registry:
    """Owns the live values, by concrete name.

    `epoch` counts what concerns the generation: it grows with every transaction that changes a step, chunk or reload
    value or fires a generation trigger. A chunk carries the epoch it was made with; `mark_applied` takes it back.
    `effects` may set more than was sent.
    """

    def __init__(
        self,
        values: Mapping[str, Any] | None = None,
        rng: random.Random | None = None,
        effects: Effects | None = None,
    ):
        self._effects = effects
        self._values = params.defaults() | dict(values or {})
        self._rng = rng or random.Random()
        self._presses: dict[tuple[Origin, str], float] = {}
        self._changed: dict[str, float] = {}  # the epoch of a change; infinite while it waits for prompt/apply
        self._hold = PromptHold()
        self._generation = self._output = None  # made when they are read: not at every message
        self.values = MappingProxyType(self._values)
        self.epoch = 0
        self.applied_epoch = 0

    def generation(self) -> Any:
        """A GenerationParams of the present values, without what waits for `prompt/apply`."""
        if self._generation is None:
            self._generation = params.snapshot(params.GenerationParams, self._values | self._hold.played)
        return self._generation

    def edited(self) -> Any:
        """A GenerationParams of the present values, with what waits."""
        return params.snapshot(params.GenerationParams, self._values) if self._hold.played else self.generation()

    def output(self) -> Any:
        """An OutputParams of the present values."""
        if self._output is None:
            self._output = params.snapshot(params.OutputParams, self._values)
        return self._output

    def mark_applied(self, epoch: int) -> None:
        """A chunk made with `epoch` is playing."""
        self.applied_epoch = max(self.applied_epoch, epoch)

    def renew(self, name: str) -> None:
        """What a generation value asks for has come only now: it is pending again, in an epoch of its own."""
        self.epoch += 1
        self._changed[name] = self.epoch

    def pending(self) -> tuple[str, ...]:
        """The names of generation values that no playing chunk has taken up yet."""
        return tuple(name for name, epoch in self._changed.items() if epoch > self.applied_epoch)

    def apply(self, transaction: Transaction) -> Outcome:
        """Apply events together, in order; what one of them does wrong is reported and does not stop the others."""
        draft = _Draft()
        for event in transaction:
            try:
                self._apply(event, draft)
            except ParameterError as error:
                draft.errors.append(str(error))
                draft.replies.append(Reply(event.origin, ERROR, ((event.alias or event.address)[:200], str(error))))
        before = draft.before.items()
        changes = tuple(self._change(name, old, draft) for name, old in before if self._values[name] != old)
        self._note(changes, draft.fired)
        replies = tuple(reply for reply in draft.replies if reply.origin.reply_to is not None)
        bent = tuple(name for name, origin in draft.known_to.items() if origin is None)
        return Outcome(changes, tuple(draft.fired), replies, tuple(draft.messages), tuple(draft.errors), bent)

    def _note(self, changes: tuple[Change, ...], fired: list[Fired]) -> None:
        """Count the epoch, and forget the snapshots that are no longer right."""
        released = self._hold.take(
            {change.name: change.old for change in changes}, [item.name for item in fired], self._values
        )
        waiting = self._hold.played
        concerning = [item for item in (*changes, *fired) if _concerns_generation(item) and item.name not in waiting]
        if concerning or released:
            self.epoch += 1
            names = [item.name for item in concerning if isinstance(item, Change)]
            self._changed.update(dict.fromkeys((*names, *released), self.epoch))
        self._changed.update(dict.fromkeys(waiting, math.inf))
        tiers = {change.tier for change in changes}
        if "frame" in tiers:
            self._output = None
        if released or tiers - {"frame"}:
            self._generation = None

    def _change(self, name: str, old: Any, draft: _Draft) -> Change:
        row = params.find(name)
        return Change(name, old, self._values[name], row.tier, row.landing, draft.known_to.get(name))

    def readable(self) -> Iterator[tuple[str, Parameter]]:
        """The names, with their rows, of the values that this show has."""
        for name in self._values:
            yield name, params.find(name)

    def _apply(self, event: Event, draft: _Draft) -> None:
        if event.address == NOTICE:
            draft.messages.append(str(event.args[0]))
            return
        name, row = find_address(event.address)
        if row.kind == "trigger":
            if self._presses_trigger(name, event):
                self._fire(name, row, event, draft)
        elif not event.args or event.args == ("?",):
            draft.replies.append(Reply(event.origin, event.alias or event.address, self._answer(name, row, event)))
        else:
            self._set(name, row, event, draft)

    def _answer(self, name: str, row: Parameter, event: Event) -> tuple[Any, ...]:
        value = self._values[name]
        if event.alias:
            _, value = ours_to_resolume(name, value) or ("", value)
        if event.address.startswith(NORM_ROOT):
            value = normalise(row, value)
        return value if isinstance(value, tuple) else ("none" if value is None else value,)

    def _presses_trigger(self, name: str, event: Event) -> bool:
        """Whether a trigger's event is a rising edge; 0 and repeated non-zero numbers are not."""
        first = event.args[0] if event.args else None
        if isinstance(first, str):
            first = number_in(first)
        if _WITH_ANY_ARGUMENT.fullmatch(name) or first is None or first is True:
            return True
        key = (event.origin, name)
        if not first:
            self._presses.pop(key, None)
            return False
        last = self._presses.pop(key, None)
        self._presses[key] = event.time_s
        while len(self._presses) > _MAX_PRESSES:
            del self._presses[next(iter(self._presses))]
        return last is None or event.time_s - last > (_QUICK_REPEAT_S if name.startswith(_QUICK) else _REPEAT_S)

    def _fire(self, name: str, row: Parameter, event: Event, draft: _Draft) -> None:
        effects = self._trigger_effects(name, event.args)
        if name == "sys/ping":
            draft.replies.append(Reply(event.origin, PONG, event.args))
        if name == "sys/dump":
            draft.replies.extend(self._dump(event))
        draft.fired.append(Fired(name, event.args, row.tier, row.landing))
        changed = {target: value for target, value in effects.items() if value != self._values[target]}
        done = [self._assign(target, value, draft) for target, value in changed.items()]
        draft.report(", ".join(done) or "done", event)

    def _trigger_effects(self, name: str, args: tuple[Any, ...]) -> dict[str, Any]:
        if name == "sys/panic":
            return {"out/blackout": True, "audio/mute": True} | dict.fromkeys(_MODULATORS, False)
        if name == "reseed":
            return {"seed": self._rng.randint(0, params.SEED_MAX)}
        effects = {} if self._effects is None else self._effects.of_trigger(name, args, self.values)
        return effects or bank.trigger_effects(name, self._values, self._rng)

    def _dump(self, event: Event) -> list[Reply]:
        pattern = event.args[0] if event.args and isinstance(event.args[0], str) else "*"
        try:
            wanted = compile_pattern(pattern.removeprefix(ROOT), across=True)
        except ValueError as error:
            raise ParameterError(f"{event.address}: {error}") from None
        replies = []
        for name, row in self.readable():
            if wanted.fullmatch(name):
                address = ROOT + name
                query = Event(address, (), event.origin, event.time_s)
                replies.append(Reply(event.origin, address, self._answer(name, row, query)))
        return replies

    def _set(self, name: str, row: Parameter, event: Event, draft: _Draft) -> None:
        value, is_as_sent = self._coerce(name, row, event)
        knows = {name: event.origin if is_as_sent else None}
        before = self._values[name]
        if value == before or (event.origin.kind in _PROGRAMS and _is_same(row, value, before)):
            draft.known_to |= knows
            draft.report(f"{name} is {short(value)}", event)
            return
        effects = bank.value_effects(name, self._values, value)
        if self._effects is not None:
            effects = effects | self._effects.of_value(name, value, self.values)
        changed = {target: new for target, new in {name: value, **effects}.items() if new != self._values[target]}
        done = [self._assign(target, new, draft) for target, new in changed.items()]
        draft.known_to |= knows
        draft.report(", ".join(done), event)

    def _assign(self, name: str, value: Any, draft: _Draft) -> str:
        old = self._values[name]
        draft.before.setdefault(name, old)
        draft.known_to.pop(name, None)
        self._values[name] = value
        row = params.find(name)
        landing = _LANDING_WORDS.get("reload" if row.tier == "reload" else row.landing or "", "")
        return f"{name} {short(old)} -> {short(value)}{landing}"

    def _coerce(self, name: str, row: Parameter, event: Event) -> tuple[Any, bool]:
        """The value that an event asks for, and whether it is the very value that was sent."""
        args = event.args
        if row.kind == "str":
            return as_text(row, args), True
        if row.kind == "floats":
            return row.coerce(list(args) if len(args) > 1 else args[0]), True
        on_norm = event.address.startswith(NORM_ROOT)
        combine = _RELATIVE.get(args[0]) if len(args) > 1 and isinstance(args[0], str) else None
        sent = number_of(row, args[1] if combine else args[0], must=on_norm or combine is not None)
        if combine:
            value = self._values[name]
            sent = combine(normalise(row, value) if on_norm else as_number(row, value), sent)
        place = sent
        sent = denormalise(row, place) if on_norm else sent
        value = row.coerce(sent)
        is_as_sent = sent in (value, as_number(row, value))
        if row.kind == "float" and isinstance(sent, (int, float)):
            is_as_sent = _is_same(row, value, sent)
        is_as_sent = is_as_sent and not (on_norm and not 0 <= place <= 1)
        return value, is_as_sent and combine is None


def _is_same(row: Parameter, one: Any, other: Any) -> bool:
    """Whether two values are one, as far as float32 can tell, as it is or as a place of the range.

    A value that a program was told and sends back must not be a change: it might cut.
    """
    if one == other or row.kind != "float":
        return one == other
    span = full_range(row) or (0.0, 0.0)
    return abs(one - other) <= _FLOAT32_STEP * max(span[1] - span[0], abs(one))


def _concerns_generation(item: Change | Fired) -> bool:
    """Editing the bank does not: its rows have neither a landing nor the reload tier."""
    return item.tier == "reload" or (item.tier in ("step", "chunk") and item.landing is not None)


def _shown(event: Event) -> str:
    words = " ".join([event.address[:80], *(short(arg) for arg in event.args[:8])])
    return f"{words} ({event.origin})"
