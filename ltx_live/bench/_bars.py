"""Figures beside the bars that they must reach, printed alike by every benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """A measured value and its bar: the least that is good, or with `is_most` the most."""

    title: str
    value: float
    bar: float
    unit: str = ""
    is_most: bool = False

    @property
    def is_met(self) -> bool:
        return self.value <= self.bar if self.is_most else self.value >= self.bar

    def __str__(self) -> str:
        sign = "<=" if self.is_most else ">="
        verdict = "met" if self.is_met else "MISSED"
        return f"{self.title:<52} {self.value:9.3f} {self.unit:<5} bar {sign} {self.bar:g}  {verdict}"


def print_bars(name: str, bars: Sequence[Bar]) -> int:
    """Print a line per bar; 0 where all are met, else 1."""
    print(f"ltx-live bench {name}")
    for bar in bars:
        print(f"  {bar}")
    return 0 if all(bar.is_met for bar in bars) else 1
