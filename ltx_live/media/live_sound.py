"""The newest sound of a live input, and when it was captured."""

from __future__ import annotations

import numpy as np

from ltx_live.chunk import SAMPLE_RATE_HZ

KEPT_S = 60
"""How much is kept: 23 MB."""

_NUM_TIMES = 64
_MARGIN = SAMPLE_RATE_HZ // 2  # of the oldest: a reader may be that slow


class LiveSound:
    """A ring that an input's callback writes and the show reads, addressed by the input's own samples since the start.

    The callback allocates nothing, and publishes what it wrote by one assignment. `num_xruns` counts the times at which
    the input lost samples.
    """

    def __init__(self) -> None:
        self.num_samples = 0
        self.num_xruns = 0
        self._ring = np.zeros((KEPT_S * SAMPLE_RATE_HZ, 2), np.float32)
        self._starts_s = np.zeros(_NUM_TIMES)  # when sample 0 was captured, as each of the last blocks tells it
        self._num_times = 0

    def write(self, block: np.ndarray, captured_s: float) -> None:
        """Append (N, 1 or 2) float32, shorter than the ring; its first sample was captured at `captured_s`."""
        start = self.num_samples % len(self._ring)
        num_first = min(len(block), len(self._ring) - start)
        self._ring[start : start + num_first] = block[:num_first]
        self._ring[: len(block) - num_first] = block[num_first:]
        self._starts_s[self._num_times % _NUM_TIMES] = captured_s - self.num_samples / SAMPLE_RATE_HZ
        self._num_times += 1
        self.num_samples += len(block)

    def reopened(self) -> None:
        """Another stream goes on with the ring: what was known of its clock is over."""
        self._num_times = 0

    def position_at(self, now_s: float) -> float | None:
        """The sample that is captured at `now_s` (time.perf_counter); None before anything was.

        The median of the last blocks' times: some are told late.
        """
        num = min(self._num_times, _NUM_TIMES)
        return (now_s - float(np.median(self._starts_s[:num]))) * SAMPLE_RATE_HZ if num else None

    def read(self, position: int, num_samples: int) -> np.ndarray:
        """(num_samples, 2) from sample `position` on; silence where nothing was captured yet, or is kept no more."""
        out = np.zeros((num_samples, 2), np.float32)
        newest = self.num_samples
        oldest = max(0, newest - len(self._ring) + _MARGIN)
        low, high = max(position, oldest), min(position + num_samples, newest)
        while low < high:
            at = low % len(self._ring)
            part = self._ring[at : at + high - low]
            out[low - position : low - position + len(part)] = part
            low += len(part)
        return out
