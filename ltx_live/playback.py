"""What changes many values at once, or by itself: snapshots, cues with their follow times, morphs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ltx_live import config, params
from ltx_live.control import cues as cue_list
from ltx_live.control import tempo_link
from ltx_live.control.cues import Cue
from ltx_live.control.event import Event, Origin, Transaction
from ltx_live.control.glides import Glides, Passed, Span, glides
from ltx_live.control.registry import Fired, Outcome, Reply
from ltx_live.control.snapshots import Snapshots
from ltx_live.errors import ParameterError

MORPH, FOLLOW = Origin("app", "morph"), Origin("app", "follow")
LIST = "/ltx/cue/list"


class Playback:
    """The registry's `effects`: it says what cues and snapshots set. `due` gives what happens by itself.

    `cue/current` and `cue/next` are live values, so they are seen, sent back and kept like any other. A change that
    a cue or a recall brings is one transaction; what glides to its value follows with the ticks.
    """

    def __init__(self, cues: Sequence[Cue] = (), snapshots: Snapshots | None = None):
        self.snapshots = snapshots or Snapshots()
        self.cues = tuple(cues)
        self._glides = Glides()
        self._follow: Span | None = None
        self._followed = Passed()
        self._late_s = 0.0  # by how much a follow time was over when it was seen: the next one is shorter by it
        self._now_s: float | None = None

    def begin(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What the cue values are at the start of a show, or with a new list; a cue that was reached waits anew."""
        current = self._known(values["cue/current"])
        standby = self._known(values["cue/next"]) if current or values["cue/next"] else next(iter(self.cues), None)
        self._wait_after(current)
        return {"cue/current": _label(current), "cue/next": _label(standby)}

    def replace(self, cues: Sequence[Cue], values: Mapping[str, Any]) -> dict[str, Any]:
        """Take another list; what `cue/current` and `cue/next` are then. A follow time that runs goes on."""
        before = self._known(values["cue/current"])
        is_over = before is not None and before.follow is not None and self._follow is None
        self.cues = tuple(cues)
        current, standby = self._known(values["cue/current"]), self._known(values["cue/next"])
        if standby is None:
            standby = cue_list.following(self.cues, current) if current else next(iter(self.cues), None)
        self._follow = current.follow if current and not is_over else None
        return {"cue/current": _label(current), "cue/next": _label(standby)}

    def of_trigger(self, name: str, args: tuple[Any, ...], values: Mapping[str, Any]) -> dict[str, Any]:
        """What a trigger of the groups `cue/` and `snap/`, or a preset, sets. Raises ParameterError."""
        match name.split("/"):
            case ["cue", "go"]:
                if not values["cue/next"]:
                    end = "the cue list is at its end" if self.cues else "there are no cues; load some with --cues FILE"
                    raise ParameterError(f"/ltx/cue/go: {end}")
                return self._play(cue_list.find(self.cues, values["cue/next"]), values)
            case ["cue", "back"]:
                return self._play(cue_list.before(self.cues, self._current(values)), values)
            case ["cue", "goto"]:
                if not args:
                    raise ParameterError("/ltx/cue/goto: send the number or the name of a cue")
                return self._play(cue_list.find(self.cues, args[0]), values)
            case ["cue", "stop"]:
                self._follow = None
                self._glides.stop()
            case ["sys", "preset"]:
                return config.preset(str(args[0]) if args else "")
            case ["snap", number, "save"]:
                self.snapshots.save(int(number), values)
            case ["snap", number, "recall"]:
                return self._recall(int(number), values)
        return {}

    def of_value(self, name: str, value: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        """What setting a value sets besides, or instead."""
        match name:
            case "cue/current" if value:
                cue = cue_list.find(self.cues, value)
                is_there = cue is self._known(values["cue/current"])
                return {name: cue.label} if is_there else self._play(cue, values)
            case "cue/next" if value:
                return {"cue/next": cue_list.find(self.cues, value).label}
            case "tempo/link" if value and not tempo_link.is_there():
                raise ParameterError(f"/ltx/tempo/link: {tempo_link.MISSING}")
            case "snap/xfade":
                return self.snapshots.between(value, values)
        return {}

    def due(self, now_s: float, values: Mapping[str, Any]) -> Iterator[Transaction]:
        """What happens by itself until now: values that glide, and the cue that follows when its time has come."""
        passed_s = 0.0 if self._now_s is None else max(0.0, now_s - self._now_s)
        self._now_s = now_s
        moved = self._glides.advance(passed_s, values)
        if moved:
            yield tuple(Event(f"/ltx/{name}", (value,), MORPH, now_s) for name, value in moved.items())
        if self._follow is None or not values["cue/follow"] or values["pause"]:
            return
        self._followed.add(passed_s, values)
        left = self._follow.left(self._followed)
        if left <= 0:
            late_s = -left if self._follow.unit == "seconds" else -left * 60 / values["tempo/bpm"]
            self._follow, self._late_s = None, late_s
            if values["cue/next"]:
                yield (Event("/ltx/cue/go", (), FOLLOW, now_s - late_s),)
            self._late_s = 0.0

    def heard(self, transaction: Transaction, outcome: Outcome) -> None:
        """What has been applied: a value that is touched glides no further."""
        if any(event.origin != MORPH for event in transaction):
            self._glides.drop(change.name for change in outcome.changes)

    def answer(self, fired: Fired, event: Event) -> Iterator[Reply]:
        """The replies to `cue/list`: (place, how many, number, name, note), one message for each cue."""
        if fired.name == "cue/list":
            for place, cue in enumerate(self.cues, 1):
                args = place, len(self.cues), f"{cue.number:g}", cue.name, cue.note
                yield Reply(event.origin, LIST, args)

    def soften(self, rules: dict[str, str]) -> dict[str, str]:
        """Landing rules without what glides: it comes with any chunk, and is no gesture."""
        soft = {params.field_name(_row_name(name)) for name in self._glides.soft}
        return {field: rule for field, rule in rules.items() if field not in soft} if soft else rules

    def asked(self) -> None:
        """A chunk is made with the present values."""
        self._glides.asked()

    def words(self, values: Mapping[str, Any]) -> str:
        """Where the list stands, for the display: "cue 3 Sunrise, next 4 Storm in 12 s"; "" without cues."""
        if not self.cues:
            return ""
        left = ""
        if self._follow is not None and values["cue/follow"] and values["cue/next"]:
            number = f"{max(0.0, self._follow.left(self._followed)):.0f}"
            unit = "s" if self._follow.unit == "seconds" else "beats" if number != "1" else "beat"
            left = f" in {number} {unit}"
        return f"cue {values['cue/current'] or '-'}, next {values['cue/next'] or '-'}{left}"

    def _play(self, cue: Cue, values: Mapping[str, Any]) -> dict[str, Any]:
        brought = cue_list.brings(cue, values, self.snapshots)
        at_once = self._begin(brought, values, cue.morph)
        self._wait_after(cue)
        self._followed.add(self._late_s, values)
        return at_once | {"cue/current": cue.label, "cue/next": _label(cue_list.following(self.cues, cue))}

    def _recall(self, index: int, values: Mapping[str, Any]) -> dict[str, Any]:
        brought, span = self.snapshots.recalled(index, values), Span(values["snap/morph"])
        way = cue_list.prompt_way(brought, span, values["tempo/beats_per_bar"]) if span.amount else {}
        return self._begin(brought | way, values, span)

    def _begin(self, brought: Mapping[str, Any], values: Mapping[str, Any], span: Span) -> dict[str, Any]:
        """Let glide what glides; what is set at once."""
        self._glides.drop(brought)
        gliding = {name: value for name, value in brought.items() if span.amount and glides(name)}
        self._glides.start({name: goal for name, goal in gliding.items() if goal != values[name]}, values, span)
        return {name: value for name, value in brought.items() if name not in gliding}

    def _wait_after(self, cue: Cue | None) -> None:
        self._follow = None if cue is None else cue.follow
        self._followed = Passed()

    def _current(self, values: Mapping[str, Any]) -> Cue:
        if not values["cue/current"]:
            raise ParameterError("/ltx/cue/back: no cue was played yet")
        return cue_list.find(self.cues, values["cue/current"])

    def _known(self, label: str) -> Cue | None:
        try:
            return cue_list.find(self.cues, label)
        except ParameterError:
            return None


def _label(cue: Cue | None) -> str:
    return "" if cue is None else cue.label


def _row_name(name: str) -> str:
    """The table's name of a concrete one: `lora/2/strength` -> `lora/N/strength`."""
    return params.find(name).name
