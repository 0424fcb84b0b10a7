"""The pocket's LoRAs on a few held-out inputs, through the engine that plays them."""

import numpy as np
import pytest

from ltx_live.bench import _adapters as adapters
from ltx_live.chunk import Inputs
from ltx_live.config import initial_values
from ltx_live.engine.ltx import load
from ltx_live.engine.settings import LtxSettings
from ltx_live.media.recording import VideoWriter
from ltx_live.pocket import measure, weights_folder


@pytest.fixture(scope="module")
def engine():
    return load(lambda text: None, LtxSettings(weights_folder(), 288, 160, device="cpu"))


@pytest.fixture(scope="module")
def values():
    return initial_values("pocket", None, {"num_steps": 4})


def test_style_is_nothing_at_0_and_grows(engine, values):
    bars = adapters.style_bars(engine, values, quick=True)
    assert all(bar.is_met for bar in bars), [str(bar) for bar in bars]
    assert not engine.loras._adapters  # taken out again


def test_structure_follows_its_guide(engine, values):
    bars = {bar.title.split(" (")[0]: bar for bar in adapters.structure_bars(engine, values, quick=True)}
    for title in ("luminance and guide at 1", "luminance and guide at 0", "luminance and guide in continued chunks"):
        assert bars[title].is_met, str(bars[title])


def test_without_the_lora_a_guide_is_not_followed(engine, values):
    player = adapters.Player(engine, values, adapters.QUICK_FRAMES)
    (guide,) = adapters.guides_of(adapters.held_out_light(1, player.num_frames))
    chunk = player.play(0, "slow green metaballs", Inputs(guide=guide, guide_factor=2))
    assert measure.likeness(chunk.frames, guide, 2) < 0.5


def test_voice_is_nearer_to_its_reference_with_guidance(engine, values):
    player = adapters.Player(engine, values, adapters.QUICK_FRAMES)
    margins = adapters.voice_margins(player, (3,), (0.0, 3.0))
    assert margins[3.0][0] > margins[0.0][0]


def test_a_film_of_another_shape_and_rate_is_followed(engine, values, tmp_path):
    path = tmp_path / "square.mp4"
    write_film(path, size=(200, 200), frame_rate=15.0, seconds=3.0)
    bar = adapters.guide_file_bar(engine, {**values}, path, count=1)
    assert bar.is_met, str(bar)


def write_film(path, size: tuple[int, int], frame_rate: float, seconds: float) -> None:
    """A disc and a bar that move."""
    rows, columns = np.mgrid[: size[1], : size[0]] / size[1]
    with VideoWriter(path, *size, frame_rate) as film:
        for index in range(round(seconds * frame_rate)):
            time_s = index / frame_rate
            away = np.hypot(columns - 0.5 - 0.25 * np.sin(1.5 * time_s), rows - 0.5)
            light = (away < 0.22) | (np.abs(rows - 0.2 - 0.1 * time_s) < 0.05)
            film.write_frame(np.repeat((230 * light + 15).astype(np.uint8)[..., None], 3, axis=2))
