"""The controllers of a show: files that are read again while it plays, learning by its parameters, saving, loading."""

import queue
import time

import pytest

from ltx_live.control.bank import slot_values
from ltx_live.control.controllers import Controllers
from ltx_live.control.event import NOTICE, Event, Origin, drain
from ltx_live.control.leds import Seen
from ltx_live.control.midi import COME, GONE, LIGHTS, MidiReceiver
from ltx_live.control.registry import Registry
from ltx_live.errors import ConfigError

OSC, KEY = Origin("osc", "127.0.0.1"), Origin("key")


class Show:
    """What a show does with its controllers, in real time, without MIDI ports."""

    def __init__(self, home, chosen="default"):
        self.home = home
        self.events = queue.SimpleQueue()
        self.registry = Registry(slot_values([("", f"prompt {i}") for i in range(16)]))
        self.controllers = Controllers(self.events, chosen, home, "none")
        self.said = []
        self.sent = {}
        self.controllers._sender.open = lambda port, device: self.events.put(
            (Event(LIGHTS, (port,), Origin("midi", port), 0.0),)
        )
        self.controllers._leds._send = lambda port, messages: self.sent.setdefault(port, []).extend(messages)
        self.controllers.start()

    def tick(self):
        now_s = time.perf_counter()
        self.controllers.tick(now_s, Seen(self.registry.values, self.registry.pending()), lambda grid, at: at)
        for transaction in drain(self.events):
            events = tuple(e for sent in transaction for e in self.controllers.translate(sent, self.registry.values))
            outcome = self.registry.apply(events)
            self.controllers.applied(outcome, events)
            self.said += [event.args[0] for event in events if event.address == NOTICE]
            self.said += outcome.errors

    def until(self, condition, what, timeout_s=5.0):
        start_s = time.perf_counter()
        while not condition():
            assert time.perf_counter() - start_s < timeout_s, f"{what}: not within {timeout_s} s; said {self.said}"
            self.tick()
            time.sleep(0.01)
        return time.perf_counter() - start_s

    def send(self, address, *args, origin=OSC):
        self.events.put((Event(address, args, origin, time.perf_counter()),))
        self.tick()

    def midi(self, place, *raws, port="Pad"):
        for raw in raws:
            self.send(f"/midi/{port}/{place}", raw, origin=Origin("midi", port))

    def has_said(self, words):
        return any(words in line for line in self.said)

    def __getitem__(self, name):
        return self.registry.values[name]


@pytest.fixture
def play(tmp_path):
    shows = []

    def make(chosen="default"):
        shows.append(Show(tmp_path, chosen))
        return shows[-1]

    yield make
    for show in shows:
        show.controllers.close()


def write(path, to, control="cc:1:9"):
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f'schema = 1\n[match]\ninput = ["Pad"]\n[[bind]]\ncontrol = "{control}"\nto = "{to}"\ntakeover = "jump"\n'
    )


def test_a_saved_file_applies_within_a_second_and_a_broken_one_leaves_the_old(play, tmp_path):
    show, path = play(), tmp_path / "mappings" / "pad.toml"
    show.midi("cc/1/9", 10)
    assert show.said == ["midi Pad: cc:1:9 = 10 is not mapped"]
    write(path, "out/contrast")
    assert show.until(lambda: show.has_said("read again"), "a new file") < 1.0
    show.midi("cc/1/9", 0)
    assert show["out/contrast"] == 0.0

    write(path, "out/hu")
    assert show.until(lambda: show.has_said(f"{path}:6: /ltx/out/hu: no such parameter"), "the fault") < 1.0
    assert show.has_said("did you mean /ltx/out/hue?; the mapping before stays in force")
    show.midi("cc/1/9", 127)
    assert show["out/contrast"] == 2.0

    write(path, "out/saturation")
    show.said.clear()
    assert show.until(lambda: show.has_said("read again"), "the corrected file") < 1.0
    show.midi("cc/1/9", 0)
    assert (show["out/contrast"], show["out/saturation"]) == (2.0, 0.0)

    path.unlink()
    show.said.clear()
    show.until(lambda: show.has_said("read again"), "a file that was removed")
    show.midi("cc/1/9", 5)
    assert show.has_said("not mapped")


def test_a_show_does_not_start_with_a_broken_mapping(tmp_path):
    write(tmp_path / "mappings" / "pad.toml", "out/hu")
    with pytest.raises(ConfigError, match=r"pad.toml:6: .*did you mean"):
        Controllers(queue.SimpleQueue(), "default", tmp_path)


def test_learn_by_osc_is_written_and_works(play, tmp_path):
    show = play()
    show.send("/ltx/midi/learn", "out/hue")
    assert show.controllers.line.startswith("learn: move a control for out/hue")
    show.midi("cc/1/9", 1, 40, 80)
    assert show["out/hue"] == 0.0  # what is learned moves nothing
    show.until(lambda: show.has_said("learned: cc:1:9 of Pad -> out/hue"), "learning")
    assert (tmp_path / "mappings" / "learned-pad.toml").is_file()
    show.until(lambda: show["midi/learn"] == "", "the end of learning")
    show.midi("cc/1/9", 64, 127)
    assert show["out/hue"] == 180.0


