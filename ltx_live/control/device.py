"""What is known of a controller: its controls, its lights, and the messages that make it ready."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ltx_live.control.binding import Control

SYSTEMS = ("linux", "macos", "windows")
SENDS = ("note", "cc", "pitchbend", "sysex")
STATES = ("off", "dim", "on", "pending", "error")
"""What a light tells: nothing there, there, in force, asked for and not yet seen, could not be done."""

_STATUS = {"note": 0x90, "cc": 0xB0, "pitchbend": 0xE0}  # MIDI 1.0, channel voice messages


@dataclass(frozen=True, slots=True)
class Led:
    """The light of a control, or its motor: what to send for a state or colour.

    `values` are numbers by state or colour, `channels` (1..16) by state where they are not `channel`. A SysEx is
    `template`, bytes with the words index and value in it. `level` are the two ends for what follows a value: a ring, a
    motor fader.
    """

    control: Control
    send: str
    channel: int
    number: int
    values: Mapping[str, int]
    channels: Mapping[str, int]
    template: tuple[int | str, ...] = ()
    level: tuple[int, int] | None = None

    @property
    def blinks(self) -> bool:
        """Whether the hardware shows `pending` in a way of its own; else the light is turned on and off from here."""
        return "pending" in self.values

    def message(self, look: str) -> bytes:
        """The bytes for a state or a colour; a state it does not have is off."""
        value = self.values.get(look, self.values["off"])
        return self._bytes(value, self.channels.get(look, self.channels.get("on", self.channel)))

    def level_message(self, place: float) -> bytes:
        """The bytes for a value's place in its range, 0..1."""
        low, high = self.level
        return self._bytes(round(low + place * (high - low)), self.channel)

    def _bytes(self, value: int, channel: int) -> bytes:
        if self.send == "sysex":
            words = {"index": self.number, "value": value}
            return bytes(words.get(part, part) for part in self.template)
        status = _STATUS[self.send] | (channel - 1)
        if self.send == "pitchbend":
            return bytes((status, value & 127, value >> 7))
        return bytes((status, self.number, value))


@dataclass(frozen=True, slots=True)
class Feedback:
    """A light that shows another value than its control sets: `looks` are states or colours by the value's word."""

    control: Control
    source: str
    looks: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Device:
    """The facts of a controller: `inputs` are globs of the port it plays by, `index` which of equal ones (from 1; None
    = any), `outputs` globs of the port its lights are reached by, `systems` where this is so (none = everywhere).
    `init` and `exit` are the messages for when it is found and left, `delay_s` apart."""

    name: str
    inputs: tuple[str, ...] = ()
    index: int | None = None
    outputs: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    controls: tuple[Control, ...] = ()
    leds: tuple[Led, ...] = ()
    init: tuple[bytes, ...] = ()
    exit: tuple[bytes, ...] = ()
    delay_s: float = 0.0

    def led_of(self, control: Control) -> Led | None:
        """The light of a control."""
        return next((led for led in self.leds if led.control == control), None)


def system_of(platform: str = sys.platform) -> str:
    """The word for an operating system in `match.os`, of Python's name for it."""
    return {"darwin": "macos", "win32": "windows"}.get(platform, platform)


def look_of(value: Any, looks: Mapping[str, str]) -> str | None:
    """The look that is given for a value: by its word (`driving`), its number (`1`), or `*` for any other."""
    words = (
        [str(int(value))]
        if isinstance(value, bool)
        else [str(value), f"{value:g}"]
        if isinstance(value, float)
        else [str(value)]
    )
    return next((looks[word] for word in (*words, "*") if word in looks), None)
