"""Bindings: curves, takeover, actions, and which mapping a port gets."""

import pytest

from ltx_live.control.binding import CURVES, Binding, Control, position
from ltx_live.control.event import NOTICE, Event, Origin
from ltx_live.control.mapping import Mapper, Mapping
from ltx_live.control.registry import Registry

FADER = Control("fader1", "cc", 1, 7)
BUTTON = Control("button1", "cc", 1, 41)


class Rig:
    """A controller on a mapping and a registry."""

    def __init__(self, *bindings):
        self.mapper = Mapper([Mapping("test", (), bindings)])
        self.registry = Registry()

    def move(self, raw, control="cc/1/7", port="pad"):
        event = Event(f"/midi/{port}/{control}", (raw,), Origin("midi", port), 1.0)
        events = self.mapper.translate(event, self.registry.values)
        return self.registry.apply(events)

    def sweep(self, name, raws):
        return [self.move(raw) and self.registry.values[name] for raw in raws]


@pytest.mark.parametrize("name", CURVES)
def test_curves_keep_their_ends_and_rise(name):
    points = [CURVES[name](i / 100) for i in range(101)]
    assert points[0] == 0.0 and points[-1] == pytest.approx(1.0)
    assert all(a < b for a, b in zip(points, points[1:], strict=False))


def test_log_is_the_inverse_of_exp():
    for x in (0.0, 0.2, 0.5, 1.0):
        assert CURVES["log"](CURVES["exp"](x)) == pytest.approx(x)
    assert CURVES["exp"](0.5) < 0.5 < CURVES["log"](0.5)


@pytest.mark.parametrize(("kind", "raws"), [("cc", (0, 64, 127)), ("pitchbend", (0, 8192, 16383))])
def test_both_ends_and_the_middle_are_exact(kind, raws):
    assert [position(kind, raw) for raw in raws] == [0.0, 0.5, 1.0]


def test_a_centred_knob_is_neutral():
    rig = Rig(Binding(FADER, "out/hue", low=-180, high=180))
    assert rig.sweep("out/hue", (0, 64, 127)) == [-180.0, 0.0, 180.0]


def test_range_and_invert():
    rig = Rig(Binding(FADER, "out/contrast", low=0.5, high=1.5, invert=True))
    assert rig.sweep("out/contrast", (0, 127)) == [1.5, 0.5]


def test_jump_moves_at_the_first_value():
    assert Rig(Binding(FADER, "out/master", takeover="jump")).sweep("out/master", (32,)) == [0.25]


def test_pickup_waits_and_tells_the_way_then_meets():
    rig = Rig(Binding(FADER, "out/master", takeover="pickup"))
    outcome = rig.move(10)
    assert outcome.messages == ("fader1 waits for out/master (1): move it up",) and not outcome.changes
    assert rig.sweep("out/master", (60, 120)) == [1.0, 1.0]
    assert rig.sweep("out/master", (125, 60)) == [position("cc", 125), position("cc", 60)]


@pytest.mark.parametrize(("first", "across"), [(20, 100), (100, 20)])
def test_pickup_takes_over_when_it_crosses_from_either_side(first, across):
    rig = Rig(Binding(FADER, "out/brightness", low=-1, high=1, takeover="pickup"))
    assert rig.sweep("out/brightness", (first,)) == [0.0]
    assert rig.sweep("out/brightness", (across,)) == [pytest.approx(2 * position("cc", across) - 1)]


def test_pickup_ignores_a_first_value_however_it_comes_and_takes_a_near_one():
    assert Rig(Binding(FADER, "out/saturation", high=2, takeover="pickup")).sweep("out/saturation", (0,)) == [1.0]
    near = Rig(Binding(FADER, "out/saturation", high=2, takeover="pickup"))
    assert near.sweep("out/saturation", (66,)) == [pytest.approx(2 * position("cc", 66))]


