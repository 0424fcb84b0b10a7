"""Reads mapping files and device files (TOML); every fault is one line with file, line and what to do."""

from __future__ import annotations

import difflib
import re
from importlib import resources
from pathlib import Path
from typing import Any

from ltx_live import params
from ltx_live.control.mapping import ACTIONS, CURVES, KINDS, TAKEOVERS, Binding, Control, Mapping
from ltx_live.control.registry import full_range
from ltx_live.control.toml_source import Keys, Source, read
from ltx_live.errors import ConfigError, ParameterError

DEFAULT = "default"

_NUMBER = (int, float)
_CHOICES = {"kind": KINDS, "action": ACTIONS, "unit": ("real", "norm"), "curve": tuple(CURVES), "takeover": TAKEOVERS}
_MAPPING = Keys({"schema": (int,), "name": (str,), "device": (str,), "match": (dict,), "bind": (list,)})
_DEVICE = Keys({"schema": (int,), "name": (str,), "match": (dict,), "control": (list,)})
_MATCH = Keys({"input": (list,)})
_CONTROL = Keys(
    {"id": (str,), "kind": (str,), "channel": (int, str), "number": (int, str)}, _CHOICES, required=("id", "kind")
)
_BIND = Keys(
    {
        "control": (str,), "to": (str,), "action": (str,), "range": (list,), "unit": (str,), "curve": (str,),
        "invert": (bool,), "takeover": (str,), "step": _NUMBER,
    },
    _CHOICES,
    required=("control", "to"),
)  # fmt: skip
_SPAN = re.compile(r"\{(\d+)\.\.(\d+)\}")


def load_mappings(chosen: str, home: Path) -> tuple[Mapping, ...]:
    """The mappings of a show, in the order in which they are tried for a port.

    A chosen name or file stands alone and serves every port. `default` means: each controller by the mapping that has
    its device, any other by `default.toml`. Looked for in `home/mappings`, the package, the repository; the first file
    of a name wins. Raises ConfigError.
    """
    folders = mapping_folders(home)
    if chosen != DEFAULT:
        mapping = load_mapping(_find(chosen, folders), folders)
        return (Mapping(mapping.name, (), mapping.bindings),)
    paths = {path.stem: path for folder in reversed(folders) for path in sorted(folder.glob("*.toml"))}
    default = paths.pop(DEFAULT, None)
    mappings = [load_mapping(path, folders) for _, path in sorted(paths.items())]
    own = [mapping for mapping in mappings if mapping.inputs]
    return (*own, *([load_mapping(default, folders)] if default else []))


def mapping_folders(home: Path) -> list[Path]:
    """Where mapping files are looked for, first wins."""
    package = Path(str(resources.files("ltx_live")))
    folders = [home / "mappings", package / "mappings"]
    if (package.parent / "pyproject.toml").is_file():  # in the repository; the wheel has them in the package
        folders.append(package.parent / "mappings")
    return [folder for folder in folders if folder.is_dir()]


def load_mapping(path: Path, folders: list[Path]) -> Mapping:
    """One mapping file with the device it names; raises ConfigError."""
    source = _read(path)
    table = source.table
    source.check(_MAPPING, table, "mapping", where="")
    inputs, controls = _match(source), {}
    if "device" in table:
        device = _read(_find(table["device"], [folder / "devices" for folder in folders]))
        device.check(_DEVICE, device.table, "device", where="")
        inputs = inputs or _match(device)
        controls = _device_controls(device)
    bindings: list[Binding] = []
    for index, bind in enumerate(table.get("bind", [])):
        source.check(_BIND, bind, "bind", index)
        bindings += _bindings(source, index, bind, controls)
    return Mapping(table.get("name", path.stem), inputs, tuple(bindings))


def _find(name: str, folders: list[Path]) -> Path:
    path = Path(name).expanduser()
    if path.suffix == ".toml" and path.is_file():
        return path
    for folder in folders:
        if (folder / f"{path.stem}.toml").is_file() and path.name in (path.stem, f"{path.stem}.toml"):
            return folder / f"{path.stem}.toml"
    known = sorted({found.stem for folder in folders for found in folder.glob("*.toml")})
    raise ConfigError(f"mapping {name}: no such file; there are {', '.join(known) or 'none'}")


def _read(path: Path) -> Source:
    source = read(path)
    source.check_schema()
    return source


def _match(source: Source) -> tuple[str, ...]:
    match = source.table.get("match", {})
    source.check(_MATCH, match, "match")
    inputs = match.get("input", [])
    if not all(isinstance(item, str) for item in inputs):
        raise source.error(f"input = {inputs!r} must be a list of port names", "match", 0, "input")
    return tuple(inputs)


