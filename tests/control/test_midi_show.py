"""A whole show with a controller on a real MIDI transport (JACK): plugged in, played, lit, gone, back, learned."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CONTROLLER = """
import os, socket, sys, time
import mido
from ltx_live.control.osc import decode_packet, encode_message

osc = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
osc.settimeout(5)
got = []

def ask(name):
    osc.sendto(encode_message("/ltx/" + name, ("?",)), ("127.0.0.1", int(sys.argv[1])))
    ((message,), _) = decode_packet(osc.recv(65535))
    return message[1][0]

def plug_in():
    out = mido.open_output("keys", virtual=True, client_name="MIDI Mix")
    lights = mido.open_input("lights", virtual=True, client_name="MIDI Mix", callback=lambda m: got.append(m.hex()))
    return out, lights

def until(what, condition, act=lambda: None):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, (what, got[-5:])
        act()
        time.sleep(0.1)
    print(what, flush=True)

def send(*data):  # a loaded machine makes JACK drop some: what matters is sent until it has arrived
    out.send(mido.Message.from_bytes(data))

def everything():
    return len(set(m[:5] for m in got)) == 26

out, lights = plug_in()
until("lights on connect", everything)
assert ask("bank/selected") == 1 and "90 03 7F" in got and "90 06 00" in got
until("the master moves", lambda: ask("out/master") < 0.3, lambda: [send(0xB0, 62, v) for v in (127, 80, 30)])
got.clear()
until("a slot plays", lambda: ask("bank/selected") == 2, lambda: [send(0x90, 6, 100), send(0x80, 6, 0)])
until("its light", lambda: [m for m in got if m.startswith("90 06")][-1:] == ["90 06 7F"])
got.clear()
until("page 2", lambda: ask("midi/page") == 2, lambda: send(0x90, 26, 100))
until("lights of page 2", everything)
lights.close()
out.close()
time.sleep(2.5)
got.clear()
out, lights = plug_in()
until("lights when it is plugged in again", everything)
until("it plays on", lambda: ask("bank/selected") == 9, lambda: [send(0x90, 3, 100), send(0x80, 3, 0)])
osc.sendto(encode_message("/ltx/midi/learn", ("out/hue",)), ("127.0.0.1", int(sys.argv[1])))
until("a lesson is wanted", lambda: ask("midi/learn") == "out/hue")
until("and learned", lambda: ask("midi/learn") == "", lambda: [send(0xE3, 0, v) for v in range(40, 60, 4)])
until("it moves", lambda: ask("out/hue") > 90, lambda: send(0xE3, 0, 120))
os._exit(0)
"""


@pytest.fixture
def environment(jack):
    return os.environ | jack | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


PUPIL = """
import os, subprocess, sys, threading, time
import mido

out = mido.open_output("keys", virtual=True, client_name="Pad")
command = [sys.executable, "-m", "ltx_live", "learn", *sys.argv[2:], "--home", sys.argv[1]]
learn = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
learn.stdin.write("y\\n")
learn.stdin.flush()
number = 0
for line in learn.stdout:
    print(line, end="", flush=True)
    if "encoder" in line or not line.startswith("learn: move"):
        continue
    number += 1
    for _ in range(8 if "hue" in line else 3):  # a loaded machine makes JACK drop some
        time.sleep(0.1)
        if "hue" in line:
            out.send(mido.Message("control_change", control=16, value=1))
        else:
            out.send(mido.Message("note_on", note=40 + number, velocity=90))
print(learn.wait(), flush=True)
os._exit(0)
"""


SENDER = """
import os, queue, time
from pathlib import Path
import mido
from ltx_live.control.device_files import load_device
from ltx_live.control.files import mapping_folders
from ltx_live.control.midi import LIGHTS
from ltx_live.control.midi_out import MidiSender

