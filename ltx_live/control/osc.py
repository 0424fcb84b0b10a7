"""OSC over UDP: an own socket and thread; python-osc is used to decode single values only.

Facts behind it (measured, python-osc 1.10.2): its servers sleep on time tags and cut datagrams at 8 KiB, and its
message decoder loses its place at the tags `S` and `c` and fails on text that is not UTF-8.
"""

from __future__ import annotations

import collections
import functools
import heapq
import ipaddress
import itertools
import logging
import math
import queue
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from pythonosc.parsing import osc_types

from ltx_live.config import OSC_PORT, OscOptions
from ltx_live.control.aliases import resolume_to_ours
from ltx_live.control.event import Event, Origin, Transaction, guard
from ltx_live.control.hold import HOLD, Holds
from ltx_live.control.patterns import expand_pattern
from ltx_live.errors import DeviceError

log = logging.getLogger(__name__)

PING, PONG, ERROR = "/ltx/sys/ping", "/ltx/sys/pong", "/ltx/error"
MAX_DATAGRAM = 65507
MAX_AHEAD_S = 2.0
"""A bundle with a time tag up to this far ahead waits for it; one stamped later than that takes effect at once."""

_BUNDLE = b"#bundle\x00"
_MAX_DEPTH = 16
_MAX_SCHEDULED = 4096
_MAX_ERRORS_PER_S = 10
_POLL_S = 0.2
_NTP_EPOCH_S = 2_208_988_800  # 1900 to 1970, RFC 868
_RECEIVE_BYTES = 4 * 2**20  # asked for; Linux gives at most net.core.rmem_max
MAX_BUNDLE = 1400
"""Bytes of a bundle that is sent: with the headers of UDP it still fits one Ethernet or Wi-Fi packet."""

_IMMEDIATE = _BUNDLE + struct.pack(">Q", 1)

Message = tuple[str, tuple[Any, ...]]


