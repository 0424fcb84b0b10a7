"""The sound device: opens it, calls the player from its callback, and goes on with a thread while there is none."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
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
SILENT = "sound: none, the clock is the computer's"


def list_devices() -> list[tuple[int, str, bool]]:
    """Output devices as (index, "name, host API", is the default); raises DeviceError without PortAudio."""
    return [(each.index, each.name, each.is_default) for each in devices.devices("output", 2)]


def find_device(pattern: str, asked_by: str = "--audio") -> tuple[int, str]:
    """The output device that `devices.choose` takes for a pattern; `asked_by` is where it was written.

    Raises DeviceError when nothing matches, with the names there are.
    """
    found = devices.devices("output", 2)
    device = devices.choose(found, pattern)
    if device is None:
        names = "; ".join(f"{each.index} {each.name}" for each in found) or "there is no sound device"
        raise DeviceError(f"{asked_by} {pattern or 'default'}: no such output; choose one of: {names}; or none")
    return device.index, device.name


@dataclass(eq=False, slots=True)
class _Driver:
    """Who may call the player. `called_s` is when the device asked last, `is_rendering` that it is being answered."""

    called_s: float = 0.0
    is_rendering: bool = False


@dataclass(frozen=True, slots=True)
class _Opened:
    """A stream that runs; its callback hands out silence until `driver` is the output's driver."""

    stream: Any
    name: str
    driver: _Driver
    pattern: str


