"""`rate_hz` of a mapping file: how often a control sends, from raw bytes; the newest wins and the last arrives."""

import dataclasses
import queue

import pytest

from ltx_live.control.event import drain
from ltx_live.control.files import load_mapping
from ltx_live.control.mapping import Mapper
from ltx_live.control.midi import MidiReceiver
from ltx_live.control.registry import Registry

RATE_HZ = 20
FILE = f"""
schema = 1
[options]
rate_hz = {RATE_HZ}
[[bind]]
control = "cc:1:7"
to = "out/master"
[[bind]]
control = "cc:1:8"
to = "out/hue"
[[bind]]
control = "cc:1:9:14"
to = "out/contrast"
[[bind]]
control = "cc:1:16:rel_2c"
to = "out/saturation"
step = 0.01
[[bind]]
control = "note:1:36"
to = "out/freeze"
action = "toggle"
[[bind]]
control = "cc:1:64"
to = "out/blackout"
action = "toggle"
"""


class Rig:
    """A controller whose bytes arrive at given times; `sent` are (time, parameter, value)."""

    def __init__(self, folder, text=FILE):
        (folder / "pad.toml").write_text(text)
        self.mapper, self.registry = Mapper([load_mapping(folder / "pad.toml", [folder])]), Registry()
        self.events = queue.SimpleQueue()
        self.receiver = MidiReceiver(self.events)
        self.sent, self.said = [], []

    def send(self, now_s, *data):
        self.receiver.inject(bytes(data), "Pad")
        for (event,) in drain(self.events):
            self._apply(now_s, self.mapper.translate(dataclasses.replace(event, time_s=now_s), self.registry.values))

    def tick(self, now_s):
        for events in self.mapper.tick(now_s, self.registry.values, lambda grid, at: at):
            self._apply(now_s, events)

    def _apply(self, now_s, events):
        outcome = self.registry.apply(events)
        self.sent += [(now_s, change.name, change.new) for change in outcome.changes]
        self.said += outcome.messages

    def times(self, name):
        return [time_s for time_s, sent, _ in self.sent if sent == name]

    def __getitem__(self, name):
        return self.registry.values[name]


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path)


def test_a_fader_that_floods_sends_so_often_and_ends_where_it_stands(rig):
    """128 places within 0.22 s, with pickup: what is held back is not taken for another hand."""
    for step in range(128):
        rig.send(0.0017 * step, 0xB0, 7, 127 - step)
        rig.tick(0.0017 * step + 0.0009)
    for step in range(128, 200):
        rig.tick(0.0017 * step)
    times = rig.times("out/master")
    assert rig["out/master"] == 0.0 and len(times) == 5
    assert min(b - a for a, b in zip(times, times[1:], strict=False)) >= 1 / RATE_HZ - 1e-9
    assert not any("waits" in line for line in rig.said)


def test_the_first_value_is_sent_at_once_and_a_slow_hand_is_never_held(rig):
    for step in range(5):
        rig.send(0.06 * step, 0xB0, 7, 127 - step)
        assert rig.times("out/master")[-1:] == ([0.06 * step] if step else [])  # it stood at 127 already


def test_a_value_that_waits_is_replaced_and_does_not_come_twice(rig):
    rig.send(0.0, 0xB0, 7, 126)
    rig.send(0.01, 0xB0, 7, 125)
    rig.send(0.02, 0xB0, 7, 124)
    rig.send(0.055, 0xB0, 7, 123)  # its time has come before a tick
    rig.tick(0.06)
    rig.tick(0.2)
    assert [value for *_, value in rig.sent] == [pytest.approx(0.5 + (raw - 64) / 126) for raw in (126, 123)]


def test_a_hand_that_turns_back_need_not_pick_up_what_was_held(rig):
    rig.send(0.0, 0xB0, 7, 126)
    rig.send(0.01, 0xB0, 7, 60)
    rig.tick(0.05)
    rig.send(0.2, 0xB0, 7, 90)
    assert rig.times("out/master") == [0.0, 0.05, 0.2] and not any("waits" in line for line in rig.said)


def test_controls_do_not_hold_each_other(rig):
    rig.send(0.0, 0xB0, 7, 126, 0xB0, 8, 65)
    assert rig.times("out/master") == rig.times("out/hue") == [0.0]


def test_both_halves_of_a_wide_control_are_one_value(rig):
    rig.send(0.0, 0xB0, 41, 0, 0xB0, 9, 64, 0xB0, 41, 0)
    for k in range(1, 20):
        rig.send(k / 1000, 0xB0, 9, 64 + k, 0xB0, 41, k)
    rig.tick(0.06)
    assert len(rig.times("out/contrast")) <= 2
    assert rig["out/contrast"] == pytest.approx(2 * (0.5 + (83 * 128 + 19 - 8192) / (2 * 8191)))


def test_clicks_and_presses_all_count(rig):
    for _ in range(10):
        rig.send(0.001, 0xB0, 16, 127)
    assert rig["out/saturation"] == pytest.approx(0.9)
    rig.send(0.002, *(0x90, 36, 99, 0x80, 36, 0) * 3)
    assert rig.times("out/freeze") == [0.002] * 3
    rig.send(0.003, *(0xB0, 64, 127, 0xB0, 64, 0) * 3)
    assert rig.times("out/blackout") == [0.003] * 3


def test_without_the_option_every_value_is_sent(tmp_path):
    rig = Rig(tmp_path, FILE.replace(f"rate_hz = {RATE_HZ}", ""))
    for step in range(1, 100):
        rig.send(step / 1000, 0xB0, 7, 127 - step)
    assert len(rig.times("out/master")) == 99


def test_the_threshold_is_how_near_a_fader_must_come(tmp_path):
    for threshold, is_there in ((0.05, False), (0.2, True)):
        rig = Rig(tmp_path, FILE.replace(f"rate_hz = {RATE_HZ}", f"pickup_threshold = {threshold}"))
        rig.send(0.0, 0xB0, 7, 110)  # at 0.87; the master is at 1
        assert bool(rig.sent) == is_there and any("waits" in line for line in rig.said) != is_there
