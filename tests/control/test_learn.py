"""Learning: which control was moved and what kind it is, and what a performer is asked and told."""

import pytest

from ltx_live.control.binding import Control
from ltx_live.control.event import Event, Origin
from ltx_live.control.learn import SETTLE_S, Learn, Lesson, judge
from ltx_live.errors import ParameterError

CC7, CC0, CC32, CC16 = (("cc", 1, number) for number in (7, 0, 32, 16))


@pytest.mark.parametrize(
    ("moves", "control", "is_button"),
    [
        ({("note", 10, 36): [99]}, "note:10:36", True),
        ({("program", 1, None): [4]}, "program:1", True),
        ({CC7: [30, 31, 33, 36]}, "cc:1:7", False),
        ({CC7: [127, 0]}, "cc:1:7", True),
        ({CC7: [127]}, "cc:1:7", True),
        ({CC7: [1, 2, 3, 4, 5]}, "cc:1:7", False),  # a fader near its lower end
        ({CC7: [126, 125, 124]}, "cc:1:7", False),
        ({("pitchbend", 1, None): [8192, 8300, 8500]}, "pitchbend:1", False),
        ({("aftertouch", 3, None): [3, 9, 20]}, "aftertouch:3", False),
        ({CC7: [1, 9, 30], CC16: [64]}, "cc:1:7", False),  # the one that moved most
        ({CC0: [60, 61, 63, 64], CC32: [127]}, "cc:1:0", False),  # touched together once: no pair
    ],
)
def test_what_was_moved(moves, control, is_button):
    verdict = judge(moves)
    assert (verdict.control, verdict.is_button, verdict.question) == (control, is_button, "")


@pytest.mark.parametrize("moves", [{CC7: [30]}, {CC7: [30, 31]}, {("pitchbend", 1, None): [8200]}])
def test_too_little_is_waited_for(moves):
    assert judge(moves) is None


@pytest.mark.parametrize(
    ("moves", "yes", "no"),
    [
        ({CC0: [60, 60, 61], CC32: [3, 90, 17]}, "cc:1:0:14", "cc:1:0"),
        ({CC16: [1, 1, 1, 2, 1]}, "cc:1:16:rel_2c", "cc:1:16"),
        ({CC16: [1, 127, 127]}, "cc:1:16:rel_2c", "cc:1:16"),
        ({CC16: [127, 127, 127]}, "cc:1:16:rel_2c", "cc:1:16"),
        ({CC16: [65, 65, 63]}, "cc:1:16:rel_offset", "cc:1:16"),
        ({CC16: [1, 1, 65]}, "cc:1:16:rel_sign", "cc:1:16"),
    ],
)
def test_modes_are_proposed_and_asked(moves, yes, no):
    verdict = judge(moves)
    assert verdict.question and (verdict.control, verdict.otherwise) == (yes, no)


class Lessons:
    def __init__(self, known=lambda port, place: None):
        self.done = []
        self.learn = Learn(known, self.done.append)
        self.now_s = 0.0

    def move(self, place, *raws, port="pad"):
        for raw in raws:
            self.now_s += 0.02
            address = "/".join(["/midi/pad", *(str(part) for part in place if part is not None)])
            self.learn.hear(Event(address, (raw,), Origin("midi", port), self.now_s))
            self.learn.tick(self.now_s)

    def rest(self):
        self.now_s += SETTLE_S + 0.01
        self.learn.tick(self.now_s)


def test_touch_a_parameter_move_a_control_done():
    lessons = Lessons()
    lessons.learn.begin("1")
    assert lessons.learn.line.startswith("learn: touch a parameter") and not lessons.learn.hears
    assert "prompt" in lessons.learn.touched("prompt")  # text: asked again
    assert lessons.learn.touched("out/hue") == ""
    assert lessons.learn.line.startswith("learn: move a control for out/hue")
    lessons.move(CC7, 1, 5, 9, 14)
    assert lessons.done == []
    lessons.rest()
    assert lessons.done == [Lesson("pad", "cc:1:7", "out/hue", False)]
    assert not lessons.learn.is_on and lessons.learn.line == ""


def test_a_row_binds_eight_controls_with_eight_touches():
    """The release of a pad and a fader that moves on are not taken for the next control."""
    lessons = Lessons()
    lessons.learn.begin("row bank")
    for number in range(8):
        lessons.move(("note", 1, 40 + number), 90, 0)
    assert [(lesson.control, lesson.target) for lesson in lessons.done] == [
        (f"note:1:{40 + i}", f"bank/{i + 1}/connect") for i in range(8)
    ]
    lessons.learn.begin("row lora")
    for number in range(8):
        lessons.move(("cc", 1, number), 1, 5, 9)
        lessons.rest()
        lessons.move(("cc", 1, number), 12, 15, 20)
    assert [lesson.control for lesson in lessons.done[8:]] == [f"cc:1:{i}" for i in range(8)]


def test_a_question_waits_for_its_answer():
    lessons = Lessons()
    lessons.learn.begin("out/master")
    lessons.move(CC16, 1, 1, 1)
    lessons.rest()
    assert "Y yes   N no" in lessons.learn.line and "encoder" in lessons.learn.line
    lessons.move(CC7, 1, 50, 99)  # ignored meanwhile
    lessons.learn.answer(True)
    assert lessons.done == [Lesson("pad", "cc:1:16:rel_2c", "out/master", False)]
    lessons.learn.begin("out/master")
    lessons.move(CC16, 1, 1, 1)
    lessons.rest()
    lessons.learn.answer(False)
    assert lessons.done[-1].control == "cc:1:16"


def test_a_fader_that_never_rests_is_judged_all_the_same():
    lessons = Lessons()
    lessons.learn.begin("out/master")
    lessons.move(CC7, *range(40))
    assert len(lessons.done) == 1


def test_what_the_device_file_declares_is_not_asked_about():
    def known(port, place):
        return Control("knob1", "cc", 1, 16, motion="rel_2c") if place == CC16 else None

    lessons = Lessons(known)
    lessons.learn.begin("out/master")
    lessons.move(CC16, 1, 1, 1)
    lessons.rest()
    assert lessons.done == [Lesson("pad", "knob1", "out/master", False)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("out/hu", "did you mean /ltx/out/hue?"),
        ("prompt", "no control can give it text"),
        ("row knobs", "choose one of bank, lora, prompts"),
        ("midi/learn", "touch another parameter"),
    ],
)
def test_what_cannot_be_learned_says_why_and_learns_nothing(text, words):
    lessons = Lessons()
    with pytest.raises(ParameterError, match=words.replace("?", r"\?")):
        lessons.learn.begin(text)
    assert not lessons.learn.is_on
