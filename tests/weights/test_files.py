"""Finding a model's files: known by their tensors wherever they lie, and one line for everything that is wrong."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ltx_live.errors import CheckpointError
from ltx_live.weights import known
from ltx_live.weights.files import find_model
from ltx_live.weights.headers import DTYPES, find_bundles, read_bundle

LORA = {"diffusion_model.patchify_proj.lora_A.weight": torch.zeros(1, 8)}
GEMMA = "language_model.model."


@pytest.fixture
def folder(tiny, tmp_path) -> Path:
    """A copy of the tiny model's split files."""
    return Path(shutil.copytree(tiny.folder, tmp_path / "model"))


def fault(path: Path, text_encoder: Path | None = None) -> str:
    with pytest.raises(CheckpointError) as error:
        find_model(path, text_encoder)
    assert "\n" not in str(error.value)
    return str(error.value)


def change(path: Path, edit=lambda tensors: None, **metadata: str) -> None:
    """Rewrite a file with its tensors edited and its metadata replaced where named (empty: removed)."""
    tensors, about = load_file(path), read_bundle(path).metadata | metadata
    edit(tensors)
    save_file(tensors, path, {key: value for key, value in about.items() if value})


# --- where files may lie


def test_files_are_known_by_their_tensors_in_any_folder(folder, tmp_path):
    places = {"1": "z", "2": "a", "3": "text/b", "4": "vae/c", "5": "vae/d"}
    for old, new in places.items():
        target = tmp_path / "other" / f"{new}.safetensors"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / f"{old}.safetensors", target)
    save_file(LORA, tmp_path / "other" / "a-lora.safetensors")
    save_file({"double_blocks.0.weight": torch.zeros(2)}, tmp_path / "other" / "flux.safetensors")
    (tmp_path / "other" / "readme.txt").write_text("not a checkpoint")
    files = find_model(tmp_path / "other")
    wheres = [files.transformer, files.text_projection, files.text_encoder, files.video_vae, files.audio_vae]
    assert [str(s.where.relative_to(tmp_path / "other"))[: -len(".safetensors")] for s in wheres] == list(
        places.values()
    )
    assert files.vocoder.where == files.audio_vae.where and files.tokenizer.path == files.text_encoder.where


@pytest.mark.parametrize("subfolder", ["diffusion_models", "checkpoints", "unet/ltx"])
def test_a_file_in_comfyui_is_completed_from_the_folders_beside_it(folder, tmp_path, subfolder):
    models = tmp_path / "models"
    named = models / subfolder / "1.safetensors"
    for number, place in {"2": "text_encoders", "3": "text_encoders", "4": "vae", "5": "vae"}.items():
        (models / place).mkdir(parents=True, exist_ok=True)
        shutil.move(folder / f"{number}.safetensors", models / place)
    named.parent.mkdir(parents=True)
    shutil.copy(folder / "1.safetensors", named)
    shutil.copy(folder / "1.safetensors", named.with_name("another.safetensors"))
    files = find_model(named)
    assert files.transformer.where == named and files.video_vae.where.parent.name == "vae"


def test_the_text_encoder_may_be_elsewhere_and_is_taken_from_there(tiny, layouts, folder, tmp_path):
    gemma = layouts.write_gemma(tmp_path / "gemma", tiny, GEMMA, True)
    single = layouts.write_single(tmp_path / "single" / "ltx.safetensors", tiny)
    assert find_model(single, gemma).text_encoder.where == gemma
    assert find_model(single, gemma).tokenizer == gemma / "tokenizer.model"
    assert find_model(folder, gemma).text_encoder.where == gemma  # the folder has one too
    assert find_model(single, folder / "3.safetensors").tokenizer.name == "spiece_model"


def test_parts_of_the_named_file_come_first_then_dedicated_files(tiny, layouts, folder):
    """One folder with a single file and split files: naming one of the transformers says which parts are meant."""
    single = layouts.write_single(folder / "single.safetensors", tiny)
    assert find_model(single).video_vae.where == single
    split = find_model(folder / "1.safetensors")
    assert split.video_vae.where == folder / "4.safetensors" and split.layout == "split files"
    assert "several files hold the transformer: 1.safetensors, single.safetensors; name one" in fault(folder)


