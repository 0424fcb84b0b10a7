"""LoRAs put into slots while an engine plays: the same chunks as when they are there from the start."""

from __future__ import annotations

import gc
import time
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from ltx_live.chunk import Chunk, ChunkRequest
from ltx_live.engine.loras import Room
from ltx_live.engine.ltx import LtxEngine, build, load
from ltx_live.engine.settings import LtxSettings
from ltx_live.engine.setup import prepare
from ltx_live.engine.worker import LoraFailed, LoraLoaded
from ltx_live.params import GenerationParams
from ltx_live.pocket import weights_folder
from ltx_live.weights.check import check_model
from ltx_live.weights.files import find_model
from ltx_live.weights.loading import measure
from ltx_live.weights.lora import linear_shapes
from ltx_live.weights.memory import MemoryPlan

VALUE, CONNECTOR = "transformer_blocks.1.attn1.to_v", "video_embeddings_connector.transformer_1d_blocks.0.attn1.to_q"
PARAMS = replace(GenerationParams(), prompt="slow red tunnel", num_steps=2, schedule="linear")


@pytest.fixture(scope="module")
def files(tiny_folder, write_lora, tmp_path_factory) -> dict[str, Path]:
    """LoRAs of the tiny model: two of the same layer, one of all blocks, one of a text connector; and of no model."""
    shapes = linear_shapes(check_model(find_model(tiny_folder)))
    folder = tmp_path_factory.mktemp("loras")
    chosen = {
        "one": {VALUE: shapes[VALUE]},
        "two": {VALUE: shapes[VALUE]},
        "blocks": {name: shape for name, shape in shapes.items() if name.startswith("transformer_blocks.")},
        "text": {CONNECTOR: shapes[CONNECTOR]},
        "other": {VALUE: (8, 8)},
    }
    return {
        name: write_lora(folder / f"{name}.safetensors", layers, seed=seed)
        for seed, (name, layers) in enumerate(chosen.items())
    }


def engine(folder: Path, *paths: Path, merge: bool = False) -> LtxEngine:
    loras = tuple((path, 1.0) for path in paths)
    return load(lambda text: None, LtxSettings(folder, 64, 32, device="cpu", loras=loras, merge_loras=merge))


def make(player: LtxEngine, *strengths: float) -> Chunk:
    params = replace(PARAMS, lora_strength=(*strengths, *[1.0] * (8 - len(strengths))))
    *_, chunk = player.generate(ChunkRequest(0, params, 1, 0, 9))
    return chunk


def swapped(player: LtxEngine) -> list[LoraLoaded | LoraFailed]:
    """What is told once everything that was asked for has been read."""
    answers, end = [], time.monotonic() + 20
    while player.loras.is_loading and time.monotonic() < end:
        answers += player.loras.swap()
        time.sleep(0.002)
    return answers


def put(player: LtxEngine, slot: int, path: Path | None) -> LoraLoaded | LoraFailed:
    player.loras.ask(slot, path)
    (answer,) = swapped(player)
    return answer


def same(one: Chunk, other: Chunk) -> bool:
    return np.array_equal(one.frames, other.frames) and np.array_equal(one.audio, other.audio)


def test_a_lora_loaded_while_playing_is_that_of_the_start(tiny_folder, files):
    plain, player = make(engine(tiny_folder)), engine(tiny_folder)
    assert same(make(player), plain)
    for name in ("blocks", "text", "one"):
        answer = put(player, 1, files[name])
        assert isinstance(answer, LoraLoaded) and (answer.slot, answer.path) == (1, files[name])
        assert answer.text.startswith(f"lora/1: {name}, ") and answer.timings_s.keys() == {"read", "swap"}
        chunk = make(player, 0.5)
        assert same(chunk, make(engine(tiny_folder, files[name]), 0.5)) and not same(chunk, plain)
        assert same(make(player, 0.0), plain)
    answer = put(player, 1, None)
    assert answer.path is None and answer.text == "lora/1: empty"
    assert same(make(player), plain)


