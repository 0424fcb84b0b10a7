"""The supervised engine process with real children: chunks, cancel, failure, death, hang, and a clean end."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import pytest

from ltx_live.chunk import Chunk, ChunkRequest, EngineInfo, Progress, StepValues
from ltx_live.engine import worker
from ltx_live.engine.process import Cancelled, Died, Encoded, EngineProcess, EngineSpec, Failed, Loading, Ready
from ltx_live.engine.slots import Slots
from ltx_live.engine.testcard import TestCardEngine, read_counters
from ltx_live.errors import CheckpointError, EngineError, MediaError
from ltx_live.params import GenerationParams

WIDTH, HEIGHT = 64, 64
TESTCARD = EngineSpec("ltx_live.engine.testcard", arguments={"width": WIDTH, "height": HEIGHT})


class FaultyEngine(TestCardEngine):
    """The test card, but some prompts break it. It lives in the child: this file is imported there too."""

    def encode(self, prompts):
        if "unspeakable" in prompts:
            raise MediaError("cannot encode 'unspeakable'; say something else")

    def generate(self, request):
        logging.getLogger("ltx_live.faulty").warning("making chunk %d", request.index)
        match request.params.prompt:
            case "refuse":
                raise MediaError("nothing there; choose another")
            case "bug":
                raise ZeroDivisionError("division by\nzero")
            case "exit":
                os.write(2, b"native last words\n")
                os._exit(3)
            case "hang":
                yield Progress(request.index, 1, 8, 0.9)
                time.sleep(60)
            case "too long":
                request = replace(request, num_frames=265)
            case "history":
                history = request.history
                assert read_counters(history.frames[-1]) == (history.index, 32) and len(history.audio) == 66_000
        yield from super().generate(request)


def load_faulty(report, **arguments):
    report("one")
    report("two")
    return FaultyEngine(WIDTH, HEIGHT, **arguments)


def load_never(report):
    raise CheckpointError("pocket.safetensors: tensor 'a' is missing; download it again")


def load_with_a_bug(report):
    raise KeyError("bug")


@pytest.fixture
def slots():
    with Slots.create(WIDTH, HEIGHT, 3) as slots:
        yield slots


@pytest.fixture
def start(slots, monkeypatch):
    """start(function, **options): an EngineProcess running an engine of this file; all are closed at the end."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    processes = []

    def start(function, hang_timeout_s=60.0, **arguments):
        spec = EngineSpec("test_process", function, arguments) if function else TESTCARD
        processes.append(EngineProcess(spec, slots, hang_timeout_s))
        return processes[-1]

    yield start
    for process in processes:
        process.close()


def wait_for(engine, *kinds, timeout_s=20.0):
    """Poll until a message of one of these kinds comes; return all messages, this one last."""
    messages, end = [], time.monotonic() + timeout_s
    while time.monotonic() < end:
        for message in engine.poll():
            messages.append(message)
            if isinstance(message, kinds):
                return messages
        time.sleep(0.005)
    raise AssertionError(f"no {kinds} came, only {messages}")


def request_for(index=0, last=None, prompt="", num_frames=33):
    params = GenerationParams(prompt=prompt, num_steps=4)
    if last is None:
        return ChunkRequest(index, params, 1, 0, num_frames)
    return ChunkRequest(last.index + 1, params, 1, last.end, num_frames, (last.index, last.num_frames), last)


def test_continued_chunks_come_with_the_right_counters_and_slots_go_round(start, slots):
    engine = start(None)
    loading, ready = wait_for(engine, Ready)
    assert isinstance(loading, Loading) and ready.info == EngineInfo("test card", WIDTH, HEIGHT, "cpu", "0 s a chunk")
    last, numbers = None, []
    for index in range(5):
        assert engine.can_request
        engine.request(request_for(last=last))
        assert not engine.can_request
        *steps, chunk = wait_for(engine, Chunk)
        assert [step.step for step in steps] == [1, 2, 3, 4]
        counters = [read_counters(frame) for frame in chunk.frames[chunk.num_overlap :]]
        assert {i for i, _ in counters} == {index}
        assert chunk.audio_start + len(chunk.audio) == chunk.end
        numbers += [number for _, number in counters]
        if last is not None:
            assert (chunk.audio[:4800] == last.audio[-4800:]).all()
            engine.release(last.index)
        last = chunk
    assert numbers == list(range(33 + 4 * 24))
    assert slots.num_free == 2


def test_no_free_slot_no_request(start, slots):
    engine = start(None)
    wait_for(engine, Ready)
    for index in range(3):
        engine.request(request_for(index, num_frames=9))
        wait_for(engine, Chunk)
    assert slots.num_free == 0 and not engine.can_request
    with pytest.raises(EngineError, match="release old chunks"):
        engine.request(request_for(3))
    engine.release(1)
    engine.request(request_for(3, num_frames=9))
    wait_for(engine, Chunk)


