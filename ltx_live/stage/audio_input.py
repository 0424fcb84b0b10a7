"""The sound input: opened beside the show, it fills a `LiveSound` from its callback; a lost one is looked for."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.errors import DeviceError
from ltx_live.media.gate import Gate
from ltx_live.media.live_sound import LiveSound
from ltx_live.stage import devices

log = logging.getLogger(__name__)

LATENCY_S = 0.04
BLOCK = SAMPLE_RATE_HZ // 100
SILENT_S = 1.0
STARTING_S = 3.0
RETRY_S = 3.0


@dataclass(frozen=True, slots=True)
class Input:
    """An input device: PortAudio's index, "name, host API", and how many channels of it are used, 1 or 2."""

    index: int
    name: str
    num_channels: int


@dataclass(frozen=True, slots=True)
class _Opened:
    """A stream that runs, and what was asked for; its callback does nothing until `owner` is the input's."""

    pattern: str
    name: str
    stream: Any
    owner: object


def _age_s(told_s: float, nominal_s: float) -> float:
    """How long ago a block's first sample was captured: what PortAudio tells, or the stream's latency if that is odd.

    With PulseAudio it tells from -3 to 28 ms by block; their median is right within 5 ms (measured).
    """
    return told_s if -nominal_s <= told_s <= 2 * nominal_s + 0.2 else nominal_s


def find_input(pattern: str) -> Input:
    """The input device that `devices.choose` takes for a pattern.

    Raises DeviceError when nothing matches, with the names there are.
    """
    found = devices.devices("input", 1)
    device = devices.choose(found, pattern)
    if device is None:
        names = "; ".join(f"{each.index} {each.name}" for each in found) or "there is none"
        raise DeviceError(f"sound input {pattern or 'default'}: no such device; choose one of: {names}")
    return Input(device.index, device.name, min(2, device.num_channels))


class AudioInput:
    """A live input that may come, go and come again. The show's thread calls `open`, `check` every tick, and `close`.

    `sound` is what is heard through `gate`, `device` the name of what is open, None while there is nothing. `stuck`: a
    dead device could not be closed, and the process needs os._exit.
    """

    def __init__(self) -> None:
        self.sound = LiveSound()
        self.gate = Gate()
        self.device: str | None = None
        self.stuck = False
        self._pattern: str | None = None
        self._stream: Any = None
        self._owner: object | None = None
        self._opening: threading.Thread | None = None
        self._opened: _Opened | DeviceError | None = None
        self._open_at_s = 0.0
        self._called_s = 0.0
        self._told = ""

    def open(self, pattern: str = "") -> None:
        """Listen to a device, found as `find_input` says; what is open before is closed. `check` tells when it is."""
        self.close()
        self._pattern, self._open_at_s, self._told = pattern, 0.0, ""

    def close(self) -> None:
        """Listen no more."""
        self._pattern = None
        self._close_stream()

    def check(self, may_open: bool = True) -> str | None:
        """Call every tick: opens what was asked for, and again every RETRY_S when it is lost; the line to show.

        `may_open` is false while the sound output looks for its device: PortAudio starts anew then, without streams.
        """
        line = self._take_opened()
        if not may_open or self._pattern is None:
            self._close_stream()
        elif self._stream is not None and not self._is_alive():
            line = f"sound input lost: {self.device}; looking for it every {RETRY_S:g} s"
            self._close_stream()
            self._open_at_s = time.perf_counter() + RETRY_S
        elif self._stream is None and self._opening is None and time.perf_counter() >= self._open_at_s:
            self._opening = threading.Thread(target=self._run, args=(self._pattern,), name="open-input", daemon=True)
            self._opening.start()
        return line

    def _take_opened(self) -> str | None:
        """What the thread has opened, or why it has not, told once."""
        if self._opening is None or self._opening.is_alive():
            return None
        self._opening = None
        opened, self._opened = self._opened, None
        if isinstance(opened, DeviceError) or opened is None:
            self._open_at_s = time.perf_counter() + RETRY_S
            text, self._told = self._told, str(opened or "sound input: it could not be opened")
            return None if text == self._told else self._told
        self._stream = opened.stream
        if opened.pattern != self._pattern:
            self._close_stream()
            return None
        self.sound.reopened()
        self._called_s = time.perf_counter() + STARTING_S
        self._owner, self.device, self._told = opened.owner, opened.name, ""
        return f"sound input: {self.device}, {self._stream.latency * 1000:.0f} ms"

    def _is_alive(self) -> bool:
        return self._stream.active and time.perf_counter() < self._called_s + SILENT_S

    def _run(self, pattern: str) -> None:
        try:
            self._opened = self._start(pattern, find_input(pattern))
        except DeviceError as error:
            self._opened = error

    def _start(self, pattern: str, device: Input) -> _Opened:
        """Start a stream whose callback writes to `sound` while it is this input's."""
        sd = devices.sounddevice()
        owner = object()

        def callback(block: np.ndarray, num_samples: int, times: Any, status: Any) -> None:
            now_s = time.perf_counter()
            if self._owner is not owner:
                return
            self._called_s = max(self._called_s, now_s)
            self.sound.num_xruns += bool(status.input_overflow)
            self.sound.write(
                self.gate.process(block), now_s - _age_s(times.currentTime - times.inputBufferAdcTime, stream.latency)
            )

        try:
            stream = sd.InputStream(
                samplerate=SAMPLE_RATE_HZ,
                blocksize=BLOCK,
                channels=device.num_channels,
                dtype="float32",
                device=device.index,
                latency=LATENCY_S,
                callback=callback,
            )
            stream.start()
        except sd.PortAudioError as error:
            raise DeviceError(f"sound input {device.name}: {error}; choose another") from None
        return _Opened(pattern, device.name, stream, owner)

    def _close_stream(self) -> None:
        stream, self._stream, self.device, self._owner = self._stream, None, None, None
        self.stuck |= stream is not None and devices.close_stream(stream)