def test_learn_by_the_key_m_takes_the_next_parameter_touched(play):
    show = play()
    show.send("/ltx/midi/learn", 1, origin=KEY)
    show.send("/ltx/out/freeze", 1, origin=KEY)
    assert show.controllers.line.startswith("learn: move a control for out/freeze")
    show.midi("note/1/90", 100, 0)
    show.until(lambda: show.has_said("learned: note:1:90"), "learning")
    show.midi("note/1/90", 100, 0)
    assert show["out/freeze"] is False


def test_m_again_or_esc_ends_it_and_a_wrong_name_is_told(play):
    show = play()
    for args in ((0,), ("",)):
        show.send("/ltx/midi/learn", 1, origin=KEY)
        assert show.controllers.line
        show.send("/ltx/midi/learn", *args, origin=KEY)
        assert not show.controllers.line
        show.until(lambda: show["midi/learn"] == "", "the end of learning")
    show.send("/ltx/midi/learn", "out/hu")
    show.tick()
    assert show.has_said("did you mean /ltx/out/hue?")
    show.until(lambda: show["midi/learn"] == "", "the end of learning")


def test_a_proposal_is_answered_by_osc_or_key(play):
    show = play()
    show.send("/ltx/midi/learn", "out/master")
    show.midi("cc/1/16", 127, 127, 127)
    show.until(lambda: "encoder without ends" in show.controllers.line, "the question")
    show.send("/ltx/midi/learn/answer", "yes")
    show.until(lambda: show.has_said("learned: cc:1:16:rel_2c"), "learning")
    show.until(lambda: show["midi/learn/answer"] == "none", "the answer taken back")
    show.midi("cc/1/16", 127, 127)
    assert show["out/master"] == pytest.approx(0.9)


def test_load_and_save(play, tmp_path):
    show = play()
    show.send("/ltx/midi/load", "generic8")
    show.until(lambda: show.has_said("MIDI mapping generic8 in force"), "loading")
    show.midi("note/1/37", 90, 0)
    assert show["bank/selected"] == 2
    show.send("/ltx/midi/save", "tonight")
    show.until(lambda: show.has_said("saved "), "saving")
    assert (tmp_path / "mappings" / "saved" / "tonight.toml").is_file()
    show.send("/ltx/midi/load", "nonesuch")
    show.until(lambda: show.has_said("mapping nonesuch: no such file"), "the fault")
    show.midi("note/1/38", 90, 0)
    assert show["bank/selected"] == 3
    show.send("/ltx/midi/load", "default")
    show.until(lambda: show.has_said("mapping default in force"), "loading")


def test_lights_come_with_their_controller_and_with_its_mapping(play):
    """A plugged-in controller gets its lights, one plugged in again gets them again."""
    show, port = play(), "MIDI Mix"
    for _ in range(2):
        show.sent.clear()
        show.send(COME, port, origin=Origin("midi", port))
        show.until(lambda: len(show.sent.get(port, ())) == 26, "lights")
        show.send(GONE, port, origin=Origin("midi", port))
    show.send(COME, port, origin=Origin("midi", port))
    show.until(lambda: port in show.sent, "lights")
    show.sent.clear()
    show.midi("note/1/24", 90, 0, port=port)  # slot 8
    show.midi("note/1/26", 90, 0, port=port)  # page 2
    show.until(lambda: len(show.sent.get(port, ())) >= 26, "lights of page 2")
    show.send("/ltx/bank/9/text", "")
    show.sent.clear()
    show.midi("note/1/3", 90, 0, port=port)  # an empty slot
    assert show.has_said("bank slot 9 is empty")
    show.until(lambda: {b"\x90\x03\x7f", b"\x90\x03\x00"} <= set(show.sent.get(port, ())), "a light that blinks")


def test_the_folder_of_the_home_may_come_later(play, tmp_path):
    show = play()
    time.sleep(0.4)
    write(tmp_path / "mappings" / "pad.toml", "out/contrast")
    show.until(lambda: show.has_said("read again"), "the new folder")


def test_learning_does_not_hear_the_kinds_that_a_mapping_lets_it_ignore(play, tmp_path):
    """They play on meanwhile."""
    path = tmp_path / "mappings" / "pad.toml"
    write(path, "out/contrast")
    path.write_text(path.read_text() + '[options]\nlearn_ignores = ["cc", "aftertouch"]\n')
    show = play()
    receiver = MidiReceiver(show.events)
    show.send("/ltx/midi/learn", "out/hue")
    receiver.inject(bytes((0xD0, 1, 0xD0, 50, 0xD0, 99, 0xB0, 9, 1, 0xB0, 9, 64, 0xB0, 9, 127, 0xF8, 0xFE)), "Pad")
    show.tick()
    assert show["out/contrast"] == 2.0 and show.controllers.line.startswith("learn: move a control for out/hue")
    receiver.inject(bytes((0xE2, 0, 64, 0xE2, 0, 70, 0xE2, 0, 80)), "Pad")
    show.until(lambda: show.has_said("learned: "), "learning")
    assert show.has_said(f"learned: pitchbend:3 of Pad -> out/hue, in {path}")
    receiver.inject(bytes((0xD0, 1, 0xD0, 50, 0xD0, 99)), "Other")  # a port of another mapping
    show.send("/ltx/midi/learn", "out/hue")
    receiver.inject(bytes((0xD0, 1, 0xD0, 50, 0xD0, 99)), "Other")
    show.said.clear()
    show.until(lambda: show.has_said("learned: aftertouch:1 of Other"), "learning")
