"""What a control thread puts on the queue, and the one guard around a receiver's message."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)

NOTICE = "/notice"
"""Address of an event that only tells the performer something; its one argument is the line to show."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who sent an event: `kind` is osc, web, midi, key or app, `name` the host, the port or the control.

    `reply_to` is the socket address, or the web client's number, that answers go to; None for what cannot be answered.
    """

    kind: str
    name: str = ""
    reply_to: tuple[Any, ...] | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".strip()


@dataclass(frozen=True, slots=True)
class Event:
    """One control message; `time_s` is `time.perf_counter` at its arrival.

    `alias` is the address of another program's by which it came, "" for our own: answers go there.
    """

    address: str
    args: tuple[Any, ...]
    origin: Origin
    time_s: float
    alias: str = ""


Transaction = tuple[Event, ...]
"""What one queue item is: events that take effect together."""


class Inbox(queue.SimpleQueue):
    """The queue between the control threads and the main thread, which can sleep until something comes."""

    def __init__(self) -> None:
        self._arrived = threading.Event()

    def put(self, item: Transaction, block: bool = True, timeout: float | None = None) -> None:
        """Put a transaction; never waits."""
        super().put(item)
        self._arrived.set()

    def wait(self, seconds: float) -> None:
        """Sleep for so long, or until a transaction waits."""
        if self.empty():
            self._arrived.wait(seconds)
        self._arrived.clear()


def drain(source: queue.SimpleQueue[Transaction]) -> Iterator[Transaction]:
    """The transactions that wait now, oldest first; what arrives meanwhile is left for the next call."""
    for _ in range(source.qsize()):
        try:
            yield source.get_nowait()
        except queue.Empty:
            return


def guard(handle: Callable[..., None], *args: Any) -> bool:
    """Call `handle(*args)`; False if it failed. Nothing that a performer sends may stop a receiver."""
    try:
        handle(*args)
    except Exception as error:
        log.debug("message dropped: %s", error, exc_info=True)
        return False
    return True
