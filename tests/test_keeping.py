"""What is kept of a show and what comes back: the last state, the show file, and files changed by hand."""

import os
import time
import tomllib
from pathlib import Path

import pytest

from ltx_live import app, cli, options
from ltx_live.control.event import NOTICE, Event, Origin
from ltx_live.control.registry import Registry
from ltx_live.control.snapshots import Snapshots
from ltx_live.errors import ConfigError
from ltx_live.keeping import RESTORE_WITHIN_S, Keeper, state_path
from ltx_live.playback import Playback

HAND = Origin("osc", "127.0.0.1", None)
SHOW = """# Friday
schema = 1

[model]
name = "testcard"

[values]
"out/hue" = 10  # warm

# what is played
[[bank]]
slot = 2
text = "rings"

[[cue]]
name = "Doors"
prompt = "waves"
"""


class Show:
    """What a show does with what it keeps; time is turned by hand. `arguments` are those of `ltx-live play`."""

    def __init__(self, home: Path, *arguments: str):
        (home / "shows").mkdir(parents=True, exist_ok=True)
        args = cli.parser().parse_args(["play", "--home", str(home), *arguments])
        self.config = options.show_config(args)
        self.playback = Playback(self.config.cues, Snapshots(self.config.snapshots))
        values = app.initial_values(self.config.values, self.config.own_bank)
        self.registry = Registry(values | self.playback.begin(values), effects=self.playback)
        self.told: list[str] = []
        self.keeper = Keeper(self.config, self.playback, self.registry.values, self.told.append)
        self.now_s = 100.0
        self.update()

    def __getitem__(self, name):
        return self.registry.values[name]

    def apply(self, *events):
        outcome = self.registry.apply(events)
        self.playback.heard(events, outcome)
        self.keeper.heard(events, outcome, self.now_s)
        assert outcome.errors == ()

    def send(self, address, *args):
        self.apply(Event(f"/ltx/{address}", args, HAND, self.now_s))

    def update(self):
        self.apply(*self.keeper.update(self.now_s))

    def play(self, seconds=3.0):
        for _ in range(round(seconds * 4)):
            self.now_s += 0.25
            self.update()

    def settle(self):
        """Until what was to be written is on the disk."""
        while not self.keeper._saver._jobs.empty():
            time.sleep(0.01)
        time.sleep(0.3)

    def break_off(self):
        """As far as it had got on the disk; nothing more is written."""
        self.keeper._saver.close()

    def end(self):
        self.keeper.close()


def state_of(home, name="last.toml"):
    return tomllib.loads((home / "shows" / name).read_text())


@pytest.fixture
def show_path(tmp_path):
    path = tmp_path / "friday.toml"
    path.write_text(SHOW)
    return path


def test_a_show_that_broke_off_goes_on_where_it_was(tmp_path):
    show = Show(tmp_path, "--model", "testcard", "--set", "out/hue=30", "--prompt", "a fox")
    assert show.config.told == ""
    show.send("out/hue", 0)
    show.send("out/master", 0.5)
    show.send("out/blackout", 1)
    show.send("pause", 1)
    show.send("out/speed", 0)
    show.send("bank/3/text", "mine")
    show.send("bank/3/connect")
    show.send("snap/4/save")
    show.send("snap/4/name", "dusk")
    show.play()
    show.break_off()
    assert state_of(tmp_path)["last"] == {"show": "", "model": "testcard", "ended": False}

    again = Show(tmp_path, "--model", "testcard", "--set", "out/hue=30", "--prompt", "a fox")
    assert "the show broke off at" in again.config.told and "out/blackout still on" in again.config.told
    assert (again["out/hue"], again["out/master"], again["out/blackout"]) == (0.0, 0.5, True)
    assert (again["prompt"], again["bank/selected"], again["bank/3/text"]) == ("mine", 3, "mine")
    assert again["pause"] is False and again["out/speed"] == 1.0
    assert again.playback.snapshots.kept == show.playback.snapshots.kept and again["snap/4/name"] == "dusk"


@pytest.mark.parametrize("arguments", [("--model", "pocket"), ("--model", "testcard", "--no-restore")])
def test_another_show_begins_anew(tmp_path, arguments):
    show = Show(tmp_path, "--model", "testcard")
    show.send("out/hue", 50)
    show.play()
    show.break_off()
    again = Show(tmp_path, *arguments)
    assert again["out/hue"] == 0.0 and again.config.told == ""


