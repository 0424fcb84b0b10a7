"""The list of LoRA files: what keys choose and ask for, and what is written."""

from ltx_live.stage.keys import KEYS
from ltx_live.stage.picker import NO_FILES, Picker

ROWS = [
    ("depth", "IC", "16 to 128", 2, "yes", "1", ""),
    ("paint", "style", "32", 1, "yes", "2 3", ""),
    ("torn", "style", "", 1, "no", "", "/home/a/loras/torn.safetensors: broken; copy it anew"),
    ("voice", "ID", "128", 1, "unknown", "", ""),
]


def chosen(picker, rows=ROWS):
    return [line.name for line in picker.lines(rows, 20) if line.is_chosen]


def test_a_file_is_put_into_a_slot_and_a_slot_is_emptied():
    picker = Picker()
    assert picker.press("Down", ROWS) is True and chosen(picker) == ["paint"]
    assert picker.press("3", ROWS) is True and picker.slot == 3
    assert picker.press("Enter", ROWS) == ("/ltx/lora/3/name", ("paint",))
    assert picker.press("Right", ROWS) is True
    assert picker.press("Delete", ROWS) == ("/ltx/lora/4/name", ("",)) == picker.press("Backspace", ROWS)


def test_both_choices_go_round():
    picker = Picker()
    picker.press("Up", ROWS)
    assert chosen(picker) == ["voice"]
    picker.press("Down", ROWS)
    assert chosen(picker) == ["depth"]
    picker.press("Left", ROWS)
    assert picker.slot == 8
    picker.press("Right", ROWS)
    assert picker.slot == 1


def test_other_keys_are_not_its_own():
    """B, F12 and what else the stage needs work as ever; Esc and L close it, which the window does."""
    own = {"1", "2", "3", "4", "5", "6", "7", "8", "Up", "Down", "Left", "Right", "Enter"}
    assert {key.chord for key in KEYS if Picker().press(key.chord, ROWS)} == own


def test_the_choice_stays_with_its_file_while_files_come_and_go():
    picker = Picker()
    picker.press("Down", ROWS)
    more = [("a new one", "style", "8", 1, "yes", "", ""), *ROWS]
    assert chosen(picker, more) == ["paint"]
    assert chosen(picker, [ROWS[0], ROWS[2]]) == ["torn"], "the next one"
    assert picker.press("Enter", []) is True and picker.press("Down", []) is True
    assert picker.lines([], 9) == [] and picker.note([]) == NO_FILES


def test_what_is_written():
    picker = Picker()
    assert picker.title(ROWS) == "LoRA slot 1: depth"
    picker.press("3", ROWS)
    assert picker.title(ROWS) == "LoRA slot 3: paint"
    picker.press("8", ROWS)
    assert picker.title(ROWS) == "LoRA slot 8: empty"
    lines = picker.lines(ROWS, 20)
    assert [(line.kind, line.fits, line.slots) for line in lines] == [
        ("IC 16 to 128", "fits", "1"),
        ("style 32", "fits", "2, 3"),
        ("style", "does not fit", ""),
        ("ID 128", "", ""),
    ]
    assert picker.note(ROWS) == "" and [line.is_faulty for line in lines] == [False, False, True, False]
    picker.press("Down", ROWS)
    picker.press("Down", ROWS)
    assert picker.note(ROWS) == "torn.safetensors: broken; copy it anew"


def test_a_long_list_shows_the_part_around_the_choice():
    rows = [(f"{k:03}", "style", "8", 1, "yes", "", "") for k in range(100)]
    picker = Picker()
    for _ in range(100):
        lines = picker.lines(rows, 9)
        assert len(lines) == 9 and sum(line.is_chosen for line in lines) == 1
        picker.press("Down", rows)
    assert [line.name for line in picker.lines(rows, 9)][0] == "000"
