"""A camera as a source of reference frames: a thread reads it into a ring, and looks for it when it is gone."""

from __future__ import annotations

import bisect
import math
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ltx_live.errors import MediaError
from ltx_live.media.image import rgb
from ltx_live.media.recording import reason

if TYPE_CHECKING:
    from ltx_live.media.frames import Opening

RING_S = 12.0
RING_BYTES = 256 * 2**20
"""What was seen is kept for as long as the longest chunk lasts at 24 frames a second, in at most so much memory."""

OPEN_S = 10.0
RETRY_S = 2.0


class Camera:
    """A camera, or whatever else FFmpeg reads as a device; pictures have the clock's times of their arrival.

    When it is unplugged that is said once, its last picture stays, and it is looked for again every RETRY_S seconds.
    """

    is_live = True
    duration_s = math.inf

    def __init__(self, device: tuple[str, str, dict[str, str]], opening: Opening) -> None:
        """`device` is FFmpeg's name, format and options. Raises MediaError when it shows nothing within OPEN_S."""
        self._device = device
        self._opening = opening
        self._ring: tuple[tuple[float, np.ndarray], ...] = ()
        self._is_there = False
        self._failure = f"no picture in {OPEN_S:g} s"
        self._answered = threading.Event()
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="camera", daemon=True).start()
        self._answered.wait(OPEN_S)
        if not self._ring:
            self._stopped.set()
            raise MediaError(f"cannot open {self}: {self._failure}; plug it in, or choose another with camera:WHICH")

    def __str__(self) -> str:
        return f"camera {self._device[0]}"

    def at(self, times_s: Sequence[float]) -> list[np.ndarray]:
        """What was there at each of these times of the clock; before the first picture, that one."""
        ring = self._ring
        seen_s = [time_s for time_s, _ in ring]
        return [ring[max(0, bisect.bisect_right(seen_s, time_s) - 1)][1] for time_s in times_s]

    def close(self) -> None:
        """Let go of the camera, within a frame."""
        self._stopped.set()

    def _run(self) -> None:
        import av

        while not self._stopped.is_set():
            try:
                self._read()
                self._failure = "it has ended"
            except (av.FFmpegError, OSError, ValueError) as error:
                self._failure = reason(error)
            self._answered.set()
            if not self._ring:
                return
            if self._is_there and not self._stopped.is_set():
                self._is_there = False
                self._opening.report(f"{self} is gone ({self._failure}); its last picture stays until it is back")
            self._stopped.wait(RETRY_S)

    def _read(self) -> None:
        """Fill the ring until the camera is gone."""
        import av

        device, form, options = self._device
        with av.open(device, format=form, options=options, timeout=(OPEN_S, OPEN_S)) as file:
            frames = file.decode(video=0)
            while not self._stopped.is_set():
                try:
                    frame = next(frames, None)
                except av.BlockingIOError:  # AVFoundation: there is no new picture yet
                    self._stopped.wait(0.005)
                    frames = file.decode(video=0)
                    continue
                if frame is None:
                    return
                self._add(self._opening.clock(), rgb(frame, self._opening.width, self._opening.height))

    def _add(self, time_s: float, picture: np.ndarray) -> None:
        if self._ring and not self._is_there:
            self._opening.report(f"{self} is back")
        ring = (*self._ring, (time_s, picture))
        first = bisect.bisect_left(ring, time_s - RING_S, key=lambda seen: seen[0]) - 1  # still shown when they begin
        self._ring = ring[max(0, first, len(ring) - max(2, RING_BYTES // picture.nbytes)) :]
        self._is_there = True
        self._answered.set()


def camera_device(which: str) -> tuple[str, str, dict[str, str]]:
    """FFmpeg's name, format and options for a camera of this platform: the first, or by its number or name."""
    if sys.platform == "darwin":
        return f"{which or 0}:none", "avfoundation", {"framerate": "30"}
    if sys.platform == "win32":
        return f"video={which or _first_camera()}", "dshow", {}
    return (f"/dev/video{which or 0}" if which.isdecimal() or not which else which), "v4l2", {}


def _first_camera() -> str:
    """The name of the first camera on Windows. Raises MediaError when there is none."""
    import av.device

    names = [each.name for each in av.device.enumerate_input_devices("dshow") if "video" in each.media_types]
    if not names:
        raise MediaError("there is no camera; plug one in")
    return names[0]
