"""Snapshots: values kept under a number and brought back, and what lies between two of them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from typing import Any

from ltx_live import params
from ltx_live.errors import ParameterError

_NEVER = re.compile(r"(bank/\d+|snap|cue|land|midi|sys)/")
"""The bank is kept apart; where things land, controllers, cues and snapshots are how a show is played, not what."""


def is_held(name: str) -> bool:
    """Whether a snapshot holds this parameter: a live value that is not a part of how a show is played."""
    row = params.find(name)
    return row.kind != "trigger" and row.tier != "reload" and not _NEVER.match(name)


def is_excluded(name: str, patterns: str) -> bool:
    """Whether a list of patterns (`out/master, audio/*`) names a parameter; a group's name stands for all in it."""
    for pattern in re.split(r"[,\s]+", patterns):
        pattern = pattern.removeprefix("/ltx/").rstrip("/")
        if pattern and (fnmatch.fnmatchcase(name, pattern) or name.startswith(f"{pattern}/")):
            return True
    return False


class Snapshots:
    """The snapshots of a show by number, 1..NUM_SNAPSHOTS: each some values by name.

    What `snap/exclude` names is kept as well, but left as it is at a recall.
    """

    def __init__(self, kept: Mapping[int, Mapping[str, Any]] | None = None):
        self.kept: dict[int, dict[str, Any]] = {index: dict(values) for index, values in (kept or {}).items()}

    def save(self, index: int, values: Mapping[str, Any]) -> None:
        """Keep the present values."""
        self.kept[index] = {name: value for name, value in values.items() if is_held(name)}

    def recalled(self, index: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """What a recall sets; raises ParameterError for a snapshot that was never saved."""
        if index not in self.kept:
            known = ", ".join(map(str, sorted(self.kept))) or "none yet"
            raise ParameterError(f"snapshot {index} is empty (saved: {known}); keep one with /ltx/snap/{index}/save")
        excluded = values["snap/exclude"]
        return {name: value for name, value in self.kept[index].items() if not is_excluded(name, excluded)}

    def between(self, x: float, values: Mapping[str, Any]) -> dict[str, Any]:
        """What `snap/xfade` sets: x of the way from snapshot `snap/a` to `snap/b`, in all that both hold.

        Fractional numbers are mixed, all else switches in the middle.
        """
        for side in ("snap/a", "snap/b"):
            if not values[side]:
                raise ParameterError(f"/ltx/snap/xfade: {side} is 0; send the number of a snapshot to /ltx/{side}")
        a, b = (self.recalled(values[side], values) for side in ("snap/a", "snap/b"))
        return {name: _mixed(name, a[name], b[name], x) for name in a if name in b}


def _mixed(name: str, a: Any, b: Any, x: float) -> Any:
    if params.find(name).kind == "float":
        return a + (b - a) * x
    return a if x < 0.5 else b
