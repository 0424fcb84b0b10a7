"""The whole show, headless, with the test-card engine: played by OSC, recorded, its engine killed, interrupted."""

import contextlib
import gc
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ltx_live import app, config
from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.control.event import Event, Origin
from ltx_live.control.osc import decode_packet, encode_message
from ltx_live.engine.testcard import BEEP_S, read_counters
from ltx_live.media.video import read_video
from ltx_live.pocket.reading import BANK
from ltx_live.stage.playlist import Playlist

ROOT = Path(__file__).parents[1]
FRAME = SAMPLE_RATE_HZ // 24
DURATION_S = 9.0
LATE_FRAMES = 6
"""A control takes effect at the next tick, which a busy machine runs late."""


class Play:
    """`ltx-live play` in a process of its own, with an OSC client and its log."""

    def __init__(self, home: Path, *arguments: str):
        command = [sys.executable, "-m", "ltx_live", "play", "--model", "testcard", "--size", "288x160", "--headless"]
        command += ["--osc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--midi", "none", "--home", str(home), *arguments]
        env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._arriving: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(5)
        self.engine_pid = int(self.wait_for(r"engine: process (\d+)"))
        self.port = int(self.wait_for(r"OSC: listening on 127.0.0.1:(\d+)"))
        self.wait_for(r"engine: test card, 288x160")

    def _read(self) -> None:
        for line in self.process.stderr:
            self._arriving.put(line.rstrip())
        self._arriving.put(None)

    def wait_for(self, pattern: str) -> str:
        """The first group of the next log line that fits."""
        while (line := self._arriving.get(timeout=15)) is not None:
            self.lines.append(line)
            if found := re.search(pattern, line):
                return found[1] if found.groups() else found[0]
        raise AssertionError(f"the show ended without saying {pattern}:\n" + "\n".join(self.lines))

    def send(self, address: str, *args) -> None:
        self._socket.sendto(encode_message(address, args), ("127.0.0.1", self.port))

    def ask(self, address: str, *args) -> tuple:
        """Send a message, and give the next answer: (address, arguments)."""
        self.send(address, *args)
        return self.answer()

    def hold(self, address: str, value, back) -> float:
        """Set a value for half a second; how long it really was."""
        self.send(address, value)
        start_s = time.perf_counter()
        time.sleep(0.5)
        self.send(address, back)
        return time.perf_counter() - start_s

    def answer(self) -> tuple:
        ((message,), _) = decode_packet(self._socket.recv(65535))
        return message

    def end(self, timeout_s: float = 20) -> int:
        """Wait until it ends, cleanly (Python's resource tracker tells of shared memory left behind); its status."""
        status = self.process.wait(timeout_s)
        self._reader.join(5)
        while (line := self._arriving.get()) is not None:
            self.lines.append(line)
        text = "\n".join(self.lines)
        assert "Traceback" not in text and "resource_tracker" not in text, text
        return status


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A show of nine seconds in which everything happens; what it answered is in `answers`."""
    folder = tmp_path_factory.mktemp("show")
    play = Play(folder / "home", "--record", str(folder / "f.mp4"), "--duration", str(DURATION_S))
    play.path = folder / "f.mp4"
    play.answers = {
        "ping": play.ask("/ltx/sys/ping", 7),
        "wrong": play.ask("/ltx/out/blackot", 1),
        "prompt": play.ask("/ltx/prompt", "?"),
    }
    time.sleep(1.2)
    play.blackout_s = play.hold("/ltx/out/blackout", 1, 0)
    time.sleep(0.3)
    play.master_s = play.hold("/ltx/out/master", 0.5, 1.0)
    play.send("/ltx/bank/5/connect")
    play.answers["bank"] = play.ask("/ltx/prompt", "?")
    play.answers["selected"] = play.ask("/ltx/bank/selected", "?")
    time.sleep(0.4)
    os.kill(play.engine_pid, signal.SIGKILL)
    killed_s = time.perf_counter()
    play.wait_for("killed by signal 9")
    play.wait_for("engine: test card, 288x160")
    play.down_s = time.perf_counter() - killed_s
    play.status = play.end()
    play.printed = play.process.stdout.read()
    return play


@pytest.fixture(scope="module")
def recorded(played):
    """What was recorded: (frames, sound of one channel)."""
    video = read_video(played.path)
    return video.frames, video.audio[:, 0]


def test_it_ends_by_itself_and_names_its_file(played):
    assert played.status == 0
    assert played.printed.splitlines()[-1] == str(played.path)


def test_every_question_is_answered(played):
    answers = played.answers
    assert answers["ping"] == ("/ltx/sys/pong", (7,))
    assert answers["wrong"][0] == "/ltx/error"
    assert "did you mean /ltx/out/blackout?" in answers["wrong"][1][1]
    assert answers["prompt"] == ("/ltx/prompt", (BANK[0][1],))
    assert answers["bank"] == ("/ltx/prompt", (BANK[4][1],))
    assert answers["selected"] == ("/ltx/bank/selected", (5,))


def test_the_file_is_exactly_as_long_as_asked(recorded):
    frames, sound = recorded
    assert len(frames) == round(DURATION_S * 24)
    assert abs(len(sound) - DURATION_S * SAMPLE_RATE_HZ) <= 1024


def numbers(frames) -> list[int]:
    """The frame counters, also where the master is turned down; 0 in the dark."""
    return [read_counters(frame * (255 / max(24, frame.max())))[1] for frame in frames]


def dark(frames) -> set[int]:
    return {i for i, frame in enumerate(frames) if frame.max() < 24}


def half(frames) -> set[int]:
    return {i for i, frame in enumerate(frames) if 100 < frame.max() < 180}  # there is white in every frame


def held(frames) -> set[int]:
    shown = numbers(frames)
    return {i for i in range(1, len(shown)) if shown[i] == shown[i - 1]} - dark(frames)


def test_every_frame_comes_once_and_in_order_but_for_the_dead_engine(played, recorded):
    frames, _ = recorded
    shown, unseen = numbers(frames), dark(frames)
    assert shown[0] == 0
    for i in range(1, len(shown)):
        if not {i - 1, i} & unseen:
            assert shown[i] - shown[i - 1] in (0, 1), (i, shown)
    assert len({shown[i] for i in held(frames)}) <= 1  # the one pause until there is an engine again
    assert shown[-1] >= 24 * (DURATION_S - played.down_s - 2)


def test_blackout_and_master_are_seen_for_as_long_as_they_were_held(played, recorded):
    frames, _ = recorded
    for found, held_s in ((dark(frames), played.blackout_s), (half(frames), played.master_s)):
        assert len(found) == pytest.approx(24 * held_s, abs=LATE_FRAMES)
        assert max(found) - min(found) == len(found) - 1


def test_a_prompt_of_the_bank_changes_the_picture(recorded):
    frames, _ = recorded
    for frame, (_, prompt) in ((frames[0], BANK[0]), (frames[-1], BANK[4])):
        tint = list(zlib.crc32(prompt.encode()).to_bytes(4, "big")[1:])  # of a strip above the counters
        assert np.abs(frame[-36] - np.array(tint, float)).mean() < 12


def test_sound_and_picture_stay_together(recorded):
    frames, sound = recorded
    loud = np.abs(sound) > 0.01
    starts = [i for i in np.flatnonzero(loud) if not loud[max(0, i - 4000) : i].any()]
    flashes = [i for i, frame in enumerate(frames) if frame[4].min() > max(24, 0.8 * frame.max())]
    assert len(starts) >= 4
    for start in starts:
        assert min(abs(flash * FRAME - start) for flash in flashes) <= FRAME, (start, flashes)


def test_every_beep_is_whole(recorded):
    """Where nothing was turned down and no engine was missing, all of a beep is heard: no gap at a seam."""
    frames, sound = recorded
    window = SAMPLE_RATE_HZ // 200  # 5 ms, five waves of the beep
    level = np.sqrt(np.mean(sound[: len(sound) // window * window].reshape(-1, window) ** 2, axis=1))
    full = np.flatnonzero(level > 0.2 * level.max())
    beeps = [run * window for run in np.split(full, np.flatnonzero(np.diff(full) > 1) + 1)]
    disturbed = dark(frames) | half(frames) | held(frames)
    whole = [beep for beep in beeps if not disturbed & set(range(beep[0] // FRAME - 1, beep[-1] // FRAME + 2))]
    assert len(whole) >= 3
    assert [len(beep) * window / SAMPLE_RATE_HZ for beep in whole] == [pytest.approx(BEEP_S, abs=0.011)] * len(whole)


def test_the_log_can_be_replayed(played):
    text = (played.path.parent / "home" / "shows" / "last.jsonl").read_text()
    assert '"index": 0' in text.splitlines()[0]
    assert BANK[4][1] in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once_and_the_recording_can_be_played(number, tmp_path):
    play = Play(tmp_path / "home")
    play.wait_for("first picture")
    play.send("/ltx/rec/name", "../../evil.mp4")
    play.send("/ltx/rec/start")
    start_s = time.perf_counter()
    time.sleep(1.5)
    play.process.send_signal(number)
    end_s = time.perf_counter()
    assert play.end(10) == 128 + number
    assert time.perf_counter() - end_s < 4  # 0.2 s on a machine with nothing else to do
    assert [path.name for path in tmp_path.rglob("*.mp4")] == ["evil.mp4"]
    video = read_video(tmp_path / "home" / "recordings" / "evil.mp4")
    assert len(video.frames) == pytest.approx(24 * (end_s - start_s), abs=2 * LATE_FRAMES)


@pytest.mark.skipif(sys.platform != "linux", reason="sets a limit of another process")
def test_a_recording_that_failed_is_told_by_the_status(tmp_path):
    import resource

    play = Play(tmp_path / "home", "--record", str(tmp_path / "f.mp4"))
    play.wait_for("first picture")
    resource.prlimit(play.process.pid, resource.RLIMIT_FSIZE, (5000, 5000))  # as on a full disk, no file grows
    time.sleep(1.5)
    play.process.send_signal(signal.SIGTERM)
    assert play.end() == 1
    assert re.match("ltx-live: cannot (write|finish) .*f.mp4", play.lines[-1])


@pytest.fixture
def assembled(tmp_path):
    """Gives shows in this process, whose ticks are left to the test."""
    with contextlib.ExitStack() as parts:

        def assemble(model="testcard", record=None, **settings):
            size = {"width": 288, "height": 160}
            values = config.initial_values(model, None, {**size, **settings})
            show = config.Config(model=model, home=tmp_path, values=values, osc=("127.0.0.1", 0), midi="none")
            return app.assemble(replace(show, headless=True, record=record), parts)

        yield assemble


def until(show, is_done) -> None:
    """Let the show hear its engine until it is done."""
    end_s = time.perf_counter() + 15
    while not is_done():
        assert time.perf_counter() < end_s
        show.hear_engine()
        time.sleep(0.01)


def messages(show) -> list[str]:
    return [text for text, _ in show._messages.shown]


def test_a_recording_that_fails_does_not_end_the_show(assembled, tmp_path):
    show = assembled(record=tmp_path / "f.mp4")
    show.recordings.current._queue.put((np.zeros((1, 1, 3), np.uint8), np.zeros((0, 2), np.float32)))  # fits no file
    end_s = time.perf_counter() + 15
    while show.recordings.error is None and not show.is_over and time.perf_counter() < end_s:
        show.record()
    assert "a frame is (1, 1, 3)" in str(show.recordings.error) and str(show.recordings.error) in messages(show)
    assert not show.is_over and show.failure is None and show.recordings.current is None


def test_what_was_there_before_the_show_is_not_searched_for_garbage_while_it_plays(assembled):
    before = gc.get_freeze_count()
    show = assembled()
    assert gc.get_freeze_count() > before + 10_000 and len(gc.get_objects()) < 10_000
    assert not any(each is show for each in gc.get_objects())


def test_the_sound_fades_out_at_the_end(assembled):
    show = assembled()
    player = show.parts.audio.player
    level = np.full((20 * SAMPLE_RATE_HZ, 2), 0.5, np.float32)
    player.tap = deque()
    player.playlist = Playlist(1, ((0, level),), len(level))
    time.sleep(0.5)
    show.close()
    sound = np.concatenate([block.samples[:, 0] for block in player.tap])
    assert sound.max() > 0.05 and sound[-1] == 0
    assert np.abs(np.diff(sound)).max() < sound.max() / 100  # a ramp, no step


def test_faults_that_are_counted_elsewhere_are_told(assembled):
    show = assembled()
    show.parts.audio.player.playlist = Playlist(1, ((0, np.zeros((4800, 5), np.float32)),), 4800)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"not OSC", ("127.0.0.1", show.parts.osc.port))
    until(show, lambda: show.parts.osc.num_bad and show.parts.audio.player.num_errors)
    show.parts.midi.num_bad = 2
    show.parts.osc.num_refused, show.parts.osc.refused_from = 3, "10.0.0.9"
    for _ in range(2):
        show.watch_sound()
        show.obey()
    told = messages(show)
    assert told.count("1 bad OSC packet ignored") == told.count("2 bad MIDI messages ignored") == 1
    assert sum("sound callback" in text and "failed" in text for text in told) == 1
    assert "3 foreign OSC packets ignored, the last from 10.0.0.9 (see --osc-allow)" in told
    assert len(told) == 4


def test_an_engine_that_is_gone_but_has_not_said_so_is_not_asked(assembled):
    show = assembled()
    until(show, lambda: show.parts.engine.can_request)
    show.parts.engine.close()
    show.ask()
    assert show.parts.session.running is None


def test_a_prompt_is_encoded_ahead_once(assembled):
    show = assembled()
    engine = show.parts.engine
    until(show, lambda: engine.can_request and not engine._prompts)
    until(show, lambda: list(show._flow._texts._known) == [text for _, text in BANK])
    for text in ("new", BANK[0][1], "new", BANK[3][1]):
        show.parts.events.put((Event("/ltx/bank/5/text", (text,), Origin("test"), 0.0),))
    while not show.parts.events.empty():
        show.obey()
    assert show.parts.registry.values["bank/5/text"] == BANK[3][1]
    assert list(engine._prompts) == ["new"]


def test_unknown_words_of_the_first_prompt_are_told(assembled):
    assert "understood: red, tunnel; not understood: flurbish" in messages(
        assembled("pocket", prompt="flurbish red tunnel")
    )
    assert not any("understood" in text for text in messages(assembled("pocket", prompt="red tunnel")))


def test_an_engine_that_cannot_load_ends_it_with_one_line(tmp_path):
    command = [sys.executable, "-m", "ltx_live", "play", "--model", str(tmp_path), "--headless", "--osc", "127.0.0.1:0"]
    command += ["--size", "64x64", "--midi", "none", "--home", str(tmp_path / "home")]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ltx-live: ")


def test_a_signal_ends_the_wait_for_an_engine_that_says_nothing(tiny, tmp_path):
    command = [sys.executable, "-m", "ltx_live", "play", "--model", str(tiny.folder), "--headless", "--midi", "none"]
    command += ["--osc", "127.0.0.1:0", "--size", "64x64", "--home", str(tmp_path)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as show:
        found = next(found for line in show.stderr if (found := re.search(r"engine: process (\d+)", line)))
        os.kill(int(found[1]), signal.SIGSTOP)
        show.send_signal(signal.SIGINT)
        assert show.wait(10) == 128 + signal.SIGINT
        assert "Traceback" not in show.stderr.read()


def test_a_taken_port_is_named(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        command = [sys.executable, "-m", "ltx_live", "play", "--model", "testcard", "--headless"]
        command += ["--osc", f"127.0.0.1:{port}", "--home", str(tmp_path)]
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"ltx-live: OSC cannot listen on 127.0.0.1:{port}")
    assert done.stderr.count("\n") == 1


def test_the_bank_fills_what_is_left_open():
    values = app.initial_values(config.initial_values("testcard", None, {"bank/2/text": "my own", "bank/selected": 2}))
    assert values["prompt"] == "my own"
    assert values["bank/1/text"] == BANK[0][1]
    assert app.initial_values(config.initial_values("testcard", None, {"prompt": "a tunnel"}))["prompt"] == "a tunnel"
