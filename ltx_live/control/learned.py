"""Writes what has been learned into mapping files, with the comments that are in them; on one thread at a time."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Table

from ltx_live import params
from ltx_live.control.binding import Control
from ltx_live.control.device_files import generic_control
from ltx_live.control.files import SAVED, load_mapping, mapping_folders
from ltx_live.control.learn import Lesson
from ltx_live.control.mapping import Mapping
from ltx_live.control.midi import port_id
from ltx_live.errors import ConfigError

_CONDITIONS = ("shift", "when", "long_ms", "also")
_SPAN = re.compile(r"\{(\d+)\.\.(\d+)\}")


def write_lesson(lesson: Lesson, page: int, mapping: Mapping | None, home: Path) -> Path:
    """Bind what was learned in the port's mapping file and give its path; shipped files are copied to the home first.

    `mapping` is what the port is played by now; one that is not for this controller is extended by a file of its own.
    Raises ConfigError, and leaves the file as it was, where it cannot be read, written or understood.
    """
    path, text = _own_file(lesson.port, mapping, home)
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as error:
        raise ConfigError(f"{path}: not TOML: {error}; correct it, then learn again") from None
    controls = {control.id: control for control in (mapping.controls if mapping else ())}
    _bind(document, lesson, page, controls)
    write_mapping(path, tomlkit.dumps(document), home)
    return path


def write_mapping(path: Path, text: str, home: Path) -> None:
    """Replace a mapping file by a text that can be understood; raises ConfigError and changes nothing otherwise."""
    trial = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        trial.write_text(text, encoding="utf-8")
        load_mapping(trial, mapping_folders(home))
        os.replace(trial, path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}; is the folder writable?") from None
    finally:
        trial.unlink(missing_ok=True)


def save_as(name: str, mapping: Mapping, home: Path) -> Path:
    """Copy a mapping's file under a name of the performer's; raises ConfigError."""
    stem = re.sub(r"[^\w.+-]+", "_", name.removesuffix(".toml")).strip("._")
    if not stem:
        raise ConfigError(f"midi/save '{name}': write a name of letters and digits")
    path = home / "mappings" / SAVED / f"{stem}.toml"
    write_mapping(path, _read(mapping.path), home)
    return path


def _own_file(port: str, mapping: Mapping | None, home: Path) -> tuple[Path, str]:
    """The file that lessons of a port go to, and its text now or to begin with."""
    folder = home / "mappings"
    if mapping is not None and mapping.path is not None and mapping.serves_device:
        shipped = [each for each in mapping_folders(home) if each != folder]
        is_shipped = any(mapping.path.resolve().is_relative_to(each.resolve()) for each in shipped)
        path = folder / mapping.path.name if is_shipped else mapping.path
        return path, _read(path if path.exists() else mapping.path)
    path = folder / f"learned-{port_id(port).lower()}.toml"
    if path.exists():
        return path, _read(path)
    base = mapping.path.stem if mapping is not None and mapping.path is not None else "default"
    document = tomlkit.document()
    document.add(tomlkit.comment(f"What was learned for {port}. All else is as in the mapping that this extends."))
    for key, value in (("schema", 1), ("name", port), ("extends", base), ("match", {"input": [_escaped(port)]})):
        document[key] = value
    return path, tomlkit.dumps(document)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None


def _escaped(port: str) -> str:
    """A port's name as a glob that fits it alone."""
    return re.sub(r"([*?\[])", r"[\1]", port)


def _bind(document: Any, lesson: Lesson, page: int, controls: dict[str, Control]) -> None:
    """Put the lesson in the place of what its control did on this page, or at the end."""
    if "bind" not in document:
        document["bind"] = tomlkit.aot()
    binds: AoT = document["bind"]
    key = _control(lesson.control, controls).key
    index, found = _find(binds, key, page, controls)
    if index is None:
        binds.append(_new_table(lesson, None))
    elif isinstance(found, list):  # for several pages: this one leaves them
        found.remove(page)
        binds.append(_new_table(lesson, page))
    elif _SPAN.search(str(binds[index]["control"])):
        _split(binds, index, key, controls)
        binds.append(_new_table(lesson, found))
    else:
        table = binds[index]
        for name in [name for name in table if name not in ("control", "page")]:
            del table[name]
        for name, value in _entries(lesson):
            if table.get(name) != value:
                table[name] = value


def _find(binds: AoT, key: tuple, page: int, controls: dict[str, Control]) -> tuple[int | None, Any]:
    """The table that says what a control does on a page, and the `page` in it; the page's own before one for all."""
    general = None
    for index, table in enumerate(binds):
        if any(name in table for name in _CONDITIONS):
            continue
        if not any(
            (control := _control(text, controls)) and control.key == key for text in _written_out(table["control"])
        ):
            continue
        pages = table.get("page")
        if pages == page or (isinstance(pages, list) and page in pages):
            return index, pages
        if pages is None:
            general = index
    return general, None


def _split(binds: AoT, index: int, key: tuple, controls: dict[str, Control]) -> None:
    """Take a control out of a table for a span of them; what comes before and after it stays as it is."""
    table = binds[index]
    texts = _written_out(table["control"])
    place = next(i for i, text in enumerate(texts) if (found := _control(text, controls)) and found.key == key)
    parts = [(0, place), (place + 1, len(texts))]
    first, second = (_part(table, part) for part in parts)
    if second is not None:
        binds.insert(index + 1, second)
    if first is None:
        del binds[index]
    else:
        for name in ("control", "to"):
            if name in first:
                table[name] = first[name]


def _part(table: Table, part: tuple[int, int]) -> Table | None:
    """A table for a part of another one's span."""
    if part[0] >= part[1]:
        return None
    new = tomlkit.table()
    for name, value in table.items():
        if name in ("control", "to"):
            value = _SPAN.sub(lambda span: _short_span(int(span[1]), part), str(value), count=1)
        new[name] = value
    return new


def _short_span(first: int, part: tuple[int, int]) -> str:
    start, end = first + part[0], first + part[1] - 1
    return str(start) if start == end else f"{{{start}..{end}}}"


def _new_table(lesson: Lesson, page: int | None) -> Table:
    table = tomlkit.table()
    for name, value in (*_entries(lesson), *([("page", page)] if page is not None else [])):
        table[name] = value
    return table


def _entries(lesson: Lesson) -> list[tuple[str, Any]]:
    """What a [[bind]] for a lesson says: a button switches, a fader moves through the whole range."""
    row = params.find(lesson.target)
    entries: list[tuple[str, Any]] = [("control", lesson.control), ("to", lesson.target)]
    if row.kind == "trigger" or not lesson.is_button or lesson.control.startswith("program"):
        return entries
    if row.kind in ("int", "enum"):
        return [*entries, ("action", "cycle")]
    entries.append(("action", "toggle"))
    return entries if row.kind == "bool" else [*entries, ("range", [row.minimum, row.maximum])]


def _control(text: str, controls: dict[str, Control]) -> Control | None:
    return controls.get(text) or generic_control(text)


def _written_out(text: Any) -> list[str]:
    """A control's text with its span written out."""
    span = _SPAN.search(str(text))
    if not span:
        return [str(text)]
    numbers = range(int(span[1]), int(span[2]) + 1)
    return [f"{text[: span.start()]}{number}{text[span.end() :]}" for number in numbers]
