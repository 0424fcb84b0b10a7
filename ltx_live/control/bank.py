"""The prompt bank: what its triggers and values do to other values, as plain functions over the live values."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

from ltx_live.errors import ParameterError
from ltx_live.params import NUM_BANK_SLOTS


def slot_values(slots: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The values that fill the bank from slot 1 on with (name, text) pairs; more than the bank holds are left out."""
    values: dict[str, str] = {}
    for index, (name, text) in zip(range(1, NUM_BANK_SLOTS + 1), slots, strict=False):
        values[f"bank/{index}/name"] = name
        values[f"bank/{index}/text"] = text
    return values


def filled_slots(values: Mapping[str, Any]) -> list[int]:
    """The slots that hold a text, in order."""
    return [index for index in range(1, NUM_BANK_SLOTS + 1) if values[f"bank/{index}/text"]]


def connect(values: Mapping[str, Any], index: int) -> dict[str, Any]:
    """What playing a slot sets; raises ParameterError if it is empty."""
    text = values[f"bank/{index}/text"]
    if not text:
        raise ParameterError(f"bank slot {index} is empty; give it a prompt with /ltx/bank/{index}/text")
    return {"bank/selected": index, "prompt": text}


def trigger_effects(name: str, values: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
    """What a bank trigger sets; empty for any other trigger. Raises ParameterError if there is nothing to play."""
    match name.split("/"):
        case ["bank", index, "connect"]:
            return connect(values, int(index))
        case ["bank", "next" | "prev" | "random" as way]:
            return connect(values, _neighbour(way, values, rng))
    return {}


def value_effects(name: str, values: Mapping[str, Any], value: Any) -> dict[str, Any]:
    """What setting a value sets besides: free text leaves the bank, a selected slot brings its prompt."""
    if name == "prompt":
        return {"bank/selected": 0}
    if name == "bank/selected" and value > 0:
        return connect(values, value)
    return {}


def _neighbour(way: str, values: Mapping[str, Any], rng: random.Random) -> int:
    filled = filled_slots(values)
    if not filled:
        raise ParameterError("the bank is empty; give a slot a prompt with /ltx/bank/1/text")
    selected = values["bank/selected"]
    if way == "next":
        return next((index for index in filled if index > selected), filled[0])
    if way == "prev":
        return next((index for index in reversed(filled) if index < selected), filled[-1])
    return rng.choice([index for index in filled if index != selected] or filled)
