"""Writes TOML files so that a crash leaves either the old or the new one, and what a performer wrote in them stays.

Run as a program, it revises one file: tomlkit needs tenths of a second for a large show, and in a thread of the show it
would keep the interpreter from every call into the window system for that long.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Comment, InlineTable, Table, Whitespace

BACKUP = ".bak"
IDENTITIES = ("slot", "number", "file")
"""What the tables of an array are told apart by, so that each keeps its comments."""

_REVISE_S = 60.0


def write_atomically(path: Path, text: str) -> None:
    """Replace a file: written beside it, brought to the disk, renamed; the old one stays as `NAME.bak`. OSError."""
    path = path.resolve()
    made = path.with_name(f".{path.name}.new")
    with open(made, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    if path.exists():
        shutil.copymode(path, made)
        kept = path.with_name(f".{path.name}.old")
        shutil.copy2(path, kept)
        os.replace(kept, path.with_name(path.name + BACKUP))
    os.replace(made, path)
    if os.name == "posix":  # the renaming itself reaches the disk with its folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def dumps(table: Mapping[str, Any]) -> str:
    """Plain data as TOML: values, then tables, then arrays of tables."""
    lines: list[str] = []
    _dump(table, "", lines)
    return "\n".join(lines).lstrip("\n") + "\n"


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


class Saver:
    """A thread that writes files, so that the show never waits for a disk; of one file's versions the newest counts.

    `tell(line)` is called from the thread when a file could not be written. `written` has, by path, what was written.
    """

    def __init__(self, tell: Callable[[str], None]):
        self.written: dict[Path, str] = {}
        self._tell = tell
        self._jobs: queue.SimpleQueue[tuple[Path, str, Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="saver", daemon=True)
        self._thread.start()

    def write(self, path: Path, text: str) -> None:
        """Replace a file by a text."""
        self._jobs.put((path, "write", text))

    def revise(self, path: Path, changes: Mapping[str, Any]) -> None:
        """Replace tables in a file that a performer may have written, in a process of its own."""
        self._jobs.put((path, "revise", changes))

    def touch(self, path: Path) -> None:
        """Make a file as old as now."""
        self._jobs.put((path, "touch", None))

    def close(self) -> None:
        """Wait until all is written."""
        self._jobs.put(None)
        self._thread.join(_REVISE_S)

    def _work(self) -> None:
        is_open = True
        while is_open:
            waiting = {}
            job = self._jobs.get()
            while True:
                if job is None:
                    is_open = False
                else:
                    waiting[job[:2]] = job[2]
                if self._jobs.empty():
                    break
                job = self._jobs.get()
            for (path, kind), content in waiting.items():
                self._do(path, kind, content)

    def _do(self, path: Path, kind: str, content: Any) -> None:
        try:
            if kind == "write":
                write_atomically(path, content)
            elif kind == "revise":
                self._revise(path, content)
            else:
                os.utime(path)
        except (OSError, subprocess.SubprocessError) as error:
            self._tell(f"{path.name} is not saved: {error}")

    def _revise(self, path: Path, changes: Mapping[str, Any]) -> None:
        command = [sys.executable, "-m", "ltx_live.control.toml_store", str(path)]
        done = subprocess.run(
            command, input=json.dumps(changes).encode(), capture_output=True, timeout=_REVISE_S, check=False
        )
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            self._tell(f"{path.name} is not saved: {lines[-1] if lines else f'exit status {done.returncode}'}")
        else:
            self.written[path] = done.stdout.decode()


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


def _dump(table: Mapping[str, Any], prefix: str, lines: list[str]) -> None:
    inner = {key: value for key, value in table.items() if _is_table(value) or _is_tables(value)}
    lines += [f"{_key(key)} = {_value(value)}" for key, value in table.items() if key not in inner]
    for key, value in inner.items():
        name = f"{prefix}{_key(key)}"
        for each in [value] if _is_table(value) else value:
            lines += ["", f"[{name}]" if _is_table(value) else f"[[{name}]]"]
            _dump(each, f"{name}.", lines)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, Mapping) for each in value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _text(key)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items()) + "}"
    return value.isoformat() if hasattr(value, "isoformat") else repr(value)


def _bring(container: Any, key: str, wanted: Any) -> None:
    """Make `container[key]` say what is wanted, changing as little as can be."""
    present = container.get(key)
    if isinstance(wanted, Mapping) and isinstance(present, (Table, InlineTable)):
        _bring_table(present, wanted)
    elif _is_tables(wanted) and isinstance(present, AoT):
        _bring_tables(present, wanted)
    elif present is None or not _is_same(_plain(present), wanted):
        if present is not None and (_is_table(wanted) or _is_tables(wanted)):
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
        key: {_identity(each): each for each in value} if _is_tables(value) and _identity(value[0]) else value
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
