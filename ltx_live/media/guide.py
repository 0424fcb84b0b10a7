"""The reference frames of a chunk: picked by time from a source, fitted and made a control signal, in a thread."""

from __future__ import annotations

import queue
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from ltx_live.chunk import PREFIX_FRAMES, SAMPLE_RATE_HZ
from ltx_live.errors import MediaError
from ltx_live.media import controls
from ltx_live.media.frames import Opening, PlayHead, Source, open_source
from ltx_live.media.image import fitted, read_image, resized
from ltx_live.media.loader import FAULTS
from ltx_live.media.recording import reason

SLACK_S = 0.25
"""The delay of what is live stays as it is while it is at most this much longer than it must be, so that motion goes on
evenly from chunk to chunk."""

PREPARED_BYTES = 128 * 2**20
AHEAD_FRAMES = 8

GAMMA = 2.0
LIFTED = np.rint(255 * (np.arange(256) / 255) ** (1 / GAMMA)).astype(np.uint8)
LOWERED = np.rint(255 * (np.arange(256) / 255) ** GAMMA).astype(np.uint8)
"""Gamma 2.0 lifts dark pictures off the black that says "generate here" to the outpaint LoRA; its inverse is for the
output (specification, IC-LoRA catalogue, Outpaint)."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """How pictures fill width x height (px) of a guide: the output's size by the reference downscale factor.

    The guide itself is filled up to multiples of 32 (`chunk.guide_size`).

    A letterboxed picture is not cut but shown whole at `scale` of the guide, cut to `aspect` (width by height) unless
    that is 0, with black around it. `low` and `high` are the thresholds of `controls.canny`.
    """

    width: int
    height: int
    control: str = "none"
    letterbox: bool = False
    aspect: float = 0.0
    scale: float = 1.0
    gamma: bool = False
    low: float = 0.1
    high: float = 0.2


class Guide:
    """Reference frames by media position; everything that takes long is done by threads of its own.

    `preparation`, and `head` for what is recorded, may be set at any time, and what `tracks` is told is drawn when the
    control is "tracks". `width` and `height` are the output's. `clock` (s) is that of `tracks` and of cameras.
    """

    def __init__(self, width: int, height: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.preparation = Preparation(width, height)
        self.head = PlayHead()
        self.tracks = controls.Tracks()
        self.delay_s = 0.0
        self._size = width, height
        self._clock = clock
        self._messages: deque[str] = deque()
        self._source: Source | None = None
        self._name = ""
        self._mask: Mask | None = None
        self._mask_name = ""
        self._seek_s: float | None = None
        self._begun: Source | None = None
        self._wanted: _Wanted | None = None
        self._made: tuple[_Wanted, np.ndarray] | None = None
        self._num_loads = 0  # counted where they are asked for
        self._num_loaded = 0  # counted by the guide's thread
        self._source_load = self._mask_load = 0
        self._prepared = _Prepared()
        self._changed = threading.Event()
        self._work: queue.SimpleQueue[Callable[[], None] | _Wanted | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="guide", daemon=True).start()

    @property
    def name(self) -> str:
        """The source that is in use; one that is being opened is not yet it."""
        return self._name

    @property
    def is_active(self) -> bool:
        """Whether there is anything to give."""
        return self._source is not None or self.preparation.control == "tracks"

    @property
    def is_live(self) -> bool:
        """Whether what is given was there just now, and has no play-head."""
        return self._source is None or self._source.is_live or self.preparation.control == "tracks"

    @property
    def is_loading(self) -> bool:
        """Whether something is still to be opened or read."""
        return self._num_loaded < self._num_loads

    @property
    def mask_name(self) -> str:
        """The mask that is in use, "" for none."""
        return self._mask_name

    @property
    def duration_s(self) -> float:
        """Length of one round of the source; infinite when it is live, 0 when there is none."""
        return 0.0 if self._source is None else self._source.duration_s

    def seek(self, seconds: float) -> None:
        """A recording jumps to a time with the next chunk that is asked for."""
        self._seek_s = seconds

    def move(self, start: int, speed: float, loop: bool) -> None:
        """A recording moves in this way from media position `start` on, from where it is by then."""
        if self._seek_s is not None and self._source is self._begun:
            self.head, self._seek_s = self.head.sought(start, self._seek_s), None
        if (speed, loop) != (self.head.speed, self.head.loop):
            self.head = self.head.playing(start, self.duration_s, speed, loop)

    def take_messages(self) -> list[str]:
        """What failed since the last call, a line each."""
        return [self._messages.popleft() for _ in range(len(self._messages))]

    def load(self, name: str, frame_rate: float = 24.0) -> None:
        """Open a source (see `open_source`; "" = none) in the background; the old stays until it is open, or for good.

        `frame_rate` is that of a folder's frames. A recording begins with the first chunk that is asked for with it.
        """
        opening = Opening(*self._size, frame_rate, self._clock, self._messages.append)
        self._source_load = self._num_loads + 1
        self._load(lambda: open_source(name, opening) if name else None, name, self._use)

    def load_mask(self, path: str) -> None:
        """Read an image in the background whose bright half is to be made anew (`controls.with_mask`); "" = none."""
        self._mask_load = self._num_loads + 1
        self._load(lambda: Mask(read_image(path)) if path else None, path, self._use_mask)

    def frames(self, start: int, num_frames: int, frame_rate: float, now: int) -> np.ndarray | None:
        """The guide of a chunk whose first frame stands at media position `start`: (F, h, w, 3) uint8, read-only.

        None while it is being made: ask again with the same values, others begin anew. It never waits. `now` is the
        media position that is heard: of what is live the chunk gets what was there up to now, and shows it `delay_s`
        after it was there. What is recorded depends on `start`, `head` and `preparation` alone.
        """
        if not self.is_active:
            return None
        source = None if self.preparation.control == "tracks" else self._source
        is_live = self.is_live
        if not is_live and source is not self._begun:
            self._begun = source
            self.head = self.head.sought(start, 0.0)
        head = None if is_live else self.head
        wanted = _Wanted(start, num_frames, frame_rate, source, self.preparation, head, self._mask)
        if self._made is not None and self._made[0] == wanted:
            return self._made[1]
        if self._wanted != wanted:
            if is_live:
                wanted = replace(wanted, begin_s=self._begin(wanted, now), tracks=self.tracks.copy())
            self._wanted = wanted
            self._work.put(wanted)
        return None

    def wait(self, start: int, num_frames: int, frame_rate: float, now: int = 0) -> np.ndarray:
        """What `frames` gives, as soon as it is there. Raises MediaError when there is no source."""
        self.wait_until_open()
        while True:
            self._changed.clear()
            made = self.frames(start, num_frames, frame_rate, now)
            if made is not None:
                return made
            if not self.is_active:
                raise MediaError("there is no reference; choose a file, a folder, camera or test")
            self._changed.wait()

    def wait_until_open(self) -> None:
        """Wait until everything that was loaded is in use, or has failed."""
        while self.is_loading:
            self._changed.wait(0.01)

    def close(self) -> None:
        """End the thread, and let go of the source."""
        self._work.put(None)

    def _begin(self, wanted: _Wanted, now: int) -> float:
        """The clock's time of the first frame of a live guide: as late as can be, but steady from chunk to chunk."""
        ahead_s = (wanted.start - now) / SAMPLE_RATE_HZ  # of the first frame
        shortest_s = ahead_s + (wanted.num_frames - 1) / wanted.frame_rate
        if not shortest_s <= self.delay_s <= shortest_s + SLACK_S:
            self.delay_s = shortest_s
        return self._clock() + ahead_s - self.delay_s

    def _load(self, read: Callable[[], Any], name: str, use: Callable[[int, str, Any], None]) -> None:
        """Read something in a thread, and let the guide's own thread change over to it."""
        self._num_loads += 1
        number = self._num_loads

        def run() -> None:
            done: Callable[[], None] = self._count_load
            try:
                loaded = read()
                done = partial(use, number, name, loaded)
            except FAULTS as error:
                text = str(error) if isinstance(error, MediaError) else f"cannot open {name!r}: {reason(error)}"
                self._messages.append(text)
            finally:
                self._work.put(done)

        threading.Thread(target=run, name="guide loader", daemon=True).start()

    def _use(self, number: int, name: str, source: Source | None) -> None:
        """Change over to an opened source, unless another was asked for since."""
        old = source
        if number == self._source_load:
            old, self._source, self._name = self._source, source, name
        if old is not None:
            old.close()
        self._count_load()

    def _use_mask(self, number: int, name: str, mask: Mask | None) -> None:
        if number == self._mask_load:
            self._mask, self._mask_name = mask, name
        self._count_load()

    def _count_load(self) -> None:
        self._num_loaded += 1
        self._changed.set()

    def _run(self) -> None:
        """Do what is to be done, of guides only the newest; one that fails is black, so that the show goes on."""
        import av

        faults = av.FFmpegError, *FAULTS
        while (work := self._work.get()) is not None:
            if not isinstance(work, _Wanted):
                work()
            elif work is self._wanted and work.source in (None, self._source):  # else it is asked for again
                try:
                    made = self._prepared.frames(work)
                except faults as error:
                    self._messages.append(f"cannot prepare the reference: {reason(error)}; a black one is used")
                    made = self._black(work)
                made.flags.writeable = False
                self._made = work, made
                self._changed.set()
                with suppress(*faults):
                    self._read_ahead(work)
        if self._source is not None:
            self._source.close()

    def _black(self, wanted: _Wanted) -> np.ndarray:
        how = wanted.preparation
        return finished(
            np.zeros((wanted.num_frames, how.height, how.width, 3), np.uint8), replace(how, gamma=False), None
        )

    def _read_ahead(self, wanted: _Wanted) -> None:
        """Decode and prepare what a chunk that continues this one needs, as long as nothing else is to be done."""
        if wanted.head is not None:
            end = wanted.num_frames + max(1, wanted.num_frames - PREFIX_FRAMES)
            for first in range(wanted.num_frames, end, AHEAD_FRAMES):
                if not self._work.empty():
                    return
                self._prepared.pictures(wanted, wanted.times_s(first, min(AHEAD_FRAMES, end - first)))


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """An image (H, W, 3) uint8 of any size whose bright half is marked."""

    picture: np.ndarray

    def of_size(self, width: int, height: int) -> np.ndarray:
        """(height, width) bool."""
        return controls.luminance(fitted(self.picture, width, height)[None])[0, ..., 0] >= 128


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Frames of a guide. What is live is taken when it is first asked for, and stays so when it is asked for again."""

    start: int
    num_frames: int
    frame_rate: float
    source: Source | None
    preparation: Preparation
    head: PlayHead | None
    mask: Mask | None
    begin_s: float = field(default=0.0, compare=False)
    tracks: controls.Tracks | None = field(default=None, compare=False)

    def times_s(self, first: int = 0, num: int | None = None) -> list[float]:
        """The source's times of its frames, or of those after it."""
        indices = range(first, first + (self.num_frames if num is None else num))
        if self.head is None:
            return [self.begin_s + index / self.frame_rate for index in indices]
        duration_s = self.source.duration_s
        return [self.head.at(self.start + index * SAMPLE_RATE_HZ / self.frame_rate, duration_s) for index in indices]


