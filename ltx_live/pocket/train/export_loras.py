"""Writes the trained LoRAs into the package."""

from __future__ import annotations

from ltx_live.pocket import lora_folder
from ltx_live.pocket.train import structure, style, voice
from ltx_live.pocket.train.adapter import export, trained
from ltx_live.pocket.train.export import commit
from ltx_live.pocket.train.loop import Settings

TASKS = (style.TASK, structure.TASK, voice.TASK)


def train(settings: Settings) -> dict[str, float]:
    """Export `settings.folder`'s adapters; SystemExit says what is missing or too big."""
    lora_folder().mkdir(exist_ok=True)
    metadata = {"training_commit": commit(), "seed": str(settings.seed)}
    sizes = {}
    for task in TASKS:
        path = export(task, trained(task, settings.folder), lora_folder(), metadata)
        sizes[task.file] = float(path.stat().st_size)
        print(f"{path.name:40}{sizes[task.file] / 1e6:8.2f} MB", flush=True)
    return sizes
