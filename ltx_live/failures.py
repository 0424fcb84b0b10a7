"""What is done about chunks that fail: another try after a while, then the values that worked before."""

from __future__ import annotations

import dataclasses
from typing import Any

from ltx_live.gestures import with_fields

FIRST_RETRY_DELAY_S = 0.5
LONGEST_RETRY_DELAY_S = 10.0
MAX_FAILURES = 2
"""Failures in a row after which values are given up; one is enough for values that were given up before."""


class Failures:
    """Suspects are the fields in which what failed differs from what worked; in every failure, where there are several.

    `refusal` is what is said while values are given up, "" otherwise. Nothing is to be asked for before `retry_at_s`.
    """

    def __init__(self) -> None:
        self.refusal = ""
        self.retry_at_s = 0.0
        self._delay_s = FIRST_RETRY_DELAY_S
        self._suspects: dict[str, Any] = {}
        self._num = 0  # in a row

    def add(self, params: Any, made: Any | None, text: str, now_s: float) -> str:
        """A chunk with these GenerationParams failed; `made` are those of the last that worked. What is said of it."""
        self._num += 1
        if made is not None:
            names = [field.name for field in dataclasses.fields(params)]
            suspects = {name: getattr(params, name) for name in names if getattr(params, name) != getattr(made, name)}
            again = {name: value for name, value in suspects.items() if self._suspects.get(name, made) == value}
            self._suspects = again or suspects
            if self._suspects and self._num >= MAX_FAILURES:
                self.refusal = f"{text}; the values before go on until one is changed"
                self.retry_at_s = now_s
                return self.refusal
        self.retry_at_s = now_s + self._delay_s
        self._delay_s = min(LONGEST_RETRY_DELAY_S, 2 * self._delay_s)
        return f"{text} (again in {self.retry_at_s - now_s:g} s)"

    def worked(self) -> None:
        """A chunk was made."""
        self._delay_s = FIRST_RETRY_DELAY_S
        if not self.refusal:
            self._suspects, self._num = {}, 0

    def working(self, params: Any, made: Any) -> Any:
        """The values, those that were given up as they were in `made`; a suspect that has changed clears them all."""
        if not self.refusal:
            return params
        if any(getattr(params, name) != value for name, value in self._suspects.items()):
            self.refusal, self._num = "", MAX_FAILURES - 1
            return params
        return with_fields(params, made, self._suspects)
