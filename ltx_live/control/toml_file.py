"""A TOML file whose faults are told as one line with file, line and what to do."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltx_live.errors import ConfigError

SCHEMA = 1
NUMBER = (int, float)
_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", list: "a list"}
_WORDS |= {dict: "a table"}
_SPAN = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MAX_SPAN = 1000


@dataclass(frozen=True, slots=True)
class Grammar:
    """The keys of one kind of table with their types, the words that some of them take, and what must be there."""

    keys: Mapping[str, tuple[type, ...]]
    choices: Mapping[str, tuple[str, ...]]
    required: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TomlFile:
    """A file that has been read: its text and what TOML makes of it."""

    path: Path
    text: str
    table: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> TomlFile:
        """Raises ConfigError where a file cannot be read, is no TOML or has another schema."""
        try:
            text = path.read_text(encoding="utf-8-sig")
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            place = re.search(r"\(at line (\d+)", str(error))
            line = int(place[1]) if place else 1 + text.count("\n")
            words = re.sub(r" \(at .*\)$", "", str(error))
            raise ConfigError(f"{path}:{line}: not TOML: {words}; correct this line") from None
        except (OSError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from None
        source = cls(path, text, table)
        if table.get("schema") != SCHEMA or isinstance(table["schema"], bool):
            raise source.error(f"schema = {table.get('schema')} is not known; write schema = {SCHEMA}", key="schema")
        return source

    def error(self, problem: str, table: str = "", index: int = 0, key: str = "") -> ConfigError:
        """The error for a key of the index-th table of a name; "" = the top."""
        return ConfigError(f"{self.path}:{self._line(table, index, key)}: {' '.join(problem.split())}")

    def check(self, grammar: Grammar, value: Any, table: str = "", index: int = 0) -> dict[str, Any]:
        """A table whose keys, types and words are as its grammar says; raises ConfigError."""
        if not isinstance(value, dict):
            raise self.error(f"{table} must be a table; write [[{table}]]", table, index, table)
        for key, entry in value.items():
            if key not in grammar.keys:
                near = difflib.get_close_matches(key, grammar.keys, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(grammar.keys)}"
                raise self.error(f"unknown key {key}; {hint}", table, index, key)
            types = grammar.keys[key]
            if not isinstance(entry, types) or (isinstance(entry, bool) and bool not in types):
                words = " or ".join(_WORDS[each] for each in types if not (each is int and float in types))
                raise self.error(f"{key} = {entry!r} cannot be used; write {words}", table, index, key)
            if key in grammar.choices and isinstance(entry, str) and entry not in grammar.choices[key]:
                words = ", ".join(grammar.choices[key])
                raise self.error(f"{key} = {entry!r} is not one of {words}", table, index, key)
        for key in grammar.required:
            if key not in value:
                raise self.error(f"{key} is missing", table, index)
        return value

    def tables(self, name: str, grammar: Grammar) -> list[dict[str, Any]]:
        """The checked tables `[[name]]`."""
        return [self.check(grammar, each, name, index) for index, each in enumerate(self.table.get(name, []))]

    def texts(self, table: str, key: str) -> tuple[str, ...]:
        """A list of texts at a key of a table."""
        items = self.table.get(table, {}).get(key, [])
        if not all(isinstance(item, str) for item in items):
            raise self.error(f"{key} = {items!r} must be a list of texts", table, 0, key)
        return tuple(items)

    def spans(self, text: str, table: str, index: int, key: str) -> list[str]:
        """A text with one `{1..8}` written out, or the text itself."""
        span = _SPAN.search(text)
        if not span:
            return [text]
        first, last = int(span[1][:9]), int(span[2][:9])
        if not first <= last < first + _MAX_SPAN:
            raise self.error(f"{span[0]} must go from a number to a larger one", table, index, key)
        return [text[: span.start()] + str(i) + text[span.end() :] for i in range(first, last + 1)]

    def _line(self, table: str, index: int, key: str) -> int:
        """The line of a key, or of its table's header; 1 if it is written in a way that has none."""
        lines = self.text.splitlines()
        start, end = 0, len(lines)
        headers = [i for i, line in enumerate(lines) if line.lstrip().startswith("[")]
        own = [i for i in headers if re.match(rf"\s*\[+\s*{re.escape(table)}\s*\]", lines[i])] if table else []
        if index < len(own):
            start = own[index]
        end = next((i for i in headers if i > start or not table), end)
        wanted = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=")
        return next((i for i in range(start, end) if key and wanted.match(lines[i])), start) + 1


def find_file(name: str, folders: list[Path], what: str) -> Path:
    """A `.toml` file by its path, or by its name in the first of the folders that has it; raises ConfigError."""
    path = Path(name).expanduser()
    if path.suffix == ".toml" and path.is_file():
        return path
    stem = path.name.removesuffix(".toml")
    for folder in folders:
        if (folder / f"{stem}.toml").is_file():
            return folder / f"{stem}.toml"
    known = sorted({found.stem for folder in folders for found in folder.glob("*.toml")})
    near = difflib.get_close_matches(stem, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}"
    raise ConfigError(f"{what} {name}: no such file; {hint}")
