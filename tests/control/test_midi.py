"""MIDI from raw bytes, port names, and real ports through JACK."""

import os
import queue
import subprocess
import sys

import pytest

from ltx_live.control.event import NOTICE
from ltx_live.control.midi import TICKS_PER_EVENT, MidiReceiver, choose_ports, clean_name, port_id, unique_names


def injected(data, port="nanoKONTROL2"):
    events = queue.SimpleQueue()
    MidiReceiver(events).inject(bytes(data), port)
    return [(event.address, *event.args) for (event,) in (events.get() for _ in range(events.qsize()))]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([0xB0, 7, 100], ("/midi/nanoKONTROL2/cc/1/7", 100)),
        ([0x99, 36, 90], ("/midi/nanoKONTROL2/note/10/36", 90)),
        ([0x99, 36, 0], ("/midi/nanoKONTROL2/note/10/36", 0)),
        ([0x89, 36, 64], ("/midi/nanoKONTROL2/note/10/36", 0)),
        ([0xE0, 0, 0], ("/midi/nanoKONTROL2/pitchbend/1", 0)),
        ([0xE0, 0, 64], ("/midi/nanoKONTROL2/pitchbend/1", 8192)),
        ([0xEF, 127, 127], ("/midi/nanoKONTROL2/pitchbend/16", 16383)),
        ([0xC1, 4], ("/midi/nanoKONTROL2/program/2", 4)),
        ([0xD0, 33], ("/midi/nanoKONTROL2/aftertouch/1", 33)),
        ([0xA0, 60, 33], ("/midi/nanoKONTROL2/polytouch/1/60", 33)),
    ],
)
def test_messages_become_events(data, expected):
    assert injected(data) == [expected]


def test_clock_sysex_and_broken_bytes_do_not_disturb():
    data = [0xF8, 0xB0, 7, 1, 0xF8, 0xF0, 1, 2, 0xF7, 0xB0, 0x90, 60, 99, 0xFE]
    assert injected(data) == [("/midi/nanoKONTROL2/cc/1/7", 1), ("/midi/nanoKONTROL2/note/1/60", 99)]


def received(receiver, events, data, port="nanoKONTROL2"):
    receiver.inject(bytes(data), port)
    return [event for (event,) in (events.get() for _ in range(events.qsize()))]


def test_ticks_of_a_clock_come_by_the_sixteenth_with_their_times():
    """Two bars at 24 a beat: 32 events, not 192; other messages are not held up."""
    events = queue.SimpleQueue()
    receiver = MidiReceiver(events)
    seen = [received(receiver, events, [0xF8]) for _ in range(192)]
    ticks = [event for group in seen for event in group]
    assert [len(group) for group in seen] == [0, 0, 0, 0, 0, 1] * 32
    assert {(event.address, event.origin.name) for event in ticks} == {("/clock/tick", "nanoKONTROL2")}
    times = [time_s for event in ticks for time_s in event.args]
    assert len(times) == 192 and times == sorted(times) and ticks[-1].time_s == times[-1]
    mixed = received(receiver, events, [0xF8, 0xB0, 7, 1, 0xF8])
    assert [(event.address, event.args) for event in mixed] == [("/midi/nanoKONTROL2/cc/1/7", (1,))]


def test_start_stop_and_continue_follow_the_ticks_before_them():
    events = queue.SimpleQueue()
    receiver = MidiReceiver(events)
    data = [0xFA, 0xF8, 0xF8, 0xFC, 0xF2, 16, 0, 0xFB] + [0xF8] * TICKS_PER_EVENT
    seen = received(receiver, events, data)
    assert [(event.address, len(event.args)) for event in seen] == [
        ("/clock/start", 1),
        ("/clock/tick", 2),
        ("/clock/stop", 1),
        ("/clock/continue", 1),
        ("/clock/tick", TICKS_PER_EVENT),
    ]


def test_two_clocks_are_not_mixed():
    events = queue.SimpleQueue()
    receiver = MidiReceiver(events)
    for _ in range(TICKS_PER_EVENT - 1):
        assert received(receiver, events, [0xF8], "A") == received(receiver, events, [0xF8], "B") == []
    (event,) = received(receiver, events, [0xF8], "A")
    assert event.origin.name == "A" and len(event.args) == TICKS_PER_EVENT


def test_slider_and_solo_are_never_paired_to_14_bits():
    assert injected([0xB0, 0, 64, 0xB0, 32, 127]) == [
        ("/midi/nanoKONTROL2/cc/1/0", 64),
        ("/midi/nanoKONTROL2/cc/1/32", 127),
    ]


