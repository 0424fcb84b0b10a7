"""What the session decides from at one tick."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ltx_live import params as table
from ltx_live.chunk import SAMPLE_RATE_HZ, Chunk, WeightedPrompts
from ltx_live.gestures import landing_rules

MARGIN_S = 0.1

Cut = tuple[Chunk, int, int]
"""(chunk, frames of it that stay, media position): where the next chunk goes on; the timeline's have names."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Present time, values, and the timeline: `position` heard and `end`, in media samples.

    `cut_at(position)` is the first cut that is possible from there on. `rules` are those of `landing_rules`;
    `land(rule, position)` is where a gesture lands that could land there at the earliest: there, at the next point of a
    grid, or None for the end of what there is.
    `prompts(params, start, index)` is what a chunk plays that starts at a media position; empty = `params.prompt`;
    `text_s(params)` is how much longer a chunk may take because of texts that are new to the engine;
    `is_encoding(params)` tells whether a text of theirs is still to be encoded, beside the chunks;
    `sample(params)` is what a chunk is made with now: `params` and what modulators add, which is no gesture.
    """

    now_s: float
    position: float
    end: int
    params: Any
    epoch: int
    num_free_slots: int
    output_latency_s: float = 0.0
    cut_at: Callable[[float], Cut | None] = lambda position: None
    rules: Mapping[str, str] = field(default_factory=lambda: landing_rules(table.defaults()))
    land: Callable[[str, int], int | None] = lambda rule, position: None
    prompts: Callable[[Any, int, int], WeightedPrompts] = lambda params, start, index: ()
    text_s: Callable[[Any], float] = lambda params: 0.0
    is_encoding: Callable[[Any], bool] = lambda params: False
    sample: Callable[[Any], Any] = lambda params: params

    def sampled(self) -> Moment:
        """The moment with the values that a chunk is made with."""
        params = self.sample(self.params)
        return self if params is self.params else replace(self, params=params)

    def places(self, waits: Mapping[str, str], earliest: int) -> dict[str, int]:
        """Where fields land by their rules that could land at `earliest`; without those that come with any chunk."""
        places = {rule: self.land(rule, earliest) for rule in set(waits.values())}
        return {name: places[rule] for name, rule in waits.items() if places[rule] is not None}

    @property
    def unplayed_s(self) -> float:
        return max(0, self.end - self.position) / SAMPLE_RATE_HZ

    @property
    def free_from(self) -> int:
        """Where the next chunk goes on: the end, or where the position stands still in an underrun."""
        return max(self.end, self.after(0.0))

    @property
    def margin_s(self) -> float:
        return self.output_latency_s + MARGIN_S

    def after(self, seconds: float) -> int:
        """The media position that is heard in so many seconds."""
        return math.ceil(self.position + seconds * SAMPLE_RATE_HZ)


class Landing(NamedTuple):
    """A cut of `num_frames` at `target`, asked for from the position `ask_at` on; `on_grid` if it waits for a grid.

    Material must reach to `needed_end`, so that a cut which takes longer than expected is late but no underrun.
    `later` are the fields of the gesture that land after the cut, `gridded` all that land on a grid.
    """

    num_frames: int
    target: int
    ask_at: float
    needed_end: float
    on_grid: bool
    later: frozenset[str]
    gridded: frozenset[str]

    def cut_from(self, frame_rate: float) -> float:
        """The position from which on the first frame boundary is right: on a grid, the nearest one to it."""
        return self.target - (SAMPLE_RATE_HZ / frame_rate / 2 if self.on_grid else 0)
