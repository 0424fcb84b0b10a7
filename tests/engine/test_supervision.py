"""The engine process when starting it fails, when it goes silent, and when prompts pile up; time is put forward."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import resource
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ltx_live.chunk import Chunk, ChunkRequest, Inputs, Progress
from ltx_live.engine.process import MAX_PROMPTS, Died, Encoded, EngineProcess, EngineSpec, Failed, Loading, Ready
from ltx_live.engine.slots import Slots
from ltx_live.engine.testcard import TestCardEngine
from ltx_live.errors import EngineError
from ltx_live.params import GenerationParams


class SilentEngine(TestCardEngine):
    """The test card, but the prompt `hang` silences it after a step, and `slow` takes long to encode.

    It lives in the child.
    """

    def encode(self, prompts):
        if "slow" in prompts:
            time.sleep(0.5)

    def generate(self, request):
        if request.params.prompt == "hang":
            yield Progress(request.index, 1, 8, 0.9)
            time.sleep(60)
        yield from super().generate(request)


def load_silent(report, hang_file=""):
    """Hangs where the file is there, and takes it away."""
    report("begun")
    if hang_file and Path(hang_file).exists():
        Path(hang_file).unlink()
        time.sleep(60)
    return SilentEngine(64, 64)


class Clock:
    """The real clock, and what it was put forward by."""

    ahead_s = 0.0

    def __call__(self):
        return time.monotonic() + self.ahead_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def start(clock, monkeypatch):
    """start(**arguments): an EngineProcess with `load_silent` of this file on the fixture `clock`."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    processes = []
    with Slots.create(64, 64, 3) as slots:

        def start(**arguments):
            processes.append(
                EngineProcess(EngineSpec("test_supervision", "load_silent", arguments), slots, clock=clock)
            )
            return processes[-1]

        yield start
        for process in processes:
            process.close()


def wait_for(engine, kind, timeout_s=20.0):
    """Poll until a message of this kind comes; return all messages, this one last."""
    messages, end = [], time.monotonic() + timeout_s
    while time.monotonic() < end:
        messages += engine.poll()
        if messages and isinstance(messages[-1], kind):
            return messages
        time.sleep(0.005)
    raise AssertionError(f"no {kind} came, only {messages}")


def request_for(index=0, prompt=""):
    return ChunkRequest(index, GenerationParams(prompt=prompt, num_steps=2), 1, 0, 9)


