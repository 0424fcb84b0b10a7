"""Figures of the session for the HUD and the benches."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ltx_live.chunk import SAMPLE_RATE_HZ, Chunk
from ltx_live.chunk_times import NUM_TIMES


@dataclass(slots=True)
class Statistics:
    """`chunk_time_s` is T, the 95th percentile (the longest) of the last 8 times of the last chunk's shape, its warm-up
    left out; `real_time_factor` is new seconds per second of work over the last chunks. `landing_s` is in how many
    seconds the newest gesture will be heard, None when there is none under way; `dropped_s` was made but cut away.
    `gpu_bytes` of GPU memory were in use after the last chunk, None without a GPU.
    """

    num_chunks: int = 0
    num_underruns: int = 0
    num_failed: int = 0
    num_deaths: int = 0
    num_cancelled: int = 0
    num_prompts: int = 0
    num_cuts: int = 0
    dropped_s: float = 0.0
    chunk_time_s: float = 0.0
    real_time_factor: float = 0.0
    landing_s: float | None = None
    gpu_bytes: int | None = None
    _last: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=NUM_TIMES))

    def add(self, chunk: Chunk, took_s: float, dropped_s: float) -> None:
        """A chunk was made in so much time, and cut away so much."""
        self.num_chunks += 1
        self.num_cuts += dropped_s > 0
        self.dropped_s += dropped_s
        self.gpu_bytes = chunk.gpu_bytes
        self._last.append(((chunk.end - chunk.cut) / SAMPLE_RATE_HZ, took_s))
        new_s, work_s = map(sum, zip(*self._last, strict=True))
        self.real_time_factor = new_s / work_s
