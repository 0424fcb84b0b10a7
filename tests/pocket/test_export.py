"""Trained networks become the checkpoint that ships, and the engine can play it."""

import shutil

import pytest
import torch
from safetensors.torch import save_file

from ltx_live.chunk import ChunkRequest
from ltx_live.engine.ltx import load
from ltx_live.engine.settings import LtxSettings
from ltx_live.params import GenerationParams
from ltx_live.pocket import configs
from ltx_live.pocket.train import audio_vae, export, text, transformer, video_vae, vocoder
from ltx_live.weights.files import find_model
from ltx_live.weights.headers import read_bundle


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Networks as training leaves them, with random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("trained")
    networks = {
        "video_vae": video_vae.build(),
        "audio_vae": audio_vae.build(),
        "vocoder": vocoder.build(),
        "text": text.Reader(),
        "transformer": transformer.Painter(),
    }
    for end in (networks["transformer"].transformer.proj_out, networks["transformer"].transformer.audio_proj_out):
        torch.nn.init.normal_(end.weight, std=0.05)
    for name, network in networks.items():
        save_file(network.state_dict(), folder / f"{name}.safetensors")
    text.tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def exported(source, tmp_path_factory):
    target = tmp_path_factory.mktemp("weights")
    return target, export.export(source, target, seed=7)


def test_the_checkpoint_is_complete_small_and_says_where_it_comes_from(exported):
    target, damage = exported
    files = find_model(target)
    assert len(list(target.iterdir())) == 5
    assert sum(path.stat().st_size for path in target.iterdir()) <= 26_000_000
    for path in target.iterdir():
        about = read_bundle(path).metadata
        assert about["seed"] == "7" and about["licence"] == "Apache-2.0" and about["training_commit"]
    assert files.name == "pocket" and files.text_encoder.config == configs.TEXT_ENCODER
    assert 0 < damage["video_damage"] < 0.1 and 0 < damage["audio_damage"] < 0.1


def test_the_engine_plays_it(exported):
    engine = load(lambda text: None, LtxSettings(exported[0], 96, 64, device="cpu"))
    params = GenerationParams(prompt="a slow blue tunnel with drums", num_steps=1, schedule="linear")
    *_, chunk = engine.generate(ChunkRequest(0, params, 1, 0, 9))
    assert engine.info.name == "pocket" and chunk.frames.shape == (9, 64, 96, 3) and chunk.audio.shape == (18000, 2)


def test_what_is_missing_or_too_big_is_said_in_one_line(source, exported, tmp_path, monkeypatch):
    shutil.copytree(source, tmp_path / "half")
    (tmp_path / "half" / "vocoder.safetensors").unlink()
    with pytest.raises(SystemExit, match=r"ltx_live.pocket.train vocoder"):
        export.export(tmp_path / "half", tmp_path / "weights")
    monkeypatch.setattr(export, "MAX_TOTAL_BYTES", 25_000_000)
    with pytest.raises(SystemExit, match="at most 25000000"):
        export._check_sizes(exported[0])
    monkeypatch.setattr(export, "MAX_FILE_BYTES", 12_000_000)
    with pytest.raises(SystemExit, match=r"transformer.safetensors: .* under 12000000"):
        export._check_sizes(exported[0])
