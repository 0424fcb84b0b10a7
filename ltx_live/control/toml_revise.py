"""Puts tables into a TOML file and leaves the rest as a performer wrote it, comments and all.

A program of its own, run by `toml_store.Saver`: tomlkit needs tenths of a second for a large show, and in a thread of
the show it would keep the interpreter from every call into the window system for that long.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Comment, InlineTable, Table, Whitespace

from ltx_live.control.toml_store import dumps, is_table, is_tables, write_atomically

IDENTITIES = ("slot", "number", "file")
"""What the tables of an array are told apart by, so that each keeps its comments."""


def revise(text: str, changes: Mapping[str, Any]) -> str:
    """The text with these tables in place of its own of that name; what is not concerned stays as it was written.

    An empty table or array is taken out; tables of an array keep their order, new ones come last. Where tomlkit cannot
    place a change, comments are lost. Raises tomllib.TOMLDecodeError for a text that is no TOML.
    """
    wanted = tomllib.loads(text) | dict(changes)
    gone = [key for key, value in changes.items() if value in ({}, [])]
    for key in gone:
        del wanted[key]
    try:
        document = tomlkit.parse(text)
        for key in [key for key in changes if key in wanted]:
            _bring(document, key, wanted[key])
        for key in gone:
            document.pop(key, None)
        revised = document.as_string()
        if _in_any_order(tomllib.loads(revised)) == _in_any_order(wanted):
            return revised
    except (TOMLKitError, tomllib.TOMLDecodeError):
        pass
    return dumps(wanted)


def main(path: Path, changes: Mapping[str, Any]) -> str:
    """Revise a file and give its new text. SystemExit with one line where that fails."""
    try:
        before = path.read_text(encoding="utf-8-sig") if path.exists() else ""
        text = revise(before, changes)
        if text != before:
            write_atomically(path, text)
    except OSError as error:
        raise SystemExit(f"{error.strerror}: {error.filename}") from None
    except ValueError as error:  # no TOML: it is being written by hand just now
        raise SystemExit(f"put the file right first: {error}") from None
    return text


def _bring(container: Any, key: str, wanted: Any) -> None:
    """Make `container[key]` say what is wanted, changing as little as can be."""
    present = container.get(key)
    if isinstance(wanted, Mapping) and isinstance(present, (Table, InlineTable)):
        _bring_table(present, wanted)
    elif is_tables(wanted) and isinstance(present, AoT):
        _bring_tables(present, wanted)
    elif present is None or not _is_same(_plain(present), wanted):
        if present is not None and (is_table(wanted) or is_tables(wanted)):
            del container[key]  # it was written in another form
        container[key] = wanted


def _bring_table(table: Any, wanted: Mapping[str, Any]) -> None:
    for key in [key for key in table if key not in wanted]:
        del table[key]
    tail = _take_tail(table)
    for key, value in wanted.items():
        _bring(table, key, value)
    _body(table).extend(tail)


def _bring_tables(present: AoT, wanted: list[Mapping[str, Any]]) -> None:
    """Tables of the same identity are brought; others are taken out, or added at the end."""
    names = {_identity(table): table for table in wanted}
    for index in reversed([i for i, table in enumerate(present) if _identity(table) not in names]):
        tail = _take_tail(present[index])
        del present[index]
        if index:
            _body(present[index - 1]).extend(tail)
    there = {_identity(table): table for table in present}
    for name, table in names.items():
        if name in there:
            _bring_table(there[name], table)
            continue
        made = tomlkit.table()
        made.trivia.indent = "\n"
        for key, value in table.items():
            made[key] = value
        if len(present):
            _body(made).extend(_take_tail(present[-1]))
        present.append(made)


def _body(table: Any) -> list[tuple[Any, Any]]:
    return table.value.body


def _take_tail(table: Any) -> list[tuple[Any, Any]]:
    """Take the end of a table from its last blank line on: what stands there belongs to what comes next in the file."""
    body = _body(table)
    start = len(body)
    while start and body[start - 1][0] is None and isinstance(body[start - 1][1], (Whitespace, Comment)):
        start -= 1
    start = next((i for i in range(start, len(body)) if isinstance(body[i][1], Whitespace)), len(body))
    tail = body[start:]
    del body[start:]
    return tail


def _identity(table: Mapping[str, Any]) -> Any:
    return _plain(next((table[name] for name in IDENTITIES if name in table), None))


def _in_any_order(table: Mapping[str, Any]) -> dict[str, Any]:
    """The data without the order of tables that have an identity."""
    return {
        key: {_identity(each): each for each in value} if is_tables(value) and _identity(value[0]) else value
        for key, value in table.items()
    }


def _plain(item: Any) -> Any:
    """What an item of tomlkit says; it gives truth values as they are."""
    return item.unwrap() if hasattr(item, "unwrap") else item


def _is_same(a: Any, b: Any) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.buffer.write(main(Path(sys.argv[1]), json.load(sys.stdin)).encode())
