"""`/ltx/out/fade level seconds`: leads the master to a level in its own time; whoever touches the master takes over."""

from __future__ import annotations

import math
from typing import Any

from ltx_live import params
from ltx_live.control.event import Event, Origin
from ltx_live.errors import ParameterError

MASTER = "out/master"
ORIGIN = Origin("app", "fade")
DEFAULT_S = 2.0
LONGEST_S = 3600.0


class Fade:
    """At most one fade; `step` gives its events."""

    def __init__(self) -> None:
        self._path: tuple[float, float, float, float] | None = None  # level and time of its start and of its end

    def start(self, args: tuple[Any, ...], level: float, now_s: float) -> None:
        """Begin with the master at `level`; `args` are the level to reach and seconds. Raises ParameterError."""
        if not args:
            raise ParameterError("/ltx/out/fade: send a level and seconds, such as 0 4")
        target = params.find(MASTER).coerce(args[0])
        try:
            seconds = float(args[1]) if len(args) > 1 else DEFAULT_S
        except (TypeError, ValueError):
            seconds = math.nan
        if not 0 <= seconds <= LONGEST_S:
            raise ParameterError(f"/ltx/out/fade: cannot take {args[1]!r} as seconds; send 0 to {LONGEST_S:g}")
        self._path = level, now_s, target, now_s + seconds

    def stop(self) -> None:
        """Leave the master where it is."""
        self._path = None

    def step(self, now_s: float) -> tuple[Event, ...]:
        """What the master is to be now; nothing where no fade is under way."""
        if self._path is None:
            return ()
        start, start_s, target, end_s = self._path
        if now_s >= end_s:
            self.stop()
            level = target
        else:
            level = start + (target - start) * (now_s - start_s) / (end_s - start_s)
        return (Event(f"/ltx/{MASTER}", (level,), ORIGIN, now_s),)
