"""The supervised engine process as the show sees it: ask, poll, and be told when it fails, dies or hangs."""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

from ltx_live.chunk import Chunk, ChunkRequest, Progress, StepValues
from ltx_live.engine import worker
from ltx_live.engine.log_file import LogFile
from ltx_live.engine.patience import Patience
from ltx_live.engine.slots import Slots
from ltx_live.engine.worker import (
    Cancelled,
    Encoded,
    EngineSpec,
    Failed,
    Loading,
    LoraAnswer,
    LoraFailed,
    LoraLoaded,
    LoraMerged,
    LoraMerging,
    Ready,
)
from ltx_live.errors import EngineError

__all__ = [
    "Cancelled", "Died", "Encoded", "EngineProcess", "EngineSpec", "Failed", "Loading", "LoraFailed", "LoraLoaded",
    "LoraMerged", "LoraMerging", "Message", "Ready",
]  # fmt: skip

log = logging.getLogger(__name__)

FIRST_RESTART_DELAY_S = 0.5
LONGEST_RESTART_DELAY_S = 10.0
GRACE_S = 1.5  # for a process to end by itself once the pipe is closed
MAX_PROMPTS = 96  # the whole bank, and what is played beside it


@dataclass(frozen=True, slots=True)
class Died:
    """The engine process ended, or could not be started (`exit_code` None); the chunk `index` it was making will not
    come. It starts again in `restart_in_s`."""

    exit_code: int | None
    text: str
    index: int | None
    restart_in_s: float


Message = Ready | Loading | Progress | Chunk | Encoded | Cancelled | Failed | Died | LoraAnswer


@dataclass(slots=True)
class _Running:
    """The one request under way; it waits here while the process is busy with a prompt."""

    request: ChunkRequest
    slot: int
    asked_s: float
    wait_s: float = 0.0
    is_sent: bool = False
    is_cancelled: bool = False


