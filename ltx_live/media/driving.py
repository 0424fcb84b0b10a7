"""The sound that drives the picture, on the media clock: a file with a play-head, or a live input with a delay.

Who plays it, and how changes land: docs/decisions/0008-driving-audio.md.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.media.live_sound import LiveSound

FADE_SAMPLES = SAMPLE_RATE_HZ // 100
"""Where the driving sound jumps, the old fades out in 10 ms."""

DRIFT_SAMPLES = SAMPLE_RATE_HZ // 200
"""A live input's clock may run away from the media clock by 5 ms before it is set right by a jump."""

DELAY_STEP_S = 0.1
"""The delay of a live input is a multiple of this, or of a beat or bar."""

_SPARE_S = 0.05
_NUM_NEEDS = 8
_NUM_OFFSETS = 64
_KEPT_SAMPLES = 30 * SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """A file's sound (S, 2) float32, played once or round and round."""

    samples: np.ndarray
    loops: bool

    def read(self, position: int, num_samples: int) -> np.ndarray:
        """(num_samples, 2) from its own sample `position` on; silence outside when it does not loop."""
        out = np.zeros((num_samples, 2), np.float32)
        done = 0
        while done < num_samples:
            at = self.place(position + done)
            if at >= len(self.samples):
                break
            if at < 0:
                done -= at
                continue
            part = self.samples[at : at + num_samples - done]
            out[done : done + len(part)] = part
            done += len(part)
        return out

    def place(self, position: int) -> int:
        """The sample that a play-head stands at which has run to `position`."""
        return position % len(self.samples) if self.loops else min(position, len(self.samples))


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """From media position `start` on, `source` is heard from its own sample `head` on; None is silence.

    `cue` counts the play-head's jumps; this piece obeys the one with that number.
    """

    start: int
    source: Track | LiveSound | None = None
    head: int = 0
    gain: float = 1.0
    cue: int = 0

    def head_at(self, position: int) -> int:
        """The source's own sample at a media position."""
        head = self.head + position - self.start
        return self.source.place(head) if isinstance(self.source, Track) else head

    def read(self, position: int, num_samples: int) -> np.ndarray:
        """(num_samples, 2) from a media position on, wherever the piece begins and ends."""
        if self.source is None:
            return np.zeros((num_samples, 2), np.float32)
        samples = self.source.read(self.head + position - self.start, num_samples)
        return samples if self.gain == 1.0 else samples * np.float32(self.gain)

    def has_begun_softly(self) -> bool:
        """Whether it needs no fade-in: a file from its first sample."""
        return isinstance(self.source, Track) and self.head == 0


class Plan(NamedTuple):
    """What drives, by media position: pieces in the order of their starts. Nothing in it ever changes."""

    pieces: tuple[Piece, ...] = ()

    def stretch(self, start: int, num_samples: int) -> np.ndarray:
        """The driving sound (num_samples, 2) float32 from media position `start` on; silence where there is none."""
        out = np.zeros((num_samples, 2), np.float32)
        for index, piece in enumerate(self.pieces):
            end = self.pieces[index + 1].start if index + 1 < len(self.pieces) else start + num_samples
            low, high = max(start, piece.start), min(start + num_samples, end)
            if low < high:
                out[low - start : high - start] = self._sound(index, low, high - low)
        return out

    def at(self, position: int) -> Piece | None:
        """The piece that is heard at a media position; None before the first."""
        return next((piece for piece in reversed(self.pieces) if piece.start <= position), None)

    def before(self, position: int) -> Plan:
        """The plan without what begins at a media position or later, and without what is long over there."""
        pieces = [piece for piece in self.pieces if piece.start < position]
        while len(pieces) > 1 and pieces[1].start < position - _KEPT_SAMPLES:
            del pieces[0]
        return Plan(tuple(pieces))

    def _sound(self, index: int, start: int, num_samples: int) -> np.ndarray:
        """A piece, with the fade from what was heard before it."""
        piece = self.pieces[index]
        samples = piece.read(start, num_samples)
        num = min(num_samples, piece.start + FADE_SAMPLES - start)
        is_first = index == 0
        if num <= 0 or (is_first and piece.has_begun_softly()):
            return samples
        rise = (np.arange(num, dtype=np.float32)[:, None] + (start - piece.start + 0.5)) / FADE_SAMPLES  # (N, 1)
        if not piece.has_begun_softly():
            samples[:num] *= rise
        if not is_first:
            samples[:num] += self._sound(index - 1, start, num) * (1 - rise)
        return samples


