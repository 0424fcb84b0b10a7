"""Which files may be named from where: whoever is not at this computer reaches the home's folders and nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from ltx_live import params
from ltx_live.control.arguments import as_text
from ltx_live.control.event import Event
from ltx_live.control.osc import is_loopback
from ltx_live.control.patterns import NORM_ROOT, ROOT
from ltx_live.errors import ParameterError
from ltx_live.lora_files import SUFFIX

FOLDERS = ("media", "loras")
_NAMES_A_FILE = re.compile(r"i2v_image|audio_input|ref/(source|mask)|lora/(\d+/name|drop)|midi/load")
_LIVE = re.compile(r"test|camera(:(/dev/video\d+|[^/\\]*))?")
"""References that are no files."""
_PLAIN = re.compile(r"[^/\\]*")


class Roots:
    """`home` is the show's; `is_lora(name)` tells whether a LoRA of that name lies in a folder that is watched.

    OSC and web senders of another computer may name what lies below the home's FOLDERS, links followed. This
    computer's senders, keys, controllers, files dropped and cues may name anything.
    """

    def __init__(self, home: Path, is_lora: Callable[[str], bool]):
        self._home = home
        self._is_lora = is_lora

    def refusal(self, event: Event) -> str | None:
        """The line for an event that names a file which its sender must not reach; None for every other event."""
        if is_here(event):
            return None
        name = event.address.removeprefix(NORM_ROOT).removeprefix(ROOT)
        if not _NAMES_A_FILE.fullmatch(name) or event.args in ((), ("?",)):
            return None
        try:
            text = str(event.args[0]) if name == "lora/drop" else as_text(params.find(name), event.args)
        except ParameterError:
            return None  # it is refused anyway
        folder = self._home / ("mappings" if name == "midi/load" else "loras" if name.startswith("lora/") else "media")
        if not text or self._may(name, text):
            return None
        return (
            f"{event.address} {text[:60]}: from another computer only what lies in {folder} can be named; put it there"
        )

    def _may(self, name: str, text: str) -> bool:
        if name == "midi/load":
            return _PLAIN.fullmatch(text) is not None
        if name.startswith("lora/"):
            path = Path(os.path.expanduser(text.removesuffix(SUFFIX) + SUFFIX))
            return self._is_lora(text) or (path.is_absolute() and self._holds(path))
        if name == "ref/source" and _LIVE.fullmatch(text):
            return True
        return self._holds(self._home / "media" / os.path.expanduser(text))

    def _holds(self, path: Path) -> bool:
        """Whether it is there, within one of the folders."""
        try:
            found = path.resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            return False
        return any(found.is_relative_to((self._home / name).resolve()) for name in FOLDERS)


def is_here(event: Event) -> bool:
    """Whether an event comes from this computer: not by OSC or from a page of another one."""
    if event.origin.kind not in ("osc", "web"):
        return True
    try:
        return is_loopback(event.origin.name)
    except ValueError:  # a page whose address is not known
        return False
