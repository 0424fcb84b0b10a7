"""The head-up display: prompt, state and messages over the picture, the title card, the prompt field and the help."""

from __future__ import annotations

from pyglet import shapes
from pyglet.graphics import Batch, Group
from pyglet.text import Label

from ltx_live.stage.hud_state import HudState, pending_line, status_line
from ltx_live.stage.keys import help_rows
from ltx_live.stage.text_field import TextField

UPDATE_S = 0.1
NUM_MESSAGES = 4
FONTS = ("Inter", "Segoe UI", "Helvetica Neue", "DejaVu Sans", "Noto Sans", "Liberation Sans")

Color = tuple[int, int, int, int]
WHITE, GREY, AMBER, INK = (245, 245, 248, 255), (176, 178, 190, 255), (255, 190, 80, 255), (8, 8, 14, 190)
GREEN, RED = (90, 220, 140, 255), (255, 90, 90, 255)
STATE_COLORS: dict[str, Color] = {"playing": GREEN, "underrun": RED, "engine down": RED}


def shorten(label: Label, text: str, room: float, keep_end: bool = False) -> None:
    """Let a label show a text, or its beginning (or end) that has room for so many pixels."""
    label.text = text
    while len(text) > 1 and label.content_width > room:
        num = max(1, min(len(text) - 1, int(len(text) * room / label.content_width)))
        text = text[-num:] if keep_end else text[:num]
        label.text = f"…{text}" if keep_end else f"{text}…"


class _Line:
    """A line of text on a dark ground; it is laid out again only when its text, place or room changes."""

    def __init__(self, batch: Batch, color: Color, size: float, bold: bool = False) -> None:
        weight = "bold" if bold else "normal"
        self._ground = shapes.Rectangle(0, 0, 0, 0, INK, batch=batch, group=Group(0))
        self._label = Label(
            "",
            font_name=FONTS,
            font_size=size,
            weight=weight,
            color=color,
            anchor_y="baseline",
            batch=batch,
            group=Group(1),
        )
        self._shown: tuple[object, ...] = ()
        self.height = round(size * 2.3)

    def put(
        self, text: str, x: float, y: float, room: float, color: Color | None = None, keep_end: bool = False
    ) -> None:
        """Show text with its ground's lower left corner at (x, y), shortened to `room` pixels; "" hides it."""
        wanted = (text, x, y, room, color, keep_end)
        if wanted == self._shown:
            return
        self._shown = wanted
        pad = self.height // 3
        if color is not None:
            self._label.color = color
        self._label.position = (x + pad, y + round(self.height * 0.34), 0)
        shorten(self._label, text, room - 2 * pad, keep_end)
        self._ground.position = (x, y)
        self._ground.width = self._label.content_width + 2 * pad if text else 0
        self._ground.height = self.height


