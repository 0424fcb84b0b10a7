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
"""Of media, or of time where the media runs faster: for what comes a little late, and to cross-fade in."""

Cut = tuple[Chunk, int, int]
"""(chunk, frames of it that stay, media position): where the next chunk goes on; the timeline's have names."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Present time, values, and the timeline: `position` heard and `end`, in media samples.

    `committed` is the first media sample that may still be changed. `speed` is how fast the media runs, in its seconds
    to one second; seconds are those of the clock on the wall unless they are said to be of media.
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
    committed: float = 0.0
    cut_at: Callable[[float], Cut | None] = lambda position: None
    rules: Mapping[str, str] = field(default_factory=lambda: landing_rules(table.defaults()))
    land: Callable[[str, int], float | None] = lambda rule, position: None
    prompts: Callable[[Any, int, int], WeightedPrompts] = lambda params, start, index: ()
    text_s: Callable[[Any], float] = lambda params: 0.0
    is_encoding: Callable[[Any], bool] = lambda params: False
    sample: Callable[[Any], Any] = lambda params: params
    speed: float = 1.0

    def sampled(self) -> Moment:
        """The moment with the values that a chunk is made with."""
        params = self.sample(self.params)
        return self if params is self.params else replace(self, params=params)

    def places(self, waits: Mapping[str, str], earliest: int) -> dict[str, float]:
        """Where fields land by their rules that could land at `earliest`; without those that come with any chunk."""
        places = {rule: self.land(rule, earliest) for rule in set(waits.values())}
        return {name: places[rule] for name, rule in waits.items() if places[rule] is not None}

    @property
    def unplayed_s(self) -> float:
        """Seconds of media that are left."""
        return max(0, self.end - self.position) / SAMPLE_RATE_HZ

    @property
    def free_from(self) -> int:
        """Where the next chunk goes on: the end, or where the position stands still in an underrun."""
        return max(self.end, self.after(0.0))

    def samples(self, seconds: float) -> float:
        """How much media is heard within so many seconds; none while it is held, however many they are."""
        return seconds * self.speed * SAMPLE_RATE_HZ if self.speed else 0.0

    def after(self, seconds: float) -> int:
        """The media position that is heard in so many seconds."""
        return math.ceil(self.position + self.samples(seconds))

    def until_s(self, position: float) -> float:
        """Seconds until a media position is heard; infinite while the media is held."""
        return (position - self.position) / SAMPLE_RATE_HZ / self.speed if self.speed else math.inf

    def lead(self, seconds: float) -> float:
        """How far beyond what is heard now a chunk can begin that is there in so many seconds, in media samples."""
        handed_out = max(0.0, self.committed - self.position)
        return self.samples(seconds) + handed_out + MARGIN_S * max(1.0, self.speed) * SAMPLE_RATE_HZ

    def ready(self, seconds: float) -> int:
        """The first media position at which a chunk can begin that is there in so many seconds."""
        return math.ceil(self.position + self.lead(seconds))

    def has_room(self, seconds: float) -> bool:
        """Whether a chunk that is there in so many seconds can begin before all is played."""
        return self.lead(seconds) <= self.end - self.position


class Landing(NamedTuple):
    """A cut of `num_frames` at `target`, to be asked for in `ask_in_s`; `on_grid` if it waits for a grid.

    On a grid the target is infinite while the media is held.
    Material must reach to `needed_end`, so that a cut which takes longer than expected is late but no underrun.
    `later` are the fields of the gesture that land after the cut, `gridded` all that land on a grid.
    """

    num_frames: int
    target: float
    ask_in_s: float
    needed_end: float
    on_grid: bool
    later: frozenset[str]
    gridded: frozenset[str]

    def cut_from(self, frame_rate: float) -> float:
        """The position from which on the first frame boundary is right: on a grid, the nearest one to it."""
        return self.target - (SAMPLE_RATE_HZ / frame_rate / 2 if self.on_grid else 0)
