"""Sound through real servers: the pitch, the seams, the clock, and what happens when the device goes away."""

import os
import subprocess
import tempfile
import time
import wave

import numpy as np
import pytest

from ltx_live.bench.sync import NullSink
from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.errors import DeviceError
from ltx_live.stage.audio import AudioOutput, find_device

MAKE_CHUNK = """
import numpy as np, os, sys, time
from ltx_live.chunk import Chunk
from ltx_live.stage.audio import AudioOutput, find_device, list_devices
from ltx_live.stage.timeline import Timeline

def make_chunk(index, cut, overlap=9600):
    overlap = overlap if index else 0
    n = cut - overlap + np.arange(48_000 + overlap)
    audio = np.repeat(0.5 * np.sin(2 * np.pi * 441 * n / 48_000)[:, None], 2, axis=1).astype(np.float32)
    frames = np.zeros((33 if index else 24, 2, 2, 3), np.uint8)
    num_overlap = 9 if index else 0
    return Chunk(index, frames, cut - 2000 * num_overlap, num_overlap, audio, cut - overlap, overlap, 24.0, 0)
"""

PLAY = (
    MAKE_CHUNK
    + """
output = AudioOutput(sys.argv[1])
print(output.start())
timeline, positions = Timeline(), []
timeline.append(make_chunk(0, 0))
output.player.playlist = timeline.playlist
begin = time.perf_counter()
while timeline.end < 4 * 48_000 or output.position() < timeline.playlist.end:
    positions.append((time.perf_counter(), output.position()))
    if timeline.end < 4 * 48_000 and timeline.unplayed_s(positions[-1][1]) < 0.5:
        timeline.append(make_chunk(len(timeline.chunks) + 1, timeline.end), output.player.committed)
        output.player.playlist = timeline.playlist
    timeline.advance(positions[-1][1], output.player.published.generation)
    assert output.check() is None and time.perf_counter() < begin + 20
    time.sleep(1 / 60)
times, heard = np.array(positions).T
middle = (heard > 48_000) & (heard < 3 * 48_000)
slope, start = np.polyfit(times[middle], heard[middle] / 48_000, 1)
jitter = np.abs(heard[middle] / 48_000 - slope * times[middle] - start).max()
print("RATE", slope, "JITTER", jitter, "MONOTONIC", bool((np.diff(heard) >= 0).all()))
print("UNDERRUNS", output.player.num_underruns, "ERRORS", output.player.num_errors)
print("PORTAUDIO", "sounddevice" in sys.modules)
output.close()
"""
)


def read_wave(path):
    with wave.open(str(path)) as file:
        data = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, file.getnchannels())
    return data / 32768


def check_recording(samples):
    """Four seconds of an unbroken 441 Hz sine, faded in over two."""
    loud = np.flatnonzero(np.abs(samples[:, 0]) > 0.45)
    steady = samples[loud[0] : loud[-1], 0]
    assert len(steady) > 1.5 * SAMPLE_RATE_HZ
    spectrum = np.abs(np.fft.rfft(steady * np.hanning(len(steady))))
    assert abs(np.argmax(spectrum) * SAMPLE_RATE_HZ / len(steady) - 441) < 0.5
    step = 2 * np.pi * 441 / SAMPLE_RATE_HZ
    assert np.abs(np.diff(steady, 2)).max() < 1.2 * 0.5 * step**2 + 4 / 32768, "a click or a gap"


def values(text):
    words = text.split()
    return {words[k]: words[k + 1] for k in range(len(words) - 1) if words[k].isupper()}


def test_a_null_sink_hears_the_sine_without_a_gap(pulse, run_script, tmp_path):
    path = tmp_path / "heard.wav"
    command = ["parec", "--device=ltx_out.monitor", "--rate=48000", "--channels=2", "--format=s16le"]
    recorder = subprocess.Popen([*command, "--file-format=wav", "--latency-msec=20", str(path)], env=os.environ | pulse)
    out = run_script(PLAY, pulse, arguments=["pulse"])
    print(out)
    time.sleep(0.5)
    recorder.terminate()
    recorder.wait(5)
    check_recording(read_wave(path))
    seen = values(out)
    assert abs(float(seen["RATE"]) - 1) < 0.01 and float(seen["JITTER"]) < 0.03 and seen["MONOTONIC"] == "True"
    assert seen["UNDERRUNS"] == "1" and seen["ERRORS"] == "0", "the only underrun is the end"


