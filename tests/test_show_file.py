"""Show files: what they may say, what a faulty one is told, and that what is written is what is read."""

import random
from pathlib import Path

import pytest
from fuzzing import some
from hypothesis import given
from hypothesis import strategies as st

from ltx_live import params
from ltx_live.config import Config
from ltx_live.control.cues import load_cues
from ltx_live.control.snapshots import is_held
from ltx_live.control.toml_source import read
from ltx_live.control.toml_store import dumps
from ltx_live.errors import ConfigError
from ltx_live.show_file import load_show, made, new_show, stand, written

SHOW = """
schema = 1

[show]
name = "Friday"

[model]
name = "testcard"
size = "288x160"
max_vram_gb = 22.5

[midi]
mapping = "mine.toml"
input = "none"

[osc]
listen = "0.0.0.0:9130"

[http]
listen = "none"

[audio]
output = "hall"

[screen]
number = 2
fullscreen = true

[[lora]]
file = "style"
strength = 0.8

[values]
"out/hue" = 10
num_steps = 4

[prompts]
prompt = "waves"
"prompts/1/weight" = 0.5

[[bank]]
slot = 3
name = "rings"
text = "fast red rings"

[[cue]]
name = "Doors"
bank = 3

[[snapshot]]
number = 7
name = "dusk"
values = { "out/hue" = -20, sigmas = [1, 0.5, 0], prompt = "a fox" }
"""


def loaded(tmp_path, text):
    path = tmp_path / "show.toml"
    path.write_text(text)
    return load_show(path)


def test_everything_is_read(tmp_path):
    (tmp_path / "mine.toml").write_text("schema = 1\n")
    show = loaded(tmp_path, SHOW)
    assert show.options == {
        "model": "testcard", "size": "288x160", "max_vram_gb": 22.5, "mapping": str(tmp_path / "mine.toml"),
        "midi": "none", "osc": "0.0.0.0:9130", "http": "none", "audio": "hall", "screen": 2, "fullscreen": True,
    }  # fmt: skip
    assert show.loras == ((Path("style"), 0.8),)
    assert show.values == {
        "out/hue": 10.0, "num_steps": 4, "prompt": "waves", "prompts/1/weight": 0.5,
        "bank/3/name": "rings", "bank/3/text": "fast red rings", "snap/7/name": "dusk",
    }  # fmt: skip
    assert [cue.label for cue in show.cues] == ["1 Doors"] and show.has_bank
    assert show.snapshots == {7: {"out/hue": -20.0, "sigmas": (1.0, 0.5, 0.0), "prompt": "a fox"}}


FAULTS = {
    "[valuse]\n": (2, "unknown key valuse; did you mean values?"),
    "[model]\nnmae = 'pocket'": (3, "unknown key nmae; did you mean name?"),
    "[model]\nmemory = 'all'": (3, "memory = 'all' is not one of auto, resident"),
    "[screen]\nnumber = 'left'": (3, "number = 'left' cannot be used; write a number"),
    "[osc]\nlisten = 'nowhere'": (3, "listen = nowhere: write HOST:PORT"),
    "[http]\nlisten = 'x:y'": (3, "listen = x:y: write HOST:PORT"),
    "[values]\n'out/hue' = 3\n'out/huge' = 3": (4, "/ltx/out/huge: no such parameter; did you mean /ltx/out/hue?"),
    "[values]\nnum_steps = 'many'": (3, "'many' is not a number; send 1 to 20"),
    "[values]\nsigmas = [0.5, 0.9]": (3, "must descend to 0"),
    "[values]\nreseed = 1": (3, "a trigger, which has no value"),
    "[prompts]\n'out/hue' = 3": (3, "out/hue is no prompt; put it under [values]"),
    "[[bank]]\ntext = 'a'": (2, "slot is missing"),
    "[[bank]]\nslot = 1\n[[bank]]\nslot = 1": (5, "there is another bank with slot = 1"),
    "[[bank]]\nslot = 65": (3, "slot = 65 is not 1 to 64"),
    "[[snapshot]]\nnumber = 1\nvalues = { width = 32 }": (4, "width cannot be part of a snapshot"),
    "[[snapshot]]\nnumber = 0": (3, "number = 0 is not 1 to 32"),
    "[[cue]]\nbank = 0": (3, "bank = 0 is not 1 to 64"),
    "[[lora]]\nstrength = 1": (2, "file is missing"),
    "[midi]\nmaping = 'x'": (3, "did you mean mapping?"),
}


@pytest.mark.parametrize("text", FAULTS, ids=[fault[1][:30] for fault in FAULTS.values()])
def test_faults_name_file_and_line_and_what_to_do(tmp_path, text):
    line, words = FAULTS[text]
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, "schema = 1\n" + text)
    assert str(caught.value).startswith(f"{tmp_path / 'show.toml'}:{line}: ") and words in str(caught.value)
    assert "\n" not in str(caught.value)


