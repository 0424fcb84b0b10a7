"""The list of LoRA files on the display: which is chosen, for which slot, and what keys make of it. No drawing here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ltx_live.params import NUM_LORAS
from ltx_live.stage.keys import Message

LoraRow = tuple[str, str, str, int, str, str, str]
"""Of a file: name, kind, rank, reference downscale, whether it fits (yes, no, unknown), slots it plays in, fault."""

KEYS_LINE = "↑ ↓ file     ← → or 1…8 slot     Enter put it in     Del empty the slot     Esc close"
NO_FILES = "no LoRA files yet: drop one on the window, or put it into the loras folder"
FITS = {"yes": "fits", "no": "does not fit", "unknown": ""}


@dataclass(frozen=True, slots=True)
class Line:
    """A file as a line of the list."""

    name: str
    kind: str
    fits: str
    slots: str
    is_chosen: bool
    is_faulty: bool


class Picker:
    """The file is chosen by name, so that it stays when files come and go. `rows` are all files, in their order."""

    def __init__(self) -> None:
        self.slot = 1
        self._name = ""
        self._index = 0  # where it stood last

    def press(self, chord: str, rows: Sequence[LoraRow]) -> Message | bool:
        """What a key asks for; True when it only moved the choice, False when it is not one of the list's."""
        index = self._chosen(rows)
        match chord:
            case "Up" | "Down" if rows:
                self._choose((index + (1 if chord == "Down" else -1)) % len(rows), rows)
            case "Left" | "Right":
                self.slot = (self.slot - 1 + (1 if chord == "Right" else -1)) % NUM_LORAS + 1
            case "Enter" if rows:
                return f"/ltx/lora/{self.slot}/name", (rows[index][0],)
            case "Delete" | "Backspace":
                return f"/ltx/lora/{self.slot}/name", ("",)
            case _ if chord in "12345678" and len(chord) == 1:
                self.slot = int(chord)
            case "Up" | "Down" | "Enter":
                pass
            case _:
                return False
        return True

    def title(self, rows: Sequence[LoraRow]) -> str:
        """The chosen slot and what plays in it."""
        played = next((row[0] for row in rows if str(self.slot) in row[5].split()), "empty")
        return f"LoRA slot {self.slot}: {played}"

    def lines(self, rows: Sequence[LoraRow], num: int) -> list[Line]:
        """At most `num` files, the chosen one among them."""
        index = self._chosen(rows)
        first = max(0, min(index - num // 2, len(rows) - num))
        return [
            Line(
                name,
                f"{kind} {rank}".strip(),
                FITS.get(fits, fits),
                ", ".join(slots.split()),
                first + k == index,
                bool(fault),
            )
            for k, (name, kind, rank, _, fits, slots, fault) in enumerate(rows[first : first + num])
        ]

    def note(self, rows: Sequence[LoraRow]) -> str:
        """What is wrong with the chosen file, without its folder; "" for nothing."""
        return re.sub(r"(/|\b[A-Z]:\\)\S*[/\\]", "", rows[self._chosen(rows)][6]) if rows else NO_FILES

    def _chosen(self, rows: Sequence[LoraRow]) -> int:
        """Where the chosen file stands; the one that took its place where it is gone."""
        names = [row[0] for row in rows]
        index = names.index(self._name) if self._name in names else min(self._index, max(0, len(rows) - 1))
        self._choose(index, rows)
        return index

    def _choose(self, index: int, rows: Sequence[LoraRow]) -> None:
        self._index = index
        self._name = rows[index][0] if rows else ""
