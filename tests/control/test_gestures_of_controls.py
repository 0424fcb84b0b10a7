"""What controls mean beyond moving a value: pages, shift, long presses, held keys, encoders, glides, the beat."""

from dataclasses import replace

import pytest

from ltx_live.control.bank import slot_values
from ltx_live.control.binding import Binding, Control
from ltx_live.control.event import NOTICE, Event, Origin
from ltx_live.control.mapping import Mapper, Mapping
from ltx_live.control.registry import Registry

PAD, OTHER, SHIFT = (Control(name, "note", 1, number) for name, number in (("pad", 36), ("other", 37), ("shift", 38)))
BUTTON = Control("button", "cc", 1, 41, button="momentary")
FADER = Control("fader", "cc", 1, 7)
ENCODER = Control("encoder", "cc", 1, 16, motion="rel_2c")


class Rig:
    """A controller on a mapping and a registry; time is turned by hand."""

    def __init__(self, *bindings):
        self.mapper = Mapper([Mapping("test", (), bindings)])
        self.registry = Registry(slot_values([("", f"prompt {i}") for i in range(16)]))
        self.now_s = 100.0
        self.fired = []
        self.notices = []

    def send(self, place, raw):
        event = Event(f"/midi/pad/{place}", (raw,), Origin("midi", "pad"), self.now_s)
        self.apply(self.mapper.translate(event, self.registry.values))

    def apply(self, events):
        outcome = self.registry.apply(events)
        assert not outcome.errors
        self.fired += [fired.name for fired in outcome.fired]
        self.notices += [event.args[0] for event in events if event.address == NOTICE]

    def press(self, number=36, velocity=100, hold_s=0.1):
        self.send(f"note/1/{number}", velocity)
        self.wait(hold_s)
        self.send(f"note/1/{number}", 0)

    def wait(self, seconds, beat_s=0.5):
        until_s = self.now_s + seconds
        while self.now_s < until_s - 1e-9:
            self.now_s += 0.01
            for events in self.mapper.tick(
                self.now_s, self.registry.values, lambda grid, at: (at // beat_s + 1) * beat_s
            ):
                self.apply(events)

    def set(self, name, value):
        self.registry.apply((Event(f"/ltx/{name}", (value,), Origin("osc"), self.now_s),))

    def __getitem__(self, name):
        return self.registry.values[name]


def test_a_page_chooses_between_bindings_and_one_without_a_page_is_for_the_others():
    rig = Rig(
        Binding(FADER, "out/master"), Binding(FADER, "out/opacity", page=2), Binding(FADER, "out/saturation", page=3)
    )
    for page in (1, 2, 3, 4):
        rig.set("midi/page", page)
        rig.send("cc/1/7", 16 * page)
    assert [rig[name] for name in ("out/master", "out/opacity", "out/saturation")] == [0.5, 0.25, 0.375]


def test_buttons_turn_pages_within_their_range():
    up, down = Binding(PAD, "midi/page", "inc", 1, 3), Binding(OTHER, "midi/page", "inc", 1, 3, invert=True)
    rig = Rig(up, down)
    seen = []
    for number in (36, 36, 36, 37, 37, 37):
        rig.press(number)
        seen.append(rig["midi/page"])
    assert seen == [2, 3, 3, 2, 1, 1]


def test_shift_wins_while_it_is_held_in_whatever_order_the_file_has_them():
    rig = Rig(Binding(PAD, "bank/1/connect", "trigger"), Binding(PAD, "bank/2/connect", "trigger", shift=SHIFT))
    rig.press()
    rig.send("note/1/38", 90)
    rig.press()
    rig.send("note/1/38", 0)
    rig.press()
    assert rig.fired == ["bank/1/connect", "bank/2/connect", "bank/1/connect"]
    assert not rig.notices  # a shift key is no control without a mapping


def test_a_release_goes_to_what_was_pressed_though_shift_is_up_by_then():
    rig = Rig(Binding(PAD, "out/freeze", "momentary"), Binding(PAD, "out/blackout", "momentary", shift=SHIFT))
    rig.send("note/1/38", 90)
    rig.send("note/1/36", 90)
    rig.send("note/1/38", 0)
    assert rig["out/blackout"]
    rig.send("note/1/36", 0)
    assert not rig["out/blackout"] and not rig["out/freeze"]


def test_when_depends_on_values():
    rig = Rig(Binding(PAD, "bank/next", "trigger"), Binding(PAD, "out/freeze", "toggle", when=(("out/freeze", True),)))
    rig.press()
    rig.set("out/freeze", 1)
    rig.press()
    rig.press()
    assert rig.fired == ["bank/next", "bank/next"] and not rig["out/freeze"]


def test_also_adds_a_second_effect():
    rig = Rig(Binding(FADER, "out/master"), Binding(FADER, "audio/volume", also=True))
    rig.send("cc/1/7", 32)
    assert rig["out/master"] == rig["audio/volume"] == 0.25


def test_a_short_press_acts_at_its_release_and_a_long_one_while_it_is_held():
    rig = Rig(Binding(PAD, "bank/next", "trigger"), Binding(PAD, "restart", "trigger", long_s=0.5))
    rig.send("note/1/36", 90)
    rig.wait(0.2)
    assert rig.fired == []
    rig.send("note/1/36", 0)
    assert rig.fired == ["bank/next"]
    rig.send("note/1/36", 90)
    rig.wait(0.6)
    assert rig.fired == ["bank/next", "restart"]
    rig.send("note/1/36", 0)
    rig.wait(1)
    assert rig.fired == ["bank/next", "restart"]


def test_momentary_gate_toggle_and_trigger():
    rig = Rig(
        Binding(PAD, "out/saturation", "momentary", 0.5, 2.0),
        Binding(OTHER, "out/contrast", "gate", 0.0, 2.0),
        Binding(SHIFT, "prompts/1/weight", "toggle", 0.0, 1.0),
    )
    seen = []
    for number, name in ((36, "out/saturation"), (37, "out/contrast"), (38, "prompts/1/weight")):
        for velocity in (20, 0):
            rig.send(f"note/1/{number}", velocity)
            seen.append(rig[name])
    assert seen == [2.0, 0.5, 2.0, 1.0, 1.0, 1.0]  # the gate gives back what was before; a toggle ignores the release
    rig.press(38)
    assert rig["prompts/1/weight"] == 0.0


def test_a_soft_key_switches_as_a_loud_one_unless_velocity_is_the_value():
    rig = Rig(Binding(PAD, "out/freeze"), Binding(OTHER, "out/master", velocity=True))
    rig.send("note/1/36", 1)
    assert rig["out/freeze"]
    rig.press(37, velocity=32)
    assert rig["out/master"] == pytest.approx(32 / 127)  # and the release leaves it


def test_solo_goto_scene_and_cycle():
    rig = Rig(
        Binding(PAD, "prompts/3/weight", "solo"),
        Binding(OTHER, "tempo/quantise", "goto", targets=(("tempo/quantise", "bar"),)),
        Binding(SHIFT, "", "scene", targets=(("out/hue", 30.0), ("prompt", "a red fox"))),
        Binding(BUTTON, "out/fit", "cycle", 0, 1),
    )
    rig.set("prompts/1/weight", 0.7)
    for number in (36, 37, 38):
        rig.press(number)
    assert [rig[f"prompts/{i}/weight"] for i in (1, 2, 3)] == [0, 0, 1]
    assert (rig["tempo/quantise"], rig["out/hue"], rig["prompt"]) == ("bar", 30.0, "a red fox")
    seen = []
    for raw in (127, 0, 127, 0):
        rig.send("cc/1/41", raw)
        seen.append(rig["out/fit"])
    assert seen == ["fill", "fill", "letterbox", "letterbox"]


def test_hardware_that_toggles_by_itself_is_followed():
    rig = Rig(
        Binding(replace(BUTTON, button="toggle_hw"), "out/freeze", "toggle"),
        Binding(replace(BUTTON, number=42, button="toggle_hw"), "bank/next", "trigger"),
    )
    seen = []
    for raw in (127, 0, 127):
        rig.send("cc/1/41", raw)
        rig.send("cc/1/42", raw)
        seen.append(rig["out/freeze"])
    assert seen == [True, False, True] and rig.fired == ["bank/next"] * 3


def test_an_encoder_turns_its_value_on_from_where_it_is_and_stops_at_the_ends():
    rig = Rig(Binding(ENCODER, "num_steps", low=2, high=10, step=1))
    seen = []
    for raw in (1, 1, 1, 127, 120):
        rig.send("cc/1/16", raw)
        seen.append(rig["num_steps"])
    assert seen == [9, 10, 10, 9, 2]
    rig.set("num_steps", 5)
    rig.send("cc/1/16", 1)
    assert rig["num_steps"] == 6


def test_14_bits_only_where_they_are_declared():
    """nanoKONTROL2: CC 0 is slider 1 and CC 32 is solo 1."""
    slider, solo = Control("slider1", "cc", 1, 0), Control("solo1", "cc", 1, 32)
    apart = Rig(Binding(slider, "out/master"), Binding(solo, "out/freeze"))
    apart.send("cc/1/0", 64)
    apart.send("cc/1/32", 127)
    assert apart["out/master"] == 0.5 and apart["out/freeze"]
    wide = Rig(Binding(replace(slider, bits=14, lsb=32), "out/master"))
    wide.send("cc/1/0", 64)
    assert wide["out/master"] == 0.5
    wide.send("cc/1/32", 127)
    assert wide["out/master"] == pytest.approx(0.5 + 127 / 16382)
    wide.send("cc/1/0", 65)  # its lower half is on the way
    assert wide["out/master"] == pytest.approx(0.5 + 127 / 16382)
    wide.send("cc/1/5", 3)  # another control in between
    wide.send("cc/1/32", 0)
    assert wide["out/master"] == pytest.approx(0.5 + 128 / 16382)


def test_nrpn_where_it_is_declared():
    rig = Rig(Binding(Control("knob", "nrpn", 1, 130), "out/master"))
    for cc, value in ((99, 1), (98, 2), (6, 64), (38, 0)):
        rig.send(f"cc/1/{cc}", value)
    assert rig["out/master"] == 0.5
    plain = Rig(Binding(Control("knob", "cc", 1, 6), "out/master"))
    plain.send("cc/1/6", 64)
    assert plain["out/master"] == 0.5


def test_a_glide_arrives_and_gives_way_to_another_hand():
    rig = Rig(Binding(FADER, "out/master", smooth_s=0.1))
    rig.send("cc/1/7", 0)
    assert rig["out/master"] == 1.0
    rig.wait(0.1)
    assert 0.3 < rig["out/master"] < 0.45  # 1/e after one time constant
    rig.wait(1)
    assert rig["out/master"] == 0.0
    rig.send("cc/1/7", 127)
    rig.wait(0.05)
    rig.set("out/master", 0.25)
    rig.wait(1)
    assert rig["out/master"] == 0.25


def test_a_quantised_press_waits_for_its_beat():
    rig = Rig(Binding(PAD, "out/freeze", "toggle", quantise="beat"))
    rig.now_s = 100.1
    rig.send("note/1/36", 90)
    assert rig.notices == ["pad: out/freeze waits for the beat"]
    rig.wait(0.3)
    assert not rig["out/freeze"]
    rig.wait(0.15)
    assert rig["out/freeze"]


def test_equal_controllers_are_apart():
    rig = Rig(Binding(PAD, "bank/1/connect", "trigger"), Binding(PAD, "bank/2/connect", "trigger", shift=SHIFT))
    held = Event("/midi/pad_2/note/1/38", (90,), Origin("midi", "pad#2"), 1.0)
    rig.apply(rig.mapper.translate(held, rig.registry.values))
    rig.press()
    assert rig.fired == ["bank/1/connect"]


def test_the_port_goes_to_the_mapping_that_fits_it_best():
    def named(name, *inputs):
        return Mapping(name, inputs, ())

    mapper = Mapper([named("mini", "*APC MINI*"), named("mk2", "*APC mini mk2*"), named("any")])
    ports = ("APC MINI:APC MINI MIDI 1", "APC mini mk2:APC mini mk2 Control", "Something")
    assert [mapper.bound(port).mapping.name for port in ports] == ["mini", "mk2", "any"]