class _Prepared:
    """Guide frames of pictures; those of the last pictures are kept, because chunks overlap and recordings repeat."""

    def __init__(self) -> None:
        self._how: tuple[Preparation, Mask | None] | None = None
        self._frames: OrderedDict[int, tuple[np.ndarray, np.ndarray]] = OrderedDict()  # by the picture's identity

    def frames(self, wanted: _Wanted) -> np.ndarray:
        """(F, h, w, 3) uint8."""
        how = wanted.preparation
        if wanted.source is None:
            drawn = wanted.tracks.drawn(np.array(wanted.times_s()), how.width, how.height)
            return finished(drawn, how, wanted.mask)
        return np.stack([self._frames[id(picture)][1] for picture in self.pictures(wanted, wanted.times_s())])

    def pictures(self, wanted: _Wanted, times_s: Sequence[float]) -> list[np.ndarray]:
        """The source's pictures at these times; the frames of all of them are ready then."""
        how = wanted.preparation
        if self._how != (how, wanted.mask):
            self._how = how, wanted.mask
            self._frames.clear()
        pictures = wanted.source.at(times_s)
        kept = PREPARED_BYTES // (pictures[0].nbytes + 3 * how.width * how.height)
        while len(self._frames) > kept:
            self._frames.popitem(last=False)
        new = {id(picture): picture for picture in pictures if id(picture) not in self._frames}
        if new:
            made = finished(controlled(list(new.values()), how), how, wanted.mask)
            self._frames.update(zip(new, zip(new.values(), made, strict=True), strict=True))
        return pictures