class AudioOutput:
    """Plays through a device, or silently through a thread at the same pace.

    The show's thread sets `playlist`, `target_gain` and `target_speed` of `player`, reads `position`, and calls `check`
    every tick. `device` is the name of what is open, None when the thread plays. A device that was lost, or the
    default one when there was none at the start, is looked for every RETRY_S, beside the show, and plays as soon as it
    is there.
    `pattern` says which device is meant: the one that plays, or the one that `change` has asked for.
    """

    def __init__(self, pattern: str = "") -> None:
        self.player = Player()
        self.device: str | None = None
        self.stuck = False
        self._pattern = pattern
        self._clock = PlayClock()
        self._stream: Any = None
        self._driver: _Driver | None = None
        self._thread: threading.Thread | None = None
        self._search: threading.Thread | None = None
        self._lists_anew = False  # the search under way
        self._closing: threading.Thread | None = None
        self._wish: str | None = None
        self._refusal = ""
        self._found: _Opened | None = None
        self._search_at_s: float | None = None
        self._opened_s = 0.0

    @property
    def pattern(self) -> str:
        return self._pattern if self._wish is None else self._wish

    def change(self, pattern: str) -> None:
        """Play through another device once it asks for sound; until then the present one plays on.

        It stays where the other one cannot be opened: `check` tells, and `pattern` is the old one again.
        """
        if pattern != self.pattern:
            self._wish = pattern

    def restart(self) -> str:
        """Look for devices anew, which ends every stream, and open the one that is meant; the line to show."""
        if self._stream is not None:
            self._retire()
            self._start_thread()
        self._search_at_s = time.perf_counter() + ABOUT_S
        return "looking for sound devices anew"

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
        if self._found is not None:
            self._use(self._found)
            return self._told()
        if self._refusal:
            line, self._refusal = self._refusal, ""
            return line
        if self._wish is not None and not self._is_searching:
            return self._begin_change(self._wish)
        if self._stream is None:
            self._look_again()
            return None
        alive_until_s = max(self._driver.called_s + SILENT_S, self._opened_s + STARTING_S)
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
        is_due = self._search_at_s is not None and time.perf_counter() >= self._search_at_s - ABOUT_S
        return (self._is_searching and self._lists_anew) or is_due

    @property
    def _is_searching(self) -> bool:
        return self._search is not None and self._search.is_alive()

    def position(self, now_s: float | None = None) -> float:
        """Media position that is heard now, in samples."""
        return self._clock.position(self.player.published, time.perf_counter() if now_s is None else now_s)

    def close(self) -> None:
        """Stop. A dead device that cannot be closed is abandoned: `stuck` is true, and the process needs os._exit."""
        self._search_at_s = None
        if self._search is not None:
            self._search.join(STARTING_S + devices.CLOSE_S)
            self.stuck |= self._search.is_alive()
        if self._found is not None:
            self._use(self._found)
        self._close_stream()
        if self._closing is not None:
            self._closing.join(2 * devices.CLOSE_S)
        self._driver = None

    def _start(self) -> str:
        if self._pattern.lower() == NO_DEVICE:
            self._start_thread()
            return SILENT
        self._use(self._open(self._pattern, *find_device(self._pattern)))
        return self._told()

    def _told(self) -> str:
        return f"sound: {self.device}, {self._stream.latency * 1000:.0f} ms"

    def _open(self, pattern: str, index: int, name: str) -> _Opened:
        sd = devices.sounddevice()
        driver = _Driver()

        def callback(out: np.ndarray, num_frames: int, times: Any, status: Any) -> None:
            driver.called_s = now_s = time.perf_counter()
            driver.is_rendering = True  # before it is looked whether it may
            if self._driver is driver:
                self.player.render(out, now_s + latency.update(times.outputBufferDacTime - times.currentTime))
            else:
                out.fill(0.0)
            driver.is_rendering = False

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
        return _Opened(stream, name, driver, pattern)

    def _use(self, opened: _Opened) -> None:
        """Let a stream play from its next block on, after the last one of the thread or of another stream."""
        self._found = self._search_at_s = None
        self._retire()
        if self._thread is not None:
            self._thread.join(SILENT_S)  # it ends within a block of 10 ms
            self._thread = None
        self._pattern = opened.pattern
        self._wish = None if self._wish == opened.pattern else self._wish
        self.player.mute_until_ramped()
        self._stream, self.device = opened.stream, opened.name
        self._opened_s = time.perf_counter()
        self._driver = opened.driver

    def _retire(self) -> None:
        """The stream that plays renders no more; it is closed beside the show."""
        driver, stream = self._driver, self._stream
        self._driver = self._stream = self.device = None
        if stream is None:
            return
        until_s = time.perf_counter() + THREAD_PERIOD_S
        while driver.is_rendering and time.perf_counter() < until_s:
            time.sleep(0.001)
        self._closing = threading.Thread(target=self._close, args=(stream,), name="retire-sound", daemon=True)
        self._closing.start()

    def _close(self, stream: Any) -> None:
        self.stuck |= devices.close_stream(stream)

    def _begin_change(self, pattern: str) -> str | None:
        """Look for the device that is wished for; the line to show where none is."""
        if pattern.lower() != NO_DEVICE:
            self._begin_search(self._try, pattern, lists_anew=False)
            return None
        self._pattern, self._wish, self._search_at_s = pattern, None, None
        if self._stream is not None:
            self._retire()
            self._start_thread()
        return SILENT

    def _look_again(self) -> None:
        """While a device is missing: look for it from time to time, in a thread because that takes a while."""
        if self._search_at_s is None or self._is_searching or time.perf_counter() < self._search_at_s:
            return
        is_silent = self._pattern.lower() == NO_DEVICE  # then the others are listed anew, and that is all
        self._search_at_s = None if is_silent else time.perf_counter() + RETRY_S
        self._begin_search(self._list_anew if is_silent else self._seek, self._pattern, lists_anew=True)

    def _begin_search(self, search: Callable[[str], None], pattern: str, lists_anew: bool) -> None:
        self._lists_anew = lists_anew
        self._search = threading.Thread(target=search, args=(pattern,), name="find-sound", daemon=True)
        self._search.start()

    def _try(self, pattern: str) -> None:
        """In a thread: open the device that is wished for, or say why not."""
        try:
            index, name = find_device(pattern, "/ltx/audio/device")
            if name != self.device:
                self._found = self._sounding(self._open(pattern, index, name))
                return
            self._pattern = pattern
        except DeviceError as error:
            self._refusal = f"{error}; the sound stays as it was"
        self._wish = None if self._wish == pattern else self._wish

    def _seek(self, pattern: str) -> None:
        """In a thread: open the device that is missing, if it is there now."""
        try:
            self._list_anew(pattern)
            self._found = self._sounding(self._open(pattern, *find_device(pattern)))
        except DeviceError as error:
            log.debug("%s", error)

    def _list_anew(self, pattern: str) -> None:
        """In a thread: PortAudio lists devices once, and only this makes it look again. Raises DeviceError."""
        if self._closing is not None:
            self._closing.join(2 * devices.CLOSE_S)
        if self.stuck:
            raise DeviceError("a sound device hangs: for others, start the show anew")
        devices.list_anew()

    def _sounding(self, opened: _Opened) -> _Opened:
        """The stream once it asks for sound; raises DeviceError where it does not."""
        started_s = time.perf_counter()  # what was asked for until now only filled its buffer
        while opened.driver.called_s < started_s:
            if time.perf_counter() > started_s + STARTING_S:
                opened.stream.close()
                raise DeviceError(f"sound device {opened.name} asks for no sound")
            time.sleep(THREAD_PERIOD_S)
        return opened

    def _close_stream(self) -> None:
        stream, self._stream, self.device = self._stream, None, None
        self._driver = None
        self.stuck |= stream is not None and devices.close_stream(stream)

    def _start_thread(self) -> None:
        driver = self._driver = _Driver()
        self.player.mute_until_ramped()
        self._thread = threading.Thread(target=self._run_thread, args=(driver,), name="sound-clock", daemon=True)
        self._thread.start()

    def _run_thread(self, driver: _Driver) -> None:
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