def test_a_show_that_broke_off_long_ago_begins_anew(tmp_path):
    show = Show(tmp_path, "--model", "testcard")
    show.send("out/hue", 50)
    show.play()
    show.break_off()
    path = state_path(tmp_path / "shows", None)
    old_s = time.time() - RESTORE_WITHIN_S - 5
    os.utime(path, (old_s, old_s))
    show = Show(tmp_path, "--model", "testcard")
    assert show["out/hue"] == 0.0


def test_the_file_stays_young_while_the_show_lives(tmp_path):
    show = Show(tmp_path, "--model", "testcard")
    show.play()
    show.settle()
    path = state_path(tmp_path / "shows", None)
    os.utime(path, (5, 5))
    show.play(15)
    show.break_off()
    assert time.time() - path.stat().st_mtime < 60


def test_after_an_end_in_order_the_state_comes_back_when_asked_for_and_not_in_the_dark(tmp_path):
    show = Show(tmp_path, "--model", "testcard")
    show.send("out/hue", 50)
    show.send("out/saturation", 0.5)
    show.send("sys/panic")
    show.end()
    assert state_of(tmp_path)["last"]["ended"] is True
    assert Show(tmp_path / "other", "--restore").config.told == "there is no last state to restore"
    again = Show(tmp_path, "--model", "testcard", "--restore", "--set", "out/saturation=1.5")
    assert again["out/hue"] == 50.0 and "is back" in again.config.told
    assert (again["out/blackout"], again["audio/mute"]) == (False, False)
    assert again["out/saturation"] == 1.5  # what is asked for now is newer
    again.end()
    assert Show(tmp_path, "--model", "testcard")["out/hue"] == 0.0


def test_a_damaged_state_gives_way_to_the_one_before(tmp_path):
    show = Show(tmp_path, "--model", "testcard")
    show.send("out/hue", 50)
    show.play()
    show.send("out/hue", 60)
    show.play()
    show.settle()
    show.end()
    path = state_path(tmp_path / "shows", None)
    path.write_text("[values\n")
    again = Show(tmp_path, "--model", "testcard", "--restore")
    assert again["out/hue"] == 60.0
    again.settle()
    assert tomllib.loads(path.with_name("last.toml.bak").read_text())["values"]["out/hue"] == 60.0  # the last good one
    again.end()
    path.write_text("[values\n")
    path.with_name("last.toml.bak").write_text("[values\n")
    again = Show(tmp_path, "--model", "testcard", "--restore")
    assert again["out/hue"] == 0.0 and "last.toml.bak:1: cannot be read as TOML" in again.config.told


def test_the_command_line_wins_over_the_show_file(tmp_path, show_path):
    show = Show(tmp_path, str(show_path))
    assert (show.config.model, show["out/hue"], show["prompt"], show["cue/next"]) == (
        "testcard",
        10.0,
        "rings",
        "1 Doors",
    )
    assert show["bank/1/text"] == ""  # the bank is the show's own
    show = Show(tmp_path, "--model", "pocket", str(show_path), "--set", "out/hue=-5", "--no-restore", "--prompt", "x")
    assert (show.config.model, show["out/hue"], show["prompt"]) == ("pocket", -5.0, "x")


def test_a_show_is_found_by_its_name(tmp_path, show_path):
    (tmp_path / "shows").mkdir()
    (tmp_path / "shows" / "friday.toml").write_text(SHOW)
    assert Show(tmp_path, "friday").config.show == tmp_path / "shows" / "friday.toml"
    with pytest.raises(ConfigError, match="show saturday: no such file, nor in .*shows"):
        Show(tmp_path, "saturday")


def test_what_is_made_goes_into_the_show_file_and_the_faders_do_not(tmp_path, show_path):
    show = Show(tmp_path, str(show_path))
    show.send("bank/2/text", "blue rings")
    show.send("snap/1/save")
    show.send("out/hue", 77)
    show.play()
    show.break_off()
    text = show_path.read_text()
    table = tomllib.loads(text)
    assert table["bank"] == [{"slot": 2, "text": "blue rings"}] and table["values"] == {"out/hue": 10}
    assert [each["number"] for each in table["snapshot"]] == [1]
    assert text.startswith("# Friday\nschema = 1\n") and '"out/hue" = 10  # warm\n\n# what is played\n[[bank]]' in text
    assert show_path.with_name("friday.toml.bak").read_text() == SHOW
    assert state_of(tmp_path, "last-friday.toml")["values"]["out/hue"] == 77.0

    again = Show(tmp_path, str(show_path))
    assert (again["out/hue"], again["bank/2/text"]) == (77.0, "blue rings")
    assert list(again.playback.snapshots.kept) == [1]