class OscReceiver:
    """Receives OSC and puts one transaction per datagram on the queue; answers pings itself.

    `num_packets`, `num_bad` and `num_refused` count what arrived, what could not be read and what came from where
    nothing is allowed to come from, at last from `refused_from`. `heard` has the time of the last packet from each
    sender that is a key of it. Raises DeviceError if the port is taken.
    """

    def __init__(
        self,
        target: queue.SimpleQueue[Transaction],
        host: str = "127.0.0.1",
        port: int = OSC_PORT,
        options: OscOptions | None = None,
    ):
        self._target = target
        self._options = options or OscOptions()
        self._socket = _bind(host, port)
        self._other_sockets: dict[int, socket.socket] = {}
        self._scheduled: list[tuple[float, int, Transaction]] = []
        self._order = itertools.count()
        self._holds = Holds()
        self._error_times: collections.deque[float] = collections.deque(maxlen=_MAX_ERRORS_PER_S)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="osc", daemon=True)
        self.host, self.port = self._socket.getsockname()[:2]
        self.heard: dict[tuple[Any, ...], float] = {}
        self.num_packets = 0
        self.num_bad = 0
        self.num_refused = 0
        self.refused_from = ""

    def start(self) -> None:
        """Begin to receive."""
        self._thread.start()

    def close(self) -> None:
        """Stop receiving and free the port."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        for each in (self._socket, *self._other_sockets.values()):
            each.close()

    def send(self, address: str, args: Iterable[Any], to: tuple[Any, ...]) -> None:
        """Send a message; at most 10 `/ltx/error` a second."""
        if address == ERROR:
            now = time.perf_counter()
            if len(self._error_times) == _MAX_ERRORS_PER_S and now - self._error_times[0] < 1.0:
                return
            self._error_times.append(now)
        self.send_packet(encode_message(address, args), to)

    def send_packet(self, packet: bytes, to: tuple[Any, ...]) -> None:
        """Send a message or bundle, from the receiving port where that reaches `to`. A lost one is only logged."""
        if self._options.log:
            for address, args in decode_packet(packet)[0]:
                log.info("OSC to %s:%s: %s", *to[:2], in_words(address, args))
        try:
            self._socket_to(to[0]).sendto(packet, to)
        except OSError as error:
            log.debug("no OSC to %s: %s", to, error)

    def _socket_to(self, host: str) -> socket.socket:
        """The receiving socket, unless it belongs to this computer alone or to the other kind of address."""
        family = _family(host)
        if family == self._socket.family and (is_loopback(host) or not is_loopback(self.host)):
            return self._socket
        if family not in self._other_sockets:
            self._other_sockets[family] = socket.socket(family, socket.SOCK_DGRAM)
        return self._other_sockets[family]

    def _run(self) -> None:
        while not self._closed.is_set():
            self._release_due()
            try:
                self._socket.settimeout(self._wait_s())
                datagram, sender = self._socket.recvfrom(MAX_DATAGRAM)
            except (TimeoutError, ConnectionResetError):  # the second: Windows, after a reply to a closed port
                continue
            except OSError as error:
                log.debug("OSC socket: %s", error)
                self._closed.wait(_POLL_S)
                continue
            self.num_packets += 1
            if not is_allowed(sender[0], self._options.allow):
                self.num_refused += 1
                self.refused_from = sender[0]
            elif not guard(self._receive, datagram, sender):
                self.num_bad += 1

    def _wait_s(self) -> float:
        if not self._scheduled:
            return _POLL_S
        return min(_POLL_S, max(0.0005, self._scheduled[0][0] - time.perf_counter()))

    def _release_due(self) -> None:
        now = time.perf_counter()
        while self._scheduled and self._scheduled[0][0] <= now:
            self._target.put(heapq.heappop(self._scheduled)[2])
        for transaction in self._holds.due(now):
            self._target.put(transaction)

    def _receive(self, datagram: bytes, sender: tuple[Any, ...]) -> None:
        messages, at_s = decode_packet(datagram)
        now = time.perf_counter()
        reply_to = sender if self._options.reply_port is None else (sender[0], self._options.reply_port)
        if reply_to in self.heard:
            self.heard[reply_to] = now
        origin = Origin("osc", str(sender[0]), reply_to)
        events: list[Event] = []
        for address, args in messages:
            if self._options.log:
                log.info("OSC from %s:%s: %s", *sender[:2], in_words(address, args))
            translated = resolume_to_ours(address, args) if self._options.aliases else (address, args)
            if translated is None:
                continue
            alias = "" if translated[0] == address else address
            address, args = translated
            if address == PING:
                self.send(PONG, args, reply_to)
            elif address == HOLD:
                events = [*self._holds.switch(Event(address, args, origin, now)), *events]
            else:
                events += [Event(concrete, args, origin, now, alias) for concrete in expand_pattern(address)]
        if not events:
            return
        ahead_s = 0.0 if at_s is None else at_s - time.time()
        if 0 < ahead_s <= MAX_AHEAD_S and len(self._scheduled) < _MAX_SCHEDULED:
            heapq.heappush(self._scheduled, (now + ahead_s, next(self._order), tuple(events)))
        elif not self._holds.keep(events):
            self._target.put(tuple(events))


def _family(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@functools.lru_cache(maxsize=256)
def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An IP address; one of IPv4 that came through a socket of IPv6 as itself."""
    address = ipaddress.ip_address(host)
    return getattr(address, "ipv4_mapped", None) or address


@functools.lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether an address is this computer's own."""
    return _address(host).is_loopback


@functools.lru_cache(maxsize=256)
def is_allowed(host: str, networks: tuple[str, ...]) -> bool:
    """Whether packets from an address are taken: from this computer always, else from these networks (none = all)."""
    return not networks or is_loopback(host) or any(_address(host) in ipaddress.ip_network(net) for net in networks)


def in_words(address: str, args: Iterable[Any]) -> str:
    """A message as a line of the log."""
    return " ".join([address, *(repr(arg) if isinstance(arg, str) else str(arg) for arg in args)])


