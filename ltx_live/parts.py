"""What a show is assembled from."""

from __future__ import annotations

import queue
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ltx_live.control.controllers import Controllers
from ltx_live.control.event import Origin, Transaction
from ltx_live.control.http import WebServer
from ltx_live.control.midi import MidiReceiver
from ltx_live.control.osc import OscReceiver
from ltx_live.control.registry import Registry
from ltx_live.engine.process import EngineProcess
from ltx_live.engine.slots import Slots
from ltx_live.keeping import Keeper
from ltx_live.loras import Rack
from ltx_live.playback import Playback
from ltx_live.session import Session
from ltx_live.stage.audio import AudioOutput
from ltx_live.stage.recorder import Composer
from ltx_live.stage.window import Window


@dataclass(frozen=True, slots=True)
class Parts:
    """All that runs beside each other; headless has no window, and its composer works without a display."""

    registry: Registry
    controllers: Controllers
    events: queue.SimpleQueue[Transaction]
    osc: OscReceiver
    engine: EngineProcess
    slots: Slots
    session: Session
    rack: Rack
    audio: AudioOutput
    window: Window | None
    composer: Composer
    midi: MidiReceiver
    web: WebServer
    playback: Playback
    keeper: Keeper

    def reply(self, origin: Origin, address: str, args: Iterable[Any]) -> None:
        """Answer who sent an event, by the way that it came; who cannot be answered gets nothing."""
        if origin.reply_to is not None:
            sender = self.web if origin.kind == "web" else self.osc
            sender.send(address, args, origin.reply_to)
