"""Every component trains a few steps on the CPU, resumes from its file, and feeds the next; nothing is mocked."""

import importlib
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file

from ltx_live.pocket import configs
from ltx_live.pocket.train import text
from ltx_live.pocket.train.loop import Loop, Settings
from ltx_live.pocket.train.takes import NUM_PREFIX_LATENTS, WINDOWS, Shards


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with every component trained for two steps, in the order in which they need each other."""
    path = tmp_path_factory.mktemp("train")
    for component, batch_size in (
        ("text", 4),
        ("audio_vae", 1),
        ("video_vae", 1),
        ("vocoder", 1),
        ("takes", 2),
        ("transformer", 2),
    ):
        steps = 1 if component == "takes" else 2
        settings = Settings(folder=path, steps=steps, batch_size=batch_size, pool_size=2, seed=5, warmup_steps=1)
        results = importlib.import_module(f"ltx_live.pocket.train.{component}").train(settings)
        assert all(math.isfinite(value) for value in results.values()), component
    return path


def test_all_components_are_written(folder):
    names = {path.stem for path in folder.glob("*.safetensors")}
    assert names == {"text", "audio_vae", "video_vae", "vocoder", "transformer"}


def test_latent_statistics_are_measured(folder):
    state = load_file(folder / "video_vae.safetensors")
    assert state["per_channel_statistics.std-of-means"].shape == (configs.LATENT_CHANNELS,)
    assert not torch.equal(state["per_channel_statistics.std-of-means"], torch.ones(configs.LATENT_CHANNELS))


def test_windows_have_the_shapes_of_live_chunks(folder):
    shards = Shards(folder / "takes", "cpu")
    new, continued = (shards.draw(WINDOWS[name], 2) for name in ("new", "continued"))
    assert new["video"].shape == (2, 8 * 45, configs.LATENT_CHANNELS) and new["audio"].shape[1] == 60
    assert continued["audio"].shape[1] == 76
    # 25 clean audio latents end at 0.97 s; nine frames before that the pictures start, later by the carry.
    start_s = continued["video_start_s"] - (0.97 - 9 / 24)
    assert ((start_s >= 0) & (start_s < 0.04)).all()
    short = shards.draw(WINDOWS["continued short"], 1)
    assert short["video"].shape[1] == 5 * 45 and short["audio"].shape[1] == 51


def test_half_of_the_prefixes_were_decoded_and_encoded_again(folder):
    shards = Shards(folder / "takes", "cpu")
    (stored,) = shards.pools[True].values()
    length = NUM_PREFIX_LATENTS * 45
    heads = shards.draw(WINDOWS["continued"], 64)["video"][:, :length]
    fresh = [any(torch.equal(head, row[:length]) for row in stored["video"]) for head in heads]
    again = [any(torch.equal(head, row) for row in stored["prefix"]) for head in heads]
    assert all(a != b for a, b in zip(fresh, again, strict=True)) and 8 < sum(again) < 56


def test_training_resumes_from_its_file(folder, tmp_path):
    shutil.copy(folder / "text.safetensors", tmp_path)
    shutil.copy(folder / "tokenizer.model", tmp_path)
    loop = Loop("text", text.Reader(), Settings(folder=tmp_path), text.loss)
    saved = load_file(folder / "text.safetensors")
    assert all(torch.equal(value, saved[name]) for name, value in loop.network.state_dict().items())


def test_loss_falls_on_a_batch_that_is_repeated(folder):
    words = text.tokenizer(folder)
    pool = text.prompt_pool(words, 8, seed=1, device="cpu")
    torch.manual_seed(0)
    settings = Settings(folder=folder / "again", steps=25, learning_rate=2e-3, warmup_steps=1, ema_decay=0.5)
    loop = Loop("text", text.Reader(), settings, text.loss)
    before = text.loss(loop.network, pool)["loss"].item()
    loop.run(lambda: pool)
    assert text.loss(loop.use_averages(), pool)["loss"].item() < 0.5 * before