def test_save_writes_the_values_too_but_no_darkness(tmp_path, show_path):
    show = Show(tmp_path, str(show_path))
    show.send("out/hue", 77)
    show.send("out/blackout", 1)
    show.send("cue/go")
    show.send("sys/save")
    show.end()
    assert show.told == [f"saved as {show_path}"]
    table = tomllib.loads(show_path.read_text())
    assert table["values"] == {"out/hue": 77.0, "bank/selected": 0} and table["prompts"] == {"prompt": "waves"}
    assert "# warm" in show_path.read_text()


def test_save_without_a_show_file_makes_one(tmp_path):
    cues = tmp_path / "cues.toml"
    cues.write_text('schema = 1\n[[cue]]\nname = "a"\n')
    show = Show(tmp_path, "--model", "testcard", "--size", "320x160", "--midi", "none", "--cues", str(cues))
    show.send("out/hue", 5)
    show.send("sys/save")
    show.play()
    show.end()
    (path,) = (tmp_path / "shows").glob("show-*.toml")
    again = Show(tmp_path, "--no-restore", str(path))
    assert (again.config.model, again.config.midi, again["width"], again["out/hue"]) == ("testcard", "none", 320, 5.0)
    assert again["cue/next"] == "1 a"


def test_a_file_changed_by_hand_is_taken_up_while_the_show_goes_on(tmp_path, show_path):
    show = Show(tmp_path, str(show_path))
    show.send("cue/go")
    show.send("out/hue", 42)
    show_path.write_text(SHOW.replace("rings", "stripes").replace("Doors", "Gates") + '[[cue]]\nname = "Song"\n')
    show.play()
    assert (show["bank/2/text"], show["cue/current"], show["cue/next"]) == ("stripes", "1 Gates", "2 Song")
    assert (show["out/hue"], show["prompt"]) == (42.0, "waves")  # what is played is left alone
    assert show.told == ["friday.toml was read again"]
    show_path.write_text(SHOW + "[[cue]]\nnmae = 'x'\n")
    show.play()
    (_, line) = show.told
    assert line.startswith(f"{show_path}:19: unknown key nmae; did you mean name?") and "goes on" in line
    assert show["cue/next"] == "2 Song"


def test_what_was_made_just_before_a_file_is_saved_by_hand_is_not_lost(tmp_path, show_path):
    show = Show(tmp_path, str(show_path))
    show.play()
    show.send("snap/3/save")
    show.send("bank/5/text", "mine")
    show_path.write_text(SHOW.replace("rings", "stripes"))
    show.play()
    assert (show["bank/2/text"], show["bank/5/text"], [*show.playback.snapshots.kept]) == ("stripes", "mine", [3])
    show.end()
    kept = tomllib.loads(show_path.read_text())
    assert [each["text"] for each in kept["bank"]] == ["stripes", "mine"] and kept["snapshot"]


def test_what_is_saved_can_be_changed_by_hand_again(tmp_path, show_path):
    show = Show(tmp_path, str(show_path))
    show.send("bank/2/text", "mine")
    show.send("sys/save")
    while show.keeper._saver.is_revising(show_path):  # in the other process
        time.sleep(0.01)
    show.play(0.5)
    show_path.write_text(show_path.read_text().replace("mine", "yours"))
    show.play()
    assert show["bank/2/text"] == "yours"


def test_what_it_wrote_itself_is_not_read_again(tmp_path, show_path):
    show = Show(tmp_path, str(show_path))
    show.send("bank/2/text", "a")
    show.play(2)
    while show.keeper._saver.is_revising(show_path):  # in the other process
        show.play(0.5)
        time.sleep(0.01)
    show.send("bank/2/text", "b")
    show.play(0.5)
    assert show["bank/2/text"] == "b" and show.told == []
    show.end()
    assert tomllib.loads(show_path.read_text())["bank"] == [{"slot": 2, "text": "b"}]


def test_a_file_that_is_half_written_is_not_overwritten(tmp_path, show_path):
    show = Show(tmp_path, str(show_path))
    show_path.write_text("[[bank]\n")
    show.send("bank/2/text", "a")
    show.end()
    assert show_path.read_text() == "[[bank]\n"
    assert "friday.toml is not saved: put the file right first" in show.told[-1]


def test_a_disk_that_is_full_or_read_only_is_told(tmp_path):
    show = Show(tmp_path, "--model", "testcard")
    show.play()
    (tmp_path / "shows").rename(tmp_path / "gone")
    show.send("out/hue", 5)
    show.play()
    show.end()
    assert show.told and all("last.toml is not saved: " in line for line in show.told)


def test_notices_have_their_own_address():
    assert app.notice("x").address == NOTICE
