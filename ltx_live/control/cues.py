"""The cue list: what a TOML file says of it, and what each cue sets, as plain functions over the live values."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltx_live import params
from ltx_live.control import bank
from ltx_live.control.arguments import MAX_TEXT
from ltx_live.control.glides import Span, parse_span
from ltx_live.control.snapshots import Snapshots
from ltx_live.control.toml_source import Keys, Source, read
from ltx_live.errors import ParameterError
from ltx_live.params import NUM_BANK_SLOTS, NUM_SNAPSHOTS

KEYS = Keys(
    {
        "number": (int, float), "name": (str,), "prompt": (str,), "bank": (int,), "snapshot": (int,),
        "values": (dict,), "morph": (int, float, str), "follow": (int, float, str), "next": (int, float, str),
        "note": (str,),
    }
)  # fmt: skip
_FILE = Keys({"schema": (int,), "cue": (list,)})
_PROMPTS = ("prompt", "prompt/", "prompts/", "bank/selected")


@dataclass(frozen=True, slots=True)
class Cue:
    """One cue: what it brings, over which time numbers and the prompt reach it, and when the next one follows.

    `follow` None waits for `cue/go`; `next` names the cue that comes after it, "" = the one below it in the list.
    """

    number: float
    name: str = ""
    prompt: str | None = None
    bank: int = 0
    snapshot: int = 0
    values: Mapping[str, Any] = field(default_factory=dict)
    morph: Span = Span()
    follow: Span | None = None
    next: str = ""
    note: str = ""

    @property
    def label(self) -> str:
        """What it is called in `cue/current`: number and name."""
        return f"{self.number:g} {self.name}".strip()


def load_cues(path: Path) -> tuple[Cue, ...]:
    """The cues of a file that holds nothing else. Raises ConfigError."""
    source = read(path)
    source.check_schema()
    source.check(_FILE, source.table, "cue list", where="")
    return read_cues(source)


def read_cues(source: Source) -> tuple[Cue, ...]:
    """The tables `[[cue]]` of a file, in order; one without a number has that of its place. Raises ConfigError."""
    cues: list[Cue] = []
    for index, table in enumerate(source.table.get("cue", [])):
        source.check(KEYS, table, "cue", index)
        cue = _cue(source, index, table)
        if any(cue.number == other.number for other in cues):
            raise source.error(f"there is another cue {cue.number:g}; give each its own number", "cue", index, "number")
        cues.append(cue)
    for index, cue in enumerate(cues):
        if cue.next and isinstance(where := _look_up(cues, cue.next), str):
            raise source.error(f"next = {cue.next!r}: {where}", "cue", index, "next")
    return tuple(cues)


def read_values(source: Source, place: tuple[str, int], table: Mapping[str, Any]) -> dict[str, Any]:
    """Values by parameter name, coerced; `place` is the table that they stand in and its index. Raises ConfigError."""
    values = {}
    for key, value in table.items():
        name = key.removeprefix("/ltx/")
        try:
            row = params.find(name)
            if row.kind == "trigger":
                raise ParameterError(f"{row.address}: a trigger, which has no value")
            takes = (str, int, float, list) if row.kind == "floats" else (str, int, float)
            if not isinstance(value, takes) or len(str(value)) > MAX_TEXT:
                raise ParameterError(f"{row.address}: cannot use {str(value)[:60]}; write {row.range_text}")
            values[name] = row.coerce(value)
        except (ParameterError, OverflowError) as error:
            raise source.error(str(error), *place, key) from None
    return values


def _cue(source: Source, index: int, table: Mapping[str, Any]) -> Cue:
    for key, top in (("bank", NUM_BANK_SLOTS), ("snapshot", NUM_SNAPSHOTS)):
        if key in table and not 1 <= table[key] <= top:
            raise source.error(f"{key} = {table[key]} is not 1 to {top}", "cue", index, key)
    if "prompt" in table and "bank" in table:
        raise source.error("prompt and bank both give a prompt; leave one out", "cue", index, "bank")
    number = table.get("number", index + 1)
    if not 0 < number < 1e6:
        raise source.error(f"number = {number} is not more than 0 (and less than a million)", "cue", index, "number")
    values = read_values(source, ("cue", index), table.get("values", {}))
    for name in values:
        if params.find(name).tier == "reload" or name.startswith(("cue/", "snap/")):
            raise source.error(f"{name} cannot be set by a cue", "cue", index, name)
    return Cue(
        number=number,
        name=" ".join(table.get("name", "").split()),
        prompt=table.get("prompt"),
        bank=table.get("bank", 0),
        snapshot=table.get("snapshot", 0),
        values=values,
        morph=_span(source, index, table, "morph") or Span(),
        follow=_span(source, index, table, "follow"),
        next=_word(table.get("next", "")),
        note=table.get("note", ""),
    )


def _span(source: Source, index: int, table: Mapping[str, Any], key: str) -> Span | None:
    if key not in table:
        return None
    try:
        return parse_span(table[key])
    except ParameterError as error:
        raise source.error(f"{key} = {error}", "cue", index, key) from None


def find(cues: Sequence[Cue], word: Any) -> Cue:
    """The cue of a number, a name or a label; raises ParameterError."""
    found = _look_up(cues, _word(word))
    if isinstance(found, str):
        raise ParameterError(found)
    return found


def following(cues: Sequence[Cue], cue: Cue) -> Cue | None:
    """The cue that comes after one; None at the end of the list."""
    if cue.next:
        return find(cues, cue.next)
    return next((after for before, after in zip(cues, cues[1:], strict=False) if before is cue), None)


def before(cues: Sequence[Cue], cue: Cue) -> Cue:
    """The cue above one; raises ParameterError for the first."""
    index = cues.index(cue)
    if not index:
        raise ParameterError(f"cue {cue.label} is the first")
    return cues[index - 1]


def brings(cue: Cue, values: Mapping[str, Any], snapshots: Snapshots) -> dict[str, Any]:
    """What a cue sets in the end: its snapshot, over that its prompt, over that its values. Raises ParameterError.

    A cue that brings a prompt also says by which way it is reached.
    """
    brought = snapshots.recalled(cue.snapshot, values) if cue.snapshot else {}
    if cue.prompt is not None:
        brought |= {"prompt": cue.prompt, "bank/selected": 0}
    if cue.bank:
        brought |= bank.connect(values, cue.bank)
    brought |= cue.values
    if "prompt" in cue.values and "bank/selected" not in cue.values:
        brought["bank/selected"] = 0
    return brought | prompt_way(brought, cue.morph, values["tempo/beats_per_bar"]) | cue.values


def prompt_way(brought: Mapping[str, Any], span: Span, beats_per_bar: int) -> dict[str, Any]:
    """`prompts/morph` for values that bring a prompt; empty for others."""
    if not any(name.startswith(_PROMPTS) for name in brought):
        return {}
    unit = "seconds" if span.unit == "seconds" else "beats"
    row = params.find("prompts/morph")
    return {"prompts/morph": row.coerce(span.total(beats_per_bar)), "prompts/morph_unit": unit}


def _word(value: Any) -> str:
    """A number or name as it is looked for."""
    return f"{value:g}" if isinstance(value, (int, float)) else " ".join(str(value).split())


def _look_up(cues: Sequence[Cue], word: str) -> Cue | str:
    """The cue, or what is wrong; a label that has got another name since is found by its number."""
    for told in (lambda cue: cue.label, lambda cue: f"{cue.number:g}", lambda cue: cue.name):
        for cue in cues:
            if told(cue) and told(cue).lower() == word.lower():
                return cue
    number = word.split(" ")[0]
    for cue in cues:
        if f"{cue.number:g}" == number:
            return cue
    if not cues:
        return "there are no cues; load some with --cues FILE"
    names = [cue.name for cue in cues if cue.name]
    near = difflib.get_close_matches(word, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(cue.label for cue in cues[:12])}"
    return f"no such cue: {word[:60]}; {hint}"