def test_several_add_up_in_the_order_of_their_slots(tiny_folder, files):
    started = make(engine(tiny_folder, files["one"], files["blocks"], files["two"]), 0.7, 0.3, 1.1)
    player = engine(tiny_folder)
    for slot, name in ((3, "two"), (1, "text"), (2, "blocks"), (1, "one")):
        put(player, slot, files[name])
        make(player)
    assert same(make(player, 0.7, 0.3, 1.1), started)
    put(player, 2, None)
    assert same(make(player, 0.7, 0.3, 0.0), make(engine(tiny_folder, files["one"]), 0.7))


def test_nothing_changes_while_a_chunk_is_half_made(tiny_folder, files):
    player = engine(tiny_folder)
    plain = make(player)
    steps = player.generate(ChunkRequest(0, PARAMS, 1, 0, 9))
    next(steps)
    player.loras.ask(1, files["blocks"])
    while not all(job.done() for _, job in player.loras._jobs.values()):
        time.sleep(0.002)
    *_, chunk = steps
    assert same(chunk, plain)
    assert [type(answer) for answer in player.loras.swap()] == [LoraLoaded] and not player.loras.is_loading
    assert not same(make(player), plain)


def test_the_newest_wish_for_a_slot_counts(tiny_folder, files):
    player = engine(tiny_folder)
    for name in ("blocks", "text", "two", "one"):
        player.loras.ask(1, files[name])
    assert [answer.path for answer in swapped(player)] == [files["one"]]
    player.loras.ask(1, files["blocks"])
    player.loras.ask(1, None)
    assert [answer.path for answer in swapped(player)] == [None]


def test_an_emptied_slot_gives_its_memory_back(tiny_folder, files):
    player = engine(tiny_folder)
    put(player, 1, files["blocks"])
    make(player)
    held = [weakref.ref(factor) for branch in player.loras._adapters[1]._branches.values() for factor in branch]
    assert len(held) > 100
    gc.disable()  # at once, not some time later
    try:
        put(player, 1, files["one"])
        assert not any(factor() is not None for factor in held)
    finally:
        gc.enable()
    put(player, 1, None)
    hooks = [module for module in player.networks.transformer.modules() if module._forward_hooks]
    assert hooks == [] and not player.loras._adapters


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("other", "misshapen: 2 tensors (diffusion_model.transformer_blocks.1.attn1.to_v.lora_A.weight is (2, 8)"),
        ("gone", "gone.safetensors: no such file"),
        ("cut", "cut.safetensors: not a complete safetensors file"),
    ],
)
def test_a_file_that_cannot_be_played_is_one_line_and_the_old_one_stays(tiny_folder, files, tmp_path, name, line):
    player = engine(tiny_folder)
    put(player, 2, files["one"])
    before = make(player)
    path = files.get(name, tmp_path / f"{name}.safetensors")
    if name == "cut":
        path.write_bytes(files["one"].read_bytes()[:-4])
    answer = put(player, 2, path)
    assert isinstance(answer, LoraFailed) and (answer.slot, answer.path) == (2, path)
    assert line in answer.text and "\n" not in answer.text
    assert same(make(player), before)


def test_a_merged_slot_and_one_that_is_not_there_are_refused(tiny_folder, files):
    player = engine(tiny_folder, files["one"], merge=True)
    before = make(player)
    for path in (files["two"], None):
        assert put(player, 1, path).text.startswith("lora/1: its LoRA was merged at load and stays; use another slot")
    assert put(player, 9, files["two"]).text == "lora/9: there is no such slot; they are 1 to 8"
    assert same(make(player), before)
    assert isinstance(put(player, 2, files["two"]), LoraLoaded)  # what is put in while playing has a live strength
    assert same(make(player, 1.0, 0.0), before) and not same(make(player, 1.0, 0.5), before)


