"""The tiny model in the split FP8 layout, and an engine that plays it."""

from pathlib import Path

import pytest

from ltx_live.engine.ltx import load
from ltx_live.engine.settings import LtxSettings


@pytest.fixture(scope="session")
def tiny_folder(tiny, layouts, tmp_path_factory) -> Path:
    """The files of the tiny model, float8 in the middle block and in the text encoder."""
    return layouts.write_split(tmp_path_factory.mktemp("tiny"), tiny, layouts.Quantisation())


@pytest.fixture
def tiny_engine(tiny_folder):
    """A fresh engine, 64x32."""
    return load(lambda text: None, LtxSettings(tiny_folder, 64, 32, device="cpu"))