def test_one_shard_of_diffusers_transformer_names_the_whole_folder(tiny, layouts, tmp_path):
    layouts.write_diffusers(tmp_path, tiny)
    files = find_model(min((tmp_path / "transformer").glob("*-of-*.safetensors")))
    assert files.layout == "diffusers" and files.transformer.where == tmp_path / "transformer"
    assert len({entry.path for entry in files.transformer.entries.values()}) > 4  # the connectors' shards too


# --- what can be wrong: (what happens to the folder, what the line says)


def without(*numbers: str):
    def spoil(folder: Path) -> None:
        for number in numbers:
            (folder / f"{number}.safetensors").unlink()

    return spoil


def edit(number: str, change_tensors=lambda tensors: None, **metadata: str):
    return lambda folder: change(folder / f"{number}.safetensors", change_tensors, **metadata)


def cut(number: str, size: int):
    def spoil(folder: Path) -> None:
        path = folder / f"{number}.safetensors"
        path.write_bytes(path.read_bytes()[:size])

    return spoil


def drop(word: str):
    def drop_tensors(tensors: dict) -> None:
        for name in [name for name in tensors if word in name]:
            del tensors[name]

    return drop_tensors


def add(name: str, dtype: torch.dtype = torch.bfloat16):
    return lambda tensors: tensors.update({name: torch.zeros(2, 2).to(dtype)})


