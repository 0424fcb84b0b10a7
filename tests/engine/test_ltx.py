"""The engine on a tiny random model: every chunk lies exactly where it was asked for. And on the pocket."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ltx_live.chunk import Chunk, ChunkRequest, Progress, StepValues, frames_to_samples
from ltx_live.engine.device import compute_dtype
from ltx_live.engine.ltx import LtxEngine, load
from ltx_live.engine.settings import LtxSettings
from ltx_live.errors import CheckpointError
from ltx_live.model.schedules import DISTILLED
from ltx_live.params import GenerationParams
from ltx_live.pocket import weights_folder
from ltx_live.pocket.measure import palette_of
from ltx_live.weights.adapters import RuntimeAdapter
from ltx_live.weights.lora import Factors, Lora

PARAMS = replace(GenerationParams(), prompt="slow red tunnel", num_steps=2, schedule="linear")
has_pocket = pytest.mark.skipif(
    not any(weights_folder().glob("*.safetensors")), reason="the pocket's weights are not in ltx_live/pocket/weights"
)


def make(engine: LtxEngine, request: ChunkRequest) -> Chunk:
    *steps, chunk = engine.generate(request)
    assert all(isinstance(step, Progress) for step in steps) and isinstance(chunk, Chunk)
    return chunk


def after(chunk: Chunk, num_frames: int = 33, frame: int | None = None, **more) -> ChunkRequest:
    """A request that goes on from a chunk, at its end or after `frame` of its frames."""
    frame = chunk.num_frames if frame is None else frame
    start = chunk.video_start + frames_to_samples(frame, chunk.frame_rate)
    made = ChunkRequest(chunk.index + 1, PARAMS, 1, start, num_frames, (chunk.index, frame), chunk, epoch=3)
    params = replace(PARAMS, frame_rate=chunk.frame_rate, **more.pop("params", {}))
    return replace(made, params=params, **more)


def new_take(num_frames: int = 33, seed: int = 0, **params) -> ChunkRequest:
    return ChunkRequest(0, replace(PARAMS, **params), seed, 4321, num_frames)


def check_place(chunk: Chunk, request: ChunkRequest, num_overlap: int) -> None:
    assert (chunk.index, chunk.epoch, chunk.num_overlap) == (request.index, request.epoch, num_overlap)
    assert chunk.frames.shape[0] == request.num_frames and chunk.frames.dtype == np.uint8
    assert chunk.cut == request.start == chunk.audio_start + chunk.num_overlap_samples
    assert chunk.audio_start + len(chunk.audio) == chunk.end
    assert chunk.audio.dtype == np.float32 and chunk.audio.shape[1] == 2 and np.abs(chunk.audio).max() <= 1
    assert chunk.frames.std() > 0 and chunk.audio.std() > 0


@pytest.mark.parametrize("frame_rate", [24, 25, 30])
def test_chunks_lie_where_they_were_asked_for(tiny_engine, frame_rate):
    request = new_take(57, frame_rate=frame_rate)
    chunk = make(tiny_engine, request)
    check_place(chunk, request, 0)
    assert chunk.video_start == chunk.audio_start == 4321
    for num_frames, num_overlap in ((9, 1), (17, 9), (33, 9), (57, 9), (33, 9)):
        request = after(chunk, num_frames)
        chunk = make(tiny_engine, request)
        check_place(chunk, request, num_overlap)
        assert chunk.num_overlap_samples == 4800
        assert set(chunk.timings_s) == {"text", "encode", "denoise", "decode", "vocode"}


def test_a_cut_in_the_middle_goes_on_from_there(tiny_engine):
    first = make(tiny_engine, new_take(57))
    request = after(first, 33, frame=40)
    middle, early = make(tiny_engine, request), make(tiny_engine, after(first, 33, frame=5))
    check_place(middle, request, 9)
    assert middle.cut == 4321 + 80000 and early.num_overlap == 1
    assert not np.array_equal(middle.frames, make(tiny_engine, after(first, 33)).frames)


def test_the_same_request_gives_the_same_chunk_and_another_seed_another(tiny_engine, tiny_folder):
    other = load(lambda text: None, LtxSettings(tiny_folder, 64, 32, device="cpu"))
    first, same = (make(engine, new_take(seed=5)) for engine in (tiny_engine, other))
    different = make(tiny_engine, replace(new_take(seed=6), index=50))
    assert np.array_equal(first.frames, same.frames) and np.array_equal(first.audio, same.audio)
    assert not np.array_equal(first.frames, different.frames) and not np.array_equal(first.audio, different.audio)
    second, again = make(tiny_engine, after(first)), make(other, after(same))
    assert np.array_equal(second.frames, again.frames) and np.array_equal(second.audio, again.audio)
    assert not np.array_equal(second.frames, make(tiny_engine, after(first, params={"prompt": "fast blue"})).frames)


def test_continuity_is_how_strongly_the_past_is_held(tiny_engine):
    first = make(tiny_engine, new_take())
    free = make(tiny_engine, after(first, params={"continuity": 0.0}))
    assert free.num_overlap == free.num_overlap_samples == 0 and free.video_start == first.end
    alone = make(tiny_engine, replace(after(first), continue_from=None))
    assert np.array_equal(free.frames, alone.frames) and np.array_equal(free.audio, alone.audio)
    half, whole = (make(tiny_engine, after(first, params={"continuity": c})) for c in (0.5, 1.0))
    assert half.num_overlap == whole.num_overlap == 9 and not np.array_equal(half.frames, whole.frames)


def test_a_restarted_engine_goes_on_from_what_the_show_holds(tiny_engine, tiny_folder):
    first = make(tiny_engine, new_take(57))
    request = after(first)
    restarted = load(lambda text: None, LtxSettings(tiny_folder, 64, 32, device="cpu"))
    chunk = make(restarted, request)
    check_place(chunk, request, 9)
    assert chunk.num_overlap_samples == 4800
    # The same pictures are given; the sound before the cut had to be encoded again and lies on another grid.
    assert not np.array_equal(chunk.audio, make(tiny_engine, request).audio)
    lost = make(load(lambda text: None, LtxSettings(tiny_folder, 64, 32, device="cpu")), replace(request, history=None))
    assert lost.num_overlap == 0 and lost.cut == request.start


def test_a_cancelled_chunk_leaves_nothing_behind(tiny_engine, tiny_folder):
    first = make(tiny_engine, new_take())
    steps = tiny_engine.generate(after(first))
    assert next(steps).step == 1
    steps.close()
    assert torch.is_inference_mode_enabled() is False
    unknown = replace(after(first), index=2, continue_from=(1, 33), history=None)
    assert make(tiny_engine, unknown).num_overlap == 0  # chunk 1 was never made
    fresh = load(lambda text: None, LtxSettings(tiny_folder, 64, 32, device="cpu"))
    make(fresh, new_take())
    assert np.array_equal(make(tiny_engine, after(first)).frames, make(fresh, after(first)).frames)


def test_every_schedule_and_own_sigmas(tiny_engine):
    def sigmas(**params) -> list[float]:
        steps = list(tiny_engine.generate(new_take(9, **params)))[:-1]
        assert [step.step for step in steps] == list(range(1, steps[0].num_steps + 1))
        return [step.sigma for step in steps]

    assert sigmas(schedule="distilled", num_steps=8) == list(DISTILLED[1:])
    assert sigmas(sigmas=(1.0, 0.6, 0.0), num_steps=8) == [0.6, 0.0]
    for name in ("cosine", "linear_quadratic", "beta"):
        assert len(sigmas(schedule=name, num_steps=3)) == 3


def played(engine: LtxEngine, request: ChunkRequest, values: dict[int, StepValues]) -> Chunk:
    """The chunk when `values` are sent after so many steps."""
    steps, sent = engine.generate(request), None
    while not isinstance(result := steps.send(sent), Chunk):
        sent = values.get(result.step)
    return result


BELLS = (("bells", 0.5), ("slow red tunnel", 0.5))


def test_weighted_prompts_are_played(tiny_engine):
    plain = make(tiny_engine, new_take(9))
    alone = make(tiny_engine, replace(new_take(9, prompt="bells"), prompts=(("slow red tunnel", 1.0),)))
    assert np.array_equal(plain.frames, alone.frames)  # what is played counts, not `prompt`
    mixed, spherical = (
        make(tiny_engine, replace(new_take(9, prompts_interpolation=way), prompts=BELLS))
        for way in ("linear", "spherical")
    )
    assert not np.array_equal(mixed.frames, plain.frames) and not np.array_equal(mixed.frames, spherical.frames)


def test_step_values_are_not_latched_unless_asked_for(tiny_engine):
    plain = make(tiny_engine, new_take(9))
    chunk = played(tiny_engine, new_take(9), {1: StepValues({"prompts": BELLS}, epoch=7)})
    assert chunk.latched == () and chunk.epoch == 0 and np.array_equal(chunk.frames, plain.frames)


def test_step_values_are_latched_while_the_noise_is_high_and_a_replay_is_exact(tiny_engine, tiny_folder):
    request = new_take(9, schedule="distilled", num_steps=8, late_latch=True)
    plain = make(tiny_engine, request)
    sent = {
        2: StepValues({"prompts": BELLS}, epoch=7),
        5: StepValues({"lora_strength": (0.5,) * 8}, epoch=8),  # the sixth step starts at 0.909
        6: StepValues({"prompts": (("fast blue", 1.0),)}, epoch=9),  # the seventh at 0.725
    }
    chunk = played(tiny_engine, request, sent)
    assert chunk.latched == ((2, {"prompts": BELLS}), (5, {"lora_strength": (0.5,) * 8})) and chunk.epoch == 8
    assert not np.array_equal(chunk.frames, plain.frames)
    written = json.loads(json.dumps(chunk.latched))  # as in the log of the show
    again = load(lambda text: None, LtxSettings(tiny_folder, 64, 32, device="cpu"))
    replayed = played(again, request, {step: StepValues(values) for step, values in written})
    assert np.array_equal(replayed.frames, chunk.frames) and np.array_equal(replayed.audio, chunk.audio)
    early = played(again, request, {1: StepValues(sent[2].values)})
    assert not np.array_equal(early.frames, chunk.frames)


def test_a_lora_is_turned_up_while_a_chunk_is_made(tiny_engine):
    transformer, layer = (
        tiny_engine.networks.transformer,
        "video_embeddings_connector.transformer_1d_blocks.0.attn1.to_q",
    )
    draw, width = torch.Generator().manual_seed(0), transformer.get_submodule(layer).in_features
    factors = Factors(torch.randn(2, width, generator=draw), torch.randn(width, 2, generator=draw), 1.0)
    lora = Lora(Path("x"), {layer: factors}, {}, (), 1, 1)
    tiny_engine.loras.put(1, RuntimeAdapter(transformer, lora, 1.0))
    off = new_take(9, schedule="distilled", num_steps=8, late_latch=True, lora_strength=(0.0,) * 8)
    up = {2: StepValues({"lora_strength": (1.0,) * 8})}
    plain, turned, again = (played(tiny_engine, off, values) for values in ({}, up, up))
    assert not np.array_equal(plain.frames, turned.frames) and np.array_equal(turned.frames, again.frames)
    assert np.array_equal(plain.frames, make(tiny_engine, off).frames)


@pytest.mark.parametrize(("width", "height", "num_frames", "frame_rate"), [(32, 96, 9, 120), (96, 64, 25, 3)])
def test_other_sizes_and_rates(tiny_folder, width, height, num_frames, frame_rate):
    engine = load(lambda text: None, LtxSettings(tiny_folder, width, height, device="cpu"))
    assert (engine.info.name, engine.info.width, engine.info.height) == ("tiny", width, height)
    first = make(engine, new_take(num_frames, frame_rate=frame_rate))
    request = after(first, num_frames)
    chunk = make(engine, request)
    check_place(chunk, request, 9 if num_frames > 9 else 1)
    assert chunk.frames.shape == (num_frames, height, width, 3)


def test_prompts_can_be_encoded_ahead(tiny_engine):
    tiny_engine.encode(("fast blue waves", "bells"))
    kept = tiny_engine._prompts.context("bells")
    make(tiny_engine, new_take(9, prompt="bells"))
    assert tiny_engine._prompts.context("bells") is kept


def test_a_folder_without_a_model_is_an_error_that_says_so(tmp_path):
    with pytest.raises(CheckpointError, match="nothing of LTX-2.3 here or below; `ltx-live models download"):
        load(lambda text: None, LtxSettings(tmp_path, 64, 32, device="cpu"))


def test_the_cpu_computes_in_a_dtype_that_it_multiplies_itself():
    native = torch.cpu.get_capabilities()
    expected = native.get("amx_bf16") or native.get("avx512_bf16")
    assert (compute_dtype(torch.device("cpu")) == torch.bfloat16) == bool(expected)


@has_pocket
def test_the_pocket_flows_on_over_a_seam_and_a_restart():
    settings = LtxSettings(weights_folder(), 288, 160, device="cpu")
    engine, restarted = (load(lambda text: None, settings) for _ in range(2))
    params = replace(GenerationParams(), prompt="slow blue waves, pad", num_frames=57)
    first = make(engine, ChunkRequest(0, params, 1, 0, 57))
    request = replace(after(first, 33), params=params)
    for chunk in (make(engine, request), make(restarted, request)):
        check_place(chunk, request, 9)
        again = np.abs(chunk.frames[:9].astype(float) - first.frames[-9:])
        assert again.mean() < 6  # the overlap is the same pictures, decoded anew
        assert np.abs(chunk.frames[9].astype(float) - chunk.frames[8]).mean() < 10  # and no jump after it
        old, new = first.audio[-4800:], chunk.audio[:4800]
        assert abs(np.log10(np.square(old).mean() / np.square(new).mean())) < 0.6  # 6 dB
    alone = make(engine, replace(request, continue_from=None))
    assert np.abs(alone.frames[:9].astype(float) - first.frames[-9:]).mean() > 6


@has_pocket
def test_the_pocket_goes_from_one_palette_to_another_with_the_weights():
    engine = load(lambda text: None, LtxSettings(weights_folder(), 192, 96, device="cpu"))
    texts = "slow red tunnel, pad", "slow blue tunnel, pad"

    def warmth(interpolation: str, share: float) -> float:
        """Red against blue light, -1..1."""
        prompts = tuple((text, weight) for text, weight in zip(texts, (1 - share, share), strict=True) if weight)
        params = replace(GenerationParams(), prompts_interpolation=interpolation)
        red, _, blue = make(engine, ChunkRequest(0, params, 1, 0, 17, prompts=prompts)).frames.mean(axis=(0, 1, 2))
        return (red - blue) / (red + blue)

    red, blue = warmth("linear", 0.0), warmth("linear", 1.0)
    assert red > 0.4 and blue < -0.4
    for interpolation in ("linear", "spherical"):
        assert blue + 0.1 < warmth(interpolation, 0.5) < red - 0.1


@has_pocket
def test_the_pocket_latches_and_replays():
    engine = load(lambda text: None, LtxSettings(weights_folder(), 192, 96, device="cpu"))
    params = replace(GenerationParams(), prompt="slow red tunnel, pad", late_latch=True)
    request = ChunkRequest(0, params, 1, 0, 17)
    latch = {1: StepValues({"prompts": (("slow blue tunnel, pad", 1.0),)})}
    plain, chunk, again = (played(engine, request, values) for values in ({}, latch, latch))
    assert palette_of(plain.frames) == "red" and palette_of(chunk.frames) == "blue"
    assert np.array_equal(chunk.frames, again.frames) and np.array_equal(chunk.audio, again.audio)
