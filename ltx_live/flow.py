"""What the engine is asked for: the session's decisions, the beat gestures keep, prompts and inputs of the chunks."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltx_live.chunk import Chunk, ChunkRequest, num_steps
from ltx_live.control.event import Event, Origin
from ltx_live.control.midi import CLOCK
from ltx_live.control.tempo_link import LinkPeer
from ltx_live.engine.process import Cancelled, Died, EngineProcess, Message
from ltx_live.lengths import in_beats
from ltx_live.loras import Rack
from ltx_live.modes.running import Modes
from ltx_live.modes.use import Told
from ltx_live.moment import Moment
from ltx_live.reaction import Reaction
from ltx_live.session import CancelRequest, Session
from ltx_live.tempo import MediaBeats, Tempo
from ltx_live.travel import Texts, Travel, target

BPM = "/ltx/tempo/bpm"
CLOCK_BPM = 0.1
"""A MIDI clock wavers: its tempo goes on to a Link session only when it has changed by this much."""


@dataclass(slots=True)
class _Asked:
    """The request under way: as the session decided it, `filled` with its inputs once they are there and it is sent."""

    request: ChunkRequest
    wanted_steps: int
    asked_s: float
    filled: ChunkRequest | None = None


class Flow:
    """Joins session, tempo, travel and modes to the engine. `release` gives slots back; `tick`, then `ask`, belong into
    every tick of the show. `folder` is the home's media folder, `size` the chunk's (width, height).
    """

    def __init__(self, engine: EngineProcess, session: Session, rack: Rack, values: Mapping[str, Any], folder: Path):
        now_s = time.perf_counter()
        self.tempo = Tempo(values["tempo/bpm"], values["tempo/beats_per_bar"], now_s)
        self._link: LinkPeer | None = None
        self._linked_bpm = 0.0  # the tempo that the session had, or was given
        self.take_tempo(values, now_s)
        self.modes = Modes((values["width"], values["height"]), folder, self.tempo, rack)
        self.modes.take(values, values)
        self.reaction = Reaction(self.tempo, self.modes.sound.hear)
        self.reaction.take(values, values)
        self._engine = engine
        self._session = session
        self._travel = Travel()
        self._texts = Texts()
        self._leaving: list[Chunk] = []
        self._asked: _Asked | None = None

    def hear(self, message: Message, now_s: float) -> None:
        """Take note of what the engine says. A Chunk given here is one that the timeline appends."""
        if isinstance(message, Chunk):
            if message.latched:
                _, values = message.latched[-1]
                self._travel.latched(message.index, values["prompts"])
            asked = self._asked
            self.modes.made(asked.filled, message, asked.wanted_steps, now_s - asked.asked_s)
        elif isinstance(message, Died):
            self._asked = None
        self.modes.hear(message)
        self._texts.handle(message)
        self._session.handle(message, now_s)

    def tick(self, now_s: float, position: float, may_open: bool) -> Iterator[Told]:
        """What the modes have to tell; see `Modes.tick`."""
        return self.modes.tick(now_s, position, may_open)

    def encode(self, texts: Iterable[str]) -> None:
        """Have texts encoded ahead of use that this engine process was not asked for lately."""
        new = self._texts.new(texts)
        if new:
            self._texts.dropped(self._engine.encode(new))

    def take_tempo(self, values: Mapping[str, Any], now_s: float) -> None:
        """Follow the values of the group `tempo/`. Raises DeviceError for a Link that is not installed."""
        self.tempo.take(values, now_s)
        if values["tempo/link"] and self._link is None:
            self._link, self._linked_bpm = LinkPeer(self.tempo.bpm), self.tempo.bpm
        elif not values["tempo/link"]:
            self._leave_link()

    def keep_link(self) -> tuple[Event, ...]:
        """Keep the beat of the Link session, or give it the tempo that was set here; belongs into every tick."""
        if self._link is None:
            return ()
        now_s, beat, bpm = self._link.read(self.tempo.beats_per_bar)
        least = CLOCK_BPM if self.tempo.is_clocked(now_s) else 1e-6
        if abs(self.tempo.bpm - self._linked_bpm) >= least:
            self._linked_bpm = self.tempo.bpm
            self._link.set_bpm(self.tempo.bpm)
            return ()
        told = self.tempo.follow(bpm, beat, now_s)
        self._linked_bpm = self._linked_bpm if self.tempo.is_clocked(now_s) else self.tempo.bpm
        return () if told is None else (Event(BPM, (told,), Origin("app", "link"), now_s),)

    def _leave_link(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def keep_beat(self, event: Event) -> tuple[Event, ...]:
        """What an event means beside its own effect: the tempo that a MIDI clock or a tap sets."""
        if event.address.startswith(CLOCK):
            bpm = self.tempo.midi(event.address.removeprefix(CLOCK), event.args, event.origin.name)
        else:
            bpm = self.tempo.fire(event.address.removeprefix("/ltx/"), event.time_s, event.args)
        return () if bpm is None else (Event(BPM, (bpm,), Origin("app", "tempo"), event.time_s),)

    def release(self, chunks: Iterable[Chunk]) -> list[int]:
        """Give the slots of chunks back, but for one that the request under way continues; which are gone."""
        self._leaving += chunks
        running = self._session.running
        gone = [chunk for chunk in self._leaving if running is None or chunk is not running.history]
        self._leaving = [chunk for chunk in self._leaving if not any(chunk is other for other in gone)]
        for chunk in gone:
            self._engine.release(chunk.index)
        return [chunk.index for chunk in gone]

    def ask(self, moment: Moment) -> ChunkRequest | None:
        """Ask the engine for what comes next, if it is time."""
        wanted = in_beats(moment.params, self.tempo.bpm)
        beats = MediaBeats(self.tempo, moment.now_s, moment.position, moment.speed)
        moment = dataclasses.replace(
            moment,
            params=self.modes.applied(wanted, self._session.expected_factor),
            sample=lambda params: self.modes.limited(params, self.reaction.apply(params)),
            land=beats.land,
            prompts=lambda params, start, index: self._travel.prompts(params, start, index, beats.beat_at),
            text_s=lambda params: self._texts.time_s(target(params)),
            is_encoding=lambda params: self._texts.are_waiting(target(params)),
        )
        action = self._session.decide(moment)
        match action:
            case ChunkRequest():
                self._travel.asked(action)
                self._texts.asked(action)
                self._asked = _Asked(action, num_steps(wanted), moment.now_s)
            case CancelRequest():
                self._cancel(moment.now_s)
        self._send()
        values = self._session.step_values(moment)
        if values is not None:
            self._engine.send_step_values(values)
        return action if isinstance(action, ChunkRequest) else None

    def close(self) -> None:
        """Let go of files and devices, and leave the Link session."""
        self.modes.close()
        self._leave_link()

    def _send(self) -> None:
        """Send the request under way once its inputs are there."""
        asked = self._asked
        if asked is None or asked.filled is not None or self._session.running is not asked.request:
            return
        if self._engine.can_request:  # it may just be dying
            asked.filled = self.modes.filled(asked.request)
            if asked.filled is not None:
                self._engine.request(asked.filled)

    def _cancel(self, now_s: float) -> None:
        """Cancel the request under way; one whose inputs are still being prepared was never sent."""
        if self._asked.filled is not None:
            self._engine.cancel()
            return
        self._session.handle(Cancelled(self._asked.request.index), now_s)
        self._asked = None