def test_history_is_given_with_views(start):
    engine = start("load_faulty")
    assert [m.text for m in wait_for(engine, Ready)[:-1]] == ["one", "two"]
    engine.request(request_for())
    first = wait_for(engine, Chunk)[-1]
    engine.request(request_for(last=first, prompt="history"))
    assert wait_for(engine, Chunk, Failed)[-1].index == 1


def test_killed_child_starts_again_and_the_next_chunk_goes_on(start, slots):
    engine = start("load_faulty", chunk_time_s=0.4)
    wait_for(engine, Ready)
    engine.request(request_for())
    first = wait_for(engine, Chunk)[-1]
    engine.request(request_for(last=first))
    wait_for(engine, Progress)
    old_pid = engine.pid
    os.kill(engine.pid, signal.SIGKILL)
    died = wait_for(engine, Died)[-1]
    assert (died.exit_code, died.index, died.restart_in_s) == (-signal.SIGKILL, 1, 0.5)
    assert "killed by signal 9" in died.text
    assert slots.num_free == 2 and not engine.can_request and engine.pid is None
    begin = time.monotonic()
    wait_for(engine, Ready)
    assert time.monotonic() - begin > 0.4 and engine.pid != old_pid
    engine.request(request_for(last=first, prompt="history"))
    second = wait_for(engine, Chunk)[-1]
    assert [read_counters(f) for f in second.frames] == [(1, 24 + i) for i in range(33)]


def test_delay_before_a_restart_doubles_until_a_chunk_comes(start):
    engine = start("load_faulty")
    delays = []
    for prompt in ("exit", "exit", "", "exit"):
        wait_for(engine, Ready)
        engine.request(request_for(index=len(delays), prompt=prompt))
        message = wait_for(engine, Died, Chunk)[-1]
        if isinstance(message, Chunk):
            engine.request(request_for(index=9, prompt="exit"))
            message = wait_for(engine, Died)[-1]
            delays.append(message.restart_in_s)
            break
        assert message.exit_code == 3
        delays.append(message.restart_in_s)
    assert delays == [0.5, 1.0, 0.5]


def test_hung_engine_is_killed_and_started_again(start):
    engine = start("load_faulty", hang_timeout_s=0.5)
    wait_for(engine, Ready)
    engine.request(request_for(prompt="hang"))
    begin = time.monotonic()
    died = wait_for(engine, Died)[-1]
    assert died.index == 0 and 0.4 < time.monotonic() - begin < 5
    wait_for(engine, Ready)
    time.sleep(0.6)
    assert engine.poll() == [] and engine.can_request  # an idle engine is not hung
    engine.request(request_for())
    wait_for(engine, Chunk)


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("refuse", "nothing there; choose another"),
        ("bug", "ZeroDivisionError: division by zero"),
        ("too long", "chunk 0 has frames (265, 64, 64, 3) and 530000 samples; a slot holds 257 of 64x64 and 1088000"),
    ],
)
def test_failed_request_says_one_line_and_the_next_works(start, slots, prompt, text):
    engine = start("load_faulty")
    wait_for(engine, Ready)
    pid = engine.pid
    engine.request(request_for(prompt=prompt))
    failed = wait_for(engine, Failed)[-1]
    assert failed.text.startswith(text) and "\n" not in failed.text
    assert failed.index == 0 and not failed.fatal
    assert slots.num_free == 3
    engine.request(request_for())
    wait_for(engine, Chunk)
    assert engine.pid == pid


def test_cancel_stops_at_the_next_step_and_the_index_can_be_asked_for_again(start, slots):
    engine = start("load_faulty", chunk_time_s=1.2)
    wait_for(engine, Ready)
    engine.request(request_for())
    wait_for(engine, Progress)
    engine.cancel()
    begin = time.monotonic()
    messages = wait_for(engine, Cancelled, Chunk)
    assert messages[-1] == Cancelled(0) and time.monotonic() - begin < 1.0
    assert slots.num_free == 3
    engine.request(request_for())
    assert wait_for(engine, Chunk)[-1].index == 0


def test_cancel_wins_over_a_chunk_that_is_already_done(start, slots):
    engine = start(None)
    wait_for(engine, Ready)
    engine.request(request_for())
    time.sleep(0.5)
    engine.cancel()
    assert wait_for(engine, Cancelled, Chunk)[-1] == Cancelled(0)
    assert slots.num_free == 3
    engine.request(request_for(num_frames=17))
    assert wait_for(engine, Chunk)[-1].num_frames == 17


def test_newest_step_values_reach_the_running_chunk(start):
    engine = start("load_faulty", chunk_time_s=0.8)
    wait_for(engine, Ready)
    engine.request(request_for())
    wait_for(engine, Progress)
    engine.send_step_values(StepValues({"identity_guidance_scale": 1.0}))
    engine.send_step_values(StepValues({"identity_guidance_scale": 2.0}))
    latched = wait_for(engine, Chunk)[-1].latched
    assert [values for _, values in latched] == [{"identity_guidance_scale": 2.0}]


