"""What mapping and device files have in common: their tables, spans such as `fader{1..8}`, and where they are found."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Any

from ltx_live.control.toml_source import Keys, Source, read, suggestion
from ltx_live.errors import ConfigError

NUMBER = (int, float)
_SPAN = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MAX_SPAN = 1000


def read_file(path: Path) -> Source:
    """A file of the schema that is known; raises ConfigError."""
    source = read(path)
    source.check_schema()
    return source


def tables(source: Source, name: str, keys: Keys) -> list[dict[str, Any]]:
    """The checked tables `[[name]]`."""
    found = source.table.get(name, [])
    for index, table in enumerate(found):
        source.check(keys, table, name, index)
    return found


def table(source: Source, name: str, keys: Keys) -> dict[str, Any]:
    """The checked table `[name]`, empty where there is none."""
    found = source.table.get(name, {})
    source.check(keys, found, name)
    return found


def texts(source: Source, name: str, key: str, known: tuple[str, ...] = ()) -> tuple[str, ...]:
    """A list of texts at a key of a table, or one alone; where there are known ones, each is one of them."""
    items = source.table.get(name, {}).get(key, [])
    items = [items] if isinstance(items, str) else items
    if not all(isinstance(item, str) for item in items):
        raise source.error(f"{key} = {items!r} must be a list of texts", name, 0, key)
    for item in items if known else ():
        if item not in known:
            raise source.error(f"{key} = {item!r} is not known; {suggestion(item, known)}", name, 0, key)
    return tuple(items)


def spans(source: Source, text: str, name: str, index: int, key: str) -> list[str]:
    """A text with one `{1..8}` written out, or the text itself."""
    span = _SPAN.search(text)
    if not span:
        return [text]
    first, last = int(span[1][:9]), int(span[2][:9])
    if not first <= last < first + _MAX_SPAN:
        raise source.error(f"{span[0]} must go from a number to a larger one", name, index, key)
    return [text[: span.start()] + str(i) + text[span.end() :] for i in range(first, last + 1)]


def find_file(name: str, folders: list[Path], what: str) -> Path:
    """A `.toml` file by its path, or by its name in the first of the folders that has it; raises ConfigError."""
    path = Path(os.path.expanduser(name))
    if path.suffix == ".toml" and os.path.isfile(path):
        return path
    stem = path.name.removesuffix(".toml")
    for folder in folders:
        if os.path.isfile(folder / f"{stem}.toml"):
            return folder / f"{stem}.toml"
    known = sorted({found.stem for folder in folders for found in folder.glob("*.toml")})
    near = difflib.get_close_matches(stem, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}"
    raise ConfigError(f"{what} {name}: no such file; {hint}")
