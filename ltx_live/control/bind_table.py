"""One `[[bind]]` of a mapping file: its grammar, and the Binding it makes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ltx_live import params
from ltx_live.control.binding import ACTIONS, CURVES, TAKEOVERS, Binding, Control, smallest_step
from ltx_live.control.mapping_tables import NUMBER
from ltx_live.control.registry import full_range
from ltx_live.control.toml_source import Keys, Source
from ltx_live.errors import ConfigError, ParameterError
from ltx_live.params import NUM_PAGES, Parameter

GRIDS = tuple(grid for grid in params.LANDINGS if grid != "chunk")
_SCALAR = (str, int, float, bool)
BIND = Keys(
    {"control": (str,), "to": (str,), "action": (str,), "range": (list,), "unit": (str,), "curve": (str, list),
     "invert": (bool,), "takeover": (str,), "step": NUMBER, "steps": (int,), "accel": NUMBER, "deadzone": NUMBER,
     "smooth_ms": NUMBER, "quantise": (str,), "page": (int, list), "shift": (str,), "when": (dict,), "also": (bool,),
     "long_ms": NUMBER, "velocity": (bool,), "value": _SCALAR, "values": (dict,)},
    {"action": ACTIONS, "unit": ("real", "norm"), "takeover": TAKEOVERS, "quantise": GRIDS},
    ("control",),
)  # fmt: skip
_BOUNDS = {
    "steps": (2, 128), "accel": (0, 4), "deadzone": (0, 0.49), "smooth_ms": (1, 10_000), "long_ms": (100, 10_000),
}  # fmt: skip
_NUM_PROGRAMS = 128


@dataclass(frozen=True, slots=True)
class Place:
    """A table of a mapping file, and where in it."""

    source: Source
    index: int
    bind: dict[str, Any]
    table: str = "bind"

    def error(self, problem: str, key: str) -> ConfigError:
        """The error for one of its keys."""
        return self.source.error(problem, self.table, self.index, key if key in self.bind else "")


@dataclass(frozen=True, slots=True)
class Page:
    """When a binding works: on a page (None = on all), while a control is held."""

    number: int | None
    shift: Control | None


def pages(place: Place, to: str) -> list[int | None]:
    """The pages that a bind is for: those it names, with {page} in `to` all that there is a parameter for."""
    named = place.bind.get("page")
    if named is None:
        if "{page}" not in to:
            return [None]
        return [page for page in range(1, NUM_PAGES + 1) if to.replace("{page}", str(page)) in params.concrete_names()]
    numbers = named if isinstance(named, list) else [named]
    if not numbers or any(number not in range(1, NUM_PAGES + 1) or isinstance(number, bool) for number in numbers):
        raise place.error(f"page = {named} must be 1..{NUM_PAGES}, or a list of such", "page")
    return numbers


def find_row(place: Place, name: str, key: str) -> Parameter:
    """The row of a parameter that a table names; raises ConfigError with a suggestion."""
    try:
        return params.find(name)
    except ParameterError as error:
        raise place.error(str(error), key) from None


def binding(place: Place, control: Control, to: str, page: Page) -> Binding:
    """The Binding of a bind for one of its controls and one parameter; raises ConfigError."""
    bind = place.bind
    for key, (low, high) in _BOUNDS.items():
        if key in bind and not low <= bind[key] <= high:
            raise place.error(f"{key} = {bind[key]} must be {low} to {high}", key)
    whens = _targets(place, bind.get("when", {}), "when")
    more: dict[str, Any] = {
        key: bind[key] for key in ("invert", "accel", "deadzone", "also", "velocity") if key in bind
    }
    more |= {"page": page.number, "shift": page.shift, "when": whens, "quantise": bind.get("quantise", "now")}
    more |= {"num_steps": bind.get("steps", 0), "smooth_s": bind.get("smooth_ms", 0) / 1000}
    more |= {"long_s": bind.get("long_ms", 0) / 1000, **_curve(place)}
    if bind.get("action") == "scene":
        if "values" not in bind or to:
            raise place.error("action scene wants values = { name = value, ... } and no to", "action")
        return Binding(control, "", "scene", targets=_targets(place, bind["values"], "values"), **more)
    if not to:
        raise place.error("to is missing", "to")
    row = find_row(place, to, "to")
    action = _action(place, row)
    low, high = _range(place, control, row)
    step = bind.get("step", smallest_step(row, full_range(row) or (0, 1)))
    if not 0 < step < math.inf:
        raise place.error(f"step = {step} must be more than 0", "step")
    takeover = bind.get("takeover", "auto")
    targets = _targets(place, {to: bind["value"]}, "value") if action == "goto" else ()
    made = Binding(control, to, action, low, high, step=step, takeover=takeover, targets=targets, **more)
    if made.long_s and not made.is_press:
        raise place.error(f"long_ms wants an action that is a press, not {action}", "long_ms")
    return made


def _action(place: Place, row: Parameter) -> str:
    """What a control does: what is written, or what the parameter is for."""
    bind, whole = place.bind, full_range(row)
    if "value" in bind and bind.get("action", "goto") != "goto":
        raise place.error("value is for action goto", "value")
    usual = "trigger" if row.kind == "trigger" else "goto" if "value" in bind else "set"
    action = bind.get("action", usual)
    if action == "goto" and "value" not in bind:
        raise place.error("action goto wants a value", "action")
    fits = {
        "trigger": row.kind == "trigger",
        "goto": row.kind != "trigger",
        "toggle": row.kind == "bool" or (whole is not None and "range" in bind),
        "solo": whole is not None and row.count > 0,
        "scene": False,
    }.get(action, whole is not None)
    if not fits:
        hint = "; give it the range to switch between" if action == "toggle" and whole is not None else ""
        problem = f"action {action} cannot go to {row.name} ({row.kind}, {row.range_text}){hint}"
        raise place.error(problem, "action" if "action" in bind else "to")
    return action


def _range(place: Place, control: Control, row: Parameter) -> tuple[float, float]:
    """Low and high in the parameter's own unit; a program's are the numbers that are shown, 1..128."""
    bind, whole = place.bind, full_range(row) or (0, 1)
    on_norm = bind.get("unit") == "norm"
    usual = [1, _NUM_PROGRAMS] if control.kind == "program" and row.kind in ("int", "float") else list(whole)
    ends = bind.get("range", [0, 1] if on_norm else usual)
    is_numbers = all(isinstance(end, NUMBER) and not isinstance(end, bool) and math.isfinite(end) for end in ends)
    if len(ends) != 2 or not is_numbers or ends[0] == ends[1]:
        raise place.error(f"range = {ends} must be two different numbers", "range")
    low, high = (0, 1) if on_norm else whole
    if "range" in bind and not (low <= min(ends) and max(ends) <= high):
        raise place.error(f"range = {ends} leaves what {row.name} can be, {low:g} to {high:g}", "range")
    if on_norm:
        return whole[0] + ends[0] * (whole[1] - whole[0]), whole[0] + ends[1] * (whole[1] - whole[0])
    return ends[0], ends[1]


def _curve(place: Place) -> dict[str, Any]:
    curve = place.bind.get("curve", "lin")
    if isinstance(curve, str):
        if curve not in CURVES:
            raise place.error(f"curve = {curve!r} is not one of {', '.join(CURVES)}", "curve")
        return {"curve": curve}
    is_points = all(isinstance(y, NUMBER) and not isinstance(y, bool) and 0 <= y <= 1 for y in curve)
    if not 2 <= len(curve) <= 128 or not is_points:
        raise place.error(f"curve = {curve} must be a word or 2 to 128 numbers, 0 to 1", "curve")
    return {"table": tuple(map(float, curve))}


def _targets(place: Place, values: dict[str, Any], key: str) -> tuple[tuple[str, Any], ...]:
    """Names and values that a table sets or compares, coerced; a trigger among them has no value."""
    targets = []
    for name, value in values.items():
        name = name.removeprefix("/ltx/")
        row = find_row(place, name, key)
        if row.kind == "trigger" or not isinstance(value, (*_SCALAR, list)):
            raise place.error(f"{name} = {value!r} cannot be used in {key}", key)
        try:
            targets.append((name, row.coerce(value)))
        except ParameterError as error:
            raise place.error(str(error), key) from None
    return tuple(targets)
