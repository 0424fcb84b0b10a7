"""Files written so that nothing is lost: comments, the old version, the data."""

import json
import os
import random
import subprocess
import sys
import time
import tomllib

import pytest
from fuzzing import some
from hypothesis import given
from hypothesis import strategies as st

from ltx_live.control.toml_revise import revise
from ltx_live.control.toml_store import Saver, dumps, write_atomically

SHOW = """# my show
schema = 1  # one

[values]
# warm
"out/hue" = 30.0   # a bit
num_steps = 4
"out/freeze" = false

# the bank
[[bank]]
slot = 1
text = "a"  # first

[[bank]]
# two
slot = 2
text = "b"

# the cues
[[cue]]
name = "x"  # keep
values = { "out/hue" = 3 }

[[snapshot]]
number = 3
[snapshot.values]
"out/hue" = 1.5
pause = true
"""


def test_what_is_not_concerned_stays_as_it_was_written():
    changes = {
        "values": {"out/hue": 31.0, "tempo/bpm": 99.5, "out/freeze": False},
        "bank": [{"slot": 2, "text": "b2", "name": "n"}, {"slot": 7, "text": 'new\n\x7f"q'}],
        "snapshot": [
            {"number": 3, "values": {"out/hue": 2.0, "pause": True}},
            {"number": 4, "values": {"prompt": "x"}},
        ],
    }
    text = revise(SHOW, changes)
    assert tomllib.loads(text) == tomllib.loads(SHOW) | changes
    for kept in (
        '# my show\nschema = 1  # one\n',
        '[values]\n# warm\n"out/hue" = 31.0   # a bit\n',
        '"tempo/bpm" = 99.5\n\n# the bank\n[[bank]]\n# two\nslot = 2\ntext = "b2"\n',
        '\n\n# the cues\n[[cue]]\nname = "x"  # keep\nvalues = { "out/hue" = 3 }\n',
    ):  # fmt: skip
        assert kept in text, text
    assert revise(text, changes) == text


def test_tables_come_and_go_whole():
    assert tomllib.loads(revise("schema = 1\n", {"bank": [{"slot": 1}], "values": {}})) == {
        "schema": 1, "bank": [{"slot": 1}]
    }  # fmt: skip
    assert "bank" not in tomllib.loads(revise(SHOW, {"bank": []}))
    inline = 'schema = 1\nbank = [{ slot = 1, text = "a" }]\nvalues = { num_steps = 4 }\n'
    changes = {"bank": [{"slot": 1, "text": "b"}, {"slot": 2}], "values": {"num_steps": 5}}
    assert tomllib.loads(revise(inline, changes)) == {"schema": 1} | changes


def test_a_text_that_is_no_toml_is_not_touched(tmp_path):
    path = tmp_path / "show.toml"
    path.write_text("[[bank]\n")
    command = [sys.executable, "-m", "ltx_live.control.toml_revise", str(path)]
    done = subprocess.run(command, input=json.dumps({"values": {"a": 1}}), capture_output=True, text=True)
    assert done.returncode == 1 and "put the file right first" in done.stderr.splitlines()[-1]
    assert path.read_text() == "[[bank]\n" and os.listdir(tmp_path) == ["show.toml"]


def test_the_old_one_stays_beside_the_new_one(tmp_path):
    path = tmp_path / "show.toml"
    write_atomically(path, "a = 1\n")
    assert os.listdir(tmp_path) == ["show.toml"]
    path.chmod(0o600)
    write_atomically(path, "a = 2\n")
    assert path.read_text() == "a = 2\n" and (tmp_path / "show.toml.bak").read_text() == "a = 1\n"
    assert sorted(os.listdir(tmp_path)) == ["show.toml", "show.toml.bak"] and path.stat().st_mode & 0o777 == 0o600


