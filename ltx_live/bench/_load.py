"""The load of `bench control`, from a process of its own: sender to the loopback, subscribers, a look at the screen."""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ltx_live import params
from ltx_live.control.osc import decode_packet, encode_message
from ltx_live.control.registry import Registry, full_range, normalise

STREAM = "/ltx/out/hue"
STREAM_EVERY = 20
"""Of the messages every so many is the stream of one fader: 100 a second of 2000."""

MASTER = "/ltx/out/master"
SHOWN_LIMIT_S = 2.0
_MAX_MESSAGES = 1_000_000
_UNTOUCHED = (
    "out/master",
    "out/opacity",
    "out/blackout",
    "out/freeze",
    "out/hue",
    "out/feedback",
    "out/strobe",
    "window/",
    "audio/",
    "av/",
    "sys/",
)
_BUTTONS = re.compile(
    r"bank/\d+/connect|snap/\d+/(save|recall)|mod/\d+/trigger|cue/(go|back|stop)|tempo/tap|(bank|image|rec)/[a-z]+"
)
"""Triggers that a 0 releases: a program that sends all its channels sends that, too. It does nothing."""

_WIDTH_PX, _HEIGHT_PX = 1280, 800

Packet = tuple[str, bytes]


@dataclass(frozen=True)
class Load:
    """How much is sent to which port, which values, and the screen that is watched (None = there is none)."""

    port: int
    rate_hz: float
    seconds: float
    num_addresses: int
    num_subscribers: int
    values: Mapping[str, Any]
    screen: Path | None = None


@dataclass
class Subscribed:
    """What one subscriber was told: how many values, and when of the stream (`time.perf_counter`)."""

    num_messages: int = 0
    stream_s: list[float] = field(default_factory=list)

    @property
    def stream_hz(self) -> float:
        """How often a second it was told of the stream."""
        return (len(self.stream_s) - 1) / (self.stream_s[-1] - self.stream_s[0]) if len(self.stream_s) > 1 else 0.0


@dataclass(frozen=True)
class Sent:
    """When each message was sent (`time.perf_counter`), by address, and what came back. Times of processes compare.

    `late_s` is how late the sender's own sleeps ended: what the machine does to a process that does nothing.
    """

    times_s: Mapping[str, list[float]]
    late_s: list[float]
    subscribed: list[Subscribed]
    master_s: list[float]
    seconds: float


def addresses(values: Mapping[str, Any], most: int) -> list[tuple[str, list[bytes]]]:
    """Addresses with what is sent to each in turn, as TouchDesigner sends all its channels at every frame.

    What only changes the look moves; the rest repeats its value, so that the show plays on. Both trees are used.
    """
    found = []
    for name, row in Registry().readable():
        if name not in values or name.startswith(_UNTOUCHED):
            continue
        trees = [("/ltx/", lambda row, value: value)]
        if full_range(row):
            trees.append(("/ltx/norm/", normalise))
        for root, shown in trees:
            steps = [shown(row, value) for value in _steps(row, values[name])]
            packets = [encode_message(root + name, step if isinstance(step, tuple) else (step,)) for step in steps]
            found.append((root + name, packets))
    buttons = [name for name in params.concrete_names() if _BUTTONS.fullmatch(name)]
    buttons = [name for name in buttons if params.find(name).kind == "trigger"]
    found += [(f"/ltx/{name}", [encode_message(f"/ltx/{name}", (0,))]) for name in buttons]
    return found[:most]


def _steps(row: params.Parameter, value: Any) -> list[Any]:
    if row.name.startswith("out/") and row.kind == "float":
        return [row.coerce(value + part * (row.maximum - row.minimum) / 20) for part in (0, 1, 2, 1)]
    if row.name == "bank/N/name":
        return ["", "red", "blue"]
    return [value]


def play(load: Load) -> Sent:
    """Send, listen and watch for the load's time; never more than a million messages."""
    stop = threading.Event()
    subscribers = [_Subscriber(load.port, stop) for _ in range(load.num_subscribers)]
    watch = _Watch(load, stop) if load.screen else None
    time.sleep(0.5)
    start_s = time.perf_counter()
    times_s, late_s = _send(load)
    seconds = time.perf_counter() - start_s
    time.sleep(0.5)
    stop.set()
    subscribed = [each.end() for each in subscribers]
    return Sent(times_s, late_s, subscribed, watch.end() if watch else [], seconds)


