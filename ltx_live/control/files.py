"""Reads mapping files (TOML); every fault is one line with file, line and what to do."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from ltx_live import __version__
from ltx_live.control import bind_table
from ltx_live.control.bind_table import BIND, Page, Place
from ltx_live.control.binding import KINDS, Binding, Control, Options
from ltx_live.control.clock import Clock
from ltx_live.control.device import Device, Feedback, system_of
from ltx_live.control.device_files import CONTROL, LED, MATCH, MESSAGES, generic_control, load_device, read_device
from ltx_live.control.mapping import Mapping
from ltx_live.control.mapping_tables import NUMBER, find_file, read_file, spans, table, tables, texts
from ltx_live.control.toml_source import Keys, Source
from ltx_live.errors import ConfigError

DEFAULT = "default"
SAVED = "saved"
"""The folder in `home/mappings` of those saved under a name of the performer's: played only when they are chosen."""

MAPPING = Keys(
    {"schema": (int,), "name": (str,), "device": (str,), "extends": (str,), "requires": (str,), "match": (dict,),
     "init": (dict,), "exit": (dict,), "control": (list,), "led": (list,), "bind": (list,), "feedback": (list,),
     "clock": (dict,), "options": (dict,)},
    {},
)  # fmt: skip
FEEDBACK = Keys({"control": (str,), "from": (str,), "map": (dict,)}, {}, ("control",))
CLOCK = Keys({"input": (str, list), "use": (bool,), "start_resync": (bool,)}, {})
OPTIONS = Keys({"pickup_threshold": NUMBER, "rate_hz": NUMBER, "learn_ignores": (list,)}, {})
MESSAGE_KINDS = ("clock", "active", *(kind for kind in KINDS if kind != "nrpn"))

TABLES = {
    "": MAPPING, "match": MATCH, "init": MESSAGES, "exit": MESSAGES, "control": CONTROL, "led": LED, "bind": BIND,
    "feedback": FEEDBACK, "clock": CLOCK, "options": OPTIONS,
}  # fmt: skip
"""The whole grammar of mapping files: what every table may hold."""

_BOUNDS = {"pickup_threshold": (0, 1), "rate_hz": (1, 1000)}

Load = Callable[[Path, list[Path]], Mapping]


def load_mappings(chosen: str, home: Path, load: Load | None = None) -> tuple[Mapping, ...]:
    """The mappings of a show; a port gets the one that fits it best, the first of equals.

    A chosen name or file stands alone and serves every port. `default` means: each controller by the mapping that has
    its device, any other by `default.toml`. Looked for in `home/mappings`, the package, the repository; the first file
    of a name that is for this system wins. Raises ConfigError.
    """
    folders, load = mapping_folders(home), load or load_mapping
    if chosen != DEFAULT:
        saved = home / "mappings" / SAVED
        mapping = load(find_file(chosen, [saved, *folders], "mapping"), folders)
        if not _is_for(mapping, system_of()):
            systems = " and ".join(mapping.device.systems)
            raise ConfigError(f"{mapping.path}: is for {systems} (match.os), this is {system_of()}; choose another")
        return (dataclasses.replace(mapping, inputs=()),)
    found: dict[str, Mapping] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*.toml"))):
        if path.stem not in found and _is_for(mapping := load(path, folders), system_of()):
            found[path.stem] = mapping
    default = found.pop(DEFAULT, None)
    own = [mapping for mapping in found.values() if mapping.inputs]
    general = [dataclasses.replace(default, serves_device=False)] if default else []
    return (*own, *general)


def _is_for(mapping: Mapping, system: str) -> bool:
    return not mapping.device.systems or system in mapping.device.systems


def mapping_folders(home: Path) -> list[Path]:
    """Where mapping files are looked for, first wins."""
    package = Path(str(resources.files("ltx_live")))
    folders = [home / "mappings", package / "mappings"]
    if (package.parent / "pyproject.toml").is_file():  # in the repository; the wheel has them in the package
        folders.append(package.parent / "mappings")
    return [folder for folder in folders if folder.is_dir()]


