"""`ltx-live play`: assembles the show from its parts and runs its ticks until it ends."""

from __future__ import annotations

import atexit
import contextlib
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ltx_live import pocket
from ltx_live.config import EMBEDDED, Config
from ltx_live.control import bank
from ltx_live.control.controllers import Controllers
from ltx_live.control.event import NOTICE, Event, Inbox, Origin
from ltx_live.control.feedback import Feedback
from ltx_live.control.http import WebServer
from ltx_live.control.midi import MidiReceiver
from ltx_live.control.osc import OscReceiver
from ltx_live.control.registry import Registry
from ltx_live.control.snapshots import Snapshots
from ltx_live.desk import DEVICE
from ltx_live.engine.process import Died, EngineProcess, Failed
from ltx_live.engine.slots import Slots, num_slots
from ltx_live.engines import engine_spec
from ltx_live.errors import DeviceError, EngineError
from ltx_live.keeping import Keeper
from ltx_live.lora_files import Shelf, folders
from ltx_live.loras import Rack
from ltx_live.params import NUM_LORAS
from ltx_live.parts import Parts
from ltx_live.playback import Playback
from ltx_live.pocket.reading import BANK
from ltx_live.session import Session
from ltx_live.show import Show
from ltx_live.stage.audio import NO_DEVICE, AudioOutput
from ltx_live.stage.clock import FramePacer
from ltx_live.stage.look import NumpyCompositor
from ltx_live.stage.recorder import Composer
from ltx_live.stage.window import Offscreen, Window

log = logging.getLogger(__name__)

WINDOW_RATE_HZ = 60.0
HEADLESS_RATE_HZ = 100.0
LONG_TICK_S = 0.05
PEEK_S = 0.02


def run(config: Config) -> int:
    """Play until the window is closed, the duration is over or a signal comes; the exit status (128 + signal).

    Raises LtxLiveError when the show cannot begin, when the engine cannot make a first picture, and at the end when
    `config.record` could not be written.
    """
    logging.getLogger("ltx_live").setLevel(logging.INFO)
    with _signals() as received, contextlib.ExitStack() as parts:
        show = assemble(config, parts, received)
        if show is None:
            return 128 + received[0]
        _loop(show, received, pacer(show, config.headless))
    error = show.failure or show.recordings.error
    if error is not None:
        raise error
    return 128 + received[0] if received else 0


def pacer(show: Show, headless: bool) -> FramePacer:
    """The pace of the show's ticks: that of the display; without one, a steady one that controls interrupt."""
    return FramePacer(HEADLESS_RATE_HZ, sleep=show.parts.events.wait) if headless else FramePacer(WINDOW_RATE_HZ)


def assemble(config: Config, closing: contextlib.ExitStack, received: Sequence[int] = ()) -> Show | None:
    """The show with all its parts running; `closing` ends them in the right order. Raises LtxLiveError.

    None where a signal was `received` while the engine looked for its model.
    """
    playback = Playback(config.cues, Snapshots(config.snapshots))
    registry = _registry(config, playback)
    events = Inbox()
    controllers = Controllers(events, config.mapping, config.home, config.midi)
    osc = OscReceiver(events, *config.osc, config.osc_options)
    closing.callback(osc.close)
    feedback = Feedback(osc, registry, config.osc_options.out)
    closing.callback(feedback.close)
    width, height = registry.values["width"], registry.values["height"]
    slots = closing.enter_context(Slots.create(width, height, num_slots(registry.values["realtime_pacing_slack"])))
    engine = closing.enter_context(EngineProcess(engine_spec(config), slots))
    log.info("engine: process %s", engine.pid)
    if config.model not in EMBEDDED:
        _wait_for_plan(engine, received)
        if received:
            return None
    window, composer = _open_window(config, events, registry) if not config.headless else (None, _offscreen())
    if window is not None:
        closing.callback(window.close)
    audio = AudioOutput(registry.values[DEVICE])
    closing.callback(_close_audio, audio)
    log.info(audio.start())
    midi = MidiReceiver(events, config.midi)
    closing.callback(midi.close)
    closing.callback(controllers.close)
    web = WebServer(events, config.http, (osc.host, osc.port))
    closing.callback(web.close)
    session = Session(slots.layout.longest, _show_log(config, closing))
    rack = _rack(config, engine, closing)
    keeper = Keeper(config, playback, registry.values, lambda text: events.put((notice(text),)))
    closing.callback(keeper.close)
    parts = Parts(
        registry,
        controllers,
        events,
        osc,
        feedback,
        engine,
        slots,
        session,
        rack,
        audio,
        window,
        composer,
        midi,
        web,
        playback,
        keeper,
    )
    show = Show(config, parts)
    if config.told:
        show.say(config.told)
    closing.callback(show.close)
    _start(show, closing)
    return show


