"""The show log: one JSON line for every chunk that was played, with all that a replay needs."""

from __future__ import annotations

import dataclasses
import json

from ltx_live.chunk import Chunk, ChunkRequest


def record(request: ChunkRequest, chunk: Chunk, now_s: float, took_s: float) -> str:
    """The line of the show log: what a replay needs."""
    names = "index", "seed", "start", "num_frames", "continue_from", "epoch", "prompts"
    return json.dumps(
        {
            "time_s": round(now_s, 3),
            "took_s": round(took_s, 3),
            **{name: getattr(request, name) for name in names},
            "params": dataclasses.asdict(request.params),
            "latched": [(step, dict(values)) for step, values in chunk.latched],
            "reencoded": chunk.reencoded,
        }
    )
