"""Show files: one TOML holds a show's model, devices, values, bank, cues and snapshots.

The last state of a show is kept in the same form, beside a table `[last]`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ltx_live.config import HTTP_PORT, Config, parse_address
from ltx_live.control.cues import Cue, read_cues, read_values
from ltx_live.control.snapshots import is_held
from ltx_live.control.toml_source import SCHEMA, Keys, Source, read
from ltx_live.errors import ConfigError
from ltx_live.params import NUM_BANK_SLOTS, NUM_SNAPSHOTS
from ltx_live.weights.memory import MODES

_NUMBER = (int, float)
OPTIONS: dict[str, dict[str, tuple[str, tuple[type, ...]]]] = {
    "model": {
        "name": ("model", (str,)), "preset": ("preset", (str,)), "size": ("size", (str,)), "device": ("device", (str,)),
        "memory": ("memory", (str,)), "max_vram_gb": ("max_vram_gb", _NUMBER), "text_encoder": ("text_encoder", (str,)),
        "lora_unmatched": ("lora_unmatched", (str,)),
    },
    "midi": {"mapping": ("mapping", (str,)), "input": ("midi", (str,))},
    "osc": {"listen": ("osc", (str,))},
    "http": {"listen": ("http", (str,))},
    "audio": {"output": ("audio", (str,))},
    "screen": {"number": ("screen", (int,)), "fullscreen": ("fullscreen", (bool,))},
}  # fmt: skip
"""The tables that stand for options of the command line: each key with the option's name there, and its type."""

_CHOICES = {"memory": MODES, "lora_unmatched": ("error", "warn")}
_PATHS = ("model", "mapping", "text_encoder")
_TOP = {"schema": (int,), "show": (dict,), "values": (dict,), "prompts": (dict,), "bank": (list,), "cue": (list,)}
_TOP |= {"snapshot": (list,), "lora": (list,), "last": (dict,)} | {name: (dict,) for name in OPTIONS}
_SHOW = Keys({"name": (str,), "note": (str,)})
_LORA = Keys({"file": (str,), "strength": _NUMBER}, required=("file",))
_BANK = Keys({"slot": (int,), "name": (str,), "text": (str,)}, required=("slot",))
_SNAPSHOT = Keys({"number": (int,), "name": (str,), "values": (dict,)}, required=("number",))
_LAST = Keys({"show": (str,), "model": (str,), "ended": (bool,)}, required=("show", "model", "ended"))
_PROMPTS = ("prompt", "prompt/", "prompts/")
_MADE = re.compile(r"(bank|snap)/\d+/")


@dataclass(frozen=True, slots=True)
class ShowFile:
    """What a show file says, checked. `values` are live values by name: `[values]`, `[prompts]`, bank and names.

    `options` are those of the command line by their name there; `loras` are (file, strength) as written; `last` is the
    table of that name.
    """

    source: Source
    values: Mapping[str, Any] = field(default_factory=dict)
    cues: tuple[Cue, ...] = ()
    snapshots: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    loras: tuple[tuple[Path, float], ...] = ()
    last: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_bank(self) -> bool:
        """Whether it has a bank of its own."""
        return bool(self.source.table.get("bank"))


def load_show(path: Path) -> ShowFile:
    """Read and check a show file. Raises ConfigError, with the line, for what cannot be used."""
    return read_show(read(path))


def read_show(source: Source) -> ShowFile:
    """A show file's text, checked. Raises ConfigError."""
    table = source.table
    source.check_schema()
    source.check(Keys(_TOP), table, "show file", where="")
    source.check(_SHOW, table.get("show", {}), "show")
    last = table.get("last", {})
    if last:
        source.check(_LAST, last, "last")
    values = read_values(source, ("values", 0), table.get("values", {}))
    values |= _prompts(source)
    kept, names = _snapshots(source)
    return ShowFile(
        source=source,
        values=values | _bank(source) | names,
        cues=read_cues(source),
        snapshots=kept,
        options=_options(source),
        loras=_loras(source),
        last=last,
    )


def _prompts(source: Source) -> dict[str, Any]:
    """`[prompts]` takes the same names as `[values]`; only that they are prompts."""
    prompts = source.table.get("prompts", {})
    for key in prompts:
        if not key.removeprefix("/ltx/").startswith(_PROMPTS):
            raise source.error(f"{key} is no prompt; put it under [values]", "prompts", 0, key)
    return read_values(source, ("prompts", 0), prompts)


def _numbered(source: Source, kind: str, keys: Keys, key: str, top: int) -> list[tuple[int, Mapping[str, Any], int]]:
    """(number, table, place) of each table of a kind; numbers are 1..top, each once."""
    found: dict[int, tuple[int, Mapping[str, Any], int]] = {}
    for index, table in enumerate(source.table.get(kind, [])):
        source.check(keys, table, kind, index)
        number = table[key]
        if not 1 <= number <= top:
            raise source.error(f"{key} = {number} is not 1 to {top}", kind, index, key)
        if number in found:
            raise source.error(f"there is another {kind} with {key} = {number}; leave one out", kind, index, key)
        found[number] = number, table, index
    return list(found.values())