QUANT = '{"layers": {"blocks.0": {"format": "%s"}}}'
FAULTS = {
    "nothing": (without(*"12345"), "nothing of LTX-2.3 here or below; `ltx-live models download ltx-2.3`"),
    "no text encoder": (without("3"), r"no text encoder \(a file such as gemma_3_12B.*or below; `ltx-live models"),
    "no sound": (without("5"), r"no audio VAE \(.*, no vocoder \("),
    "no transformer": (without("1"), r"no transformer \(a file such as ltx-2.3"),
    "two of one": (
        lambda f: shutil.copy(f / "4.safetensors", f / "other.safetensors"),
        "several files hold the video VAE: 4.safetensors, other.safetensors; keep one",
    ),
    "two text encoders": (
        lambda f: shutil.copy(f / "3.safetensors", f / "other.safetensors"),
        "hold the text encoder: 3.safetensors, other.safetensors; keep one, or name it with --text-encoder",
    ),
    "two transformers": (
        lambda f: shutil.copy(f / "1.safetensors", f / "other.safetensors"),
        "hold the transformer: 1.safetensors, other.safetensors; name one of them with --model",
    ),
    "empty file": (cut("1", 0), "1.safetensors: not a complete .*; without it there is no transformer"),
    "cut header": (cut("1", 1000), "1.safetensors: not a complete safetensors file"),
    "cut data": (cut("4", -1), r"4.safetensors: not a complete safetensors file \(it has \d+ bytes of \d+\)"),
    "not safetensors": (
        lambda f: (f / "5.safetensors").write_text("<html>404</html>" * 100),
        "5.safetensors: not a complete safetensors file",
    ),
    "no config": (edit("4", config=""), "no 'config' with a section 'vae' in its metadata"),
    "no section": (edit("4", config="{}"), "no 'config' with a section 'vae' in its metadata"),
    "no config of Gemma": (edit("3", config=""), "no 'config' with a section 'text_encoder'"),
    "config not JSON": (edit("1", config="{"), "1.safetensors: 'config' in its metadata is not JSON"),
    "config no object": (edit("1", config="[]"), "1.safetensors: 'config' in its metadata is not a JSON object"),
    "LTX-2.0": (
        edit(
            "1", lambda t: (drop("prompt_adaln")(t), add("model.diffusion_model.caption_projection.linear_1.weight")(t))
        ),
        "not that of LTX-2.3 .no prompt_adaln_single.*; has caption_projection.linear_1.weight.*; use one of LTX-2.3",
    ),
    "LTX-2.5": (
        edit("1", add("model.diffusion_model.keyframes_abs_pos_embedding")),
        "transformer is not that of LTX-2.3 .has keyframes_abs_pos_embedding",
    ),
    "LTX-Video": (edit("1", drop("audio")), "not that of LTX-2.3 .no audio_patchify_proj.weight"),
    "projection of LTX-2.0": (
        edit("2", lambda t: (t.clear(), add("text_embedding_projection.aggregate_embed.weight")(t))),
        "the text projection is not that of LTX-2.3 .no video_aggregate_embed.weight",
    ),
    "vocoder of LTX-2.0": (edit("5", drop("bwe")), "the vocoder is not that of LTX-2.3 .no bwe_generator.conv_pre"),
    "stranger": (edit("1", add("optimizer.step")), r"1 unknown tensor \(optimizer.step\) beside the transformer"),
    "int8": (
        edit("1", add("model.diffusion_model.proj_out.weight", torch.int8)),
        r"proj_out.weight \(transformer\) is int8, which is not supported; use a bf16 or float8_e4m3fn",
    ),
    "nvfp4": (
        edit("3", add("model.layers.3.mlp.up_proj.weight", torch.uint8)),
        r"up_proj.weight \(text encoder\) is uint8",
    ),
    "format in metadata": (edit("1", _quantization_metadata=QUANT % "nvfp4"), "its weights are nvfp4, which is not"),
    "damaged metadata": (edit("1", _quantization_metadata="{"), "its _quantization_metadata is damaged"),
    "other Gemma": (
        edit("3", drop("layers.6.")),
        "text encoder makes 448 values a token, the text projection .* takes 512",
    ),
    "no tokenizer": (
        edit("3", drop("spiece")),
        "no tokenizer .a tensor spiece_model, or a file tokenizer.model beside",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_bad_folder_gives_its_line(folder, name):
    spoil, line = FAULTS[name]
    spoil(folder)
    text = fault(folder)
    assert str(folder) in text and re.search(line, text), text


def test_files_of_other_models_do_no_harm_where_the_model_is_complete(folder, layouts, tiny):
    """A half download, LTX-2.0 files and a Gemma for another card lie beside a good set."""
    (folder / "half.safetensors").write_bytes((folder / "1.safetensors").read_bytes()[:-5])
    for number, spoil in (("1", drop("prompt_adaln")), ("3", add("model.layers.3.mlp.up_proj.weight", torch.uint8))):
        shutil.copy(folder / f"{number}.safetensors", folder / f"old{number}.safetensors")
        change(folder / f"old{number}.safetensors", spoil)
    files = find_model(folder)
    assert {files.transformer.where.name, files.text_encoder.where.name} == {"1.safetensors", "3.safetensors"}
    assert "prompt_adaln" in fault(folder / "old1.safetensors")  # but the one that is named is the one that is meant


@pytest.mark.parametrize(
    "write, line",
    [
        (lambda path: None, "no such file or folder"),
        (lambda path: save_file(LORA, path), "a LoRA, not a model; load it with --lora"),
        (
            lambda path: save_file({"a.b": torch.zeros(1)}, path),
            r"nothing of LTX-2.3 \(but a.b\); name the transformer",
        ),
        (lambda path: path.write_text("GGUF" * 9), "not a complete safetensors file"),
    ],
)
def test_a_path_that_is_no_model(tmp_path, write, line):
    write(path := tmp_path / "file.safetensors")
    assert re.search(line, fault(path))


def test_a_file_of_another_part_says_what_it_is(folder):
    assert "holds the audio VAE and the vocoder; name the transformer's file" in fault(folder / "5.safetensors")
    assert "holds no Gemma 3" in fault(folder, folder / "4.safetensors")
    assert "nowhere: no such file or folder" in fault(folder, folder / "nowhere")


def test_a_missing_shard_is_named(tiny, layouts, tmp_path):
    gemma = layouts.write_gemma(tmp_path / "gemma", tiny, GEMMA, True)
    (gemma / "model-00002-of-00003.safetensors").unlink()
    single = layouts.write_single(tmp_path / "ltx.safetensors", tiny)
    assert "gemma: model-00002-of-00003.safetensors of 3 parts missing; download the rest" in fault(single)


@pytest.mark.parametrize(
    "component, key, value, line",
    [
        ("transformer", "causal_offset", None, "transformer/config.json: 'causal_offset' is missing"),
        ("vae", "encoder_causal", False, "vae/config.json: .*an encoder that looks ahead"),
        ("vocoder", "bwe_antialias", False, "vocoder/config.json: bwe_antialias is false"),
        (
            "connectors",
            "audio_connector_num_layers",
            3,
            "connectors/config.json: num_layers of the video and the audio",
        ),
    ],
)
def test_a_diffusers_configuration_that_cannot_be_used(tiny, layouts, tmp_path, component, key, value, line):
    path = layouts.write_diffusers(tmp_path, tiny) / component / "config.json"
    config = json.loads(path.read_text()) | {key: value}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    assert re.search(line, fault(tmp_path))


# --- the real size, as sparse files: headers are all that is read


def write_header(path: Path, tensors: dict[str, tuple[str, tuple[int, ...]]], **metadata: str) -> None:
    header, end = {"__metadata__": metadata}, 0
    for name, (dtype, shape) in tensors.items():
        size = torch.Size(shape).numel() * DTYPES[dtype].itemsize
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


@pytest.fixture(scope="module")
def shapes(layouts):
    """Names and shapes of LTX-2.3 22B in the official single file, and of Gemma 3 12B, part by part."""
    from ltx_live.weights.text_encoder import gemma_config

    config = layouts.TransformerConfig()
    with torch.device("meta"):
        networks = {
            "transformer": layouts.Transformer(config),
            "text_projection": layouts.TextProjection(config, 49),
            "video_vae": layouts.VideoVAE.from_config(known.VIDEO_VAE),
            "audio_vae": layouts.AudioVAE.from_config(known.AUDIO_VAE),
            "vocoder": layouts.VocoderWithBWE.from_config(known.VOCODER),
            "text_encoder": layouts.Gemma3TextModel(gemma_config(known.GEMMA_3_12B)),
        }
    prefixes = layouts.PREFIXES | {"text_encoder": "model."}
    return {
        part: {prefixes[part] + name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        for part, network in networks.items()
    }


def official(shapes: dict, fp8_blocks: range) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The tensors of the official file, float8 in some blocks."""
    tensors = {}
    for part in (part for part in shapes if part != "text_encoder"):
        for name, shape in shapes[part].items():
            block = name.split(".")[3] if ".transformer_blocks." in name else ""
            if block.isdigit() and int(block) in fp8_blocks and len(shape) == 2 and name.endswith(".weight"):
                tensors[name] = ("F8_E4M3", shape)
                tensors |= {f"{name.removesuffix('.weight')}.{kind}_scale": ("F32", ()) for kind in ("weight", "input")}
            else:
                tensors[name] = ("F32" if "scale_shift_table" in name else "BF16", shape)
    return tensors


def test_the_published_files_are_known_without_their_configuration(shapes, layouts, tmp_path):
    """Counts of the published headers: reference/model.md 0 and 7; distilled-fp8 has 4195 BF16, 3214 F32, 1462 F8."""
    tensors = official(shapes, range(2, 45))
    kinds = [dtype for dtype, _ in tensors.values()]
    assert [len(shapes[part]) for part in list(shapes)[:-1]] == [4444, 4, 170, 102, 1227]
    assert [len(kinds), kinds.count("BF16"), kinds.count("F32"), kinds.count("F8_E4M3")] == [8871, 4195, 3214, 1462]
    write_header(tmp_path / "ltx.safetensors", tensors)
    gemma = {name: ("BF16", shape) for name, shape in shapes["text_encoder"].items()}
    write_header(tmp_path / "gemma.safetensors", gemma | {"spiece_model": ("U8", (4_689_074,))})
    files = find_model(tmp_path)
    assert files.layout == "single file" and len(files.transformer.entries) == 4444 + 2 * 1462
    for part, prefix in (layouts.PREFIXES | {"text_encoder": "model."}).items():
        source = getattr(files, part)
        assert {prefix + name for name in source.entries if not name.endswith("_scale")} == shapes[part].keys()
        if part != "text_projection":
            assert source.config == known.CONFIG[{"video_vae": "vae"}.get(part, part)]


def test_of_several_the_one_of_ltx_2_3_is_taken(shapes, tmp_path, folder):
    """The VAE of LTX-2.0 and a smaller Gemma may lie beside; ComfyUI's users have them."""
    write_header(tmp_path / "model" / "vae.safetensors", {n: ("BF16", s) for n, s in shapes["video_vae"].items()})
    assert find_model(folder).video_vae.where.name == "vae.safetensors"


def test_headers_of_all_bundles_are_read_once(tiny, layouts, tmp_path):
    layouts.write_diffusers(tmp_path, tiny)
    bundles, faults = find_bundles(tmp_path)
    assert [bundle.where.name for bundle in bundles] == [
        "audio_vae", "connectors", "text_encoder", "transformer", "vae", "vocoder"
    ]  # fmt: skip
    assert not faults and all(len(bundle.paths) > 1 for bundle in bundles)
