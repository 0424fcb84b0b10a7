"""The sound device: opens it, calls the player from its callback, and goes on with a thread when there is none."""

from __future__ import annotations

import fnmatch
import logging
import threading
import time
from types import ModuleType
from typing import Any

import numpy as np

from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.errors import DeviceError
from ltx_live.stage.clock import DacLatency, PlayClock
from ltx_live.stage.player import Player

log = logging.getLogger(__name__)

LATENCY_S = 0.1
THREAD_PERIOD_S = 0.01
SILENT_S = 1.0
STARTING_S = 3.0  # an idle PulseAudio sink may take 1.5 s before it asks for more
CLOSE_S = 1.0
NO_DEVICE = "none"


def _sounddevice() -> ModuleType:
    """The sounddevice module; raises DeviceError when the PortAudio library is missing."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise DeviceError(
            f"sound: {error}; install it (Debian/Ubuntu: apt-get install libportaudio2, macOS: brew install portaudio)"
            " or play with --audio none"
        ) from None
    return sounddevice


def list_devices() -> list[tuple[int, str, bool]]:
    """Output devices as (index, "name, host API", is the default); raises DeviceError without PortAudio."""
    sd = _sounddevice()
    apis = sd.query_hostapis()
    default = sd.default.device[1]
    return [
        (row["index"], f"{row['name']}, {apis[row['hostapi']]['name']}", row["index"] == default)
        for row in sd.query_devices()
        if row["max_output_channels"] >= 2
    ]


def find_device(pattern: str) -> tuple[int, str]:
    """The output device for an index, a name or a part of it (`*` allowed, case does not count); "" = default.

    A whole name wins over a part. Raises DeviceError when nothing matches, with the names there are.
    """
    devices = list_devices()
    wanted = pattern.strip().lower()
    by_rule = (
        lambda index, name, default: default if not wanted else wanted == str(index),
        lambda index, name, default: wanted in (name, name.rpartition(",")[0]),
        lambda index, name, default: fnmatch.fnmatchcase(name, f"*{wanted}*"),
    )
    for rule in by_rule:
        for index, name, default in devices:
            if rule(index, name.lower(), default):
                return index, name
    names = "; ".join(f"{index} {name}" for index, name, _ in devices) or "there is no sound device"
    raise DeviceError(f"--audio {pattern or 'default'}: no such output; choose one of: {names}; or none")


class AudioOutput:
    """Plays through a device, or silently through a thread at the same pace.

    The show's thread sets `player.playlist` and `player.target_gain`, reads `position`, and calls `check` every tick.
    `device` is the name of what is open, None when the thread plays.
    """

    def __init__(self, pattern: str = "") -> None:
        self.player = Player()
        self.device: str | None = None
        self.stuck = False
        self._pattern = pattern
        self._clock = PlayClock()
        self._stream: Any = None
        self._driver: object | None = None
        self._called_s = 0.0
        self._opened_s = 0.0

    def start(self) -> str:
        """Begin to play; the line to log. Raises DeviceError when a device that was asked for cannot be opened."""
        try:
            return self._start()
        except DeviceError as error:
            if self._pattern:
                raise
            self._start_thread()
            return f"{error}; playing without sound"

    def restart(self) -> str:
        """Look for devices anew and open the chosen one, or go on without; the line to log."""
        self._close_stream()
        try:
            if not self.stuck and self._pattern.lower() != NO_DEVICE:
                sd = _sounddevice()
                sd._terminate()  # PortAudio lists devices once; only this makes it look again
                sd._initialize()
            return self._start()
        except DeviceError as error:
            self._start_thread()
            return f"{error}; playing without sound"

    def check(self) -> str | None:
        """Call every tick: when the device is gone, go on with the thread; the line to show, or None."""
        if self._stream is None:
            return None
        alive_until_s = max(self._called_s + SILENT_S, self._opened_s + STARTING_S)
        if self._stream.active and time.perf_counter() < alive_until_s:
            return None
        lost = self.device
        self._close_stream()
        self._start_thread()
        return f"sound device lost: {lost}; playing on without sound"

    def position(self, now_s: float | None = None, offset_ms: float = 0.0) -> float:
        """Media position to show now, in samples: what is heard, less `av/offset` (positive = picture later)."""
        now_s = time.perf_counter() if now_s is None else now_s
        return self._clock.position(self.player.published, now_s) - offset_ms * SAMPLE_RATE_HZ / 1000

    def close(self) -> None:
        """Stop. A dead device that cannot be closed is abandoned: `stuck` is true, and the process needs os._exit."""
        self._close_stream()
        self._driver = None

    def _start(self) -> str:
        if self._pattern.lower() == NO_DEVICE:
            self._start_thread()
            return "sound: none, the clock is the computer's"
        index, name = find_device(self._pattern)
        self._open(index, name)
        return f"sound: {name}, {self._stream.latency * 1000:.0f} ms"

    def _open(self, index: int, name: str) -> None:
        sd = _sounddevice()
        driver = object()

        def callback(out: np.ndarray, num_frames: int, times: Any, status: Any) -> None:
            now_s = time.perf_counter()
            self._called_s = now_s
            if self._driver is not driver:
                out.fill(0.0)
                return
            self.player.render(out, now_s + latency.update(times.outputBufferDacTime - times.currentTime))

        try:
            stream = sd.OutputStream(
                samplerate=SAMPLE_RATE_HZ,
                channels=2,
                dtype="float32",
                device=index,
                latency=LATENCY_S,
                callback=callback,
            )
            latency = DacLatency(stream.latency)
            self.player.mute_until_ramped()
            self._driver = driver
            self._opened_s = time.perf_counter()
            stream.start()
        except sd.PortAudioError as error:
            self._driver = None
            raise DeviceError(f"sound device {name}: {error}; choose another with --audio, or none") from None
        self._stream, self.device = stream, name

    def _close_stream(self) -> None:
        """Close the stream in a thread of its own: a dead JACK server never returns from it."""
        stream, self._stream, self.device = self._stream, None, None
        self._driver = None
        if stream is None:
            return
        closing = threading.Thread(target=stream.close, name="close-sound", daemon=True)
        closing.start()
        closing.join(CLOSE_S)
        self.stuck |= closing.is_alive()

    def _start_thread(self) -> None:
        driver = object()
        self._driver = driver
        self.player.mute_until_ramped()
        threading.Thread(target=self._run_thread, args=(driver,), name="sound-clock", daemon=True).start()

    def _run_thread(self, driver: object) -> None:
        """Hand out 10 ms of sound every 10 ms; after a stall of more than half a second the rest is skipped."""
        block = round(THREAD_PERIOD_S * SAMPLE_RATE_HZ)
        out = np.empty((block, 2), np.float32)
        due_s = time.perf_counter()
        while self._driver is driver:
            now_s = time.perf_counter()
            if now_s < due_s:
                time.sleep(due_s - now_s)
                continue
            if now_s - due_s > 0.5:
                due_s = now_s
            self.player.render(out, due_s)
            due_s += THREAD_PERIOD_S
