"""Writes TOML files so that a crash leaves either the old or the new one, and the show never waits for a disk."""

from __future__ import annotations

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

BACKUP = ".bak"
_REVISE_S = 60.0


def write_atomically(path: Path, text: str, keeps_old: bool = True) -> None:
    """Replace a file: written beside it, brought to the disk, renamed; the old one stays as `NAME.bak`. OSError."""
    path = path.resolve()
    made = path.with_name(f".{path.name}.new")
    with open(made, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    if path.exists() and keeps_old:
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


class Saver:
    """A thread that writes files, so that the show never waits for a disk; of one file's versions the newest counts.

    `tell(line)` is called from the thread when a file could not be written. `written` has, by path, what was written.
    """

    def __init__(self, tell: Callable[[str], None]):
        self.written: dict[Path, str] = {}
        self._asked: dict[Path, int] = {}
        self._done: dict[Path, int] = {}
        self._tell = tell
        self._jobs: queue.SimpleQueue[tuple[Path, str, Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="saver", daemon=True)
        self._thread.start()

    def write(self, path: Path, text: str) -> None:
        """Replace a file by a text."""
        self._jobs.put((path, "write", text))

    def revise(self, path: Path, changes: Mapping[str, Any], done: str = "") -> None:
        """Replace tables in a file that a performer may have written, in a process of its own; `done` is told then."""
        self._asked[path] = self._asked.get(path, 0) + 1
        self._jobs.put((path, "revise", (self._asked[path], changes, done)))

    def is_revising(self, path: Path) -> bool:
        """Whether the file may be replaced just now, by this."""
        return self._asked.get(path, 0) != self._done.get(path, 0)

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
                elif job[:2] in waiting and job[1] == "revise":  # each may change other tables
                    _, changes, told = waiting[job[:2]]
                    waiting[job[:2]] = job[2][0], {**changes, **job[2][1]}, job[2][2] or told
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
                write_atomically(path, content, path in self.written or _is_toml(path))
                self.written[path] = content
            elif kind == "revise":
                self._revise(path, *content[1:])
            else:
                os.utime(path)
        except (OSError, subprocess.SubprocessError) as error:
            self._tell(f"{path.name} is not saved: {error}")
        if kind == "revise":
            self._done[path] = content[0]

    def _revise(self, path: Path, changes: Mapping[str, Any], told: str) -> None:
        command = [sys.executable, "-m", "ltx_live.control.toml_revise", str(path)]
        done = subprocess.run(
            command, input=json.dumps(changes).encode(), capture_output=True, timeout=_REVISE_S, check=False
        )
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            self._tell(f"{path.name} is not saved: {lines[-1] if lines else f'exit status {done.returncode}'}")
        else:
            self.written[path] = done.stdout.decode()
            if told:
                self._tell(told)


def _dump(table: Mapping[str, Any], prefix: str, lines: list[str]) -> None:
    inner = {key: value for key, value in table.items() if is_table(value) or is_tables(value)}
    lines += [f"{_key(key)} = {_value(value)}" for key, value in table.items() if key not in inner]
    for key, value in inner.items():
        name = f"{prefix}{_key(key)}"
        for each in [value] if is_table(value) else value:
            lines += ["", f"[{name}]" if is_table(value) else f"[[{name}]]"]
            _dump(each, f"{name}.", lines)


def is_table(value: Any) -> bool:
    """Whether a value is a table of TOML."""
    return isinstance(value, Mapping)


def is_tables(value: Any) -> bool:
    """Whether a value is an array of tables."""
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


def _is_toml(path: Path) -> bool:
    try:
        return bool(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except (OSError, ValueError):
        return False
