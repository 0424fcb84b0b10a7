"""The LoRAs that ship: what they are, that they fit the pocket, and how they are trained (a step on the CPU)."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from ltx_live.pocket import lora_folder, weights_folder
from ltx_live.pocket.description import Batch, Description, sample_descriptions
from ltx_live.pocket.fields import render_fields
from ltx_live.pocket.looks import edges, filled, halved, ink
from ltx_live.pocket.measure import likeness, paper_of, timbre_of
from ltx_live.pocket.scenes import painted, render_frames
from ltx_live.pocket.sounds import render_audio
from ltx_live.pocket.train import adapter, export_loras, structure, style, voice
from ltx_live.pocket.train.loop import Settings
from ltx_live.pocket.train.studio import Studio
from ltx_live.pocket.voices import random_voices
from ltx_live.weights.checkpoint import build_transformer
from ltx_live.weights.files import find_model
from ltx_live.weights.lora import read_lora
from ltx_live.weights.lora_header import read_lora_header

KINDS = {"pocket-style-ink": "style", "pocket-ic-lora-structure": "IC", "pocket-id-lora-voice": "ID"}


@pytest.mark.parametrize("name", KINDS)
def test_file_is_small_fits_the_pocket_and_says_what_it_is(name):
    path = lora_folder() / f"{name}.safetensors"
    header = read_lora_header(path)
    assert path.stat().st_size <= 2_000_000
    assert header.kind == KINDS[name]
    assert header.reference_downscale_factor == (2 if header.kind == "IC" else 1)
    network = build_transformer(find_model(weights_folder()).transformer)
    lora = read_lora(path, network)
    assert lora.factors and not lora.unmatched and not lora.touches_text
    about = header.metadata
    assert about["name"] == name and about["licence"] == "Apache-2.0" and about["training_commit"] and about["seed"]


def test_all_that_ships_is_small_together():
    sizes = [path.stat().st_size for path in lora_folder().iterdir()]
    assert len(sizes) == len(KINDS) and sum(sizes) <= 6_000_000
    assert sum(sizes) + sum(path.stat().st_size for path in weights_folder().iterdir()) < 32_000_000


@pytest.mark.parametrize("task", export_loras.TASKS, ids=lambda task: task.name)
def test_adapter_trains_and_is_written(task, tmp_path, one_thread):
    """One step on one window of each kind: only the branches are trained, and the file has the common names."""
    settings = Settings(folder=tmp_path, steps=1, batch_size=1, pool_size=1, seed=5, warmup_steps=1)
    losses = adapter.train(task, settings)
    assert all(math.isfinite(value) for value in losses.values())
    moved = load_file(tmp_path / f"{task.name}.safetensors")
    assert {name.split(".")[0] for name in moved} == {"a", "b"}
    assert any(value.abs().max() > 0 for name, value in moved.items() if name.startswith("b."))
    path = adapter.export(task, adapter.trained(task, tmp_path), tmp_path, {"seed": "5"})
    with safe_open(path, "pt") as file:
        keys, about = list(file.keys()), file.metadata()
    assert keys and all(key.startswith("diffusion_model.transformer_blocks.") for key in keys)
    assert about["seed"] == "5" and about["name"] == task.file


def test_branches_without_training_change_nothing(one_thread):
    network = Studio("cpu").transformer
    layer = network.get_submodule("transformer_blocks.0.attn1.to_q")
    x = torch.randn(2, 3, layer.in_features)
    before = layer(x)
    branches = adapter.Branches(network, adapter.VIDEO_LAYERS, 4)
    assert torch.equal(layer(x), before)
    torch.nn.init.ones_(branches.b[branches.names.index("transformer_blocks.0.attn1.to_q")])
    assert not torch.equal(layer(x), before)


def test_an_untrained_adapter_is_told(tmp_path):
    with pytest.raises(SystemExit, match="style.safetensors: not there; make it first"):
        adapter.trained(style.TASK, tmp_path)


def test_ink_is_white_without_colour_and_keeps_the_shapes():
    clips = Batch.of(sample_descriptions(3, torch.Generator().manual_seed(1)))
    frames = render_frames(clips, torch.zeros(3, 1).double())
    drawn = ink(frames)
    assert torch.equal(drawn[..., 0], drawn[..., 1]) and torch.equal(drawn[..., 0], drawn[..., 2])
    for before, after in zip(frames, drawn, strict=True):
        seen = [(each * 255).byte().numpy() for each in (before, after)]
        assert paper_of(seen[1]) > 0.5 > paper_of(seen[0])
        assert likeness(seen[1], seen[0], 1) < -0.5  # light becomes dark


def test_light_keeps_its_structure_in_every_palette():
    fields = render_fields(torch.arange(6), torch.zeros(6, 1).double())
    assert 0 <= fields.min() and fields.max() <= 1
    clips = Batch.of([Description("rings", "blue", "slow", (), "pad", 100, n) for n in range(6)])
    pictures = painted(clips, fields)
    guides = filled(halved(fields)[..., None])
    assert guides.shape == (6, 1, 96, 160, 3)
    for picture, guide in zip(pictures, guides, strict=True):
        assert likeness((picture * 255).byte().numpy(), (guide * 255).byte().numpy(), 2) > 0.9


def test_fields_move_and_do_not_jump():
    times_s = torch.arange(3).double().expand(6, 3) / 24
    fields = render_fields(torch.arange(6), times_s)
    step = fields.diff(dim=1).abs().mean(dim=(1, 2, 3))
    assert (step > 0).all() and (step < 0.15).all()
    assert torch.equal(render_fields(torch.arange(6), times_s[:, 1:]), fields[:, 1:])


def test_edges_are_where_the_light_changes():
    light = torch.zeros(1, 1, 40, 60)
    light[..., 20:] = 1.0
    found = edges(light)[0, 0]
    assert (found.sum(1) == 1).all() and found[:, 19:21].sum() == 40
    assert edges(torch.full((1, 1, 40, 60), 0.7)).sum() == 0


def test_a_voice_is_heard_on_any_notes_and_as_loud_as_the_others():
    voices = random_voices(4, torch.Generator().manual_seed(8))
    sounds = []
    for seed in (1, 100):
        clips = Batch.of([Description("rings", "red", "slow", (), "low drone", 100, seed)] * 4)
        sounds.append(render_audio(clips, torch.zeros(4).double(), 24_000, voices=voices).numpy())
    first, second = ([timbre_of(each) for each in part] for part in sounds)
    for number, profile in enumerate(first):
        away = [float(abs(profile - other).mean()) for other in second]
        assert away[number] == min(away)
    levels = [float((sound**2).mean()) ** 0.5 for sound in sounds[0]]
    assert max(levels) < 1.6 * min(levels)


def test_ordinary_sounds_have_their_own_timbre():
    clips = Batch.of([Description("rings", "red", "slow", (), sound, 100, 1) for sound in ("drums", "noise")])
    voices = random_voices(2, torch.Generator().manual_seed(8))
    start = torch.zeros(2).double()
    assert torch.equal(render_audio(clips, start, 4800, voices=voices), render_audio(clips, start, 4800))


def test_command_line_names_the_adapters():
    command = [sys.executable, "-m", "ltx_live.pocket.train", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]).stdout
    assert all(task.name in text for task in (style.TASK, structure.TASK, voice.TASK)) and "export_loras" in text
