"""Ableton Link: the tempo and the beat that the programs of a network share. An extra: `ltx-live[link]`."""

from __future__ import annotations

import asyncio
import importlib.util
import time

from ltx_live.errors import DeviceError

MISSING = "Ableton Link is not here; get it with: pip install 'ltx-live[link]'"


def is_there() -> bool:
    """Whether Ableton Link is installed."""
    return importlib.util.find_spec("aalink") is not None


class LinkPeer:
    """This show as a peer of the session in its network. Raises DeviceError where Link is not installed.

    Who joins takes the tempo of those that are there; anybody may change it for all. The beat's place in the bar is
    the session's alone.
    """

    def __init__(self, bpm: float):
        if not is_there():
            raise DeviceError(MISSING)
        self._link = asyncio.run(_join(bpm))  # a loop is only needed to wait for beats, which is not done here
        self._link.enabled = True

    @property
    def num_peers(self) -> int:
        """How many others there are."""
        return self._link.num_peers

    def read(self, beats_per_bar: int) -> tuple[float, float, float]:
        """(`time.perf_counter` seconds, beat at that time, bpm); beats of a bar begin where those of the others do."""
        self._link.quantum = beats_per_bar
        now_s = time.perf_counter()
        return now_s, self._link.beat, self._link.tempo

    def set_bpm(self, bpm: float) -> None:
        """Change the tempo of the session."""
        self._link.tempo = bpm

    def close(self) -> None:
        """Leave the session."""
        self._link.enabled = False


async def _join(bpm: float):
    from aalink import Link

    return Link(bpm)
