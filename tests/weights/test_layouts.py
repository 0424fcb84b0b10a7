"""The same model in every published layout: it is found, and every network computes the same."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ltx_live.model.av import AV
from ltx_live.model.latents import VideoGeometry, audio_positions, video_positions
from ltx_live.model.layers import TokenTimesteps
from ltx_live.model.transformer import Modality, Transformer
from ltx_live.weights.checkpoint import (
    Storage,
    load_audio_vae,
    load_text_projection,
    load_transformer,
    load_video_vae,
    load_vocoder,
)
from ltx_live.weights.files import ModelFiles, find_model
from ltx_live.weights.fp8 import FP8Linear
from ltx_live.weights.text_encoder import TextEncoder, load_text_encoder

FLOAT32 = Storage(dtype=torch.float32)
PROMPT = "slow red tunnel with drums"
MAX_FP8_ERROR = 0.15  # relative, of any output; one float8 product is off by 0.025, Gemma has 7 x 7 in a row


@pytest.fixture(scope="module")
def write(tiny, layouts):
    """Layout -> function (folder) -> the path to give to find_model."""
    kinds = {
        "": None,
        " scaled": layouts.Quantisation(),
        " input_scaled": layouts.Quantisation(input_scale=True),
        " comfy": layouts.Quantisation(comfy_quant=True),
        " in metadata": layouts.Quantisation(input_scale=True, in_metadata=True),
        " all blocks": layouts.Quantisation(blocks=(0, 1, 2)),
    }
    writers = {f"split{name}": lambda folder, q=q: layouts.write_split(folder, tiny, q) for name, q in kinds.items()}
    writers["split, prefixed VAE"] = lambda folder: layouts.write_split(folder, tiny, vae_prefix="vae.")

    def single(folder: Path, prefix: str, new_keys: bool, kind: str) -> Path:
        layouts.write_gemma(folder / "gemma", tiny, prefix, new_keys)
        return layouts.write_single(folder / "ltx.safetensors", tiny, kinds[kind])

    writers["single"] = lambda folder: single(folder, "language_model.model.", False, "")
    writers["single in metadata"] = lambda folder: single(folder, "model.language_model.", True, " in metadata")
    writers["single, text-only Gemma"] = lambda folder: single(folder, "model.", True, "")
    writers["diffusers"] = lambda folder: layouts.write_diffusers(folder, tiny)
    return writers


EXACT = ["split", "split, prefixed VAE", "single", "single, text-only Gemma", "diffusers"]
QUANTISED = [f"split{kind}" for kind in (" scaled", " input_scaled", " comfy", " in metadata", " all blocks")]
QUANTISED += ["single in metadata"]


def load_all(files: ModelFiles, storage: Storage) -> dict:
    transformer = load_transformer(files.transformer, storage)
    length = transformer.config.text_length
    return {
        "transformer": transformer,
        "text_projection": load_text_projection(files.text_projection, transformer.config, storage),
        "text_encoder": load_text_encoder(files.text_encoder, files.tokenizer, length, storage),
        "video_vae": load_video_vae(files.video_vae, storage),
        "audio_vae": load_audio_vae(files.audio_vae, storage),
        "vocoder": load_vocoder(files.vocoder, storage),
    }


@torch.no_grad()
def outputs(networks: dict) -> dict[str, Tensor]:
    """What every network computes from fixed inputs."""
    generator = torch.Generator().manual_seed(0)
    hidden = networks["text_encoder"].encode(PROMPT)  # (S, D, L)
    context = networks["transformer"].connect_text(networks["text_projection"](hidden[None]))
    frames = torch.rand(1, 3, 9, 32, 64, generator=generator) * 2 - 1
    latents = torch.randn(1, 8, 2, 1, 2, generator=generator)
    mel, sound = (torch.randn(1, 2, num, bands, generator=generator) for num, bands in ((9, 16), (3, 4)))
    velocities = velocity(networks["transformer"], context, generator)
    return {
        "hidden": hidden,
        "video context": context.video,
        "audio context": context.audio,
        "video velocity": velocities.video,
        "audio velocity": velocities.audio,
        "video latents": networks["video_vae"].encode(frames),
        "frames": networks["video_vae"].decode(latents),
        "audio latents": networks["audio_vae"].encode(mel),
        "mel": networks["audio_vae"].decode(sound),
        "waveform": networks["vocoder"](mel),
    }


def velocity(transformer: Transformer, context: AV[Tensor], generator: torch.Generator) -> AV[Tensor]:
    positions = video_positions(VideoGeometry(9, 64, 32), 24.0), audio_positions(5)
    ropes = transformer.video_rope(positions[0]), transformer.audio_rope(positions[1])
    sigma = torch.tensor([0.7])
    return transformer(
        *(
            Modality(
                torch.randn(1, where.shape[2], 8, generator=generator), TokenTimesteps.common(sigma), sigma, rope, words
            )
            for where, rope, words in zip(positions, ropes, context, strict=True)
        )
    )


@pytest.fixture(scope="module")
def reference(tiny, layouts):
    """Function (length of contexts) -> the outputs of the networks as they were before they were written."""

    def compute(text_length: int) -> dict[str, Tensor]:
        transformer = Transformer(replace(layouts.TRANSFORMER, text_length=text_length)).eval()
        transformer.load_state_dict(tiny.networks["transformer"].state_dict())
        words = layouts.sentencepiece.SentencePieceProcessor(model_proto=tiny.model_proto)
        encoder = TextEncoder(tiny.networks["text_encoder"], words, text_length)
        return outputs(tiny.networks | {"transformer": transformer, "text_encoder": encoder})

    return compute


@pytest.mark.parametrize("layout", EXACT)
def test_bfloat16_layouts_compute_exactly_the_same(write, reference, tmp_path, layout):
    networks = load_all(find_model(write[layout](tmp_path)), FLOAT32)
    got, want = outputs(networks), reference(networks["transformer"].config.text_length)
    assert {name: torch.equal(got[name], want[name]) for name in want} == dict.fromkeys(want, True)


@pytest.mark.parametrize("layout", QUANTISED)
def test_float8_layouts_compute_the_same_within_their_rounding(write, reference, tmp_path, layout):
    files = find_model(write[layout](tmp_path))
    got, want = outputs(load_all(files, FLOAT32)), reference(16)
    errors = {name: float((got[name] - want[name]).norm() / want[name].norm()) for name in want}
    assert max(errors.values()) < MAX_FP8_ERROR
    assert errors["video velocity"] > 0 and errors["frames"] == errors["waveform"] == 0
    stored = load_all(files, Storage(dtype=torch.float32, fp8="storage"))
    assert any(isinstance(module, FP8Linear) for module in stored["transformer"].modules())
    assert all(torch.equal(tensor, got[name]) for name, tensor in outputs(stored).items())


def test_float8_is_decided_by_each_tensor(write, tmp_path):
    files = find_model(write["split scaled"](tmp_path))
    transformer = load_transformer(files.transformer, Storage(fp8="storage"))
    kinds = {name: isinstance(m, FP8Linear) for name, m in transformer.named_modules() if hasattr(m, "in_features")}
    assert {name for name, is_fp8 in kinds.items() if is_fp8} == {name for name in kinds if "_blocks.1." in name}
    tables = [name for name in files.transformer.entries if "scale_shift_table" in name]
    assert {files.transformer.entries[name].dtype for name in tables} == {torch.float32}


@pytest.mark.parametrize(
    "layout, name, title",
    [("split", "tiny", "split files"), ("single", "ltx", "single file"), ("diffusers", "model", "diffusers")],
)
def test_the_layout_is_named(write, tmp_path, layout, name, title):
    files = find_model(write[layout](tmp_path / "model"))
    assert (files.name, files.layout) == (name, title)


def test_parts_of_different_layouts_go_together(tiny, layouts, reference, tmp_path):
    split = layouts.write_split(tmp_path / "comfy", tiny)
    for number in "35":
        (split / f"{number}.safetensors").unlink()
    layouts.write_gemma(split / "gemma", tiny, "model.", False)
    (layouts.write_diffusers(tmp_path / "diffusers", tiny) / "audio_vae").rename(split / "audio_vae")
    (tmp_path / "diffusers" / "vocoder").rename(split / "vocoder")
    files = find_model(split)
    assert files.layout == "split files" and files.vocoder.where == split / "vocoder"
    got, want = outputs(load_all(files, FLOAT32)), reference(16)
    assert all(torch.equal(got[name], want[name]) for name in want)


@pytest.mark.parametrize("layout", ["split", "diffusers"])
def test_both_paddings_of_the_decoder_are_honoured(tiny, layouts, tmp_path, layout):
    """LTX-2.3 has zeros, LTX-2.0 reflects; diffusers names it for each side, the official metadata for both."""
    latents, decoded = torch.randn(1, 8, 2, 2, 2), {}
    for padding in ("zeros", "reflect"):
        folder = tmp_path / padding
        if layout == "diffusers":
            layouts.write_diffusers(folder, tiny, padding)
        else:
            tensors, section = layouts.official_tensors(tiny, "video_vae"), layouts.VIDEO_VAE
            layouts.write_split(folder, tiny)
            layouts.save(
                folder / "4.safetensors", tensors, {"vae": section | {"decoder_spatial_padding_mode": padding}}
            )
        vae = load_video_vae(find_model(folder).video_vae, FLOAT32)
        assert {vae.encoder.conv_in.conv.padding_mode, vae.decoder.conv_in.conv.padding_mode} == {"zeros", padding}
        with torch.no_grad():
            decoded[padding] = vae.decode(latents)
            twin, state = layouts.diffusers_twins(tiny, padding)["vae"]
            twin.load_state_dict(
                {name: state[own] for name, own in layouts.own_names("vae", twin.state_dict()).items()}
            )
            want = twin.eval().decode(vae.per_channel_statistics.denormalize(latents)).sample
        assert (decoded[padding] - want).norm() / want.norm() < 1e-5
    assert (decoded["zeros"] - decoded["reflect"]).norm() / decoded["zeros"].norm() > 1e-2


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux says what is mapped")
def test_weights_on_the_cpu_are_the_mapped_file_itself(tiny):
    source = find_model(tiny.folder).transformer
    weights = list(load_transformer(source).parameters())
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    spans = [[int(end, 16) for end in line[0].split("-")] for line in maps if line[-1] == str(source.where)]
    assert spans and all(any(start <= w.data_ptr() < end for start, end in spans) for w in weights)


def test_entries_know_what_the_tensors_are(tiny):
    source = find_model(tiny.folder).transformer
    tensors = source.tensors()
    assert tensors.keys() == source.entries.keys()
    for name, entry in source.entries.items():
        tensor = tensors[name]
        assert (entry.dtype, entry.shape, entry.num_bytes) == (tensor.dtype, tuple(tensor.shape), tensor.nbytes)
