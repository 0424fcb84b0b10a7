"""The engine on a tiny random model: every chunk lies exactly where it was asked for. And on the pocket."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ltx_live.chunk import Chunk, ChunkRequest, Progress, StepValues, frames_to_samples
from ltx_live.engine.ltx import LtxEngine, load
from ltx_live.engine.settings import LtxSettings
from ltx_live.engine.setup import compute_dtype
from ltx_live.errors import CheckpointError
from ltx_live.model.schedules import DISTILLED
from ltx_live.params import GenerationParams
from ltx_live.pocket import weights_folder

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
        assert set(chunk.timings_s) == {"encode", "denoise", "decode", "vocode"}


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


def test_step_values_are_taken_and_not_latched(tiny_engine):
    steps = tiny_engine.generate(new_take(9))
    next(steps)
    steps.send(StepValues({"identity_guidance_scale": 1.0}))
    assert next(steps).latched == ()


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
