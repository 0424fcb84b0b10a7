"""Values that glide to where a control has sent them, instead of jumping from one of its 128 steps to the next."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ltx_live import params
from ltx_live.control.binding import Binding
from ltx_live.control.event import Event, Origin
from ltx_live.control.registry import as_number

_ARRIVED = 0.002  # of the range


@dataclass(slots=True)
class _Glide:
    binding: Binding
    origin: Origin
    number: float
    target: float
    time_s: float
    value: Any  # as last seen in the registry


@dataclass(slots=True)
class Glides:
    """One glide a parameter: a low-pass of first order; it ends where it arrives or another hand sets the value."""

    _glides: dict[str, _Glide] = field(default_factory=dict)

    def aim(self, binding: Binding, target: float, event: Event, values: Mapping[str, Any]) -> None:
        """Go on from where the value is to `target`."""
        value = values[binding.to]
        glide = self._glides.get(binding.to)
        start = as_number(params.find(binding.to), value) if glide is None else glide.number
        self._glides[binding.to] = _Glide(binding, event.origin, start, target, event.time_s, value)

    def target(self, name: str) -> float | None:
        """Where a parameter is going."""
        glide = self._glides.get(name)
        return None if glide is None else glide.target

    def tick(self, now_s: float, values: Mapping[str, Any]) -> Iterator[Event]:
        """The steps that are due."""
        for name, glide in list(self._glides.items()):
            if values[name] != glide.value:
                del self._glides[name]
                continue
            part = 1 - math.exp(-max(0.0, now_s - glide.time_s) / glide.binding.smooth_s)
            glide.number += (glide.target - glide.number) * part
            glide.time_s = now_s
            if abs(glide.target - glide.number) <= _ARRIVED * abs(glide.binding.high - glide.binding.low):
                glide.number = glide.target
                del self._glides[name]
            glide.value = params.find(name).coerce(glide.number)
            if glide.value != values[name]:
                yield Event(f"/ltx/{name}", (glide.number,), glide.origin, now_s)
