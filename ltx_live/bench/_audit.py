"""The audit of `bench latency`: the same show twice, with and without a gesture, on a clock turned by hand.

The first picture that differs must be the first that is tagged with the gesture's epoch. Real show, real engine in this
process; simulated are the clock, the time a step takes, and the sound device.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from ltx_live import app, show
from ltx_live.bench._show import Watched
from ltx_live.chunk import SAMPLE_RATE_HZ, Chunk, ChunkRequest, Engine, Progress, StepValues, num_steps
from ltx_live.config import Config, initial_values
from ltx_live.control.controllers import Controllers
from ltx_live.control.event import Event, Origin
from ltx_live.control.registry import Registry
from ltx_live.engine.process import Cancelled, Encoded, EngineSpec, Message, Ready
from ltx_live.engine.slots import SlotLayout
from ltx_live.engine.worker import GOMP_SPINCOUNT
from ltx_live.engines import engine_spec
from ltx_live.lora_files import Shelf
from ltx_live.loras import Rack
from ltx_live.parts import Parts
from ltx_live.playback import Playback
from ltx_live.render import load_engine
from ltx_live.session import Session
from ltx_live.stage.clock import PlayClock
from ltx_live.stage.look import NumpyCompositor
from ltx_live.stage.player import Player
from ltx_live.stage.timeline import Picture

TICK_S = 1 / 60
BLOCK = 480
LATENCY_S = 0.05
CHUNK_TIME_S = {"instrument": 0.6, "live": 1.1}  # pretended, of a whole chunk; a short one takes less
FIRST_GESTURE_S, LAST_GESTURE_S, LENGTH_S = 2.5, 4.5, 8.0
GESTURE = ("/ltx/bank/2/connect", ())
LANDINGS = {
    "now": {"tempo/quantise": "now"},
    "chunk": {"tempo/quantise": "chunk"},
    "beat": {"tempo/quantise": "beat"},
    "late latch": {"tempo/quantise": "chunk", "late_latch": True},
}


class Drawn(NamedTuple):
    """One drawing: what it was of, and a checksum of its pixels."""

    epoch: int
    chunk: int
    number: int
    checksum: int


@dataclass(frozen=True)
class Verdict:
    """Drawings, counted from the gesture: the first that differs, and the first tagged; None where there is none."""

    landing: str
    gesture_s: float
    different: int | None
    tagged: int | None

    @property
    def passes(self) -> bool:
        return self.tagged is not None and self.different == self.tagged

    def __str__(self) -> str:
        told = "passes" if self.passes else f"FAILS: first different {self.different}, first tagged {self.tagged}"
        late = "" if self.tagged is None else f", seen after {self.tagged * TICK_S:.2f} simulated s"
        return f"audit, {self.landing}, gesture at {self.gesture_s:.2f} s: {told}{late}"


def run(model: str, preset: str, count: int) -> list[Verdict]:
    """Audit `count` gestures of every landing rule at random times, each against the same show without it.

    That show is played once: a rule that changed something without a gesture would make every verdict on it fail.
    """
    logging.disable(logging.INFO)
    os.environ.setdefault("GOMP_SPINCOUNT", GOMP_SPINCOUNT)  # as in an engine process, before torch is there
    random, verdicts = np.random.default_rng(3), []
    with tempfile.TemporaryDirectory() as home:

        def play_by(rule: Mapping[str, Any], gesture: int | None) -> list[Drawn]:
            settings = {"out/crossfade": 0, "randomize_seed": False, **rule}
            config = Config(model, Path(home), values=initial_values(model, preset, settings))
            return play(config, CHUNK_TIME_S[preset], gesture)

        plain = play_by({}, None)
        for landing, rule in LANDINGS.items():
            for gesture_s in random.uniform(FIRST_GESTURE_S, LAST_GESTURE_S, count):
                gesture = round(gesture_s / TICK_S)
                verdicts.append(compare(landing, gesture, plain, play_by(rule, gesture)))
    return verdicts


def compare(landing: str, gesture: int, plain: list[Drawn], changed: list[Drawn]) -> Verdict:
    """What the show with a gesture at a drawing, which ends once it is tagged, has to say beside the one without."""
    pairs = enumerate(zip(plain, changed, strict=False))
    different = next((k for k, (before, after) in pairs if before.checksum != after.checksum), None)
    tagged = next((k for k, drawn in enumerate(changed) if drawn.epoch > plain[0].epoch), None)
    from_gesture = (None if k is None else k - gesture for k in (different, tagged))
    return Verdict(landing, gesture * TICK_S, *from_gesture)


def play(config: Config, chunk_time_s: float, gesture: int | None) -> list[Drawn]:
    """Every drawing of a show from its first picture on, until a gesture's epoch; it comes before one of them."""
    clock = Clock()
    with clock.instead_of_the_computers():
        played, sound = assemble(config, clock, chunk_time_s)
        drawn = played.parts.window.seen
        while len(drawn) < LENGTH_S / TICK_S and (not drawn or drawn[-1][1].epoch == drawn[0][1].epoch):
            if len(drawn) == gesture:
                played.parts.events.put((Event(*GESTURE, Origin("bench"), clock.now_s),))
                gesture = None
            clock.now_s += TICK_S
            sound.play()
            for duty in played.duties:
                duty()
            if played.failure is not None:
                raise played.failure
        return [one for _, one in drawn]


