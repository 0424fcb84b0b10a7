"""Draws the list of LoRA files over the picture."""

from __future__ import annotations

from collections.abc import Sequence

from pyglet import shapes
from pyglet.graphics import Batch, Group
from pyglet.text import Label

from ltx_live.stage.hud import AMBER, FONTS, GREEN, GREY, RED, WHITE, Color, shorten
from ltx_live.stage.picker import KEYS_LINE, Line, LoraRow, Picker

GROUND, CHOSEN = (6, 6, 12, 250), (70, 62, 30, 255)
COLUMNS = (0.0, 0.5, 0.7, 0.88)
"""Where name, kind, fit and slots begin, in widths of the list."""

LETTER = 0.65
"""About how wide a letter is, in font sizes."""


class PickerView:
    """Made anew with each window, because its buffers belong to one context."""

    def __init__(self, width: int, height: int) -> None:
        self._size = max(9.0, height / 52)
        self._step = round(self._size * 2.2)
        self._width, self._left = round(width * 0.92), round(width * 0.04)
        self._pad = round(self._size)
        self.num_lines = max(3, int(height * 0.8 / self._step) - 6)
        self._height = (self.num_lines + 6) * self._step
        self._top = (height + self._height) / 2
        self._batch = Batch()
        self._drawn: tuple[object, ...] | None = None
        self._parts: list[object] = []

    def update(self, picker: Picker | None, rows: Sequence[LoraRow]) -> bool:
        """Renew what is shown; True when anything looks different."""
        wanted = None
        if picker is not None:
            wanted = picker.title(rows), tuple(picker.lines(rows, self.num_lines)), picker.note(rows)
        if wanted == self._drawn:
            return False
        self._drawn = wanted
        if wanted is not None:
            self._lay_out(*wanted)
        return True

    def draw(self) -> None:
        """Draw it, if it is open."""
        if self._drawn is not None:
            self._batch.draw()

    def _lay_out(self, title: str, lines: Sequence[Line], note: str) -> None:
        self._batch, group = Batch(), Group(0)
        ground = shapes.Rectangle(
            self._left, self._top - self._height, self._width, self._height, GROUND, batch=self._batch, group=group
        )
        self._parts = [ground, *self._text(title, 0.15, 0.0, 1.0, WHITE)]
        for k, line in enumerate(lines, 1):
            y = self._top - (k + 1.3) * self._step
            if line.is_chosen:
                self._parts.append(
                    shapes.Rectangle(self._left, y, self._width, self._step, CHOSEN, batch=self._batch, group=Group(1))
                )
            tint = GREY if line.is_faulty else WHITE
            cells = (
                (line.name, tint),
                (line.kind, GREY),
                (line.fits, RED if line.is_faulty else GREY),
                (line.slots, GREEN),
            )
            for column, (text, color) in enumerate(cells):
                end = (*COLUMNS, 1.0)[column + 1]
                self._parts += self._text(text, k + 0.3, COLUMNS[column], end, color)
        note_label = self._label(AMBER, self._left + self._pad, self._top - (self.num_lines + 2.2) * self._step)
        note_label.anchor_y = "top"
        note_label.width, note_label.multiline = self._width - 2 * self._pad, True
        note_label.text = note
        longest = max(map(len, note.split()), default=0) * LETTER * self._size
        note_label.set_style("wrap", "char" if longest > note_label.width else True)  # a word of its own may be longer
        self._parts += [note_label, *self._text(KEYS_LINE, self.num_lines + 5, 0.0, 1.0, GREY)]

    def _text(self, text: str, row: float, start: float, end: float, color: Color) -> list[Label]:
        """A text in a row counted from the top, between two places of the width."""
        room = self._width - 2 * self._pad
        label = self._label(color, self._left + self._pad + start * room, self._top - (row + 0.68) * self._step)
        shorten(label, text, (end - start) * room - self._pad * (end < 1))
        return [label]

    def _label(self, color: Color, x: float, y: float) -> Label:
        style = {"font_name": FONTS, "font_size": self._size, "anchor_y": "baseline"}
        return Label("", x, y, color=color, batch=self._batch, group=Group(2), **style)
