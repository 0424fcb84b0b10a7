"""LoRAs in the engine, live and merged; and what a chunk costs that there is no memory for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ltx_live.chunk import Chunk, ChunkRequest
from ltx_live.engine.ltx import LtxEngine, build, load
from ltx_live.engine.settings import LtxSettings
from ltx_live.engine.setup import prepare
from ltx_live.errors import EngineError
from ltx_live.params import GenerationParams
from ltx_live.weights.check import check_model
from ltx_live.weights.files import find_model
from ltx_live.weights.lora import linear_shapes

VALUE, CONNECTOR = "transformer_blocks.1.attn1.to_v", "video_embeddings_connector.transformer_1d_blocks.0.attn1.to_q"
PARAMS = replace(GenerationParams(), prompt="slow red tunnel", num_steps=2, schedule="linear")


@pytest.fixture(scope="module")
def lora_files(tiny_folder, tmp_path_factory):
    """LoRAs of rank 2 on one layer of a block, and on one of the text connectors."""
    shapes = linear_shapes(check_model(find_model(tiny_folder)))
    folder = tmp_path_factory.mktemp("loras")
    paths = []
    for seed, layer in enumerate((VALUE, CONNECTOR)):
        torch.manual_seed(seed)
        num_out, num_in = shapes[layer]
        factors = {"lora_A": torch.randn(2, num_in), "lora_B": 4 * torch.randn(num_out, 2)}
        paths.append(folder / f"{seed}.safetensors")
        save_file({f"diffusion_model.{layer}.{name}.weight": value for name, value in factors.items()}, paths[-1])
    return paths


def engine(tiny_folder, *loras, merge: bool = False) -> LtxEngine:
    return load(lambda text: None, LtxSettings(tiny_folder, 64, 32, device="cpu", loras=loras, merge_loras=merge))


def make(player: LtxEngine, *strengths: float) -> Chunk:
    strengths = (*strengths, *[1.0] * (8 - len(strengths)))
    params = replace(PARAMS, lora_strength=strengths)
    *_, chunk = player.generate(ChunkRequest(0, params, 1, 0, 9))
    return chunk


def first_step(player: LtxEngine, *strengths: float) -> torch.Tensor:
    """The picture's latents after the first step."""
    seen = []
    player.watch = lambda step: seen.append(step.states.video.target.float())
    make(player, *strengths)
    return seen[0]


def same(one: Chunk, other: Chunk) -> bool:
    return np.array_equal(one.frames, other.frames) and np.array_equal(one.audio, other.audio)


def test_a_live_lora_follows_its_strength(tiny_folder, lora_files):
    plain = make(engine(tiny_folder))
    player = engine(tiny_folder, (lora_files[0], 0.0), (lora_files[1], 0.0))
    assert same(make(player, 0.0, 0.0), plain)  # bit for bit
    block, text, both = make(player, 1.0, 0.0), make(player, 0.0, 1.0), make(player, 1.0, 1.0)
    assert not any(same(a, b) for a, b in ((block, plain), (text, plain), (both, block), (both, text)))
    assert same(make(player, 0.0, 1.0), text) and same(make(player, 1.0, 0.0), block)  # nothing stays behind
    assert same(make(player, 0.0, 0.0), plain)


def test_a_merged_lora_is_nearly_a_live_one(tiny_folder, lora_files):
    plain, merged = engine(tiny_folder), engine(tiny_folder, (lora_files[0], 0.5), merge=True)
    weights = [each.networks.transformer.get_submodule(VALUE).weight for each in (plain, merged)]
    assert not torch.equal(*weights)
    assert not same(make(merged, 0.5), make(plain))
    live = engine(tiny_folder, (lora_files[0], 0.5))
    without, folded, beside = (first_step(player, 0.5) for player in (plain, merged, live))
    assert (beside - folded).norm() < 0.2 * (without - folded).norm()  # float8 is rounded anew by merging


def test_what_depends_on_a_strength_is_made_anew(tiny_folder, lora_files):
    player = engine(tiny_folder, (lora_files[0], 1.0), (lora_files[1], 1.0))
    make(player, 1.0, 1.0)
    kept = player._prompts.context(PARAMS.prompt)
    player.loras.set_strengths((0.5, 1.0))
    assert player._prompts.context(PARAMS.prompt) is kept  # the first touches no text
    player.loras.set_strengths((0.5, 0.5))
    assert player._prompts.context(PARAMS.prompt) is not kept
    assert [adapter.strength for adapter in player.loras._adapters.values()] == [0.5, 0.5]


def test_more_frames_than_there_is_memory_for(tiny_folder):
    setup = replace(prepare(LtxSettings(tiny_folder, 64, 32, device="cpu")), max_num_frames=17)
    player = build(setup, lambda text: None)
    assert player.info.max_num_frames == 17
    with pytest.raises(EngineError, match="num_frames 25: GPU memory was planned for 17; start with"):
        next(player.generate(ChunkRequest(0, PARAMS, 1, 0, 25)))
    *_, chunk = player.generate(ChunkRequest(0, PARAMS, 1, 0, 17))
    assert chunk.num_frames == 17


def test_memory_that_runs_out_fails_one_chunk_in_one_line(tiny_folder, monkeypatch):
    def fail(*args):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 GiB")

    player = engine(tiny_folder)
    with monkeypatch.context() as patch:
        patch.setattr(player.networks.video_vae, "decode_u8", fail)
        with pytest.raises(EngineError, match="more is in use than when it was planned") as error:
            make(player)
    assert "\n" not in str(error.value) and not torch.is_inference_mode_enabled()
    assert make(player).num_frames == 9


def test_the_plan_is_the_first_that_is_told(tiny_folder):
    told = []
    setup = prepare(LtxSettings(tiny_folder, 64, 32, device="cpu"))
    build(setup, told.append)
    assert told[0] == setup.plan.describe() and told[1] == "loading the transformer"
