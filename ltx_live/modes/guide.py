"""Video mode: the reference that guides chunks, what it is made into, and the frames that a chunk is given of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ltx_live import params as table
from ltx_live.chunk import ChunkRequest, Inputs, frames_to_samples, guide_size, num_prefix_frames
from ltx_live.media.guide import Guide, Preparation
from ltx_live.modes.use import Arrival, Setting, Told, Used, asset

IN_USE = ("control_strength", "ref/control", "ref/loop", "ref/speed", "ref/low", "ref/high", "ref/letterbox")
IN_USE += ("ref/aspect", "ref/scale", "ref/gamma", "ref/mask")
"""Values that change nothing while there is no reference."""

DEVICES = ("test", "camera")
UNUSED = {table.field_name(name): table.find(name).default for name in IN_USE}


class GuideMode:
    """`size` is the chunk's (width, height), `folder` the home's media folder; `clock` is that of events, in s."""

    def __init__(self, size: tuple[int, int], folder: Path, clock: Callable[[], float] = time.perf_counter):
        self.factor = 1
        self._size = size
        self._folder = folder
        self._guide = Guide(*size, clock)
        self._values: Mapping[str, Any] = table.defaults()
        self._wishes = {"ref/source": "", "ref/mask": ""}
        self._paths = dict(self._wishes)  # as the guide calls the wishes, found out once
        self._fulfilled = dict(self._wishes)
        self._version = 0
        self._used: Used | None = None
        self._position = 0

    @property
    def is_active(self) -> bool:
        """Whether chunks are given a reference."""
        return self._has_reference(self._values["ref/control"]) and self._values["control_strength"] > 0

    @property
    def is_loading(self) -> bool:
        """Whether the reference is still to be opened."""
        return self._guide.is_loading

    @property
    def words(self) -> str:
        """What is in use, in words; "" for nothing."""
        control = self._values["ref/control"]
        if not self._has_reference(control):
            return "reference opening" if self._guide.is_loading else ""
        source = "" if control == "tracks" else Path(self._guide.name).name
        parts = [source, "" if control == "none" else control]
        parts += [f"delay {self._guide.delay_s:.1f} s"] if self._guide.is_live else []
        return f"reference {', '.join(part for part in parts if part)}"

    @property
    def delay_s(self) -> float:
        """How much later than it was there a live reference is in the picture."""
        return self._guide.delay_s if self.is_active and self._guide.is_live else 0.0

    def take(self, values: Mapping[str, Any]) -> None:
        """Follow the values `ref/...` and `control_strength`."""
        self._values = dict(values)
        for name in [name for name, wish in self._wishes.items() if values[name] != wish]:
            self._wishes[name] = values[name]
            wanted = self._paths[name] = self._named(name, values[name])
            if name == "ref/mask":
                self._guide.load_mask(wanted)
            else:
                self._guide.load(wanted, values["frame_rate"])

    def track(self, number: int, args: tuple[Any, ...], time_s: float) -> str | None:
        """Motion track `number` is at (x, y), or with no numbers ends; a line where that cannot be understood."""
        if not args:
            self._guide.tracks.end(number, time_s)
            return None
        try:
            x, y = (float(arg) for arg in args)
        except (TypeError, ValueError):
            return f"/ltx/track/{number}: cannot use {args}; send x and y from 0 to 1, or nothing"
        self._guide.tracks.add(number, min(1.0, max(0.0, x)), min(1.0, max(0.0, y)), time_s)
        return None

    def clear_tracks(self) -> None:
        """Forget the motion tracks."""
        self._guide.tracks.clear()

    def seek(self, seconds: float) -> bool:
        """A recorded reference jumps to a time; False where there is none."""
        if not self._guide.name or self._guide.is_live:
            return False
        self._guide.seek(seconds)
        self._version += 1
        return True

    def tick(self, position: float) -> Iterator[Told]:
        """What has happened since the last tick; `position` is heard."""
        self._position = round(position)
        if not self._guide.is_loading:  # asked first: what failed by then has left its line
            messages = self._guide.take_messages()
            yield from self._refused(messages)
            yield from messages
        used = Used(self._guide.name, self._version) if self._has_reference(self._values["ref/control"]) else None
        if used != self._used:
            self._used = used
            yield Arrival("ref/source")

    def fields(self, params: Any) -> dict[str, Any]:
        """The values of GenerationParams that a chunk is made with: those that change nothing are the table's."""
        if self._used is None:
            return UNUSED | {"ref_source": ""}
        return {"ref_source": self._used._replace(factor=self.factor), "ref_mask": self._guide.mask_name}

    def fill(self, request: ChunkRequest, inputs: Inputs) -> Inputs | None:
        """The inputs with the chunk's reference; None while that is being prepared: ask again with the same.

        A request that does not name what is in use, because its values were given up, gets none.
        """
        params, used = request.params, request.params.ref_source
        is_named = isinstance(used, Used) and used.name == self._guide.name
        if not is_named or not self._has_reference(params.ref_control) or params.control_strength <= 0:
            return inputs
        num_before = 0
        if request.continue_from is not None and inputs.image is None:
            num_before = num_prefix_frames(request.num_frames, request.continue_from[1])
        start = request.start - frames_to_samples(num_before, params.frame_rate)
        self._guide.preparation = self._preparation(params)
        self._guide.move(start, params.ref_speed, params.ref_loop)
        frames = self._guide.frames(start, request.num_frames, params.frame_rate, self._position)
        if frames is None:
            return None
        return replace(inputs, guide=frames, guide_factor=params.ref_source.factor, restores_gamma=params.ref_gamma)

    def close(self) -> None:
        """Let go of the source."""
        self._guide.close()

    def _has_reference(self, control: str) -> bool:
        return bool(self._guide.name) or control == "tracks"

    def _preparation(self, params: Any) -> Preparation:
        (width, height), _ = guide_size(self._size, params.ref_source.factor)
        return Preparation(
            width,
            height,
            control=params.ref_control,
            letterbox=params.ref_letterbox,
            aspect=params.ref_aspect,
            scale=params.ref_scale,
            gamma=params.ref_gamma,
            low=params.ref_low,
            high=params.ref_high,
        )

    def _refused(self, messages: list[str]) -> Iterator[Told]:
        """Nothing is being loaded: what was wished is in use, or the wish is taken back."""
        used = {"ref/source": self._guide.name, "ref/mask": self._guide.mask_name}
        for name, wish in self._wishes.items():
            if used[name] == self._paths[name]:
                self._fulfilled[name] = wish
                continue
            self._wishes[name], self._paths[name] = self._fulfilled[name], used[name]
            text = messages.pop(0) if messages else f"{wish}: cannot be used"
            yield Setting(name, self._fulfilled[name], f"{text}; the reference stays as it was")

    def _named(self, name: str, wish: str) -> str:
        """What the guide calls a wish: a device by its name, a file by its path."""
        is_device = name == "ref/source" and wish.partition(":")[0] in DEVICES
        return wish if is_device else asset(wish, self._folder)