class Hud:
    """Draws over the current window. Made anew with each window, because its buffers belong to one context."""

    def __init__(self, width: int, height: int) -> None:
        self._size = (width, height)
        size = max(9.0, height / 52)
        self._margin = round(size)
        self._batch, self._card_batch, self._help_batch = Batch(), Batch(), Batch()
        self._control = _Line(self._batch, GREY, size * 0.85)
        self._status = _Line(self._batch, GREY, size)
        self._mode = _Line(self._batch, GREY, size)
        self._prompt = _Line(self._batch, WHITE, size * 1.5, bold=True)
        self._pending = _Line(self._batch, AMBER, size * 1.5, bold=True)
        self._field = _Line(self._batch, WHITE, size * 1.5)
        self._messages = [_Line(self._batch, AMBER, size * 0.9) for _ in range(NUM_MESSAGES)]
        self._recording = _Line(self._batch, RED, size * 0.9, bold=True)
        self._help: list[object] = []
        self._make_card(size)
        self._next_s = 0.0
        self._drawn: tuple[object, ...] = ()

    def update(self, mode: str, state: HudState, field: TextField | None, card: bool, now_s: float) -> bool:
        """Renew the texts, at most ten times a second but for the prompt field and the beat; True when anything looks
        different."""
        editing = None if field is None else f"{field.text[: field.caret]}▏{field.text[field.caret :]}"
        urgent = (mode, card, editing, state.beat if state.bpm else 0)
        same = self._drawn[:4] == urgent
        if same and now_s < self._next_s:
            return False
        self._next_s = now_s + UPDATE_S
        passing = [] if mode == "off" else [text for text, until_s in state.messages if until_s > now_s]
        messages = [*passing, *([state.learning] if state.learning else [])][-NUM_MESSAGES:]
        texts = (
            status_line(state),
            state.mode,
            state.prompt,
            pending_line(state),
            state.control,
            state.recording,
            messages,
        )
        wanted = (*urgent, *texts)
        if wanted == self._drawn:
            return False
        self._drawn = wanted
        self._lay_out("min" if card and mode == "full" else mode, state, editing, messages)
        return True

    def draw(self, card: bool, help_shown: bool) -> None:
        """Draw the title card's text, the display, and the help on top."""
        if card:
            self._card_batch.draw()
        self._batch.draw()
        if help_shown:
            if not self._help:
                self._make_help()
            self._help_batch.draw()

    def _lay_out(self, mode: str, state: HudState, editing: str | None, messages: list[str]) -> None:
        full, seen = mode == "full", mode != "off"
        width, height = self._size
        margin, room = self._margin, width - 2 * self._margin
        y = margin
        color = STATE_COLORS.get(state.state, AMBER)
        rows = (
            (self._control, state.control if full else "", None),
            (self._status, status_line(state) if full else "", color),
            (self._mode, state.mode if full else "", None),
            (self._prompt, state.prompt if seen else "", None),
            (self._pending, pending_line(state) if seen else "", None),  # on top: nothing moves when it comes or goes
        )
        for line, text, tint in rows:
            line.put(text, margin, y, room, tint)
            y += line.height if text else 0
        self._field.put("" if editing is None else f"prompt  {editing}", margin, y, room, keep_end=True)
        loading = f"{state.detail or state.state} …" if state.state == "loading" else (state.detail or state.state)
        self._loading.text = loading
        top = height - margin
        for k, line in enumerate(self._messages):
            top -= line.height
            line.put(messages[k] if k < len(messages) else "", margin, top, room)
        x, y = width - margin - 3.2 * self._recording.height, height - margin - self._recording.height
        self._recording.put("● REC" if seen and state.recording else "", x, y, room)

    def _make_card(self, size: float) -> None:
        width, height = self._size
        middle = {"anchor_x": "center", "anchor_y": "center", "font_name": FONTS, "batch": self._card_batch}
        x, y = width / 2, height * 0.58
        bar = round(size * 7)
        self._card = [
            Label("ltx_live", x, y, font_size=size * 3.4, weight="bold", color=WHITE, **middle),
            shapes.Rectangle(x - bar / 2, y - size * 4.2, bar, max(2, size / 6), AMBER, batch=self._card_batch),
            Label(
                "F1 keys     P prompt     F11 fullscreen",
                x,
                y - size * 9.5,
                font_size=size * 0.85,
                color=GREY,
                **middle,
            ),
        ]
        self._loading = Label("loading …", x, y - size * 6.8, font_size=size * 1.15, color=WHITE, **middle)

    def _make_help(self) -> None:
        """Two columns of keys and what they do, as large as the window lets them be."""
        width, height = self._size
        rows = help_rows()
        per_column = (len(rows) + 1) // 2
        step = min(height * 0.86 / per_column, height / 20)
        size = min(step * 0.42, width / 92)
        top = (height + per_column * step) / 2
        ground = (6, 6, 12, 225)
        self._help = [shapes.Rectangle(0, 0, width, height, ground, batch=self._help_batch, group=Group(0))]
        for k, (chords, doc) in enumerate(rows):
            column, row = divmod(k, per_column)
            x = width * (0.04 + 0.48 * column)
            y = top - (row + 0.5) * step
            style = {"font_name": FONTS, "font_size": size, "anchor_y": "center", "batch": self._help_batch}
            self._help.append(Label(chords, x, y, weight="bold", color=AMBER, group=Group(1), **style))
            self._help.append(Label(doc, x + width * 0.17, y, color=WHITE, group=Group(1), **style))
