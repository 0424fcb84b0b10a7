"""What a show is assembled from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ltx_live.control.controllers import Controllers
from ltx_live.control.event import Inbox, Origin
from ltx_live.control.feedback import Feedback
from ltx_live.control.http import WebServer
from ltx_live.control.midi import MidiReceiver
from ltx_live.control.osc import OscReceiver
from ltx_live.control.registry import Registry, Reply
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
    events: Inbox
    osc: OscReceiver
    feedback: Feedback
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
        self.reply_all((Reply(origin, address, tuple(args)),))

    def reply_all(self, replies: Sequence[Reply]) -> None:
        """Give several answers; by OSC those to one sender go together."""
        self.feedback.reply(replies)
        for reply in replies:
            if reply.origin.kind == "web" and reply.origin.reply_to is not None:
                self.web.send(reply.address, reply.args, reply.origin.reply_to)
