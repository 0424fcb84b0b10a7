"""The arithmetic of bindings against tables: encoders, halves of 14 bits, NRPN, curves, takeover."""

from dataclasses import replace

import pytest

from ltx_live.control.binding import Binding, Control, Takeover, clicks, resolved_takeover, smallest_step, turned
from ltx_live.control.halves import Halves, Nrpn
from ltx_live.control.registry import full_range
from ltx_live.params import find

FADER = Control("fader1", "cc", 1, 7)


@pytest.mark.parametrize(
    ("motion", "table"),
    [
        ("rel_2c", {1: 1, 2: 2, 63: 63, 127: -1, 126: -2, 65: -63, 0: 0}),
        ("rel_offset", {65: 1, 66: 2, 127: 63, 63: -1, 62: -2, 0: -64, 64: 0}),
        ("rel_sign", {1: 1, 2: 2, 63: 63, 65: -1, 66: -2, 127: -63, 64: 0, 0: 0}),
    ],
)
def test_the_three_encodings_of_encoders(motion, table):
    assert {raw: clicks(motion, raw) for raw in table} == table


def test_clicks_add_steps_and_fast_turns_as_much_as_accel_says():
    encoder = Binding(replace(FADER, motion="rel_2c"), "num_steps", step=2)
    assert [turned(encoder, raw) for raw in (1, 3, 127)] == [2, 6, -2]
    assert [turned(replace(encoder, accel=0), raw) for raw in (1, 3, 125)] == [2, 2, -2]
    assert turned(replace(encoder, accel=2), 3) == 18
    assert turned(replace(encoder, invert=True), 1) == -2


def test_halves_join_whatever_comes_between_and_the_last_upper_one_counts():
    halves = Halves()
    assert halves.low("a", 5) is None  # nothing above it yet
    assert halves.high("a", 64) is None  # its lower half will follow
    assert halves.high("b", 1) == 128  # another control, which has never sent a lower half
    assert halves.low("a", 3) == 64 << 7 | 3
    assert halves.low("a", 4) == 64 << 7 | 4


def test_a_controller_that_sends_no_lower_half_reaches_both_ends():
    assert [Halves().high("a", raw) for raw in (0, 64, 127)] == [0, 8192, 16383]


def test_nrpn_is_assembled_by_channel_and_null_chooses_none():
    nrpn = Nrpn()
    told = [nrpn.take(1, cc, value) for cc, value in ((99, 1), (98, 2), (6, 64), (38, 5), (6, 65), (38, 0))]
    assert told == [None, None, (130, 64 << 7), (130, 64 << 7 | 5), None, (130, 65 << 7)]
    assert nrpn.take(2, 6, 1) is None
    assert [nrpn.take(1, cc, 127) for cc in (99, 98, 6)] == [None, None, None]


def test_table_deadzone_detent_and_steps():
    table = Binding(FADER, "out/master", table=(0.0, 1.0, 0.5))
    assert [table.shaped(x) for x in (0, 0.25, 0.5, 0.75, 1)] == [0, 0.5, 1, 0.75, 0.5]
    zone = Binding(FADER, "out/master", deadzone=0.1)
    assert [zone.shaped(x) for x in (0.1, 0.5, 0.9)] == pytest.approx([0, 0.5, 1])
    detent = Binding(replace(FADER, detent=True), "out/hue")
    assert detent.shaped(65 / 127) == 0.5 and detent.shaped(70 / 127) > 0.5
    steps = Binding(FADER, "out/master", num_steps=3)
    assert [steps.shaped(x) for x in (0.2, 0.3, 0.8)] == [0, 0.5, 1]


class Hand:
    """A fader and a value that its takeover moves."""

    def __init__(self, how, value=1.0, low=0.0, high=1.0, to="out/contrast"):
        self.binding = Binding(FADER, to, low=low, high=high, takeover=how)
        self.takeover, self.values = Takeover(), {to: value}

    def move(self, x):
        place, _ = self.takeover.moved("pad", self.binding, x, self.values)
        self.takeover.note("pad", FADER, x)
        if place is not None:
            self.values[self.binding.to] = find(self.binding.to).coerce(self.binding.number_at(place))
        return self.values[self.binding.to]


def test_scale_never_jumps_and_reaches_the_ends_with_the_fader():
    """Contrast 1 of 0..2, fader at a quarter: three quarters of its way up bring the upper half of the value."""
    hand = Hand("scale", 1.0, 0, 2)
    assert hand.move(0.25) == 1.0
    assert hand.move(0.625) == pytest.approx(1.5)
    assert hand.move(1.0) == pytest.approx(2.0)
    assert [hand.move(x) for x in (0.5, 0.0)] == pytest.approx([1.0, 0.0])


def test_scale_moves_whole_numbers_by_small_steps():
    hand = Hand("scale", 8, 1, 20, "num_steps")
    for raw in range(0, 128):
        hand.move(raw / 127)
    assert hand.values["num_steps"] == 20


def test_pickup_is_lost_while_the_fader_does_something_else():
    """On another page the same fader moved elsewhere: back on this one, its value waits to be met again."""
    hand = Hand("pickup", 0.5, to="out/master")
    hand.move(0.5)
    assert hand.move(0.6) == pytest.approx(0.6)
    hand.takeover.note("pad", FADER, 0.1)  # moved on another page
    assert hand.move(0.15) == pytest.approx(0.6)
    assert hand.move(0.7) == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("control", "to", "how"),
    [
        (FADER, "out/master", "pickup"),
        (FADER, "num_steps", "pickup"),
        (FADER, "out/freeze", "jump"),
        (replace(FADER, motor=True), "out/master", "jump"),
        (replace(FADER, motion="rel_2c"), "out/master", "jump"),
        (replace(FADER, button="momentary"), "out/master", "jump"),
        (Control("wheel", "pitchbend", 1, None), "out/hue", "jump"),
        (Control("pressure", "aftertouch", 1, None), "out/hue", "jump"),
    ],
)
def test_what_stands_somewhere_picks_up_and_the_rest_jumps(control, to, how):
    assert resolved_takeover(Binding(control, to, takeover="auto")) == how


def test_a_step_is_what_moves_the_value_by_the_least():
    steps = {name: smallest_step(find(name), full_range(find(name))) for name in ("num_frames", "width", "num_steps")}
    assert steps == {"num_frames": 8, "width": 32, "num_steps": 1}
