"""Feedback by OSC: answers, and every change of a value to those who subscribed; encoded and sent by a thread."""

from __future__ import annotations

import functools
import logging
import queue
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ltx_live import __version__, params
from ltx_live.control.aliases import COMPOSITION, ours_to_resolume
from ltx_live.control.event import Event, Origin, guard
from ltx_live.control.osc import OscReceiver, encode_bundles, encode_message, is_loopback
from ltx_live.control.patterns import NORM_ROOT, ROOT, compile_pattern
from ltx_live.control.registry import ERROR, Outcome, Registry, Reply, full_range, normalise
from ltx_live.control.status import NAMES, STATUS, Status
from ltx_live.errors import ConfigError, ParameterError

log = logging.getLogger(__name__)

STARTUP = "/ltx/sys/startup"
RATE_HZ = 30.0
LEASE_S = 60.0
MAX_SUBSCRIPTIONS = 64
EVERYTHING = f"{ROOT}*"

_MAX_JOBS = 8  # what changes while the thread is that far behind waits, newest value first

Values = dict[str, tuple[Any, Origin | None]]
"""Values by name, and for each who knows it, because it sent just that."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Who hears of what: what fits `pattern` goes to `target`, except to tell `source` what it said itself.

    A pattern below `/ltx/norm/` or `/composition/` gives the values as they are sent there. `source` is the address
    that asked; None for a target of the command line, whose programs may send from any port.
    """

    target: tuple[Any, ...]
    pattern: str = EVERYTHING
    source: tuple[Any, ...] | None = None
    echo: bool = False

    def shown(self, name: str, value: Any) -> tuple[str, Any] | None:
        """Address and value for this subscriber; None for what it did not ask for."""
        is_status = name.startswith("status/")
        if self.pattern.startswith(COMPOSITION):
            found = None if is_status else ours_to_resolume(name, value)
        elif self.pattern.startswith(NORM_ROOT):
            row = None if is_status else params.find(name)
            found = (NORM_ROOT + name, normalise(row, value)) if row and full_range(row) else None
        else:
            found = (ROOT + name, value)
        return found if found and compile_pattern(self.pattern, across=True).fullmatch(found[0]) else None

    def knows(self, origin: Origin | None) -> bool:
        """Whether it sent the value itself, and need not hear it."""
        if self.echo or origin is None or not _is_reached(origin):
            return False
        sender = origin.reply_to[:2]
        if self.source is not None:
            return sender in (self.source[:2], self.target[:2])
        return sender == self.target[:2] or (sender[0] == self.target[0] and not is_loopback(sender[0]))


