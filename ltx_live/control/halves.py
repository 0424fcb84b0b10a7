"""Two 7-bit messages that are one 14-bit value: pairs of CCs where a mapping declares them, and NRPN."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

_NRPN_HIGH, _NRPN_LOW, _DATA_HIGH, _DATA_LOW = 99, 98, 6, 38  # MIDI 1.0, table of controller numbers


@dataclass(slots=True)
class Halves:
    """Joins halves by what they belong to. The last high half is kept, whatever comes between it and the low one."""

    _high: dict[Hashable, int] = field(default_factory=dict)
    _has_low: set[Hashable] = field(default_factory=set)

    def high(self, key: Hashable, half: int) -> int | None:
        """Take the upper seven bits; a value only of a controller that has never sent the lower ones."""
        self._high[key] = half
        if key in self._has_low:
            return None
        return half << 7 | (127 if half == 127 else 0)

    def low(self, key: Hashable, half: int) -> int | None:
        """Take the lower seven bits: the value, or None before any upper ones."""
        self._has_low.add(key)
        return None if key not in self._high else self._high[key] << 7 | half


@dataclass(slots=True)
class Nrpn:
    """Reads NRPN from the CCs of a channel: 99 and 98 choose the number, 6 and 38 bring its value."""

    _number: dict[Hashable, list[int | None]] = field(default_factory=dict)
    _halves: Halves = field(default_factory=Halves)

    def take(self, channel: Hashable, cc: int, value: int) -> tuple[int, int] | None:
        """The (number, value) that a CC completes; None for another, or while more is to come."""
        number = self._number.setdefault(channel, [None, None])
        if cc in (_NRPN_HIGH, _NRPN_LOW):
            number[cc == _NRPN_LOW] = value
            return None
        if cc not in (_DATA_HIGH, _DATA_LOW) or None in number or number == [127, 127]:  # 127, 127 chooses none
            return None
        chosen = number[0] << 7 | number[1]
        take = self._halves.high if cc == _DATA_HIGH else self._halves.low
        joined = take((channel, chosen), value)
        return None if joined is None else (chosen, joined)

    @staticmethod
    def speaks(cc: int) -> bool:
        """Whether a CC belongs to this protocol."""
        return cc in (_NRPN_HIGH, _NRPN_LOW, _DATA_HIGH, _DATA_LOW)
