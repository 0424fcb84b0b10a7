"""The lines that the show tells its performer: for some seconds on the head-up display, and in the log."""

from __future__ import annotations

import logging
import time
from collections import deque

log = logging.getLogger(__name__)

SHOWN_S = 5.0
MAX_SHOWN = 8
_LOG_AGAIN_S = 1.0
_MAX_LOGGED = 64


class Messages:
    """What was said lately; `shown` are (text, until when) of the display, the newest last.

    `error` is the last line that told of a fault.
    """

    def __init__(self) -> None:
        self.shown: deque[tuple[str, float]] = deque(maxlen=MAX_SHOWN)
        self.error = ""
        self._logged: dict[str, float] = {}
        self._told: dict[str, tuple[int, float]] = {}

    def say(self, text: str, level: int = logging.WARNING) -> None:
        """Show a line for some seconds and log it; a line that is repeated is logged once a second."""
        now_s = time.perf_counter()
        if level >= logging.WARNING:
            self.error = text
        others = [message for message in self.shown if message[0] != text]
        self.shown.clear()
        self.shown.extend([*others, (text, now_s + SHOWN_S)])
        if now_s - self._logged.pop(text, -_LOG_AGAIN_S) >= _LOG_AGAIN_S:
            log.log(level, text)
            self._logged[text] = now_s
        while len(self._logged) > _MAX_LOGGED:
            del self._logged[next(iter(self._logged))]

    def tell_count(self, count: int, what: str, happened: str) -> None:
        """Say by how much a counter of faults has grown, once a second."""
        told, told_s = self._told.get(what, (0, -_LOG_AGAIN_S))
        now_s = time.perf_counter()
        if count > told and now_s - told_s >= _LOG_AGAIN_S:
            self._told[what] = count, now_s
            self.say(f"{count - told} {what}{'s' if count - told > 1 else ''} {happened}")
