"""The show's order of chunks: which frame stands at a position, what sound follows, and which chunks are done with."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ltx_live.chunk import SAMPLE_RATE_HZ, Chunk, frames_to_samples
from ltx_live.stage.playlist import CUT_SAMPLES, EMPTY, TAIL_SAMPLES, Playlist, cross_fade, fade_out, read

log = logging.getLogger(__name__)

BLACK = -1
"""The number of the black frame after the last one of a chunk."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame of a chunk: pixels (H, W, 3) uint8 as a view, never a copy; `number` counts in the chunk."""

    pixels: np.ndarray
    chunk: int
    number: int
    epoch: int

    @property
    def key(self) -> tuple[int, int, int]:
        """Equal keys are the same pixels."""
        return self.chunk, self.epoch, self.number


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What to show: `frame`, and while a seam is crossed the next chunk's frame, blended in by `mix` 0..1.

    `time_s` is when, in seconds of a clock that goes on where the media waits.
    """

    frame: Frame
    incoming: Frame | None = None
    mix: float = 0.0
    time_s: float = 0.0

    @property
    def newest(self) -> Frame:
        return self.frame if self.incoming is None else self.incoming


class Cut(NamedTuple):
    """Where the next chunk can go on: after the first `frame` frames of `chunk`, at media position `start`."""

    chunk: Chunk
    frame: int
    start: int


@dataclass(frozen=True, slots=True)
class _Shown:
    """A chunk in the picture: it is blended in over [fade_start, fade_end) and stays until the next one."""

    chunk: Chunk
    fade_start: int
    fade_end: int

    def frame_at(self, position: float) -> Frame:
        chunk = self.chunk
        number = math.floor((position - chunk.video_start + 0.5) * chunk.frame_rate / SAMPLE_RATE_HZ)
        number = min(max(number, 0), chunk.num_frames - 1)
        return Frame(chunk.frames[number], chunk.index, number, chunk.epoch)


@dataclass(frozen=True, slots=True)
class _Sound:
    """A stretch of sound; `chunk` is the owner of the samples, None for a rendered fade."""

    start: int
    samples: np.ndarray
    chunk: Chunk | None

    @property
    def end(self) -> int:
        return self.start + len(self.samples)


class Timeline:
    """Owns the appended chunks. All positions are samples of the media clock; one thread only."""

    def __init__(self) -> None:
        self.playlist: Playlist = EMPTY
        self._shown: list[_Shown] = []
        self._sound: list[_Sound] = []
        self._held: list[Chunk] = []
        self._retired: list[tuple[int, Chunk]] = []
        self._position = -math.inf

    @property
    def end(self) -> int:
        """Position where the last chunk ends; 0 before the first."""
        return self._shown[-1].chunk.end if self._shown else 0

    @property
    def last(self) -> Cut | None:
        """Where the next chunk goes on without a cut; None before the first chunk."""
        if not self._shown:
            return None
        chunk = self._shown[-1].chunk
        return Cut(chunk, chunk.num_frames, chunk.end)

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """The chunks still needed, oldest first."""
        return tuple(self._held)

    def unplayed_s(self, position: float) -> float:
        """Seconds of material after `position`."""
        return max(0.0, (self.end - position) / SAMPLE_RATE_HZ)

    def cut_at(self, position: float) -> Cut | None:
        """The first frame boundary at or after `position`; the end when there is no material there.

        A frame at least stays of the chunk that is cut: what follows has something to continue.
        """
        owner = next((shown.chunk for shown in reversed(self._shown) if shown.chunk.cut <= position), None)
        if owner is None or position >= self.end:
            return self.last
        offset = (position - owner.video_start) * owner.frame_rate / SAMPLE_RATE_HZ
        frame = min(max(1, math.ceil(offset - 0.5 * owner.frame_rate / SAMPLE_RATE_HZ)), owner.num_frames)
        return Cut(owner, frame, owner.video_start + frames_to_samples(frame, owner.frame_rate))

    def frame_at(self, position: float) -> Picture | None:
        """What to show at `position`; the last frame is held beyond the end. None before the first chunk."""
        self._position = position
        for index in range(len(self._shown) - 1, -1, -1):
            shown = self._shown[index]
            if shown.fade_start <= position:
                break
        else:
            return None
        frame = shown.frame_at(position)
        if index == 0 or position >= shown.fade_end:
            return Picture(frame)
        mix = (position - shown.fade_start) / (shown.fade_end - shown.fade_start)
        return Picture(self._shown[index - 1].frame_at(position), frame, mix)

    def again(self, elapsed_s: float, way: str) -> Picture | None:
        """What to show so long after nothing was left to play: `hold`, `loop`, `pingpong` or `black`.

        The last chunk's frames go round from its first, or back from its last. None before the first chunk.
        """
        if not self._shown:
            return None
        chunk = self._shown[-1].chunk
        last, passed = chunk.num_frames - 1, math.floor(elapsed_s * chunk.frame_rate + 1e-6)
        if way == "black":
            return Picture(Frame(np.zeros_like(chunk.frames[last]), chunk.index, BLACK, chunk.epoch))
        if way == "loop":
            number = passed % chunk.num_frames
        else:
            number = abs(last - passed % (2 * last)) if way == "pingpong" and last else last
        return Picture(Frame(chunk.frames[number], chunk.index, number, chunk.epoch))

    def append(self, chunk: Chunk, committed: int = 0, crossfade_s: float = 0.25) -> None:
        """Put a chunk in; its new material replaces everything from its cut on, and `playlist` is renewed.

        `committed` is the first sample that the audio callback has not taken yet. A continued chunk is faded in over
        its overlap, the picture for at most `crossfade_s`; a new take over the first moment after its start.
        """
        self._shown = [shown for shown in self._shown if shown.chunk.cut < chunk.cut]
        self._shown.append(self._blend(chunk, round(crossfade_s * SAMPLE_RATE_HZ)))
        self._splice(chunk, committed)
        self._held.append(chunk)
        self._publish()

    def advance(self, position: float, seen_generation: int) -> list[Chunk]:
        """Let go of what is played at `position`; the chunks that nobody reads any more, whose slots are free now.

        `seen_generation` is the playlist generation of the audio callback's last block.
        """
        while len(self._shown) > 1 and self._shown[1].fade_end <= position:
            del self._shown[0]
        kept = [sound for sound in self._sound[:-1] if sound.end > position] + self._sound[-1:]
        if len(kept) < len(self._sound):
            self._sound = kept
            self._publish()
        elif len(self._needed()) < len(self._held):
            self._retire()
        free = [chunk for generation, chunk in self._retired if generation <= seen_generation]
        self._retired = [pair for pair in self._retired if pair[0] > seen_generation]
        return free

    def _blend(self, chunk: Chunk, longest: int) -> _Shown:
        """Where a chunk is faded in: inside its overlap, or after its start when it continues nothing."""
        if not self._shown:
            return _Shown(chunk, chunk.cut, chunk.cut)
        if chunk.num_overlap == 0:
            start = math.ceil(max(chunk.cut, self._position))
            return _Shown(chunk, start, start + longest)
        start = max(chunk.cut - longest, chunk.video_start, self._position, self._shown[-1].fade_end)
        return _Shown(chunk, min(math.ceil(start), chunk.cut), chunk.cut)

    def _splice(self, chunk: Chunk, committed: int) -> None:
        """Replace the sound from the overlap on: linear over what is left of it, or a cut fade when it is past.

        Where both have the same sound, as when it drives the picture, it goes on as it is.
        """
        committed = min(committed, self.playlist.end)  # the callback stands there in an underrun
        start = max(chunk.audio_start, committed)
        seam = chunk.audio_start + chunk.num_overlap_samples
        same_moment = start < seam
        if chunk.num_overlap and seam - start < TAIL_SAMPLES:
            log.warning("chunk %d is late: %.0f ms left for its seam", chunk.index, max(0, seam - start) / 48)
        stop = max(seam, start + TAIL_SAMPLES) if same_moment else start + CUT_SAMPLES
        new = chunk.audio[start - chunk.audio_start : stop - chunk.audio_start]  # (N, 2)
        heard = self._heard_sound(committed)
        old = np.empty((min(len(new), max(0, heard[-1].end - start)) if heard else 0, 2), np.float32)
        read([(s.start, s.samples) for s in heard], start, old)
        is_linear = same_moment or (len(old) > 0 and np.array_equal(old, new[: len(old)]))
        kept = [_Sound(s.start, s.samples[: start - s.start], s.chunk) for s in heard if s.start < start]
        rest = _Sound(start + len(new), chunk.audio[start - chunk.audio_start + len(new) :], chunk)
        self._sound = [*kept, _Sound(start, cross_fade(old, new, is_linear), None), rest]

    def _heard_sound(self, committed: int) -> list[_Sound]:
        """The sound to go on from: all that the chunks have, or with the closing fade when that has begun."""
        if not self._sound or committed <= self.playlist.segments[-1][0]:
            return self._sound
        start, tail = self.playlist.segments[-1]
        body = [_Sound(s.start, s.samples[: start - s.start], s.chunk) for s in self._sound if s.start < start]
        return [*body, _Sound(start, tail, None)]

    def _publish(self) -> None:
        """Renew the playlist: the sound up to the end of the last chunk, closed by a fade-out."""
        sound_end, end = self._sound[-1].end, self.end
        tail_start = end if sound_end >= end + TAIL_SAMPLES else max(min(sound_end, end) - TAIL_SAMPLES, 0)
        tail = np.empty((min(TAIL_SAMPLES, max(0, sound_end - tail_start)), 2), np.float32)
        read(((s.start, s.samples) for s in self._sound), tail_start, tail)
        body = [(s.start, s.samples[: tail_start - s.start]) for s in self._sound if s.start < tail_start]
        segments = (*body, (tail_start, fade_out(tail)))
        self.playlist = Playlist(self.playlist.generation + 1, segments, max(end, tail_start + len(tail)))
        self._retire()

    def _needed(self) -> list[Chunk]:
        users = [shown.chunk for shown in self._shown] + [s.chunk for s in self._sound if s.chunk is not None]
        return [chunk for chunk in self._held if any(chunk is user for user in users)]

    def _retire(self) -> None:
        """Move chunks that neither picture nor playlist needs to the list that waits for the audio callback."""
        needed = self._needed()
        gone = [chunk for chunk in self._held if not any(chunk is other for other in needed)]
        self._retired += [(self.playlist.generation, chunk) for chunk in gone]
        self._held = needed
