"""Values with which the engine failed: they are given up for those that worked, until they change."""

from __future__ import annotations

import dataclasses
from typing import Any

from ltx_live.gestures import with_fields

MAX_FAILURES = 2
"""Failures in a row after which values are given up; one is enough for values that were given up before."""


class Refusals:
    """Suspects are the fields in which what failed differs from what worked; in every failure, where there are several.

    `text` is what is said while values are given up, "" otherwise.
    """

    def __init__(self) -> None:
        self.text = ""
        self._suspects: dict[str, Any] = {}
        self._num_failures = 0  # in a row

    def failed(self, params: Any, made: Any | None, text: str) -> None:
        """A chunk with these GenerationParams failed; `made` are those of the last that worked."""
        self._num_failures += 1
        if made is None:
            return
        names = [field.name for field in dataclasses.fields(params)]
        suspects = {name: getattr(params, name) for name in names if getattr(params, name) != getattr(made, name)}
        again = {name: value for name, value in suspects.items() if self._suspects.get(name, made) == value}
        self._suspects = again or suspects
        if self._suspects and self._num_failures >= MAX_FAILURES:
            self.text = f"{text}; the values before go on until one is changed"

    def worked(self) -> None:
        """A chunk was made."""
        if not self.text:
            self._suspects, self._num_failures = {}, 0

    def working(self, params: Any, made: Any) -> Any:
        """The values with those that were given up as they were in `made`; a suspect that has changed clears them all."""
        if not self.text:
            return params
        if any(getattr(params, name) != value for name, value in self._suspects.items()):
            self.text, self._num_failures = "", MAX_FAILURES - 1
            return params
        return with_fields(params, made, self._suspects)
