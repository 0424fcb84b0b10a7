"""Addresses of other programs that stand for ours, so that controllers made for them play this show.

Resolume's are those of resolume.com/support/en/osc; its tempo is a fader from 20 to 500 bpm.
"""

from __future__ import annotations

import re
from typing import Any

ALIASES = ("resolume",)
COMPOSITION = "/composition/"

_LOWEST_BPM, _BPM_RANGE = 20.0, 480.0
_TEMPO = f"{COMPOSITION}tempocontroller/tempo"
_FIXED = {
    "master": "out/master",
    "video/opacity": "out/opacity",
    "audio/volume": "audio/volume",
    "bypassed": "out/blackout",
    "connectnextcolumn": "bank/next",
    "connectprevcolumn": "bank/prev",
    "layers/1/master": "out/master",
    "layers/1/video/opacity": "out/opacity",
    "layers/1/audio/volume": "audio/volume",
    "layers/1/bypassed": "out/blackout",
    "layers/1/connectnextclip": "bank/next",
    "layers/1/connectprevclip": "bank/prev",
    "tempocontroller/tempotap": "tempo/tap",
    "tempocontroller/resync": "tempo/resync",
    "tempocontroller/tempopush": "tempo/nudge_up",
    "tempocontroller/tempopull": "tempo/nudge_down",
}
_STEPS = {f"{_TEMPO}inc": "+", f"{_TEMPO}dec": "-"}
_SLOTS = re.compile(r"/(?:composition/columns|(?:composition|ltx)/layers/1/clips)/(\d+)/(connect|name)")
_FED_BACK = {name: COMPOSITION + alias for alias, name in reversed(_FIXED.items())}


def resolume_to_ours(address: str, args: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]] | None:
    """Our message for one to Resolume; itself where it is no alias, None where it asks for nothing (a released step).

    Of layers only the first is ours: its clips, like the columns, are the bank. A leading "a" (absolute) is left out.
    """
    args = args[1:] if len(args) > 1 and args[0] == "a" else args
    slot = _SLOTS.fullmatch(address)
    if slot:
        return f"/ltx/bank/{slot[1]}/{slot[2]}", args
    if address in _STEPS:
        return ("/ltx/tempo/bpm", (_STEPS[address], 1.0)) if not args or args[-1] else None
    if address == _TEMPO:
        return "/ltx/tempo/bpm", _bpm(args)
    name = _FIXED.get(address.removeprefix(COMPOSITION)) if address.startswith(COMPOSITION) else None
    return (f"/ltx/{name}" if name else address), args


def ours_to_resolume(name: str, value: Any) -> tuple[str, Any] | None:
    """The address and value by which a controller for Resolume shows one of our values; None for what it lacks."""
    if name == "tempo/bpm":
        return _TEMPO, (value - _LOWEST_BPM) / _BPM_RANGE
    slot = re.fullmatch(r"bank/(\d+)/name", name)
    if slot:
        return f"{COMPOSITION}columns/{slot[1]}/name", value
    return (_FED_BACK[name], value) if name in _FED_BACK else None


def _bpm(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """A place on Resolume's fader as bpm; what is added or taken off is scaled alone."""
    if not args or not isinstance(args[-1], (int, float)):
        return args
    if len(args) > 1:
        return (args[0], args[-1] if args[0] == "*" else args[-1] * _BPM_RANGE)
    return (_LOWEST_BPM + args[0] * _BPM_RANGE,)
