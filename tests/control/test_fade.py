"""The timed fade of the master, its time turned by hand."""

import math

import pytest

from ltx_live.control.fade import Fade
from ltx_live.control.registry import Registry
from ltx_live.errors import ParameterError


def levels(fade, *times_s):
    return [event.args[0] for time_s in times_s for event in fade.step(time_s)]


def test_it_leads_there_evenly_and_ends():
    fade = Fade()
    assert levels(fade, 1.0) == []
    fade.start((0.2, 4.0), 1.0, 10.0)
    assert levels(fade, 10.0, 11.0, 13.0, 14.5, 15.0) == [1.0, pytest.approx(0.8), pytest.approx(0.4), 0.2]


def test_seconds_may_be_missing_or_zero_and_levels_are_clamped():
    fade = Fade()
    fade.start((-3,), 1.0, 0.0)
    assert levels(fade, 1.0, 2.0) == [0.5, 0.0]
    fade.start((7, 0), 0.5, 0.0)
    assert levels(fade, 0.0) == [1.0]


def test_a_new_one_replaces_it_and_stop_leaves_the_master():
    fade = Fade()
    fade.start((0, 2), 1.0, 0.0)
    fade.start((1, 2), 0.5, 1.0)
    assert levels(fade, 2.0) == [0.75]
    fade.stop()
    assert levels(fade, 2.5, 9.0) == []


@pytest.mark.parametrize("args", [(), ("much",), (math.nan,), (0, "soon"), (0, -1), (0, math.nan), (0, 1e9), (0, b"")])
def test_what_cannot_be_is_refused(args):
    with pytest.raises(ParameterError, match="/ltx/out/"):
        Fade().start(args, 1.0, 0.0)


def test_its_events_move_the_master():
    fade, registry = Fade(), Registry()
    fade.start((0, 2), 1.0, 0.0)
    outcome = registry.apply(fade.step(1.0))
    assert registry.values["out/master"] == 0.5 and not outcome.errors
