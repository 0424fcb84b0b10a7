"""The show's recordings: begun and ended by `rec/*`, written beside the show, told of when they are complete."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ltx_live.config import Config
from ltx_live.engine.slots import SlotLayout
from ltx_live.errors import MediaError, ParameterError
from ltx_live.media.image import write_png
from ltx_live.params import OutputParams
from ltx_live.stage.look import limit_strobe
from ltx_live.stage.player import Player
from ltx_live.stage.recorder import Composer, Recorder
from ltx_live.stage.timeline import Picture

log = logging.getLogger(__name__)

PictureAt = Callable[[float], Picture | None]
Say = Callable[[str, int], None]


class Recordings:
    """At most one recording at a time; those that have ended are completed by threads of their own.

    `say(text, level)` shows a line.
    `error` is why `config.record`, the recording that the show was started with, could not be written.
    """

    def __init__(self, config: Config, layout: SlotLayout, player: Player, say: Say):
        self.error: MediaError | None = None
        self.current: Recorder | None = None
        self.config = config
        self._layout = layout
        self._player = player
        self.say = say
        self._closing: list[Recorder] = []

    @property
    def is_asked_for(self) -> bool:
        """Whether what is being recorded is what the show was started for."""
        return self.current is not None and self.current.path == self.config.record

    def start(self, path: Path, frame_rate: float, duration_s: float | None = None) -> None:
        """Record to a file from now on; for `duration_s` from the first picture, or until `stop`."""
        self.current = Recorder(path, self._layout.width, self._layout.height, frame_rate, duration_s)
        self._player.tap = self.current.tap
        self.say(f"recording to {path}", logging.INFO)

    def stop(self) -> None:
        """End the recording; its file is completed beside the show."""
        self._player.tap = None
        self.current.finish()
        self._closing.append(self.current)
        self.current = None

    def still(self, name: str, picture: Picture | None, composer: Composer, output: OutputParams) -> None:
        """Write what is shown as PNG; the file is made beside the show. Raises ParameterError before the first one."""
        if picture is None:
            raise ParameterError("/ltx/rec/still: there is no picture yet")
        composer.compose(picture, limit_strobe(output, self.config.strobe_limit_hz))
        path = self.new_path(name, ".png")
        path.touch()  # so that the next one gets another name
        threading.Thread(target=self._write_still, args=(path, composer.grab().copy()), name="still").start()

    def _write_still(self, path: Path, pixels: np.ndarray) -> None:
        try:
            write_png(path, pixels)
            log.info("still: %s", path)
        except MediaError as error:
            log.warning("%s", error)

    def update(self, position: float, picture_at: PictureAt, composer: Composer, output: OutputParams) -> None:
        """Hand over what was seen and heard; tell of recordings that are complete."""
        if self.current is not None:
            self.current.update(position, picture_at, composer, output)
            if self.current.is_over:
                self.stop()
        for recorder in [recorder for recorder in self._closing if recorder.is_closed]:
            self._closing.remove(recorder)
            self._tell(recorder)

    def close(self) -> None:
        """Wait until all files are complete; `stop` comes first."""
        for recorder in self._closing:
            recorder.close()
            self._tell(recorder)

    def new_path(self, name: str, suffix: str = ".mp4") -> Path:
        """A new file in the recordings folder: `name` without anything that leads out of it, or date and time."""
        name = re.sub(r"[^\w .+-]+", "_", name.removesuffix(suffix)).strip(" ._")
        name = name or time.strftime("ltx-live-%Y%m%d-%H%M%S")
        folder = self.config.folder("recordings")
        path, number = folder / f"{name}{suffix}", 1
        while path.exists():
            number += 1
            path = folder / f"{name}-{number}{suffix}"
        return path

    def _tell(self, recorder: Recorder) -> None:
        if recorder.error:
            self.say(recorder.error, logging.WARNING)
            if recorder.path == self.config.record:
                self.error = MediaError(recorder.error)
        else:
            repeated = f", {recorder.num_repeated} frames repeated" if recorder.num_repeated else ""
            self.say(f"recorded {recorder.path}: {recorder.num_frames} frames{repeated}", logging.INFO)
