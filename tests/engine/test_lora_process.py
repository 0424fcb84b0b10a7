"""LoRAs across the pipe: asked for by the show, read in the engine process while it makes chunks."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from ltx_live.chunk import Chunk, ChunkRequest, Progress, StepValues
from ltx_live.engine.ltx import load
from ltx_live.engine.process import (
    Cancelled,
    EngineProcess,
    EngineSpec,
    LoraFailed,
    LoraLoaded,
    LoraMerged,
    LoraMerging,
    Message,
    Ready,
)
from ltx_live.engine.settings import LtxSettings
from ltx_live.engine.slots import Slots
from ltx_live.params import GenerationParams
from ltx_live.pocket import weights_folder
from ltx_live.weights.check import check_model
from ltx_live.weights.files import find_model
from ltx_live.weights.lora import linear_shapes

PARAMS = replace(GenerationParams(), prompt="slow red tunnel", num_steps=4, schedule="linear")
KINDS = Chunk, LoraLoaded, LoraFailed, Cancelled


@pytest.fixture(scope="module")
def settings(tiny_folder) -> LtxSettings:
    return LtxSettings(tiny_folder, 64, 32, device="cpu")


@pytest.fixture(scope="module")
def process(settings):
    """The tiny model in a process of its own, and what it was ready with.

    It computes with one thread, as the tests here do: sums differ by the number of threads.
    """
    spec = EngineSpec("ltx_live.engine.ltx", arguments={"settings": settings})
    with pytest.MonkeyPatch.context() as patch, Slots.create(64, 32, 3) as slots:
        patch.setenv("OMP_NUM_THREADS", "1")
        with EngineProcess(spec, slots) as process:
            yield process, wait_for(process, Ready)[-1]


def wait_for(process: EngineProcess, *kinds: type, number: int = 1, timeout_s: float = 60.0) -> list:
    """The next messages of these kinds, so many at least."""
    messages, end = [], time.monotonic() + timeout_s
    while len(messages) < number and time.monotonic() < end:
        messages += [message for message in process.poll() if isinstance(message, kinds)]
        time.sleep(0.002)
    assert len(messages) >= number, f"{number} of {kinds} should have come, only {messages}"
    return messages


def request(index: int, strength: float = 1.0) -> ChunkRequest:
    return ChunkRequest(index, replace(PARAMS, lora_strength=(strength,) * 8), 1, 0, 9)


def made(process: EngineProcess, index: int) -> np.ndarray:
    process.request(request(index))
    frames = wait_for(process, Chunk)[-1].frames.copy()
    process.release(index)
    return frames


@pytest.fixture
def style(process, write_lora, tmp_path):
    _, ready = process
    layers = {name: shape for name, shape in ready.layers.items() if name.startswith("transformer_blocks.")}
    return write_lora(tmp_path / "style.safetensors", layers)


def test_a_lora_is_read_beside_a_chunk_and_played_from_the_next(process, style, settings):
    player, _ = process
    plain = made(player, 0)
    expected = load(lambda text: None, replace(settings, loras=((style, 1.0),)))
    *_, chunk = expected.generate(request(0))
    player.request(request(1))
    wait_for(player, Progress)
    player.load_lora(1, style)
    player.send_step_values(StepValues({}))  # a LoRA goes first, the values with the step after
    first, loaded = wait_for(player, *KINDS, number=2)
    assert isinstance(first, Chunk) and np.array_equal(first.frames, plain)  # the one that was being made
    player.release(1)
    assert (loaded.slot, loaded.path) == (1, style) and loaded.timings_s["swap"] < 0.5
    assert np.array_equal(made(player, 2), chunk.frames) and not np.array_equal(chunk.frames, plain)
    player.load_lora(1, None)
    assert wait_for(player, LoraLoaded)[-1].path is None
    assert np.array_equal(made(player, 3), plain)


def test_an_idle_process_answers_too_and_the_newest_wish_counts(process, style, write_lora, tmp_path):
    player, ready = process
    other = write_lora(tmp_path / "other.safetensors", {next(iter(ready.layers)): (3, 3)})
    player.load_lora(2, style)
    player.load_lora(2, other)
    player.load_lora(3, style)
    answers = {message.slot: message for message in wait_for(player, *KINDS, number=2)}
    assert isinstance(answers[2], LoraFailed) and "misshapen" in answers[2].text
    assert isinstance(answers[3], LoraLoaded)
    player.load_lora(3, None)
    wait_for(player, LoraLoaded)


def test_a_wish_and_a_cancel_at_once(process, style):
    player, _ = process
    player.request(request(4))
    wait_for(player, Progress)
    player.load_lora(1, style)
    player.cancel()
    cancelled, loaded = wait_for(player, *KINDS, number=2)
    assert isinstance(cancelled, Cancelled) and loaded.path == style
    player.load_lora(1, None)
    wait_for(player, LoraLoaded)


def test_waiting_for_a_file_is_no_hang(process, style):
    """What comes when it comes says nothing of how long the engine is silent at work."""
    player, _ = process
    gap_s = player._patience._longest_working_s
    time.sleep(gap_s + 0.3)
    player.load_lora(1, None)
    wait_for(player, LoraLoaded)
    assert player._patience._longest_working_s == gap_s


def test_an_engine_without_loras_refuses_them(style):
    spec = EngineSpec("ltx_live.engine.testcard", arguments={"width": 64, "height": 32})
    with Slots.create(64, 32, 2) as slots, EngineProcess(spec, slots) as player:
        assert wait_for(player, Ready)[-1].layers == {}
        player.load_lora(1, style)
        failed = wait_for(player, LoraFailed)[-1]
        assert failed == LoraFailed(1, style, "test card plays no LoRAs; choose another --model")
        player.request(request(0))
        wait_for(player, Chunk)


def test_a_merged_lora_follows_its_fader_while_chunks_keep_coming(write_lora, tmp_path):
    """The pocket, with a LoRA of all its blocks."""
    shapes = linear_shapes(check_model(find_model(weights_folder())))
    shapes = {name: shape for name, shape in shapes.items() if name.startswith("transformer_blocks.")}
    style = write_lora(tmp_path / "style.safetensors", shapes, rank=16)
    settings = LtxSettings(weights_folder(), 64, 32, device="cpu", loras=((style, 0.0),), merge_loras=True)
    spec = EngineSpec("ltx_live.engine.ltx", arguments={"settings": settings})
    with Slots.create(64, 32, 3) as slots, EngineProcess(spec, slots) as player:
        wait_for(player, Ready)
        before, told = keep_making(player, 0.0, range(8))
        assert told == []
        during, told = keep_making(player, 0.02, range(8, 60), until=LoraMerged)
        merging, merged = told
        assert merging == LoraMerging(1, 0.02) and merged.text.startswith("lora/1: style at 0.02, merged in ")
        assert merged.timings_s["swap"] < 0.5  # milliseconds, on a machine that does nothing else
        assert max(during) < 2 * max(before) + 0.5
        player.request(request(60, 0.02))
        frames = wait_for(player, Chunk)[-1].frames.copy()
    expected = load(lambda text: None, replace(settings, loras=((style, 0.02),)))
    *_, chunk = expected.generate(request(60, 0.02))
    assert np.array_equal(frames, chunk.frames)


def keep_making(
    player: EngineProcess, strength: float, indices: range, until: type | None = None
) -> tuple[list[float], list[Message]]:
    """Chunks one after the other: seconds from one to the next, and what came beside them; ends after a message too."""
    gaps_s, told, last_s = [], [], None
    for index in indices:
        player.request(request(index, strength))
        while index not in player._slot_of:
            told += [message for message in player.poll() if isinstance(message, LoraMerging | LoraMerged | LoraFailed)]
            time.sleep(0.001)
        now_s = time.monotonic()
        gaps_s += [] if last_s is None else [now_s - last_s]
        last_s = now_s
        player.release(index)
        if until is not None and len(gaps_s) >= 4 and any(isinstance(message, until) for message in told):
            break
    return gaps_s, told
