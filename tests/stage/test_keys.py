"""The keyboard table: every key means a parameter that exists, and the help tells them all."""

import pytest

from ltx_live import params
from ltx_live.stage.keys import KEYS, chord, help_rows, message
from ltx_live.stage.text_field import MAX_CHARACTERS, TextField


def test_every_key_has_its_parameter_and_no_chord_is_taken_twice():
    for key in KEYS:
        assert key.action == "local" or params.find(key.name)
        assert (params.find(key.name).kind == "trigger") == (key.action == "trigger") if key.name else True
    chords = [key.chord for key in KEYS]
    assert len(chords) == len(set(chords))


def test_the_keys_of_a_performer_are_there():
    assert {"B", "F", "1", "Shift+6", "F12", "Ctrl+Q", "Alt+Enter"} <= {key.chord for key in KEYS}


def test_what_keys_send_is_what_the_parameters_take():
    values = params.defaults()
    for key in KEYS:
        if key.action in ("toggle", "set", "cycle"):
            address, (value,) = message(key, values.get)
            assert address == f"/ltx/{key.name}"
            assert params.find(key.name).coerce(value) == value
            assert key.action == "set" or value != values[key.name]


@pytest.mark.parametrize(
    ("symbol", "held", "expected"),
    [
        ("_1", "", "1"),
        ("NUM_7", "", "7"),
        ("AT", "s", "Shift+2"),
        ("_2", "s", "Shift+2"),
        ("H", "cs", "Ctrl+Shift+H"),
        ("RETURN", "a", "Alt+Enter"),
        ("BRACKETLEFT", "", "["),
        ("F11", "", "F11"),
        ("ESCAPE", "", "Esc"),
    ],
)
def test_chords(symbol, held, expected):
    assert chord(symbol, "s" in held, "c" in held, "a" in held) == expected


def test_the_help_tells_every_active_key_once():
    told = " ".join(chords for chords, _ in help_rows())
    docs = [doc for _, doc in help_rows()]
    assert len(docs) == len(set(docs))
    for word in ("1…0", "Shift+1…6", "Ctrl+1…9", "P  Enter", "Tab  H", "F12", "Ctrl+Q"):
        assert word in told
    assert ("Space", "tap tempo") in help_rows()


def test_the_text_field_edits_at_its_caret():
    field = TextField("red tunnel")
    for motion in ("PREVIOUS_WORD", "LEFT"):
        field.move(motion)
    field.insert("dish\n")
    assert (field.text, field.caret) == ("reddish  tunnel", 8)
    field.move("BACKSPACE")
    field.move("END_OF_LINE")
    field.move("BACKSPACE")
    assert field.text == "reddish tunne"
    field.move("BEGINNING_OF_LINE")
    field.move("BACKSPACE")
    field.move("DELETE")
    field.move("LEFT")
    field.move("NEXT_WORD")
    assert (field.text, field.caret) == ("eddish tunne", 6)
    field.move("PAGE_UP")
    field.insert("\x00ü水" + "x" * 3000)
    assert field.text.startswith("eddishü水x") and len(field.text) == MAX_CHARACTERS
