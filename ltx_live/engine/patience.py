"""How long an engine process may be silent before it counts as hung."""

from __future__ import annotations

LOADING_LIMIT_S = 60.0  # without a message while it loads again
SHORTEST_LIMIT_S = 10.0  # without a message at work, once it has made a chunk
GAP_FACTOR = 10  # what is hung has been silent for so many times the longest gap between messages


class Patience:
    """Learns from every gap between messages. Before the first chunk is made, the limit at work is `first_s`."""

    def __init__(self, first_s: float):
        self.has_made_chunk = False
        self._first_s = first_s
        self._longest_loading_s = self._longest_working_s = 0.0

    def learn(self, gap_s: float, is_loading: bool) -> None:
        """A message came after so much silence."""
        if is_loading:
            self._longest_loading_s = max(self._longest_loading_s, gap_s)
        else:
            self._longest_working_s = max(self._longest_working_s, gap_s)

    def limit_s(self, is_loading: bool) -> float:
        """Silence after which a process that loads again, or is at work, is hung."""
        if is_loading:
            return max(LOADING_LIMIT_S, GAP_FACTOR * self._longest_loading_s)
        if not self.has_made_chunk:
            return self._first_s
        return max(SHORTEST_LIMIT_S, GAP_FACTOR * self._longest_working_s)
