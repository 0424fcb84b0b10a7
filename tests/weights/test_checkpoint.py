"""Loading and finding checkpoint files: exact where it works, one clear line naming the tensor where it cannot."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from ltx_live.errors import CheckpointError
from ltx_live.model.config import TransformerConfig
from ltx_live.weights.checkpoint import (
    TRANSFORMER,
    Storage,
    build_on_meta,
    find_split_files,
    load_audio_vae,
    load_network,
    load_state,
    load_text_projection,
    load_transformer,
    load_video_vae,
    load_vocoder,
    read_config,
    read_metadata,
)

FLOAT32 = Storage(dtype=torch.float32)
NORM = "transformer_blocks.1.attn1.q_norm.weight"


def rewritten(source: Path, target: Path, change=None, metadata: dict[str, str] | None = None) -> Path:
    """A copy of a checkpoint with `change` applied to its dict of tensors, or with other metadata."""
    tensors = load_file(source)
    if change is not None:
        change(tensors)
    save_file(tensors, target, read_metadata(source) if metadata is None else metadata)
    return target


def one_line(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def projection_config(tiny) -> TransformerConfig:
    return TransformerConfig.from_metadata(read_config(tiny.folder / "1.safetensors")["transformer"])


@pytest.fixture
def loaders(tiny):
    folder = tiny.folder
    return {
        "transformer": partial(load_transformer, folder / "1.safetensors"),
        "text_projection": partial(load_text_projection, folder / "2.safetensors", projection_config(tiny)),
        "video_vae": partial(load_video_vae, folder / "4.safetensors"),
        "audio_vae": partial(load_audio_vae, folder / "5.safetensors"),
        "vocoder": partial(load_vocoder, folder / "5.safetensors"),
    }


@pytest.mark.parametrize("part", ["transformer", "text_projection", "video_vae", "audio_vae", "vocoder"])
def test_a_network_comes_back_as_it_was_saved(tiny, loaders, part):
    loaded, saved = loaders[part](FLOAT32), tiny.networks[part]
    assert loaded.state_dict().keys() == saved.state_dict().keys()
    for name, tensor in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert not loaded.training and not any(parameter.requires_grad for parameter in loaded.parameters())


def test_loaded_vaes_compute_what_the_saved_ones_do(tiny, loaders):
    frames, mel = torch.randn(1, 3, 3, 16, 16), torch.randn(1, 2, 9, 64)
    with torch.no_grad():
        assert torch.equal(loaders["video_vae"](FLOAT32).encode(frames), tiny.networks["video_vae"].encode(frames))
        assert torch.equal(loaders["vocoder"](FLOAT32)(mel), tiny.networks["vocoder"](mel))


def test_the_stored_dtypes_are_kept_unless_another_is_asked_for(tiny, loaders):
    for storage, dtype in (
        (None, torch.bfloat16),
        (FLOAT32, torch.float32),
        (Storage(dtype=torch.float16), torch.float16),
    ):
        state = loaders["transformer"](storage).state_dict()
        tables = {name for name in state if "scale_shift_table" in name}
        assert len(tables) == 2 + 2 * 6
        assert all(state[name].dtype == (torch.float32 if name in tables else dtype) for name in state)
    stored = safe_open(tiny.folder / "1.safetensors", framework="pt")
    assert stored.get_tensor("model.diffusion_model.scale_shift_table").dtype == torch.float32


def test_prefixes_that_other_tools_add_or_strip(tiny, tmp_path):
    def stripped(tensors):
        for name in list(tensors):
            tensors[name.removeprefix("model.diffusion_model.")] = tensors.pop(name)

    def prefixed(tensors):
        for name in list(tensors):
            tensors["vae." + name] = tensors.pop(name)

    def with_resampler(tensors):
        tensors["vocoder.resampler.filter"] = torch.zeros(43)

    transformer = load_transformer(
        rewritten(tiny.folder / "1.safetensors", tmp_path / "a.safetensors", stripped), FLOAT32
    )
    vae = load_video_vae(rewritten(tiny.folder / "4.safetensors", tmp_path / "b.safetensors", prefixed), FLOAT32)
    assert torch.equal(transformer.proj_out.weight, tiny.networks["transformer"].proj_out.weight)
    assert torch.equal(vae.decoder.conv_out.conv.weight, tiny.networks["video_vae"].decoder.conv_out.conv.weight)
    load_vocoder(rewritten(tiny.folder / "5.safetensors", tmp_path / "c.safetensors", with_resampler))


def test_metadata_carries_the_configuration_and_the_training(tiny):
    metadata = read_metadata(tiny.folder / "1.safetensors")
    assert metadata["commit"] == "0123abc" and metadata["seed"] == "7"
    assert read_config(tiny.folder / "5.safetensors").keys() == {"audio_vae", "vocoder"}


# --- strictness: one test per fault


def test_a_missing_tensor_is_named(tiny, tmp_path):
    path = rewritten(
        tiny.folder / "1.safetensors", tmp_path / "a.safetensors", lambda t: t.pop("model.diffusion_model." + NORM)
    )
    with pytest.raises(CheckpointError) as error:
        load_transformer(path)
    assert f"1 tensor missing ({NORM})" in one_line(error) and str(path) in one_line(error)


def test_an_unknown_tensor_is_named(tiny, tmp_path):
    def add(tensors):
        tensors["model.diffusion_model.caption_projection.weight"] = torch.zeros(2, 2)

    with pytest.raises(CheckpointError) as error:
        load_transformer(rewritten(tiny.folder / "1.safetensors", tmp_path / "a.safetensors", add))
    assert "1 tensor unknown (caption_projection.weight)" in one_line(error)


def test_a_tensor_outside_of_the_network_is_named(tiny, tmp_path):
    path = rewritten(
        tiny.folder / "1.safetensors",
        tmp_path / "a.safetensors",
        lambda t: t.update({"lm_head.weight": torch.zeros(2)}),
    )
    with pytest.raises(CheckpointError, match=r"1 tensor unknown \(lm_head.weight\) beside the transformer"):
        load_transformer(path)


def test_a_misshapen_tensor_is_named_with_both_shapes(tiny, tmp_path):
    def reshape(tensors):
        tensors["model.diffusion_model." + NORM] = torch.zeros(7)

    with pytest.raises(CheckpointError) as error:
        load_transformer(rewritten(tiny.folder / "1.safetensors", tmp_path / "a.safetensors", reshape))
    assert f"1 tensor misshapen ({NORM} is (7,), must be (32,))" in one_line(error)


def test_many_faults_are_counted_and_a_few_named(tiny, tmp_path):
    def drop(tensors):
        for name in [name for name in tensors if "audio_attn1.to_q" in name or "audio_attn1.to_k" in name]:
            del tensors[name]

    with pytest.raises(CheckpointError) as error:
        load_transformer(rewritten(tiny.folder / "1.safetensors", tmp_path / "a.safetensors", drop))
    assert "8 tensors missing (" in one_line(error)
    assert one_line(error).count("audio_attn1") == 3 and ", ...)" in one_line(error)


def test_missing_text_projection_is_named(tiny, tmp_path):
    path = rewritten(
        tiny.folder / "2.safetensors",
        tmp_path / "a.safetensors",
        lambda t: t.pop("text_embedding_projection.video_aggregate_embed.weight"),
    )
    with pytest.raises(CheckpointError, match="video_aggregate_embed.weight"):
        load_text_projection(path, projection_config(tiny))


@pytest.mark.parametrize(
    "metadata, text",
    [
        ({}, "no 'config' in its metadata"),
        ({"config": "{"}, "is not JSON"),
        ({"config": "[]"}, "is not a JSON object"),
        ({"config": "{}"}, "no section 'transformer'"),
        ({"config": '{"transformer": {}}'}, "transformer config: "),
    ],
)
def test_a_configuration_that_is_missing_or_useless(tiny, tmp_path, metadata, text):
    path = rewritten(tiny.folder / "1.safetensors", tmp_path / "a.safetensors", metadata=metadata)
    with pytest.raises(CheckpointError) as error:
        load_transformer(path)
    assert text in one_line(error) and str(path) in one_line(error)


def test_a_configuration_without_a_key_names_the_key(tiny, tmp_path):
    config = read_config(tiny.folder / "5.safetensors")
    del config["vocoder"]["bwe"]["hop_length"]
    path = rewritten(tiny.folder / "5.safetensors", tmp_path / "a.safetensors", metadata={"config": json.dumps(config)})
    with pytest.raises(CheckpointError, match="hop_length"):
        load_vocoder(path)


@pytest.mark.parametrize("size", [0, 5, 1000, -1], ids=["empty", "no header", "cut header", "cut data"])
def test_a_file_that_was_cut_short(tiny, tmp_path, size):
    path = tmp_path / "a.safetensors"
    path.write_bytes((tiny.folder / "1.safetensors").read_bytes()[:size])
    with pytest.raises(CheckpointError, match="not a complete safetensors file") as error:
        load_transformer(path)
    assert str(path) in one_line(error)


def test_something_else_than_safetensors(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_text("<html>404</html>" * 100)
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        load_video_vae(path)
    with pytest.raises(CheckpointError, match="no such file"):
        load_video_vae(tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        load_video_vae(tmp_path)


def test_a_file_of_another_part(tiny):
    with pytest.raises(CheckpointError, match="no section 'audio_vae'"):
        load_audio_vae(tiny.folder / "4.safetensors")
    with pytest.raises(CheckpointError, match="holds no text projection"):
        load_text_projection(tiny.folder / "5.safetensors", projection_config(tiny))


def test_a_buffer_that_nothing_fills_is_an_error():
    class Forgetful(nn.Linear):
        def __init__(self):
            super().__init__(2, 2)
            self.register_buffer("table", torch.ones(2), persistent=False)

    network = build_on_meta(Forgetful, "here")
    with pytest.raises(CheckpointError, match=r"here: 1 tensor in no file and never computed \(table\)"):
        load_network(network, {"weight": torch.zeros(2, 2), "bias": torch.zeros(2)}, "here")


# --- finding the files


def test_files_are_known_by_their_tensors(tiny, tmp_path):
    for new, old in {"z": 1, "a": 2, "text/b": 3, "vae/c": 4, "vae/d": 5}.items():
        target = tmp_path / f"{new}.safetensors"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(tiny.folder / f"{old}.safetensors", target)
    lora = {"diffusion_model.patchify_proj.lora_A.weight": torch.zeros(1, 8)}
    save_file(lora, tmp_path / "lora.safetensors")
    (tmp_path / "readme.txt").write_text("not a checkpoint")
    files = find_split_files(tmp_path)
    assert files.transformer == tmp_path / "z.safetensors"
    assert files.text_projection == tmp_path / "a.safetensors"
    assert files.text_encoder == tmp_path / "text/b.safetensors"
    assert files.video_vae == tmp_path / "vae/c.safetensors"
    assert files.audio == tmp_path / "vae/d.safetensors"


def test_missing_parts_are_named(tiny, tmp_path):
    for number in (1, 2, 4):
        shutil.copy(tiny.folder / f"{number}.safetensors", tmp_path)
    with pytest.raises(CheckpointError, match="holds the text encoder, the audio VAE and vocoder; add") as error:
        find_split_files(tmp_path)
    assert str(tmp_path) in one_line(error)
    with pytest.raises(CheckpointError, match="no such folder"):
        find_split_files(tmp_path / "nowhere")


def test_two_files_for_one_part_are_not_guessed_between(tiny, tmp_path):
    shutil.copytree(tiny.folder, tmp_path, dirs_exist_ok=True)
    shutil.copy(tiny.folder / "4.safetensors", tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="video VAE: 4.safetensors, other.safetensors"):
        find_split_files(tmp_path)


def test_load_state_gives_the_networks_own_names(tiny):
    state = load_state(tiny.folder / "1.safetensors", TRANSFORMER)
    assert state.keys() == tiny.networks["transformer"].state_dict().keys()
