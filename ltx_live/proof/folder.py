"""The folder of a proof: films, contact sheets, tables, and the summary for people and for programs."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ltx_live.errors import LtxLiveError
from ltx_live.media.recording import VideoWriter
from ltx_live.proof.takes import Take


@dataclass
class Proof:
    """What was found: figures by section, checks that hold or not, and what each part that failed said.

    `is_finished` is false in the summary of a run that was broken off.
    """

    folder: Path
    figures: dict[str, Any] = field(default_factory=dict)
    checks: dict[str, bool] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    is_finished: bool = False

    @property
    def is_good(self) -> bool:
        return not self.faults and all(self.checks.values())

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Run a part: its fault is noted and the others go on; the summary is written whatever happens."""
        try:
            yield
        except (LtxLiveError, OSError, torch.OutOfMemoryError) as error:
            self.faults[name] = " ".join(str(error).split())
        finally:
            self.save()

    def check(self, name: str, holds: bool) -> None:
        """Note whether something holds that must."""
        self.checks[name] = bool(holds)

    def save(self) -> None:
        """Write summary.json and summary.md. Raises OSError."""
        summary = {
            "is_finished": self.is_finished,
            "checks": self.checks,
            "faults": self.faults,
            "figures": _plain(self.figures),
        }
        text = json.dumps(summary, indent=1, allow_nan=False)
        (self.folder / "summary.json").write_text(text + "\n", encoding="utf-8")
        (self.folder / "summary.md").write_text("\n".join(self._lines()) + "\n", encoding="utf-8")

    def _lines(self) -> Iterator[str]:
        """The summary for people."""
        yield "# Proof of an LTX-2.3 model played by ltx_live"
        if not self.is_finished:
            yield "\n**Not finished:** the run was broken off."
        yield "\n## Checks\n"
        yield from (f"- {'ok' if holds else '**FAILED**'}: {name}" for name, holds in self.checks.items())
        yield from (f"- **FAULT** in {name}: {text}" for name, text in self.faults.items())
        for title, section in self.figures.items():
            yield f"\n## {title.capitalize()}\n"
            if all(isinstance(value, Mapping) for value in section.values()):
                yield from table(section)
            else:
                yield from (f"- {name}: {readable(value)}" for name, value in section.items())


def table(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Rows by name as a Markdown table."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    yield f"| | {' | '.join(columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    for name, row in rows.items():
        yield f"| {name} | {' | '.join(readable(row.get(column, '')) for column in columns)} |"


def readable(value: Any) -> str:
    """A figure with four digits, anything else as it is."""
    if isinstance(value, list):
        return ", ".join(readable(each) for each in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    """The value as JSON can hold it: no number that is none."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def write_film(path: Path, frames: np.ndarray, audio: np.ndarray, frame_rate: float) -> None:
    """Frames (F, H, W, 3) uint8 and sound (S, 2) as MP4. Raises MediaError."""
    with VideoWriter(path, frames.shape[2], frames.shape[1], frame_rate) as writer:
        for frame in frames:
            writer.write_frame(frame)
        writer.write_audio(audio)


def write_take(path: Path, take: Take, frame_rate: float) -> None:
    """A take as MP4."""
    write_film(path, take.frames, take.audio, frame_rate)


def write_steps(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """The statistics of every step as CSV, with six digits. Raises OSError."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({name: f"{x:.6g}" if isinstance(x, float) else x for name, x in row.items()})
