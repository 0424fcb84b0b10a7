"""`prompt/hold`: edits of prompts wait, and what was played before goes on, until `prompt/apply` lets them land."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ltx_live import params

HOLD, APPLY = "prompt/hold", "prompt/apply"


class PromptHold:
    """`played` is what goes on of the prompts while edits wait, by name; it is empty where none waits."""

    def __init__(self) -> None:
        self.played: dict[str, Any] = {}

    def take(self, olds: Mapping[str, Any], fired: Iterable[str], values: Mapping[str, Any]) -> tuple[str, ...]:
        """Take note of a transaction: the old value of what it changed, what it fired, all values after it.

        The names of what waits no longer: all after APPLY or when HOLD ends, one that is again as it is played.
        """
        for name, old in olds.items():
            if is_prompt(name) and values[HOLD]:
                self.played.setdefault(name, old)
        over = not values[HOLD] or APPLY in fired
        gone = tuple(name for name, value in self.played.items() if over or value == values[name])
        for name in gone:
            del self.played[name]
        return gone


def is_prompt(name: str) -> bool:
    """Whether a value is one that prompts are made of."""
    return name == "bank/selected" or (name.startswith(("prompt", "prompts/")) and params.find(name).tier != "frame")
