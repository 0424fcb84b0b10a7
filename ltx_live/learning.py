"""`ltx-live learn`: binds controls in the terminal, without a show; one that plays takes the new file up by itself."""

from __future__ import annotations

import queue
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ltx_live.control import midi
from ltx_live.control.event import NOTICE, Event, Transaction
from ltx_live.control.files import DEFAULT, load_mappings
from ltx_live.control.learn import Learn, Lesson
from ltx_live.control.learned import write_lesson
from ltx_live.control.mapping import Mapper
from ltx_live.errors import ParameterError

_TURN_S = 0.05


@dataclass(frozen=True, slots=True)
class Course:
    """What is to be learned: parameters by name, or a row of eight, on a page; `pattern` chooses the MIDI inputs."""

    names: Sequence[str] = ()
    row: str = ""
    page: int = 1
    pattern: str = ""
    mapping: str = DEFAULT


def run(course: Course, home: Path) -> int:
    """Learn what is asked for, or what is typed until an empty line; raises LtxLiveError."""
    school = _School(course, home)
    try:
        if course.row:
            school.learn(f"row {course.row}")
        for name in course.names:
            school.learn(name)
        while not course.row and not course.names and (name := _typed("parameter (empty = done): ")):
            try:
                school.learn(name)
            except ParameterError as error:
                print(error)
    finally:
        school.receiver.close()
    return 0


def _typed(question: str) -> str:
    try:
        return input(question).strip()
    except EOFError:
        return ""


class _School:
    """The MIDI inputs, and what their controls do so far."""

    def __init__(self, course: Course, home: Path):
        midi.list_inputs()  # raises DeviceError without a MIDI system
        self._course, self._home = course, home
        self._load(course.mapping)
        self._learn = Learn(self._known, self._write)
        self._events: queue.SimpleQueue[Transaction] = queue.SimpleQueue()
        self.receiver = midi.MidiReceiver(self._events, course.pattern)
        self.receiver.start()

    def learn(self, text: str) -> None:
        """Wait until a control has been moved for each parameter meant; raises ParameterError and ConfigError."""
        self._learn.begin(text)
        line = ""
        while self._learn.is_on:
            if self._learn.is_asking:
                question = self._learn.line.partition("   ")[0]
                self._learn.answer(_typed(f"{question} [y/n] ").lower().startswith("y"))
                continue
            if self._learn.line != line:
                line = self._learn.line
                print(line.partition("   ")[0], flush=True)
            self._hear()

    def _hear(self) -> None:
        try:
            events: Transaction = self._events.get(timeout=_TURN_S)
        except queue.Empty:
            events = ()
        for event in events:
            self._take(event)
        self._learn.tick(time.perf_counter())

    def _take(self, event: Event) -> None:
        if event.address == NOTICE:
            print(event.args[0], flush=True)
        elif event.address.startswith("/midi/") and self._mapper.hears_lesson(event):
            self._learn.hear(event)

    def _known(self, port: str, place: tuple):
        mapping = self._mapper.bound(port).mapping
        return None if mapping is None else mapping.control_at(*place)

    def _write(self, lesson: Lesson) -> None:
        mapping = self._mapper.bound(lesson.port).mapping
        path = write_lesson(lesson, self._course.page, mapping, self._home)
        print(f"{lesson.control} of {lesson.port} -> {lesson.target}, in {path}", flush=True)
        self._load(self._course.mapping if self._course.mapping == DEFAULT else str(path))

    def _load(self, chosen: str) -> None:
        self._mapper = Mapper(load_mappings(chosen, self._home))
