"""TOML files that performers write: read with the place of everything, so that every fault is one line with file, line
and what to do."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltx_live.errors import ConfigError

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Keys:
    """What a kind of table may hold: the types by key, the choices of some, and the keys that must be there."""

    types: Mapping[str, tuple[type, ...]]
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    required: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """A file's text and what it says."""

    path: Path
    text: str
    table: dict[str, Any]

    def error(self, problem: str, table: str = "", index: int = 0, key: str = "") -> ConfigError:
        """A ConfigError that begins with file and line."""
        return ConfigError(f"{self.path}:{self.line(table, index, key)}: {problem}")

    def line(self, table: str, index: int, key: str) -> int:
        """The line of a key, or of its table's header; 1 if it is written in a way that has none.

        `index` counts the tables `[[table]]` from 0; their subtables (`[table.values]`) belong to them.
        """
        lines = self.text.splitlines()
        start, end = 0, len(lines)
        headers = [i for i, line in enumerate(lines) if line.lstrip().startswith("[")]
        name = re.escape(table)
        own = [i for i in headers if re.match(rf"\s*\[+\s*{name}\s*\]", lines[i])] if table else []
        if index < len(own):
            start = own[index]
        others = [i for i in headers if not table or not re.match(rf"\s*\[\s*{name}\s*\.", lines[i])]
        end = next((i for i in others if i > start or not table), end)
        written = rf"[\"']?{re.escape(key)}[\"']?"
        dotted = rf"\s*(?:{name}\s*\.\s*)?" if table else r"\s*"  # match.input = [...]
        begins, within = (re.compile(rf"{before}{written}\s*=") for before in (dotted, r".*[{,]\s*"))
        places = [i for pattern in (begins, within) for i in range(start, end) if key and pattern.match(lines[i])]
        if not table and key:  # a table of the file's own top
            places += [i for i in headers if re.match(rf"\s*\[+\s*{written}\s*[\].]", lines[i])]
        return (places[0] if places else start) + 1

    def check(self, keys: Keys, table: Any, kind: str, index: int = 0, where: str | None = None) -> None:
        """Raise ConfigError for an unknown key, a wrong type, a choice that there is not, or what is missing.

        `where` is the table's header, "" for the top of the file; it is the kind where none is given.
        """
        where = kind if where is None else where
        if not isinstance(table, dict):
            raise self.error(f"{kind} must be a table; write [[{kind}]]", where, index)
        for key, value in table.items():
            if key not in keys.types:
                raise self.error(f"unknown key {key}; {suggestion(key, keys.types)}", where, index, key)
            types = keys.types[key]
            if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
                words = " or ".join(dict.fromkeys(_WORDS.get(each, each.__name__) for each in types))
                raise self.error(f"{key} = {value!r} cannot be used; write {words}", where, index, key)
            if key in keys.choices and value not in keys.choices[key]:
                raise self.error(f"{key} = {value!r} is not one of {', '.join(keys.choices[key])}", where, index, key)
        for key in keys.required:
            if key not in table:
                raise self.error(f"{key} is missing", where, index)

    def check_schema(self) -> None:
        """Raise ConfigError for a file of a schema that is not known."""
        if self.table.get("schema") != SCHEMA:
            problem = f"schema = {self.table.get('schema')} is not known; write schema = {SCHEMA}"
            raise self.error(problem, key="schema")


_WORDS: dict[type, str] = {
    str: "a text", int: "a number", float: "a number", bool: "true or false", list: "a list", dict: "a table",
}  # fmt: skip


def suggestion(word: str, known: Iterable[str]) -> str:
    """What may have been meant by a word that is not known."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"


def read(path: Path) -> Source:
    """Read a file; raises ConfigError for one that is not there, or no TOML."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        table = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at line (\d+)", str(error))
        line = place[1] if place else text.count("\n") + 1  # "at end of document"
        raise ConfigError(f"{path}:{line}: cannot be read as TOML: {error}") from None
    except (ValueError, RecursionError) as error:  # no UTF-8, a number of thousands of digits, thousands of brackets
        raise ConfigError(f"{path}: cannot be read as TOML: {error}") from None
    return Source(path, text, table)