class EngineProcess:
    """Starts the engine in a child process at once, and again whenever it dies.

    Nothing here blocks: `poll` belongs into every tick of the main loop, it receives and sends. The show sends only
    what the process is waiting for, or at most one small message per denoising step, so that a send cannot block
    either. The slots belong to the caller: close them after this.

    A process that is silent at work for `hang_timeout_s` is killed; once a chunk was made, for 10 times the longest
    silence so far or 10 s; while it loads again, for 60 s or 10 times the longest silence of a load.
    """

    def __init__(
        self,
        spec: EngineSpec,
        slots: Slots,
        hang_timeout_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.spec = spec
        self._former: EngineSpec | None = None  # of a reload that has not been ready yet
        self._is_reloading = False
        self._slots = slots
        self._patience = Patience(hang_timeout_s)
        self._clock = clock
        self._log = LogFile()
        self._slot_of: dict[int, int] = {}
        self._prompts: list[str] = []
        self._loras: dict[int, worker.LoadLora] = {}
        self._messages: list[Message] = []
        self._was_ready = False
        self._is_given_up = False
        self._restart_delay_s = FIRST_RESTART_DELAY_S
        self._restart_at_s: float | None = None
        self._running: _Running | None = None
        self._process = None
        self._start()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def can_request(self) -> bool:
        """Whether `request` may be called: ready, nothing under way, a slot free."""
        return self._is_ready and self._running is None and self._slots.num_free > 0

    def request(self, request: ChunkRequest) -> None:
        """Ask for a chunk. `request.history` must be a chunk that was not released yet.

        Ends in exactly one Chunk, Cancelled, Failed or Died with its index; `timings_s["wait"]` of the Chunk is how
        long a prompt being encoded kept it waiting. Raises EngineError unless `can_request`.
        """
        if not self.can_request or request.index in self._slot_of:
            raise EngineError(
                f"chunk {request.index} cannot be asked for now; wait for the engine and release old chunks"
            )
        now_s = self._clock()
        self._running = _Running(request, self._slots.acquire(), now_s)
        self._step_values = None
        self._send_next(now_s)

    def encode(self, prompts: tuple[str, ...]) -> tuple[str, ...]:
        """Encode prompts whenever no chunk is being made, these before all that wait; returns those given up for them.

        One after the other, in their order; no more than MAX_PROMPTS wait. A new process has to be told again.
        """
        waiting = [*dict.fromkeys((*prompts, *self._prompts))]
        self._prompts = waiting[:MAX_PROMPTS]
        return tuple(waiting[MAX_PROMPTS:])

    def load_lora(self, slot: int, path: Path | None) -> None:
        """Play a LoRA in a slot, or none; LoraLoaded or LoraFailed says when. A new process has to be told again."""
        self._loras[slot] = worker.LoadLora(slot, path)

    def cancel(self) -> None:
        """Stop the request under way at its next step. Its chunk will not come, even if it is done by then."""
        if self._running is not None:
            self._running.is_cancelled = True

    def send_step_values(self, values: StepValues) -> None:
        """Newest step values for the chunk under way; only the newest is sent at each step."""
        self._step_values = values

    def release(self, index: int) -> None:
        """The show no longer needs the chunk `index`: it left the playlist by one generation and is no history."""
        self._slots.release(self._slot_of.pop(index))

    def reload(self, spec: EngineSpec) -> bool:
        """Start the process anew as `spec`; where that cannot be loaded, as before. False while it loads at first."""
        if self._was_ready:
            self._former, self.spec, self._is_reloading = self._former or self.spec, spec, True
            if self._process is not None:
                self._process.kill()  # the next poll sees its end
        return self._was_ready

    def poll(self) -> list[Message]:
        """What happened since the last call, in order; then send what can be sent."""
        if self._process is not None:
            self._receive()
            self._log.forward()
        elif self._restart_at_s is not None and self._clock() >= self._restart_at_s:
            self._start()
        self._send_next(self._clock())
        running = self._running
        if running is not None and running.is_cancelled and not running.is_sent:
            self._end_request(free_slot=True)
            self._messages.append(Cancelled(running.request.index))
        messages, self._messages = self._messages, []
        return messages

    def peek(self) -> Message | None:
        """The first of what `poll` will return; None while there is nothing."""
        if self._process is not None:
            self._receive()
            self._log.forward()
        return self._messages[0] if self._messages else None

    def close(self) -> None:
        """End the process: by itself within 1.5 s, else by force. A second call does nothing."""
        self._restart_at_s = None
        if self._process is not None:
            self._connection.close()
            self._process.join(GRACE_S)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
            self._process.close()
            self._process = None
        self._is_ready = False
        self._log.close()

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _start(self) -> None:
        self._is_ready = False  # loaded
        self._is_waiting = False  # for a message: neither loading nor making a chunk nor encoding
        self._may_interrupt = False  # one message may be sent until the next step
        self._step_values: StepValues | None = None
        self._restart_at_s = None
        self._is_reloading = False
        self._pipe_ended_s: float | None = None
        self._last_message_s = self._clock()
        context = multiprocessing.get_context("spawn")
        level = logging.getLogger().getEffectiveLevel()
        setup = worker.WorkerSetup(self.spec, self._slots.layout, self._slots.names, self._log.path, level)
        ends: tuple[Connection, ...] = ()
        try:
            ours, theirs = ends = context.Pipe()
            process = context.Process(target=worker.run, args=(setup, theirs), name="ltx-live engine", daemon=True)
            process.start()
        except OSError as error:  # out of memory, processes or files: it may pass
            for end in ends:
                end.close()
            self._start_later(None, f"the engine process cannot be started ({error.strerror or error})", None)
            return
        theirs.close()  # so that its end is seen here when the process ends
        self._connection, self._process = ours, process

    def _start_later(self, exit_code: int | None, text: str, index: int | None) -> None:
        self._restart_at_s = self._clock() + self._restart_delay_s
        self._messages.append(Died(exit_code, text, index, self._restart_delay_s))
        self._restart_delay_s = min(LONGEST_RESTART_DELAY_S, 2 * self._restart_delay_s)

    def _receive(self) -> None:
        if self._pipe_ended_s is None:
            try:
                while self._connection.poll():
                    message = self._connection.recv()
                    if not isinstance(message, LoraAnswer):  # which come when they come
                        self._measure_gap()
                    self._understand(message)
                self._kill_when_hung()
            except (EOFError, OSError):
                self._pipe_ended_s = self._clock()
                self._is_ready = self._is_waiting = self._may_interrupt = False
        if self._pipe_ended_s is not None:
            self._bury()

    def _measure_gap(self) -> None:
        before_s, self._last_message_s = self._last_message_s, self._clock()
        self._patience.learn(self._last_message_s - before_s, not self._is_ready)

    def _understand(self, message: object) -> None:
        match message:
            case Ready():
                self._is_ready = self._is_waiting = self._was_ready = True
                self._former = None
            case Progress():
                self._may_interrupt = True
            case worker.Done(chunk, num_frames, num_samples):
                message = self._take(chunk, num_frames, num_samples)
            case Cancelled():
                self._end_request(free_slot=True)
            case Encoded():
                self._is_waiting = True
            case Failed(text) if not self._is_ready:
                self._is_given_up = not self._was_ready
                self._take_back()
                message = Failed(text, fatal=self._is_given_up)
            case Failed(_, None):
                self._is_waiting = True
            case Failed():
                self._end_request(free_slot=True)
        self._messages.append(message)

    def _take(self, chunk: Chunk, num_frames: int, num_samples: int) -> Chunk | Cancelled:
        """The finished chunk with views onto its slot."""
        running = self._running
        self._end_request(free_slot=running.is_cancelled)
        if running.is_cancelled:
            return Cancelled(chunk.index)
        self._restart_delay_s = FIRST_RESTART_DELAY_S
        self._patience.has_made_chunk = True
        self._slot_of[chunk.index] = running.slot
        frames, audio = self._slots.frames(running.slot, num_frames), self._slots.audio(running.slot, num_samples)
        return replace(chunk, frames=frames, audio=audio, timings_s={**chunk.timings_s, "wait": running.wait_s})

    def _end_request(self, free_slot: bool) -> None:
        if self._running.is_sent:
            self._is_waiting = self._is_ready
        if free_slot:
            self._slots.release(self._running.slot)
        self._running = None
        self._may_interrupt = False

    def _send_next(self, now_s: float) -> None:
        """Send what the process can take now."""
        running = self._running
        if self._is_waiting:
            while self._loras:
                self._send(self._next_lora())
            if running is not None and not running.is_cancelled:
                self._send_request(running, now_s)
            elif self._prompts:
                self._last_message_s, self._is_waiting = now_s, False
                self._send(worker.Encode((self._prompts.pop(0),)))
        elif self._may_interrupt and running is not None:
            message = self._interruption(running)
            if message is not None:
                self._may_interrupt = False
                self._send(message)

    def _send_request(self, running: _Running, now_s: float) -> None:
        try:
            self._send(self._wire(running))
        except EngineError as error:  # its inputs do not fit a slot
            self._messages.append(Failed(str(error), running.request.index))
            return self._end_request(free_slot=True)
        running.is_sent, running.wait_s = True, now_s - running.asked_s
        self._last_message_s, self._is_waiting, self._may_interrupt = now_s, False, True

    def _interruption(self, running: _Running) -> worker.Cancel | worker.LoadLora | StepValues | None:
        """What is to be said while a chunk is made; the more urgent first."""
        if running.is_cancelled:
            return worker.Cancel()
        if self._loras:
            return self._next_lora()
        values, self._step_values = self._step_values, None
        return values

    def _next_lora(self) -> worker.LoadLora:
        return self._loras.pop(next(iter(self._loras)))

    def _wire(self, running: _Running) -> worker.Request:
        """The request without its arrays, which lie in slots: those of its inputs in its own, until it is made."""
        request, history = running.request, running.request.history
        arrays = request.inputs.arrays
        stored = dict(zip(arrays, self._slots.store(running.slot, list(arrays.values())), strict=True))
        request = replace(request, inputs=replace(request.inputs, **dict.fromkeys(arrays)))
        if history is None or history.index not in self._slot_of:
            return worker.Request(replace(request, history=None), running.slot, None, inputs=stored)
        request = replace(request, history=worker.strip(history))
        size = len(history.frames), len(history.audio)
        return worker.Request(request, running.slot, self._slot_of[history.index], size, stored)

    def _send(self, message: object) -> None:
        try:
            self._connection.send(message)
        except OSError:
            log.debug("the engine process is gone")  # the next poll sees the end of the pipe and reports it

    def _kill_when_hung(self) -> None:
        """It is not hung while it waits for work, nor while it loads at first."""
        silent_s = self._clock() - self._last_message_s
        if self._is_waiting or not self._was_ready or silent_s <= self._patience.limit_s(not self._is_ready):
            return
        log.error("no answer from the engine for %.3g s: it is started again", silent_s)
        self._last_message_s = self._clock()
        self._process.kill()

    def _bury(self) -> None:
        """Once the process has really ended, say so, free what it was writing to and plan its restart."""
        exit_code = self._process.exitcode
        if exit_code is None:
            if self._clock() - self._pipe_ended_s > GRACE_S:
                self._process.kill()
            return
        self._log.forward()
        self._connection.close()
        self._process.close()
        self._process = None
        self._prompts.clear()
        self._loras.clear()
        index = None
        if self._running is not None:
            index = self._running.request.index
            self._end_request(free_slot=True)
        reason = f"killed by signal {-exit_code}" if exit_code < 0 else f"exit status {exit_code}"
        text = f"the engine process ended ({reason})"
        if not self._was_ready:
            if not self._is_given_up:
                text = f"{text} while loading: {self._log.last_line or 'it said nothing'}"
                self._messages.append(Failed(text, fatal=True))
            return
        if self._is_reloading:
            text = "the engine is loaded anew"
        else:
            self._take_back()  # of what was ready there is nothing to take back
        self._start_later(exit_code, text, index)

    def _take_back(self) -> None:
        """What a reload asked for cannot be loaded."""
        self.spec, self._former = self._former or self.spec, None
