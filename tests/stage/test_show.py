"""The whole show on a real X server and a null sink, with the test-card engine: what is seen, heard and recorded."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from ltx_live.control.osc import encode_message
from ltx_live.engine.testcard import read_counters
from ltx_live.media.video import read_video

SCREEN, WINDOW, PICTURE = (1280, 800), (1024, 576), (288, 160)


class Stage:
    """`ltx-live play` on a screen, with eyes, ears and hands."""

    def __init__(self, environment, home):
        self.environment = os.environ | environment | {"PYTHONUNBUFFERED": "1"}
        self.home = home
        command = [sys.executable, "-m", "ltx_live", "play", "--model", "testcard", "--size", "288x160"]
        command += ["--osc", "127.0.0.1:0", "--home", str(home), "--set", "window/hud=off"]
        self.process = subprocess.Popen(command, env=self.environment, stderr=subprocess.PIPE, text=True)
        self.lines = []
        self.engine_pid = int(self.wait_for(r"engine: process (\d+)"))
        self.wait_for(r"sound: .*\d+ ms")
        self.port = int(self.wait_for(r"OSC: listening on 127.0.0.1:(\d+)"))
        self.wait_for("engine: test card, 288x160")
        self.run("xdotool", "search", "--sync", "--onlyvisible", "--name", "^ltx_live$", "windowfocus", "--sync")

    def wait_for(self, pattern):
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.search(pattern, line):
                return found[1] if found.groups() else found[0]
        raise AssertionError(f"the show ended without saying {pattern}:\n" + "".join(self.lines))

    def run(self, *command):
        return subprocess.run(command, env=self.environment, capture_output=True, check=True, timeout=20).stdout

    def until(self, condition, what):
        """Look again and again until something is so; when that was, in seconds."""
        end_s = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < end_s, f"{what}: not within 10 s"
            time.sleep(0.05)
        return time.monotonic()

    def press(self, key):
        self.run("xdotool", "key", key)
        time.sleep(0.3)

    def send(self, address, *args):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(encode_message(address, args), ("127.0.0.1", self.port))
        time.sleep(0.3)

    def screen(self):
        """The whole screen, (800, 1280, 3) uint8."""
        raw = self.run("import", "-window", "root", "-depth", "8", "rgb:-")
        return np.frombuffer(raw, np.uint8).reshape(SCREEN[1], SCREEN[0], 3)

    def seen(self):
        """What the window shows, at the picture's own size, (160, 288, 3) uint8."""
        screen = self.screen()
        scale = min(WINDOW[0] / PICTURE[0], WINDOW[1] / PICTURE[1])
        columns = SCREEN[0] / 2 + (np.arange(PICTURE[0]) + 0.5 - PICTURE[0] / 2) * scale
        rows = SCREEN[1] / 2 + (np.arange(PICTURE[1]) + 0.5 - PICTURE[1] / 2) * scale
        return screen[np.ix_(rows.astype(int), columns.astype(int))]

    def number(self):
        """The frame counter on the screen."""
        return read_counters(self.seen())[1]

    def loudest(self, seconds=1.3):
        """The highest sample that leaves the sound device in a while."""
        command = ["parec", "--device=ltx_out.monitor", "--format=float32le", "--rate=48000", "--channels=2", "--raw"]
        ears = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE)
        sound = np.frombuffer(ears.stdout.read(int(seconds * 48000) * 8), np.float32)
        ears.kill()
        ears.wait()
        return np.abs(sound).max()


@pytest.fixture(scope="module")
def stage(display, pulse, tmp_path_factory):
    made = Stage(display | pulse, tmp_path_factory.mktemp("home"))
    time.sleep(2.5)  # until the sound has faded in
    yield made
    made.process.send_signal(signal.SIGTERM)
    rest = made.process.stderr.read()
    assert made.process.wait(5) == 128 + signal.SIGTERM
    assert "Traceback" not in rest and "resource_tracker" not in rest, rest


def test_the_picture_is_on_the_screen_and_moves(stage):
    first = stage.seen()
    assert np.abs(first[90, 20:30].astype(int) - 191).max() <= 2  # the left bar
    stage.until(lambda: stage.number() > read_counters(first)[1], "a later frame")


def test_the_sound_is_heard_and_silent_when_muted(stage):
    assert stage.loudest() == pytest.approx(0.5 * 10 ** (-12 / 20), rel=0.05)
    stage.send("/ltx/audio/mute", 1)
    stage.until(lambda: stage.loudest() == 0, "silence")
    stage.send("/ltx/audio/mute", 0)


def test_a_key_freezes_the_picture(stage):
    stage.press("f")
    held = stage.number()
    time.sleep(0.3)
    assert stage.number() == held
    stage.press("f")
    stage.until(lambda: stage.number() > held + 6, "later frames")


def test_blackout_is_black_and_silent(stage):
    stage.send("/ltx/out/blackout", 1)
    stage.until(lambda: stage.seen().max() == 0, "black")
    stage.until(lambda: stage.loudest() == 0, "silence")
    stage.send("/ltx/out/blackout", 0)
    stage.until(lambda: stage.seen().max() > 180, "the picture")


def test_what_learning_waits_for_is_seen_though_the_display_is_off(stage):
    stage.send("/ltx/out/blackout", 1)
    stage.until(lambda: stage.seen().max() == 0, "black")
    stage.press("m")
    stage.until(lambda: stage.screen().max() > 200, "a line of text")
    stage.send("/ltx/midi/learn", "out/hue")
    stage.press("Escape")
    stage.until(lambda: stage.screen().max() == 0, "black again")
    stage.send("/ltx/out/blackout", 0)
    stage.until(lambda: stage.seen().max() > 180, "the picture")


def test_what_the_window_shows_is_recorded(stage):
    stage.press("v")
    time.sleep(1.5)
    off_s = time.monotonic()
    stage.send("/ltx/out/master", 0.0)
    dark_s = stage.until(lambda: stage.seen().max() == 0, "dark")
    on_s = time.monotonic()
    stage.send("/ltx/out/master", 1.0)
    lit_s = stage.until(lambda: stage.seen().max() > 180, "light")
    stage.press("v")
    (path,) = (stage.home / "recordings").glob("*.mp4")
    stage.wait_for("recorded ")
    frames = read_video(path).frames
    numbers = [read_counters(frame)[1] for frame in frames if frame.max() > 250]
    dark = sum(frame.max() < 24 for frame in frames)
    assert 24 * (on_s - dark_s) - 3 <= dark <= 24 * (lit_s - off_s) + 3 and dark > 0
    steps = np.diff(numbers)
    assert len(numbers) > 36 and (steps >= 0).all()
    assert (steps == 1).mean() > 0.8  # all but the dark, and what a busy machine draws late


def test_the_show_survives_its_engine(stage):
    os.kill(stage.engine_pid, signal.SIGKILL)
    stage.wait_for("killed by signal 9")
    before = stage.seen()
    assert before.max() > 180
    stage.wait_for("engine: test card, 288x160")
    stage.until(lambda: stage.number() > read_counters(before)[1], "a later frame")
