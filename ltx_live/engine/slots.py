"""Shared-memory slots: how frames and sound come from the engine process without being sent."""

from __future__ import annotations

import gc
import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np

from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.errors import DeviceError, EngineError

log = logging.getLogger(__name__)

MAX_FRAMES = 257
MIN_FRAMES = 33  # less than one new second per chunk at 24 fps is no show
SOUND_FRAME_RATE = 12.0  # a slot holds the sound of all its frames down to this rate; slower chunks get fewer frames
SOUND_CONTEXT_S = 1.25  # sound before the first new frame, and what is rounded up to whole latents
USABLE_SHARE = 0.9  # of the free shared memory: other programs need some, and what is over is a crash, not an error
SHARED_MEMORY_FOLDER = Path("/dev/shm")  # Linux only; elsewhere segments live in ordinary memory


def num_slots(pacing_slack: float) -> int:
    """Three chunks on the timeline, one written, one awaiting release, one pinned, and what slack asks for ahead."""
    return 6 + math.ceil(pacing_slack)


@dataclass(frozen=True, slots=True)
class SlotLayout:
    """What one slot holds: sound (num_samples, 2) float32, then frames (num_frames, height, width, 3) uint8."""

    width: int
    height: int
    num_frames: int = MAX_FRAMES

    @property
    def num_samples(self) -> int:
        return math.ceil((self.num_frames / SOUND_FRAME_RATE + SOUND_CONTEXT_S) * SAMPLE_RATE_HZ)

    @property
    def sound_bytes(self) -> int:
        return self.num_samples * 2 * 4

    @property
    def num_bytes(self) -> int:
        return self.sound_bytes + self.num_frames * self.height * self.width * 3

    def longest(self, num_frames: int, frame_rate: float) -> int:
        """The longest 8K + 1 <= num_frames (at least 9) whose frames and sound fit into the slot."""
        by_sound = math.floor((self.num_samples / SAMPLE_RATE_HZ - SOUND_CONTEXT_S) * frame_rate)
        fitting = min(num_frames, self.num_frames, by_sound)
        return max(9, (fitting - 1) // 8 * 8 + 1)


@dataclass(frozen=True, slots=True)
class StoredArray:
    """Where an array lies in a slot: offset in bytes, shape, and dtype as numpy writes it."""

    offset: int
    shape: tuple[int, ...]
    dtype: str


def plan(width: int, height: int, count: int, free_bytes: int | None) -> SlotLayout:
    """The layout with most frames (8K + 1, at most 257) of which `count` slots fit; None = no limit known.

    Raises DeviceError when not even 33 frames fit.
    """
    for num_frames in range(MAX_FRAMES, MIN_FRAMES - 1, -8):
        layout = SlotLayout(width, height, num_frames)
        if free_bytes is None or layout.num_bytes * count <= free_bytes * USABLE_SHARE:
            return layout
    need_mb = math.ceil(layout.num_bytes * count / USABLE_SHARE / 1e6)
    raise DeviceError(
        f"{SHARED_MEMORY_FOLDER}: {free_bytes // 1_000_000} MB of shared memory are free, {width}x{height} needs at "
        f"least {need_mb} MB; give the container more (docker run --shm-size=1g) or choose a smaller --size"
    )


def free_shared_memory() -> int | None:
    """Free bytes for shared memory, None where the system has no fixed share for it."""
    if not SHARED_MEMORY_FOLDER.is_dir():
        return None
    return shutil.disk_usage(SHARED_MEMORY_FOLDER).free


class Slots:
    """The segments of a show. `create` makes them and owns the free list; `attach` opens them in the engine process."""

    def __init__(self, layout: SlotLayout, segments: list[SharedMemory], is_owner: bool):
        self.layout = layout
        self._segments = segments
        self._is_owner = is_owner
        self._free = list(range(len(segments)))

    @classmethod
    def create(cls, width: int, height: int, count: int) -> Slots:
        """`count` new slots for frames of width x height; raises DeviceError when shared memory is too small."""
        layout = plan(width, height, count, free_shared_memory())
        if layout.num_frames < MAX_FRAMES:
            log.warning(
                "shared memory is small: chunks of %dx%d have at most %d frames", width, height, layout.num_frames
            )
        slots = cls(layout, [], is_owner=True)
        try:
            for _ in range(count):
                slots._segments.append(SharedMemory(create=True, size=layout.num_bytes))
        except OSError as error:
            slots.close()
            size_mb = layout.num_bytes * count // 1_000_000
            raise DeviceError(
                f"cannot make {size_mb} MB of shared memory: {error.strerror}; choose a smaller --size"
            ) from None
        slots._free = list(range(count))
        return slots

    @classmethod
    def attach(cls, layout: SlotLayout, names: tuple[str, ...]) -> Slots:
        """The slots that another process made."""
        return cls(layout, [SharedMemory(name) for name in names], is_owner=False)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(segment.name for segment in self._segments)

    @property
    def num_free(self) -> int:
        return len(self._free)

    def acquire(self) -> int | None:
        """A free slot, or None."""
        return self._free.pop() if self._free else None

    def release(self, slot: int) -> None:
        """Give a slot back: its contents may be overwritten from now on."""
        if slot in self._free:
            raise ValueError(f"slot {slot} is already free")
        self._free.append(slot)

    def frames(self, slot: int, num_frames: int) -> np.ndarray:
        """View of the first frames of a slot, (F, H, W, 3) uint8."""
        shape = (num_frames, self.layout.height, self.layout.width, 3)
        # frombuffer keeps the mapping open as long as the view lives; np.ndarray(buffer=...) would not
        view = np.frombuffer(self._segments[slot].buf, np.uint8, math.prod(shape), self.layout.sound_bytes)
        return view.reshape(shape)

    def audio(self, slot: int, num_samples: int) -> np.ndarray:
        """View of the first sound samples of a slot, (S, 2) float32."""
        return np.frombuffer(self._segments[slot].buf, np.float32, num_samples * 2).reshape(num_samples, 2)

    def store(self, slot: int, arrays: Sequence[np.ndarray]) -> tuple[StoredArray, ...]:
        """Copy arrays into a slot whose chunk is still to be made, one after the other; where they lie in it.

        Raises EngineError when they do not fit.
        """
        stored, at = [], 0
        for array in arrays:
            stored.append(StoredArray(at, array.shape, array.dtype.str))
            at += -(-array.nbytes // 8) * 8
        if at > self.layout.num_bytes:
            size_mb, room_mb = at // 1_000_000, self.layout.num_bytes // 1_000_000
            raise EngineError(f"inputs of {size_mb} MB do not fit a slot of {room_mb} MB; ask for fewer frames")
        for where, array in zip(stored, arrays, strict=True):
            self.stored(slot, where)[:] = array
        return tuple(stored)

    def stored(self, slot: int, where: StoredArray) -> np.ndarray:
        """View of an array that was stored in a slot; it is good until the slot's chunk is written."""
        dtype = np.dtype(where.dtype)
        view = np.frombuffer(self._segments[slot].buf, dtype, math.prod(where.shape), where.offset)
        return view.reshape(where.shape)

    def close(self) -> None:
        """Close the segments, and remove them where they were made: after the engine process ended, views dropped."""
        for segment in self._segments:
            if self._is_owner:
                segment.unlink()
            _close(segment)
        self._segments = []
        self._free = []

    def __enter__(self) -> Slots:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _close(segment: SharedMemory) -> None:
    """Close a segment; where views onto it are still held, leave the mapping to the last of them."""
    try:
        segment.close()
    except BufferError:
        gc.collect()
        try:
            segment.close()
        except BufferError:
            log.debug("%s: views onto a slot are still held", segment.name)
            # Its destructor would try again and print the same error at exit; the views keep the mapping themselves.
            segment._buf = segment._mmap = None
            segment.close()
