"""Which MIDI clock leads the tempo, and what its start means: the table `[clock]` of mapping files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ltx_live.control.event import Event
from ltx_live.control.midi import CLOCK, is_like


@dataclass(frozen=True, slots=True)
class Clock:
    """What a mapping says of clocks: whether its own port's may lead, or only those of the ports `inputs` (globs).

    `start_resync`: start and continue are both beat one of bar one, or (False) neither; without it (None) start is beat
    one, and continue goes on where the clock was stopped.
    """

    use: bool = True
    inputs: tuple[str, ...] = ()
    start_resync: bool | None = None

    def heard(self, event: Event) -> tuple[Event, ...]:
        """A clock's event as the tempo is to take it."""
        if self.start_resync is None or event.address not in (f"{CLOCK}start", f"{CLOCK}continue"):
            return (event,)
        return (replace(event, address=f"{CLOCK}start"),) if self.start_resync else ()


def clock_of(port: str, own: Clock, others: Iterable[Clock]) -> Clock | None:
    """What is said of a port's clock, by its own mapping and those of the controllers that are there; None = ignore it.

    Where any of them names the inputs to follow, no other is followed.
    """
    if not own.use:
        return None
    naming = [clock for clock in (own, *others) if clock.inputs]
    if not naming:
        return own
    return next((clock for clock in naming if any(is_like(port, glob) for glob in clock.inputs)), None)