class Driving:
    """What drives now and from the next chunk on. The show's thread alone uses it.

    `loops` and `gain` may be set at any time; so may what drives, and where its play-head jumps. All that takes effect
    where the next chunk begins: `ask` gives the plan for a request, `made` says that its chunk is in the timeline. What
    was asked for and never made is forgotten, and takes effect with the request that follows.
    """

    def __init__(self) -> None:
        self.loops = True
        self.gain = 1.0
        self.delay_step_s = DELAY_STEP_S
        self.plan = Plan()
        self._asked = Plan()
        self._source: np.ndarray | LiveSound | None = None
        self._cue = self._head = 0
        self._offsets: deque[float] = deque(maxlen=_NUM_OFFSETS)
        self._needs: deque[float] = deque(maxlen=_NUM_NEEDS)
        self._lag = 0.0
        self._position = 0.0
        self._delay = 0

    @property
    def is_live(self) -> bool:
        return isinstance(self._source, LiveSound)

    @property
    def is_on(self) -> bool:
        """Whether anything drives, from the next chunk on."""
        return self._source is not None

    @property
    def delay_s(self) -> float:
        """How much later than it was captured a live input is in the picture."""
        return self._delay / SAMPLE_RATE_HZ if self.is_live else 0.0

    def play(self, samples: np.ndarray | None) -> None:
        """Drive with a file's sound (S, 2) float32 at 48 kHz from its start on, or with nothing."""
        self._source = samples
        self.seek(0.0)

    def listen(self, sound: LiveSound) -> None:
        """Drive with a live input."""
        self._source = sound
        self._offsets.clear()
        self._needs.clear()

    def seek(self, seconds: float) -> None:
        """The play-head jumps to a time of the file."""
        self._cue += 1
        self._head = max(0, round(seconds * SAMPLE_RATE_HZ))

    def follow(self, now_s: float, position: float) -> None:
        """Call every tick with the media position that is heard now: where a live input stands on the media clock."""
        self._position = position
        captured = self._source.position_at(now_s) if self.is_live else None
        if captured is not None:
            self._offsets.append(captured - position)
            self._lag = min(max(0.0, captured - self._source.num_samples), _SPARE_S * SAMPLE_RATE_HZ * 4)

    def ask(self, start: int, end: int) -> Plan:
        """The plan for a chunk whose new material is media [start, end): changes since the last land at its start."""
        before = self.plan.before(start)
        last = before.pieces[-1] if before.pieces else None
        new = self._live_piece(start, end) if self.is_live else self._file_piece(start, last)
        self._asked = before if new is None or _goes_on(last, new) else Plan((*before.pieces, new))
        return self._asked

    def made(self) -> None:
        """The chunk that was asked for last is in the timeline, from its start on."""
        self.plan = self._asked

    def _file_piece(self, start: int, last: Piece | None) -> Piece | None:
        if self._source is None:
            return None if last is None else Piece(start, cue=self._cue)
        known = last.source if last is not None and isinstance(last.source, Track) else None
        track = Track(self._source, self.loops)
        if known is not None and known.samples is self._source and last.cue == self._cue:
            if known.loops == self.loops:
                track = known
            return Piece(start, track, track.place(last.head_at(start)), self.gain, self._cue)
        return Piece(start, track, track.place(self._head), self.gain, self._cue)

    def _live_piece(self, start: int, end: int) -> Piece:
        if not self._offsets:
            return Piece(start)
        self._needs.append(end - self._position + self._lag)
        step = self.delay_step_s * SAMPLE_RATE_HZ
        num_steps = math.ceil((max(self._needs) + _SPARE_S * SAMPLE_RATE_HZ) / step - 1e-9)
        self._delay = round(num_steps * step)
        offset = float(np.median(self._offsets))
        return Piece(start, self._source, round(start + offset) - self._delay, self.gain)


def _goes_on(last: Piece | None, new: Piece) -> bool:
    """Whether the last piece simply goes on where the new one would begin."""
    if last is None or last.source is not new.source or last.gain != new.gain:
        return False
    if isinstance(new.source, LiveSound):
        return abs(last.head_at(new.start) - new.head) <= DRIFT_SAMPLES
    return last.cue == new.cue or new.source is None


def delay_step_s(align: str, bpm: float, beats_per_bar: int) -> float:
    """What the delay of a live input is a multiple of, for a value of `live_align`: a beat, a bar, or next to nothing.

    Pulses of steady music that are late by whole beats fall on the beat.
    """
    beats = {"beat": 1, "bar": beats_per_bar}.get(align)
    return DELAY_STEP_S if beats is None else beats * 60 / bpm


def heard(source: str, driving: Driving, align: str, monitor: bool) -> str:
    """What a chunk sounds of, for a value of `audio/source`: generated, driving or off.

    Without a driving sound that is the generated one. A live input is heard only if `audio/monitor` is set, or if
    `live_align` is `through`, which is to own the speakers.
    """
    if source != "driving" or not driving.is_on:
        return "generated" if source == "driving" else source
    return "driving" if not driving.is_live or monitor or align == "through" else "off"