got, events = [], queue.SimpleQueue()
folder = mapping_folders(Path("/nonexistent"))[-1]
device = load_device(folder / "devices" / "launchpad_mini_mk3.toml")
sender = MidiSender(events, poll_s=0.2)
sender.start()
sender.open("LPMiniMK3 MI", device)  # before its output is there
time.sleep(0.5)
assert events.empty()
lights = mido.open_input("MI", virtual=True, client_name="LPMiniMK3", callback=lambda m: got.append(m.hex()))
((event,),) = (events.get(timeout=10),)
print(event.address == LIGHTS, event.args)
sender.send("LPMiniMK3 MI", [bytes((0x90, 11, 21)), bytes((0xB0, 91, 0))])
sender.send("another port", [bytes((0x90, 1, 1))])
time.sleep(1)
print(got)
sender.close()
time.sleep(0.5)
print(got[3:-1] == [led.message("off").hex(" ").upper() for led in device.leds], got[-1])
os._exit(0)
"""


def test_a_controller_is_made_ready_and_left_as_its_file_says(environment):
    """Its output port may come later than its input; SysEx goes first, lights are turned off at the end."""
    ran = subprocess.run([sys.executable, "-c", SENDER], env=environment, capture_output=True, text=True, timeout=60)
    assert ran.stdout.splitlines() == [
        "True ('LPMiniMK3 MI',)",
        "['F0 00 20 29 02 0D 0E 01 F7', '90 0B 15', 'B0 5B 00']",
        "True F0 00 20 29 02 0D 0E 00 F7",
    ], ran.stdout + ran.stderr


def learned_in_terminal(environment, home, *arguments):
    command = [sys.executable, "-c", PUPIL, str(home), *arguments]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, cwd=ROOT)
    return ran.stdout + ran.stderr[-2000:]


def test_learning_in_the_terminal(environment, tmp_path):
    """An encoder is asked about; eight pads are learned with eight touches; a wrong name is one line."""
    said = learned_in_terminal(environment, tmp_path, "out/hue")
    assert "looks like an encoder without ends" in said and said.endswith("learned-pad_keys.toml\n0\n"), said
    said = learned_in_terminal(environment, tmp_path, "--row", "bank")
    assert said.count("-> bank/") == 8 and said.endswith("\n0\n"), said
    text = (tmp_path / "mappings" / "learned-pad_keys.toml").read_text()
    assert 'control = "cc:1:16:rel_2c"\nto = "out/hue"' in text
    assert 'control = "note:1:48"\nto = "bank/8/connect"' in text
    said = learned_in_terminal(environment, tmp_path, "out/hu")
    assert "ltx-live: /ltx/out/hu: no such parameter; did you mean /ltx/out/hue?\n2\n" in said


@pytest.fixture
def play(environment, tmp_path):
    """The show, its log and the port of its OSC; ended before the MIDI server."""
    command = [sys.executable, "-m", "ltx_live", "play", "--model", "testcard", "--size", "288x160", "--headless"]
    command += ["--osc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--home", str(tmp_path)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "engine: test card" in line:
            break
    threading.Thread(target=lambda: lines.extend(process.stderr), daemon=True).start()
    yield lines, re.search(r"OSC: listening on 127.0.0.1:(\d+)", "".join(lines))[1]
    process.terminate()
    assert process.wait(20) == 128 + 15
    assert "Traceback" not in "".join(lines)


def test_a_controller_on_a_real_transport(environment, play, tmp_path):
    lines, port = play
    command = [sys.executable, "-c", CONTROLLER, port]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, cwd=ROOT)
    log = "".join(lines)
    assert ran.returncode == 0, ran.stdout + ran.stderr[-2000:] + log
    assert len(ran.stdout.splitlines()) == 11
    assert len(re.findall("MIDI: listening to MIDI Mix:keys", log)) == 2 and "MIDI: MIDI Mix:keys is gone" in log
    text = (tmp_path / "mappings" / "midimix.toml").read_text()
    assert 'control = "pitchbend:4"\nto = "out/hue"' in text and text.startswith("# Akai MIDImix")