def test_a_writer_that_is_killed_leaves_a_whole_file(tmp_path):
    """Killed at any moment while it writes 2 MB again and again: what is there, and beside it, is whole."""
    path = tmp_path / "show.toml"
    program = (
        "import itertools, sys\nfrom pathlib import Path\nfrom ltx_live.control.toml_store import write_atomically\n"
        "for n in itertools.count():\n"
        "    write_atomically(Path(sys.argv[1]), f'a = {n}\\n' + '# a long line\\n' * 150_000 + f'b = {n}\\n')\n"
        "    print(n, flush=True)\n"
    )
    rng = random.Random(5)
    for _ in range(8):
        writer = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
        writer.stdout.readline()
        time.sleep(rng.uniform(0, 0.1))
        writer.kill()
        writer.wait()
        writer.stdout.close()
        for each in (path, tmp_path / "show.toml.bak"):
            if each.exists():
                first, *_, last = each.read_text().splitlines()
                assert first.replace("a", "b") == last


def test_the_saver_writes_the_newest_and_tells_what_fails(tmp_path):
    told = []
    saver = Saver(told.append)
    for number in range(50):
        saver.write(tmp_path / "last.toml", f"a = {number}\n")
    (tmp_path / "show.toml").write_text(SHOW)
    saver.revise(tmp_path / "show.toml", {"values": {"num_steps": 7}}, "saved")
    saver.revise(tmp_path / "show.toml", {"bank": [{"slot": 9, "text": "x"}]})
    saver.write(tmp_path / "nowhere" / "last.toml", "")
    saver.close()
    assert (tmp_path / "last.toml").read_text() == "a = 49\n"
    table = tomllib.loads((tmp_path / "show.toml").read_text())
    assert table["values"] == {"num_steps": 7} and table["bank"] == [{"slot": 9, "text": "x"}]
    assert saver.written == {tmp_path / name: (tmp_path / name).read_text() for name in ("last.toml", "show.toml")}
    assert sorted(told)[1:] == ["saved"]
    line = min(told)
    assert line.startswith("last.toml is not saved: ") and "No such file" in line


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBER = st.one_of(st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False))
VALUE = st.one_of(TEXT, NUMBER, st.lists(st.floats(0, 1), min_size=1, max_size=3))
NAME = st.one_of(st.sampled_from(["out/hue", "num_steps", "prompt", "snap/1/name"]), TEXT)
VALUES = st.dictionaries(NAME, VALUE, max_size=4)
NUMBERED = st.lists(st.tuples(st.integers(1, 6), VALUES, TEXT), max_size=4, unique_by=lambda each: each[0])


@st.composite
def tables(draw):
    """Tables of the form of a show file's."""
    return {
        "values": draw(VALUES),
        "bank": [{"slot": slot, "text": text} for slot, _, text in draw(NUMBERED)],
        "snapshot": [{"number": number, "name": name, "values": each} for number, each, name in draw(NUMBERED)],
    }  # fmt: skip


def content_of(table):
    """The data, without what is empty and without the order of numbered tables."""
    places = {"bank": "slot", "snapshot": "number"}
    ordered = {key: sorted(table[key], key=lambda each: each[places[key]]) for key in places if key in table}
    return {key: value for key, value in {**table, **ordered}.items() if value not in ({}, [])}


@some(40)
@given(tables())
def test_what_is_dumped_is_read_back(content):
    assert content_of(tomllib.loads(dumps(content))) == content_of(content)


@some(40)
@given(tables(), tables(), TEXT)
def test_whatever_is_changed_the_data_are_right(before, after, comment):
    note = " ".join("".join(c for c in comment if c.isprintable()).split())
    text = f"# {note}\nschema = 1\n\n{dumps(before)}\n# {note}\n[[cue]]\nname = 'kept'  # {note}\n"
    revised = revise(text, after)
    assert content_of(tomllib.loads(revised)) == content_of({"schema": 1, "cue": [{"name": "kept"}], **after})
    assert f"name = 'kept'  # {note}" in revised


@pytest.mark.parametrize("value", [True, 1.0, float("inf"), -0.0, 1e-300, "\\", '"""', "a\tb\r\nc\x00"])
def test_odd_values(value):
    assert tomllib.loads(dumps({"a": value})) == {"a": value}
    revised = tomllib.loads(revise("a = 1\n", {"a": value}))["a"]
    assert (revised, type(revised) is bool) == (value, type(value) is bool)
