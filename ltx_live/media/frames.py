"""Where reference frames come from: a video file, a folder of frames, a camera, a moving test pattern."""

from __future__ import annotations

import bisect
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.errors import MediaError
from ltx_live.media.camera import Camera, camera_device
from ltx_live.media.image import read_image, resized, rgb
from ltx_live.media.loader import file_size
from ltx_live.media.recording import reason

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})

TOLERANCE_S = 0.002
"""A frame may be shown this much before its time: files round their times, some to whole milliseconds."""

SKIP_S = 2.0
"""A file is read on to a later time that is at most this far ahead; beyond it, it is sought."""

CACHE_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class PlayHead:
    """Which time of a recording stands where on the media clock: `time_s` at `anchor` (samples), moving at `speed`."""

    anchor: int = 0
    time_s: float = 0.0
    speed: float = 1.0
    loop: bool = True

    def at(self, position: float, duration_s: float) -> float:
        """Seconds into a recording of this duration at a media position: round and round, or held at both ends."""
        time_s = self.time_s + (position - self.anchor) / SAMPLE_RATE_HZ * self.speed
        if self.loop and math.isfinite(duration_s):
            return (time_s + TOLERANCE_S) % duration_s - TOLERANCE_S  # so that a rounded position is not a round early
        return min(max(0.0, time_s), duration_s)

    def playing(self, position: int, duration_s: float, speed: float, loop: bool) -> PlayHead:
        """The same head going on from `position`, where it stands, in another way."""
        return PlayHead(position, self.at(position, duration_s), speed, loop)

    def sought(self, position: int, time_s: float) -> PlayHead:
        """The head that stands at `time_s` at `position`, and moves as before."""
        return replace(self, anchor=position, time_s=time_s)


class Source(Protocol):
    """Pictures (H, W, 3) uint8 with times, no larger than needed. Used by one thread at a time."""

    is_live: bool
    duration_s: float  # of one round; of what is live, infinite

    def at(self, times_s: Sequence[float]) -> list[np.ndarray]:
        """What is shown at each of these times: the last picture before it. The same picture is the same array."""

    def close(self) -> None:
        """Let go of the file or device."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How to open a source: the size (px) that pictures are to cover, the rate at which a folder's frames are shown,
    the clock (s) of what is live, and who is told, in one line, of what fails later; it is called from any thread.
    """

    width: int
    height: int
    frame_rate: float
    clock: Callable[[], float]
    report: Callable[[str], None]


def open_source(name: str, opening: Opening) -> Source:
    """The source of this name: `test`, `camera`, `camera:WHICH` or a path. It may take seconds. Raises MediaError."""
    if name == "test":
        return TestPattern(opening)
    kind, _, which = name.partition(":")
    if kind == "camera":
        return Camera(camera_device(which), opening)
    path = Path(name).expanduser()
    if path.is_dir():
        paths = sorted((each for each in path.iterdir() if each.suffix.lower() in IMAGE_SUFFIXES), key=natural_order)
        if not paths:
            raise MediaError(f"{path} has no images; choose a folder of PNG, JPEG or WebP frames")
        return Stills(paths, opening)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return Stills([path], opening)
    return VideoFile(path, opening)


