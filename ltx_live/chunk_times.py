"""How long chunks take to make, learned from those that were made."""

from __future__ import annotations

from collections import deque
from statistics import fmean

NUM_TIMES = 8
FIXED_SHARE = 0.2  # of a chunk's time does not depend on its length (pocket probe: 1.3 s for 33, 2.0 s for 57 frames)

NUM_SURE = 4
"""Times after which the longest of a shape is believed; before, times are taken to scatter as those of others do."""


DOUBT = 1.25
"""What a mode that costs more than all before costs is a guess, and its inputs are encoded for the first time."""


class ChunkTimes:
    """How long chunks took, by (frames, work); what was not measured is estimated from what was.

    The first chunk of a shape in a new engine process warms it up: it counts only until there is a better one.
    """

    def __init__(self):
        self._times: dict[tuple[int, float], deque[float]] = {}
        self._warm: set[tuple[int, float]] = set()
        self._provisional: set[tuple[int, float]] = set()

    def engine_started(self) -> None:
        """A new engine process has everything to warm up again."""
        self._warm.clear()

    def add(self, num_frames: int, work: float, time_s: float) -> None:
        """A chunk of this shape took so long."""
        shape = num_frames, work
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

    def p95_s(self, num_frames: int, work: float) -> float | None:
        """95th percentile of the last 8 times, which is the longest of them; None before the first chunk.

        Between two shapes that were made it is interpolated; a longer one takes time in proportion, which is too much
        rather than too little; a shorter one saves all but FIXED_SHARE.
        """
        return self._estimate(num_frames, work, FIXED_SHARE)

    def bound_s(self, num_frames: int, work: float) -> float | None:
        """As `p95_s`, but one that is shorter than all that were made saves nothing, and more work than any is doubted.

        How much of a time is fixed differs by machine, and a cut that is late is seen, one that is early only waits.
        """
        time_s = self._estimate(num_frames, work, 1.0)
        most = max((each for _, each in self._times), default=work)
        return time_s if time_s is None or work <= most else DOUBT * time_s

    def _estimate(self, num_frames: int, work: float, fixed_share: float) -> float | None:
        if (num_frames, work) in self._times:
            return self._longest_s(self._times[num_frames, work])
        wanted = num_frames * work
        known = [(frames * each, self._longest_s(times)) for (frames, each), times in self._times.items()]
        less = max((each for each in known if each[0] <= wanted), default=None)
        more = min((each for each in known if each[0] >= wanted), default=None)
        if less is None:
            return None if more is None else more[1] * (fixed_share + (1 - fixed_share) * wanted / more[0])
        proportional_s = less[1] * wanted / less[0] if more is None else 0.0
        share = 0.0 if more is None else (wanted - less[0]) / max(1, more[0] - less[0])
        between_s = 0.0 if more is None else less[1] + share * (more[1] - less[1])
        return max(proportional_s, between_s, self._more_work_s(num_frames, work))

    def _more_work_s(self, num_frames: int, work: float) -> float:
        """A first guess for more work on as many frames as were made with less: in proportion. 0 where it is known."""
        same = {each: times for (frames, each), times in self._times.items() if frames == num_frames}
        if not same or max(same) >= work:
            return 0.0
        return self._longest_s(same[max(same)]) * work / max(same)

    def _longest_s(self, times: deque[float]) -> float:
        if len(times) >= NUM_SURE:
            return max(times)
        spreads = [max(each) / fmean(each) for each in self._times.values() if len(each) >= NUM_SURE]
        return max(max(times), fmean(times) * max(spreads, default=1.0))
