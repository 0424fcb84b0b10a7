"""One line of text being edited: the prompt field, without the window it stands in."""

from __future__ import annotations

import re

MAX_CHARACTERS = 2000


class TextField:
    """Text and a caret; motions carry pyglet's names without their prefix, such as `LEFT` or `BACKSPACE`."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.caret = len(text)

    def insert(self, text: str) -> None:
        """Put text in at the caret; line breaks and tabs become spaces, other control characters are dropped."""
        flat = "".join(c for c in text.replace("\n", " ").replace("\r", " ").replace("\t", " ") if c.isprintable())
        flat = flat[: MAX_CHARACTERS - len(self.text)]
        self.text = self.text[: self.caret] + flat + self.text[self.caret :]
        self.caret += len(flat)

    def move(self, motion: str) -> None:
        """Move the caret or delete at it."""
        moves = {
            "LEFT": self.caret - 1,
            "RIGHT": self.caret + 1,
            "PREVIOUS_WORD": self._word_start(),
            "NEXT_WORD": self._word_end(),
            "BEGINNING_OF_LINE": 0,
            "END_OF_LINE": len(self.text),
        }
        if motion == "BACKSPACE":
            self._delete(self.caret - 1, self.caret)
        elif motion == "DELETE":
            self._delete(self.caret, self.caret + 1)
        elif motion in moves:
            self.caret = min(max(moves[motion], 0), len(self.text))

    def _delete(self, start: int, stop: int) -> None:
        if start >= 0:
            self.text = self.text[:start] + self.text[stop:]
            self.caret = start

    def _word_start(self) -> int:
        return re.search(r"\S*\s*$", self.text[: self.caret]).start()

    def _word_end(self) -> int:
        return self.caret + re.match(r"\s*\S*", self.text[self.caret :]).end()