def _start(show: Show, closing: contextlib.ExitStack) -> None:
    """Draw the title card, which takes a while the first time, and begin to receive."""
    show.draw()
    parts = show.parts
    parts.osc.start()
    parts.feedback.start()
    parts.controllers.start()
    parts.midi.start()
    log.info("OSC: listening on %s:%d", parts.osc.host, parts.osc.port)
    log.info(parts.web.start())
    closing.callback(gc.unfreeze)
    gc.freeze()  # else the collector walks through all that was imported, and a tick takes 20 ms longer


def _registry(config: Config, playback: Playback) -> Registry:
    names = {f"lora/{number}/name": path.stem for number, (path, _) in enumerate(config.loras, 1)}
    device = NO_DEVICE if config.headless else config.audio or config.values[DEVICE]
    values = initial_values({**config.values, **names, DEVICE: device}, config.own_bank)
    return Registry(values | playback.begin(values), effects=playback)


def _show_log(config: Config, closing: contextlib.ExitStack) -> Callable[[str], None]:
    """Writes a line of the show log; a full disk must not stop the show."""
    show_log = closing.enter_context(open(config.folder("shows") / "last.jsonl", "w", buffering=1, encoding="utf-8"))

    def write(line: str) -> None:
        with contextlib.suppress(OSError):
            show_log.write(line + "\n")

    return write


def _rack(config: Config, engine: EngineProcess, closing: contextlib.ExitStack) -> Rack:
    """The LoRA slots, and the folders that they are filled from, watched."""
    own = [pocket.lora_folder()] if config.model == "pocket" else []
    shelf = Shelf([*folders(config.home), *own], config.lora_unmatched)
    is_merged = config.values["lora_merge_strategy"] == "permanent_merge"
    rack = Rack(shelf, engine.load_lora, [path for path, _ in config.loras], is_merged)
    if any(config.values[f"lora/{number}/name"] for number in range(1, NUM_LORAS + 1)):
        shelf.look()  # those of a show file or a last state are to be found at once
    shelf.watch()
    closing.callback(shelf.close)
    return rack


def _wait_for_plan(engine: EngineProcess, received: Sequence[int]) -> None:
    """Wait until the engine has found the model's files and the memory for them; EngineError where it has not.

    So that a show that cannot be played opens no window. Loading, which takes longer, goes on behind the title card.
    Ends at a signal, too.
    """
    while (message := engine.peek()) is None and not received:
        time.sleep(PEEK_S)
    if isinstance(message, Failed | Died):
        raise EngineError(message.text)


def initial_values(values: Mapping[str, Any], own_bank: bool = False) -> dict[str, Any]:
    """The values with the pocket's prompts in the empty slots of the bank; where no prompt is set, a slot plays.

    A bank of the show's own is left as it is.
    """
    filled = {} if own_bank else {name: text for name, text in bank.slot_values(BANK).items() if not values[name]}
    values = {**values, **filled}
    if values["prompt"] or not bank.filled_slots(values):
        return values
    if not values[f"bank/{values['bank/selected'] or 1}/text"]:
        values["bank/selected"] = bank.filled_slots(values)[0]
    return {**values, **bank.connect(values, values["bank/selected"] or 1)}


def notice(text: str) -> Event:
    """An event that tells the performer something."""
    return Event(NOTICE, (text,), Origin("app"), time.perf_counter())


def _open_window(config: Config, events: Inbox, registry: Registry) -> tuple[Window, Composer]:
    def on_event(address: str, args: tuple[Any, ...]) -> None:
        events.put((Event(address, args, Origin("key"), time.perf_counter()),))

    window = Window(on_event, registry.values.get, config.window_px)
    return window, window


def _offscreen() -> Composer:
    try:
        return Offscreen()
    except DeviceError as error:
        log.info("%s; recordings are composed without it", error)
        return NumpyCompositor()


def _close_audio(audio: AudioOutput) -> None:
    """Close the sound device; one that is stuck would hang the end of the process, too."""
    audio.close()
    if audio.stuck:
        atexit.register(_leave)


def _leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM, so that the show ends in order; the second of a kind has its usual effect."""
    received: list[int] = []

    def note(number: int, frame: object) -> None:
        received.append(number)
        signal.signal(number, before[number])

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _loop(show: Show, received: list[int], pacer: FramePacer) -> None:
    """Tick until the show is over. What fails in a tick is told once and does not keep the rest from being done."""
    told: set[tuple[str, type]] = set()
    while not show.is_over and not received:
        start_s = time.perf_counter()
        for duty in show.duties:
            _do(duty, told)
        took_s = time.perf_counter() - start_s
        if took_s > LONG_TICK_S:
            log.warning("a tick took %.0f ms", took_s * 1000)
        while not pacer.wait():
            _do(show.take, told)


def _do(duty: Callable[[], None], told: set[tuple[str, type]]) -> None:
    try:
        duty()
    except Exception as error:
        kind = duty.__name__, type(error)
        if kind not in told:
            told.add(kind)
            log.exception("the show goes on, but %s failed", duty.__name__)
