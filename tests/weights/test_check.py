"""Whatever is wrong with a model's files is found before a weight is read, and told in one line."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ltx_live.errors import CheckpointError
from ltx_live.weights.check import check_model
from ltx_live.weights.files import find_model
from ltx_live.weights.headers import read_bundle

NET = "model.diffusion_model."
PROJECTION = "text_embedding_projection.video_aggregate_embed.weight"
DECODER = "audio_vae.decoder.conv_in.conv.bias"


@pytest.fixture
def folder(tiny, tmp_path) -> Path:
    """A copy of the tiny model's split files."""
    return Path(shutil.copytree(tiny.folder, tmp_path / "model"))


def fault(folder: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        check_model(find_model(folder))
    assert "\n" not in str(error.value)
    return str(error.value)


def change(path: Path, tensors=lambda tensors: None, config=lambda config: None) -> None:
    """Rewrite a file with its tensors and its configuration edited in place."""
    bundle, held = read_bundle(path), load_file(path)
    tensors(held)
    sections = bundle.config()
    config(sections)
    save_file(held, path, dict(bundle.metadata) | ({"config": json.dumps(sections)} if sections else {}))


def rewrite_header(path: Path, edit) -> None:
    """Edit the JSON of a header, which safetensors' own writer would not write."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    edit(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])


@pytest.mark.parametrize("layout", ["split", "float8", "single", "diffusers"])
def test_whole_files_are_good_in_every_layout(layout, tiny, layouts, tmp_path):
    if layout == "single":
        path = layouts.write_single(tmp_path / "all.safetensors", tiny)
        layouts.write_gemma(tmp_path / "gemma", tiny, "model.", new_keys=True)
    elif layout == "diffusers":
        path = layouts.write_diffusers(tmp_path / "diffusers", tiny)
    else:
        path = layouts.write_split(tmp_path / "split", tiny, layouts.Quantisation() if layout == "float8" else None)
    transformer = check_model(find_model(path))
    assert len(transformer.transformer_blocks) == 3
    assert all(parameter.is_meta for parameter in transformer.parameters())


@pytest.mark.parametrize(
    ("number", "edit", "expected"),
    [
        (1, lambda t: t.pop(NET + "proj_out.bias"), r"1.safetensors: transformer: 1 tensor missing \(proj_out.bias\)"),
        (1, lambda t: t.update({NET + "transformer_blocks.x.foo": torch.zeros(2)}), "1 tensor unknown"),
        (1, lambda t: t.update({NET + "proj_out.bias": torch.zeros(8).to(torch.float8_e4m3fn)}), "float8 bias"),
        (2, lambda t: t.update({PROJECTION: torch.zeros(())}), r"text projection: .* is \(\), must be a matrix"),
        (3, lambda t: t.update({"spiece_model": torch.zeros(9, dtype=torch.uint8)}), "not a SentencePiece model"),
        (3, lambda t: t.update({"spiece_model": torch.zeros(9).to(torch.float8_e4m3fn)}), "not a SentencePiece model"),
        (4, lambda t: t.pop("decoder.conv_in.conv.bias"), "4.safetensors: video VAE: 1 tensor missing"),
        (5, lambda t: t.update({DECODER: torch.zeros(3)}), r"audio VAE: 1 tensor misshapen .* is \(3,\), must be"),
        (5, lambda t: t.pop("vocoder.bwe_generator.conv_post.weight"), "vocoder: 1 tensor missing"),
    ],
)
def test_tensors(folder, number, edit, expected):
    change(folder / f"{number}.safetensors", tensors=edit)
    assert re.search(expected, fault(folder))


def put(section: str, key: str, value):
    return lambda config: config[section].update({key: value})


@pytest.mark.parametrize(
    ("number", "edit", "expected"),
    [
        (1, lambda c: c.update(transformer=[]), "section 'transformer' of the configuration is not a JSON object"),
        (1, lambda c: c["transformer"].pop("num_layers"), "missing num_layers"),
        (1, put("transformer", "num_layers", "3"), "num_layers is '3'"),
        (1, put("transformer", "num_layers", 0), "num_layers is 0"),
        (1, put("transformer", "caption_channels", 0), "caption_channels is 0"),
        (1, put("transformer", "caption_channels", 32), "belong together"),
        (1, put("transformer", "positional_embedding_max_pos", [20, 1]), "positional_embedding_max_pos is (20, 1)"),
        (1, put("transformer", "connector_positional_embedding_max_pos", 1e9), "max_pos is 1000000000.0"),
        (1, put("transformer", "norm_eps", "x"), "norm_eps is 'x'"),
        (3, put("text_encoder", "hidden_size", "64"), "the configuration of Gemma cannot be used"),
        (3, put("text_encoder", "num_attention_heads", 0), "text encoder: "),
        (3, put("text_encoder", "rope_scaling", 5), "text encoder: the configuration cannot be used"),
        (4, put("vae", "patch_size", -1), "video VAE: "),
        (4, put("vae", "decoder_blocks", [["res_x", {"num_layers": 1}]]), "video VAE: "),
        (5, put("audio_vae", "preprocessing", {}), "audio VAE: the configuration lacks 'stft'"),
        (5, put("audio_vae", "preprocessing", 5), "audio VAE: the configuration cannot be used"),
        (5, put("vocoder", "bwe", 5), "vocoder: the configuration cannot be used"),
        (5, put("vocoder", "vocoder", {}), "vocoder: the configuration lacks"),
    ],
)
def test_configurations(folder, number, edit, expected):
    change(folder / f"{number}.safetensors", config=edit)
    assert expected in fault(folder)


def numbers_to(value):
    """Every mel setting becomes the value."""
    return lambda config: config["audio_vae"]["preprocessing"].update(
        stft={"filter_length": value, "hop_length": value}, mel=dict.fromkeys(("n_mel_channels", "mel_fmin"), value)
    )


@pytest.mark.parametrize("value", ["x", -1, 0, None])
def test_settings_of_the_ear_that_nothing_can_be_heard_with(folder, value):
    change(folder / "5.safetensors", config=numbers_to(value))
    assert "audio VAE: " in fault(folder)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda h: h.update(__metadata__=[1]), "its metadata are not texts"),
        (lambda h: h["__metadata__"].update(config=5), "its metadata are not texts"),
        (lambda h: h["__metadata__"].update(config="[1]"), "'config' in its metadata is not a JSON object"),
        (lambda h: h[NET + "proj_out.bias"].update(shape=["8"]), "its header is not one"),
        (lambda h: h[NET + "proj_out.bias"].update(shape=[-8]), "its header is not one"),
        (
            lambda h: h[NET + "proj_out.bias"].update(
                data_offsets=[2 + offset for offset in h[NET + "proj_out.bias"]["data_offsets"]]
            ),
            "its header is not one",
        ),
    ],
)
def test_headers(folder, edit, expected):
    rewrite_header(folder / "1.safetensors", edit)
    text = fault(folder)
    assert "1.safetensors" in text and expected in text


@pytest.mark.parametrize("index", ['{"weight_map": {"a": 5}}', '{"weight_map": {"a": ["x"]}}', '{"weight_map": [1]}'])
def test_an_index_that_names_no_files(tiny, layouts, tmp_path, index):
    layouts.write_single(tmp_path / "all.safetensors", tiny)
    layouts.write_gemma(tmp_path / "gemma", tiny, "model.", new_keys=True)
    (tmp_path / "gemma" / "model.safetensors.index.json").write_text(index)
    assert "lists no files of tensors" in fault(tmp_path)


def test_a_text_config_that_is_none(tiny, layouts, tmp_path):
    layouts.write_single(tmp_path / "all.safetensors", tiny)
    layouts.write_gemma(tmp_path / "gemma", tiny, "model.", new_keys=True)
    (tmp_path / "gemma" / "config.json").write_text('{"text_config": [1]}')
    assert "text_config is no JSON object" in fault(tmp_path)


def test_linked_folders_are_searched_once(folder, tmp_path):
    searched = tmp_path / "searched"
    searched.mkdir()
    (searched / "linked").symlink_to(folder, target_is_directory=True)
    (searched / "again").symlink_to(folder, target_is_directory=True)
    (folder / "round").symlink_to(searched, target_is_directory=True)
    files = find_model(searched)
    assert files.transformer.where == searched / "again" / "1.safetensors"
    assert find_model(folder).vocoder.where == folder / "5.safetensors"
