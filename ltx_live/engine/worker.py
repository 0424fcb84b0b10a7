"""What runs in the engine process: load the engine, then answer requests one after the other until the show is gone."""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import logging
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ltx_live.chunk import Chunk, ChunkRequest, Engine, EngineInfo, StepValues
from ltx_live.engine.slots import SlotLayout, Slots, StoredArray
from ltx_live.errors import EngineError, LtxLiveError

log = logging.getLogger(__name__)

LOG_FORMAT = "%(levelname)s %(name)s: %(message)s"
NICE = 10
GOMP_SPINCOUNT = "3000"
WINDOWS_BELOW_NORMAL = 0x4000
NO_PIXELS = np.empty((0, 0, 0, 3), np.uint8)
NO_SOUND = np.empty((0, 2), np.float32)
LORA_POLL_S = 0.02  # while nothing is asked for and a LoRA is being read or merged


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """Which engine to run: `function(report, **arguments)` of `module`, imported and called in the engine process only.

    `report(text)` shows a line: the first is what was decided (where the model's memory will be) once all has been
    found that is needed, the others are the stages of loading. It raises LtxLiveError when the engine cannot be made.
    """

    module: str
    function: str = "load"
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """Everything the engine process starts with."""

    spec: EngineSpec
    layout: SlotLayout
    slot_names: tuple[str, ...]
    log_path: str
    log_level: int


# From the show to the engine process.