def load_mapping(path: Path, folders: list[Path], extending: tuple[Path, ...] = ()) -> Mapping:
    """One mapping file with the device it names and the mapping it extends; raises ConfigError, of one line."""
    try:
        return _load(path, folders, extending)
    except ConfigError as error:
        raise ConfigError(" ".join(str(error).split())) from None


def _load(path: Path, folders: list[Path], extending: tuple[Path, ...]) -> Mapping:
    source = read_file(path)
    source.check(MAPPING, source.table, "mapping", where="")
    _check_version(source)
    base = _extended(source, folders, (*extending, path)) if "extends" in source.table else None
    device, files = _device(source, folders, base)
    controls = {control.id: control for control in device.controls}
    options = _options(source, base.options if base else Options())
    bindings = _bindings(source, controls, options)
    if base is not None:
        own = {binding.control.key for binding in bindings}
        bindings = (*bindings, *(binding for binding in base.bindings if binding.control.key not in own))
    feedback = _feedback(source, controls, device)
    return Mapping(
        name=source.table.get("name", path.stem),
        inputs=device.inputs,
        bindings=bindings,
        index=device.index,
        path=path,
        device=device,
        controls=device.controls,
        feedback=(*feedback, *(base.feedback if base else ())),
        files=(path, *files, *(base.files if base else ())),
        clock=_clock(source, base.clock if base else Clock()),
        options=options,
    )


def _check_version(source: Source) -> None:
    wanted = source.table.get("requires")
    if wanted is None:
        return
    if not re.fullmatch(r"\d+(\.\d+){0,2}", wanted):
        raise source.error(f"requires = '{wanted}' must be a version such as 0.4", key="requires")
    if [int(part) for part in wanted.split(".")] > [int(part) for part in re.findall(r"\d+", __version__)[:3]]:
        raise source.error(f"needs ltx-live {wanted}, this is {__version__}; update it", key="requires")


def _extended(source: Source, folders: list[Path], extending: tuple[Path, ...]) -> Mapping:
    try:
        path = find_file(source.table["extends"], folders, "mapping")
    except ConfigError as error:
        raise source.error(str(error), key="extends") from None
    if any(path.resolve() == each.resolve() for each in extending):
        raise source.error(f"{path.name} is extended by itself; extend another mapping", key="extends")
    return load_mapping(path, folders, extending)


def _device(source: Source, folders: list[Path], base: Mapping | None) -> tuple[Device, tuple[Path, ...]]:
    """The device that a mapping names or inherits, with what the mapping adds to it, and its file."""
    known, files = (base.device, ()) if base is not None else (None, ())
    if "device" in source.table:
        try:
            path = find_file(source.table["device"], [folder / "devices" for folder in folders], "device")
        except ConfigError as error:
            raise source.error(str(error), key="device") from None
        known, files = load_device(path), (path,)
    return read_device(source, known), files


def _bindings(source: Source, controls: dict[str, Control], options: Options) -> tuple[Binding, ...]:
    """The bindings of a file, written out; none does the same control under the same condition as another."""
    bindings: list[Binding] = []
    seen: dict[tuple, str] = {}
    for index, bind in enumerate(tables(source, "bind", BIND)):
        place = Place(source, index, bind)
        for binding in _written_out(place, controls):
            condition = (binding.control.key, binding.condition)
            if condition in seen and not binding.also:
                more = "give one of them a page, shift or when, or write also = true"
                problem = f"{binding.control.id} is bound already, to {seen[condition]}; {more}"
                raise source.error(problem, "bind", index, "control")
            seen.setdefault(condition, binding.to or binding.action)
            common = {"threshold": options.pickup_threshold, "rate_hz": options.rate_hz}
            bindings.append(dataclasses.replace(binding, **common))
    return tuple(bindings)