def natural_order(path: Path) -> list[tuple[int, int | str]]:
    """Sorts frame2 before frame10."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]


class TestPattern:
    """A disc that circles once in `duration_s` over a turning field of colour; what it shows depends on time alone."""

    __test__ = False  # it is no test, whatever pytest thinks of its name
    is_live = False
    duration_s = 4.0

    def __init__(self, opening: Opening) -> None:
        self._y, self._x = np.mgrid[: opening.height, : opening.width].astype(np.float32)

    def at(self, times_s: Sequence[float]) -> list[np.ndarray]:
        return [self._at(time_s) for time_s in times_s]

    def close(self) -> None:
        pass

    def _at(self, time_s: float) -> np.ndarray:
        height, width = self._x.shape
        turn = 2 * math.pi * time_s / self.duration_s
        x, y = self._x / width - 0.5, self._y / height - 0.5
        slope = (x * math.cos(turn) + y * math.sin(turn)) * 80
        picture = np.stack([80 + slope, 60 - slope, 100 + 60 * y], axis=-1)
        from_disc = np.hypot((x - 0.3 * math.cos(turn)) * width / height, y - 0.3 * math.sin(turn))
        picture[from_disc < 0.14] = (250, 230, 90)
        return picture.astype(np.uint8)


class Stills:
    """Image files shown one after the other. One that cannot be read is reported once, and the one before it stays."""

    is_live = False

    def __init__(self, paths: Sequence[Path], opening: Opening) -> None:
        self._paths = list(paths)
        self._opening = opening
        self._cache = _Cache()
        self._last = self._read(0)
        self.duration_s = len(self._paths) / opening.frame_rate

    def at(self, times_s: Sequence[float]) -> list[np.ndarray]:
        return [self._at(time_s) for time_s in times_s]

    def close(self) -> None:
        pass

    def _at(self, time_s: float) -> np.ndarray:
        rate = self._opening.frame_rate
        index = min(max(0, math.floor((time_s + TOLERANCE_S) * rate)), len(self._paths) - 1)
        picture = self._cache.find(index)
        if picture is None:
            try:
                picture = self._read(index)
            except MediaError as error:
                self._opening.report(str(error))
                picture = self._last
            self._cache.add(index, index + 1, picture)
        self._last = picture
        return picture

    def _read(self, index: int) -> np.ndarray:
        picture = read_image(self._paths[index])
        height, width = picture.shape[:2]
        scale = min(1.0, max(self._opening.width / width, self._opening.height / height))
        return resized(picture, max(1, round(width * scale)), max(1, round(height * scale)))


class VideoFile:
    """A video file, read by time. What is shown at a time does not depend on what was asked for before.

    A broken piece is skipped, and a file that can be read no more is reported once; the picture before it stays.
    """

    is_live = False

    def __init__(self, path: Path, opening: Opening) -> None:
        """Raises MediaError when it cannot be read, or has no picture."""
        import av

        self._path = path
        self._opening = opening
        self._cache = _Cache()
        self._is_told = False
        self._file = None
        try:
            file_size(path)
            self._reopen()
            if self._coming is None:
                raise MediaError(f"{path} has no picture that can be read; choose another video file")
            self.duration_s = self._duration()
        except (av.FFmpegError, OSError) as error:
            raise MediaError(f"cannot read {path}: {reason(error)}; choose a video file or a folder") from None
        self._last = self._read(0.0)

    def at(self, times_s: Sequence[float]) -> list[np.ndarray]:
        return [self._at(time_s) for time_s in times_s]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _at(self, time_s: float) -> np.ndarray:
        picture = self._cache.find(time_s)
        self._last = self._read(time_s) if picture is None else picture
        return self._last

    def _read(self, time_s: float) -> np.ndarray:
        """Decode what is shown at a time."""
        if self._coming is None or not 0 <= time_s + TOLERANCE_S - self._coming[0] < SKIP_S:
            self._seek(time_s)
        if self._coming is None:
            return self._last
        end_s = -math.inf
        while end_s <= time_s + TOLERANCE_S:
            begin_s, frame = self._coming
            self._coming = next(self._decoded, None)
            end_s = math.inf if self._coming is None else self._coming[0]
        picture = rgb(frame, self._opening.width, self._opening.height)
        self._cache.add(begin_s, end_s, picture)
        return picture

    def _seek(self, time_s: float) -> None:
        """Let the frame that comes next be one that is shown at a time, or before it."""
        import av

        self._coming = None
        if self._file is not None and self._first_pts is not None:
            with suppress(av.FFmpegError, OSError):
                self._file.seek(self._first_pts + int(time_s / self._stream.time_base), stream=self._stream)
                self._decoded = self._decode()
                self._coming = next(self._decoded, None)
        if self._coming is None or self._coming[0] > time_s + TOLERANCE_S:  # it has no index, or a wrong one
            try:
                self._reopen()
            except (av.FFmpegError, OSError, MediaError) as error:
                self._coming = None
                self._tell(error)

    def _reopen(self) -> None:
        """Read from the first frame."""
        import av

        self.close()
        self._file = None
        self._file = av.open(f"file:{self._path}", metadata_errors="replace")  # whatever the name is, it is no address
        cover = av.stream.Disposition.attached_pic
        self._stream = next((each for each in self._file.streams.video if not each.disposition & cover), None)
        if self._stream is None:
            raise MediaError(f"{self._path} has no picture; choose a video file")
        if self._stream.codec_context is None:
            raise MediaError(f"{self._path} is coded in a way that cannot be read; choose another video file")
        self._stream.thread_type = "AUTO"
        self._stream.codec_context.thread_count = 2
        self._first_pts = None
        self._decoded = self._decode()
        self._coming = next(self._decoded, None)

    def _decode(self) -> Iterator[tuple[float, Any]]:
        """(seconds since the first frame, frame) of what follows."""
        import av

        time_s, frame_s = -math.inf, 1 / self._rate()
        try:
            for packet in self._file.demux(self._stream):
                try:
                    frames = packet.decode()
                except av.InvalidDataError:
                    continue
                for frame in frames:
                    if frame.pts is None:
                        time_s = max(0.0, time_s + frame_s)
                    else:
                        if self._first_pts is None:
                            self._first_pts = frame.pts
                        time_s = float((frame.pts - self._first_pts) * self._stream.time_base)
                    yield time_s, frame
        except (av.FFmpegError, OSError) as error:
            self._tell(error)

    def _rate(self) -> Fraction:
        """Frames a second, where the file says it."""
        return self._stream.average_rate or self._stream.guessed_rate or Fraction(24)

    def _duration(self) -> float:
        """Length of the picture in seconds: as the file says, or else by its last frame; at least one frame."""
        frame_s = float(1 / self._rate())
        if self._stream.duration:
            return max(frame_s, float(self._stream.duration * self._stream.time_base))
        if self._file.duration:
            return max(frame_s, self._file.duration / 1e6)
        while self._coming is not None:
            end_s = self._coming[0] + frame_s
            self._coming = next(self._decoded, None)
        self._reopen()
        return max(frame_s, end_s)

    def _tell(self, error: Exception) -> None:
        if not self._is_told:
            self._is_told = True
            self._opening.report(f"cannot read on in {self._path}: {reason(error)}; its last picture stays")


class _Cache:
    """Pictures with the time they are shown for; when it is full, what was not used for longest is dropped."""

    def __init__(self) -> None:
        self._pictures: OrderedDict[float, tuple[float, np.ndarray]] = OrderedDict()  # begin: (end, picture)
        self._begins: list[float] = []
        self._num_bytes = 0

    def find(self, time: float) -> np.ndarray | None:
        place = bisect.bisect_right(self._begins, time + TOLERANCE_S) - 1
        if place < 0:
            return None
        end, picture = self._pictures[self._begins[place]]
        if time + TOLERANCE_S >= end:
            return None
        self._pictures.move_to_end(self._begins[place])
        return picture

    def add(self, begin: float, end: float, picture: np.ndarray) -> None:
        if begin not in self._pictures:
            bisect.insort(self._begins, begin)
            self._num_bytes += picture.nbytes
        self._pictures[begin] = end, picture
        while self._num_bytes > CACHE_BYTES and len(self._pictures) > 1:
            dropped, (_, old) = self._pictures.popitem(last=False)
            self._begins.remove(dropped)
            self._num_bytes -= old.nbytes