def test_a_fader_that_holds_its_value_may_leap_but_loses_it_to_others():
    rig = Rig(Binding(FADER, "num_frames", low=9, high=257, takeover="pickup"))
    rig.move(60)
    assert rig.sweep("num_frames", (62, 10, 127)) == [129, 25, 257]
    rig.registry.apply((Event("/ltx/num_frames", (57,), Origin("osc"), 2.0),))
    assert rig.sweep("num_frames", (126,)) == [57]


def test_toggle_follows_the_value_and_ignores_the_release():
    rig = Rig(Binding(BUTTON, "out/freeze", action="toggle"))
    seen = [rig.move(raw, "cc/1/41") and rig.registry.values["out/freeze"] for raw in (127, 0, 127, 0)]
    assert seen == [True, True, False, False]
    rig.registry.apply((Event("/ltx/out/freeze", (1,), Origin("osc"), 2.0),))
    rig.move(127, "cc/1/41")
    assert rig.registry.values["out/freeze"] is False


def test_a_swept_knob_presses_once():
    rig = Rig(Binding(BUTTON, "restart", action="trigger"))
    assert sum(len(rig.move(raw, "cc/1/41").fired) for raw in range(128)) == 1


def test_a_button_that_sends_no_release_presses_every_time():
    rig = Rig(Binding(BUTTON, "restart", action="trigger"))
    assert [len(rig.move(127, "cc/1/41").fired) for _ in range(3)] == [1, 1, 1]


def test_notes_trigger_on_any_velocity_and_not_on_release():
    rig = Rig(Binding(Control("pad1", "note", None, 36), "restart", action="trigger"))
    assert [len(rig.move(velocity, "note/10/36").fired) for velocity in (1, 0, 90)] == [1, 0, 1]


def test_inc_steps_either_way():
    rig = Rig(Binding(BUTTON, "num_steps", "inc", 1, 20, step=2))
    rig.move(127, "cc/1/41")
    assert rig.registry.values["num_steps"] == 10
    down = Rig(Binding(BUTTON, "num_steps", "inc", 1, 20, step=2, invert=True))
    down.move(127, "cc/1/41")
    assert down.registry.values["num_steps"] == 6


def test_momentary_switch_is_on_while_held():
    rig = Rig(Binding(BUTTON, "out/blackout"))
    assert [rig.move(raw, "cc/1/41") and rig.registry.values["out/blackout"] for raw in (127, 0)] == [True, False]


def test_messages_name_the_control():
    (line,) = Rig(Binding(FADER, "out/master")).move(0).messages
    assert line == "/ltx/out/master 0 (midi pad fader1): out/master 1 -> 0"
    assert Rig().move(5).messages == ("midi pad: cc:1:7 = 5 is not mapped",)


def test_the_exact_control_wins_over_any():
    exact, loose = Binding(FADER, "out/master"), Binding(Control("cc:any:7", "cc", None, 7), "out/opacity")
    rig = Rig(loose, exact)
    rig.move(0)
    rig.move(0, "cc/2/7")
    assert (rig.registry.values["out/master"], rig.registry.values["out/opacity"]) == (0.0, 0.0)
    assert len(Rig(loose, exact).move(0).changes) == 1


def test_a_port_gets_its_own_mapping_before_the_general_one():
    own = Mapping("own", ("*nano*",), (Binding(FADER, "out/opacity"),))
    general = Mapping("general", (), (Binding(FADER, "out/master"),))
    mapper = Mapper([own, general])
    for port, target in (("nanoKONTROL2:CTRL", "/ltx/out/opacity"), ("Some Pad", "/ltx/out/master")):
        event = Event("/midi/x/cc/1/7", (1,), Origin("midi", port), 0.0)
        assert mapper.translate(event, Registry().values)[0].address == target


def test_other_events_and_notices_pass():
    event = Event("/ltx/seed", (1,), Origin("osc"), 0.0)
    notice = Event(NOTICE, ("x",), Origin("midi"), 0.0)
    mapper = Mapper([])
    assert mapper.translate(event, {}) == (event,) and mapper.translate(notice, {}) == (notice,)
