"""The slots `lora/N` of a show: what they are to play, and what the engine plays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ltx_live.engine.process import Died, LoraFailed, LoraLoaded, LoraMerged, LoraMerging, Message, Ready
from ltx_live.errors import ParameterError
from ltx_live.lora_files import LoraFile, Shelf
from ltx_live.params import NUM_LORAS


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot: what it is to play, and what the engine plays from its next chunk on; "" is nothing.

    `fault` is why the last wish was not fulfilled. What is merged at load stays; `is_merging` says that it follows its
    fader.
    """

    wanted: str = ""
    wanted_path: Path | None = None
    played: str = ""
    played_path: Path | None = None
    is_merged: bool = False
    is_merging: bool = False
    fault: str = ""

    @property
    def state(self) -> str:
        """In a word: merging, merged, loading, failed, loaded or empty."""
        if self.is_merged:
            return "merging" if self.is_merging else "merged"
        if self.wanted_path != self.played_path:
            return "loading"
        return "failed" if self.fault else "loaded" if self.played else "empty"


class Rack:
    """The slots 1 to NUM_LORAS of a show. `load(slot, path)` asks the engine, whose messages `hear` is given.

    `at_start` are the files that every engine process begins with, in the slots from 1 on, `is_merged` into the model
    or with live strengths; what was put in while playing is asked of a new process again.
    """

    def __init__(
        self,
        shelf: Shelf,
        load: Callable[[int, Path | None], None],
        at_start: Sequence[Path] = (),
        is_merged: bool = False,
    ):
        self.shelf = shelf
        self._load = load
        self._is_ready = False
        first = [Slot(path.stem, path, path.stem, path, is_merged) for path in at_start]
        self._first = (*first, *[Slot()] * (NUM_LORAS - len(first)))
        self.slots = self._first
        for path in at_start:
            shelf.add(path)

    @property
    def played(self) -> tuple[str, ...]:
        """What the next chunk is made with, by slot: this changes where a gesture is to be answered."""
        return tuple(slot.played for slot in self.slots)

    @property
    def files(self) -> tuple[LoraFile | None, ...]:
        """What is known of the files that are played, by slot; None for an empty slot and where nothing is known."""
        by_path = {file.path: file for file in self.shelf.files}
        return tuple(by_path.get(slot.played_path) for slot in self.slots)

    def put(self, number: int, name: str) -> None:
        """Have a slot play the file of a name, or with "" nothing.

        Raises ParameterError, one line, for a file that is not there, broken or of another model, and for a slot whose
        LoRA is merged; what is in the slot stays then.
        """
        slot = self.slots[number - 1]
        if slot.is_merged:
            raise ParameterError(
                f"/ltx/lora/{number}/name: {slot.played} is merged into the model and stays; use another slot, or "
                "start with --set lora_merge_strategy=runtime"
            )
        path = None
        if name:
            file = self.shelf.file(name)
            if file.fault:
                raise ParameterError(f"/ltx/lora/{number}/name: {file.fault}")
            name, path = file.name, file.path
        self._set(number, replace(slot, wanted=name, wanted_path=path, fault=""))
        if self._is_ready:
            self._load(number, path)

    def may_begin_anew(self) -> bool:
        """Whether the slots of the files of the start still hold those: a new process will play them there."""
        both = zip(self.slots, self._first, strict=True)
        return all(first.wanted_path in (None, slot.wanted_path) for slot, first in both)

    def begin_with(self, is_merged: bool) -> None:
        """The process that is ready has the files of the start merged, or with live strengths."""
        self._first = tuple(replace(slot, is_merged=is_merged and slot.wanted_path is not None) for slot in self._first)

    def hear(self, message: Message) -> str | None:
        """Take note of what the engine says; the line to show of it, if there is one.

        After LoraFailed the slot's `wanted` is again what it plays.
        """
        match message:
            case Ready(_, layers):
                self._start(layers)
            case Died():
                self._is_ready = False
            case LoraLoaded(number, path, text):
                slot = self.slots[number - 1]
                name = "" if path is None else path.stem
                self._set(number, replace(slot, played=name, played_path=path))
                return text
            case LoraMerging(number):
                self._set(number, replace(self.slots[number - 1], is_merging=True, fault=""))
            case LoraMerged(number, _, text):
                self._set(number, replace(self.slots[number - 1], is_merging=False))
                return text
            case LoraFailed(number, path, text):
                slot = self.slots[number - 1]
                if path == slot.wanted_path:
                    kept = replace(slot, wanted=slot.played, wanted_path=slot.played_path, is_merging=False)
                    self._set(number, replace(kept, fault=text))
                return f"lora/{number}: {text}"
        return None

    def rows(self) -> list[tuple[str, str, str, int, str, str, str]]:
        """The answer to `/ltx/lora/list`: of each file name, kind, rank, reference downscale, match, slots, fault."""
        match_text = {True: "yes", False: "no", None: "unknown"}
        rows = []
        for file in self.shelf.files:
            slots = [str(number) for number, slot in enumerate(self.slots, start=1) if slot.played_path == file.path]
            rows.append(
                (
                    file.name,
                    file.kind or "",
                    file.rank_text,
                    file.reference_downscale_factor,
                    match_text[file.matches],
                    " ".join(slots),
                    file.fault,
                )
            )
        return rows

    def _start(self, layers: Mapping[str, tuple[int, int]]) -> None:
        """A new process plays what it began with; ask it for the rest."""
        self._is_ready = True
        self.shelf.fit(layers)
        for number, (slot, first) in enumerate(zip(self.slots, self._first, strict=True), start=1):
            begun = {"played": first.played, "played_path": first.played_path, "is_merged": first.is_merged}
            self._set(number, replace(slot, **begun, is_merging=False))
            if slot.wanted_path != first.played_path:
                self._load(number, slot.wanted_path)

    def _set(self, number: int, slot: Slot) -> None:
        self.slots = (*self.slots[: number - 1], slot, *self.slots[number:])