def _bank(source: Source) -> dict[str, Any]:
    values = {}
    for slot, table, index in _numbered(source, "bank", _BANK, "slot", NUM_BANK_SLOTS):
        texts = {f"bank/{slot}/{key}": table.get(key, "") for key in ("name", "text")}
        values |= read_values(source, ("bank", index), texts)
    return values


def _snapshots(source: Source) -> tuple[dict[int, dict[str, Any]], dict[str, str]]:
    """The snapshots by number, and their names as live values."""
    kept, names = {}, {}
    for number, table, index in _numbered(source, "snapshot", _SNAPSHOT, "number", NUM_SNAPSHOTS):
        if "values" in table:
            kept[number] = read_values(source, ("snapshot", index), table["values"])
        for name in table.get("values", {}):
            if not is_held(name.removeprefix("/ltx/")):
                raise source.error(f"{name} cannot be part of a snapshot", "snapshot", index, name)
        names[f"snap/{number}/name"] = table.get("name", "")
    return kept, names


def _options(source: Source) -> dict[str, Any]:
    """The options; a path that is there beside the show file is meant from there."""
    options: dict[str, Any] = {}
    for name, keys in OPTIONS.items():
        types = {key: each for key, (_, each) in keys.items()}
        table = source.table.get(name, {})
        source.check(Keys(types, _CHOICES), table, name)
        options |= {keys[key][0]: value for key, value in table.items()}
    for name in _PATHS:
        if name in options and (source.path.parent / options[name]).exists():
            options[name] = str((source.path.parent / options[name]).absolute())
    if "text_encoder" in options:
        options["text_encoder"] = Path(options["text_encoder"])
    for name in ("osc", "http"):
        try:
            if options.get(name, "none") != "none":
                parse_address(options[name], "listen =")
        except ConfigError as error:
            raise source.error(str(error), name, 0, "listen") from None
    return options


def _loras(source: Source) -> tuple[tuple[Path, float], ...]:
    loras = []
    for index, table in enumerate(source.table.get("lora", [])):
        source.check(_LORA, table, "lora", index)
        beside = source.path.parent / table["file"]
        loras.append((beside if beside.is_file() else Path(table["file"]), float(table.get("strength", 1))))
    return tuple(loras)


def made(values: Mapping[str, Any], snapshots: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """The tables of what a performer makes while playing, the bank and the snapshots, for a file."""
    bank, kept = [], []
    for slot in range(1, NUM_BANK_SLOTS + 1):
        texts = {key: values[f"bank/{slot}/{key}"] for key in ("name", "text")}
        if any(texts.values()):
            bank.append({"slot": slot} | {key: text for key, text in texts.items() if text})
    for number in range(1, NUM_SNAPSHOTS + 1):
        name = values[f"snap/{number}/name"]
        if number in snapshots or name:
            named = {"number": number} | ({"name": name} if name else {})
            kept.append(named | ({"values": written(snapshots[number])} if number in snapshots else {}))
    return {"bank": bank, "snapshot": kept}


def stand(values: Mapping[str, Any], start: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of where the live values stand: those that differ from the `base`, or from what the show began with.

    `base` are the values without a show file and without options. The bank and names of snapshots are `made`.
    """
    moved = {
        name: value
        for name, value in values.items()
        if (value != base[name] or value != start[name]) and not _MADE.match(name)
    }
    prompts = {name: value for name, value in moved.items() if name.startswith(_PROMPTS)}
    others = {name: value for name, value in moved.items() if name not in prompts}
    return {"values": written(others), "prompts": written(prompts)}


def written(values: Mapping[str, Any]) -> dict[str, Any]:
    """Live values as TOML can hold them."""
    return {
        name: "none" if value is None else list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
    }


def new_show(config: Config) -> dict[str, Any]:
    """The tables of a new show file but for those of `made` and `stand`: what was chosen when the show was started."""
    usual = Config(http=("127.0.0.1", HTTP_PORT))
    chosen = {each.name: getattr(config, each.name) for each in fields(Config)}
    chosen = {name: value for name, value in chosen.items() if name == "model" or value != getattr(usual, name)}
    for name in {"osc", "http"} & chosen.keys():
        chosen[name] = "none" if chosen[name] is None else "{}:{}".format(*chosen[name])
    if "text_encoder" in chosen:
        chosen["text_encoder"] = str(config.text_encoder)
    tables: dict[str, Any] = {"schema": SCHEMA}
    for name, keys in OPTIONS.items():
        tables[name] = {key: chosen[option] for key, (option, _) in keys.items() if option in chosen}
    tables["lora"] = [{"file": str(path), "strength": strength} for path, strength in config.loras]
    if config.cues_file is not None:
        tables["cue"] = read(config.cues_file).table.get("cue", [])
    return tables