def some_value(row, rng):
    """Any value that a row can have."""
    if row.kind == "str":
        return "".join(rng.choice('aé\n"\\ #=[]\t') for _ in range(rng.randrange(6)))
    if row.kind == "enum":
        return rng.choice(row.choices)
    if row.kind == "floats":
        return rng.choice([None, (1.0, 0.25, 0.0)])
    return row.coerce(rng.uniform(row.minimum or 0, row.maximum or 1))


def test_what_is_written_is_what_is_read(tmp_path):
    """Every parameter of the table, with values drawn at random: a state written and read is the same state."""
    rng = random.Random(3)
    rows = {name: params.find(name) for name in params.defaults()}
    for _ in range(4):
        values = {name: row.default if row.check else some_value(row, rng) for name, row in rows.items()}
        kept = {n: {name: v for name, v in values.items() if is_held(name)} for n in (1, 32)}
        tables = {"schema": 1} | stand(values, values, params.defaults()) | made(values, kept)
        show = loaded(tmp_path, dumps(tables))
        assert params.defaults() | show.values == values
        assert show.snapshots == kept


def test_a_state_has_what_differs_from_usual_or_from_the_start():
    usual = params.defaults()
    start = usual | {"out/hue": 30.0, "seed": 7}
    now = start | {"out/hue": 0.0, "prompt": "a fox", "bank/3/text": "x", "bank/selected": 3}
    tables = stand(now, start, usual)
    assert tables == {"values": {"out/hue": 0.0, "seed": 7, "bank/selected": 3}, "prompts": {"prompt": "a fox"}}
    assert written({"sigmas": None}) == {"sigmas": "none"}


def test_a_new_show_file_has_what_was_chosen_at_the_start(tmp_path):
    cues = tmp_path / "cues.toml"
    cues.write_text('schema = 1\n[[cue]]\nname = "a"\nmorph = "2 bars"\n')
    config = Config(
        model="testcard", midi="none", osc=("0.0.0.0", 9000), loras=((Path("/x.safetensors"), 0.5),), cues_file=cues
    )
    show = loaded(tmp_path, dumps(new_show(config)))
    assert show.options == {"model": "testcard", "midi": "none", "osc": "0.0.0.0:9000", "http": "none"}
    assert show.loras == ((Path("/x.safetensors"), 0.5),) and show.cues == load_cues(cues)


KEYS = st.sampled_from(
    [
        "schema",
        "show",
        "model",
        "midi",
        "osc",
        "audio",
        "screen",
        "values",
        "prompts",
        "bank",
        "cue",
        "snapshot",
        "lora",
    ]
    + ["last", "name", "number", "slot", "text", "prompt", "morph", "follow", "next", "out/hue", "num_steps", "sigmas"]
    + ["file", "listen", "size", "preset", "strength", "memory", "input", "snap/1/recall", "cue/current", "width"]
)
SCALARS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8), st.booleans(), st.integers(), st.floats(),
    st.dates(), st.times(), st.datetimes(), st.just(10**400), st.sampled_from(["1 bar", "-1 s", "1", "a", "testcard"]),
)  # fmt: skip
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
TABLES = st.lists(st.dictionaries(KEYS, SCALARS | st.dictionaries(KEYS, SCALARS, max_size=3), max_size=4), max_size=3)


def one_line_or_fine(load, path):
    try:
        load(path)
    except ConfigError as error:
        assert str(error).startswith(f"{path}:") and "\n" not in str(error).replace("\\n", ""), str(error)


@pytest.mark.parametrize("load", [load_show, load_cues])
def test_any_table_is_taken_or_refused_in_one_line(load, tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "any.toml"

    @some(150)
    @given(st.dictionaries(KEYS, ANYTHING | TABLES, max_size=5))
    def check(tables):
        path.write_text(dumps({"schema": 1, **tables}), encoding="utf-8")
        read(path)  # it is TOML
        one_line_or_fine(load, path)

    check()


@pytest.mark.parametrize("load", [load_show, load_cues])
def test_a_show_file_with_any_damage_is_taken_or_refused_in_one_line(load, tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "any.toml"

    @some(150)
    @given(st.integers(0, len(SHOW)), st.integers(0, 20), st.binary(max_size=6))
    def check(start, length, put):
        text = SHOW.encode()
        path.write_bytes(text[:start] + put + text[start + length :])
        one_line_or_fine(load, path)

    check()


@pytest.mark.parametrize("data", [b"a = " + b"[" * 5000, b"a = " + b"9" * 5000, b"\xff\xfe", b"a = '\x00'", b""])
def test_odd_files(tmp_path, data):
    (tmp_path / "odd.toml").write_bytes(data)
    one_line_or_fine(load_show, tmp_path / "odd.toml")
    with pytest.raises(ConfigError):
        load_show(tmp_path / "odd.toml")
