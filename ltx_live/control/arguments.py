"""Arguments of a message as values: whatever a sender's program makes of text and numbers is taken."""

from __future__ import annotations

from typing import Any

from ltx_live.errors import ParameterError
from ltx_live.params import Parameter

MAX_TEXT = 8000
"""Longest text of a prompt or name, in characters."""


def as_text(row: Parameter, args: tuple[Any, ...]) -> str:
    """Text from its arguments; several are joined by spaces, as Max sends a sentence without quotes.

    A lone surrogate, which JSON can hold but no tokenizer reads, becomes a question mark.
    """
    words = []
    for arg in args:
        if arg is not None and not isinstance(arg, (str, int, float)):
            raise ParameterError(f"{row.address}: cannot use {short(arg)}; send text")
        words.append(row.coerce(arg))
    text = " ".join(words).encode("utf-8", "replace").decode("utf-8")
    if len(text) > MAX_TEXT:
        raise ParameterError(f"{row.address}: {len(text)} characters are too many; send at most {MAX_TEXT}")
    return row.coerce(text)


def number_of(row: Parameter, arg: Any, must: bool) -> Any:
    """An argument as a number; unless it `must` be one, a word (`on`, a choice) is left to `Parameter.coerce`."""
    if not isinstance(arg, (str, int, float, type(None))):
        raise ParameterError(f"{row.address}: cannot use {short(arg)}; send {row.range_text}")
    number = number_in(arg) if isinstance(arg, str) else arg
    if number is None and must:
        raise ParameterError(f"{row.address}: cannot use {short(arg)} here; send a number")
    return arg if number is None else number


def number_in(text: str) -> float | None:
    """The number that a text is; None where it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def short(value: Any) -> str:
    """A value as a short word for messages."""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
