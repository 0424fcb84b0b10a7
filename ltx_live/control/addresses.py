"""From an OSC address to a row of the table."""

from __future__ import annotations

import difflib
import functools

from ltx_live import params
from ltx_live.control.patterns import NORM_ROOT, ROOT
from ltx_live.errors import ParameterError
from ltx_live.params import Parameter


def find_address(address: str) -> tuple[str, Parameter]:
    """The concrete name and row behind an address; raises ParameterError with a suggestion."""
    if len(address) > 200:
        raise ParameterError(f"{address[:60]}...: no such parameter; an address has at most 200 characters")
    found = _look_up(address)
    if isinstance(found, str):
        raise ParameterError(found)
    return found


@functools.lru_cache(maxsize=4096)
def _look_up(address: str) -> tuple[str, Parameter] | str:
    """Name and row, or the error's text: a suggestion costs a millisecond, and wrong senders repeat themselves."""
    if not address.startswith(ROOT):
        near = difflib.get_close_matches(address.strip("/"), params.concrete_names(), n=1, cutoff=0.5)
        hint = f"did you mean {ROOT}{near[0]}?" if near else f"addresses start with {ROOT}"
        return f"{address}: no such parameter; {hint}"
    name = address.removeprefix(NORM_ROOT) if address.startswith(NORM_ROOT) else address.removeprefix(ROOT)
    try:
        return name, params.find(name)
    except ParameterError as error:
        return str(error)
