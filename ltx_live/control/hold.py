"""Transactions for senders that have no bundles: what comes between `/ltx/sys/hold 1` and `0` takes effect together."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from ltx_live.control.event import NOTICE, Event, Origin, Transaction

HOLD = "/ltx/sys/hold"
LONGEST_S = 10.0
MAX_EVENTS = 4096
MAX_SENDERS = 64


@dataclass
class _Held:
    origin: Origin
    until_s: float
    events: list[Event] = field(default_factory=list)


class Holds:
    """What each sender holds back. No hold lasts longer than 10 s or 4096 events: a lost 0 must not mute a sender."""

    def __init__(self) -> None:
        self._held: dict[Hashable, _Held] = {}

    def switch(self, event: Event) -> tuple[Event, ...]:
        """Take a `/ltx/sys/hold`: 1 or nothing begins, 0 gives what was held."""
        key = event.origin.reply_to
        first = event.args[0] if event.args else 1
        if first not in (0, None, "0"):
            if len(self._held) < MAX_SENDERS:
                self._held.setdefault(key, _Held(event.origin, event.time_s + LONGEST_S))
            return ()
        held = self._held.pop(key, None)
        return tuple(held.events) if held else ()

    def keep(self, events: list[Event]) -> bool:
        """Hold events of one sender back, if it asked for that; False where they are to take effect now."""
        held = self._held.get(events[0].origin.reply_to) if events else None
        if held is None:
            return False
        held.events += events
        if len(held.events) > MAX_EVENTS:
            held.until_s = 0.0
        return True

    def due(self, now_s: float) -> list[Transaction]:
        """What was held for too long, each with a notice."""
        late = [key for key, held in self._held.items() if held.until_s <= now_s] if self._held else []
        return [self._released(self._held.pop(key), now_s) for key in late]

    def _released(self, held: _Held, now_s: float) -> Transaction:
        text = f"{held.origin}: {HOLD} 1 without 0 for {LONGEST_S:g} s or {MAX_EVENTS} events; what waited is let go"
        return (*held.events, Event(NOTICE, (text,), held.origin, now_s))
