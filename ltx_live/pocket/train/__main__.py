"""`python -m ltx_live.pocket.train COMPONENT`: train one network of the pocket, or export them all."""

from __future__ import annotations

import argparse
import importlib
from dataclasses import fields
from pathlib import Path

import torch

from ltx_live.pocket.train.loop import Settings

COMPONENTS = ("video_vae", "audio_vae", "vocoder", "text", "takes", "transformer", "style", "structure", "voice")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ltx_live.pocket.train", description=__doc__)
    parser.add_argument("component", choices=(*COMPONENTS, "export", "export_loras"))
    parser.add_argument("--folder", type=Path, default=Path(".train"), help="where weights are kept and resumed from")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for field in fields(Settings):
        if field.name not in ("folder", "device"):
            flag = "--" + field.name.replace("_", "-")
            parser.add_argument(flag, type=type(field.default), default=field.default)
    options = vars(parser.parse_args())
    component = options.pop("component")
    torch.set_float32_matmul_precision("high")
    importlib.import_module(f"ltx_live.pocket.train.{component}").train(Settings(**options))


if __name__ == "__main__":
    main()
