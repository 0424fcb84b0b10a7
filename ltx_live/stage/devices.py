"""Sound devices, in and out: the library, how one is named, and how a stream of a dead one is closed."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

from ltx_live.errors import DeviceError

CLOSE_S = 1.0


class NoLibrary(DeviceError):
    """PortAudio is not installed."""


class Device(NamedTuple):
    """PortAudio's index, "name, host API", whether it is the default, and how many channels it has."""

    index: int
    name: str
    is_default: bool
    num_channels: int


def sounddevice() -> ModuleType:
    """The sounddevice module; raises NoLibrary when the PortAudio library is missing."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise NoLibrary(
            f"sound: {error}; install it (Debian/Ubuntu: apt-get install libportaudio2, macOS: brew install portaudio)"
            " or play with --audio none"
        ) from None
    return sounddevice


def devices(direction: str, least_channels: int) -> list[Device]:
    """Those for "input" or "output" with so many channels; raises NoLibrary without PortAudio."""
    sd = sounddevice()
    apis = sd.query_hostapis()
    default = sd.default.device[("input", "output").index(direction)]
    channels = f"max_{direction}_channels"
    return [
        Device(row["index"], f"{row['name']}, {apis[row['hostapi']]['name']}", row["index"] == default, row[channels])
        for row in sd.query_devices()
        if row[channels] >= least_channels
    ]


def list_anew() -> None:
    """Have PortAudio look for devices again, which it does only when it begins; every stream must be closed.

    Raises DeviceError where it cannot.
    """
    sd = sounddevice()
    try:
        sd._terminate()
        sd._initialize()
    except sd.PortAudioError as error:
        raise DeviceError(f"sound: {error}") from None


def choose(found: Sequence[Device], pattern: str) -> Device | None:
    """The device for an index, a name or a part of it (`*` allowed, case does not count); "" = default.

    A whole name wins over a part.
    """
    wanted = pattern.strip().lower()
    rules = (
        lambda device, name: device.is_default if not wanted else wanted == str(device.index),
        lambda device, name: wanted in (name, name.rpartition(",")[0]),
        lambda device, name: fnmatch.fnmatchcase(name, f"*{wanted}*"),
    )
    return next((each for rule in rules for each in found if rule(each, each.name.lower())), None)


def close_stream(stream: Any) -> bool:
    """Close a stream in a thread of its own, since a dead JACK server never returns from it; whether that hangs."""
    closing = threading.Thread(target=stream.close, name="close-sound", daemon=True)
    closing.start()
    closing.join(CLOSE_S)
    return closing.is_alive()
