"""What a chunk plays: weighted prompts, channel tags, and the way from an old prompt to a new one. No torch here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ltx_live.chunk import (
    PREFIX_FRAMES,
    SAMPLE_RATE_HZ,
    Chunk,
    ChunkRequest,
    WeightedPrompts,
    frames_to_samples,
    num_prefix_frames,
)
from ltx_live.engine.process import Died, Encoded, Failed, Message
from ltx_live.params import NUM_PROMPTS

NUM_KEPT = 32
"""Chunks whose prompts are remembered; a cut goes back over a few at most."""

NUM_TEXTS = 96
"""Texts that are known to be encoded, as many as the engine keeps."""

NUM_TIMES = 8


def target(params: Any) -> WeightedPrompts:
    """What is asked for: the weighted prompts, normalised; else the channel tags as one prompt; else `prompt`."""
    weights: dict[str, float] = {}
    for text, weight in zip(params.prompts_text, params.prompts_weight, strict=True):
        if text.strip() and weight > 0:
            weights[text] = weights.get(text, 0.0) + weight
    if weights:
        return _normalised(weights)
    parts = ("VISUAL", params.prompt_visual), ("SPEECH", params.prompt_speech), ("SOUNDS", params.prompt_sounds)
    tagged = " ".join(f"[{tag}]: {text.strip()}" for tag, text in parts if text.strip())
    return ((tagged or params.prompt, 1.0),)


def texts(params: Any) -> tuple[str, ...]:
    """Every text that can be played with these values once weights move, those that play now first."""
    all_texts = *(text for text, _ in target(params)), *params.prompts_text
    return tuple(dict.fromkeys(text for text in all_texts if text.strip()))


@dataclass(frozen=True, slots=True)
class _Way:
    """A chunk on the way between two prompts: `progress` 0..1 from `source` to `target` at media position `sampled`."""

    start: int
    source: WeightedPrompts
    target: WeightedPrompts
    progress: float
    sampled: float
    played: WeightedPrompts


class Travel:
    """The prompts of every chunk, on the way from what was played to what is asked for (`prompts/morph`).

    A chunk is given what belongs to the middle of its new frames, since its prompts cannot change within it. A new
    target begins a new way, from what the chunk before plays, wherever that stood; a cut goes on from what it cuts.
    """

    def __init__(self):
        self._ways: dict[int, _Way] = {}
        self._considered: dict[WeightedPrompts, _Way] = {}

    def prompts(self, params: Any, start: int, chunk_index: int, beats_at: Callable[[int], float]) -> WeightedPrompts:
        """What a chunk plays whose first new frame stands at media position `start`; the weights sum to 1.

        `beats_at(media position)` counts beats. The answer counts once `asked` or `latched` says so.
        """
        way = self._way(params, start, chunk_index, beats_at)
        self._considered[way.played] = way
        return way.played

    def asked(self, request: ChunkRequest) -> None:
        """The chunk is made with `request.prompts`."""
        self.latched(request.index, request.prompts)
        self._considered.clear()
        while len(self._ways) > NUM_KEPT:
            del self._ways[min(self._ways)]

    def latched(self, chunk_index: int, prompts: WeightedPrompts) -> None:
        """The chunk was made with these prompts, which were considered for it after it was asked for."""
        if prompts in self._considered:
            self._ways[chunk_index] = self._considered[prompts]

    def _way(self, params: Any, start: int, chunk_index: int, beats_at: Callable[[int], float]) -> _Way:
        goal = target(params)
        earlier = [index for index, way in self._ways.items() if index < chunk_index and way.start < start]
        if not earlier:
            return _Way(start, goal, goal, 1.0, start, goal)
        before, num_frames = self._ways[max(earlier)], params.num_frames
        if goal != before.target:
            before = _Way(start, before.played, goal, 0.0, start, before.played)
            num_frames = min(num_frames, params.cut_frames)  # a gesture is answered by a short chunk
        num_new = num_frames - num_prefix_frames(num_frames, PREFIX_FRAMES)
        middle = start + frames_to_samples(num_new, params.frame_rate) / 2
        progress = min(1.0, before.progress + _advance(params, before.sampled, middle, beats_at))
        return _Way(start, before.source, goal, progress, middle, _between(before.source, goal, progress))


class Texts:
    """Which texts the engine has encoded, and how long one takes; so that a new one is asked for in time."""

    def __init__(self):
        self._known: dict[str, None] = {}
        self._waiting: dict[str, None] = {}
        self._request: ChunkRequest | None = None
        self._times_s: deque[float] = deque(maxlen=NUM_TIMES)
        self._is_warm = False

    def new(self, wanted: Iterable[str]) -> tuple[str, ...]:
        """Those of the texts that the engine is to encode ahead, also those that wait: they come first then."""
        ahead = dict.fromkeys(text for text in wanted if text.strip() and text not in self._known)
        self._waiting.update(ahead)
        return tuple(ahead)

    def asked(self, request: ChunkRequest) -> None:
        """The engine makes this chunk; what is new to it of its texts it encodes first."""
        self._request = request

    def dropped(self, texts: Iterable[str]) -> None:
        """The engine will not encode these ahead after all: there were too many."""
        for text in texts:
            self._waiting.pop(text, None)

    def handle(self, message: Message) -> None:
        """Take note of what the engine says."""
        match message:
            case Encoded(encoded):
                self._know(encoded)
            case Chunk() if self._request is not None and self._request.index == message.index:
                self._measure(message.timings_s)
                self._know(text for text, _ in self._request.played)
            case Failed(prompts=failed):
                self.dropped(failed)
            case Died():
                self._known.clear()
                self._waiting.clear()
                self._is_warm = False

    def are_waiting(self, wanted: WeightedPrompts) -> bool:
        """Whether the engine is still to encode one of these ahead."""
        return any(text in self._waiting for text, _ in wanted)

    def time_s(self, wanted: WeightedPrompts) -> float:
        """How much longer a chunk with these prompts may take than one whose texts are all encoded."""
        num_new = sum(text not in self._known for text, _ in wanted)
        return (num_new + bool(self._waiting)) * max(self._times_s, default=0.0)

    def _measure(self, timings_s: Mapping[str, float]) -> None:
        """The first of an engine process warms it up: it counts only until there is a better one."""
        num_new = sum(text not in self._known for text, _ in self._request.played)
        if not num_new:
            return
        if self._is_warm and len(self._times_s) == 1:
            self._times_s.clear()
        if not self._times_s or self._is_warm:
            self._times_s.append(timings_s.get("text", 0.0) / num_new)
        self._is_warm = True

    def _know(self, encoded: Iterable[str]) -> None:
        for text in encoded:
            self._waiting.pop(text, None)
            self._known.pop(text, None)
            self._known[text] = None
        while len(self._known) > NUM_TEXTS:
            del self._known[next(iter(self._known))]


def _advance(params: Any, before: float, now: float, beats_at: Callable[[int], float]) -> float:
    """The share of a whole morph between two media positions; what was made before a change of tempo stays made."""
    if params.prompts_morph <= 0:
        return 1.0
    match params.prompts_morph_unit:
        case "chunks":
            passed = 1.0
        case "beats":
            passed = beats_at(round(now)) - beats_at(round(before))
        case _:
            passed = (now - before) / SAMPLE_RATE_HZ
    return max(0.0, passed) / params.prompts_morph


def _between(source: WeightedPrompts, goal: WeightedPrompts, progress: float) -> WeightedPrompts:
    """The mixture at a share of the way, of at most as many texts as can be weighted: the heaviest."""
    if progress >= 1:
        return goal
    weights = {text: weight * (1 - progress) for text, weight in source}
    for text, weight in goal:
        weights[text] = weights.get(text, 0.0) + weight * progress
    heaviest = sorted(weights, key=weights.__getitem__, reverse=True)[:NUM_PROMPTS]
    return _normalised({text: weight for text, weight in weights.items() if text in heaviest and weight > 0})


def _normalised(weights: Mapping[str, float]) -> WeightedPrompts:
    total = sum(weights.values())
    return tuple((text, weight / total) for text, weight in weights.items())
