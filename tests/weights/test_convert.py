"""Models made anew: every layout becomes split files that load to the same numbers, within float8's rounding."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ltx_live.errors import CheckpointError, ConfigError
from ltx_live.weights import convert as conversion
from ltx_live.weights.adapters import merge
from ltx_live.weights.catalogue import known_as
from ltx_live.weights.checkpoint import (
    Storage,
    load_audio_vae,
    load_text_projection,
    load_transformer,
    load_video_vae,
    load_vocoder,
)
from ltx_live.weights.convert import FILES, Recipe, convert
from ltx_live.weights.files import ModelFiles, Source, find_model
from ltx_live.weights.fp8 import FLOAT8, FP8Linear, dequantise
from ltx_live.weights.headers import read_bundle
from ltx_live.weights.lora import linear_shapes, read_lora
from ltx_live.weights.save import Promise, save_promises
from ltx_live.weights.text_encoder import load_text_encoder, read_tokenizer
from ltx_live.weights.transfer import as_bytes

PROMPT = "slow red tunnel with drums"
NETWORKS = [network for networks in FILES.values() for network in networks]
BF16, FP8 = Recipe("bf16"), Recipe("fp8")


@pytest.fixture(scope="module")
def write(tiny, layouts):
    """Layout -> function (folder) -> what to give to find_model."""
    scaled = layouts.Quantisation(input_scale=True, comfy_quant=True)

    def single(folder: Path, prefix: str, quantisation=None) -> tuple[Path, Path]:
        path = layouts.write_single(folder / "ltx.safetensors", tiny, quantisation)
        return path, layouts.write_gemma(folder / "gemma" / "12b", tiny, prefix, new_keys=quantisation is None)

    return {
        "split": lambda folder: (layouts.write_split(folder, tiny), None),
        "split FP8": lambda folder: (layouts.write_split(folder, tiny, scaled), None),
        "single": lambda folder: single(folder, "language_model.model."),
        "single FP8": lambda folder: single(folder, "model.", layouts.Quantisation(in_metadata=True)),
        "diffusers": lambda folder: (layouts.write_diffusers(folder, tiny), None),
    }


LAYOUTS = ["split", "split FP8", "single", "single FP8", "diffusers"]


def states(files: ModelFiles, storage: Storage) -> dict[str, dict[str, Tensor]]:
    """Every network's tensors as they are once loaded, and the tokens and hidden states of a prompt."""
    transformer = load_transformer(files.transformer, storage)
    encoder = load_text_encoder(files.text_encoder, files.tokenizer, transformer.config.text_length, storage)
    loaded = {
        "transformer": transformer,
        "text_projection": load_text_projection(files.text_projection, transformer.config, storage),
        "text_encoder": encoder.gemma,
        "video_vae": load_video_vae(files.video_vae, storage),
        "audio_vae": load_audio_vae(files.audio_vae, storage),
        "vocoder": load_vocoder(files.vocoder, storage),
    }
    words = {"tokens": torch.tensor(encoder.tokens(PROMPT)), "hidden": encoder.encode(PROMPT)}
    return {name: network.state_dict() for name, network in loaded.items()} | {"words": words}


def float8_layers(files: ModelFiles) -> set[str]:
    """The layers of the transformer and of Gemma that are computed from float8 weights."""
    storage = Storage(fp8="storage")
    transformer = load_transformer(files.transformer, storage)
    gemma = load_text_encoder(files.text_encoder, files.tokenizer, 16, storage).gemma
    modules = {**dict(transformer.named_modules()), **dict(gemma.named_modules())}
    return {name for name, module in modules.items() if isinstance(module, FP8Linear)}


def expected_float8(files: ModelFiles) -> set[str]:
    """What the published files have in float8, and what the source has."""
    transformer, gemma = load_transformer(files.transformer), find_gemma(files)
    blocks = {name for name in linear_shapes(transformer) if name.startswith("transformer_blocks.2.")}
    return blocks | {name for name in linear_shapes(gemma) if name.startswith("layers.")} | float8_layers(files)


