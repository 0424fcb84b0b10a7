"""The MIDI controllers of a show: what they do, what their lights show, how they learn, which files say so."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ltx_live.control.clock import Clock, clock_of
from ltx_live.control.event import NOTICE, Event, Origin, Transaction
from ltx_live.control.learn import Learn, Lesson
from ltx_live.control.leds import Leds, Seen
from ltx_live.control.library import LOADED, Library
from ltx_live.control.mapping import PAGE, Mapper, NextBeat
from ltx_live.control.midi import COME, GONE, LIGHTS
from ltx_live.control.midi_out import MidiSender
from ltx_live.control.registry import Outcome
from ltx_live.errors import ParameterError

LEARN, ANSWER, SAVE, LOAD = "midi/learn", "midi/learn/answer", "midi/save", "midi/load"
_REST = {LEARN: "", ANSWER: "none", SAVE: "", LOAD: ""}
"""What the values that ask for something are when it is done."""

_APP = Origin("app", "midi")
_HANDS = ("osc", "key", "web", "http")  # origins that touch a parameter for learning


class Controllers:
    """Call `translate` for every event, `applied` for what came of a transaction, and `tick` once a tick.

    What follows from them goes onto the same queue of events. Raises ConfigError for mappings that cannot be read.
    `pattern` chooses the ports, as MidiReceiver takes it.
    """

    def __init__(self, target: queue.SimpleQueue[Transaction], chosen: str, home: Path, pattern: str = ""):
        self._target = target
        self._library = Library(target, chosen, home)
        self._sender = MidiSender(target, pattern)
        self._mapper = Mapper(self._library.mappings)
        self._leds = Leds(self._mapper, self._sender.send)
        self._learn = Learn(self._known, self._learned)
        self._page = 1
        self._port: str | None = None
        self._hands: dict[str, Callable[[Any], None]] = {
            COME: self._come,
            GONE: self._gone,
            LIGHTS: self._leds.connect,
            LOADED: self._loaded,
        }
        self._came: dict[str, None] = {}

    def start(self) -> None:
        """Begin to look after files and lights."""
        self._library.start()
        self._sender.start()

    def close(self) -> None:
        """Turn the lights off and end."""
        self._sender.close()
        self._library.close()

    @property
    def line(self) -> str:
        """What the performer is to do next while learning, else ""."""
        return self._learn.line

    def translate(self, event: Event, values: Mapping[str, Any]) -> tuple[Event, ...]:
        """The parameter events of an event; those that are not from a controller pass as they are."""
        if event.address in self._hands:
            self._hands[event.address](event.args[0])
            return ()
        if event.address.startswith("/midi/"):
            self._port = event.origin.name
            if self._learn.hears and self._mapper.hears_lesson(event):
                self._learn.hear(event)
                return ()
        return self._mapper.translate(event, values)

    def clock(self, event: Event) -> tuple[Event, ...]:
        """A MIDI clock's event as the tempo is to take it; nothing where the mappings do not follow that clock."""
        clock = clock_of(event.origin.name, self._clock_at(event.origin.name), map(self._clock_at, self._came))
        return () if clock is None else clock.heard(event)

    def applied(self, outcome: Outcome, events: Transaction) -> None:
        """Do what a transaction has asked of the controllers, and take note of what it has touched."""
        for change in outcome.changes:
            if change.name in _REST and change.new != _REST[change.name]:
                self._ask(change.name, change.new)
            elif change.name == LEARN:
                self._learn.stop()
        origin = events[0].origin if events else _APP
        if origin.kind in _HANDS:
            names = [item.name for item in (*outcome.fired, *outcome.changes) if not item.name.startswith("midi/")]
            if names and (refused := self._learn.touched(names[0])):
                self._say(refused)
        if outcome.errors and origin.kind == "midi":
            names = [event.address.removeprefix("/ltx/") for event in events]
            port = max((port for port in self._came if origin.name.startswith(port)), key=len, default="")
            self._leds.failed(port, names, time.perf_counter())

    def tick(self, now_s: float, seen: Seen, next_beat: NextBeat) -> None:
        """What is due: presses that have become long, glides, what waited for the beat, lessons, lights."""
        self._page = seen.values[PAGE]
        for transaction in self._mapper.tick(now_s, seen.values, next_beat):
            self._target.put(transaction)
        self._learn.tick(now_s)
        if not self._learn.is_on and seen.values[LEARN]:
            self._put(LEARN, "")
        self._leds.update(now_s, seen)

    def _ask(self, name: str, value: str) -> None:
        match name:
            case "midi/learn":
                try:
                    self._learn.begin(value)
                except ParameterError as error:
                    self._say(str(error))
            case "midi/learn/answer":
                if not self._learn.is_asking:
                    self._say("MIDI learn has asked nothing")
                self._learn.answer(value == "yes")
            case "midi/load":
                self._library.choose(value)
            case "midi/save":
                self._save(value)
        if name != LEARN:
            self._put(name, _REST[name])

    def _save(self, name: str) -> None:
        mapping = self._mapper.bound(self._port or "").mapping
        if mapping is None:
            self._say("nothing to save: no controller has a mapping")
        else:
            self._library.save(name, mapping)

    def _come(self, port: str) -> None:
        self._came[port] = None
        self._open(port)

    def _gone(self, port: str) -> None:
        self._came.pop(port, None)
        self._leds.disconnect(port)
        self._sender.shut(port)

    def _loaded(self, mappings: tuple) -> None:
        """Other mappings are in force; a controller whose lights are known otherwise is made ready anew."""
        devices = {port: self._device(port) for port in self._came}
        self._mapper.replace(mappings)
        for port, device in devices.items():
            if self._device(port) != device:
                self._leds.disconnect(port)
                self._open(port)
            else:
                self._leds.connect(port)

    def _open(self, port: str) -> None:
        device = self._device(port)
        if device is not None and (device.leds or device.init):
            self._sender.open(port, device)

    def _clock_at(self, port: str) -> Clock:
        mapping = self._mapper.bound(port).mapping
        return Clock() if mapping is None else mapping.clock

    def _device(self, port: str) -> Any:
        mapping = self._mapper.bound(port).mapping
        return None if mapping is None else mapping.device

    def _known(self, port: str, place: tuple) -> Any:
        mapping = self._mapper.bound(port).mapping
        return None if mapping is None else mapping.control_at(*place)

    def _learned(self, lesson: Lesson) -> None:
        self._library.learn(lesson, self._page, self._mapper.bound(lesson.port).mapping)

    def _put(self, name: str, value: Any) -> None:
        self._target.put((Event(f"/ltx/{name}", (value,), _APP, time.perf_counter()),))

    def _say(self, text: str) -> None:
        self._target.put((Event(NOTICE, (text,), _APP, time.perf_counter()),))