def _bind(host: str, port: int) -> socket.socket:
    udp = socket.socket(_family(host), socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
    if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows would let a second program share the port
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    try:
        udp.bind((host, port))
    except OSError as error:
        udp.close()
        raise DeviceError(
            f"OSC cannot listen on {host}:{port}: {error.strerror or error}; "
            f"close the other program, or choose another port with --osc {host}:{port + 1}"
        ) from None
    return udp


def decode_packet(datagram: bytes) -> tuple[list[Message], float | None]:
    """The messages of a datagram, bundles flattened, and its time tag in Unix seconds (None = at once).

    Raises ValueError or python-osc's ParseError for what is not OSC or holds an unknown type tag.
    """
    if not datagram.startswith(_BUNDLE):
        return [_decode_message(datagram)], None
    if len(datagram) < len(_IMMEDIATE):
        raise ValueError("bundle without a time tag")
    seconds, fraction = struct.unpack_from(">II", datagram, 8)
    at_s = None if seconds == 0 else seconds - _NTP_EPOCH_S + fraction / 2**32
    return list(_bundle_messages(datagram, 0)), at_s


def _bundle_messages(bundle: bytes, depth: int) -> Iterator[Message]:
    if depth > _MAX_DEPTH:
        raise ValueError("bundles nested too deeply")
    index = 16
    while index < len(bundle):
        size, index = osc_types.get_int(bundle, index)
        if size < 0 or index + size > len(bundle):
            raise ValueError("bundle element longer than its bundle")
        element = bundle[index : index + size]
        index += size
        if element.startswith(_BUNDLE):
            yield from _bundle_messages(element, depth + 1)
        else:
            yield _decode_message(element)


def _decode_message(data: bytes) -> Message:
    """Address and arguments; arrays are flattened, `I` (a bang) is no argument, a message may lack its type tags."""
    if not data.startswith(b"/"):
        raise ValueError("neither a message nor a bundle")
    address, index = _read_string(data, 0)
    if data[index : index + 1] != b",":
        return address, ()
    tags, index = _read_string(data, index)
    args: list[Any] = []
    for tag in tags[1:]:
        if tag in _CONSTANTS:
            args.append(_CONSTANTS[tag])
        elif tag in _READERS:
            value, index = _READERS[tag](data, index)
            if index > len(data) and tag not in "sS":  # python-osc would read half a float as 0.0
                raise ValueError("message cut off")
            args.append(value)
        elif tag not in "[]I":
            raise ValueError(f"unknown type tag {tag!r}")
    return address, tuple(args)


def _read_string(data: bytes, index: int) -> tuple[str, int]:
    """A padded string, UTF-8 or else Latin-1; the last one of a message may lack its padding."""
    end = data.find(b"\x00", index)
    end = len(data) if end < 0 else end
    raw = data[index:end]
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text, index + (len(raw) // 4 + 1) * 4


def _read_character(data: bytes, index: int) -> tuple[str, int]:
    code, index = osc_types.get_int(data, index)
    if 0xD800 <= code <= 0xDFFF:  # half of a character of UTF-16, which is no text by itself
        raise ValueError("a surrogate is no character")
    return chr(code), index


_CONSTANTS = {"T": True, "F": False, "N": None}
_READERS = {
    "i": osc_types.get_int,
    "h": osc_types.get_int64,
    "f": osc_types.get_float,
    "d": osc_types.get_double,
    "s": _read_string,
    "S": _read_string,
    "c": _read_character,
    "b": osc_types.get_blob,
    "t": osc_types.get_timetag,
    "r": osc_types.get_rgba,
    "m": osc_types.get_midi,
}


def encode_message(address: str, args: Iterable[Any]) -> bytes:
    """A message whose arguments are int32, float32, text or a blob: what every client reads."""
    tags, payload = ",", b""
    for arg in args:
        tag, data = _encode(arg.item() if isinstance(arg, np.generic) else arg)
        tags += tag
        payload += data
    return _padded(address) + _padded(tags) + payload


def _encode(value: Any) -> tuple[str, bytes]:
    if isinstance(value, bytes):
        return "b", struct.pack(">i", len(value)) + value + b"\x00" * (-len(value) % 4)
    if isinstance(value, int) and -(2**31) <= value < 2**31:
        return "i", struct.pack(">i", value)
    if isinstance(value, (int, float)):
        try:
            return "f", struct.pack(">f", value)
        except OverflowError:  # beyond float32
            return "f", struct.pack(">f", math.copysign(math.inf, value))
    return "s", _padded("none" if value is None else str(value))


def _padded(text: str) -> bytes:
    """An OSC string: it ends at its first zero byte."""
    data = text.replace("\x00", " ").encode("utf-8", "replace")
    return data + b"\x00" * (4 - len(data) % 4)


def encode_bundles(messages: Iterable[bytes], limit: int = MAX_BUNDLE) -> Iterator[bytes]:
    """Encoded messages as few bundles of at most `limit` bytes each; a message that is longer goes alone."""
    waiting, size = [], len(_IMMEDIATE)
    for message in messages:
        if waiting and size + 4 + len(message) > limit:
            yield _IMMEDIATE + b"".join(waiting)
            waiting, size = [], len(_IMMEDIATE)
        waiting.append(struct.pack(">i", len(message)) + message)
        size += 4 + len(message)
    if waiting:
        yield _IMMEDIATE + b"".join(waiting)
