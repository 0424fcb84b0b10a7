"""MIDI input through mido and python-rtmidi: ports found by name, watched for plugging, messages turned into events."""

from __future__ import annotations

import fnmatch
import queue
import re
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import mido

from ltx_live.control.event import NOTICE, Event, Origin, Transaction, guard
from ltx_live.errors import DeviceError

OFF = "none"
POLL_S = 1.0
COME, GONE, LIGHTS = "/port/come", "/port/gone", "/port/lights"
"""An input port was opened or has gone; its controller's lights can be reached. The argument is the port's name."""

NO_MIDI = (OSError, ValueError)
"""What rtmidi raises (its SystemError is an OSError) where there is no MIDI system, or a port cannot be opened."""

CLOCK = "/clock/"
"""Root of a MIDI clock's events, which are for the tempo alone: `/clock/` + tick, start, stop or continue."""

TICKS_PER_EVENT = 6  # a sixteenth: 8 events a second at 120 bpm instead of 48; they carry the time of every tick
_CLOCK_WORDS = {"clock": "tick", "start": "start", "stop": "stop", "continue": "continue"}
_SELF_CONNECTED = ("Midi Through*", "RtMidi*", "ltx_live*")


class MidiReceiver:
    """Puts every message of the chosen ports on the queue, as `/midi/<port>/<kind>/<channel>[/<number>]` and a value.

    A clock comes as `/clock/<word>` and the times of arrival (`time.perf_counter`), six ticks at once; the port is in
    the origin.
    `pattern` chooses the ports: "" = all, "none" = no MIDI, else a name or glob, `#2` for the second that fits. What
    the performer should know (no MIDI system, no device, plugged in or out) comes as a notice, once.
    """

    def __init__(self, target: queue.SimpleQueue[Transaction], pattern: str = "", poll_s: float = POLL_S):
        self._target = target
        self._pattern = pattern
        self._poll_s = poll_s
        self._ports: dict[str, tuple[str, mido.ports.BaseInput]] = {}  # by cleaned name: full name and port
        self._ticks: dict[str, list[float]] = {}
        self._told: set[str] = set()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="midi", daemon=True)
        self.num_bad = 0

    def start(self) -> None:
        """Begin to look for ports and to receive."""
        if self._pattern != OFF:
            self._thread.start()

    def close(self) -> None:
        """Close every port; not waited for longer than a second, because a MIDI system may hang."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def inject(self, data: bytes, port: str) -> None:
        """Receive raw bytes as if they came from the named port."""
        parser = mido.Parser()
        parser.feed(data)
        for message in parser:
            self._receive(message, port)

    def _run(self) -> None:
        """Watch the ports; RtMidi tells of neither plugging nor unplugging."""
        probe = None
        while not self._closed.is_set():
            try:
                probe = probe or open_probe()
                names = probe.get_ports()
            except ImportError:
                self._tell("MIDI is off: python-rtmidi is missing; pip install 'ltx-live[midi]'")
                return
            except NO_MIDI as error:  # closing ports now would crash (JACK)
                self._tell(f"MIDI is off: this machine has no MIDI system ({error})")
                return
            self._update(names)
            self._closed.wait(self._poll_s)
        for _, port in self._ports.values():
            port.close()

    def _update(self, names: Sequence[str]) -> None:
        """Open what has come and close what has gone."""
        unique = unique_names(names)
        wanted = choose_ports(list(unique), self._pattern)
        for port, full_name in [(port, full_name) for port, (full_name, _) in self._ports.items()]:
            if unique.get(port) != full_name:  # a port that was plugged in again quickly has another number
                self._ports.pop(port)[1].close()
                self._put(GONE, port)
                self._notice(f"MIDI: {port} is gone; plug it in again at any time")
        for port in [port for port in wanted if port not in self._ports]:
            self._open(port, unique[port])
        if not self._ports:
            have = f"; there are {', '.join(unique)}" if unique else ""
            which = f"no port fits '{self._pattern}'{have}" if self._pattern else "no device found"
            self._tell(f"MIDI: {which}; plug one in at any time")

    def _open(self, port: str, full_name: str) -> None:
        def callback(message: mido.Message) -> None:
            if not guard(self._receive, message, port):
                self.num_bad += 1

        try:
            self._ports[port] = full_name, mido.open_input(full_name, callback=callback)
        except NO_MIDI as error:
            self._tell(f"MIDI: cannot open {port} ({error}); does another program hold it?")
        else:
            self._put(COME, port)
            self._notice(f"MIDI: listening to {port}")

    def _receive(self, message: mido.Message, port: str) -> None:
        now_s = time.perf_counter()
        if message.type in _CLOCK_WORDS:
            self._receive_clock(_CLOCK_WORDS[message.type], port, now_s)
            return
        event = message_event(message, port, now_s)
        if event is not None:
            self._target.put((event,))

    def _receive_clock(self, word: str, port: str, now_s: float) -> None:
        """Gather ticks; what else a clock says follows the ticks before it."""
        ticks = self._ticks.setdefault(port, [])
        if word == "tick":
            ticks.append(now_s)
        if len(ticks) >= TICKS_PER_EVENT or (ticks and word != "tick"):
            self._target.put((Event(f"{CLOCK}tick", tuple(ticks), Origin("midi", port), now_s),))
            ticks.clear()
        if word != "tick":
            self._target.put((Event(CLOCK + word, (now_s,), Origin("midi", port), now_s),))

    def _tell(self, text: str) -> None:
        """A notice that is given only once."""
        if text not in self._told:
            self._told.add(text)
            self._notice(text)

    def _notice(self, text: str) -> None:
        self._target.put((Event(NOTICE, (text,), Origin("midi"), time.perf_counter()),))

    def _put(self, address: str, port: str) -> None:
        self._target.put((Event(address, (port,), Origin("midi", port), time.perf_counter()),))


def message_event(message: mido.Message, port: str, time_s: float) -> Event | None:
    """The event of a mido message; None for what is no control (active sensing, SysEx). Channels count from 1.

    Values are as on the wire: 0..127, a bend 0..16383, a released note 0.
    """
    kinds = {
        "control_change": lambda m: ("cc", m.control, m.value),
        "note_on": lambda m: ("note", m.note, m.velocity),
        "note_off": lambda m: ("note", m.note, 0),
        "pitchwheel": lambda m: ("pitchbend", None, m.pitch + 8192),
        "program_change": lambda m: ("program", None, m.program),
        "aftertouch": lambda m: ("aftertouch", None, m.value),
        "polytouch": lambda m: ("polytouch", m.note, m.value),
    }
    if message.type not in kinds:
        return None
    kind, number, value = kinds[message.type](message)
    place = [str(message.channel + 1), *([] if number is None else [str(number)])]
    address = "/".join(["/midi", port_id(port), kind, *place])
    return Event(address, (value,), Origin("midi", port), time_s)


def port_id(port: str) -> str:
    """A port's name as one element of an address."""
    return re.sub(r"[^A-Za-z0-9#.-]+", "_", port).strip("_") or "port"


