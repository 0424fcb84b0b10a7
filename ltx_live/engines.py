"""Which engine a show or a rendering asks for."""

from __future__ import annotations

from pathlib import Path

from ltx_live import pocket
from ltx_live.config import Config
from ltx_live.engine.worker import EngineSpec


def engine_spec(config: Config) -> EngineSpec:
    """The engine that `config.model` names, with its arguments."""
    size = {"width": config.values["width"], "height": config.values["height"]}
    if config.model == "testcard":
        return EngineSpec("ltx_live.engine.testcard", arguments=size)
    folder = pocket.weights_folder() if config.model == "pocket" else Path(config.model).expanduser()
    return EngineSpec("ltx_live.engine.ltx", arguments={"folder": folder, "device": config.device, **size})
