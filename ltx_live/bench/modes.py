"""`ltx-live bench modes`: do images, driving sound, a live input and adapters do what they are for?

On the pocket model; the figures of another model are printed beside the same bars, which were set for the pocket.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ltx_live import pocket, render
from ltx_live.bench import _driven, _i2v, _live, _live_devices
from ltx_live.bench._bars import Bar, print_bars
from ltx_live.chunk import Engine
from ltx_live.config import Config, initial_values
from ltx_live.engines import engine_spec
from ltx_live.options import Parser, setting

Part = Callable[[Engine, Mapping[str, Any], bool], Iterable[Bar]]
"""(engine, values, quick) to bars; it prints what it measures on the way."""

PARTS: dict[str, Part] = {
    "i2v": _i2v.bars,
    "sound": _driven.sound_bars,
    "driving": _driven.picture_bars,
    "live": _live.bars,
    "devices": _live_devices.bars,
}
ADAPTERS = {"structure": "structure_bars", "voice": "voice_bars", "style": "style_bars"}


def main(argv: list[str]) -> int:
    """Print the figures beside their bars; the exit status is 1 where one is missed."""
    parser = Parser(prog="ltx-live bench modes", description=__doc__)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few trials")
    parser.add_argument("--only", choices=(*PARTS, *ADAPTERS), action="append", help="this part alone; may be repeated")
    parser.add_argument("--set", dest="settings", type=setting, action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args(argv)
    values = initial_values(
        options.model, None, {"seed": options.seed, **dict(options.settings), "randomize_seed": False}
    )
    engine = render.load_engine(engine_spec(Config(model=options.model, values=values)), lambda text: None)
    bars: list[Bar] = []
    for name in options.only or (*PARTS, *ADAPTERS):
        part = PARTS.get(name) or adapter_part(name)
        if part is not None:
            bars += part(engine, values, options.quick)
    return print_bars(f"modes --model {options.model}{' --quick' * options.quick}", bars)


def adapter_part(name: str) -> Part | None:
    """What measures one of the pocket's LoRAs; None, and a line, where its files or its measures are not there."""
    folder = getattr(pocket, "lora_folder", None)
    if folder is None or not any(folder().rglob("*.safetensors")):
        print(f"{name}: the pocket has no LoRA files; left out")
        return None
    try:
        return getattr(importlib.import_module("ltx_live.bench._adapters"), ADAPTERS[name])
    except ModuleNotFoundError:
        print(f"{name}: nothing measures it yet; left out")
        return None