def controlled(pictures: Sequence[np.ndarray], how: Preparation) -> np.ndarray:
    """Pictures of any size as frames (F, h, w, 3) uint8 of the guide's size, as its control signal."""
    fit = letterboxed if how.letterbox else _filling
    frames = np.stack([fit(picture, how) for picture in pictures])
    if how.control == "canny":
        return controls.canny(frames, how.low, how.high)
    return controls.luminance(frames) if how.control == "luminance" else frames


def finished(frames: np.ndarray, how: Preparation, mask: Mask | None) -> np.ndarray:
    """Frames (F, h, w, 3) uint8 with the gamma and the mask painted in, filled up to multiples of 32 by their edges."""
    if how.gamma:
        frames = LIFTED[frames]
    if mask is not None:
        frames = controls.with_mask(frames, mask.of_size(how.width, how.height))
    missing = -how.height % 32, -how.width % 32
    return np.pad(frames, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)), mode="edge") if any(missing) else frames


def letterboxed(picture: np.ndarray, how: Preparation) -> np.ndarray:
    """A picture (H, W, 3) uint8 whole, or cut to an aspect, in the middle of black: (h, w, 3) uint8."""
    aspect = how.aspect or picture.shape[1] / picture.shape[0]
    height = min(how.height, how.width / aspect) * how.scale
    size = max(1, round(height * aspect)), max(1, round(height))
    left, top = (how.width - size[0]) // 2, (how.height - size[1]) // 2
    canvas = np.zeros((how.height, how.width, 3), np.uint8)
    small = fitted(picture, *size) if how.aspect else resized(picture, *size)
    canvas[top : top + size[1], left : left + size[0]] = small
    return canvas


def restored(frames: np.ndarray) -> np.ndarray:
    """Output frames (uint8) without the gamma that their guide had."""
    return LOWERED[frames]


def _filling(picture: np.ndarray, how: Preparation) -> np.ndarray:
    return fitted(picture, how.width, how.height)