def test_prompts_are_encoded_between_chunks_and_a_failure_is_told(start):
    engine = start("load_faulty", chunk_time_s=0.2)
    wait_for(engine, Ready)
    engine.request(request_for())
    engine.encode(("a", "unspeakable", "b"))
    kinds = [type(message) for message in wait_for(engine, Encoded)]
    assert kinds == [Progress] * 4 + [Chunk, Encoded]
    engine.request(request_for(1))
    messages = [*wait_for(engine, Chunk), *wait_for(engine, Encoded)]
    told = Failed("cannot encode 'unspeakable'; say something else", prompts=("unspeakable",)), Encoded(("b",))
    assert tuple(m for m in messages if isinstance(m, Failed | Encoded)) == told


@pytest.mark.parametrize(
    ("function", "text"),
    [
        ("load_never", "pocket.safetensors: tensor 'a' is missing; download it again"),
        ("load_with_a_bug", "the engine process ended (exit status 1) while loading: KeyError: 'bug'"),
    ],
)
def test_engine_that_cannot_load_at_first_is_fatal(start, function, text):
    engine = start(function)
    assert wait_for(engine, Failed) == [Failed(text, fatal=True)]
    time.sleep(0.7)
    assert engine.poll() == [] and engine.poll() == [] and not engine.can_request


def test_engine_of_another_size_is_refused(slots):
    spec = EngineSpec("ltx_live.engine.testcard", arguments={"width": 32, "height": 96})
    with EngineProcess(spec, slots) as engine:
        assert "start it with --size 32x96" in wait_for(engine, Failed)[-1].text


def test_ctrl_c_and_lower_priority_in_the_child(start):
    engine = start(None)
    wait_for(engine, Ready)
    os.kill(engine.pid, signal.SIGINT)
    assert os.getpriority(os.PRIO_PROCESS, engine.pid) == min(19, os.nice(0) + 10)
    engine.request(request_for())
    wait_for(engine, Chunk)


def test_output_of_the_child_is_logged_here(start, caplog):
    caplog.set_level(logging.INFO)
    engine = start("load_faulty")
    wait_for(engine, Ready)
    engine.request(request_for(prompt="bug"))
    wait_for(engine, Failed)
    engine.request(request_for(prompt="exit"))
    wait_for(engine, Died)
    records = [(r.levelname, r.message) for r in caplog.records]
    assert ("WARNING", "engine: ltx_live.faulty: making chunk 0") in records
    assert ("ERROR", "engine: ltx_live.engine.worker: ZeroDivisionError: division by") in records
    assert ("WARNING", "engine: native last words") in records
    assert any(level == "ERROR" and "Traceback" in text for level, text in records)


def show_command(folder, how):
    """The program SHOW as a file in a folder: its command line and environment."""
    script = folder / "show.py"
    script.write_text(SHOW)
    root = Path(worker.__file__).parents[2]
    return [sys.executable, str(script), how], {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(root)}


def test_child_ends_when_the_show_is_killed(tmp_path):
    command, environment = show_command(tmp_path, "wait")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as show:
        pid = int(show.stdout.readline())
        show.kill()
        show.wait()
        state, end = "?", time.monotonic() + 5
        while state not in ("", "Z") and time.monotonic() < end:  # a container without init keeps zombies
            time.sleep(0.05)
            state = subprocess.run(
                ["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True
            ).stdout.strip()
        assert state in ("", "Z")


SHOW = """
import os, signal, sys, time
from ltx_live.chunk import Chunk, ChunkRequest, Progress
from ltx_live.engine.process import Died, EngineProcess, EngineSpec, Ready
from ltx_live.engine.slots import Slots
from ltx_live.params import GenerationParams

def wait_for(engine, kind):
    while True:
        for message in engine.poll():
            if isinstance(message, kind):
                return message
        time.sleep(0.01)

if __name__ == "__main__":
    slots = Slots.create(64, 64, 3)
    names = slots.names
    spec = EngineSpec("ltx_live.engine.testcard", arguments=dict(width=64, height=64, chunk_time_s=0.2))
    engine = EngineProcess(spec, slots)
    wait_for(engine, Ready)
    engine.request(ChunkRequest(0, GenerationParams(), 1, 0, 33))
    kept = wait_for(engine, Chunk)
    if "wait" in sys.argv:
        print(engine.pid, flush=True)
        time.sleep(60)
    if "kill" in sys.argv:
        os.kill(engine.pid, signal.SIGKILL)
        wait_for(engine, Died)
        wait_for(engine, Ready)
    if "in the middle of a chunk" in sys.argv:
        engine.request(ChunkRequest(1, GenerationParams(), 1, 0, 33))
        wait_for(engine, Progress)
    begin = time.monotonic()
    engine.close()
    slots.close()
    assert time.monotonic() - begin < 2
    assert kept.frames.any()
    print(*names)
"""


@pytest.mark.parametrize("how", ["quietly", "kill", "in the middle of a chunk"])
def test_nothing_is_left_or_said_at_exit(tmp_path, how):
    command, environment = show_command(tmp_path, how)
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert not list(tmp_path.glob("ltx-live-engine-*"))
    names = result.stdout.split()
    assert len(names) == 3
    for name in names:
        with pytest.raises(FileNotFoundError):
            SharedMemory(name)
