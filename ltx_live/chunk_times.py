"""How long chunks take to make, learned from those that were made."""

from __future__ import annotations

from collections import deque
from statistics import fmean

NUM_TIMES = 8
FIXED_SHARE = 0.2  # of a chunk's time does not depend on its length (pocket probe: 1.3 s for 33, 2.0 s for 57 frames)

NUM_SURE = 4
"""Times after which the longest of a shape is believed; before, times are taken to scatter as those of others do."""


class ChunkTimes:
    """How long chunks took, by (frames, steps); what was not measured is estimated from what was.

    The first chunk of a shape in a new engine process warms it up: it counts only until there is a better one.
    """

    def __init__(self):
        self._times: dict[tuple[int, int], deque[float]] = {}
        self._warm: set[tuple[int, int]] = set()
        self._provisional: set[tuple[int, int]] = set()

    def engine_started(self) -> None:
        """A new engine process has everything to warm up again."""
        self._warm.clear()

    def add(self, num_frames: int, steps: int, time_s: float) -> None:
        """A chunk of this shape took so long."""
        shape = num_frames, steps
        times = self._times.setdefault(shape, deque(maxlen=NUM_TIMES))
        if shape in self._warm:
            if shape in self._provisional:
                self._provisional.remove(shape)
                times.clear()
            times.append(time_s)
            return
        self._warm.add(shape)
        if not times:
            self._provisional.add(shape)
            times.append(time_s)

    def p95_s(self, num_frames: int, steps: int) -> float | None:
        """95th percentile of the last 8 times, which is the longest of them; None before the first chunk.

        Between two shapes that were made it is interpolated; a longer one takes time in proportion, which is too much
        rather than too little; a shorter one saves all but FIXED_SHARE.
        """
        return self._estimate(num_frames, steps, FIXED_SHARE)

    def bound_s(self, num_frames: int, steps: int) -> float | None:
        """As `p95_s`, but one that is shorter than all that were made saves nothing.

        How much of a time is fixed differs by machine, and a cut that is late is seen, one that is early only waits.
        """
        return self._estimate(num_frames, steps, 1.0)

    def _estimate(self, num_frames: int, steps: int, fixed_share: float) -> float | None:
        if (num_frames, steps) in self._times:
            return self._longest_s(self._times[num_frames, steps])
        work = num_frames * steps
        known = [(frames * steps, self._longest_s(times)) for (frames, steps), times in self._times.items()]
        less = max((each for each in known if each[0] <= work), default=None)
        more = min((each for each in known if each[0] >= work), default=None)
        if less is None or more is None:
            if less is not None:
                return less[1] * work / less[0]
            return None if more is None else more[1] * (fixed_share + (1 - fixed_share) * work / more[0])
        share = (work - less[0]) / max(1, more[0] - less[0])
        return less[1] + share * (more[1] - less[1])

    def _longest_s(self, times: deque[float]) -> float:
        if len(times) >= NUM_SURE:
            return max(times)
        spreads = [max(each) / fmean(each) for each in self._times.values() if len(each) >= NUM_SURE]
        return max(max(times), fmean(times) * max(spreads, default=1.0))
