"""A live input that drives: is the delay what is said, and do pulses fall on the beat? On a clock turned by hand.

Session, timeline, the mode for sound with its ring, and engine are the show's own; sound card, input device and time
are not, so that what is measured is where things are placed and not how busy this machine is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ltx_live import params
from ltx_live.bench._bars import Bar
from ltx_live.bench._driven import SEED, beat_times_s, drums, filled
from ltx_live.bench._pulses import off_the_beat, place
from ltx_live.chunk import SAMPLE_RATE_HZ, Chunk, Engine
from ltx_live.engine.process import Ready
from ltx_live.media.gate import Gate
from ltx_live.media.live_sound import LiveSound
from ltx_live.modes.sound import SoundMode
from ltx_live.moment import Moment
from ltx_live.session import Session
from ltx_live.stage.playlist import read
from ltx_live.stage.timeline import Timeline
from ltx_live.tempo import Tempo

TICK_SAMPLES = SAMPLE_RATE_HZ // 100
INPUT_LATENCY_S, OUTPUT_LATENCY_S = 0.02, 0.03
INPUT_PPM = 50  # how much faster the input's clock runs than the output's
CHUNK_TIMES_S = (0.85, 1.05)  # how long a chunk takes, as measured with the pocket on two cores
SETTLED_S = 8.0  # nothing is measured before
PLAYED_S, QUICK_S = 30.0, 16.0
FARTHEST_S = 8.0  # the longest delay that is looked for
LEAST_TIE = 0.3  # a picture whose best correlation with the beat is less has no pulses
TEMPOS_BPM = (97, 128)
PROMPT = "slow purple plasma with drums"


@dataclass
class Played:
    """What a room heard and saw, on its own clock, and what the show said.

    `heard` holds a tick of sound (TICK_SAMPLES,) each, `positions` the media position after each tick; `seen` has
    (time in s, mean brightness 0..1) of every frame that was shown; `said` (first media position, delay in s) of every
    chunk that was asked for.
    """

    heard: list[np.ndarray] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    seen: list[tuple[float, float]] = field(default_factory=list)
    said: list[tuple[int, float]] = field(default_factory=list)


class RoomInput:
    """An AudioInput whose device is always there; the room writes its `sound`."""

    device = "room"

    def __init__(self) -> None:
        self.sound = LiveSound()
        self.gate = Gate()

    def open(self, pattern: str = "") -> None:
        """It is open."""

    def check(self, may_open: bool = True) -> None:
        """It is never lost."""


class Room:
    """Plays a track (S, 2) float32 to the live input of a show with these values, which lets it be heard."""

    def __init__(self, engine: Engine, values: Mapping[str, Any], track: np.ndarray):
        values = {**values, "audioin/source": "live", "audio/monitor": True}
        self.played = Played()
        self._engine = engine
        self._track = track
        self._generation = params.snapshot(params.GenerationParams, values)
        self._crossfade_s = values["out/crossfade"]
        self._sound = SoundMode(Path(), Tempo(values["tempo/bpm"]))
        self._sound.input = RoomInput()
        self._sound.take(values)
        self._session, self._timeline = Session(), Timeline()
        self._session.handle(Ready(engine.info), 0.0)
        self._random = np.random.default_rng(1)
        self._made: tuple[float, Chunk] | None = None
        self._shown: tuple[int, int, int] | None = None
        self._now = self._position = 0

    @property
    def num_underruns(self) -> int:
        """Of the show, which has none unless it is too slow."""
        return self._session.statistics.num_underruns

    def play(self, seconds: float) -> None:
        """Let so much time go by."""
        for _ in range(round(seconds * SAMPLE_RATE_HZ / TICK_SAMPLES)):
            self._hear()
            self._capture()
            list(self._sound.tick(self._now_s, self._position, may_open=True))
            self._show()
            self._work()

    @property
    def _now_s(self) -> float:
        return self._now / SAMPLE_RATE_HZ

    def _hear(self) -> None:
        """A tick of sound; the media clock stands where there is none."""
        out = np.zeros((TICK_SAMPLES, 2), np.float32)
        num = min(TICK_SAMPLES, self._timeline.end - self._position)
        read(self._timeline.playlist.segments, self._position, out[:num])
        self._position += num
        self._now += TICK_SAMPLES
        self.played.heard.append(out.mean(axis=1))
        self.played.positions.append(self._position)

    def _capture(self) -> None:
        """The input's block of what was to be heard in the room a little ago, on the input's own clock."""
        rate_hz = SAMPLE_RATE_HZ * (1 + 1e-6 * INPUT_PPM)
        sound = self._sound.input.sound
        while (sound.num_samples + TICK_SAMPLES) / rate_hz <= self._now_s - INPUT_LATENCY_S:
            times_s = (sound.num_samples + np.arange(TICK_SAMPLES)) / rate_hz
            sound.write(self._track[np.rint(times_s * SAMPLE_RATE_HZ).astype(int)], times_s[0])

    def _show(self) -> None:
        picture = self._timeline.frame_at(self._position)
        if picture is None or picture.newest.key == self._shown:
            return
        self._shown = picture.newest.key
        light = picture.frame.pixels.mean()
        if picture.incoming is not None:
            light += picture.mix * (picture.incoming.pixels.mean() - light)
        self.played.seen.append((self._now_s, float(light) / 255))

    def _work(self) -> None:
        """What the show does at a tick: take the chunk that is ready, and ask for the next."""
        if self._made is not None and self._now_s >= self._made[0]:
            chunk, self._made = self._made[1], None
            committed = self._position + round(OUTPUT_LATENCY_S * SAMPLE_RATE_HZ)
            self._timeline.append(chunk, committed, self._crossfade_s)
            self._sound.made()
            self._session.handle(chunk, self._now_s)
        playlist = self._timeline.playlist
        self._timeline.advance(self._position, playlist.generation)
        moment = Moment(
            self._now_s,
            self._position,
            self._timeline.end,
            self._generation,
            0,
            2,
            self._position + OUTPUT_LATENCY_S * SAMPLE_RATE_HZ,
            self._timeline.cut_at,
        )
        request = self._session.decide(moment)
        if request is None:
            return
        *_, chunk = self._engine.generate(filled(request, self._sound))
        self.played.said.append((request.start, self._sound.delay_s))
        self._made = self._now_s + self._random.uniform(*CHUNK_TIMES_S), chunk


def delays_s(played: Played, track: np.ndarray) -> np.ndarray:
    """(delay that was said, delay that is heard) of every settled chunk, in s: (chunks, 2).

    The sound that is heard is looked for in what was played to the input (S, 2).
    """
    heard, source = np.concatenate(played.heard), track.mean(axis=1)
    starts = [start for start, _ in played.said]
    found = []
    for (start, said_s), end in zip(played.said, starts[1:], strict=False):
        first, last = (TICK_SAMPLES * int(np.searchsorted(played.positions, at)) for at in (start, end))
        reach = min(first, round(FARTHEST_S * SAMPLE_RATE_HZ))
        if first < SETTLED_S * SAMPLE_RATE_HZ or last > len(heard):
            continue
        delay = reach - place(heard[first:last], source[first - reach : last])
        found.append((said_s, delay / SAMPLE_RATE_HZ))
    return np.array(found).reshape(-1, 2)


def lateness_s(played: Played, beats_s: np.ndarray) -> float:
    """How much later than the beats of the room the pulses of the picture are; infinite where it has none."""
    times_s, brightness = np.array(played.seen).T
    settled = times_s >= SETTLED_S
    late_s, tie = off_the_beat(brightness[settled], times_s[settled], beats_s)
    return late_s if tie >= LEAST_TIE else float("inf")


def bars(engine: Engine, values: Mapping[str, Any], quick: bool) -> Iterator[Bar]:
    """A steady drum track in the room, without and with alignment to its beat."""
    values = {**values, "prompt": PROMPT}
    seconds = QUICK_S if quick else PLAYED_S
    errors_ms, late_ms = [], []
    print("live input: delay said and heard (s), how late the pulses are (ms), underruns")
    for bpm in TEMPOS_BPM[:1] if quick else TEMPOS_BPM:
        track, beats_s = drums(bpm, SEED, seconds + 1), beat_times_s(bpm, SEED, seconds)
        for align in ("beat",) if quick else ("off", "beat", "bar"):
            room = Room(engine, {**values, "live_align": align, "tempo/bpm": float(bpm)}, track)
            room.play(seconds)
            delays = delays_s(room.played, track)
            errors_ms.append(1000 * float(np.abs(delays[:, 0] - delays[:, 1]).max()))
            late_s = lateness_s(room.played, beats_s)
            said = " ".join(f"{delay:.3f}" for delay in sorted(set(delays[:, 0].round(3))))
            print(f"  {bpm} bpm, {align:<4}  said {said}  heard off by {errors_ms[-1]:.2f} ms at most  ", end="")
            print(f"pulses {1000 * late_s:+.0f} ms  underruns {room.num_underruns}", flush=True)
            if align != "off":
                late_ms.append(1000 * abs(late_s))
    yield Bar("live: delay said against heard, furthest", max(errors_ms), 10, "ms", is_most=True)
    yield Bar("live: pulses off the beat, furthest", max(late_ms), 1000 / values["frame_rate"], "ms", is_most=True)
