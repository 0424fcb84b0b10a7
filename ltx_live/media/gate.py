"""A noise gate: what is quieter than a threshold counts as silence."""

from __future__ import annotations

import numpy as np

from ltx_live.chunk import SAMPLE_RATE_HZ

OPEN_DB = -90.0
"""The threshold at and below which everything passes as it is."""

HYSTERESIS_DB = 6.0
"""It closes only where the sound is so much below the threshold, so that one that wavers about it does not chatter."""

HOLD_S, ATTACK_S, RELEASE_S = 0.1, 0.002, 0.05


class Gate:
    """Call `process` for block after block; `threshold_db` (dB of full scale, peak) may be set from another thread.

    A block is known whole before it is passed on, so what opens the gate within it has its beginning, too.
    """

    def __init__(self) -> None:
        self.threshold_db = OPEN_DB
        self._gain = 1.0
        self._held_s = 0.0

    def process(self, block: np.ndarray) -> np.ndarray:
        """The block (N, C) float32, faded in or out over ATTACK_S or RELEASE_S where the gate opens or closes."""
        threshold_db = self.threshold_db
        peak = float(np.abs(block).max(initial=0.0))
        level_db = 20 * np.log10(max(peak, 1e-9))
        if threshold_db <= OPEN_DB or level_db >= threshold_db:
            self._held_s = HOLD_S
        elif level_db < threshold_db - HYSTERESIS_DB:
            self._held_s -= len(block) / SAMPLE_RATE_HZ
        is_open = self._held_s > 0
        if self._gain == is_open:
            return block if is_open else np.zeros_like(block)
        step = 1 / ((ATTACK_S if is_open else -RELEASE_S) * SAMPLE_RATE_HZ)
        gains = np.clip(self._gain + step * np.arange(1, len(block) + 1, dtype=np.float32), 0, 1)  # (N,)
        self._gain = float(gains[-1])
        return block * gains[:, None]
