"""All generation modes of a running show, as the flow of chunks sees them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ltx_live.chunk import NO_INPUTS, SAMPLE_RATE_HZ, Chunk, ChunkRequest, num_steps, work
from ltx_live.engine.process import Message
from ltx_live.loras import Rack
from ltx_live.modes.guide import GuideMode
from ltx_live.modes.image import ImageMode
from ltx_live.modes.lora import LoraMode
from ltx_live.modes.pace import Pace
from ltx_live.modes.sound import SoundMode
from ltx_live.modes.use import Setting, Told
from ltx_live.tempo import Tempo

FOLLOWED = re.compile(
    r"i2v_image|ref/.*|control_strength|audio_(input|mode)|audioin/.*|audio/(source|monitor)|live_align|lora/\d+/name"
    r"|react/source"
)
"""The values that `Modes.take` follows."""


class Modes:
    """What chunks are given beside their prompts. Nothing here waits; one thread.

    `take` follows the live values, `tick` says what has happened, `applied` gives the values that chunks are really
    made with, `filled` a request's inputs, and `made` is told of the chunks that are in the timeline.
    `size` is the chunk's (width, height), `folder` the home's media folder.
    """

    def __init__(self, size: tuple[int, int], folder: Path, tempo: Tempo, rack: Rack):
        self.image = ImageMode(size, folder)
        self.guide = GuideMode(size, folder)
        self.sound = SoundMode(folder, tempo)
        self.loras = LoraMode(rack)
        self._pace = Pace()
        self._slower = ""
        self._mode: float | None = None
        self._has_sought_voice = False

    @property
    def words(self) -> str:
        """What is in use, in a line for the display; "" for plain text."""
        parts = self.image.words, self.guide.words, self.sound.words, self._slower
        return ", ".join(part for part in parts if part)

    @property
    def delay_s(self) -> float:
        """How much later than it was there what is live is in the picture: the longest of them."""
        return max(self.guide.delay_s, self.sound.delay_s)

    @property
    def is_loading(self) -> bool:
        """Whether a file is still to be read."""
        return self.image.is_loading or self.guide.is_loading or self.sound.is_loading

    def take(self, values: Mapping[str, Any], changed: Collection[str]) -> None:
        """Follow the live values, by concrete name; `changed` are those that have changed together."""
        for mode in (self.image, self.guide, self.sound):
            mode.take(values)
        self.loras.take(values, changed)

    def hear(self, message: Message) -> None:
        """Take note of what the engine says."""
        self.loras.hear(message)

    def tick(self, now_s: float, position: float, may_open: bool = True) -> Iterator[Told]:
        """What has happened since the last tick, when media `position` was heard at `now_s`.

        `may_open` is false while the sound output looks for its device.
        """
        yield from self.image.tick()
        yield from self.guide.tick(position)
        yield from self.sound.tick(now_s, position, may_open)
        yield from self.loras.tick()
        yield from self._voice()

    def applied(self, params: Any, expected: Callable[[Any], float | None] = lambda params: None) -> Any:
        """GenerationParams with what is in use in the place of wishes; what changes nothing has its table's value.

        `expected(params)` is how many times faster than real time a chunk would be made; None = not known.
        """
        fields = {**self.image.fields(params), **self.guide.fields(params), **self.sound.fields(params)}
        follows = {"IC": self.guide.is_active, "ID": self.sound.has_speaker}
        fields |= self.loras.fields(params, follows)
        self.guide.factor = self.loras.factor(fields["lora_strength"])
        if not params.sigmas:
            wanted = params.num_steps
            all_steps = dataclasses.replace(params, **fields)
            self._mode = self._costly(all_steps)
            fields["num_steps"] = self._pace.steps(self._mode, wanted, lambda: expected(all_steps))
            is_slower = fields["num_steps"] < wanted
            self._slower = f"steps {wanted} -> {fields['num_steps']} to keep up" if is_slower else ""
            if is_slower and params.schedule == "distilled":
                fields["schedule"] = "linear_quadratic"  # which is the distilled list at 8 steps
        return dataclasses.replace(params, **fields)

    def limited(self, params: Any, moved: Any) -> Any:
        """What modulators have made of applied values: a LoRA that is not played stays out, and steps are kept up."""
        if moved is params:
            return params
        strengths = [new if old else 0.0 for old, new in zip(params.lora_strength, moved.lora_strength, strict=True)]
        steps = self._pace.steps(self._mode, moved.num_steps)
        return dataclasses.replace(moved, lora_strength=tuple(strengths), num_steps=steps)

    def filled(self, request: ChunkRequest) -> ChunkRequest | None:
        """The request with its inputs; None while they are being prepared: ask again with the same."""
        inputs = self.guide.fill(request, self.image.fill(request, NO_INPUTS))
        if inputs is None:
            return None
        return dataclasses.replace(request, inputs=self.sound.fill(request, inputs))

    def made(self, request: ChunkRequest, chunk: Chunk, wanted_steps: int, took_s: float) -> None:
        """The chunk of a filled request is in the timeline; it took so long, where so many steps were wanted."""
        self.image.made(request)
        self.sound.made()
        factor = (chunk.end - chunk.cut) / SAMPLE_RATE_HZ / max(1e-6, took_s)
        self._pace.made(self._mode, num_steps(request.params), wanted_steps, factor)

    def close(self) -> None:
        """Let go of files and devices."""
        self.guide.close()
        self.sound.close()

    def _costly(self, params: Any) -> float | None:
        """How many times more a step costs than one of plain text; None for no more."""
        share = work(params) / num_steps(params)
        return share if share > 1 else None

    def _voice(self) -> Iterator[Told]:
        """A speaker needs an ID-LoRA: one that is there is put into a slot, once for each time the mode is entered."""
        if not self.sound.has_speaker:
            self._has_sought_voice = False
        elif not self._has_sought_voice and self.loras.is_known:
            self._has_sought_voice = True
            if self.loras.is_wanted("ID"):
                return
            file, number = self.loras.find("ID"), self.loras.free_slot()
            if file is None:
                yield "id_lora: there is no ID-LoRA; put one into the folder loras, or the voice will not be heard"
            elif number is None:
                yield f"id_lora: every slot is taken; empty one and put {file.name} there"
            else:
                yield Setting(f"lora/{number}/name", file.name, f"{file.name} is put into lora/{number} for the voice")