class Clock:
    """Stands for the module `time` in the show."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    @contextlib.contextmanager
    def instead_of_the_computers(self) -> Iterator[None]:
        real, show.time = show.time, self
        try:
            yield
        finally:
            show.time = real


class SimulatedSound:
    """A sound device on the clock; has of an AudioOutput what the show uses."""

    def __init__(self, clock: Clock):
        self.player = Player()
        self.device = "simulated"
        self.pattern, self.is_looking = "", False
        self._clock = clock
        self._play_clock = PlayClock()
        self._num_blocks = 0

    def play(self) -> None:
        """Take the blocks that are due."""
        out = np.empty((BLOCK, 2), np.float32)
        while (due_s := self._num_blocks * BLOCK / SAMPLE_RATE_HZ) <= self._clock.now_s:
            self.player.render(out, due_s + LATENCY_S)
            self._num_blocks += 1

    def check(self) -> str | None:
        return None

    def position(self, now_s: float) -> float:
        return self._play_clock.position(self.player.published, now_s)


class SimulatedEngine:
    """An engine in this process whose steps take a scripted time on the clock; has of EngineProcess what is used.

    The same requests take the same times in every run.
    """

    def __init__(self, engine: Engine, clock: Clock, step_time_s: Callable[[ChunkRequest], float]):
        self.spec = EngineSpec("simulated")
        self._engine = engine
        self._clock = clock
        self._step_time_s = step_time_s
        self._messages: list[Message] = [Ready(engine.info)]
        self._request: ChunkRequest | None = None
        self._is_cancelled = False

    @property
    def can_request(self) -> bool:
        return self._request is None

    def request(self, request: ChunkRequest) -> None:
        self._request, self._is_cancelled, self._values = request, False, None
        self._steps = self._engine.generate(request)
        self._due_s = self._clock.now_s + self._step_time_s(request)

    def poll(self) -> list[Message]:
        while self._request is not None and self._clock.now_s >= self._due_s:
            self._messages.append(self._step())
        messages, self._messages = self._messages, []
        return messages

    def cancel(self) -> None:
        self._is_cancelled = True

    def send_step_values(self, values: StepValues) -> None:
        self._values = values

    def encode(self, prompts: tuple[str, ...]) -> tuple[str, ...]:
        self._engine.encode(prompts)
        self._messages.append(Encoded(prompts))
        return ()

    def release(self, index: int) -> None:
        """Nothing to do: the arrays are the chunk's own."""

    def _step(self) -> Progress | Chunk | Cancelled:
        request = self._request
        if self._is_cancelled:
            self._steps.close()
            self._request = None
            return Cancelled(request.index)
        values, self._values = self._values, None
        result = self._steps.send(values)
        self._due_s += self._step_time_s(request)
        if isinstance(result, Chunk):
            self._request = None
        return result


def assemble(config: Config, clock: Clock, chunk_time_s: float) -> tuple[show.Show, SimulatedSound]:
    """A show on the clock."""
    registry = Registry(app.initial_values(config.values))
    values = registry.values
    layout = SlotLayout(values["width"], values["height"])
    random = np.random.default_rng(11)

    def step_time_s(request: ChunkRequest) -> float:
        share = 0.2 + 0.8 * request.num_frames / values["num_frames"]
        return chunk_time_s * share / num_steps(request.params) * random.uniform(0.7, 1.1)

    sound, events = SimulatedSound(clock), queue.SimpleQueue()
    parts = Parts(
        registry=registry,
        controllers=Controllers(events, config.mapping, config.home),
        events=events,
        osc=SimpleNamespace(num_bad=0, num_refused=0, refused_from=""),
        feedback=SimpleNamespace(
            take=lambda outcome: None, reply=lambda replies: None, update=lambda now_s, make_status: None
        ),
        engine=SimulatedEngine(load_engine(engine_spec(config), lambda text: None), clock, step_time_s),
        slots=SimpleNamespace(num_free=3, layout=layout),
        session=Session(layout.longest),
        rack=Rack(Shelf(()), lambda number, path: None),
        audio=sound,
        window=Watched(None, drawn),
        composer=NumpyCompositor(),
        midi=SimpleNamespace(num_bad=0),
        web=SimpleNamespace(num_bad=0, publish=lambda *told: None),
        playback=Playback(),
        keeper=SimpleNamespace(update=lambda now_s: (), heard=lambda *applied: None),
    )
    return show.Show(config, parts), sound


def drawn(picture: Picture, output: Any) -> Drawn:
    """What is noted of a picture; without cross-fades it is one frame."""
    frame = picture.frame
    return Drawn(frame.epoch, frame.chunk, frame.number, zlib.crc32(np.ascontiguousarray(frame.pixels)))