def _device_controls(source: Source) -> dict[str, Control]:
    controls: dict[str, Control] = {}
    keys: dict[tuple, str] = {}
    for index, table in enumerate(source.table.get("control", [])):
        source.check(_CONTROL, table, "control", index)
        ids = _spans(table["id"])
        numbers = _numbers(table.get("number"), len(ids))
        channel = table.get("channel", 1)
        if numbers is None or (channel != "any" and channel not in range(1, 17)):
            raise source.error(f"{table['id']}: wants {len(ids)} numbers 0..127 and a channel 1..16", "control", index)
        for control_id, number in zip(ids, numbers, strict=True):
            control = Control(control_id, table["kind"], None if channel == "any" else channel, number)
            if control_id in controls or control.key in keys:
                other = keys.get(control.key, control_id)
                raise source.error(f"{control_id} is the same control as {other}", "control", index, "id")
            controls[control_id] = control
            keys[control.key] = control_id
    return controls


def _numbers(value: int | str | None, count: int) -> list[int | None] | None:
    """The numbers of a [[control]]: one, a range such as "0..7", or none for kinds that have none."""
    if value is None:
        return [None] * count
    span = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", str(value))
    numbers = list(range(int(span[1]), int(span[2] or span[1]) + 1)) if span else []
    return numbers if len(numbers) == count and all(0 <= number <= 127 for number in numbers) else None


def _spans(text: str) -> list[str]:
    """A text with one `{1..8}` written out, or the text itself."""
    span = _SPAN.search(text)
    if not span:
        return [text]
    return [text[: span.start()] + str(i) + text[span.end() :] for i in range(int(span[1]), int(span[2]) + 1)]


def _bindings(source: Source, index: int, bind: dict[str, Any], controls: dict[str, Control]) -> list[Binding]:
    froms, tos = _spans(bind["control"]), _spans(bind["to"].removeprefix("/ltx/"))
    if len(tos) == 1:
        tos = tos * len(froms)
    if len(froms) != len(tos):
        problem = f"{len(froms)} controls cannot go to {len(tos)} parameters; make both ranges equally long"
        raise source.error(problem, "bind", index, "to")
    bindings = []
    for control_id, to in zip(froms, tos, strict=True):
        control = controls.get(control_id) or _generic_control(control_id)
        if control is None:
            near = difflib.get_close_matches(control_id, controls, n=1)
            hint = f"did you mean {near[0]}?" if near else "write an id of the device, or kind:channel:number (cc:1:7)"
            raise source.error(f"unknown control {control_id}; {hint}", "bind", index, "control")
        bindings.append(_binding(source, index, bind, (control, to)))
    return bindings


def _generic_control(text: str) -> Control | None:
    """A control without a device: `cc:1:7`, `note:any:36`, `program:any`."""
    kind, *rest = text.split(":")
    places = [None if part == "any" else int(part) if part.isdecimal() else -1 for part in rest]
    if kind not in KINDS or len(places) != (2 if kind in ("cc", "note", "polytouch") else 1):
        return None
    channel, number = places[0], places[1] if len(places) > 1 else None
    if channel not in (None, *range(1, 17)) or number not in (None, *range(128)):
        return None
    return Control(text, kind, channel, number)


def _binding(source: Source, index: int, bind: dict[str, Any], pair: tuple[Control, str]) -> Binding:
    control, to = pair
    try:
        row = params.find(to)
    except ParameterError as error:
        raise source.error(str(error), "bind", index, "to") from None
    action = bind.get("action", "trigger" if row.kind == "trigger" else "set")
    whole = full_range(row)
    fits = {"trigger": row.kind == "trigger", "toggle": row.kind == "bool"}.get(action, whole is not None)
    if not fits:
        problem = f"action {action} cannot go to {to} ({row.kind}, {row.range_text})"
        raise source.error(problem, "bind", index, "action" if "action" in bind else "to")
    whole = whole or (0, 1)
    low, high = _range(source, index, bind, whole)
    step = bind.get("step", 1 if row.kind in ("int", "enum") else (whole[1] - whole[0]) / 20)
    more = {key: bind[key] for key in ("curve", "invert", "takeover") if key in bind}
    return Binding(control, to, action, low, high, step=step, **more)


def _range(source: Source, index: int, bind: dict[str, Any], whole: tuple[float, float]) -> tuple[float, float]:
    """Low and high in the parameter's own unit."""
    ends = bind.get("range", [0, 1] if bind.get("unit") == "norm" else list(whole))
    numbers = all(isinstance(end, _NUMBER) and not isinstance(end, bool) for end in ends)
    if len(ends) != 2 or not numbers or ends[0] == ends[1]:
        raise source.error(f"range = {ends} must be two different numbers", "bind", index, "range")
    if bind.get("unit") == "norm":
        return whole[0] + ends[0] * (whole[1] - whole[0]), whole[0] + ends[1] * (whole[1] - whole[0])
    return ends[0], ends[1]
