"""How many values a second a control may send: of those that come too soon the newest waits for its time."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

Value = TypeVar("Value")


@dataclass(slots=True)
class Pace:
    """Keeps time for every control, by a key of its own. Times are `time.perf_counter` seconds."""

    _next_s: dict[Hashable, float] = field(default_factory=dict)
    _waiting: dict[Hashable, tuple[float, object]] = field(default_factory=dict)

    def holds(self, key: Hashable, value: Value, rate_hz: float, time_s: float) -> bool:
        """Whether a value that has come must wait for `due`; a newer one takes its place."""
        if time_s < self._next_s.get(key, -math.inf):
            self._waiting[key] = rate_hz, value
            return True
        self._waiting.pop(key, None)
        self._next_s[key] = time_s + 1 / rate_hz
        return False

    def due(self, now_s: float) -> Iterator[Value]:
        """The values whose time has come."""
        for key, (rate_hz, value) in list(self._waiting.items()):
            if self._next_s[key] <= now_s:
                del self._waiting[key]
                self._next_s[key] = now_s + 1 / rate_hz
                yield value
