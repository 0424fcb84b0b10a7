"""What lights show, and which bytes are sent for it: on connect, by changes, while something is pending, by page."""

from pathlib import Path

import pytest

from ltx_live.control.bank import slot_values
from ltx_live.control.event import Event, Origin
from ltx_live.control.files import load_mapping, load_mappings, mapping_folders
from ltx_live.control.leds import ERROR_S, Leds, Seen
from ltx_live.control.mapping import Mapper
from ltx_live.control.midi_out import choose_output
from ltx_live.control.registry import Registry

NOWHERE = Path("/nonexistent")
APC, MIX, NANO = "APC mini mk2 Control", "MIDI Mix", "nanoKONTROL2"


class Desk:
    """Controllers with lights, a registry, and what was sent to each; time is turned by hand."""

    def __init__(self, *ports, mappings=None):
        self.sent = {port: [] for port in ports}
        self.registry = Registry(slot_values([("", f"prompt {i}") for i in range(10)]))
        self.leds = Leds(Mapper(mappings or load_mappings("default", NOWHERE)), self._send)
        self.now_s = 10.0
        self.states = {"rec/toggle": False, "tempo/tap": False}
        for port in ports:
            self.leds.connect(port)

    def _send(self, port, messages):
        self.sent[port] += [data.hex(" ") for data in messages]

    def set(self, name, *args):
        self.registry.apply((Event(f"/ltx/{name}", args, Origin("osc"), 0.0),))

    def news(self, port, seconds=0.04):
        self.now_s += seconds
        self.leds.update(self.now_s, Seen(self.registry.values, self.registry.pending(), self.states))
        news, self.sent[port] = self.sent[port], []
        return news


def test_everything_is_sent_when_a_controller_comes_and_again_when_it_comes_anew():
    desk = Desk(APC)
    first = desk.news(APC)
    assert len(first) == 80
    assert {"90 38 03", "90 39 03", "90 00 00", "90 64 00"} <= set(first)  # slots 1, 2 filled; 57 empty; no blackout
    assert desk.news(APC) == []
    desk.leds.connect(APC)
    assert sorted(desk.news(APC)) == sorted(first)
    desk.leds.disconnect(APC)
    desk.set("out/blackout", 1)
    assert desk.news(APC) == []


def test_a_slot_pulses_from_its_press_to_its_picture_and_then_stands():
    desk = Desk(APC)
    desk.news(APC)
    desk.set("bank/2/connect")
    assert desk.news(APC) == ["98 39 09"]  # pulsing
    desk.registry.mark_applied(desk.registry.epoch)
    assert desk.news(APC) == ["96 39 15"]  # solid green
    desk.set("bank/1/connect")
    assert sorted(desk.news(APC)) == ["90 39 03", "98 38 09"]


def test_a_light_that_cannot_blink_is_blinked():
    desk = Desk(MIX)
    desk.news(MIX)
    desk.set("bank/1/connect")
    seen = [message for _ in range(20) for message in desk.news(MIX, 0.05)]  # a second at 2 Hz
    assert seen.count("90 03 7f") == seen.count("90 03 00") == 2
    desk.registry.mark_applied(desk.registry.epoch)
    rest = desk.news(MIX) + desk.news(MIX)
    assert rest in ([], ["90 03 7f"]) and desk.news(MIX, 1.0) == []


def test_another_page_sends_everything():
    desk = Desk(NANO)
    desk.set("prompts/3/weight", 1.0)
    desk.registry.mark_applied(desk.registry.epoch)
    assert "b0 32 00" in desk.news(NANO)  # M 3 is nothing on page 1
    desk.set("midi/page", 2)
    news = desk.news(NANO)
    assert len(news) == 35 and "b0 32 7f" in news


def test_states_beat_and_several_controllers_at_once():
    desk = Desk(APC, MIX, NANO)
    for port in (APC, MIX, NANO):
        desk.news(port)
    desk.set("out/blackout", 1)
    desk.states |= {"rec/toggle": True, "tempo/tap": True}
    assert desk.news(APC) == ["90 64 01", "90 68 01", "90 69 01"]
    assert desk.sent[MIX] == [] and desk.sent[NANO] == ["b0 2a 7f", "b0 2d 7f", "b0 3c 7f"]


def test_what_could_not_be_done_blinks_for_a_second():
    desk = Desk(APC)
    desk.news(APC)
    desk.leds.failed(APC, {"bank/64/connect"}, desk.now_s)
    assert desk.news(APC) == ["9c 07 05"]
    assert desk.news(APC, ERROR_S) == ["90 07 00"]


def test_at_most_thirty_times_a_second():
    desk = Desk(APC)
    desk.news(APC)
    desk.set("out/blackout", 1)
    assert desk.news(APC, 0.01) == [] and desk.news(APC, 0.03) == ["90 64 01"]


OWN = """schema = 1
[[control]]
id = "motor"
kind = "pitchbend"
motor = true
[[control]]
id = "key"
kind = "note"
number = 1
[[led]]
control = "motor"
send = "pitchbend"
level = [0, 16383]
[[led]]
control = "key"
send = "note"
off = 0
on = 1
colours = { red = 5, blue = 6 }
[[bind]]
control = "motor"
to = "out/master"
[[bind]]
control = "key"
to = "reseed"
[[feedback]]
control = "key"
from = "out/fit"
map = { letterbox = "blue", fill = "red" }
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    return Desk("x", mappings=[load_mapping(path, mapping_folders(NOWHERE))])


def test_a_motor_follows_its_value_and_a_map_gives_colours(own):
    assert own.news("x") == ["e0 7f 7f", "90 01 06"]
    own.set("out/master", 0.5)
    own.set("out/fit", "fill")
    assert own.news("x") == ["e0 00 40", "90 01 05"]


@pytest.mark.parametrize(
    ("names", "port", "globs", "chosen"),
    [
        (["a", "grid"], "grid", ["nothing"], "grid"),
        (["a", "grid:leds"], "grid:pads", ["GRID*"], "grid:leds"),
        (["grid:leds", "grid:leds#2"], "grid:pads#2", ["grid*"], "grid:leds#2"),
        (["grid:leds"], "grid:pads#2", ["grid*"], None),
        (["a"], "grid", ["grid*"], None),
    ],
)
def test_the_output_of_an_input(names, port, globs, chosen):
    assert choose_output(names, port, globs) == chosen
