"""One tiny model for all tests that load networks; nothing heavy is imported before a test asks for it."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")  # as the engine sets it, before torch is loaded

HERE = Path(__file__).parent
WRITER = HERE / "layout_writer.py"
REAL_TIME = ("stage/", "control/", "engine/test_process.py", "engine/test_supervision.py")
REAL_TIME += ("test_cued_show.py", "test_app.py", "test_cli.py", "test_live_pocket.py", "test_osc_programs.py")
"""Where tests play in real time or use real devices: `make test` runs these one by one, the rest in parallel."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.relative_to(HERE).as_posix().startswith(REAL_TIME):
            item.add_marker(pytest.mark.real_time)


@pytest.fixture(scope="session")
def layouts():
    """The module `layout_writer`: the tiny model, and how to write it in every layout."""
    spec = importlib.util.spec_from_file_location("layout_writer", WRITER)
    module = sys.modules.setdefault("layout_writer", importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny(layouts, tmp_path_factory):
    """The tiny model and a folder of its split files in bfloat16, whose names say nothing on purpose."""
    return layouts.make_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def model_proto(tiny) -> bytes:
    """The tiny model's tokenizer: a SentencePiece model file."""
    return tiny.model_proto