class Feedback:
    """Call `take` with every outcome and `update` once a tick, from one thread; neither waits for the network.

    What changes more often than 30 times a second is told by its newest value. A subscription ends 60 s after the last
    packet from who asked for it; `targets` (host, port, pattern) never end. Raises ConfigError for an unknown host.
    """

    def __init__(self, osc: OscReceiver, registry: Registry, targets: Sequence[tuple[str, int, str]] = ()):
        self._osc = osc
        self._registry = registry
        self._static = tuple(Subscription(_resolve(host, port), pattern) for host, port, pattern in targets)
        self._leased: dict[tuple[tuple[Any, ...], str], tuple[Subscription, float]] = {}
        self._waiting: Values = {}
        self._next_s = 0.0
        self._told_status: dict[str, Any] = {}  # the thread's
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="osc feedback", daemon=True)

    def start(self) -> None:
        """Begin to send; the targets of the command line are greeted, and get every value."""
        self._thread.start()
        for each in self._static:
            self._do(self._osc.send, STARTUP, (__version__,), each.target)
        if self._static:
            self._dump(self._static)

    def close(self) -> None:
        """Send what waits, and end."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join(1.0)

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """Who is told of changes now."""
        return (*self._static, *(each for each, _ in self._leased.values()))

    def reply(self, replies: Iterable[Reply]) -> None:
        """Send answers to those who asked by OSC; many to one sender go as bundles."""
        by_target: dict[tuple[Any, ...], list[Reply]] = {}
        for reply in replies:
            if _is_reached(reply.origin):
                by_target.setdefault(reply.origin.reply_to, []).append(reply)
        for target, group in by_target.items():
            self._do(self._answer, group, target)

    def take(self, outcome: Outcome) -> None:
        """Note what changed, and what is not as its sender thinks."""
        for name in outcome.bent:
            self._waiting[name] = self._registry.values[name], None
        for change in outcome.changes:
            self._waiting[change.name] = change.new, change.known_to

    def update(self, now_s: float, make_status: Callable[[], Status]) -> None:
        """Hand over what has changed, if the last time is 1/30 s ago and somebody listens."""
        if now_s < self._next_s:
            return
        self._end_leases(now_s)
        subscriptions = self.subscriptions
        if not subscriptions:
            self._waiting.clear()
            return
        wants_status = any(_is_of_status(each.pattern) for each in subscriptions)
        if self._jobs.qsize() < _MAX_JOBS and (self._waiting or wants_status):
            values, self._waiting = self._waiting, {}
            self._next_s = now_s + 1 / RATE_HZ
            self._do(self._tell, subscriptions, values, make_status() if wants_status else None)

    def subscribe(self, args: tuple[Any, ...], event: Event) -> None:
        """`/ltx/sys/subscribe port pattern echo`: every argument may be missing, port 0 is the sender's own.

        The subscriber gets every value at once. Raises ParameterError.
        """
        target, pattern, echo = _terms(args, event)
        subscription = Subscription(target, pattern or EVERYTHING, event.origin.reply_to, echo)
        key = (target, subscription.pattern)
        if key not in self._leased and len(self._leased) >= MAX_SUBSCRIPTIONS:
            raise ParameterError(f"{event.address}: {MAX_SUBSCRIPTIONS} subscribe already; end one with unsubscribe")
        self._leased[key] = subscription, event.time_s
        self._osc.heard.setdefault(event.origin.reply_to, event.time_s)
        self._dump((subscription,))

    def unsubscribe(self, args: tuple[Any, ...], event: Event) -> None:
        """`/ltx/sys/unsubscribe port pattern`: without a pattern all that goes to the port. Raises ParameterError."""
        target, pattern, _ = _terms(args, event)
        for key in [key for key in self._leased if key[0] == target and pattern in ("", key[1])]:
            del self._leased[key]

    def _end_leases(self, now_s: float) -> None:
        for key, (each, since_s) in list(self._leased.items()):
            if now_s - max(since_s, self._osc.heard.get(each.source, since_s)) > LEASE_S:
                del self._leased[key]
                log.info("OSC: %s:%s was silent for %g s and hears no more", *each.target[:2], LEASE_S)
        sources = {each.source for each, _ in self._leased.values()}
        for gone in self._osc.heard.keys() - sources:
            self._osc.heard.pop(gone, None)

    def _dump(self, subscriptions: tuple[Subscription, ...]) -> None:
        values = {name: (self._registry.values[name], None) for name, _ in self._registry.readable()}
        self._do(self._tell, subscriptions, values, None)

    def _do(self, job: Callable[..., None], *args: Any) -> None:
        self._jobs.put(functools.partial(job, *args))

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            guard(job)

    def _answer(self, replies: list[Reply], target: tuple[Any, ...]) -> None:
        for reply in replies:
            if len(replies) == 1 or reply.address == ERROR:
                self._osc.send(reply.address, reply.args, target)
        if len(replies) > 1:
            others = (encode_message(reply.address, reply.args) for reply in replies if reply.address != ERROR)
            self._send(others, target)

    def _tell(self, subscriptions: tuple[Subscription, ...], values: Values, status: Status | None) -> None:
        """Send values to those who want them; None as status: what is known of it, which a new subscriber wants."""
        told: Values = {f"status/{name}": (value, None) for name, value in self._changed(status).items()}
        encoded: dict[str, bytes] = {}
        for each in subscriptions:
            messages = []
            for name, (value, known_to) in (*values.items(), *told.items()):
                shown = None if each.knows(known_to) else each.shown(name, value)
                if shown is not None:
                    address, args = shown[0], shown[1] if isinstance(shown[1], tuple) else (shown[1],)
                    if address not in encoded:
                        encoded[address] = encode_message(address, args)
                    messages.append(encoded[address])
            self._send(messages, each.target)

    def _changed(self, status: Status | None) -> dict[str, Any]:
        if status is None:
            return self._told_status
        now = {name: getattr(status, name) for name in NAMES}
        changed = {name: value for name, value in now.items() if self._told_status.get(name, now) != value}
        self._told_status = now
        return changed

    def _send(self, messages: Iterable[bytes], target: tuple[Any, ...]) -> None:
        for packet in encode_bundles(messages):
            self._osc.send_packet(packet, target)


def _is_reached(origin: Origin) -> bool:
    """Whether OSC reaches who sent something: others have ways of their own, or none."""
    return origin.kind == "osc" and origin.reply_to is not None


@functools.lru_cache(maxsize=2 * MAX_SUBSCRIPTIONS)
def _is_of_status(pattern: str) -> bool:
    return any(compile_pattern(pattern, across=True).fullmatch(f"{STATUS}/{name}") for name in NAMES)


def _resolve(host: str, port: int) -> tuple[Any, ...]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0][4]
    except OSError as error:
        raise ConfigError(f"--osc-out {host}:{port}: no such host ({error.strerror or error})") from None


def _terms(args: tuple[Any, ...], event: Event) -> tuple[tuple[Any, ...], str, bool]:
    """Target, pattern ("" = none given) and echo of a subscription; numbers may come as text. Raises ParameterError."""
    source = event.origin.reply_to
    if not _is_reached(event.origin):
        raise ParameterError(f"{event.address}: only what comes by OSC can be answered")
    texts, numbers = [], []
    for arg in args:
        try:
            numbers.append(float(arg))
        except (TypeError, ValueError):
            texts.append(str(arg))
    port = numbers[0] if numbers else 0
    if not 0 <= port <= 65535:
        raise ParameterError(f"{event.address}: there is no port {port:g}; send 1 to 65535, or 0 for the sender's own")
    pattern = texts[0] if texts else ""
    if pattern and not pattern.startswith("/"):
        pattern = ROOT + pattern
    try:
        compile_pattern(pattern, across=True)
    except ValueError as error:
        raise ParameterError(f"{event.address}: {error}") from None
    return (source[0], int(port) or source[1], *source[2:]), pattern, len(numbers) > 1 and numbers[1] >= 0.5
