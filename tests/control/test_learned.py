"""What is learned is written into mapping files: in its place, with the comments kept, readable afterwards."""

from pathlib import Path

import pytest

from ltx_live.control.event import Event, Origin
from ltx_live.control.files import load_mappings, mapping_folders
from ltx_live.control.learn import ROWS, Lesson
from ltx_live.control.learned import save_as, write_lesson
from ltx_live.control.mapping import Mapper
from ltx_live.errors import ConfigError

NANO = "nanoKONTROL2:nanoKONTROL2 nanoKONTROL2 _ CTRL"
SHIPPED = {path.stem: path for folder in mapping_folders(Path("/nonexistent")) for path in folder.glob("*.toml")}


class Home:
    """A performer's home, and what a controller does by what is in it."""

    def __init__(self, path):
        self.path = path

    def mapper(self):
        return Mapper(load_mappings("default", self.path))

    def teach(self, port, control, target, is_button=False, page=1):
        mapping = self.mapper().bound(port).mapping
        return write_lesson(Lesson(port, control, target, is_button), page, mapping, self.path)

    def bindings(self, port, kind, channel, number, page=1):
        """(parameter, action) of what a control does on a page."""
        mapper = self.mapper()
        return [
            (b.to, b.action)
            for b in mapper.chosen(port, mapper.bound(port).at(kind, channel, number), {"midi/page": page})
        ]


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def test_an_unknown_controller_gets_a_file_that_extends_the_default(home):
    path = home.teach("Mega [Pad] 3000", "cc:1:74", "out/hue")
    assert path == home.path / "mappings" / "learned-mega_pad_3000.toml"
    assert home.bindings("Mega [Pad] 3000", "cc", 1, 74) == [("out/hue", "set")]
    assert home.bindings("Mega [Pad] 3000", "note", 10, 36) == [("bank/1/connect", "trigger")]  # as by default
    assert home.bindings("Another", "cc", 1, 74) == []
    home.teach("Mega [Pad] 3000", "cc:1:7", "out/opacity")
    assert home.bindings("Mega [Pad] 3000", "cc", 1, 7) == [("out/opacity", "set")]


def test_a_shipped_mapping_is_copied_with_its_comments_and_stays_as_it_was(home):
    before = SHIPPED["nanokontrol2"].read_text()
    path = home.teach(NANO, "knob5", "out/hue")
    assert path == home.path / "mappings" / "nanokontrol2.toml"
    assert SHIPPED["nanokontrol2"].read_text() == before
    comments = [line for line in before.splitlines() if line.startswith("#")]
    assert [line for line in path.read_text().splitlines() if line.startswith("#")] == comments
    assert home.bindings(NANO, "cc", 1, 20) == [("out/hue", "set")]
    assert home.bindings(NANO, "cc", 1, 7) == [("out/master", "set")]


def test_what_the_control_did_is_replaced_where_it_stands(home):
    home.teach(NANO, "slider8", "out/opacity")
    path = home.teach(NANO, "slider8", "audio/volume")
    assert home.bindings(NANO, "cc", 1, 7) == [("audio/volume", "set")]
    assert path.read_text().count('control = "slider8"') == 1
    assert path.read_text().index("# On every page.") < path.read_text().index("audio/volume", 900)


def test_a_lesson_is_for_the_page_where_the_control_has_one(home):
    home.teach(NANO, "slider1", "out/master")
    assert [home.bindings(NANO, "cc", 1, 0, page) for page in (1, 2, 3)] == [
        [("out/master", "set")],
        [("prompts/1/weight", "set")],
        [("lora/1/strength", "set")],
    ]
    home.teach(NANO, "slider4", "tempo/bpm", page=2)
    assert [home.bindings(NANO, "cc", 1, 3, page) for page in (1, 2, 3)] == [
        [("out/hue", "set")],
        [("tempo/bpm", "set")],
        [("lora/4/strength", "set")],
    ]


@pytest.mark.parametrize("number", [1, 2, 5, 8])
def test_one_of_a_span_leaves_the_others_as_they_are(home, number):
    home.teach(NANO, f"rec{number}", "out/freeze", is_button=True)
    seen = [home.bindings(NANO, "cc", 1, 63 + i) for i in range(1, 9)]
    expected = [[(f"bank/{i}/connect", "trigger")] for i in range(1, 9)]
    expected[number - 1] = [("out/freeze", "toggle")]
    assert seen == expected


