"""Learning: touch a parameter, move a control. Which control it was and what kind is read from its messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ltx_live import params
from ltx_live.control.binding import Control
from ltx_live.control.event import Event
from ltx_live.control.registry import full_range
from ltx_live.errors import ParameterError

NEXT = "1"
"""In place of a parameter's name: the next one that is touched."""

ROWS = {"bank": "bank/{}/connect", "lora": "lora/{}/strength", "prompts": "prompts/{}/weight"}
ROW_LENGTH = 8
SETTLE_S = 0.35
"""So long a control must have rested before it is judged."""

_MAX_MOVES = 32  # enough to judge one that does not rest
_MIN_MOVES = 3
_FAST = 10  # the most clicks of an encoder in one message

Place = tuple[str, int, int | None]


@dataclass(frozen=True, slots=True)
class Lesson:
    """What has been learned: this control of this port, as a mapping file names it, is bound to a parameter."""

    port: str
    control: str
    target: str
    is_button: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a control is. With a `question`, `control` is the answer yes and `otherwise` the answer no."""

    control: str
    is_button: bool = False
    question: str = ""
    otherwise: str = ""


class Learn:
    """Asks for a parameter and a control, one after the other; `line` is what to show meanwhile, "" when all is done.

    `known(port, place)` gives the control that a device file declares; `done(lesson)` takes what has been learned.
    """

    def __init__(self, known: Callable[[str, Place], Control | None], done: Callable[[Lesson], None]):
        self._known = known
        self._done = done
        self.stop()

    def stop(self) -> None:
        """Learn nothing any more."""
        self._targets: list[str] = []
        self._wants_touch = False
        self._moves: dict[tuple[str, Place], list[int]] = {}
        self._last_s = 0.0
        self._learned: set[tuple[str, Place]] = set()
        self._asked: tuple[str, Verdict] | None = None

    @property
    def is_on(self) -> bool:
        return self._wants_touch or bool(self._targets)

    @property
    def hears(self) -> bool:
        """Whether the next control moved is the one to learn, and so does nothing else."""
        return bool(self._targets)

    @property
    def is_asking(self) -> bool:
        return self._asked is not None

    @property
    def line(self) -> str:
        if self._asked is not None:
            return f"{self._asked[1].question}   Y yes   N no"
        if self._targets:
            rest = f" ({len(self._targets)} to go)" if len(self._targets) > 1 else ""
            return f"learn: move a control for {self._targets[0]}{rest}   Esc ends"
        return "learn: touch a parameter by key, OSC or page   Esc ends" if self._wants_touch else ""

    def begin(self, text: str) -> None:
        """Learn for a parameter, the next one touched (`1`), or eight (`row bank`); raises ParameterError."""
        self.stop()
        text = text.strip().removeprefix("/ltx/")
        if text in ("", "0", "off", "none"):
            return
        if text == NEXT:
            self._wants_touch = True
            return
        word, _, row = text.partition(" ")
        if word == "row":
            if row.strip() not in ROWS:
                raise ParameterError(f"learn row {row}: no such row; choose one of {', '.join(ROWS)}")
            self._targets = [ROWS[row.strip()].format(number) for number in range(1, ROW_LENGTH + 1)]
            return
        check_target(text)
        self._targets = [text]

    def touched(self, name: str) -> str:
        """A parameter was changed by another hand; what to tell where it cannot be bound."""
        if not self._wants_touch:
            return ""
        try:
            check_target(name)
        except ParameterError as error:
            return str(error)
        self._wants_touch, self._targets = False, [name]
        return ""

    def hear(self, event: Event) -> None:
        """Take a `/midi/...` event of a control that is being moved."""
        _, _, _, kind, *rest = event.address.split("/")
        place = kind, int(rest[0]), int(rest[1]) if len(rest) > 1 else None
        key = event.origin.name, place
        if not self._targets or self._asked is not None or key in self._learned:
            return
        if kind == "note" and event.args[0] == 0 and key not in self._moves:
            return  # the release of what was pressed before
        moves = self._moves.setdefault(key, [])
        moves.append(event.args[0])
        self._last_s = event.time_s
        if kind in ("note", "program") or len(moves) >= _MAX_MOVES:
            self._judge()

    def answer(self, yes: bool) -> None:
        """Answer the question that is asked."""
        if self._asked is None:
            return
        port, verdict = self._asked
        self._asked = None
        self._take(port, Verdict(verdict.control if yes else verdict.otherwise))

    def tick(self, now_s: float) -> None:
        """Judge a control that has come to rest."""
        if self._moves and self._asked is None and now_s - self._last_s >= SETTLE_S:
            self._judge()

    def _judge(self) -> None:
        port = max(self._moves, key=lambda key: len(self._moves[key]))[0]
        moves = {place: raws for (name, place), raws in self._moves.items() if name == port}
        place = max(moves, key=lambda place: len(moves[place]))
        known = self._known(port, place)
        if known is not None:
            raws = moves[place]
            is_ready = known.is_button or known.motion != "abs" or len(raws) >= _MIN_MOVES
            verdict = Verdict(known.id, known.is_button) if is_ready else None
        else:
            verdict = judge(moves)
        if verdict is None:
            return  # it has hardly been moved: wait for more
        self._learned |= {(port, each) for each in moves}
        if verdict.question:
            self._asked = port, verdict
        else:
            self._take(port, verdict)

    def _take(self, port: str, verdict: Verdict) -> None:
        target = self._targets.pop(0)
        self._moves.clear()
        self._done(Lesson(port, verdict.control, target, verdict.is_button))


def check_target(name: str) -> None:
    """Raise ParameterError for what no control can be bound to."""
    row = params.find(name)
    if row.name.startswith("midi/learn") or (row.kind != "trigger" and full_range(row) is None):
        raise ParameterError(f"{row.address}: no control can give it {row.range_text}; touch another parameter")


def judge(moves: dict[Place, list[int]]) -> Verdict | None:
    """What was moved, by what each place has sent; None while that is too little. Modes are proposed, not assumed."""
    place = max(moves, key=lambda place: len(moves[place]))
    kind, channel, number = place
    raws = moves[place]
    text = ":".join(str(part) for part in place if part is not None)
    if kind in ("note", "program"):
        return Verdict(text, is_button=True)
    if kind != "cc":
        return Verdict(text) if len(raws) >= _MIN_MOVES else None
    partner = _partner(number, channel, moves)
    if partner is not None:
        high, low = sorted((number, partner))
        question = f"cc {high} and {low} of channel {channel} move together: is it one control of 14 bits?"
        return Verdict(f"cc:{channel}:{high}:14", question=question, otherwise=f"cc:{channel}:{high}")
    if set(raws) <= {0, 127} and 127 in raws and (0 in raws or len(raws) < _MIN_MOVES):
        return Verdict(text, is_button=True)
    if len(raws) < _MIN_MOVES:
        return None
    motion = relative_motion(raws)
    if motion is not None:
        words = {"rel_2c": "1 and 127", "rel_offset": "65 and 63", "rel_sign": "1 and 65"}[motion]
        question = f"{text} looks like an encoder without ends ({words}): is it one?"
        return Verdict(f"{text}:{motion}", question=question, otherwise=text)
    return Verdict(text)


def _partner(number: int, channel: int, moves: dict[Place, list[int]]) -> int | None:
    """The CC 32 away that has moved about as often."""
    for other in (number + 32, number - 32):
        count = len(moves.get(("cc", channel, other), ()))
        if min(number, other) < 32 and count >= _MIN_MOVES - 1 and 2 * count >= len(moves["cc", channel, number]):
            return other
    return None


def relative_motion(raws: Sequence[int]) -> str | None:
    """The relative encoding that messages look like; None for a fader, which never sends a value twice in a row."""
    repeats = sum(a == b for a, b in zip(raws, raws[1:], strict=False))
    leaps = sum(abs(a - b) > 2 * _FAST for a, b in zip(raws, raws[1:], strict=False))
    if repeats + leaps == 0:
        return None
    low, high = set(range(1, _FAST + 1)), set(range(128 - _FAST, 128))
    above, below = set(range(65, 65 + _FAST)), set(range(64 - _FAST, 64))
    seen = set(raws)
    if seen <= low | high:
        return "rel_2c"
    if seen <= above | below:
        return "rel_offset"
    return "rel_sign" if seen <= low | above else None
