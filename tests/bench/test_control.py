"""The control benchmark with the test card: what it sends, what it finds, and that its bars can be missed."""

import dataclasses
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from ltx_live import params
from ltx_live.bench import _load, control
from ltx_live.control.event import Event, Origin
from ltx_live.control.osc import decode_packet
from ltx_live.control.registry import Registry

PLAN = control.Plan("testcard", seconds=2.0, rate_hz=500.0, window_hz=30.0)


def check(one):
    assert one.num_lost == 0 and one.num_sent == 1000 and one.num_addresses > 200
    assert len(one.packet_s) == 1000 and 0 < one.packet_s.min() and np.median(one.packet_s) < 0.1
    assert len(one.midi_s) > 50 and 0 < np.median(one.midi_s) < 0.1
    assert len(one.tick_s) > 10 and len(one.callback_late_s) > 50
    assert 2 < one.stream_hz <= 30.5


@pytest.mark.real_time
def test_every_message_is_found_in_the_registry():
    one = control.measure(PLAN)
    check(one)
    assert np.median(one.packet_s) < 0.005, "headless, a packet does not wait for the beat of 10 ms"
    assert "packet to registry" in control.described("headless", one)


@pytest.mark.real_time
@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="missing: apt-get install xvfb")
def test_the_master_is_seen_on_the_screen():
    with _load.screen() as screen:
        one = control._apart(dataclasses.replace(PLAN, screen=screen))
    check(one)
    assert len(one.master_s) >= 3 and 0.001 < np.median(one.master_s) < 1.0


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="missing: apt-get install xvfb")
def test_the_screen_is_read_as_it_is():
    with _load.screen() as path:
        screen = _load.Screen(path)
        assert screen.pixels().shape == (800, 1280, 4) and screen.is_black()
        code = "import pyglet, time; w = pyglet.window.Window(64, 64); w.set_location(640, 400)\n"
        code += "pyglet.gl.glClearColor(1, 0.5, 0, 1)\n"
        code += "for _ in range(40): w.dispatch_events(); w.clear(); w.flip(); time.sleep(0.05)"
        with subprocess.Popen([sys.executable, "-c", code]) as window:
            while window.poll() is None and screen.is_black():
                time.sleep(0.01)
            assert not screen.is_black()
            window.kill()


def test_the_load_moves_looks_and_repeats_the_rest():
    values = params.defaults()
    registry, cycles = Registry(), 4
    changed = set()
    found = _load.addresses(values, 1000)
    for k in range(cycles):
        for _, packets in found:
            ((address, args),) = decode_packet(packets[k % len(packets)])[0]
            outcome = registry.apply((Event(address, args, Origin("osc", "test"), 0.0),))
            assert not outcome.errors, outcome.errors
            changed |= {change.name for change in outcome.changes}
    assert {params.find(name).tier for name in changed} == {"frame"} and len(changed) > 60
    assert registry.epoch == 0 and "out/master" not in changed
    assert len({address for address, _ in found}) == len(found) == len(_load.addresses(values, 1000)) > 200
    assert len(_load.addresses(values, 50)) == 50


def measured(**more):
    fine = np.full(100, 0.0005)
    one = control.Measured(
        packet_s=fine, midi_s=fine, quiet_tick_s=fine, tick_s=fine, frame_gap_s=np.full(100, 1 / 60),
        callback_late_s=fine, master_s=np.full(9, 0.02), sender_late_s=fine, num_sent=100, num_addresses=9, num_lost=0,
        stream_hz=25.0, told_hz=100.0, num_underruns=0,
    )  # fmt: skip
    return dataclasses.replace(one, **more)


def test_bars_are_met_by_what_is_good_and_missed_by_each_fault():
    def missed(one):
        return [bar.title for bar in (*control.headless_bars(one), *control.window_bars(one, 1 / 60)) if not bar.is_met]

    assert missed(measured()) == []
    for fault, titles in [
        ({"packet_s": np.full(9, 0.003)}, ["packet to registry, p99"]),
        ({"packet_s": np.full(9, 0.019)}, ["packet to registry, p99", "window: packet to registry, p99"]),
        ({"midi_s": np.full(9, 0.02)}, ["MIDI to registry, p99", "window: MIDI to registry, p99"]),
        ({"num_lost": 1}, ["messages lost", "window: messages lost"]),
        ({"stream_hz": 31.0}, ["feedback of a 100 Hz fader, at most"]),
        ({"stream_hz": 0.0}, ["feedback of a 100 Hz fader, at least"]),
        ({"frame_gap_s": np.array([0.016, 0.034])}, ["window: frames late by more than a period"]),
        ({"master_s": np.array([0.02, 0.06])}, ["window: out/master to captured pixel, longest"]),
        ({"master_s": np.zeros(0)}, ["window: out/master to captured pixel, longest"]),
        ({"num_underruns": 1}, ["underruns", "window: underruns"]),
        (
            {"callback_late_s": np.array([0.011])},
            ["sound callbacks late by more than a block", "window: sound callbacks late by more than a block"],
        ),
    ]:
        assert missed(measured(**fault)) == titles, fault