@pytest.mark.parametrize(
    ("control", "target", "is_button", "expected"),
    [
        ("note:1:60", "bank/3/connect", True, ("bank/3/connect", "trigger")),
        ("note:1:60", "out/freeze", True, ("out/freeze", "toggle")),
        ("note:1:60", "prompts/1/weight", True, ("prompts/1/weight", "toggle")),
        ("note:1:60", "tempo/quantise", True, ("tempo/quantise", "cycle")),
        ("cc:1:16:rel_2c", "out/hue", False, ("out/hue", "set")),
        ("cc:1:0:14", "out/hue", False, ("out/hue", "set")),
    ],
)
def test_a_button_switches_and_what_moves_sets(home, control, target, is_button, expected):
    home.teach("Pad", control, target, is_button)
    kind, channel, number = control.split(":")[:3]
    assert home.bindings("Pad", kind, int(channel), int(number)) == [expected]


def test_a_learned_encoder_stays_one_when_it_is_learned_again(home):
    home.teach("Pad", "cc:1:16", "out/hue")
    home.teach("Pad", "cc:1:16:rel_offset", "out/hue")
    bound = home.mapper().bound("Pad")
    (binding,) = bound.at("cc", 1, 16)
    assert binding.control.motion == "rel_offset"
    home.teach("Pad", "cc:1:16", "out/master")
    (binding,) = home.mapper().bound("Pad").at("cc", 1, 16)
    assert (binding.control.motion, binding.to) == ("abs", "out/master")


def test_a_row_of_eight(home):
    for i in range(1, 9):
        home.teach("Pad", f"note:1:{40 + i}", ROWS["bank"].format(i), is_button=True)
    assert [home.bindings("Pad", "note", 1, 40 + i)[0][0] for i in range(1, 9)] == [
        f"bank/{i}/connect" for i in range(1, 9)
    ]


def test_the_performers_own_file_is_edited_in_place_with_everything_in_it(home):
    path = home.path / "mappings" / "mine.toml"
    path.parent.mkdir()
    text = '# mine\nschema = 1  # the first\n\n[match]\ninput = ["Pad"]  # my pad\n\n'
    text += '# hue\n[[bind]]\ncontrol = "cc:1:7"  # wheel\nto = "out/hue"\n'
    path.write_text(text)
    assert home.teach("Pad", "cc:1:8", "out/master") == path
    assert path.read_text().startswith(text)
    home.teach("Pad", "cc:1:7", "out/contrast")
    assert "# wheel" in path.read_text() and home.bindings("Pad", "cc", 1, 7) == [("out/contrast", "set")]


def test_a_broken_file_is_told_of_and_left_alone(home):
    path = home.teach("Pad", "cc:1:8", "out/master")
    mapping = home.mapper().bound("Pad").mapping
    path.write_text("schema = 1\n[[bind\n")
    with pytest.raises(ConfigError, match=f"{path}: not TOML"):
        write_lesson(Lesson("Pad", "cc:1:9", "out/hue", False), 1, mapping, home.path)
    assert path.read_text() == "schema = 1\n[[bind\n" and [each.name for each in path.parent.iterdir()] == [path.name]


def test_saved_under_a_name_it_is_played_only_when_chosen(home):
    home.teach(NANO, "slider8", "out/opacity")
    mapping = home.mapper().bound(NANO).mapping
    path = save_as("my ../set", mapping, home.path)
    assert path.parent == home.path / "mappings" / "saved" and path.name == "my_.._set.toml"
    home.teach(NANO, "slider8", "out/master")
    assert home.bindings(NANO, "cc", 1, 7) == [("out/master", "set")]
    chosen = Mapper(load_mappings("my_.._set", home.path))
    assert chosen.bound("x").at("cc", 1, 7)[0].to == "out/opacity"
    with pytest.raises(ConfigError, match="write a name"):
        save_as("../", mapping, home.path)


def test_events_of_a_learned_control_are_translated(home):
    home.teach("Pad", "cc:1:9", "out/blackout", is_button=True)
    mapper = home.mapper()
    event = Event("/midi/Pad/cc/1/9", (127,), Origin("midi", "Pad"), 0.0)
    (sent,) = mapper.translate(event, {"out/blackout": False, "midi/page": 1})
    assert (sent.address, sent.args) == ("/ltx/out/blackout", (1,))
