"""Which of several MIDI clocks leads the tempo by the mapping files, and what its start does: from raw bytes."""

import queue

import pytest

from ltx_live.control.controllers import Controllers
from ltx_live.control.event import Event, Origin, drain
from ltx_live.control.midi import CLOCK, COME, GONE, MidiReceiver
from ltx_live.params import defaults
from ltx_live.tempo import Tempo

TICK, START, CONTINUE, STOP = 0xF8, 0xFA, 0xFB, 0xFC
BEAT = [TICK] * 24


class Rig:
    """The clocks of a show: bytes at a port, by the mapping files of a home, to the tempo."""

    def __init__(self, home, **files):
        (home / "mappings").mkdir()
        for name, text in files.items():
            (home / "mappings" / f"{name}.toml").write_text(f"schema = 1\n{text}")
        self.events = queue.SimpleQueue()
        self.receiver = MidiReceiver(self.events)
        self.controllers = Controllers(self.events, "default", home, "none")
        self.tempo = Tempo()
        self.tempo.take(defaults() | {"tempo/midi_clock": True}, 0.0)

    def plug(self, *ports, address=COME):
        for port in ports:
            self.controllers.translate(Event(address, (port,), Origin("midi", port), 0.0), {})

    def send(self, port, *data):
        """The time of the last message, and whether any has reached the tempo."""
        self.receiver.inject(bytes(data), port)
        events = [event for transaction in drain(self.events) for event in transaction]
        heard = [each for event in events for each in self.controllers.clock(event)]
        for event in heard:
            self.tempo.midi(event.address.removeprefix(CLOCK), event.args, event.origin.name)
        return events[-1].time_s, bool(heard)

    def follows(self, *ports):
        return [port for port in ports if self.send(port, *BEAT)[1]]


def test_without_a_word_every_clock_is_followed_and_with_use_false_it_is_not(tmp_path):
    rig = Rig(tmp_path, pad='match.input = ["Pad"]\nclock.use = false', keys='match.input = ["Keys"]\nclock.use = true')
    assert rig.follows("Pad", "Keys", "Other") == ["Keys", "Other"]


def test_a_controller_that_is_there_names_the_clock_that_is_followed(tmp_path):
    rig = Rig(tmp_path, pad='match.input = ["Pad"]\nclock.input = "*drum*"')
    assert rig.follows("My Drums", "Keys") == ["My Drums", "Keys"]
    rig.plug("Keys", "Pad")
    assert rig.follows("My Drums", "Keys", "Pad") == ["My Drums"]
    rig.plug("Pad", address=GONE)
    assert rig.follows("My Drums", "Keys") == ["My Drums", "Keys"]


def test_a_clock_that_is_named_is_not_followed_against_its_own_file(tmp_path):
    rig = Rig(
        tmp_path,
        pad='match.input = ["Pad"]\nclock.input = ["Drum", "Keys"]',
        drum='match.input = ["Drum"]\nclock.use = false',
    )
    rig.plug("Pad", "Drum", "Keys")
    assert rig.follows("Drum", "Keys", "Pad") == ["Keys"]


@pytest.mark.parametrize(
    ("said", "word", "beat"),
    [
        ("", START, 0),
        ("", CONTINUE, 30 / 24),  # the tick after the stop
        ("start_resync = true", START, 0),
        ("start_resync = true", CONTINUE, 0),
        ("start_resync = false", START, None),
        ("start_resync = false", CONTINUE, None),
    ],
)
def test_start_and_continue_go_to_beat_one_as_the_mapping_says(tmp_path, said, word, beat):
    rig = Rig(tmp_path, pad=f'match.input = ["Pad"]\n[clock]\n{said}\ninput = "Drum"')
    rig.plug("Pad")
    rig.send("Drum", START, *[TICK] * 30, STOP)
    now_s, _ = rig.send("Drum", *[TICK] * 6)
    before = rig.tempo.beat_at(now_s)
    time_s, _ = rig.send("Drum", word)
    if beat is None:
        assert rig.tempo.beat_at(now_s) == before
    else:
        assert rig.tempo.beat_at(time_s) == pytest.approx(beat)
        assert rig.tempo.beat_at(now_s) != pytest.approx(before)
