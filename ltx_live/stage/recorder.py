"""Records what is seen and heard to a file: pictures at a steady rate of their own, and the sound handed out."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ltx_live.chunk import frames_to_samples
from ltx_live.errors import MediaError
from ltx_live.media.recording import VideoWriter
from ltx_live.stage.player import TapBlock
from ltx_live.stage.timeline import Picture

MAX_WAITING_FRAMES = 48
TAP_BLOCKS = 8192
CLOSE_S = 10.0


class Composer(Protocol):
    """What gives frames their look and reads them back: a window, `window.Offscreen` or `look.NumpyCompositor`."""

    def compose(self, picture: Picture | None, output: Any) -> object: ...

    def grab(self) -> np.ndarray: ...


class Recorder:
    """Writes one file from a thread of its own; `update` belongs into every tick and never waits.

    The file begins with the first sound of the media clock. Its time is the sound handed out, at whatever speed the
    media runs, the silence of an underrun included: frame k is the picture of the sample at k / frame_rate, composed
    with the values of the moment in which that sample is heard. Set `player.tap` to `tap`. Where the encoder cannot
    follow, the last frame is written again and counted in `num_repeated`. `duration_s` ends it after exactly so many
    frames.
    """

    def __init__(self, path: Path, width: int, height: int, frame_rate: float, duration_s: float | None = None) -> None:
        self.path = path
        self.tap: deque[TapBlock] = deque(maxlen=TAP_BLOCKS)
        self.num_frames = 0
        self.num_repeated = 0
        self.error = ""
        self._form = (width, height, frame_rate)
        self._num_wanted = None if duration_s is None else max(1, round(duration_s * frame_rate))
        self._blocks: deque[TapBlock] = deque()
        self._first = 0  # sample of the file with which the first of the blocks begins
        self._num_taken = 0  # samples of the file that are with the encoder
        self._last: np.ndarray | None = None
        self._finished = False
        self._queue: queue.SimpleQueue[tuple[np.ndarray | None, np.ndarray] | None] = queue.SimpleQueue()
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether it takes nothing more: the duration is reached, `finish` was called, or writing failed."""
        return self._finished or self.is_closed

    @property
    def is_closed(self) -> bool:
        """Whether the file is complete, or given up; `error` tells."""
        return not self._thread.is_alive()

    def wait_until_open(self) -> None:
        """Wait for the file; raises MediaError when it cannot be written."""
        self._opened.wait()
        if self.error:
            raise MediaError(self.error)

    def update(
        self, position: float, picture_at: Callable[[float], Picture | None], composer: Composer, output: Any
    ) -> None:
        """Take the frames that were due until media `position`, and the sound that belongs to them."""
        while self.tap:
            block = self.tap.popleft()
            if self._blocks or self._first or block.end:
                self._blocks.append(block)
        while not self.is_over:
            due = frames_to_samples(self.num_frames, self._form[2])
            if self.num_frames == self._num_wanted:
                if due <= self._num_tapped:
                    self.finish()
                return
            media = self._media_at(due)
            if media is None or media > position:
                return
            if self._queue.qsize() < MAX_WAITING_FRAMES:
                composer.compose(picture_at(media), output)
                self._last = composer.grab()
            else:
                self.num_repeated += 1
            self._queue.put((self._last, self._take_sound(due)))
            self.num_frames += 1

    def finish(self) -> None:
        """Take nothing more; the file is completed behind the scenes."""
        if not self._finished:
            self._finished = True
            self._queue.put((None, self._take_sound(frames_to_samples(self.num_frames, self._form[2]))))
            self._queue.put(None)

    def close(self) -> None:
        """Finish, and wait until the file is complete."""
        self.finish()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            self.error = self.error or f"{self.path}: the disk does not take the end of it; what is there can be played"

    @property
    def _num_tapped(self) -> int:
        return self._first + sum(len(block.samples) for block in self._blocks)

    def _media_at(self, sample: int) -> int | None:
        """Media position of a sample of the file; None when it was not handed out yet."""
        start = self._first
        for block in self._blocks:
            if sample < start + len(block.samples):
                return block.media_at(sample - start)
            start += len(block.samples)
        return None

    def _take_sound(self, end: int) -> np.ndarray:
        """The sound up to sample `end` of the file that was not taken yet, (S, 2), as far as there is any."""
        pieces = [np.empty((0, 2), np.float32)]
        while self._blocks and self._num_taken < end:
            samples = self._blocks[0].samples
            pieces.append(samples[self._num_taken - self._first : end - self._first])
            self._num_taken += len(pieces[-1])
            if self._num_taken == self._first + len(samples):
                self._first = self._num_taken
                self._blocks.popleft()
        return np.concatenate(pieces)

    def _run(self) -> None:
        try:
            with VideoWriter(self.path, *self._form) as writer:
                self._opened.set()
                while (item := self._queue.get()) is not None:
                    frame, sound = item
                    if frame is not None:
                        writer.write_frame(frame)
                    writer.write_audio(sound)
            if not writer.num_frames:
                self.path.unlink()
                self.error = f"{self.path}: nothing was recorded, there was no picture yet"
        except MediaError as error:
            self.error = str(error)
        finally:
            self._opened.set()
