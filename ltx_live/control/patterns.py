"""OSC address patterns: `*`, `?`, `[]` and `{}`. Source: OSC 1.0 specification, message dispatching."""

from __future__ import annotations

import functools
import re

from ltx_live import params

ROOT, NORM_ROOT = "/ltx/", "/ltx/norm/"
MAX_LENGTH = 200
MAX_WILDCARDS = 4

_SIGNS = re.compile(r"[*?\[{]")
_PIECES = re.compile(r"\*+|\?|\[[^\]]*\]|\{[^}]*\}|.", re.DOTALL)


def expand_pattern(address: str) -> list[str]:
    """The parameter addresses that an OSC pattern matches; an address without signs is itself.

    A pattern that matches nothing is returned as it is, to be reported as unknown. Raises ValueError for one that is
    not well formed, or has more than four wildcards or 200 characters: matching it could take the receiver's time.
    """
    if not _SIGNS.search(address):
        return [address]
    pattern = compile_pattern(address)
    roots = (NORM_ROOT, ROOT) if "norm" in address else (ROOT,)
    matches = [root + name for root in roots for name in params.concrete_names() if pattern.fullmatch(root + name)]
    return matches or [address]


@functools.lru_cache(maxsize=256)
def compile_pattern(pattern: str, across: bool = False) -> re.Pattern[str]:
    """A pattern as a regular expression for whole addresses; with `across` a `*` matches `/` too.

    Raises ValueError as `expand_pattern` does.
    """
    if len(pattern) > MAX_LENGTH or sum(pattern.count(sign) for sign in "*{") > MAX_WILDCARDS:
        raise ValueError("address pattern with too many wildcards")
    try:
        return re.compile("".join(_piece_regex(piece, across) for piece in _PIECES.findall(pattern)), re.DOTALL)
    except re.error as error:
        raise ValueError(f"address pattern: {error}") from None


def _piece_regex(piece: str, across: bool) -> str:
    if piece.startswith("*"):
        return ".*" if across else "[^/]*"
    if piece == "?":
        return "[^/]"
    if piece.startswith("[") and len(piece) > 2:
        inside = piece[1:-1]
        sign = "^" if inside.startswith("!") and len(inside) > 1 else ""
        inside = inside[1:] if sign else inside
        ranges = re.sub(r"(\w)\\-(\w)", r"\1-\2", re.escape(inside))
        return f"[{sign}{ranges}]"
    if piece.startswith("{") and len(piece) > 2:
        return "(?:" + "|".join(re.escape(word) for word in dict.fromkeys(piece[1:-1].split(","))) + ")"
    return re.escape(piece)