def test_jack_hears_the_sine_without_a_gap(jack, start_script, tmp_path):
    env, _ = jack
    player = start_script(PLAY, env, arguments=["system"])
    assert "sound: system" in player.stdout.readline()
    path = tmp_path / "heard.wav"
    record = ["jack_rec", "-f", str(path), "-d", "4", "-b", "16", "PortAudio:out_0", "PortAudio:out_1"]
    subprocess.run(record, env=os.environ | env, timeout=30, check=True, capture_output=True)
    text = player.stdout.read()
    print(text)
    seen = values(text)
    assert player.wait(20) == 0
    check_recording(read_wave(path))
    assert abs(float(seen["RATE"]) - 1) < 0.003 and float(seen["JITTER"]) < 0.01 and seen["MONOTONIC"] == "True"


LOSE = (
    MAKE_CHUNK
    + """
output = AudioOutput(sys.argv[1])
print(output.start())
timeline = Timeline()
for index in range(6):
    timeline.append(make_chunk(index, timeline.end))
output.player.playlist = timeline.playlist
before = message = None
begin = time.perf_counter()
while time.perf_counter() < begin + 6 and output.position() < timeline.end - 48_000:
    message = output.check() or message
    if before is None and message:
        before = output.position(), time.perf_counter()
        print("LOST", message)
    if time.perf_counter() - begin > 1 and output.device and not message:
        print("READY", flush=True)
    time.sleep(1 / 60)
position, now = output.position(), time.perf_counter()
print("WENT_ON", (position - before[0]) / 48_000 / (now - before[1]), "DEVICE", output.device)
sys.stdout.flush()
os._exit(0)
"""
)


def lose_device(start_script, env, device, kill):
    player = start_script(LOSE, env, arguments=[device])
    while "READY" not in (line := player.stdout.readline()):
        assert line, "it ended early"
    kill()
    rest = player.stdout.read()
    assert player.wait(20) == 0
    assert "playing on without sound" in rest
    seen = values(rest)
    assert abs(float(seen["WENT_ON"]) - 1) < 0.1 and seen["DEVICE"] == "None"


def test_the_show_goes_on_when_the_jack_server_dies(jack, start_script):
    """A device that comes back is in tests/bench/test_sync.py."""
    env, server = jack
    lose_device(start_script, env, "system", server.kill)


APPEAR = (
    MAKE_CHUNK
    + """
output = AudioOutput()
print(output.start(), flush=True)
timeline = Timeline()
for index in range(20):
    timeline.append(make_chunk(index, timeline.end))
output.player.playlist = timeline.playlist
told, positions, longest_s, end_s = [], [], 0.0, time.perf_counter() + 15
while time.perf_counter() < end_s:
    before_s = time.perf_counter()
    line = output.check()
    longest_s = max(longest_s, time.perf_counter() - before_s)
    if line:
        told.append(line)
        end_s = before_s + 1
    positions.append(output.position())
    time.sleep(1 / 60)
print("TOLD", told)
print("LONGEST_CHECK", longest_s, "MONOTONIC", bool((np.diff(positions) >= 0).all()))
output.close()
"""
)


def test_a_device_that_comes_after_the_start_plays_without_a_stall(pulse, start_script):
    """`pulse` is another server, out of reach; it tells that there is PulseAudio."""
    with tempfile.TemporaryDirectory(prefix="pa") as folder:  # a short path: it holds a unix socket
        sink = NullSink(folder)
        try:
            player = start_script(APPEAR, sink.environment)
            assert player.stdout.readline().endswith("playing without sound, looking for a device every 3 s\n")
            time.sleep(3.2)  # the first look finds nothing
            sink.start()
            rest = player.stdout.read()
            assert player.wait(20) == 0
        finally:
            sink.stop()
    seen = values(rest)
    assert rest.startswith("TOLD ['sound: ") and rest.count("sound: ") == 1
    assert seen["MONOTONIC"] == "True" and float(seen["LONGEST_CHECK"]) < 0.05
    assert len(sink.beeps_s) == 1, "it is heard"


