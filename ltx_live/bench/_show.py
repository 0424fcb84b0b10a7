"""A show in this process whose ticks belong to a benchmark, and a note of everything that was shown."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

from ltx_live import app
from ltx_live.config import Config
from ltx_live.show import Show
from ltx_live.stage.clock import FramePacer
from ltx_live.stage.timeline import Picture
from ltx_live.stage.window import Window

Look = Callable[[Picture, Any], Any]
"""What a benchmark notes of a picture that was shown with the look of OutputParams."""


class Watched:
    """The show's window, or none, and what was shown: (time_s, look(picture, output)) for every picture.

    The time is `time.perf_counter` after the picture was handed to the display. Times of two processes compare.
    """

    def __init__(self, window: Window | None, look: Look):
        self.seen: list[tuple[float, Any]] = []
        self._window = window
        self._look = look

    @property
    def closed(self) -> bool:
        return self._window is not None and self._window.closed

    def pump(self) -> None:
        if self._window is not None:
            self._window.pump()

    def show(self, picture: Picture | None, output: Any, hud: Any) -> None:
        if self._window is not None:
            self._window.show(picture, output, hud)
        if picture is not None:
            self.seen.append((time.perf_counter(), self._look(picture, output)))


@contextlib.contextmanager
def watched_show(config: Config, look: Look) -> Iterator[Show]:
    """The show with all its parts running; its window is a Watched. Raises LtxLiveError."""
    with contextlib.ExitStack() as parts:
        show = app.assemble(config, parts)
        show.parts = dataclasses.replace(show.parts, window=Watched(show.parts.window, look))
        yield show


def tick(show: Show, pacer: FramePacer, until: Callable[[], bool]) -> None:
    """Run the show until something is so or it is over; raises what it failed with."""
    while not until() and not show.is_over:
        for duty in show.duties:
            duty()
        pacer.wait()
    if show.failure is not None:
        raise show.failure


def after(seconds: float) -> Callable[[], bool]:
    """Whether so many seconds from now are over."""
    end_s = time.perf_counter() + seconds
    return lambda: time.perf_counter() >= end_s
