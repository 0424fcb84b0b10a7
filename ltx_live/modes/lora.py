"""The LoRAs of a running show: those that follow something are played while there is something to follow."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ltx_live import params as table
from ltx_live.engine.process import LoraFailed, LoraLoaded, LoraMerged, Message
from ltx_live.errors import ParameterError
from ltx_live.lora_files import LoraFile
from ltx_live.loras import Rack
from ltx_live.modes.use import Arrival, Setting, Told
from ltx_live.params import NUM_LORAS

PREPARED: Mapping[str, Mapping[str, Any]] = {
    "canny": {"ref/control": "canny", "ref/letterbox": False},
    "luminance": {"ref/control": "luminance", "ref/letterbox": False},
    "tracks": {"ref/control": "tracks", "ref/letterbox": False},
    "bars": {"ref/control": "none", "ref/letterbox": True},
    "mask": {"ref/control": "none", "ref/letterbox": False},
    "depth": {"ref/control": "none", "ref/letterbox": False},
    "pose": {"ref/control": "none", "ref/letterbox": False},
}
"""What of the reference's values a LoRA brings with it, by its preparation (`weights.ic_loras.PREPARATIONS`)."""

SLOTS = range(1, NUM_LORAS + 1)


class LoraMode:
    """Follows the values `lora/N/...` with a rack."""

    def __init__(self, rack: Rack):
        self.rack = rack
        self._told: list[Told] = []
        self._values: Mapping[str, Any] = table.defaults()
        self._wishes = dict.fromkeys(SLOTS, "")
        self._brings: dict[int, dict[str, tuple[Any, Any]]] = {}  # by slot: what comes with its file, and what was set

    def take(self, values: Mapping[str, Any], changed: Collection[str] = ()) -> None:
        """Follow the values `lora/N/name`.

        Once the engine has a file, what it brings with it is set, its strength first; not what was set together with
        its name (`changed`) or since.
        """
        self._values = values
        for number in SLOTS:
            wish = values[f"lora/{number}/name"]
            if wish != self._wishes[number]:
                self._wishes[number] = wish
                if wish != self.rack.slots[number - 1].wanted:
                    self._put(number, wish, changed)

    def hear(self, message: Message) -> None:
        """Take note of what the engine says."""
        line = self.rack.hear(message)
        match message:
            case LoraLoaded(number, path):
                if path == self.rack.slots[number - 1].wanted_path:
                    brings = self._brings.pop(number, {}).items()
                    self._told += [Setting(name, new) for name, (new, old) in brings if self._values[name] == old]
                self._told.append(Arrival(f"lora/{number}/name", line or ""))
            case LoraMerged(number):
                self._told.append(Arrival(f"lora/{number}/strength", line or ""))
            case LoraFailed(number, strength=float() as strength):
                self._told.append(Setting(f"lora/{number}/strength", strength, line or ""))
            case LoraFailed(number):
                self._brings.pop(number, None)
                self._correct(number, line or "")

    def tick(self) -> Iterator[Told]:
        """What has happened since the last tick."""
        told, self._told = self._told, []
        yield from told

    def fields(self, params: Any, follows: Mapping[str, bool]) -> dict[str, Any]:
        """The values of GenerationParams that a chunk is made with.

        `follows` says of the kinds IC and ID whether there is a reference and a speaker: without, they are not played,
        but for what is merged, which takes too long to come and go.
        """
        strengths = [
            strength if is_active and (slot.is_merged or file is None or follows.get(file.kind or "", True)) else 0.0
            for strength, is_active, slot, file in zip(
                params.lora_strength, params.lora_active, self.rack.slots, self.rack.files, strict=True
            )
        ]
        return {
            "lora_name": tuple("" if slot.is_merged else slot.played for slot in self.rack.slots),
            "lora_strength": tuple(strengths),
            "lora_active": (True,) * NUM_LORAS,
        }

    def factor(self, strengths: tuple[float, ...]) -> int:
        """How much smaller a reference is than the picture: what the first IC-LoRA that is played wants, else 1."""
        for file, strength in zip(self.rack.files, strengths, strict=True):
            if file is not None and file.kind == "IC" and strength > 0:
                return file.reference_downscale_factor
        return 1

    @property
    def is_known(self) -> bool:
        """Whether it is known which files fit the model."""
        return any(file.matches is not None for file in self.rack.shelf.files)

    def is_wanted(self, kind: str) -> bool:
        """Whether a LoRA of this kind is in a slot, or is to come into it."""
        wanted = {slot.wanted_path for slot in self.rack.slots}
        return any(file.kind == kind and file.path in wanted for file in self.rack.shelf.files)

    def free_slot(self) -> int | None:
        """The first slot that nothing is wanted in."""
        return next((number for number, slot in zip(SLOTS, self.rack.slots, strict=True) if not slot.wanted), None)

    def find(self, kind: str) -> LoraFile | None:
        """A file of this kind that fits the model."""
        return next((file for file in self.rack.shelf.files if file.kind == kind and file.matches), None)

    def _put(self, number: int, name: str, changed: Collection[str]) -> None:
        try:
            self.rack.put(number, name)
        except ParameterError as error:
            self._correct(number, str(error))
            return
        slot = self.rack.slots[number - 1]
        if slot.wanted != name:
            self._correct(number)
        file = next((each for each in self.rack.shelf.files if each.path == slot.wanted_path), None)
        brings: dict[str, Any] = {}
        if file is not None:
            brings = {f"lora/{number}/strength": file.strength, **PREPARED.get(file.preparation, {})}
        self._brings[number] = {
            each: (value, self._values[each]) for each, value in brings.items() if each not in changed
        }

    def _correct(self, number: int, text: str = "") -> None:
        """The value is to be what the slot wants."""
        self._told.append(Setting(f"lora/{number}/name", self.rack.slots[number - 1].wanted, text))
