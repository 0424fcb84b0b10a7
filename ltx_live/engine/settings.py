"""What LtxEngine is started with; no torch here, because the show makes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LtxSettings:
    """Which model, at which size, and where its weights may live.

    `device` is torch's name of one or `auto`; `memory` a mode of `ltx_live.weights.memory`; `max_vram_gb` (GiB) caps
    the GPU memory of this process, as the device counts it; `num_frames` is the longest chunk that memory is planned
    for. `loras` are files with strengths: merged into the weights, or kept beside them for live strengths; keys of
    theirs that match no layer are an `error` or a reason to `warn`.
    """

    model: Path
    width: int
    height: int
    num_frames: int = 129
    device: str = "auto"
    text_encoder: Path | None = None
    memory: str = "auto"
    max_vram_gb: float | None = None
    loras: tuple[tuple[Path, float], ...] = ()
    merge_loras: bool = False
    lora_unmatched: str = "error"
    ffn_chunk_size: int = 0
