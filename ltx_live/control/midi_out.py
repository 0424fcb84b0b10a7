"""MIDI output: finds the port that a controller's lights are reached by, makes the controller ready, sends."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import mido

from ltx_live.control.device import Device
from ltx_live.control.event import Event, Origin, Transaction
from ltx_live.control.midi import LIGHTS, NO_MIDI, OFF, POLL_S, is_like, numbered, open_probe, unique_names

_PACE_S = 0.001  # between messages: of 1000 sent back to back through JACK 688 arrived
_SHORTEST_WAIT_S = 0.05


@dataclass(slots=True)
class _Output:
    """What is wanted for an input port, and the port that was found for it."""

    device: Device
    full_name: str = ""
    port: mido.ports.BaseOutput | None = None


class MidiSender:
    """Sends from a thread of its own, because opening a port takes its time and controllers want pauses.

    `open` may come before the output port is there; when one has been opened, an event LIGHTS with the input port's
    name asks for everything to be sent. What is sent to a port that is not open is dropped.
    """

    def __init__(self, target: queue.SimpleQueue[Transaction], pattern: str = "", poll_s: float = POLL_S):
        self._target = target
        self._poll_s = poll_s
        self._off = pattern == OFF
        self._jobs: queue.SimpleQueue[tuple[str, str, Any]] = queue.SimpleQueue()
        self._outputs: dict[str, _Output] = {}
        self._probe: Any = None
        self._thread = threading.Thread(target=self._run, name="midi out", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        if not self._off:
            self._thread.start()

    def open(self, port: str, device: Device) -> None:
        """Look for the output of an input port from now on."""
        self._jobs.put(("open", port, device))

    def shut(self, port: str) -> None:
        """An input port is gone."""
        self._jobs.put(("shut", port, None))

    def send(self, port: str, messages: Iterable[bytes]) -> None:
        """Send messages to the controller of an input port."""
        self._jobs.put(("send", port, tuple(messages)))

    def close(self) -> None:
        """Leave every controller as its device file says; not waited for longer than two seconds."""
        if self._thread.is_alive():
            self._jobs.put(("close", "", None))
            self._thread.join(2.0)

    def _run(self) -> None:
        next_s = 0.0
        while True:
            try:
                job, port, what = self._jobs.get(timeout=max(_SHORTEST_WAIT_S, next_s - time.monotonic()))
            except queue.Empty:
                job, port, what = "look", "", None
            try:
                if job == "close":
                    self._close_all()
                    return
                self._obey(job, port, what)
                if job == "open" or time.monotonic() >= next_s:
                    self._look()
                    next_s = time.monotonic() + self._poll_s
            except NO_MIDI:  # the MIDI system has gone: closing ports now would crash (JACK)
                return

    def _obey(self, job: str, port: str, what: Any) -> None:
        match job:
            case "open":
                self._shut(self._outputs.pop(port, None))
                self._outputs[port] = _Output(what)
            case "shut":
                self._shut(self._outputs.pop(port, None))
            case "send" if port in self._outputs:
                self._send(self._outputs[port], what)

    def _look(self) -> None:
        """Open the outputs that are there now, and let go of those that are not."""
        waiting = [(port, output) for port, output in self._outputs.items() if output.device.leds or output.device.init]
        if not waiting:
            return
        self._probe = self._probe or open_probe(output=True)
        names = unique_names(self._probe.get_ports())
        for port, output in waiting:
            full_name = names.get(choose_output(list(names), port, output.device.outputs) or "", "")
            if full_name == output.full_name:
                continue
            self._shut(output)
            if full_name and self._open(output, full_name):
                self._target.put((Event(LIGHTS, (port,), Origin("midi", port), time.perf_counter()),))

    def _open(self, output: _Output, full_name: str) -> bool:
        try:
            output.port, output.full_name = mido.open_output(full_name), full_name
        except NO_MIDI:  # another program holds it: tried again at the next look
            return False
        self._send(output, output.device.init, output.device.delay_s)
        return True

    def _send(self, output: _Output, messages: Iterable[bytes], delay_s: float = _PACE_S) -> None:
        for data in messages if output.port is not None else ():
            output.port.send(mido.Message.from_bytes(data))
            time.sleep(delay_s)

    def _shut(self, output: _Output | None) -> None:
        if output is not None and output.port is not None:
            output.port.close()
            output.port, output.full_name = None, ""

    def _close_all(self) -> None:
        for output in self._outputs.values():
            off = [led.message("off") for led in output.device.leds if led.level is None]
            self._send(output, [*off, *output.device.exit])
            self._shut(output)


def choose_output(names: Sequence[str], port: str, globs: Sequence[str]) -> str | None:
    """The output for an input port, by cleaned names: the equal one, else of those that fit the globs the one with the
    input's own `#2`, else the first."""
    if port in names:
        return port
    fitting = [name for name in names if any(is_like(name, glob) for glob in globs)]
    _, ordinal = numbered(port)
    return fitting[ordinal - 1] if ordinal <= len(fitting) else None
