"""The sound device: opens it, calls the player from its callback, and goes on with a thread while there is none."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.errors import DeviceError
from ltx_live.stage import devices
from ltx_live.stage.clock import DacLatency, PlayClock
from ltx_live.stage.player import Player

log = logging.getLogger(__name__)

LATENCY_S = 0.1
THREAD_PERIOD_S = 0.01
SILENT_S = 1.0
STARTING_S = 3.0  # an idle PulseAudio sink may take 1.5 s before it asks for more
RETRY_S = 3.0
ABOUT_S = 0.1  # several ticks before a search, in which an input is closed
NO_DEVICE = "none"


def list_devices() -> list[tuple[int, str, bool]]:
    """Output devices as (index, "name, host API", is the default); raises DeviceError without PortAudio."""
    return [(each.index, each.name, each.is_default) for each in devices.devices("output", 2)]


def find_device(pattern: str) -> tuple[int, str]:
    """The output device that `devices.choose` takes for a pattern.

    Raises DeviceError when nothing matches, with the names there are.
    """
    found = devices.devices("output", 2)
    device = devices.choose(found, pattern)
    if device is None:
        names = "; ".join(f"{each.index} {each.name}" for each in found) or "there is no sound device"
        raise DeviceError(f"--audio {pattern or 'default'}: no such output; choose one of: {names}; or none")
    return device.index, device.name


@dataclass(frozen=True, slots=True)
class _Opened:
    """A stream that runs; its callback hands out silence until `driver` is the output's driver."""

    stream: Any
    name: str
    driver: object


class AudioOutput:
    """Plays through a device, or silently through a thread at the same pace.

    The show's thread sets `player.playlist` and `player.target_gain`, reads `position`, and calls `check` every tick.
    `device` is the name of what is open, None when the thread plays. A device that was lost, or the default one when
    there was none at the start, is looked for every RETRY_S, beside the show, and plays as soon as it is there.
    """

    def __init__(self, pattern: str = "") -> None:
        self.player = Player()
        self.device: str | None = None
        self.stuck = False
        self._pattern = pattern
        self._clock = PlayClock()
        self._stream: Any = None
        self._driver: object | None = None
        self._thread: threading.Thread | None = None
        self._search: threading.Thread | None = None
        self._found: _Opened | None = None
        self._search_at_s: float | None = None
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
            if isinstance(error, devices.NoLibrary):
                return f"{error}; playing without sound"
            self._search_at_s = time.perf_counter() + RETRY_S
            return f"{error}; playing without sound, looking for a device every {RETRY_S:g} s"

    def check(self) -> str | None:
        """Call every tick: goes on with the thread when the device is gone, and with the device when there is one.

        The line to show when it is one of the two, else None.
        """
        if self._stream is None:
            return self._look_again()
        alive_until_s = max(self._called_s + SILENT_S, self._opened_s + STARTING_S)
        if self._stream.active and time.perf_counter() < alive_until_s:
            return None
        lost = self.device
        self._close_stream()
        self._start_thread()
        if self.stuck:
            return f"sound device lost: {lost}; playing on without sound; it hangs: for sound, start the show anew"
        self._search_at_s = time.perf_counter() + RETRY_S
        return f"sound device lost: {lost}; playing on without sound, looking for it every {RETRY_S:g} s"

    @property
    def is_looking(self) -> bool:
        """Whether a device is looked for now or soon: PortAudio starts anew for it, and no other stream may be open."""
        is_searching = self._search is not None and self._search.is_alive()
        is_due = self._search_at_s is not None and time.perf_counter() >= self._search_at_s - ABOUT_S
        return is_searching or is_due

    def position(self, now_s: float | None = None, offset_ms: float = 0.0) -> float:
        """Media position to show now, in samples: what is heard, less `av/offset` (positive = picture later)."""
        now_s = time.perf_counter() if now_s is None else now_s
        return self._clock.position(self.player.published, now_s) - offset_ms * SAMPLE_RATE_HZ / 1000

    def close(self) -> None:
        """Stop. A dead device that cannot be closed is abandoned: `stuck` is true, and the process needs os._exit."""
        self._search_at_s = None
        if self._search is not None:
            self._search.join(STARTING_S + devices.CLOSE_S)
            self.stuck |= self._search.is_alive()
        if self._found is not None:
            self._use(self._found)
        self._close_stream()
        self._driver = None

    def _start(self) -> str:
        if self._pattern.lower() == NO_DEVICE:
            self._start_thread()
            return "sound: none, the clock is the computer's"
        self._use(self._open(*find_device(self._pattern)))
        return self._told()

    def _told(self) -> str:
        return f"sound: {self.device}, {self._stream.latency * 1000:.0f} ms"

    def _open(self, index: int, name: str) -> _Opened:
        sd = devices.sounddevice()
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
            stream.start()
        except sd.PortAudioError as error:
            raise DeviceError(f"sound device {name}: {error}; choose another with --audio, or none") from None
        return _Opened(stream, name, driver)

    def _use(self, opened: _Opened) -> None:
        """Let a stream play from its next block on, after the thread's last."""
        self._driver = self._found = self._search_at_s = None
        if self._thread is not None:
            self._thread.join(SILENT_S)  # it ends within a block of 10 ms
            self._thread = None
        self.player.mute_until_ramped()
        self._stream, self.device = opened.stream, opened.name
        self._opened_s = time.perf_counter()
        self._driver = opened.driver

    def _look_again(self) -> str | None:
        """While a device is missing: look for it from time to time, in a thread because that takes a while."""
        if self._found is not None:
            self._use(self._found)
            return self._told()
        is_searching = self._search is not None and self._search.is_alive()
        if self._search_at_s is not None and not is_searching and time.perf_counter() >= self._search_at_s:
            self._search_at_s = time.perf_counter() + RETRY_S
            self._search = threading.Thread(target=self._find_and_open, name="find-sound", daemon=True)
            self._search.start()
        return None

    def _find_and_open(self) -> None:
        """Open the chosen device if it is there, and keep it in `_found` once it asks for sound."""
        sd = devices.sounddevice()
        try:
            sd._terminate()  # PortAudio lists devices once; only this makes it look again
            sd._initialize()
            opened = self._open(*find_device(self._pattern))
        except (DeviceError, sd.PortAudioError) as error:
            log.debug("%s", error)
            return
        started_s = time.perf_counter()  # what was asked for until now only filled its buffer
        while self._called_s < started_s:
            if time.perf_counter() > started_s + STARTING_S:
                opened.stream.close()
                return
            time.sleep(THREAD_PERIOD_S)
        self._found = opened

    def _close_stream(self) -> None:
        stream, self._stream, self.device = self._stream, None, None
        self._driver = None
        self.stuck |= stream is not None and devices.close_stream(stream)

    def _start_thread(self) -> None:
        driver = object()
        self._driver = driver
        self.player.mute_until_ramped()
        self._thread = threading.Thread(target=self._run_thread, args=(driver,), name="sound-clock", daemon=True)
        self._thread.start()

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
