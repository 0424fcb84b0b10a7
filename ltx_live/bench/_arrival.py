"""When does a new prompt's picture arrive? The pocket's prompts change every 3 s, and its classifier watches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ltx_live import params
from ltx_live.bench._bars import Bar
from ltx_live.chunk import Chunk, ChunkRequest, Engine
from ltx_live.pocket import measure
from ltx_live.pocket.classifier import SceneClassifier, train_scene_classifier
from ltx_live.session import chunk_seed

REFRESHES = (0.0, 0.3, 0.5, 0.7, 1.0)
JUDGE_STEPS = 400
NUM_ROUNDS = 2
LOOK_FRAMES = 3  # that the judge looks at together
ENOUGH = 0.9

PLAYED = (
    ("tunnel", "red"),
    ("waves", "cyan"),
    ("stripes", "gold"),
    ("plasma", "purple"),
    ("starfield", "white"),
    ("rings", "green"),
    ("ribbons", "pink"),
    ("spiral", "blue"),
    ("metaballs", "orange"),
    ("grid", "cyan"),
    ("plasma", "green"),
    ("tunnel", "blue"),
)
"""Scenes and palettes, one after the other."""


@dataclass(frozen=True)
class Arrival:
    """What became of changed prompts: when 90 % were seen, the share right at the end, and the jump at the change.

    `jump` is the picture difference at the seam where the prompt changes, over the median elsewhere.
    """

    t90_s: float
    right: float
    jump: float


def bars(engine: Engine, values: Mapping[str, Any]) -> Iterator[Bar]:
    """t90 for several values of `refresh`, and the bar for the one that is set."""
    judge = train_scene_classifier(JUDGE_STEPS)
    print("arrival: refresh, t90 in s, right at the end, picture jump at the change / elsewhere")
    for refresh in REFRESHES:
        arrival = arrive(engine, {**values, "refresh": refresh}, judge)
        print(f"  {refresh:.1f}  {arrival.t90_s:6.3f}  {100 * arrival.right:5.1f} %  {arrival.jump:5.2f}")
    new_s = (min(values["cut_frames"], values["num_frames"]) - 9) / values["frame_rate"]
    arrival = arrive(engine, values, judge)
    yield Bar(f"t90 of a new prompt, refresh {values['refresh']:g}", arrival.t90_s, new_s, "s", is_most=True)
    yield Bar("palette and scene right at the end", 100 * arrival.right, 70, "%")


def arrive(engine: Engine, values: Mapping[str, Any], judge: SceneClassifier) -> Arrival:
    """Play the prompts: each begins with a chunk of `cut_frames` and goes on with one of `num_frames`."""
    seen, jumps, steps = [], [], []
    for chunks, (scene, palette) in changes(engine, values):
        frames = np.concatenate([chunk.frames[chunk.num_overlap :] for chunk in chunks])
        looks = [frames[at : at + LOOK_FRAMES] for at in range(0, len(frames) - LOOK_FRAMES + 1, LOOK_FRAMES)]
        seen.append([measure.palette_of(x) == palette and judge.scene_of(torch.from_numpy(x)) == scene for x in looks])
        first = chunks[0]
        steps += list(_differences(frames))
        jumps.append(_differences(first.frames[first.num_overlap - 1 : first.num_overlap + 1])[0])
    t90_s, right = when_seen(np.array(seen), values["frame_rate"])
    return Arrival(t90_s, right, float(np.mean(jumps) / np.median(steps)))


def when_seen(seen: np.ndarray, frame_rate: float) -> tuple[float, float]:
    """Seconds until 90 % of the changes that are seen in the end are seen for good, and the share that is.

    seen (changes, looks) bool; the end is the last third of the looks. All the time where none is seen.
    """
    shares = seen.mean(axis=0)
    right = float(shares[-(len(shares) // 3) :].mean())
    late = np.nonzero(shares[: len(shares) * 2 // 3] < ENOUGH * right)[0] if right else [len(shares) - 1]
    return (late[-1] + 1 if len(late) else 0) * LOOK_FRAMES / frame_rate, right


def changes(engine: Engine, values: Mapping[str, Any]) -> Iterator[tuple[tuple[Chunk, Chunk], tuple[str, str]]]:
    """The two chunks that each changed prompt is played with, and its scene and palette; the first is no change."""
    generation = params.snapshot(params.GenerationParams, values)
    lengths = min(generation.cut_frames, generation.num_frames), generation.num_frames
    last: Chunk | None = None
    for number, (scene, palette) in enumerate(PLAYED * NUM_ROUNDS):
        made = []
        for num_frames in lengths:
            index = 0 if last is None else last.index + 1
            request = ChunkRequest(
                index=index,
                params=replace(generation, prompt=f"{palette} {scene}"),
                seed=chunk_seed(generation.seed, index),
                start=0 if last is None else last.end,
                num_frames=num_frames,
                continue_from=None if last is None else (last.index, last.num_frames),
            )
            *_, last = engine.generate(request)
            made.append(last)
        if number:
            yield tuple(made), (scene, palette)


def _differences(frames: np.ndarray) -> np.ndarray:
    """Mean absolute difference of consecutive frames, (F - 1,)."""
    return np.abs(np.diff(frames.astype(np.float32), axis=0)).mean((1, 2, 3))