@dataclass(frozen=True, slots=True)
class Request:
    """Make a chunk into `slot`; `history_slot` holds the frames and sound of `request.history`.

    `inputs` tells where the arrays of `request.inputs` lie in `slot`, by their names.
    """

    request: ChunkRequest
    slot: int
    history_slot: int | None
    history_size: tuple[int, int] = (0, 0)
    inputs: Mapping[str, StoredArray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Encode:
    """Encode prompts ahead of use."""

    prompts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop the running request at its next step; nothing happens when it is done already."""


@dataclass(frozen=True, slots=True)
class LoadLora:
    """Read a file for the slot `lora/N` in the background, or with None empty it; the newest wish for a slot counts."""

    slot: int
    path: Path | None


# From the engine process to the show, beside Progress.


@dataclass(frozen=True, slots=True)
class Loading:
    """A line to show while the engine loads."""

    text: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The engine can take requests. `layers` are (out, in) by name of what its LoRAs may change."""

    info: EngineInfo
    layers: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Done:
    """A chunk without its arrays, which lie in the slot: num_frames frames and num_samples of sound."""

    chunk: Chunk
    num_frames: int
    num_samples: int


@dataclass(frozen=True, slots=True)
class Encoded:
    """These prompts cost nothing now."""

    prompts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The request `index` will bring no chunk; its slot is free."""

    index: int


@dataclass(frozen=True, slots=True)
class Failed:
    """Loading, encoding `prompts` or making the chunk `index` failed. `fatal`: there will be no engine at all."""

    text: str
    index: int | None = None
    fatal: bool = False
    prompts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoraLoaded:
    """The next chunk is made with the file in this slot, or without one (None). `timings_s`: its reading, its swap."""

    slot: int
    path: Path | None
    text: str
    timings_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LoraFailed:
    """The file cannot be played, or not at another strength; what was in the slot stays there.

    `strength` is that of a merged LoRA which stays as it was, where a fader reaches it.
    """

    slot: int
    path: Path | None
    text: str
    strength: float | None = None


@dataclass(frozen=True, slots=True)
class LoraMerging:
    """The LoRA merged in this slot is being merged anew at this strength; chunks go on with the old one."""

    slot: int
    strength: float


@dataclass(frozen=True, slots=True)
class LoraMerged:
    """The next chunk is made with the slot's LoRA at this strength. `timings_s`: its merging, its longest swap."""

    slot: int
    strength: float
    text: str
    timings_s: Mapping[str, float] = field(default_factory=dict)


LoraAnswer = LoraLoaded | LoraFailed | LoraMerging | LoraMerged
"""What comes when it comes, and says nothing of a chunk under way."""


class LoraSlots(Protocol):
    """LoRAs of an engine by slot; `ltx_live.engine.loras` says more."""

    layers: Mapping[str, tuple[int, int]]
    is_loading: bool

    def ask(self, slot: int, path: Path | None) -> None: ...

    def swap(self) -> list[LoraAnswer]: ...

    def close(self) -> None: ...


@runtime_checkable
class PlaysLoras(Protocol):
    """An engine with slots for LoRAs; one without refuses them."""

    loras: LoraSlots


class NoLoras:
    """The slots of an engine without."""

    def __init__(self, name: str):
        self.layers: Mapping[str, tuple[int, int]] = {}
        self._text = f"{name} plays no LoRAs; choose another --model"
        self._asked: dict[int, Path | None] = {}

    @property
    def is_loading(self) -> bool:
        return bool(self._asked)

    def ask(self, slot: int, path: Path | None) -> None:
        self._asked[slot] = path

    def swap(self) -> list[LoraAnswer]:
        asked, self._asked = self._asked, {}
        return [LoraFailed(slot, path, self._text) for slot, path in asked.items()]

    def close(self) -> None:
        """Nothing is under way here."""


def strip(chunk: Chunk) -> Chunk:
    """The chunk without its arrays, small enough for the pipe."""
    return replace(chunk, frames=NO_PIXELS, audio=NO_SOUND)


def run(setup: WorkerSetup, connection: Connection) -> None:
    """The main function of the engine process; returns when the show has closed the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the show, which ends this process by the pipe
    _redirect_output(setup)
    _lower_priority()
    _spin_less()
    slots = Slots.attach(setup.layout, setup.slot_names)
    engine = _load(setup, connection)
    if engine is not None:
        with contextlib.suppress(EOFError, ConnectionError):  # the show has closed the pipe
            loras = engine.loras if isinstance(engine, PlaysLoras) else NoLoras(engine.info.name)
            connection.send(Ready(engine.info, loras.layers))
            while True:
                _answer(engine, loras, connection, slots)
        loras.close()
    slots.close()


def _redirect_output(setup: WorkerSetup) -> None:
    """Everything that is printed here, by native libraries too, goes to the file that the show reads."""
    output = os.open(setup.log_path, os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    faulthandler.enable(file=2)
    stream = open(2, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)
    logging.basicConfig(level=setup.log_level, format=LOG_FORMAT, stream=stream)


def _lower_priority() -> None:
    """The show and its sound come first."""
    if sys.platform == "win32":
        import ctypes

        kernel = ctypes.windll.kernel32
        kernel.SetPriorityClass(kernel.GetCurrentProcess(), WINDOWS_BELOW_NORMAL)
    else:
        os.nice(NICE)


def _spin_less() -> None:
    """Keep two spinning threads from starving each other where something else takes a core (docs/LOG.md has figures).

    Only GNU OpenMP, which PyTorch uses on Linux, reads this; it must be set before torch is imported.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", GOMP_SPINCOUNT)


def _load(setup: WorkerSetup, connection: Connection) -> Engine | None:
    spec, layout = setup.spec, setup.layout
    try:
        make = getattr(importlib.import_module(spec.module), spec.function)
        engine = make(lambda text: connection.send(Loading(text)), **spec.arguments)
        if (engine.info.width, engine.info.height) != (layout.width, layout.height):
            raise EngineError(
                f"{engine.info.name} makes {engine.info.width}x{engine.info.height}, the show is "
                f"{layout.width}x{layout.height}; start it with --size {engine.info.width}x{engine.info.height}"
            )
    except LtxLiveError as error:
        connection.send(Failed(str(error)))
        return None
    return engine


def _next(loras: LoraSlots, connection: Connection) -> object:
    """The next message; LoRAs that were read or merged by then are played from now on."""
    while True:
        has_come = connection.poll(LORA_POLL_S if loras.is_loading else None)
        for reply in loras.swap():
            connection.send(reply)
        if has_come:
            return connection.recv()


def _answer(engine: Engine, loras: LoraSlots, connection: Connection, slots: Slots) -> None:
    """Take the next message and answer it; what an engine raises fails this request alone."""
    message = _next(loras, connection)
    try:
        match message:
            case Request():
                reply = _generate(engine, loras, connection, slots, message)
            case Encode(prompts):
                engine.encode(prompts)
                reply = Encoded(prompts)
            case LoadLora(slot, path):
                loras.ask(slot, path)
                return
            case _:  # step values or a cancel that came after the chunk was done
                return
    except (EOFError, ConnectionError):  # the show has closed the pipe
        raise
    except Exception as error:
        text = str(error) if isinstance(error, LtxLiveError) else f"{type(error).__name__}: {error}"
        index = message.request.index if isinstance(message, Request) else None
        prompts = message.prompts if isinstance(message, Encode) else ()
        reply = Failed(" ".join(text.split()), index, prompts=prompts)
        log.error("%s", text, exc_info=None if isinstance(error, LtxLiveError) else error)
    connection.send(reply)


def _generate(
    engine: Engine, loras: LoraSlots, connection: Connection, slots: Slots, message: Request
) -> Done | Cancelled:
    request = message.request
    if message.history_slot is not None:
        num_frames, num_samples = message.history_size
        frames = slots.frames(message.history_slot, num_frames)
        audio = slots.audio(message.history_slot, num_samples)
        request = replace(request, history=replace(request.history, frames=frames, audio=audio))
    given = {name: slots.stored(message.slot, where).copy() for name, where in message.inputs.items()}
    steps = engine.generate(replace(request, inputs=replace(request.inputs, **given)))
    values = None
    with contextlib.closing(steps):
        while not isinstance(result := steps.send(values), Chunk):
            connection.send(result)
            values = None
            while connection.poll():
                newest = connection.recv()
                if isinstance(newest, Cancel):
                    return Cancelled(request.index)
                if isinstance(newest, LoadLora):
                    loras.ask(newest.slot, newest.path)
                values = newest if isinstance(newest, StepValues) else values
    return _store(result, slots, message.slot)


def _store(chunk: Chunk, slots: Slots, slot: int) -> Done:
    """Copy frames and sound into the slot; raises EngineError when they do not fit it."""
    layout = slots.layout
    num_frames, num_samples = len(chunk.frames), len(chunk.audio)
    fits = num_frames <= layout.num_frames and num_samples <= layout.num_samples
    if not fits or chunk.frames.shape[1:] != (layout.height, layout.width, 3):
        raise EngineError(
            f"chunk {chunk.index} has frames {chunk.frames.shape} and {num_samples} samples; a slot holds "
            f"{layout.num_frames} of {layout.width}x{layout.height} and {layout.num_samples}: ask for fewer frames"
        )
    slots.frames(slot, num_frames)[:] = chunk.frames
    slots.audio(slot, num_samples)[:] = chunk.audio
    return Done(strip(chunk), num_frames, num_samples)