def test_without_a_device_a_thread_keeps_the_pace(run_script):
    seen = values(run_script(PLAY, arguments=["none"]))
    assert abs(float(seen["RATE"]) - 1) < 0.005 and float(seen["JITTER"]) < 0.02 and seen["MONOTONIC"] == "True"
    assert seen["PORTAUDIO"] == "False", "four seconds long no device was looked for"


def test_devices_are_found_by_index_name_or_part_whatever_the_case(pulse, run_script):
    script = (
        MAKE_CHUNK
        + """
index, name, _ = next(row for row in list_devices() if row[1].startswith("pulse"))
for pattern in (str(index), "PULSE", "pulse, alsa", "Pul*ALSA", name):
    assert find_device(pattern) == (index, name), pattern
print(find_device(""))
"""
    )
    run_script(script, pulse)


def test_a_device_that_does_not_exist_is_one_line_with_what_there_is():
    with pytest.raises(DeviceError, match="--audio no such thing: no such output; choose one of: .*none") as caught:
        find_device("no such thing")
    assert "\n" not in str(caught.value)
    with pytest.raises(DeviceError):
        AudioOutput("no such thing").start()


def test_without_portaudio_the_error_says_what_to_install_and_the_default_plays_on(run_script):
    script = """
    import sys
    sys.modules["sounddevice"] = None
    from ltx_live.errors import DeviceError
    from ltx_live.stage.audio import AudioOutput, list_devices
    try:
        list_devices()
    except DeviceError as error:
        print(error)
    output = AudioOutput()
    print(output.start())
    """
    lines = run_script(script).splitlines()
    assert (
        "apt-get install libportaudio2" in lines[0] and lines[1].endswith("playing without sound") and len(lines) == 2
    )


CHANGE = (
    MAKE_CHUNK
    + """
output = AudioOutput("pulse")
output.start()
names = [name for _, name, _ in list_devices()]
timeline = Timeline()
for index in range(30):
    timeline.append(make_chunk(index, timeline.end))
output.player.playlist = timeline.playlist
positions, longest_s = [], 0.0

def play(until, seconds=8.0):
    global longest_s
    end_s, told = time.perf_counter() + seconds, []
    while time.perf_counter() < end_s and not (until is not None and until()):
        before_s = time.perf_counter()
        line = output.check()
        longest_s = max(longest_s, time.perf_counter() - before_s)
        told += [line] if line else []
        positions.append((time.perf_counter(), output.position()))
        time.sleep(1 / 60)
    return told

play(None, 2.5)
first = output.device
output.change("no such thing")
assert output.pattern == "no such thing"
told = play(lambda: output.pattern == "pulse") + play(None, 0.5)
assert len(told) == 1 and told[0].startswith("/ltx/audio/device no such thing: no such output; choose one of"), told
assert output.device == first and "stays as it was" in told[0] and chr(10) not in told[0]
output.change("default, alsa")
told = play(lambda: output.device != first) + play(None, 1.0)
assert [line[:14] for line in told] == ["sound: default"] and output.pattern == "default, alsa", told
output.change("none")
assert play(lambda: output.device is None) and output.pattern == "none"
play(None, 1.0)
output.change("pulse")
assert play(lambda: output.device == first)[0].startswith("sound: pulse")
play(None, 0.5)
print(output.restart())
assert output.is_looking and output.device is None
told = play(lambda: output.device is not None)
assert told and told[0].startswith("sound: pulse"), told
play(None, 0.5)
times, heard = np.array(positions).T
print("LONGEST_CHECK", longest_s, "MONOTONIC", bool((np.diff(heard) >= 0).all()))
slope, start = np.polyfit(times, heard / 48_000, 1)
print("RATE", slope, "JITTER", np.abs(heard / 48_000 - slope * times - start).max(), "ERRORS", output.player.num_errors)
output.close()
assert not output.stuck
"""
)


def test_the_device_is_changed_while_it_plays_and_looked_for_anew(pulse, run_script):
    """Two devices of one server; the media clock goes on through all of it."""
    out = run_script(CHANGE, pulse)
    print(out)
    seen = values(out)
    assert seen["MONOTONIC"] == "True" and float(seen["LONGEST_CHECK"]) < 0.05 and seen["ERRORS"] == "0"
    assert abs(float(seen["RATE"]) - 1) < 0.05 and float(seen["JITTER"]) < 0.25
