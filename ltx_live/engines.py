"""Which engine a show or a rendering asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltx_live import params as table
from ltx_live import pocket
from ltx_live.config import Config
from ltx_live.engine.settings import LtxSettings
from ltx_live.engine.worker import EngineSpec
from ltx_live.weights import catalogue

RELOADED = tuple(row.name for row in table.PARAMETERS if row.tier == "reload")


def engine_spec(config: Config) -> EngineSpec:
    """The engine that `config.model` names, with its arguments. Raises ConfigError for a set not downloaded."""
    values = config.values
    if config.model == "testcard":
        size = {"width": values["width"], "height": values["height"]}
        return EngineSpec("ltx_live.engine.testcard", arguments=size)
    settings = LtxSettings(
        model=model_path(config.model, config.home),
        width=values["width"],
        height=values["height"],
        num_frames=values["num_frames"],
        device=config.device,
        text_encoder=config.text_encoder,
        memory=config.memory,
        max_vram_gb=config.max_vram_gb,
        loras=config.loras,
        lora_unmatched=config.lora_unmatched,
        merge_loras=values["lora_merge_strategy"] == "permanent_merge",
        ffn_chunk_size=values["ffn_chunk_size"],
    )
    return EngineSpec("ltx_live.engine.ltx", arguments={"settings": settings})


def unloaded(spec: EngineSpec, values: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the values that need a reload and differ from what an engine of this spec is loaded with."""
    loaded = spec.arguments
    settings = loaded.get("settings")
    if settings is not None:
        loaded = {name: getattr(settings, name) for name in ("width", "height", "ffn_chunk_size")}
        loaded["lora_merge_strategy"] = "permanent_merge" if settings.merge_loras else "runtime"
    return tuple(name for name in RELOADED if name in loaded and loaded[name] != values[name])


def model_path(model: str, home: Path) -> Path:
    """Where the files of the pocket, of a set of the catalogue or of a path are. Raises ConfigError for a set."""
    if model == "pocket":
        return pocket.weights_folder()
    if model in catalogue.SETS:
        return catalogue.installed(model, home)
    return Path(model).expanduser()