def _send(load: Load) -> tuple[dict[str, list[float]], list[float]]:
    hues = [encode_message(STREAM, (k / 10,)) for k in range(1800)]
    cycle = itertools.cycle(addresses(load.values, load.num_addresses))
    turns: Counter = Counter()
    times_s: dict[str, list[float]] = {}
    late_s: list[float] = []
    start_s = time.perf_counter()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect(("127.0.0.1", load.port))
        for k in range(min(_MAX_MESSAGES, round(load.rate_hz * load.seconds))):
            address, packets = (STREAM, hues) if k % STREAM_EVERY == 0 else next(cycle)
            packet = packets[turns[address] % len(packets)]
            turns[address] += 1
            wait_s = start_s + k / load.rate_hz - time.perf_counter()
            if wait_s > 0:
                time.sleep(wait_s)
                late_s.append(time.perf_counter() - start_s - k / load.rate_hz)
            times_s.setdefault(address, []).append(time.perf_counter())
            udp.send(packet)
    return times_s, late_s


class _Subscriber:
    """Subscribes to everything, and counts."""

    def __init__(self, port: int, stop: threading.Event):
        self._told = Subscribed()
        self._stop = stop
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.settimeout(0.2)
        self._udp.connect(("127.0.0.1", port))
        self._udp.send(encode_message("/ltx/sys/subscribe", (0, "/ltx/*")))
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        begin_s = time.perf_counter() + 0.4  # what is told at the beginning is no change
        with self._udp:
            while not self._stop.is_set():
                with contextlib.suppress(TimeoutError):
                    messages, _ = decode_packet(self._udp.recv(65535))
                    now_s = time.perf_counter()
                    if now_s > begin_s:
                        self._told.num_messages += len(messages)
                        self._told.stream_s += [now_s for address, _ in messages if address == STREAM]

    def end(self) -> Subscribed:
        self._thread.join()
        return self._told


class _Watch:
    """Turns the master down and up, and looks how long until the screen is black, and until it is not."""

    def __init__(self, load: Load, stop: threading.Event):
        self._port = load.port
        self._screen = Screen(load.screen)
        self._stop = stop
        self._latency_s: list[float] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        random = np.random.default_rng(7)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.connect(("127.0.0.1", self._port))
            for level in itertools.cycle((0.0, 1.0)):
                if self._stop.wait(random.uniform(0.2, 0.5)):
                    break
                sent_s = time.perf_counter()
                udp.send(encode_message(MASTER, (level,)))
                while self._screen.is_black() != (level == 0) and time.perf_counter() - sent_s < SHOWN_LIMIT_S:
                    time.sleep(0.001)
                self._latency_s.append(time.perf_counter() - sent_s)
            udp.send(encode_message(MASTER, (1.0,)))

    def end(self) -> list[float]:
        self._thread.join()
        return self._latency_s


class Screen:
    """The frame buffer of an Xvfb with `-fbdir`, in the file format of xwd (`XWDFile.h`)."""

    def __init__(self, path: Path):
        with open(path, "rb") as file:
            self._memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        header = struct.unpack(">25I", self._memory[:100])
        size, num_colors = header[0], header[19]
        self._shape = header[5], header[4]
        self._offset = size + 12 * num_colors

    def pixels(self) -> np.ndarray:
        """What is shown now (H, W, 4) uint8, not copied."""
        count = self._shape[0] * self._shape[1] * 4
        return np.frombuffer(self._memory, np.uint8, count, self._offset).reshape(*self._shape, 4)

    def is_black(self) -> bool:
        """Whether no pixel of a grid of them is lit."""
        return not self.pixels()[8::16, 8::16, :3].any()


@contextlib.contextmanager
def screen() -> Iterator[Path | None]:
    """An Xvfb whose pixels can be read; DISPLAY names it. None where there is no Xvfb."""
    if shutil.which("Xvfb") is None:
        yield None
        return
    before = os.environ.get("DISPLAY")
    read, write = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        command = ["Xvfb", "-displayfd", str(write), "-screen", "0", f"{_WIDTH_PX}x{_HEIGHT_PX}x24"]
        command += ["-nolisten", "tcp", "-fbdir", folder]
        process = subprocess.Popen(command, pass_fds=(write,), stderr=subprocess.DEVNULL)
        os.close(write)
        try:
            with os.fdopen(read) as number:
                os.environ["DISPLAY"] = f":{number.readline().strip()}"
            yield Path(folder) / "Xvfb_screen0"
        finally:
            os.environ.pop("DISPLAY")
            if before is not None:
                os.environ["DISPLAY"] = before
            process.terminate()
            process.wait()
