"""What moves by itself at frame rate: modulators, and the signals of the sound that they follow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ltx_live.control.modulators import Modulators
from ltx_live.media.signals import Signals, Stream
from ltx_live.stage.playlist import EMPTY, Playlist, read
from ltx_live.tempo import Tempo


class Reaction:
    """Call `take` when values have changed, `update` once a tick, then `apply` to what is drawn or asked for.

    `input(media position)` gives the sound that drives, as it is now: the driving file's stretch up to that position,
    or a live input's newest samples, without its delay; None where nothing drives.
    """

    def __init__(self, tempo: Tempo, input: Callable[[int], Stream | None]):
        self._tempo = tempo
        self._input = input
        self._playlist = EMPTY
        self._modulators = Modulators()
        self._signals = Signals()
        self._hears_input = False

    def take(self, values: Mapping[str, Any], changed: Iterable[str]) -> None:
        """Follow the rows `react/` and `mod/` among the names that have changed."""
        if any(name.startswith("react/") for name in changed):
            self._hears_input = values["react/source"] == "input"
            self._signals.take(values)
        self._modulators.take(values, {int(name.split("/")[1]) for name in changed if name.startswith("mod/")})

    def fire(self, name: str) -> None:
        """Obey the trigger `mod/N/trigger`."""
        self._modulators.trigger(int(name.split("/")[1]))

    def update(self, now_s: float, position: float, playlist: Playlist) -> None:
        """Go on to a time, at which a media position is heard of a playlist.

        The sound is measured only while something follows it; the output before its faders, so that a fade does not
        change what follows it.
        """
        self._playlist = playlist
        signals: Mapping[str, float] = {}
        if self._modulators.follows_sound:
            heard = math.floor(position)
            signals = self._signals.update(self._input(heard) if self._hears_input else self._output(heard), now_s)
        self._modulators.update(now_s, self._tempo.beat_at(now_s), signals)

    def apply(self, snapshot: Any) -> Any:
        """OutputParams or GenerationParams with what the modulators add to them."""
        return self._modulators.apply(snapshot)

    def _output(self, position: int) -> Stream:
        return Stream(self._read_output, position)

    def _read_output(self, position: int, num_samples: int) -> np.ndarray:
        samples = np.empty((num_samples, 2), np.float32)
        read(self._playlist.segments, position, samples)
        return samples