def test_a_file_may_be_written_anew_while_it_is_played(tiny_folder, files, tmp_path):
    player, path, other = engine(tiny_folder), tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    dtype = player.networks.transformer.dtype  # of which the file is used as it is
    for source, target in (("one", path), ("two", other)):
        save_file({name: tensor.to(dtype) for name, tensor in load_file(files[source]).items()}, target)
    put(player, 1, path)
    before = make(player)
    with path.open("r+b") as opened:  # in place, as a program that copies does
        opened.write(other.read_bytes())
    assert same(make(player), before)
    put(player, 1, path)
    assert same(make(player), make(engine(tiny_folder, other)))


def test_where_no_memory_was_planned_factors_stay_on_the_host(tiny_folder, files):
    setup = prepare(LtxSettings(tiny_folder, 64, 32, device="cpu"))
    size = load_size(files["blocks"], setup)
    expected = make(engine(tiny_folder, files["blocks"], files["one"]), 0.5, 0.8)
    player = build(replace(setup, lora_bytes=size), lambda text: None)
    put(player, 1, files["blocks"])
    answer = put(player, 2, files["one"])
    assert "copied as it is used" in answer.text
    assert [adapter.on_host for adapter in player.loras._adapters.values()] == [False, True]
    assert same(make(player, 0.5, 0.8), expected)
    put(player, 1, None)
    assert "copied" not in put(player, 3, files["one"]).text  # there is room again


def load_size(path: Path, setup) -> int:
    (lora,) = prepare(replace(setup.settings, loras=((path, 1.0),))).loras
    return lora[0].num_values * setup.storage.dtype.itemsize


@pytest.mark.parametrize("streamed", [(1,), (0, 1, 2)])
@pytest.mark.parametrize("lora_bytes", [None, 0])
def test_streamed_blocks_take_a_lora_too(tiny_folder, files, streamed, lora_bytes):
    setup = prepare(LtxSettings(tiny_folder, 64, 32, device="cpu"))
    sizes = measure(setup.files, setup.storage)
    plan = MemoryPlan("streamed", 3, streamed=streamed, buffer_bytes=max(*sizes.blocks, *sizes.text_units))
    player = build(replace(setup, plan=plan, lora_bytes=lora_bytes), lambda text: None)
    assert player.networks.stream is not None
    plain = make(player)
    for name in ("blocks", "text"):
        put(player, 1, files[name])
        assert same(make(player, 0.5), make(engine(tiny_folder, files[name]), 0.5))
    put(player, 1, None)
    assert same(make(player), plain) and same(plain, make(engine(tiny_folder)))


def test_unmatched_keys_are_let_pass_where_that_was_asked_for(tiny_folder, files, write_lora, tmp_path):
    shapes = {VALUE: (32, 32), "elsewhere.proj": (4, 4)}
    path = write_lora(tmp_path / "more.safetensors", shapes)
    player = engine(tiny_folder)
    assert "matching no layer: 2 tensors (diffusion_model.elsewhere" in put(player, 1, path).text
    player.loras._room = Room(unmatched="warn")
    assert isinstance(put(player, 1, path), LoraLoaded)


def test_the_pocket_takes_a_lora_of_all_its_blocks_within_a_tick(write_lora, tmp_path):
    player = engine(weights_folder())
    shapes = {name: shape for name, shape in player.loras.layers.items() if name.startswith("transformer_blocks.")}
    path = write_lora(tmp_path / "style.safetensors", shapes, rank=16)
    plain = make(player)
    answer = put(player, 1, path)
    assert answer.timings_s["swap"] < 0.1  # milliseconds, on a machine that does nothing else
    chunk = make(player, 0.02)
    assert not same(chunk, plain) and same(chunk, make(engine(weights_folder(), path), 0.02))
    assert same(make(player, 0.0), plain)
