"""Reads what is known of controllers: the files in `mappings/devices/`, and the same tables in a mapping file."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

from ltx_live.control.binding import BUTTONS, KINDS, MOTIONS, NUMBERED, Control
from ltx_live.control.device import SENDS, STATES, SYSTEMS, Device, Led
from ltx_live.control.mapping_tables import read_file, spans, table, tables, texts
from ltx_live.control.toml_source import Keys, Source

_NUMBER_OR_NAME = (int, str)
MATCH = Keys({"input": (list,), "output": (list,), "index": (int,), "os": (str, list)}, {})
CONTROL = Keys(
    {"id": (str,), "kind": (str,), "channel": _NUMBER_OR_NAME, "number": _NUMBER_OR_NAME, "bits": (int,), "lsb": (int,),
     "motion": (str,), "button": (str,), "detent": (bool,), "motor": (bool,)},
    {"kind": KINDS, "motion": MOTIONS, "button": BUTTONS},
    ("id", "kind"),
)  # fmt: skip
LED = Keys(
    {"control": (str,), "send": (str,), "channel": (int,), "number": _NUMBER_OR_NAME, "message": (str,),
     "level": (list,), "colours": (dict,), "channels": (dict,), **dict.fromkeys(STATES, _NUMBER_OR_NAME)},
    {"send": SENDS},
    ("control", "send"),
)  # fmt: skip
MESSAGES = Keys({"messages": (list,), "delay_ms": (int, float)}, {})
DEVICE = Keys(
    {"schema": (int,), "name": (str,), "match": (dict,), "init": (dict,), "exit": (dict,), "control": (list,),
     "led": (list,)},
    {},
)  # fmt: skip
_MAX_NUMBER = {"nrpn": 16383}


def load_device(path: Path) -> Device:
    """One device file; raises ConfigError."""
    source = read_file(path)
    source.check(DEVICE, source.table, "device", where="")
    return read_device(source)


def read_device(source: Source, known: Device | None = None) -> Device:
    """The device tables of a file, in addition to what is known; own ports come in place of those known."""
    name = source.table.get("name", source.path.stem) if known is None else known.name
    known = known or Device(name)
    for kind, keys in (("match", MATCH), ("init", MESSAGES), ("exit", MESSAGES)):
        table(source, kind, keys)
    controls = _controls(source, known.controls)
    inputs = texts(source, "match", "input") or known.inputs
    index = _index(source, inputs)
    return Device(
        name=name,
        inputs=inputs,
        index=known.index if index is None and inputs == known.inputs else index,
        outputs=texts(source, "match", "output") or known.outputs or inputs,
        systems=_systems(source) or known.systems,
        controls=controls,
        leds=(*_leds(source, {control.id: control for control in controls}), *known.leds),
        init=_messages(source, "init") or known.init,
        exit=_messages(source, "exit") or known.exit,
        delay_s=source.table.get("init", {}).get("delay_ms", known.delay_s * 1000) / 1000,
    )


def _index(source: Source, inputs: tuple[str, ...]) -> int | None:
    """Which of several equal ports a file is for, from 1."""
    index = source.table.get("match", {}).get("index")
    if index is not None and index < 1:
        raise source.error(f"index = {index} must be 1 or more: 2 is the second of equal ports", "match", 0, "index")
    if index is not None and not inputs:
        raise source.error("index is for the ports of input, which is missing", "match", 0, "index")
    return index


def _systems(source: Source) -> tuple[str, ...]:
    """The systems that a file is for; none = all."""
    systems = texts(source, "match", "os", SYSTEMS)
    if not systems and "os" in source.table.get("match", {}):
        raise source.error(f"os names no system; write one or more of {', '.join(SYSTEMS)}", "match", 0, "os")
    return systems


def generic_control(text: str) -> Control | None:
    """A control without a device: `cc:1:7`, `note:any:36`, `program:any`, `cc:1:0:14`, `cc:1:16:rel_2c`."""
    kind, *rest = text.split(":")
    num_places = 2 if kind in NUMBERED else 1
    if kind not in KINDS or not num_places <= len(rest) <= num_places + 1:
        return None
    places = [None if part == "any" else int(part) if re.fullmatch(r"[0-9]{1,5}", part) else -1 for part in rest]
    channel, number = places[0], places[1] if num_places > 1 else None
    if channel not in (None, *range(1, 17)) or number not in (None, *range(_MAX_NUMBER.get(kind, 127) + 1)):
        return None
    more = {} if len(rest) == num_places else _nature(kind, number, rest[-1])
    return None if more is None else Control(text, kind, channel, number, **more)


def _nature(kind: str, number: int | None, word: str) -> dict[str, Any] | None:
    """What the last word of a generic control says."""
    if kind == "cc" and word == "14" and number is not None and number < 32:
        return {"bits": 14, "lsb": number + 32}
    if kind == "cc" and word in MOTIONS:
        return {"motion": word}
    if kind == "cc" and word in BUTTONS:
        return {"button": word}
    return None


def _controls(source: Source, known: tuple[Control, ...]) -> tuple[Control, ...]:
    """The named controls, no two with the same place; of a 14-bit one the lower half is a place, too."""
    controls = {control.id: control for control in known}
    places = {place: control.id for control in known for place in _places(control)}
    for index, entry in enumerate(tables(source, "control", CONTROL)):
        ids = spans(source, entry["id"], "control", index, "id")
        kind, channel = entry["kind"], entry.get("channel", 1)
        numbers = _numbers(entry.get("number"), len(ids), _MAX_NUMBER.get(kind, 127))
        if numbers is None or (kind in NUMBERED) != (numbers[0] is not None):
            wants = f"{len(ids)} numbers 0..{_MAX_NUMBER.get(kind, 127)}" if kind in NUMBERED else "no number"
            raise source.error(f"{entry['id']}: a {kind} wants {wants}", "control", index, "number")
        if channel != "any" and channel not in range(1, 17):
            problem = f'{entry["id"]}: channel = {channel!r} must be 1..16 or "any"'
            raise source.error(problem, "control", index, "channel")
        for control_id, number in zip(ids, numbers, strict=True):
            control = _control(source, index, entry, (control_id, None if channel == "any" else channel, number))
            for place in _places(control):
                if control_id in controls or place in places:
                    other = places.get(place, control_id)
                    raise source.error(f"{control_id} is the same control as {other}", "control", index, "id")
            controls[control_id] = control
            places |= dict.fromkeys(_places(control), control_id)
    return tuple(controls.values())


def _control(source: Source, index: int, entry: dict[str, Any], place: tuple[str, int | None, int | None]) -> Control:
    control_id, channel, number = place
    bits, lsb, motion = entry.get("bits", 7), entry.get("lsb"), entry.get("motion", "abs")
    if bits not in (7, 14):
        raise source.error(f"bits = {bits} must be 7 or 14", "control", index, "bits")
    if bits == 14 and entry["kind"] == "cc":
        lsb = number + 32 if lsb is None else lsb
        if not 0 <= lsb <= 127 or lsb == number:
            raise source.error(f"lsb = {lsb} must be another CC, 0..127", "control", index, "lsb")
    elif lsb is not None:
        raise source.error("lsb is for a cc with bits = 14", "control", index, "lsb")
    if entry["kind"] != "cc" and (motion != "abs" or entry.get("button", "none") != "none"):
        raise source.error(f"motion and button are for a cc, not a {entry['kind']}", "control", index, "kind")
    more = {key: entry[key] for key in ("button", "detent", "motor") if key in entry}
    return Control(control_id, entry["kind"], channel, number, bits, lsb, motion, **more)


def _places(control: Control) -> list[tuple]:
    halves = [] if control.lsb is None else [(control.kind, control.channel, control.lsb)]
    return [control.key, *halves]


def _numbers(value: int | str | None, count: int, top: int) -> list[int | None] | None:
    """The numbers of a [[control]]: one, a range such as "0..7", or none for kinds that have none."""
    if value is None:
        return [None] * count
    span = re.fullmatch(r"([0-9]{1,5})(?:\.\.([0-9]{1,5}))?", str(value))
    numbers = list(range(int(span[1]), int(span[2] or span[1]) + 1)) if span else []
    return numbers if len(numbers) == count and numbers[-1] <= top else None


def _leds(source: Source, controls: dict[str, Control]) -> list[Led]:
    leds: list[Led] = []
    for index, entry in enumerate(tables(source, "led", LED)):
        ids = spans(source, entry["control"], "led", index, "control")
        numbers = _numbers(entry.get("number"), len(ids), 127)
        if numbers is None:
            raise source.error(f"number must be {len(ids)} numbers 0..127", "led", index, "number")
        for control_id, number in zip(ids, numbers, strict=True):
            if control_id not in controls:
                near = difflib.get_close_matches(control_id, controls, n=1)
                hint = f"did you mean {near[0]}?" if near else "write the id of a [[control]]"
                raise source.error(f"unknown control {control_id}; {hint}", "led", index, "control")
            leds.append(_led(source, index, entry, (controls[control_id], number)))
    return leds


def _led(source: Source, index: int, entry: dict[str, Any], place: tuple[Control, int | None]) -> Led:
    control, number = place
    colours = entry.get("colours", {})
    values = {}
    for name, value in {**colours, **{state: entry[state] for state in STATES if state in entry}}.items():
        number_of = colours.get(value, value) if isinstance(value, str) else value
        if not isinstance(number_of, int) or not 0 <= number_of <= 127:
            raise source.error(f"{name} = {value!r} must be 0..127 or one of the colours", "led", index, name)
        values[name] = number_of
    channels, channel = entry.get("channels", {}), entry.get("channel", control.channel or 1)
    if not all(isinstance(each, int) and 1 <= each <= 16 for each in (channel, *channels.values())):
        raise source.error("channels must be 1..16", "led", index, "channels" if channels else "channel")
    level = entry.get("level")
    top = 16383 if entry["send"] == "pitchbend" else 127
    if level is not None and not (len(level) == 2 and all(isinstance(n, int) and 0 <= n <= top for n in level)):
        raise source.error(f"level = {level} must be two whole numbers 0..{top}", "led", index, "level")
    if level is None and not {"off", "on"} <= values.keys():
        raise source.error("off and on are missing", "led", index)
    number = control.number if number is None else number
    template = _template(source, index, entry)
    if number is None and entry["send"] != "pitchbend":
        raise source.error("number is missing", "led", index)
    return Led(control, entry["send"], channel, number or 0, values, channels, template, level and tuple(level))


def _template(source: Source, index: int, entry: dict[str, Any]) -> tuple[int | str, ...]:
    """The bytes of a SysEx with the words index and value in it; other lights have none."""
    if (entry["send"] == "sysex") != ("message" in entry):
        raise source.error('message is for send = "sysex", which needs one', "led", index, "message")
    parts = [part.strip("{}") for part in entry.get("message", "").split()]
    places = {"index": "0", "value": "0"}
    _sysex(source, " ".join(places.get(part, part) for part in parts), ("led", index, "message"))
    return tuple(part if part in places else int(part, 16) for part in parts)


def _messages(source: Source, kind: str) -> tuple[bytes, ...]:
    return tuple(_sysex(source, text, (kind, 0, "messages")) for text in texts(source, kind, "messages"))


def _sysex(source: Source, text: str, place: tuple[str, int, str]) -> bytes:
    """A complete MIDI message in hexadecimal."""
    try:
        data = bytes(int(part, 16) for part in text.split())
    except ValueError:
        data = b"\x00"
    is_sysex = data[:1] == b"\xf0" and data[-1:] == b"\xf7" and len(data) > 2
    is_short = len(data) in (2, 3) and 0x80 <= data[0] < 0xF0 and len(data) == (2 if 0xC0 <= data[0] < 0xE0 else 3)
    inside = data[1:-1] if is_sysex else data[1:]
    if data and (not (is_sysex or is_short) or any(byte > 127 for byte in inside)):
        raise source.error(f"'{text}' is no MIDI message; write hexadecimal bytes such as F0 7E 7F 06 01 F7", *place)
    return data