@contextlib.contextmanager
def room_for(num_files):
    """The system lets this process open so many files more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = [os.dup(0) for _ in range(num_files + 1)]
    for descriptor in free:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[-1], hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def num_open_files():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("num_files", [0, 2], ids=["no pipe", "no process"])
def test_start_that_fails_is_tried_again(start, clock, num_files):
    engine = start()
    wait_for(engine, Ready)
    os.kill(engine.pid, signal.SIGKILL)
    wait_for(engine, Died)
    num_before, delays = num_open_files(), []
    with room_for(num_files):
        for _ in range(2):
            clock.ahead_s += 10
            (died,) = engine.poll()
            assert (died.exit_code, died.index, engine.pid) == (None, None, None)
            assert died.text == "the engine process cannot be started (Too many open files)"
            assert engine.poll() == [] and not engine.can_request
            delays.append(died.restart_in_s)
    assert delays == [1.0, 2.0] and num_open_files() == num_before
    clock.ahead_s += 10
    wait_for(engine, Ready)


def test_first_start_that_fails_is_told_and_leaves_nothing_to_close(start):
    with room_for(1):  # its log
        engine = start()
    assert [type(message) for message in engine.poll()] == [Died]
    engine.close()


def test_once_a_chunk_was_made_ten_seconds_of_silence_are_a_hang(start, clock):
    engine = start()
    wait_for(engine, Ready)
    engine.request(request_for())
    wait_for(engine, Chunk)
    clock.ahead_s += 100
    assert engine.poll() == []  # an idle engine may be silent
    engine.request(request_for(1, "hang"))
    wait_for(engine, Progress)
    clock.ahead_s += 9
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        assert engine.poll() == []
    clock.ahead_s += 2
    assert wait_for(engine, Died)[-1].index == 1


def test_before_the_first_chunk_and_after_long_gaps_more_silence_is_allowed(start, clock):
    engine = start()
    wait_for(engine, Ready)
    engine.request(request_for())
    clock.ahead_s += 4  # the first message comes so late
    wait_for(engine, Chunk)
    engine.request(request_for(1, "hang"))
    wait_for(engine, Progress)
    clock.ahead_s += 35
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        assert engine.poll() == []
    clock.ahead_s += 60
    assert wait_for(engine, Died)[-1].index == 1


def test_restart_that_hangs_while_loading_is_tried_again(start, clock, tmp_path):
    hang_file = tmp_path / "hang"
    engine = start(hang_file=str(hang_file))
    wait_for(engine, Ready)
    hang_file.touch()
    os.kill(engine.pid, signal.SIGKILL)
    wait_for(engine, Loading)
    clock.ahead_s += 55
    assert engine.poll() == []
    clock.ahead_s += 60
    assert wait_for(engine, Died)[-1].exit_code == -signal.SIGKILL
    clock.ahead_s += 10
    wait_for(engine, Ready)


def test_a_chunk_tells_how_long_its_request_waited_for_a_prompt(start):
    engine = start()
    wait_for(engine, Ready)
    engine.encode(("slow",))
    engine.poll()  # it is sent
    begin = time.monotonic()
    engine.request(request_for())
    encoded, *_, chunk = wait_for(engine, Chunk)
    assert isinstance(encoded, Encoded) and 0.2 < chunk.timings_s["wait"] < time.monotonic() - begin
    engine.request(request_for(1))
    assert wait_for(engine, Chunk)[-1].timings_s["wait"] == 0.0


def test_the_newest_prompts_are_encoded_first_and_each_once(start):
    engine = start()
    assert engine.encode(tuple(str(number) for number in range(100))) == ("96", "97", "98", "99")
    assert engine.encode(("new", "90")) == ("95",)  # 90 waited already
    wanted = ["new", "90"] + [str(number) for number in range(95) if number != 90]
    assert len(wanted) == MAX_PROMPTS
    encoded = []
    while len(encoded) < MAX_PROMPTS:
        encoded += [message.prompts[0] for message in wait_for(engine, Encoded) if isinstance(message, Encoded)]
    assert encoded == wanted
    assert engine.encode(("last",)) == ()
    assert wait_for(engine, Encoded) == [Encoded(("last",))]


def test_inputs_of_a_request_come_through_its_slot(start):
    engine = start()
    wait_for(engine, Ready)
    sound = np.random.default_rng(1).uniform(-1, 1, (48_000, 2)).astype(np.float32)
    image = np.zeros((64, 64, 3), np.uint8)
    engine.request(replace(request_for(), inputs=Inputs(image=image, driving=sound, driving_start=100)))
    chunk = wait_for(engine, Chunk)[-1]
    assert (chunk.audio[:100] == 0).all() and (chunk.audio[100:] == sound[: chunk.end - 100]).all()


def test_inputs_that_fit_no_slot_are_a_failure_and_the_next_works(start):
    engine = start()
    wait_for(engine, Ready)
    large = np.zeros((engine._slots.layout.num_bytes // 8 + 1, 2), np.float32)
    engine.request(replace(request_for(), inputs=Inputs(speaker=large)))
    failed = wait_for(engine, Failed)[-1]
    assert failed.index == 0 and "do not fit a slot" in failed.text and engine._slots.num_free == 3
    engine.request(request_for())
    assert wait_for(engine, Chunk)[-1].index == 0


def load_marked(report, name="", fault=""):
    """The test card with a name; a fault keeps it from loading: by an error, or by its end."""
    if fault == "error":
        raise EngineError("it does not fit")
    if fault == "end":
        os._exit(3)
    engine = SilentEngine(64, 64)
    engine.info = dataclasses.replace(engine.info, name=name)
    return engine


@pytest.mark.parametrize("fault", ["error", "end"])
def test_a_reload_that_cannot_be_loaded_is_taken_back(clock, monkeypatch, fault):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))

    def spec(**arguments):
        return EngineSpec("test_supervision", "load_marked", arguments)

    with Slots.create(64, 64, 3) as slots, EngineProcess(spec(name="first"), slots, clock=clock) as engine:
        assert not engine.reload(spec(name="too early")), "it loads at first"
        assert wait_for(engine, Ready)[-1].info.name == "first"
        engine.request(request_for(0))
        assert engine.reload(spec(name="second"))
        died = next(message for message in wait_for(engine, Ready) if isinstance(message, Died))
        assert died.index == 0 and died.text == "the engine is loaded anew" and slots.num_free == 3
        engine.request(request_for(1))
        wait_for(engine, Chunk)
        assert engine.reload(spec(name="third", fault=fault))
        messages = wait_for(engine, Ready)
        assert messages[-1].info.name == "second" and engine.spec == spec(name="second")
        assert not any(isinstance(message, Failed) and message.fatal for message in messages)
