"""One row of the table of live parameters, and what it makes of what a performer sends."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ltx_live.errors import ParameterError

Kind = Literal["float", "int", "bool", "str", "enum", "floats", "trigger"]
Tier = Literal["frame", "step", "chunk", "reload"]
Landing = Literal["now", "chunk"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row of the table: a live value or a trigger, reached as `/ltx/` + name.

    `count` > 0 makes it a row for the indices 1..count, written `N` in the name. Triggers have no value and fire
    on a rising edge. `check` makes a text what it is to be, or refuses it.
    """

    name: str
    kind: Kind
    default: Any
    tier: Tier
    doc: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""
    landing: Landing | None = None
    snap: Callable[[float], int] | None = None
    check: Callable[[str], str] | None = None
    count: int = 0

    @property
    def address(self) -> str:
        return f"/ltx/{self.name}"

    @property
    def range_text(self) -> str:
        """The range in words, for tables and messages."""
        if self.kind == "enum":
            return ", ".join(self.choices)
        if self.kind == "bool":
            return "0 or 1"
        if self.minimum is None and self.maximum is None:
            return {"str": "text", "floats": "descending list to 0", "trigger": "trigger"}.get(self.kind, "any")
        low = "" if self.minimum is None else f"{self.minimum:g}"
        high = "" if self.maximum is None else f"{self.maximum:g}"
        return f"{low} to {high}" if low and high else (f">= {low}" if low else f"<= {high}")

    def coerce(self, value: Any) -> Any:
        """The value this parameter takes for what a performer sent: converted, clamped and snapped.

        Numbers are clamped, never rejected; numeric text counts as a number; an enum is given by name or index.
        Raises ParameterError for what cannot be understood (text for a number, NaN, an unknown choice).
        """
        if self.kind == "str":
            text = value if isinstance(value, str) else ("" if value is None else f"{value:g}")
            return text if self.check is None else self.check(text)
        if self.kind == "floats":
            return self._coerce_floats(value)
        if self.kind == "enum":
            return self._coerce_choice(value)
        if value is None:
            value = 0  # OSC's nil, and "null" of the specification
        number = self._coerce_number(value)
        if self.kind == "bool":
            return number >= 0.5
        if self.minimum is not None:
            number = max(self.minimum, number)
        if self.maximum is not None:
            number = min(self.maximum, number)
        if self.snap is not None:
            return self.snap(number)
        return round(number) if self.kind == "int" else float(number)

    def _coerce_number(self, value: Any) -> float:
        if isinstance(value, str):
            words = {"true": 1.0, "on": 1.0, "yes": 1.0, "false": 0.0, "off": 0.0, "no": 0.0, "none": 0.0, "null": 0.0}
            try:
                value = words.get(value.strip().lower()) if value.strip().lower() in words else float(value)
            except ValueError:
                raise ParameterError(f"{self.address}: '{value}' is not a number; send {self.range_text}") from None
        if not isinstance(value, (int, float)) or math.isnan(value):
            raise ParameterError(f"{self.address}: cannot use {value!r}; send {self.range_text}")
        return float(value)

    def _coerce_choice(self, value: Any) -> str:
        if isinstance(value, str) and value in self.choices:
            return value
        try:
            return self.choices[min(len(self.choices) - 1, max(0, round(self._coerce_number(value))))]
        except (ParameterError, OverflowError):
            raise ParameterError(f"{self.address}: '{value}' is not one of {', '.join(self.choices)}") from None

    def _coerce_floats(self, value: Any) -> tuple[float, ...] | None:
        if isinstance(value, str):
            value = [part for part in re.split(r"[,\s]+", value.strip().strip("[]")) if part]
            if value in ([], ["none"]):
                return None
        if value is None:
            return None
        items = value if isinstance(value, (list, tuple)) else [value]
        numbers = tuple(self._coerce_number(item) for item in items)
        descends = all(a > b for a, b in zip(numbers, numbers[1:], strict=False))
        if len(numbers) < 2 or not descends or numbers[-1] != 0 or numbers[0] > 1:
            raise ParameterError(f"{self.address}: {list(numbers)} must descend to 0 and start at most at 1")
        return numbers
