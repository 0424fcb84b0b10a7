"""Loading networks from sources: exact where it works, one clear line naming the tensor where it cannot."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ltx_live.errors import CheckpointError
from ltx_live.model.config import TransformerConfig
from ltx_live.weights.checkpoint import (
    Storage,
    build_on_meta,
    load_audio_vae,
    load_network,
    load_tensors,
    load_text_projection,
    load_transformer,
    load_video_vae,
    load_vocoder,
)
from ltx_live.weights.files import Source, find_model
from ltx_live.weights.headers import read_bundle
from ltx_live.weights.parts import parts_of

FLOAT32 = Storage(dtype=torch.float32)
NORM = "transformer_blocks.1.attn1.q_norm.weight"
PREFIX = "model.diffusion_model."


def source_of(path: Path, field: str) -> Source:
    """One part of one file; its fault is raised."""
    source = next(each.source for each in parts_of(read_bundle(path)) if each.part.field == field)
    if isinstance(source, CheckpointError):
        raise source
    return source


@pytest.fixture
def changed(tiny, tmp_path):
    """Function (number of the file, change of its tensors, metadata) -> a copy of a file of the tiny model."""

    def write(number: int, change=lambda tensors: None, metadata=None) -> Path:
        path, original = tmp_path / "changed.safetensors", tiny.folder / f"{number}.safetensors"
        tensors = load_file(original)
        change(tensors)
        save_file(tensors, path, read_bundle(original).metadata if metadata is None else metadata)
        return path

    return write


def one_line(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.fixture
def files(tiny):
    return find_model(tiny.folder)


@pytest.fixture
def loaders(files):
    config = TransformerConfig.from_metadata(files.transformer.config)
    return {
        "transformer": partial(load_transformer, files.transformer),
        "text_projection": partial(load_text_projection, files.text_projection, config),
        "video_vae": partial(load_video_vae, files.video_vae),
        "audio_vae": partial(load_audio_vae, files.audio_vae),
        "vocoder": partial(load_vocoder, files.vocoder),
    }


@pytest.mark.parametrize("part", ["transformer", "text_projection", "video_vae", "audio_vae", "vocoder"])
def test_a_network_comes_back_as_it_was_saved(tiny, loaders, part):
    loaded, saved = loaders[part](FLOAT32), tiny.networks[part]
    assert loaded.state_dict().keys() == saved.state_dict().keys()
    for name, tensor in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert not loaded.training and not any(parameter.requires_grad for parameter in loaded.parameters())


def test_the_stored_dtypes_are_kept_unless_another_is_asked_for(files, loaders):
    for storage, dtype in (
        (None, torch.bfloat16),
        (FLOAT32, torch.float32),
        (Storage(dtype=torch.float16), torch.float16),
    ):
        state = loaders["transformer"](storage).state_dict()
        tables = {name for name in state if "scale_shift_table" in name}
        assert len(tables) == 2 + 3 * 6
        assert all(state[name].dtype == (torch.float32 if name in tables else dtype) for name in state)
    assert files.transformer.entries["scale_shift_table"].dtype == torch.float32


def test_what_stays_on_the_host_stays_where_it_is(files):
    blocks = ("transformer_blocks.1.", "video_embeddings_connector.")
    state = load_tensors(files.transformer, Storage(device="meta"), blocks)
    assert list(state) == list(files.transformer.entries)
    assert all(tensor.device.type == ("cpu" if name.startswith(blocks) else "meta") for name, tensor in state.items())
    split, whole = load_transformer(files.transformer, on_host=blocks), load_transformer(files.transformer)
    assert all(torch.equal(tensor, whole.state_dict()[name]) for name, tensor in split.state_dict().items())


# --- strictness: one test per fault


def test_a_missing_tensor_is_named(changed):
    path = changed(1, lambda tensors: tensors.pop(PREFIX + NORM))
    with pytest.raises(CheckpointError) as error:
        load_transformer(source_of(path, "transformer"))
    assert f"1 tensor missing ({NORM})" in one_line(error) and str(path) in one_line(error)


def test_an_unknown_tensor_is_named(changed):
    path = changed(1, lambda tensors: tensors.update({PREFIX + "extra.weight": torch.zeros(2, 2)}))
    with pytest.raises(CheckpointError) as error:
        load_transformer(source_of(path, "transformer"))
    assert "1 tensor unknown (extra.weight)" in one_line(error)


def test_a_misshapen_tensor_is_named_with_both_shapes(changed):
    path = changed(1, lambda tensors: tensors.update({PREFIX + NORM: torch.zeros(7)}))
    with pytest.raises(CheckpointError) as error:
        load_transformer(source_of(path, "transformer"))
    assert f"1 tensor misshapen ({NORM} is (7,), must be (32,))" in one_line(error)


def test_many_faults_are_counted_and_a_few_named(changed):
    def drop(tensors):
        for name in [name for name in tensors if "audio_attn1.to_q" in name or "audio_attn1.to_k" in name]:
            del tensors[name]

    with pytest.raises(CheckpointError) as error:
        load_transformer(source_of(changed(1, drop), "transformer"))
    assert "12 tensors missing (" in one_line(error)
    assert one_line(error).count("audio_attn1") == 3 and ", ...)" in one_line(error)


@pytest.mark.parametrize("section, text", [({}, "transformer config: "), ({"num_layers": 3}, "transformer config: ")])
def test_a_configuration_that_is_useless(changed, section, text):
    path = changed(1, metadata={"config": json.dumps({"transformer": section})})
    with pytest.raises(CheckpointError) as error:
        load_transformer(source_of(path, "transformer"))
    assert text in one_line(error) and str(path) in one_line(error)


def test_a_configuration_without_a_key_names_the_key(changed, layouts):
    vocoder = layouts.VOCODER | {"bwe": {key: v for key, v in layouts.VOCODER["bwe"].items() if key != "hop_length"}}
    path = changed(5, metadata={"config": json.dumps({"vocoder": vocoder, "audio_vae": layouts.AUDIO_VAE})})
    with pytest.raises(CheckpointError, match="hop_length"):
        load_vocoder(source_of(path, "vocoder"))


def test_a_file_that_is_gone_or_cut_since_it_was_found(changed):
    path = changed(4)
    source = source_of(path, "video_vae")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        load_video_vae(source)
    path.unlink()
    with pytest.raises(CheckpointError, match="no such file"):
        load_video_vae(source)


def test_a_buffer_that_nothing_fills_is_an_error():
    class Forgetful(nn.Linear):
        def __init__(self):
            super().__init__(2, 2)
            self.register_buffer("table", torch.ones(2), persistent=False)

    network = build_on_meta(Forgetful, "here")
    with pytest.raises(CheckpointError, match=r"here: 1 tensor in no file and never computed \(table\)"):
        load_network(network, {"weight": torch.zeros(2, 2), "bias": torch.zeros(2)}, "here")
