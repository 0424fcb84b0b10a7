"""Morphs: numbers on their way to a value, a little further with every tick."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ltx_live import params
from ltx_live.errors import ParameterError

MAX_SPAN = 1e6

_SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|sec|seconds?|beats?|bars?)?\s*")
_JUMPS = ("frame_rate", "prompts/")
"""A new frame rate begins a new take, and prompts have a way of their own (`prompts/morph`)."""


@dataclass(frozen=True, slots=True)
class Span:
    """A time in `seconds`, `beats` or `bars`."""

    amount: float = 0.0
    unit: str = "seconds"

    def left(self, passed: Passed) -> float:
        """What is left of it, in its own unit; bars count in beats, and less than 0 is late."""
        return self.total(passed.beats_per_bar) - (passed.seconds if self.unit == "seconds" else passed.beats)

    def total(self, beats_per_bar: int) -> float:
        """Its length in seconds or beats."""
        return self.amount * (beats_per_bar if self.unit == "bars" else 1)


@dataclass(slots=True)
class Passed:
    """Time that has gone by, in seconds and in beats; a resync of the beat does not turn it back."""

    seconds: float = 0.0
    beats: float = 0.0
    beats_per_bar: int = 4

    def add(self, seconds: float, values: Mapping[str, Any]) -> None:
        self.beats_per_bar = values["tempo/beats_per_bar"]
        self.seconds += seconds
        self.beats += seconds * values["tempo/bpm"] / 60


def parse_span(value: Any) -> Span:
    """`8` or `"8 s"` seconds, `"4 beats"`, `"2 bars"`. Raises ParameterError."""
    found = _SPAN.fullmatch(str(value)) if not isinstance(value, bool) else None
    if found is None or float(found[1]) > MAX_SPAN:
        raise ParameterError(f'{str(value)[:40]!r} is no time; write seconds (8), "4 beats" or "2 bars"')
    unit = found[2] or "seconds"
    return Span(float(found[1]), "seconds" if unit.startswith("s") else unit.rstrip("s") + "s")


def glides(name: str) -> bool:
    """Whether a parameter glides in a morph: a fractional number. All others switch at its start."""
    return params.find(name).kind == "float" and not name.startswith(_JUMPS)


@dataclass(slots=True)
class _Glide:
    start: float
    goal: float
    span: Span
    passed: Passed


class Glides:
    """The values on their way. `advance` gives where they are; one that is touched stays where it was put.

    What a morph does to the generation is no gesture: `soft` are the parameters whose values are taken up by whatever
    chunk comes next, until `asked` tells that one was asked for after the end of their way.
    """

    def __init__(self):
        self._ways: dict[str, _Glide] = {}
        self._arrived: set[str] = set()

    @property
    def soft(self) -> set[str]:
        """The step and chunk values that no cut is made for."""
        return {name for name in (*self._ways, *self._arrived) if params.find(name).tier in ("step", "chunk")}

    def start(self, goals: Mapping[str, float], values: Mapping[str, Any], span: Span) -> None:
        """Begin the way of these values, from where they are now."""
        self._ways |= {name: _Glide(values[name], goal, span, Passed()) for name, goal in goals.items()}

    def advance(self, seconds: float, values: Mapping[str, Any]) -> dict[str, float]:
        """The values after so much more time, `values` giving the tempo; of those that have moved."""
        moved = {}
        for name, way in list(self._ways.items()):
            way.passed.add(seconds, values)
            total, left = way.span.total(way.passed.beats_per_bar), way.span.left(way.passed)
            moved[name] = way.goal if left <= 0 else way.goal + (way.start - way.goal) * left / total
            if left <= 0:
                del self._ways[name]
                self._arrived.add(name)
        return moved

    def drop(self, names: Iterable[str]) -> None:
        """These go no further, and are gestures again."""
        for name in names:
            self._ways.pop(name, None)
            self._arrived.discard(name)

    def stop(self) -> None:
        """All stay where they are."""
        self._arrived |= self._ways.keys()
        self._ways.clear()

    def asked(self) -> None:
        """A chunk is made with the present values: what had arrived is a gesture again."""
        self._arrived.clear()
