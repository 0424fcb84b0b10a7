"""Whatever a controller sends and whatever stands in a mapping file: values stay in range, faults are one line."""

import functools
import json
import queue
from pathlib import Path

import pytest
from fuzzing import some
from hypothesis import given
from hypothesis import strategies as st

from ltx_live import params
from ltx_live.control.event import Event, Origin
from ltx_live.control.files import TABLES, load_mapping, load_mappings, mapping_folders
from ltx_live.control.learn import Learn
from ltx_live.control.leds import Leds, Seen
from ltx_live.control.mapping import Mapper
from ltx_live.control.midi import MidiReceiver
from ltx_live.control.registry import Registry
from ltx_live.errors import ConfigError

NOWHERE = Path("/nonexistent")
FOLDERS = mapping_folders(NOWHERE)
PORTS = ("nanoKONTROL2", "MIDI Mix", "APC mini mk2", "Launch Control XL", "LPMiniMK3 MI", "Some Pad")
SHIPPED = [path.read_text() for folder in FOLDERS for path in sorted(folder.glob("*.toml"))]


class Played:
    """Mappings on a registry: what bytes do, and what the lights show of it."""

    def __init__(self, mappings):
        self.events = queue.SimpleQueue()
        self.receiver = MidiReceiver(self.events)
        self.mapper = Mapper(mappings)
        self.registry = Registry()
        self.leds = Leds(self.mapper, self._check_bytes)
        self.now_s = 0.0

    def _check_bytes(self, port, messages):
        for data in messages:
            assert data[0] >= 0x80 and all(byte < 128 for byte in data[1:-1])

    def feed(self, data, port):
        self.receiver.inject(data, port)
        self.leds.connect(port)
        for transaction in [self.events.get() for _ in range(self.events.qsize())]:
            self.now_s += 0.05
            self._apply(event for sent in transaction for event in self.translate(sent))
            for due in self.mapper.tick(self.now_s, self.registry.values, lambda grid, at: at):
                self._apply(due)
            self.leds.update(self.now_s, Seen(self.registry.values, self.registry.pending()))

    def translate(self, event):
        if event.address.startswith("/clock/"):
            return ()
        return self.mapper.translate(event, self.registry.values)

    def _apply(self, events):
        outcome = self.registry.apply(tuple(events))
        for change in outcome.changes:
            assert params.find(change.name).coerce(change.new) == change.new


words = st.one_of(
    st.binary(max_size=4),
    st.tuples(st.integers(0x80, 0xEF), st.integers(0, 127), st.integers(0, 127)).map(bytes),
    st.tuples(st.integers(0xB0, 0xBF), st.sampled_from((6, 38, 98, 99, 0, 32, 7)), st.integers(0, 127)).map(bytes),
)


@some(150)
@given(st.lists(st.tuples(st.sampled_from(PORTS), words), max_size=40))
def test_any_bytes_through_the_shipped_mappings(messages):
    played = Played(shipped())
    for port, data in messages:
        played.feed(data, port)


@functools.cache
def shipped():
    return load_mappings("default", NOWHERE)


@some(150)
@given(st.lists(words, max_size=60), st.sampled_from(("out/hue", "row lora", "restart")))
def test_any_bytes_while_learning(messages, target):
    lessons, events, now_s = [], queue.SimpleQueue(), 0.0
    learn, receiver = Learn(lambda port, place: None, lessons.append), MidiReceiver(events)
    learn.begin(target)
    for data in messages:
        receiver.inject(data, "Pad")
        for (event,) in [events.get() for _ in range(events.qsize())]:
            now_s += 0.1
            if event.address.startswith("/midi/"):
                learn.hear(Event(event.address, event.args, Origin("midi", "Pad"), now_s))
        now_s += 0.2
        learn.tick(now_s)
        learn.answer(True)
    for lesson in lessons:
        assert params.find(lesson.target) and lesson.control.count(":") >= 1


names = st.sampled_from(
    ("out/hue", "num_frames", "bank/{1..8}/connect", "lora/{page}/strength", "prompt", "out/fit", "x")
)
controls = st.sampled_from(
    ("cc:1:7", "cc:1:{1..8}", "note:any:{8..1}", "slider{1..8}", "cc:1:0:14", "nrpn:1:300", "", "cc")
)
numbers = st.one_of(st.integers(-5, 200), st.floats(), st.just(10**30))
scalars = st.one_of(numbers, st.booleans(), names, controls, st.text(max_size=8))
values = st.one_of(
    scalars,
    st.lists(scalars, max_size=4),
    st.dictionaries(names, scalars, max_size=2),
    st.sampled_from(
        ("set", "toggle", "gate", "solo", "cycle", "scene", "goto", "inc", "rel_2c", "beat", "pickup", "exp")
    ),
)


def tables_of(name):
    """Tables with keys of the grammar, and now and then another."""
    keys = st.sampled_from((*TABLES[name].types, "sp am"))
    likely = {"control": controls, "to": names, "from": names, "kind": st.sampled_from(("cc", "note", "nrpn", "x"))}
    fixed = {key: likely[key] for key in likely if key in TABLES[name].types}
    return st.builds(lambda a, b: a | b, st.fixed_dictionaries(fixed), st.dictionaries(keys, values, max_size=4))


def toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value).replace("inf", "inf") if value == value else "nan"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


@st.composite
def files(draw):
    lines = ["schema = 1"]
    lines += draw(st.sampled_from(([], ['device = "nanokontrol2"'], ['extends = "default"'], ['extends = "midimix"'])))
    for _ in range(draw(st.integers(0, 4))):
        name = draw(st.sampled_from([name for name in TABLES if name]))
        lines.append(f"[[{name}]]" if isinstance_list(name) else f"[{name}]")
        lines += [f"{json.dumps(key)} = {toml(value)}" for key, value in draw(tables_of(name)).items()]
    return "\n".join(lines)


def isinstance_list(name):
    return TABLES[""].types[name] == (list,)


def understood(text, tmp_path):
    """The mapping of a text, or None for one whose fault was told in one line with its place."""
    path = tmp_path / "fuzz.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    try:
        return load_mapping(path, FOLDERS)
    except ConfigError as error:
        assert "\n" not in str(error) and str(error).startswith(str(path)), error
        return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def test_any_mapping_file(folder):
    """Those that are understood are played, too; enough of them are."""
    num_played = 0

    @some(300)
    @given(files(), st.lists(words, max_size=10))
    def check(text, messages):
        nonlocal num_played
        mapping = understood(text, folder)
        if mapping is not None:
            num_played += bool(mapping.bindings)
            played = Played([mapping])
            for data in messages:
                played.feed(data, "nanoKONTROL2")

    check()
    assert num_played > 20


@some(200)
@given(st.sampled_from(SHIPPED), st.integers(0, 10**6), st.integers(0, 30), st.text(max_size=6))
def test_any_slip_in_a_shipped_file(folder, text, place, num_lost, typed):
    place %= len(text)
    understood(text[:place] + typed + text[place + num_lost :], folder)


@some(100)
@given(st.binary(max_size=200))
def test_any_bytes_as_a_file(folder, data):
    understood(data, folder)
