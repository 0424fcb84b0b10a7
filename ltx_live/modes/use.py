"""What a performer wishes, what is in use, and how a wish that cannot be fulfilled is taken back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple


class Used(NamedTuple):
    """A file or device that is in use under a name. `version` counts how often it began anew: a seek, another try.

    It stands in GenerationParams where the performer's wish stands in the live values, so that a change is a gesture
    when it can be fulfilled, not when it is wished. A reference is smaller than the picture by `factor`.
    """

    name: str
    version: int = 1
    factor: int = 1

    def __str__(self) -> str:
        return self.name


class Setting(NamedTuple):
    """What the live value of this name has to be: a wish that cannot be fulfilled is taken back, or one brings others.

    `text` is the line to show, "" for none.
    """

    name: str
    value: Any
    text: str = ""


class Arrival(NamedTuple):
    """A wish of this name is fulfilled from now on; `text` is the line to show, "" for none."""

    name: str
    text: str = ""


Told = Setting | Arrival | str
"""What a mode tells the show at a tick; text alone is a line for the performer."""


def asset(name: str, folder: Path) -> str:
    """The path of a file that is named as in the home's media folder, or as it is; "" stays ""."""
    path = os.path.expanduser(name)
    inside = os.path.join(folder, path)  # what is absolute stays as it is
    return inside if name and os.path.exists(inside) else path