def _options(source: Source, known: Options) -> Options:
    """What a file says for all its bindings; what it does not say is as in the mapping that it extends."""
    entry = dict(table(source, "options", OPTIONS))
    for key, (low, high) in _BOUNDS.items():
        if key in entry and not low <= entry[key] <= high:
            raise source.error(f"{key} = {entry[key]} must be {low} to {high}", "options", 0, key)
    if "learn_ignores" in entry:
        entry["learn_ignores"] = texts(source, "options", "learn_ignores", MESSAGE_KINDS)
    return dataclasses.replace(known, **entry)


def _clock(source: Source, known: Clock) -> Clock:
    """Which clock a file follows; what it does not say is as in the mapping that it extends."""
    entry = table(source, "clock", CLOCK)
    inputs = texts(source, "clock", "input")
    if "input" in entry and (not inputs or "" in inputs):
        raise source.error("input names no port; write its name, * for anything", "clock", 0, "input")
    if inputs and entry.get("use") is False:
        raise source.error("use = false follows no clock, but input names one; leave one out", "clock", 0, "use")
    use = entry.get("use", known.use or bool(inputs))
    inputs = (inputs or known.inputs) if use else ()
    return Clock(use, inputs, entry.get("start_resync", known.start_resync))


def _written_out(place: Place, controls: dict[str, Control]) -> list[Binding]:
    """The bindings of one [[bind]]: one for each control of its span, and for each page."""
    source, index, bind = place.source, place.index, place.bind
    froms = spans(source, bind["control"], "bind", index, "control")
    tos = spans(source, bind.get("to", "").removeprefix("/ltx/"), "bind", index, "to")
    tos = tos * len(froms) if len(tos) == 1 else tos
    if len(froms) != len(tos):
        raise place.error(
            f"{len(froms)} controls cannot go to {len(tos)} parameters; make both ranges equally long", "to"
        )
    found = [_control(place, name, controls, "control") for name in froms]
    shift = _control(place, bind["shift"], controls, "shift") if "shift" in bind else None
    pages = bind_table.pages(place, tos[0])
    return [
        bind_table.binding(place, control, to.replace("{page}", str(page)), Page(page, shift))
        for page in pages
        for control, to in zip(found, tos, strict=True)
    ]


def _control(place: Place, name: str, controls: dict[str, Control], key: str) -> Control:
    control = controls.get(name) or generic_control(name)
    if control is None:
        near = difflib.get_close_matches(name, controls, n=1)
        hint = f"did you mean {near[0]}?" if near else "write an id of the device, or kind:channel:number (cc:1:7)"
        raise place.error(f"unknown control {name}; {hint}", key)
    return control


def _feedback(source: Source, controls: dict[str, Control], device: Device) -> tuple[Feedback, ...]:
    found: list[Feedback] = []
    for index, entry in enumerate(tables(source, "feedback", FEEDBACK)):
        place = Place(source, index, entry, "feedback")
        froms = spans(source, entry["control"], "feedback", index, "control")
        names = spans(source, entry.get("from", "").removeprefix("/ltx/"), "feedback", index, "from")
        names = names * len(froms) if len(names) == 1 else names
        if len(names) != len(froms):
            raise place.error(f"{len(froms)} lights cannot show {len(names)} parameters", "from")
        for control_id, name in zip(froms, names, strict=True):
            control = _control(place, control_id, controls, "control")
            led = device.led_of(control)
            if led is None:
                raise place.error(f"{control_id} has no light; write a [[led]] for it", "control")
            if name:
                bind_table.find_row(place, name, "from")
            looks = entry.get("map", {})
            for word, look in looks.items():
                if look not in led.values:
                    raise place.error(f"{word} = {look!r} is no look of {control_id}: {', '.join(led.values)}", "map")
            found.append(Feedback(control, name, looks))
    return tuple(found)