def test_names_without_their_numbers():
    assert clean_name("nanoKONTROL2:nanoKONTROL2 nanoKONTROL2 _ CTRL 20:0").endswith("_ CTRL")
    assert port_id("MIDI Mix:MIDI Mix/1") == "MIDI_Mix_MIDI_Mix_1"
    assert unique_names(["Pad 20:0", "Pad 24:0"]) == {"Pad": "Pad 20:0", "Pad#2": "Pad 24:0"}


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("", ["Port 1", "Port 10", "nanoKONTROL2:CTRL", "Pad", "Pad#2"]),
        ("port 1", ["Port 1"]),
        ("port*", ["Port 1", "Port 10"]),
        ("NANOkontrol2", ["nanoKONTROL2:CTRL"]),
        ("pad", ["Pad"]),
        ("pad#2", ["Pad#2"]),
        ("pad*", ["Pad", "Pad#2"]),
        ("port*#2", ["Port 10"]),
        ("none of these", []),
    ],
)
def test_ports_are_chosen_by_name(pattern, chosen):
    names = ["Midi Through:Port-0", "Port 1", "Port 10", "nanoKONTROL2:CTRL", "Pad", "Pad#2"]
    assert choose_ports(names, pattern) == chosen


def run_python(code, **env):
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, text=True, timeout=30
    )


WATCH = """
import queue, time
from ltx_live.control.midi import MidiReceiver
events = queue.SimpleQueue()
receiver = MidiReceiver(events, {pattern!r}, poll_s=0.05)
receiver.start()
seen = [] if {pattern!r} == "none" else [events.get(timeout=20)]
time.sleep(0.3)  # several turns more, in which nothing may follow
receiver.close()
while events.qsize():
    seen.append(events.get())
for (event,) in seen:
    print(event.address, *event.args)
"""


@pytest.mark.skipif(os.path.exists("/dev/snd/seq"), reason="this machine has a MIDI system")
def test_without_a_midi_system_it_says_so_once():
    lines = run_python(WATCH.format(pattern="")).stdout.splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"{NOTICE} MIDI is off: this machine has no MIDI system")


def test_none_means_no_midi_and_no_word():
    assert run_python(WATCH.format(pattern="none")).stdout == ""


def test_missing_rtmidi_names_the_extra():
    code = "import sys; sys.modules['rtmidi'] = None\n" + WATCH.format(pattern="")
    assert run_python(code).stdout == f"{NOTICE} MIDI is off: python-rtmidi is missing; pip install 'ltx-live[midi]'\n"


JACK = """
import os, queue, time
import mido
from ltx_live.control.midi import MidiReceiver

events, seen = queue.SimpleQueue(), []

def until(words, act=lambda: None):
    end = time.monotonic() + 6
    while time.monotonic() < end and not any(words in line for line in seen):
        act()
        time.sleep(0.1)
        while events.qsize():
            (event,) = events.get()
            args = event.args if event.address.startswith(("/midi", "/notice", "/port")) else ()
            line = " ".join(map(str, (event.address, *args)))
            if line not in seen:
                seen.append(line)

receiver = MidiReceiver(events, "grid*", poll_s=0.4)
receiver.start()
until("plug one in")
for turn in range(2):
    pad = mido.open_output("pad", virtual=True, client_name="grid")
    until("listening")
    until("/cc/", lambda: pad.send(mido.Message("control_change", control=7, value=20 + turn)))
    until("/clock/start", lambda: pad.send(mido.Message("start")))
    until("/clock/tick", lambda: pad.send(mido.Message("clock")))
    until("/note/", lambda: pad.send(mido.Message("note_on", channel=9, note=36, velocity=90)))
    pad.close()
    until("gone")
    print(*seen, sep="\\n", flush=True)
    seen.clear()
os._exit(0)
"""


def test_real_ports_come_send_go_and_come_again(jack):
    """Messages are sent until they arrive: a loaded machine makes JACK drop some."""
    ran = run_python(JACK, **jack)
    assert ran.stdout.splitlines() == [
        "/notice MIDI: no port fits 'grid*'; plug one in at any time",
        "/port/come grid:pad",
        "/notice MIDI: listening to grid:pad",
        "/midi/grid_pad/cc/1/7 20",
        "/clock/start",
        "/clock/tick",
        "/midi/grid_pad/note/10/36 90",
        "/port/gone grid:pad",
        "/notice MIDI: grid:pad is gone; plug it in again at any time",
        "/port/come grid:pad",
        "/notice MIDI: listening to grid:pad",
        "/midi/grid_pad/cc/1/7 21",
        "/clock/start",
        "/clock/tick",
        "/midi/grid_pad/note/10/36 90",
        "/port/gone grid:pad",
        "/notice MIDI: grid:pad is gone; plug it in again at any time",
    ], ran.stderr