def clean_name(name: str) -> str:
    """A port's name without the numbers that change at every plugging (ALSA `20:0`, the Windows index)."""
    name = re.sub(r"\s+\d+:\d+$", "", name)
    return re.sub(r"\s+\d+$", "", name) if sys.platform == "win32" else name


def unique_names(names: Iterable[str]) -> dict[str, str]:
    """Full names by cleaned name; equal ones get `#2`, `#3`."""
    unique: dict[str, str] = {}
    counts: dict[str, int] = {}
    for full in names:
        name = clean_name(full)
        counts[name] = counts.get(name, 0) + 1
        unique[name if counts[name] == 1 else f"{name}#{counts[name]}"] = full
    return unique


def numbered(port: str) -> tuple[str, int]:
    """A unique name as the system's name and the place among equal ones: `Pad#2` is (Pad, 2), `Pad` is (Pad, 1)."""
    match = re.fullmatch(r"(.+)#([2-9]|[1-9]\d{1,3})", port)
    return (match[1], int(match[2])) if match else (port, 1)


def is_like(port: str, glob: str) -> bool:
    """Whether a port's name fits a glob, upper and lower case alike."""
    return fnmatch.fnmatchcase(port.lower(), glob.lower())


def choose_ports(names: Sequence[str], pattern: str) -> list[str]:
    """The cleaned names that a pattern means, upper and lower case alike: equal, else by glob, else holding it.

    `name#2` is the second that fits. An empty pattern means all but loop-back ports.
    """
    if not pattern:
        return [name for name in names if not any(fnmatch.fnmatchcase(name, loop) for loop in _SELF_CONNECTED)]
    base, _, ordinal = pattern.lower().partition("#")
    levels = [
        [name for name in names if name.lower() == pattern.lower()],
        [name for name in names if fnmatch.fnmatchcase(name.lower().partition("#")[0], base)],
        [name for name in names if base in name.lower()],
    ]
    found = next((level for level in levels if level), [])
    if ordinal.isdecimal() and not levels[0]:
        return found[int(ordinal) - 1 : int(ordinal)]
    return found


def open_probe(output: bool = False) -> Any:
    """A client of the MIDI system for `get_ports()`, of the backend that mido opens ports with (MIDO_BACKEND).

    mido.get_input_names makes two clients at every call, which holds the interpreter for 0.1 s on JACK: sound breaks.
    """
    import rtmidi

    api = getattr(rtmidi, f"API_{mido.backend.api or 'UNSPECIFIED'}")
    return (rtmidi.MidiOut if output else rtmidi.MidiIn)(api, name="ltx_live ports")


def list_inputs() -> list[str]:
    """The names of the MIDI inputs as `--midi` takes them; raises DeviceError without a MIDI system."""
    try:
        return list(unique_names(open_probe().get_ports()))
    except ImportError:
        raise DeviceError("python-rtmidi is missing; pip install 'ltx-live[midi]'") from None
    except NO_MIDI as error:
        raise DeviceError(f"this machine has no MIDI system ({error})") from None
