"""The whole show, headless, with the test-card engine: played by OSC, recorded, its engine killed, interrupted."""

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
from pathlib import Path

import numpy as np
import pytest

from ltx_live import app, config
from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.control.osc import decode_packet, encode_message
from ltx_live.engine.testcard import BEEP_S, read_counters
from ltx_live.media.video import read_video
from ltx_live.pocket.reading import BANK

ROOT = Path(__file__).parents[1]
FRAME = SAMPLE_RATE_HZ // 24
DURATION_S = 9.0


class Play:
    """`ltx-live play` in a process of its own, with an OSC client and its log."""

    def __init__(self, home: Path, *arguments: str):
        command = [sys.executable, "-m", "ltx_live", "play", "--model", "testcard", "--size", "288x160", "--headless"]
        command += ["--osc", "127.0.0.1:0", "--midi", "none", "--home", str(home), *arguments]
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
        "later": play.ask("/ltx/lora_merge_strategy", "runtime"),
        "prompt": play.ask("/ltx/prompt", "?"),
    }
    time.sleep(1.2)
    play.send("/ltx/out/blackout", 1)
    time.sleep(0.5)
    play.send("/ltx/out/blackout", 0)
    time.sleep(0.3)
    play.send("/ltx/out/master", 0.5)
    time.sleep(0.5)
    play.send("/ltx/out/master", 1.0)
    play.send("/ltx/bank/5/connect")
    play.answers["bank"] = play.ask("/ltx/prompt", "?")
    play.answers["selected"] = play.ask("/ltx/bank/selected", "?")
    time.sleep(0.4)
    os.kill(play.engine_pid, signal.SIGKILL)
    play.wait_for("killed by signal 9")
    play.wait_for("engine: test card, 288x160")
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
    assert "not yet" in answers["later"][1][1]
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


def test_every_frame_comes_once_and_in_order_but_for_the_dead_engine(recorded):
    frames, _ = recorded
    shown, unseen = numbers(frames), dark(frames)
    assert shown[0] == 0
    for i in range(1, len(shown)):
        if not {i - 1, i} & unseen:
            assert shown[i] - shown[i - 1] in (0, 1), (i, shown)
    assert len({shown[i] for i in held(frames)}) <= 1  # the one pause until there is an engine again
    assert shown[-1] >= 24 * (DURATION_S - 4)


def test_blackout_and_master_are_seen(recorded):
    frames, _ = recorded
    for found in (dark(frames), half(frames)):
        assert 9 <= len(found) <= 16
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
    play.send("/ltx/rec/name", "../../evil.mp4")
    play.send("/ltx/rec/start")
    time.sleep(1.5)
    play.process.send_signal(number)
    start_s = time.perf_counter()
    assert play.end(5) == 128 + number
    assert time.perf_counter() - start_s < 2
    assert [path.name for path in tmp_path.rglob("*.mp4")] == ["evil.mp4"]
    video = read_video(tmp_path / "home" / "recordings" / "evil.mp4")
    assert 24 <= len(video.frames) <= 40


def test_an_engine_that_cannot_load_ends_it_with_one_line(tmp_path):
    command = [sys.executable, "-m", "ltx_live", "play", "--model", str(tmp_path), "--headless", "--osc", "127.0.0.1:0"]
    command += ["--size", "64x64", "--midi", "none", "--home", str(tmp_path / "home")]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ltx-live: ")


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
