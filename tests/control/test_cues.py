"""Cue files: what they may say, what a faulty one is told, and what a cue sets."""

import pytest

from ltx_live import params
from ltx_live.control import cues
from ltx_live.control.bank import slot_values
from ltx_live.control.cues import Cue, brings, find, following, load_cues
from ltx_live.control.glides import Span
from ltx_live.control.snapshots import Snapshots
from ltx_live.errors import ConfigError, ParameterError

LIST = """
schema = 1

[[cue]]
name = "Doors"
prompt = "slow blue waves"
follow = 30
note = "wait for the lamp"

[[cue]]
number = 2.5
name = "First  song"
bank = 3
morph = "2 bars"
values = { "out/hue" = 30, num_steps = 4 }
follow = "16 beats"

[[cue]]
number = 9
snapshot = 1
next = "doors"
[cue.values]
"out/saturation" = 0
"""


def written(tmp_path, text):
    path = tmp_path / "list.toml"
    path.write_text(text)
    return path


@pytest.fixture
def listed(tmp_path):
    return load_cues(written(tmp_path, LIST))


def test_a_list_is_read(listed):
    doors, song, last = listed
    assert doors == Cue(1, "Doors", "slow blue waves", follow=Span(30), note="wait for the lamp")
    assert (song.label, song.bank, song.morph, song.follow) == ("2.5 First song", 3, Span(2, "bars"), Span(16, "beats"))
    assert song.values == {"out/hue": 30.0, "num_steps": 4} and isinstance(song.values["out/hue"], float)
    assert last.values == {"out/saturation": 0.0} and last.label == "9"


def test_a_cue_is_found_by_number_name_or_label(listed):
    for word in (2.5, "2.5", "first song", "2.5 First song", "2.5 a name it had"):
        assert find(listed, word) is listed[1]
    with pytest.raises(ParameterError, match="no such cue: Frist song; did you mean First song?"):
        find(listed, "Frist song")
    with pytest.raises(ParameterError, match="no such cue: 7; there are 1 Doors, 2.5 First song, 9"):
        find(listed, 7)
    with pytest.raises(ParameterError, match="there are no cues; load some with --cues FILE"):
        find((), 1)


def test_order_and_loops(listed):
    doors, song, last = listed
    assert [following(listed, cue) for cue in listed] == [song, last, doors]
    assert following(listed[:2], song) is None
    assert cues.before(listed, last) is song
    with pytest.raises(ParameterError, match="cue 1 Doors is the first"):
        cues.before(listed, doors)


def test_what_cues_bring(listed):
    doors, song, last = listed
    values = params.defaults() | slot_values([("", f"prompt {n}") for n in range(1, 5)])
    snapshots = Snapshots({1: {"prompt": "kept", "bank/selected": 0, "out/saturation": 2.0, "out/contrast": 1.5}})
    at_once = {"prompts/morph": 0.0, "prompts/morph_unit": "seconds"}
    assert brings(doors, values, snapshots) == {"prompt": "slow blue waves", "bank/selected": 0} | at_once
    assert brings(song, values, snapshots) == {
        "prompt": "prompt 3", "bank/selected": 3, "out/hue": 30.0, "num_steps": 4,
        "prompts/morph": 8.0, "prompts/morph_unit": "beats",
    }  # fmt: skip
    kept = {"prompt": "kept", "bank/selected": 0, "out/saturation": 0.0, "out/contrast": 1.5}
    assert brings(last, values, snapshots) == kept | at_once
    assert brings(Cue(1, values={"out/hue": 1.0}), values, snapshots) == {"out/hue": 1.0}
    own_way = brings(Cue(1, prompt="x", values={"prompts/morph": 3.0}), values, snapshots)
    assert own_way["prompts/morph"] == 3.0


def test_an_empty_slot_or_snapshot_is_no_cue(listed):
    with pytest.raises(ParameterError, match="bank slot 3 is empty"):
        brings(listed[1], params.defaults(), Snapshots())
    with pytest.raises(ParameterError, match="snapshot 1 is empty"):
        brings(listed[2], params.defaults(), Snapshots())


CUE = 'schema = 1\n\n[[cue]]\nname = "a"\n\n[[cue]]\n'
FAULTS = {
    CUE + 'promt = "b"': (7, "unknown key promt; did you mean prompt?"),
    CUE + 'name = "b"\nmorph = "soon"': (8, "morph = 'soon' is no time; write seconds (8)"),
    CUE + "follow = -1": (7, "follow = '-1' is no time"),
    CUE + "number = 1": (7, "there is another cue 1; give each its own number"),
    CUE + "number = 0": (7, "number = 0 is not more than 0"),
    CUE + "number = true": (7, "number = True cannot be used; write a number"),
    CUE + "bank = 65": (7, "bank = 65 is not 1 to 64"),
    CUE + 'bank = 2\nprompt = "b"': (7, "prompt and bank both give a prompt"),
    CUE + "snapshot = 33": (7, "snapshot = 33 is not 1 to 32"),
    CUE + 'values = { "out/hue" = 3, "out/sturation" = 1 }': (7, "did you mean /ltx/out/saturation?"),
    CUE + "[cue.values]\n'out/hue' = 3\nnum_steps = 'many'": (9, "'many' is not a number; send 1 to 20"),
    CUE + "values = { 'bank/3/connect' = 1 }": (7, "a trigger, which has no value"),
    CUE + "values = { width = 640 }": (7, "width cannot be set by a cue"),
    CUE + "values = { 'out/hue' = 2026-11-27 }": (7, "cannot use 2026-11-27; write -180 to 180"),
    CUE + "values = { num_steps = 1" + "0" * 400 + " }": (7, "too large"),
    CUE + "next = 'encore'": (7, "next = 'encore': no such cue: encore; there are 1 a, 2"),
    "schema = 1\ncue = 3": (2, "cue = 3 cannot be used; write a list"),
    "schema = 1\ncue = [3]": (1, "cue must be a table; write [[cue]]"),
    "[[cue]]": (1, "schema = None is not known; write schema = 1"),
    "schema = 1\n[[cues]]": (2, "unknown key cues; did you mean cue?"),
    "schema = 1\n[[cue]\n": (2, "cannot be read as TOML"),
}


@pytest.mark.parametrize("text", FAULTS, ids=[fault[1][:30] for fault in FAULTS.values()])
def test_faults_name_file_and_line_and_what_to_do(tmp_path, text):
    line, words = FAULTS[text]
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_cues(path)
    assert str(caught.value).startswith(f"{path}:{line}: ") and words in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="nowhere.toml: cannot be read: No such file"):
        load_cues(tmp_path / "nowhere.toml")
