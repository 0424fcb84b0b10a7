"""The look in a real show without a window: an underrun as it is drawn and recorded, and the strobe with its limit."""

import contextlib
import time
from dataclasses import replace

import numpy as np
import pytest

from ltx_live import config
from ltx_live.bench._show import after, tick, watched_show
from ltx_live.control.event import Event, Origin
from ltx_live.media.video import read_video
from ltx_live.stage.clock import FramePacer

RATE_HZ = 60


@contextlib.contextmanager
def playing(home, **more):
    size = {"width": 96, "height": 64, "num_frames": 9, "randomize_seed": False}
    made = config.Config(model="testcard", home=home, osc=("127.0.0.1", 0), midi="none", headless=True)
    made = replace(made, values=config.initial_values("testcard", None, size), **more)
    with watched_show(made, lambda picture, output: (picture.frame, picture.time_s, output)) as show:
        tick(show, FramePacer(RATE_HZ), lambda: show.parts.window.seen)
        yield show


def send(show, name, value):
    show.parts.events.put((Event(f"/ltx/{name}", (value,), Origin("app", "test"), time.perf_counter()),))


def run(show, seconds):
    """Play on; what was shown meanwhile: frames, times, OutputParams."""
    show.parts.window.seen.clear()
    tick(show, FramePacer(RATE_HZ), after(seconds))
    return [seen for _, seen in show.parts.window.seen]


def test_when_nothing_is_left_what_was_chosen_is_shown_until_it_goes_on(tmp_path):
    with playing(tmp_path) as show:
        send(show, "pause", 1)
        tick(show, FramePacer(RATE_HZ), lambda: show._position >= show._timeline.end)
        held = run(show, 0.4)
        assert len({frame.key for frame, _, _ in held[2:]}) == 1
        assert np.ptp([time_s for _, time_s, _ in held]) > 0.2, "its time goes on"
        send(show, "out/underrun", "loop")
        steps = np.diff([frame.number for frame, _, _ in run(show, 1.5)][2:])
        last = show._timeline.chunks[-1].num_frames - 1
        assert (steps == 1).sum() > 10 and set(steps[steps < 0]) <= set(range(-last, 0)) and (steps < 0).any()
        send(show, "out/underrun", "pingpong")
        steps = np.diff([frame.number for frame, _, _ in run(show, 1.5)][2:])
        assert (steps > 0).sum() > 5 and (steps < 0).sum() > 5 and abs(steps).max() < last
        send(show, "out/underrun", "black")
        send(show, "rec/name", "dark")
        send(show, "rec/start", 1)
        assert not any(frame.pixels.any() for frame, _, _ in run(show, 0.8)[3:])
        send(show, "pause", 0)
        assert run(show, 1.5)[-1][0].pixels.any()
        send(show, "rec/stop", 1)
        run(show, 0.3)
    bright = read_video(next((tmp_path / "recordings").glob("dark*.mp4"))).frames.max(axis=(1, 2, 3))
    assert (bright[:8] < 24).all() and bright[-1] > 150


@pytest.mark.parametrize(("more", "limit"), [({}, 3.0), ({"strobe_limit_hz": 12.0}, 12.0)])
def test_the_strobe_is_no_faster_than_the_show_allows(tmp_path, more, limit):
    with playing(tmp_path, **more) as show:
        send(show, "out/strobe", 20)
        rates = {output.out_strobe for _, _, output in run(show, 0.3)[3:]}
        assert rates == {limit} and show.parts.registry.values["out/strobe"] == 20
        told = [text for text, _ in show._messages.shown if text.startswith("/ltx/out/strobe")]
        assert told == [f"/ltx/out/strobe: shown at {limit:g} Hz at most; start with --strobe-limit to allow more"]
        send(show, "out/strobe", 2)
        assert {output.out_strobe for _, _, output in run(show, 0.2)[3:]} == {2.0}
