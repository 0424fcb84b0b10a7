"""The keyboard: one table of keys, from which come the control messages and the help overlay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ltx_live import params

Message = tuple[str, tuple[Any, ...]]
"""An address and its arguments, as they would come by OSC."""

Action = Literal["trigger", "toggle", "set", "add", "cycle", "local"]


@dataclass(frozen=True, slots=True)
class Key:
    """A key chord (`Shift+R`) and what it does to a parameter; a `local` one is done by the window itself.

    `value` is what is set, added, or the name of the local action.
    """

    chord: str
    doc: str
    action: Action
    name: str = ""
    value: Any = None


BANK_KEYS = "1234567890"
SAVE = "S "
"""What stands before the key that follows S."""

KEYS: tuple[Key, ...] = (
    *(
        Key(digit, f"play prompt {slot} of the bank", "trigger", f"bank/{slot}/connect")
        for slot, digit in enumerate(BANK_KEYS, 1)
    ),
    *(
        Key(f"Shift+{digit}", f"play prompt {slot} of the bank", "trigger", f"bank/{slot}/connect")
        for slot, digit in enumerate(BANK_KEYS[:6], 11)
    ),
    Key("P", "write a prompt (Enter plays it)", "local", value="edit"),
    Key("Enter", "write a prompt (Enter plays it)", "local", value="edit"),
    Key("L", "LoRA files and their slots", "local", value="loras"),
    Key("B", "blackout", "toggle", "out/blackout"),
    Key("F", "freeze the picture", "toggle", "out/freeze"),
    Key("Shift+F", "pause generating", "toggle", "pause"),
    Key("Up", "master up or down 5 %", "add", "out/master", 0.05),
    Key("Down", "master up or down 5 %", "add", "out/master", -0.05),
    Key("Shift+Up", "master up or down 1 %", "add", "out/master", 0.01),
    Key("Shift+Down", "master up or down 1 %", "add", "out/master", -0.01),
    Key("R", "new seed", "trigger", "reseed"),
    Key("Shift+R", "a new seed for every chunk", "toggle", "randomize_seed"),
    Key("Space", "tap tempo", "trigger", "tempo/tap"),
    Key("Shift+Space", "beat one is now", "trigger", "tempo/resync"),
    Key("M", "learn MIDI: touch a parameter, move a control", "toggle", "midi/learn"),
    Key("Y", "yes or no to what learning asks", "set", "midi/learn/answer", "yes"),
    Key("N", "yes or no to what learning asks", "set", "midi/learn/answer", "no"),
    *(Key(chord, "next cue", "trigger", "cue/go") for chord in ("Right", "PageDown")),
    *(Key(chord, "cue before", "trigger", "cue/back") for chord in ("Left", "PageUp")),
    Key("S", "save a snapshot: then its number", "local", value="save"),
    *(
        Key(f"{SAVE}{digit}", f"save snapshot {number}", "trigger", f"snap/{number}/save")
        for number, digit in enumerate(BANK_KEYS, 1)
    ),
    *(
        Key(f"Alt+{digit}", f"recall snapshot {number}", "trigger", f"snap/{number}/recall")
        for number, digit in enumerate(BANK_KEYS, 1)
    ),
    Key("V", "record", "trigger", "rec/toggle"),
    Key("[", "picture 10 ms earlier, later", "add", "av/offset", -10.0),
    Key("]", "picture 10 ms earlier, later", "add", "av/offset", 10.0),
    Key("Tab", "display off, short, full", "cycle", "window/hud"),
    Key("H", "display off, short, full", "cycle", "window/hud"),
    Key("Ctrl+Shift+H", "hide the display", "set", "window/hud", "off"),
    Key("F11", "fullscreen", "toggle", "window/fullscreen"),
    Key("Alt+Enter", "fullscreen", "toggle", "window/fullscreen"),
    *(Key(f"Ctrl+{number}", f"go to screen {number}", "set", "window/screen", number) for number in range(1, 10)),
    Key("F12", "panic: black and silent", "trigger", "sys/panic"),
    Key("F1", "this help", "local", value="help"),
    Key("Esc", "leave help, learning or fullscreen", "local", value="escape"),
    Key("Ctrl+Q", "quit, pressed twice", "local", value="quit"),
)

_PLAIN_NAMES = {"RETURN": "Enter", "ENTER": "Enter", "NUM_ENTER": "Enter", "ESCAPE": "Esc", "SPACE": "Space"}
_PLAIN_NAMES |= {"BRACKETLEFT": "[", "BRACKETRIGHT": "]", "UP": "Up", "DOWN": "Down", "TAB": "Tab"}
_PLAIN_NAMES |= {"LEFT": "Left", "RIGHT": "Right", "PAGEUP": "PageUp", "PAGEDOWN": "PageDown"}
_PLAIN_NAMES |= {"DELETE": "Delete", "BACKSPACE": "Backspace"}
_PLAIN_NAMES |= {f"NUM_{digit}": digit for digit in BANK_KEYS}
_SHIFTED_DIGITS = {"EXCLAMATION": "1", "AT": "2", "HASH": "3", "POUND": "3", "DOLLAR": "4", "PERCENT": "5"}
_SHIFTED_DIGITS |= {"ASCIICIRCUM": "6"}  # X11 names the character; other systems name the key


def chord(symbol: str, shift: bool, ctrl: bool, alt: bool) -> str:
    """The table's name of a key, from pyglet's symbol name (`BRACKETLEFT`, `_1`, `F11`) and the modifiers."""
    plain = _PLAIN_NAMES.get(symbol, symbol.lstrip("_"))
    plain = _SHIFTED_DIGITS.get(symbol, plain) if shift else plain
    return "".join(f"{name}+" for name, held in (("Ctrl", ctrl), ("Alt", alt), ("Shift", shift)) if held) + plain


def message(key: Key, value_of: Callable[[str], Any]) -> Message:
    """The control message of a key that is not local; `value_of` gives the present value of a parameter."""
    row = params.find(key.name)
    address = f"/ltx/{key.name}"
    if key.action == "trigger":
        return address, ()
    if key.action == "toggle" and row.kind == "str":
        return address, ("" if value_of(key.name) else "1",)
    if key.action == "toggle":
        return address, (0 if value_of(key.name) else 1,)
    if key.action == "cycle":
        following = row.choices.index(value_of(key.name)) + 1
        return address, (row.choices[following % len(row.choices)],)
    if key.action == "add":
        return address, ("+" if key.value >= 0 else "-", abs(key.value))
    return address, (key.value,)


def help_rows() -> list[tuple[str, str]]:
    """(keys, what they do), one row for each thing that can be done."""
    rows: dict[str, list[str]] = {}
    for key in KEYS:
        if key.chord.startswith(SAVE):
            continue  # told by S itself
        doc = "play a prompt of the bank" if key.name.startswith("bank/") else key.doc
        doc = "go to a screen" if key.name == "window/screen" else doc
        doc = "recall a snapshot" if key.chord.startswith("Alt+") and key.name.startswith("snap/") else doc
        rows.setdefault(doc, []).append(key.chord)
    return [(_short(chords), doc) for doc, chords in rows.items()]


def _short(chords: list[str]) -> str:
    """Chords with the same modifiers together: `1…0  Shift+1…6`, `Shift+Up  Down`."""
    runs: dict[str, list[str]] = {}
    for one in chords:
        prefix, plus, last = one.rpartition("+")
        runs.setdefault(prefix + plus, []).append(last)
    return "  ".join(p + (f"{run[0]}…{run[-1]}" if len(run) > 3 else "  ".join(run)) for p, run in runs.items())
