"""The LoRA files that a show can play: those in its folders, watched while it plays."""

from __future__ import annotations

import difflib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ltx_live.errors import CheckpointError, ParameterError
from ltx_live.weights.lora_header import Kind, LoraHeader, Targets, Unmatched, read_lora_header

POLL_S = 1.0
"""How often the folders are looked at; a file that has not changed is not opened."""

SUFFIX = ".safetensors"

Stamp = tuple[int, int]
"""Size and time of change of a file."""


def folders(home: Path) -> tuple[Path, ...]:
    """Where LoRAs are looked for, the home's own folder first; they need not exist."""
    return home / "loras", Path.home() / ".daydream-scope/models/lora"


@dataclass(frozen=True, slots=True)
class LoraFile:
    """A file, as its header tells; `matches` says whether it fits the model, None while that is not known.

    `fault` is why it cannot be played, in one line. `preparation` is what an IC-LoRA's or ID-LoRA's reference should be
    made into (a key of `weights.ic_loras.PREPARATIONS`, "" where nothing is known), `strength` where its fader starts.
    """

    name: str
    path: Path
    kind: Kind | None = None
    ranks: tuple[int, ...] = ()
    reference_downscale_factor: int = 1
    preparation: str = ""
    strength: float = 1.0
    matches: bool | None = None
    fault: str = ""

    @property
    def rank_text(self) -> str:
        """Its rank, or the range of its ranks."""
        return f"{self.ranks[0]} to {self.ranks[-1]}" if len(self.ranks) > 1 else "".join(map(str, self.ranks))


def examine(path: Path, targets: Targets | None, unmatched: Unmatched = "error") -> LoraFile:
    """What a file is, and whether it fits the layers of a model; of its tensors nothing is read."""
    try:
        header = read_lora_header(path)
    except CheckpointError as error:
        return LoraFile(path.stem, path, matches=False, fault=str(error))
    found = _described(header)
    if targets is None:
        return found
    try:
        header.match(targets, unmatched)
    except CheckpointError as error:
        return replace(found, matches=False, fault=str(error))
    return replace(found, matches=True)


def _described(header: LoraHeader) -> LoraFile:
    known, kind = header.known, header.kind
    usual = {"style": "", "IC": "video", "ID": "voice"}[kind]
    return LoraFile(
        header.path.stem,
        header.path,
        kind,
        header.ranks,
        header.reference_downscale_factor,
        usual if known is None else known.preparations[0],
        1.0 if known is None else known.strength,
    )


class Shelf:
    """The LoRA files in some folders, sorted by name; of two with one name, that of the folder named first.

    `unmatched` says what keys are that match no layer of the model: an "error", or a reason to "warn".

    `files` is published anew whenever something has changed, by a thread that `watch` starts; `look` does one round.
    """

    def __init__(self, folders: Sequence[Path], unmatched: Unmatched = "error", poll_s: float = POLL_S):
        self.files: tuple[LoraFile, ...] = ()
        self._folders = tuple(folders)
        self._dropped: tuple[Path, ...] = ()
        self._unmatched = unmatched
        self._poll_s = poll_s
        self._layers: Mapping[str, tuple[int, int]] | None = None
        self._targets: Targets | None = None
        self._known: dict[Path, tuple[Stamp, Targets | None, LoraFile]] = {}
        self._is_closed = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="LoRA folders", daemon=True)

    def watch(self) -> None:
        """Look at the folders from now on."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._is_closed = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def fit(self, layers: Mapping[str, tuple[int, int]]) -> None:
        """Compare all files with the model that has these layers, (out, in) by name."""
        if layers != self._layers:
            self._layers = layers
            self._wake.set()

    def add(self, path: Path) -> None:
        """A file of any folder belongs to the shelf from now on."""
        self._dropped = tuple(dict.fromkeys((*self._dropped, path.absolute())))
        self._wake.set()

    def has(self, name: str) -> bool:
        """Whether a file of that name lies there."""
        return any(each.name == name.removesuffix(SUFFIX) for each in self.files)

    def file(self, name: str) -> LoraFile:
        """The file of that name; a path that is on no shelf yet joins it. Raises ParameterError where there is none."""
        name = name.removesuffix(SUFFIX)
        for each in self.files:
            if name in (each.name, str(each.path.with_suffix(""))):
                return each
        path = os.path.expanduser(f"{name}{SUFFIX}")
        if os.path.isfile(path):
            self.add(Path(path))
            return LoraFile(Path(path).stem, Path(path).absolute())
        near = difflib.get_close_matches(name[:80], [each.name for each in self.files], n=1, cutoff=0.5)
        where = " or ".join(map(str, self._folders))
        hint = f"did you mean {near[0]}?" if near else "put it there"
        raise ParameterError(f"LoRA {name[:80]}: no such file in {where}; {hint}")

    def look(self) -> None:
        """Look at the folders once, and examine what is new or has changed."""
        layers = self._layers
        if layers is not None and (self._targets is None or self._targets.shapes is not layers):
            self._targets = Targets(layers)
        known: dict[Path, tuple[Stamp, Targets | None, LoraFile]] = {}
        for path, stamp in self._found():
            before = self._known.get(path)
            if before is None or before[:2] != (stamp, self._targets):
                before = stamp, self._targets, examine(path, self._targets, self._unmatched)
            known[path] = before
        self._known = known
        by_name: dict[str, LoraFile] = {}
        for *_, file in known.values():
            by_name.setdefault(file.name, file)
        files = tuple(by_name[name] for name in sorted(by_name, key=str.casefold))
        if files != self.files:
            self.files = files

    def _found(self) -> Iterator[tuple[Path, Stamp]]:
        paths = list(self._dropped)
        for folder in self._folders:
            try:
                paths += sorted(path for path in folder.iterdir() if path.suffix == SUFFIX)
            except OSError:  # not there, or not to be read: it may come
                continue
        for path in paths:
            try:
                status = path.stat()
            except OSError:  # removed just now
                continue
            yield path, (status.st_size, status.st_mtime_ns)

    def _watch(self) -> None:
        while not self._is_closed:
            self._wake.clear()
            self.look()
            self._wake.wait(self._poll_s)
