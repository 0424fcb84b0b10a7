"""A show on a hand-turned clock, for tests of when what is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ltx_live.chunk import SAMPLE_RATE_HZ, ChunkRequest, Progress
from ltx_live.engine.process import Cancelled, Failed, Ready
from ltx_live.engine.testcard import TestCardEngine, read_counters
from ltx_live.gestures import landing_rules
from ltx_live.moment import Moment
from ltx_live.params import GenerationParams, defaults
from ltx_live.session import CancelRequest, Session
from ltx_live.stage.timeline import Timeline

TICK_S = 0.01
LATENCY_S = 0.03
FRAME_S = 1 / 24
NUM_STEPS = 8


def pocket_s(num_frames: int) -> float:
    """How long a chunk takes, as measured with the pocket model on two cores: 0.83 s for 33, 0.91 s for 57 frames."""
    return 0.72 + num_frames / 300


class Show:
    """A show on a hand-turned clock: a timeline, chunks of the test card that take `time_s(num_frames)`, one slot more.

    A gesture changes the prompt; `heard` has (gesture, seconds until the first new frame with it) in order. A new
    text is encoded ahead, in `encode_s`, as soon as no chunk is being made.
    """

    def __init__(
        self, time_s: Callable[[int], float] = pocket_s, tick_s: float = TICK_S, encode_s: float = 0.0, **values
    ):
        self.session = Session(draw_seed=lambda: 7)
        self.engine = TestCardEngine(32, 32)
        self.timeline = Timeline()
        self.params = GenerationParams(**{"num_frames": 57, "prompt": "0", **values})
        self.quantise("now")
        self.time_s, self.tick_s, self.encode_s = time_s, tick_s, encode_s
        self.texts_to_encode: list[str] = []
        self._encoding_until_s: float | None = None
        self.now_s = self.position = 0.0
        self.speed = 1.0
        self.fails = lambda params: False
        self.epoch = 0
        self.asked: list[ChunkRequest] = []
        self.cancelled: list[int] = []
        self.seen: list[int] = []
        self.made_s: dict[int, float] = {0: 0.0}
        self.heard: dict[int, float] = {}
        self._done_at_s = self._cancelled_at_s = None
        self.session.handle(Ready(self.engine.info), 0.0)

    def quantise(self, rule: str, period_s: float = 4.0):
        """Gestures land by this rule of `tempo/quantise`; a bar takes so long on the media clock."""
        self.rules = landing_rules(defaults() | {"tempo/quantise": rule})
        self.period = round(period_s * SAMPLE_RATE_HZ)

    def land(self, rule: str, earliest: int) -> int | None:
        """Where a gesture lands by its rule."""
        return {"now": earliest, "chunk": None}.get(rule, -(-earliest // self.period) * self.period)

    @property
    def moment(self):
        encoding_s = self.encode_s * bool(self.texts_to_encode)
        return Moment(
            self.now_s, self.position, self.timeline.end, self.params, self.epoch, 2, self.committed,
            self.timeline.cut_at, self.rules, self.land,
            text_s=lambda params: encoding_s + self.encode_s * self.is_encoding(params),
            is_encoding=self.is_encoding,
            speed=self.speed,
        )  # fmt: skip

    @property
    def committed(self):
        return round(self.position + LATENCY_S * SAMPLE_RATE_HZ)

    def is_encoding(self, params) -> bool:
        return params.prompt in self.texts_to_encode

    def gesture(self, **values) -> int:
        self.epoch += 1
        if self.encode_s:
            self.texts_to_encode.append(values.get("prompt", str(self.epoch)))
        self.made_s[self.epoch] = self.now_s
        self.params = replace(self.params, **(values or {"prompt": str(self.epoch)}))
        return self.epoch

    def tick(self):
        self.now_s += self.tick_s
        self.position = min(self.timeline.end, self.position + self.tick_s * self.speed * SAMPLE_RATE_HZ)
        self._work()
        self._look()
        self.timeline.advance(self.position, self.timeline.playlist.generation)
        action = self.session.decide(self.moment)
        if isinstance(action, ChunkRequest):
            self.asked.append(action)
            self._took_s = self.time_s(action.num_frames)
            self._wait_s = self._text_s(action.params)
            self._done_at_s = self.now_s + self._took_s + self._wait_s
        elif isinstance(action, CancelRequest):
            self.cancelled.append(action.index)
            self._cancelled_at_s = self.now_s + self._step_s - (self.now_s - self._done_at_s) % self._step_s
        return action

    @property
    def _step_s(self):
        return self._took_s * 0.8 / NUM_STEPS

    def _work(self):
        """The engine: eight steps, then the decoding, which takes a fifth of the time."""
        running = self.session.running
        if running is None or self._done_at_s is None:
            self._encode()
            return
        if self._cancelled_at_s is not None:
            if self.now_s >= self._cancelled_at_s:
                self._cancelled_at_s = self._done_at_s = None
                self.session.handle(Cancelled(running.index), self.now_s)
        elif self.fails(running.params):
            self.session.handle(Failed(f"{running.params.num_steps} steps do not fit", running.index), self.now_s)
        elif self.now_s >= self._done_at_s:
            *_, chunk = self.engine.generate(running)
            chunk = replace(chunk, timings_s={"wait": self._wait_s})
            if self.session.comes_too_late(chunk, self.position, self.timeline.end, self.speed):
                self.session.drop(chunk, self.now_s)
                return
            self.timeline.append(chunk, self.committed)
            self.session.handle(chunk, self.now_s)
        else:
            steps_done = min(NUM_STEPS, int((self.now_s - self._done_at_s + self._took_s) / self._step_s))
            if steps_done > self.session.step[0]:
                self.session.handle(Progress(running.index, steps_done, NUM_STEPS, 0.5), self.now_s)

    def _encode(self):
        """Nothing is made: the engine encodes the next text."""
        if self._encoding_until_s is not None and self.now_s >= self._encoding_until_s:
            self._encoding_until_s = None
            del self.texts_to_encode[0]
        if self._encoding_until_s is None and self.texts_to_encode:
            self._encoding_until_s = self.now_s + self.encode_s

    def _text_s(self, params) -> float:
        """How long a request waits: for the text that is just being encoded, and for its own."""
        wait_s = 0.0
        if self._encoding_until_s is not None:
            wait_s, self._encoding_until_s = max(0.0, self._encoding_until_s - self.now_s), None
            del self.texts_to_encode[0]
        if self.is_encoding(params):
            wait_s += self.encode_s
            self.texts_to_encode.remove(params.prompt)
        return wait_s

    def _look(self):
        picture = self.timeline.frame_at(self.position)
        if picture is None:
            return
        self.seen.append(read_counters(picture.newest.pixels)[1])
        cuts = {chunk.index: chunk.cut for chunk in self.timeline.chunks}
        frames = [frame for frame in (picture.frame, picture.incoming) if frame and self.position >= cuts[frame.chunk]]
        newest = max((frame.epoch for frame in frames), default=-1)
        for gesture, made_s in self.made_s.items():
            if gesture <= newest:
                self.heard.setdefault(gesture, self.now_s - made_s)

    def play(self, duration_s):
        end_s = self.now_s + duration_s
        while self.now_s < end_s - 1e-6:
            self.tick()

    def until(self, is_so):
        end_s = self.now_s + 30
        while not is_so():
            assert self.now_s < end_s
            self.tick()

    def assert_fluent(self):
        """The picture went on frame by frame and never stood still."""
        assert self.session.statistics.num_underruns == 0
        assert set(np.diff(self.seen)) <= {0, 1}
        assert self.seen[-1] == pytest.approx(self.position * 24 / SAMPLE_RATE_HZ, abs=1)

    def stream(self, duration_s, rate_hz=50):
        """A knob that sends all the time; the gestures it made."""
        first, next_s, end_s = self.epoch + 1, self.now_s, self.now_s + duration_s
        while self.now_s < end_s:
            while next_s <= self.now_s:
                self.gesture()
                next_s += 1 / rate_hz
            self.tick()
        return range(first, self.epoch + 1)


def seconds(position: float) -> float:
    return position / SAMPLE_RATE_HZ
