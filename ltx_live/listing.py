"""What `ltx-live params` and `ltx-live devices` print."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

from ltx_live import params
from ltx_live.errors import DeviceError
from ltx_live.params import Parameter

ROWS = *params.PARAMETERS, params.LANDING
HEADINGS = ("parameter", "default", "range", "tier", "lands", "what it does")
PIPED_WIDTH = 160  # columns of a table that is not printed on a terminal


def print_params(form: str | None) -> None:
    """Print the parameter table: for a terminal, or as `json` or `markdown`."""
    if form == "json":
        print(json.dumps([as_dict(row) for row in ROWS], indent=1))
    elif form == "markdown":
        print(params_markdown())
    else:
        print_table("", HEADINGS, [cells(row) for row in ROWS])


def as_dict(row: Parameter) -> dict[str, Any]:
    """One row for JSON: its fields and its OSC address."""
    fields = {
        field.name: getattr(row, field.name) for field in dataclasses.fields(row) if field.name not in ("snap", "check")
    }
    return {"address": row.address} | fields


def cells(row: Parameter) -> tuple[str, ...]:
    """One row for a table."""
    default = "" if row.default is None else f"{row.default:g}" if row.kind in ("float", "bool") else str(row.default)
    doc = row.doc
    if row.count:
        doc += f" (N = 1 to {row.count})"
    return row.name, default, f"{row.range_text} {row.unit}".strip(), row.tier, row.landing or "", doc


def params_markdown() -> str:
    """The README's parameter table."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    for row in ROWS:
        name, *others = cells(row)
        lines.append("| " + " | ".join([f"`{name}`", *others]) + " |")
    return "\n".join(lines)


def print_devices() -> None:
    """Print sound outputs, MIDI inputs and screens, each with what stands in the way of finding some."""
    for title, found in (
        ("sound outputs (--audio)", sound_outputs),
        ("MIDI inputs (--midi)", midi_inputs),
        ("screens (--screen)", screens),
    ):
        try:
            lines = found() or ["none"]
        except DeviceError as error:
            lines = [f"none: {error}"]
        print(title)
        for line in lines:
            print(f"  {line}")


def sound_outputs() -> list[str]:
    """A line for each sound output: its index for --audio and its name. Raises DeviceError without PortAudio."""
    from ltx_live.stage import audio

    return [f"{index}  {name}{' (default)' if default else ''}" for index, name, default in audio.list_devices()]


def midi_inputs() -> list[str]:
    """The name of each MIDI input. Raises DeviceError without a MIDI system."""
    from ltx_live.control import midi

    return list(midi.list_inputs())


def screens() -> list[str]:
    """A line for each screen: its number for --screen and its size. Raises DeviceError without a display."""
    from ltx_live.stage import window

    return [f"{number}  {screen}" for number, screen in enumerate(window.list_screens(), start=1)]


def print_table(title: str, headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print a table as wide as the terminal, or PIPED_WIDTH wide into a pipe."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*headings, title=title or None, box=None, header_style="bold", title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, markup=False, highlight=False).print(table)
