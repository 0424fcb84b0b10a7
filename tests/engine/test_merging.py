"""Strengths of merged LoRAs changed while an engine plays: the same chunks as when they are there from the start."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ltx_live.chunk import Chunk, ChunkRequest
from ltx_live.engine import loras as engine_loras
from ltx_live.engine.ltx import LtxEngine, build
from ltx_live.engine.settings import LtxSettings
from ltx_live.engine.setup import Setup, prepare
from ltx_live.engine.worker import LoraAnswer, LoraFailed, LoraLoaded, LoraMerged, LoraMerging
from ltx_live.params import GenerationParams
from ltx_live.weights import remerge
from ltx_live.weights.check import check_model
from ltx_live.weights.files import find_model
from ltx_live.weights.fp8 import FP8Linear
from ltx_live.weights.loading import measure
from ltx_live.weights.lora import linear_shapes
from ltx_live.weights.memory import MERGE_WORKING_BYTES, MemoryPlan

VALUE, CONNECTOR = "transformer_blocks.1.attn1.to_v", "video_embeddings_connector.transformer_1d_blocks.0.attn1.to_q"
PARAMS = replace(GenerationParams(), prompt="slow red tunnel", num_steps=2, schedule="linear")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"))]


@pytest.fixture(scope="module")
def files(tiny_folder, write_lora, tmp_path_factory) -> dict[str, Path]:
    """LoRAs of the tiny model: of all blocks, of one layer and a text connector, of one layer alone."""
    shapes = linear_shapes(check_model(find_model(tiny_folder)))
    folder = tmp_path_factory.mktemp("loras")
    chosen = {
        "blocks": {name: shape for name, shape in shapes.items() if name.startswith("transformer_blocks.")},
        "text": {CONNECTOR: shapes[CONNECTOR], VALUE: shapes[VALUE]},
        "one": {VALUE: shapes[VALUE]},
    }
    return {
        name: write_lora(folder / f"{name}.safetensors", layers, seed=seed)
        for seed, (name, layers) in enumerate(chosen.items())
    }


def prepared(folder: Path, *loras: tuple[Path, float], device: str = "cpu") -> Setup:
    return prepare(LtxSettings(folder, 64, 32, device=device, loras=loras, merge_loras=True))


def streamed(setup: Setup, *indices: int) -> Setup:
    sizes = measure(setup.files, setup.storage)
    plan = MemoryPlan("streamed", 3, streamed=indices, buffer_bytes=max(*sizes.blocks, *sizes.text_units))
    return replace(setup, plan=plan)


KINDS = {  # how the tiny model is kept
    "dequantised": lambda setup: setup,
    "bfloat16": lambda setup: replace(setup, storage=replace(setup.storage, dtype=torch.bfloat16)),
    "float8": lambda setup: replace(setup, storage=replace(setup.storage, fp8="storage")),
    "parked": lambda setup: streamed(setup, 0, 1),
    "streamed": lambda setup: streamed(replace(setup, storage=replace(setup.storage, fp8="storage")), 0, 1, 2),
    "half streamed": lambda setup: streamed(replace(setup, storage=replace(setup.storage, fp8="storage")), 1, 2),
}


def engine(setup: Setup) -> LtxEngine:
    return build(setup, lambda text: None)


def request(*strengths: float) -> ChunkRequest:
    params = replace(PARAMS, lora_strength=(*strengths, *[1.0] * (8 - len(strengths))))
    return ChunkRequest(0, params, 1, 0, 9)


def make(player: LtxEngine, *strengths: float) -> Chunk:
    *_, chunk = player.generate(request(*strengths))
    return chunk


def same(one: Chunk, other: Chunk) -> bool:
    return np.array_equal(one.frames, other.frames) and np.array_equal(one.audio, other.audio)


def settled(player: LtxEngine) -> list[LoraAnswer]:
    """What is told until everything that was asked for is there."""
    answers, end = [], time.monotonic() + 30
    while player.loras.is_loading and time.monotonic() < end:
        answers += player.loras.swap()
        time.sleep(0.002)
    assert not player.loras.is_loading
    return answers


def merged(player: LtxEngine, *strengths: float) -> list[LoraAnswer]:
    """What is told where faders are put to these strengths, but the beginning."""
    player.loras.set_strengths((*strengths, *[1.0] * (8 - len(strengths))))
    return [answer for answer in settled(player) if not isinstance(answer, LoraMerging)]


def weights(player: LtxEngine) -> dict[str, Tensor]:
    """All tensors of the transformer as bytes, those in host memory that are streamed too."""
    state = dict(player.networks.transformer.state_dict())
    tensors = {name: tensor for name, tensor in state.items() if not tensor.is_meta}
    names = {module: name for name, module in player.networks.transformer.named_modules()}
    for module, unit in player.networks.stream.units.items() if player.networks.stream else ():
        if module in names:
            views = unit.views(unit.host)
            tensors |= {f"{names[module]}.{key.removeprefix('.')}": view for key, view in views.items()}
    assert tensors.keys() >= state.keys()
    return {name: tensor.detach().cpu().reshape(-1).view(torch.uint8) for name, tensor in tensors.items()}


def equal_weights(one: LtxEngine, other: LtxEngine) -> bool:
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_strength_is_that_of_the_start(tiny_folder, files, kind, device):
    def started(*strengths: float) -> LtxEngine:
        pairs = zip((files["blocks"], files["text"]), strengths, strict=True)
        return engine(KINDS[kind](prepared(tiny_folder, *pairs, device=device)))

    player = started(0.5, 1.0)
    first = before = make(player, 0.5, 1.0)
    assert isinstance(player.networks.transformer.get_submodule(VALUE), FP8Linear) == ("stream" in kind or "8" in kind)
    for strengths in ((0.9, 1.0), (0.0, 0.3), (0.0, 0.0), (0.5, 1.0)):
        assert same(make(player, *strengths), before)  # nothing changes before the exchange
        answers = settled(player)
        assert isinstance(answers[0], LoraMerging) and all(isinstance(each, LoraMerged) for each in answers[2:])
        other = started(*strengths)
        assert equal_weights(player, other)
        chunk = make(player, *strengths)
        assert same(chunk, make(other, *strengths)) and not same(chunk, before)
        assert not player.loras.is_loading
        before = chunk
    assert same(before, first)  # rounding has not added up


def test_what_landed_is_told(tiny_folder, files):
    player = engine(prepared(tiny_folder, (files["one"], 1.0), (files["blocks"], 0.5)))
    assert settled(player) == [] and merged(player, 1.0, 0.5) == []
    player.loras.set_strengths((1.0, 0.6, *[0.1] * 6))  # others have no LoRA
    assert player.loras.swap() == [LoraMerging(2, 0.6)] and player.loras.is_loading
    (answer,) = settled(player)
    assert isinstance(answer, LoraMerged) and (answer.slot, answer.strength) == (2, 0.6)
    assert answer.text == f"lora/2: blocks at 0.6, merged in {answer.timings_s['merge']:.1f} s"
    assert answer.timings_s["swap"] < 0.5
    assert [answer.slot for answer in merged(player, 0.0, 0.0)] == [1, 2]


def test_only_layers_that_change_are_merged(tiny_folder, files):
    player = engine(prepared(tiny_folder, (files["one"], 1.0), (files["blocks"], 0.5)))
    before = {name: tensor.data_ptr() for name, tensor in player.networks.transformer.state_dict().items()}
    merged(player, 0.3, 0.5)
    after = {name: tensor.data_ptr() for name, tensor in player.networks.transformer.state_dict().items()}
    assert {name for name in after if after[name] != before[name]} == {f"{VALUE}.weight"}


def test_contexts_are_made_anew_only_where_text_is_touched(tiny_folder, files):
    player = engine(prepared(tiny_folder, (files["one"], 1.0), (files["text"], 1.0)))
    make(player, 1.0, 1.0)
    kept = player._prompts.context(PARAMS.prompt)
    merged(player, 0.5, 1.0)
    assert player._prompts.context(PARAMS.prompt) is kept
    merged(player, 0.5, 0.5)
    assert player._prompts.context(PARAMS.prompt) is not kept


@pytest.fixture
def gate(monkeypatch):
    """Holds every merge before it reads, until it is opened."""
    opened = threading.Event()
    read = remerge.Originals.read

    def held(*args):
        assert opened.wait(30)
        return read(*args)

    monkeypatch.setattr(remerge.Originals, "read", held)
    return opened


def test_the_newest_wish_is_reached(tiny_folder, files, gate):
    setup = prepared(tiny_folder, (files["blocks"], 0.5))
    player = engine(setup)
    before = make(player, 0.5)
    for strength in (0.6, 0.7, 0.8, 0.9):
        assert same(make(player, strength), before) and player.loras.is_loading
        player.loras.swap()
    gate.set()
    answers = [answer for answer in settled(player) if isinstance(answer, LoraMerged)]
    assert [answer.strength for answer in answers] == [0.6, 0.9]  # what had begun is ended, then the newest
    assert equal_weights(player, engine(prepared(tiny_folder, (files["blocks"], 0.9))))


def test_a_wish_that_was_taken_back(tiny_folder, files, gate):
    player = engine(prepared(tiny_folder, (files["blocks"], 0.5)))
    before = make(player, 0.5)
    player.loras.set_strengths((0.6,) * 8)
    player.loras.set_strengths((0.5,) * 8)
    gate.set()
    settled(player)
    assert same(make(player, 0.5), before)


def test_a_chunk_under_way_is_not_touched(tiny_folder, files):
    player = engine(prepared(tiny_folder, (files["blocks"], 0.5)))
    before = make(player, 0.5)
    steps = player.generate(request(0.9))
    next(steps)
    while not player.loras._merging._merge.job.done():
        time.sleep(0.002)
    *_, chunk = steps
    assert same(chunk, before)
    assert [type(answer) for answer in player.loras.swap()] == [LoraMerging, LoraMerged]
    assert not same(make(player, 0.9), before)


def test_a_strength_that_no_fader_reaches_stays_until_it_moves(tiny_folder, files):
    player = engine(prepared(tiny_folder, (files["blocks"], 3.0), (files["one"], 1.0)))
    before = make(player, 2.0, 1.0)  # where the fader is
    assert not player.loras.is_loading
    assert [answer.slot for answer in merged(player, 2.0, 0.5)] == [2]
    assert equal_weights(player, engine(prepared(tiny_folder, (files["blocks"], 3.0), (files["one"], 0.5))))
    merged(player, 1.0, 1.0)
    merged(player, 2.0, 1.0)
    assert not same(make(player, 2.0, 1.0), before)


def changed(path: Path, how: str) -> None:
    if how == "gone":
        path.unlink()
    else:
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)


@pytest.mark.parametrize("how", ["gone", "another"])
@pytest.mark.parametrize("which", ["model", "LoRA"])
def test_files_that_are_not_what_they_were(tiny, layouts, files, write_lora, tmp_path, how, which):
    folder = layouts.write_split(tmp_path / "model", tiny, layouts.Quantisation())
    style = tmp_path / "style.safetensors"
    style.write_bytes(files["blocks"].read_bytes())
    player = engine(prepared(folder, (style, 0.5)))
    before = make(player, 0.5)
    path = style if which == "LoRA" else next(iter(player.networks.merged._originals._signs.keys() - {style}))
    kept = path.read_bytes()
    changed(path, how)
    (answer,) = merged(player, 0.8)
    reason = "cannot be read any more" if how == "gone" else "was changed since it was loaded"
    assert isinstance(answer, LoraFailed) and (answer.slot, answer.path) == (1, style)
    assert answer.text.startswith(f"style stays at 0.5: {path}: {reason}") and "\n" not in answer.text
    assert same(make(player, 0.8), before) and not player.loras.is_loading  # it is not tried again and again
    assert merged(player, 0.5) == [] and same(make(player, 0.5), before)
    if how == "gone":
        path.write_bytes(kept)
    (answer,) = merged(player, 0.9)
    assert isinstance(answer, LoraFailed)  # put back as another file: nobody can know what is in it


def test_a_file_that_is_written_while_it_is_read(tiny_folder, files, tmp_path, gate):
    style = tmp_path / "style.safetensors"
    style.write_bytes(files["blocks"].read_bytes())
    player = engine(prepared(tiny_folder, (style, 0.5)))
    before = make(player, 0.5)
    player.loras.set_strengths((0.8,) * 8)
    os.utime(style, ns=(1, 1))
    gate.set()
    assert isinstance(settled(player)[-1], LoraFailed) and same(make(player, 0.8), before)


@pytest.mark.parametrize("kind", ["float8", "half streamed"])
def test_where_memory_is_short_layers_are_exchanged_in_instalments(tiny_folder, files, kind, monkeypatch):
    player = engine(KINDS[kind](prepared(tiny_folder, (files["blocks"], 0.5))))
    make(player, 0.5)
    largest = max(each.num_bytes for each in player.networks.merged.work((0.9,)))
    monkeypatch.setattr(engine_loras, "free_host_bytes", lambda: 2 * largest)
    player.loras.set_strengths((0.9,) * 8)
    answers, num_exchanges = [], 0
    exchange = player.networks.merged.exchange

    def counted(*args):
        nonlocal num_exchanges
        num_exchanges += 1
        return exchange(*args)

    monkeypatch.setattr(player.networks.merged, "exchange", counted)
    while player.loras.is_loading:
        answers += player.loras.swap()
        make(player, 0.9)  # goes on in between
    assert num_exchanges > 2 and [type(answer) for answer in answers] == [LoraMerging, LoraMerged]
    assert equal_weights(player, engine(KINDS[kind](prepared(tiny_folder, (files["blocks"], 0.9)))))


@pytest.mark.parametrize("kind", ["float8", "streamed"])
def test_where_there_is_no_memory_the_old_strength_stays(tiny_folder, files, kind, monkeypatch):
    player = engine(KINDS[kind](prepared(tiny_folder, (files["blocks"], 0.5))))
    before = make(player, 0.5)
    with monkeypatch.context() as patch:
        patch.setattr(engine_loras, "free_host_bytes", lambda: 1000)
        (answer,) = merged(player, 0.9)
        assert answer.text.startswith("blocks stays at 0.5: memory: merging takes ") and answer.strength == 0.5
        assert same(make(player, 0.9), before)
    (answer,) = merged(player, 0.8)
    assert isinstance(answer, LoraMerged)


def test_a_failure_half_way_is_told_and_mended(tiny_folder, files, monkeypatch):
    """In instalments some layers may be there already."""
    player = engine(prepared(tiny_folder, (files["blocks"], 0.5)))
    before = make(player, 0.5)
    largest = max(each.num_bytes for each in player.networks.merged.work((0.9,)))
    frees = iter([2 * largest, 0])
    monkeypatch.setattr(engine_loras, "free_host_bytes", lambda: next(frees, None))
    (answer,) = merged(player, 0.9)
    assert answer.text.startswith("blocks is at 0.9 in some layers only: memory: merging takes")
    assert answer.strength is None
    assert not same(make(player, 0.9), before)
    (answer,) = merged(player, 0.5)
    assert isinstance(answer, LoraMerged) and same(make(player, 0.5), before)


def test_live_loras_leave_room_for_merging(tiny_folder, files):
    setup = prepared(tiny_folder, (files["one"], 0.5))
    player = engine(replace(setup, lora_bytes=2 * MERGE_WORKING_BYTES))
    player.loras.ask(2, files["blocks"])
    (answer,) = settled(player)
    assert isinstance(answer, LoraLoaded) and "copied as it is used" in answer.text
    player = engine(replace(setup, lora_bytes=3 * MERGE_WORKING_BYTES))
    player.loras.ask(2, files["blocks"])
    assert "copied" not in settled(player)[0].text
    budget = player.loras._merge_budget()
    assert budget.device == 2 * MERGE_WORKING_BYTES - player.loras._adapters[2].num_bytes


def test_merged_and_live_loras_together(tiny_folder, files):
    player = engine(prepared(tiny_folder, (files["one"], 0.5)))
    player.loras.ask(2, files["blocks"])
    settled(player)
    merged(player, 0.9, 0.4)
    other = engine(prepared(tiny_folder, (files["one"], 0.9)))
    other.loras.ask(2, files["blocks"])
    settled(other)
    assert same(make(player, 0.9, 0.4), make(other, 0.9, 0.4))


def test_closing_gives_up_what_is_under_way(tiny_folder, files, gate):
    player = engine(prepared(tiny_folder, (files["blocks"], 0.5)))
    player.loras.set_strengths((0.9,) * 8)
    player.loras.close()
    job = player.loras._merging._merge.job
    gate.set()
    assert len(job.result(30).layers) == 1  # it looks up after every layer
