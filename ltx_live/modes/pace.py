"""A mode that is too slow for real time runs with fewer steps."""

from __future__ import annotations

from collections.abc import Callable

LEAST_FACTOR = 1.1
"""Times real time that a mode must be made at, else it gets fewer steps."""

SAFE_FACTOR = 1.25
"""Times real time that it must promise at one step more, to get it back."""

FEWEST_STEPS = 3
NUM_SURE = 2
"""Chunks in a row that must be too slow, or fast enough for a step more."""


class Pace:
    """Counts the steps of modes that cost more than plain text: with a reference, a speaker or live LoRAs.

    `made` learns from every chunk how many times faster than real time it was made; `steps` is how many of the wanted
    ones can be kept up. Another mode begins with all of them, or where it is expected to be too slow with what is safe.
    """

    def __init__(self) -> None:
        self._mode: object = None
        self._steps: int | None = None
        self._num_slow = self._num_fast = 0

    def steps(self, mode: object, wanted: int, expected: Callable[[], float | None] = lambda: None) -> int:
        """Steps for the next chunk; `mode` says what makes it cost more, None for nothing.

        `expected()` is how many times faster than real time it would be made with the wanted ones; None = not known.
        """
        if mode != self._mode:
            self._mode, self._steps = mode, None
            self._num_slow = self._num_fast = 0
            factor = None if mode is None else expected()
            if factor is not None and factor < LEAST_FACTOR:
                self._steps = max(FEWEST_STEPS, int(wanted * factor / SAFE_FACTOR))
        if self._steps is None or mode is None:
            return wanted
        return min(wanted, self._steps)

    def made(self, mode: object, steps: int, wanted: int, factor: float) -> None:
        """A chunk of `steps` steps, where `wanted` were asked for, was made `factor` times faster than real time."""
        if mode is None or mode != self._mode:
            return
        self._num_slow = self._num_slow + 1 if factor < LEAST_FACTOR else 0
        if factor < 1:  # the next underrun is near
            self._num_slow = NUM_SURE
        is_fast = steps < wanted and factor * steps / (steps + 1) > SAFE_FACTOR
        self._num_fast = self._num_fast + 1 if is_fast else 0
        if self._num_slow >= NUM_SURE and steps > FEWEST_STEPS:
            self._steps = max(FEWEST_STEPS, min(steps - 1, int(steps * factor / LEAST_FACTOR)))
            self._num_slow = 0
        elif self._num_fast >= NUM_SURE:
            self._steps, self._num_fast = steps + 1, 0
