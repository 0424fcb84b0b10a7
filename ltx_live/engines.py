"""Which engine a show or a rendering asks for."""

from __future__ import annotations

from pathlib import Path

from ltx_live import pocket
from ltx_live.config import Config
from ltx_live.engine.settings import LtxSettings
from ltx_live.engine.worker import EngineSpec
from ltx_live.weights import catalogue


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


def model_path(model: str, home: Path) -> Path:
    """Where the files of the pocket, of a set of the catalogue or of a path are. Raises ConfigError for a set."""
    if model == "pocket":
        return pocket.weights_folder()
    if model in catalogue.SETS:
        return catalogue.installed(model, home)
    return Path(model).expanduser()
