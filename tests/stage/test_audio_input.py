"""A live input through a real sound server: a PulseAudio null sink that is listened to."""

import time

import pytest

from ltx_live.bench.sync import NullSink
from ltx_live.errors import DeviceError
from ltx_live.stage.audio_input import AudioInput, find_input

LISTEN = {"PULSE_SOURCE": "ltx_out.monitor"}

LOOP = """
import sys, time
import numpy as np
from ltx_live.chunk import SAMPLE_RATE_HZ as RATE
from ltx_live.media.driving import Driving
from ltx_live.stage.audio import AudioOutput
from ltx_live.stage.audio_input import AudioInput
from ltx_live.stage.playlist import Playlist

clicks = np.arange(3 * RATE, 20 * RATE, RATE // 2)
sound = np.zeros((20 * RATE, 2), np.float32)
for click in clicks:
    sound[click : click + 480] = 0.5
listening = AudioInput()
listening.open("pulse")
output, driving = AudioOutput("pulse"), Driving()
output.player.playlist = Playlist(1, ((0, sound),), len(sound))
driving.listen(listening.sound)
print(output.start())
begin_s, longest_s = time.perf_counter(), 0.0
while output.position() < 7 * RATE:
    before_s = time.perf_counter()
    line = listening.check()
    longest_s = max(longest_s, time.perf_counter() - before_s)
    if line:
        print(line)
    now_s = time.perf_counter()
    driving.follow(now_s, output.position(now_s))
    assert output.check() is None and now_s < begin_s + 20
    time.sleep(1 / 60)
start = round(output.position()) + RATE // 2
driving.ask(start, start + 2 * RATE)
driving.made()
heard = np.abs(driving.plan.stretch(start, 2 * RATE)[:, 0]) > 0.1
found = start + 1 + np.flatnonzero(heard[1:] & ~heard[:-1])
late = (found - round(driving.delay_s * RATE) + RATE // 4) % (RATE // 2) - RATE // 4
print("CLICKS", len(found), "DELAY_S", driving.delay_s, "OFF_MS", (late / 48).round(1).tolist())
print("WORST_MS", np.abs(late).max() / 48, "CHECK_S", longest_s, "XRUNS", listening.sound.num_xruns)
listening.gate.threshold_db = -3.0  # the clicks have -6 dB
time.sleep(0.3)
before = listening.sound.num_samples
time.sleep(0.7)
num = listening.sound.num_samples - before
print("GATED", num, "PEAK", np.abs(listening.sound.read(before, num)).max())
listening.close()
output.close()
"""


def values(text):
    words = text.split()
    return {words[k]: words[k + 1] for k in range(len(words) - 1) if words[k].replace("_", "").isupper()}


@pytest.mark.real_time
def test_the_stated_delay_is_the_measured_one_within_10_ms(pulse, run_script):
    """Clicks on the media clock leave by the output, come in by the input, and stand where the delay says."""
    out = run_script(LOOP, pulse | LISTEN)
    print(out)
    seen = values(out)
    assert "sound input: pulse" in out and int(seen["CLICKS"]) >= 3
    assert float(seen["WORST_MS"]) < 10 and float(seen["DELAY_S"]) < 3
    assert float(seen["CHECK_S"]) < 0.05 and seen["XRUNS"] == "0"
    assert int(seen["GATED"]) > 20_000 and float(seen["PEAK"]) == 0


LOSE = """
import os, sys, time
from ltx_live.stage.audio_input import AudioInput

listening = AudioInput()
listening.open("pulse")
told, end_s = [], time.perf_counter() + 30
while len(told) < 3 and time.perf_counter() < end_s:
    line = listening.check()
    if line:
        told.append(line)
        print(line, flush=True)
    time.sleep(1 / 60)
num = listening.sound.num_samples
time.sleep(0.5)
print("GOES_ON", listening.sound.num_samples - num, listening.device, flush=True)
os._exit(0)
"""


@pytest.mark.real_time
def test_an_input_that_is_lost_is_told_and_comes_back(start_script, pulse, tmp_path_factory):
    """`pulse` is another server, out of reach; it tells that there is PulseAudio."""
    sink = NullSink(str(tmp_path_factory.mktemp("p")))
    sink.start()
    try:
        player = start_script(LOSE, sink.environment | {"PULSE_SOURCE": "ltx_sync.monitor"})
        assert player.stdout.readline().startswith("sound input: pulse")
        sink.stop()
        assert player.stdout.readline().startswith("sound input lost: pulse")
        sink.start()
        rest = player.stdout.read()
        assert player.wait(20) == 0
    finally:
        sink.stop()
    print(rest)
    assert rest.startswith("sound input: pulse") and 20_000 < int(values(rest)["GOES_ON"]) < 40_000


def test_an_input_that_does_not_exist_is_one_line_once_with_what_there_is():
    with pytest.raises(DeviceError, match="sound input no such thing: no such device; choose one of: ") as caught:
        find_input("no such thing")
    assert "\n" not in str(caught.value)
    listening = AudioInput()
    listening.open("no such thing")
    told, end_s = [], time.monotonic() + 10
    while not any(told) and time.monotonic() < end_s:
        told.append(listening.check())
        time.sleep(0.01)
    assert [line for line in told if line] == [str(caught.value)] and listening.device is None
    assert [listening.check() for _ in range(3)] == [None] * 3
    listening.close()


def test_without_portaudio_the_error_says_what_to_install(run_script):
    script = """
    import sys
    sys.modules["sounddevice"] = None
    from ltx_live.errors import DeviceError
    from ltx_live.stage.audio_input import find_input
    try:
        find_input("")
    except DeviceError as error:
        print(error)
    """
    assert "libportaudio2" in run_script(script)