def find_gemma(files: ModelFiles) -> torch.nn.Module:
    return load_text_encoder(files.text_encoder, files.tokenizer, 16).gemma


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bf16_is_the_same_model_in_split_files(write, tmp_path, layout):
    files = find_model(*write[layout](tmp_path / "source"))
    paths = convert(files, tmp_path / "made" / "out", BF16)
    assert sorted(paths) == sorted((tmp_path / "made" / "out").iterdir()) and len(paths) == len(FILES)
    made = find_model(tmp_path / "made" / "out")
    assert (made.name, made.layout) == (files.name, "split files")
    for network in NETWORKS:
        source = getattr(made, network)
        assert network == "text_projection" or source.config == getattr(files, network).config
        assert not any(entry.dtype == FLOAT8 for entry in source.entries.values())
    got, want = (states(each, Storage(dtype=torch.bfloat16)) for each in (made, files))
    for network, tensors in want.items():
        assert [name for name, tensor in tensors.items() if not torch.equal(got[network][name], tensor)] == []
    tokenizers = [read_tokenizer(each.tokenizer).serialized_model_proto() for each in (files, made)]
    assert tokenizers[0] == tokenizers[1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fp8_rounds_the_large_weights_and_nothing_else(write, tmp_path, layout):
    files = find_model(*write[layout](tmp_path / "source"))
    convert(files, tmp_path / "out", FP8)
    made = find_model(tmp_path / "out")
    assert float8_layers(made) == expected_float8(files)
    rounded = {f"{layer}.weight" for layer in float8_layers(made) - float8_layers(files)}
    assert len(rounded) > 30
    got, want = states(made, Storage(dtype=torch.float32)), states(files, Storage(dtype=torch.float32))
    for network in NETWORKS:
        for name, tensor in want[network].items():
            error = (got[network][name] - tensor).abs()
            if name in rounded:  # 3 bits behind the point, the smallest step is 2^-9 of the scale
                assert (error <= tensor.abs() / 16 + tensor.abs().max() / 448 * 2**-10).all() and error.max() > 0
            else:
                assert torch.equal(got[network][name], tensor), name
    hidden, before = got["words"]["hidden"], want["words"]["hidden"]
    assert (hidden - before).norm() / before.norm() < 0.15
    assert {e.dtype for n, e in made.transformer.entries.items() if "scale_shift_table" in n} == {torch.float32}


def test_float8_of_the_source_keeps_its_bits(write, tmp_path):
    files = find_model(*write["split FP8"](tmp_path / "source"))
    convert(files, tmp_path / "out", FP8)
    made = find_model(tmp_path / "out")
    for network in ("transformer", "text_encoder"):
        before, after = getattr(files, network).tensors(), getattr(made, network).tensors()
        layers = [name.removesuffix(".weight") for name, tensor in before.items() if tensor.dtype == FLOAT8]
        assert layers
        names = [name for name in before if name.rpartition(".")[0] in layers and not name.endswith(".bias")]
        assert {name.rpartition(".")[2] for name in names} >= {"weight", "weight_scale", "comfy_quant"}
        for name in names:
            assert after[name].dtype == before[name].dtype
            assert torch.equal(as_bytes(after[name]), as_bytes(before[name]))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_float8_layers_are_marked_for_comfyui(write, tmp_path, layout):
    """Kept ones too, where the source says it in its metadata only; a mark of the source stays as it is."""
    files = find_model(*write[layout](tmp_path / "source"))
    marked = (*files.transformer.entries, *files.text_encoder.entries)
    assert any(name.endswith(".comfy_quant") for name in marked) == (layout == "split FP8")
    made = find_model(*convert(files, tmp_path / "out", FP8)[:1])
    for network in ("transformer", "text_encoder"):
        tensors = getattr(made, network).tensors()
        layers = {name.removesuffix(".weight") for name, tensor in tensors.items() if tensor.dtype == FLOAT8}
        marks = {name: tensor for name, tensor in tensors.items() if name.endswith(".comfy_quant")}
        assert layers and marks.keys() == {f"{layer}.comfy_quant" for layer in layers}
        assert {bytes(tensor.tolist()) for tensor in marks.values()} == {b'{"format": "float8_e4m3fn"}'}


def test_each_weight_is_read_and_rounded_once(write, tmp_path, monkeypatch):
    files = find_model(*write["split"](tmp_path / "source"))
    names: list[str] = []

    def noted(stored: conversion.StoredTensor) -> Tensor:
        names.append(f"{stored.source.title} {stored.name}")
        return value(stored)

    value = conversion.StoredTensor.value
    monkeypatch.setattr(conversion.StoredTensor, "value", noted)
    convert(files, tmp_path / "out", FP8)
    assert len(names) == len(set(names)) > 500


@pytest.fixture(scope="module")
def lora_files(tiny, tmp_path_factory):
    """Two LoRAs: on layers of every block and on a connector, and on half of the same."""
    folder = tmp_path_factory.mktemp("loras")
    layers = {
        layer: shape
        for layer, shape in linear_shapes(tiny.networks["transformer"]).items()
        if layer.endswith(("attn1.to_q", "ff.net.2", "adaln_single.linear"))
    }
    generator = torch.Generator().manual_seed(7)
    paths = []
    for index, every in enumerate((1, 2)):
        tensors = {}
        for layer in list(layers)[::every]:
            num_out, num_in = layers[layer]
            tensors[f"diffusion_model.{layer}.lora_A.weight"] = torch.randn(4, num_in, generator=generator)
            tensors[f"diffusion_model.{layer}.lora_B.weight"] = torch.randn(num_out, 4, generator=generator) * 0.05
        paths.append(folder / f"{index}.safetensors")
        save_file(tensors, paths[-1])
    return paths


@pytest.mark.parametrize("layout", ["split", "split FP8"])
@pytest.mark.parametrize("dtype", ["bf16", "fp8"])
def test_a_folded_lora_is_a_merged_one(write, lora_files, tmp_path, layout, dtype):
    """Merged into the source as `merge` does it; what becomes float8 only now is rounded once, by at most as much."""
    files = find_model(*write[layout](tmp_path / "source"))
    recipe = Recipe(dtype, ((lora_files[0], 0.7), (lora_files[1], -0.5)), ("transformer",))
    (path,) = convert(files, tmp_path / "out", recipe)
    made = dict(read_source(files, path).tensors())
    storage = Storage(fp8="storage" if dtype == "fp8" else "dequantised")
    network = load_transformer(files.transformer, replace(storage, dtype=torch.float32))
    adapters = [(read_lora(lora, network), strength) for lora, strength in recipe.loras]
    assert merge(network, adapters) == len(adapters[0][0].factors)
    exact = load_transformer(files.transformer, Storage(dtype=torch.float32))
    merge(exact, adapters)
    num_rounded = 0
    for name, want in network.state_dict().items():
        got, layer = made[name], name.removesuffix(".weight")
        if want.dtype == FLOAT8:
            assert torch.equal(as_bytes(got), as_bytes(want)), name
        elif got.dtype == FLOAT8:
            value, want = dequantise(got, made[f"{layer}.weight_scale"], torch.float32), exact.get_parameter(name)
            assert ((value - want).abs() <= want.abs() / 16 + want.abs().max() / 448 * 2**-10).all()
            num_rounded += layer in adapters[0][0].factors
        else:
            assert torch.equal(got, want.to(got.dtype)), name
    assert (num_rounded > 0) == (dtype == "fp8")
    about = read_bundle(path).metadata
    assert about["made_from"] == "tiny (split files): transformer of 1.safetensors, 0.safetensors at 0.7, " + (
        "1.safetensors at -0.5"
    )


def read_source(files: ModelFiles, path: Path) -> Source:
    """The transformer in a file, by own names."""
    entries = read_bundle(path).entries
    return replace(
        files.transformer,
        where=path,
        entries={name.removeprefix("model.diffusion_model."): entry for name, entry in entries.items()},
    )


def test_a_lora_at_strength_0_changes_no_bit(write, lora_files, tmp_path):
    files = find_model(*write["split FP8"](tmp_path / "source"))
    made = [
        convert(files, tmp_path / str(index), Recipe("fp8", loras, ("transformer",)))[0].read_bytes()
        for index, loras in enumerate(((), ((lora_files[0], 0.0),)))
    ]
    assert made[0] == made[1]


def test_only_some_files(write, tmp_path):
    files = find_model(*write["single"](tmp_path / "source"))
    paths = convert(files, tmp_path / "out", Recipe(only=("text-encoder", "audio-vae")))
    assert [path.name for path in paths] == ["gemma_fp8_scaled.safetensors", "audio_vae_bf16.safetensors"]
    split = find_model(files.transformer.where, text_encoder=paths[0])
    assert split.text_encoder.where == paths[0] and split.tokenizer.path == paths[0]
    assert json.loads(read_bundle(paths[1]).metadata["config"]).keys() == {"audio_vae", "vocoder"}
    assert read_bundle(paths[0]).metadata["made_from"] == "ltx (single file): text encoder of 12b"


def test_no_file_is_taken_for_a_published_one(write, tmp_path):
    files = find_model(*write["split"](tmp_path / "source"))
    paths = [path for recipe in (BF16, FP8) for path in convert(files, tmp_path / recipe.dtype, recipe)]
    assert not any(known_as(path) for path in paths)


def test_progress_counts_up_and_ends_when_the_file_is_there(write, tmp_path):
    files = find_model(*write["split"](tmp_path / "source"))
    said: dict[Path, list[tuple[int, int, bool]]] = {}

    def report(path: Path, done: int, total: int) -> None:
        said.setdefault(path, []).append((done, total, path.is_file()))

    assert convert(files, tmp_path / "out", FP8, report) == list(said)
    for steps in said.values():
        dones, totals, there = zip(*steps, strict=True)
        assert list(dones) == sorted(dones) and dones[0] == 0 and len(set(totals)) == 1
        assert there == (False,) * (len(steps) - 1) + (True,) and dones[-1] == totals[0]


def test_stopped_it_leaves_nothing(write, tmp_path):
    files = find_model(*write["split"](tmp_path / "source"))

    def interrupt(path: Path, done: int, total: int) -> None:
        if path.name.startswith("video") and done > total / 2:
            held = {each.name for each in path.parent.iterdir()}
            assert f"{path.name}.part" in held and "transformer_bf16.safetensors" in held
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(files, tmp_path / "out", BF16, interrupt)
    assert list((tmp_path / "out").iterdir()) == []
    assert len(convert(files, tmp_path / "out", BF16)) == len(FILES)


def test_what_cannot_be_done_is_said_before_anything_is_written(write, lora_files, tmp_path, monkeypatch):
    files, out = find_model(*write["split"](tmp_path / "source")), tmp_path / "out"
    with pytest.raises(ConfigError, match="is there already and not an empty folder"):
        convert(files, tmp_path / "source", FP8)
    with pytest.raises(ConfigError, match="is there already and not an empty folder"):
        convert(files, tmp_path / "source" / "1.safetensors", FP8)
    with pytest.raises(ConfigError, match="a LoRA changes the transformer"):
        convert(files, out, Recipe(loras=((lora_files[0], 1.0),), only=("text-encoder",)))
    with pytest.raises(CheckpointError, match="not a LoRA"):
        convert(files, out, Recipe(loras=((tmp_path / "source" / "2.safetensors", 1.0),)))
    monkeypatch.setattr(conversion, "free_bytes", lambda folder: 1_000_000)
    with pytest.raises(CheckpointError, match=r"out: 0\.0 GB are needed, 0\.0 GB are free; make room"):
        convert(files, out, FP8)
    assert not out.exists()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says how much memory is resident")
@pytest.mark.parametrize("dtype", ["fp8", "bf16"])
def test_memory_stays_far_below_the_size_of_the_file(write, tmp_path, dtype):
    """Resident memory, mapped pages of the source included, while a file of 268 MB is made anew."""
    weights = [f"transformer_blocks.{block}.ff.net.0.proj.weight" for block in range(2, 66)]
    path, value = tmp_path / "large.safetensors", torch.full((2048, 1024), 0.5, dtype=torch.bfloat16)
    save_promises(path, [Promise(name, value.dtype, tuple(value.shape), lambda: value) for name in weights], {})
    files = find_model(*write["split"](tmp_path / "source"))
    files = replace(files, transformer=replace(files.transformer, where=path, entries=read_bundle(path).entries))
    resident = []

    def report(path: Path, done: int, total: int) -> None:
        lines = Path("/proc/self/status").read_text().splitlines()
        resident.append(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS")))

    convert(files, tmp_path / "out", Recipe(dtype, only=("transformer",)), report)
    assert max(resident) - resident[0] < path.stat().st_size / 2  # one weight is 4 MB; what is freed stays a while
