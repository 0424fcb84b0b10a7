"""OSC over UDP: an own socket and thread; python-osc is used as the codec of single values and messages only.

Facts behind it (measured, python-osc 1.10.2): its servers sleep on time tags and cut datagrams at 8 KiB, and its
message decoder loses its place at the tags `S` and `c` and fails on text that is not UTF-8.
"""

from __future__ import annotations

import collections
import heapq
import itertools
import logging
import queue
import re
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from pythonosc.osc_message_builder import OscMessageBuilder
from pythonosc.parsing import osc_types

from ltx_live import params
from ltx_live.config import OSC_PORT
from ltx_live.control.event import Event, Origin, Transaction, guard
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
_PATTERN = re.compile(r"[*?\[{]")

Message = tuple[str, tuple[Any, ...]]


class OscReceiver:
    """Receives OSC and puts one transaction per datagram on the queue; answers pings itself.

    `num_packets` and `num_bad` count what arrived and what could not be read. Raises DeviceError if the port is taken.
    """

    def __init__(self, target: queue.SimpleQueue[Transaction], host: str = "127.0.0.1", port: int = OSC_PORT):
        self._target = target
        self._socket = _bind(host, port)
        self._scheduled: list[tuple[float, int, Transaction]] = []
        self._order = itertools.count()
        self._error_times: collections.deque[float] = collections.deque(maxlen=_MAX_ERRORS_PER_S)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="osc", daemon=True)
        self.host, self.port = self._socket.getsockname()[:2]
        self.num_packets = 0
        self.num_bad = 0

    def start(self) -> None:
        """Begin to receive."""
        self._thread.start()

    def close(self) -> None:
        """Stop receiving and free the port."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()

    def send(self, address: str, args: Iterable[Any], to: tuple[Any, ...]) -> None:
        """Send a message from the receiving port; at most 10 `/ltx/error` a second. A lost reply is only logged."""
        if address == ERROR:
            now = time.perf_counter()
            if len(self._error_times) == _MAX_ERRORS_PER_S and now - self._error_times[0] < 1.0:
                return
            self._error_times.append(now)
        try:
            self._socket.sendto(encode_message(address, args), to)
        except OSError as error:
            log.debug("no OSC reply to %s: %s", to, error)

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
            if not guard(self._receive, datagram, sender):
                self.num_bad += 1

    def _wait_s(self) -> float:
        if not self._scheduled:
            return _POLL_S
        return min(_POLL_S, max(0.0005, self._scheduled[0][0] - time.perf_counter()))

    def _release_due(self) -> None:
        while self._scheduled and self._scheduled[0][0] <= time.perf_counter():
            self._target.put(heapq.heappop(self._scheduled)[2])

    def _receive(self, datagram: bytes, sender: tuple[Any, ...]) -> None:
        messages, at_s = decode_packet(datagram)
        now = time.perf_counter()
        origin = Origin("osc", str(sender[0]), sender)
        events = []
        for address, args in messages:
            if address == PING:
                self.send(PONG, args, sender)
            else:
                events += [Event(concrete, args, origin, now) for concrete in expand_pattern(address)]
        if not events:
            return
        ahead_s = 0.0 if at_s is None else at_s - time.time()
        if 0 < ahead_s <= MAX_AHEAD_S and len(self._scheduled) < _MAX_SCHEDULED:
            heapq.heappush(self._scheduled, (now + ahead_s, next(self._order), tuple(events)))
        else:
            self._target.put(tuple(events))


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    udp = socket.socket(family, socket.SOCK_DGRAM)
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
    builder = OscMessageBuilder(address)
    for arg in args:
        value = arg.item() if isinstance(arg, np.generic) else arg
        if isinstance(value, bytes):
            builder.add_arg(value, "b")
        elif isinstance(value, int) and -(2**31) <= value < 2**31:
            builder.add_arg(int(value), "i")
        elif isinstance(value, (int, float)):
            builder.add_arg(float(value), "f")
        else:
            builder.add_arg("none" if value is None else str(value), "s")
    return builder.build().dgram


def expand_pattern(address: str) -> list[str]:
    """The parameter addresses that an OSC pattern (`*`, `?`, `[]`, `{}`) matches; an address without is itself.

    A pattern that matches nothing is returned as it is, to be reported as unknown. Raises ValueError for one with more
    than four wildcards or 200 characters: matching it could take the receiver's time.
    """
    if not _PATTERN.search(address):
        return [address]
    if len(address) > 200 or sum(address.count(sign) for sign in "*{") > 4:
        raise ValueError("address pattern with too many wildcards")
    pattern = re.compile(_pattern_regex(address))
    roots = ("/ltx/norm/", "/ltx/") if "norm" in address else ("/ltx/",)
    matches = [root + name for root in roots for name in params.concrete_names() if pattern.fullmatch(root + name)]
    return matches or [address]


def _pattern_regex(pattern: str) -> str:
    pieces = re.findall(r"\*+|\?|\[[^\]]*\]|\{[^}]*\}|.", pattern, re.DOTALL)
    return "".join(_piece_regex(piece) for piece in pieces)


def _piece_regex(piece: str) -> str:
    if piece.startswith("*"):
        return "[^/]*"
    if piece == "?":
        return "[^/]"
    if piece.startswith("[") and len(piece) > 2:
        inside = piece[1:-1]
        sign = "^" if inside.startswith("!") and len(inside) > 1 else ""
        inside = inside[1:] if sign else inside
        return f"[{sign}{re.escape(inside).replace(chr(92) + '-', '-')}]"
    if piece.startswith("{") and len(piece) > 2:
        return "(?:" + "|".join(re.escape(word) for word in dict.fromkeys(piece[1:-1].split(","))) + ")"
    return re.escape(piece)
