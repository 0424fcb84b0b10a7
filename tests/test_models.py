"""`ltx-live models` as a user meets it; the downloads themselves are in weights/test_download.py."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ltx_live import cli, models
from ltx_live.pocket import weights_folder
from ltx_live.weights import catalogue
from ltx_live.weights.catalogue import SETS
from ltx_live.weights.convert import FILES


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    """Whatever looks for the hub by mistake finds nothing."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    status = cli.main(["models", *arguments])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_the_list_names_every_model_with_its_size_and_whether_it_is_here(capsys, tmp_path):
    file, path = SETS["ltx-2.3"].places(tmp_path)[0]
    path.parent.mkdir(parents=True)
    with path.open("wb") as opened:
        opened.truncate(file.num_bytes)
    status, text, _ = run(capsys, "list", "--home", str(tmp_path))
    assert status == 0
    by_name = {line.split()[0]: line for line in text.splitlines()[1:-1]}
    assert list(by_name) == list(SETS)
    assert "43.72 GB" in by_name["ltx-2.3"] and "1 of 6 files" in by_name["ltx-2.3"]
    assert by_name["ltx-2.3-bf16"].split()[-1] == "no"
    assert text.endswith(f"models are in {tmp_path / 'models'}{os.sep}NAME, their LoRAs in {tmp_path / 'loras'}\n")


def test_the_list_of_loras_says_what_each_is_for_and_which_are_here(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    here = tmp_path / "user/.daydream-scope/models/lora/ltx-2.3-22b-ic-lora-outpaint.safetensors"
    here.parent.mkdir(parents=True)
    here.touch()
    status, text, _ = run(capsys, "list", "--loras", "--home", str(tmp_path))
    assert status == 0 and text.count("-LoRA by ") == 12 and text.count(": not here\n") == 11
    assert f"huggingface.co/oumoumad/LTX-2.3-22b-IC-LoRA-Outpaint: {here}\n" in text
    assert "(Canny), or its depth map, or its pose skeletons at 1/2 size; strength 1; the prompt" in text
    assert "strength 1.1 to 1.4" in text and "ltx-2.3-id-lora-talkvid-3k.safetensors" in text
    assert text.endswith(f"LoRAs are in {tmp_path / 'loras'} or {here.parent}\n")


@pytest.mark.parametrize("name", list(SETS))
def test_a_dry_run_prints_files_sizes_and_targets_and_touches_nothing(capsys, tmp_path, name):
    home = tmp_path / "home"
    status, text, _ = run(capsys, "download", name, "--dry-run", "--home", str(home))
    assert status == 0
    lines = text.splitlines()
    for file, path in SETS[name].places(home):
        at = lines.index(f"    -> {path}")
        assert f"{file.repository.name}/{file.path} (to fetch)" in lines[at - 1]
        assert models.size(file.num_bytes) in lines[at - 1]
    assert f"in {len(SETS[name].places(home))} files, {models.size(SETS[name].num_bytes)} to fetch" in text
    assert f"GB free in {home}" in text
    assert "LTX-2 Community License, https://huggingface.co/Lightricks/LTX-2.3" in text
    gate = "gated, accept at https://huggingface.co/google/gemma-3-12b-it-qat-q4_0-unquantized"
    assert (gate in text) == (name in ("ltx-2.3-bf16", "ltx-2.3-fp8"))
    assert not home.exists()


def test_a_dry_run_counts_what_is_there_begun_or_in_another_set(capsys, tmp_path):
    places = {path.name: (file, path) for file, path in SETS["ltx-2.3"].places(tmp_path)}
    (tmp_path / "models" / "ltx-2.3").mkdir(parents=True)
    for name in ("gemma_3_12B_it_fp8_scaled.safetensors", "LTX23_video_vae_bf16.safetensors"):
        file, path = places[name]
        with path.open("wb") as opened:
            opened.truncate(file.num_bytes)
    projection, path = places["ltx-2.3_text_projection_bf16.safetensors"]
    with path.with_name(f"{path.name}.0123456789abcdef.part").open("wb") as opened:
        opened.truncate(312_149_072)
    _, text, _ = run(capsys, "download", "ltx-2.3", "--dry-run", "--home", str(tmp_path))
    assert text.count("(is there)") == 2
    assert f"{models.size(SETS['ltx-2.3'].num_bytes - 13_205_434_827 - 1_452_258_578 - 312_149_072)} to fetch" in text
    _, text, _ = run(capsys, "download", "ltx-2.3-input-scaled", "--dry-run", "--home", str(tmp_path))
    assert f"(linked from {places['gemma_3_12B_it_fp8_scaled.safetensors'][1]})" in text
    assert "about 25.02 GB" in text


def test_offline_every_missing_file_is_named_with_its_folder(capsys, tmp_path):
    status, text, error = run(capsys, "download", "ltx-2.3", "--offline", "--home", str(tmp_path))
    assert status == 1 and error.count("\n") == 1 and "lacks 6 files (43.72 GB): " in error
    *models_files, lora = [path for _, path in SETS["ltx-2.3"].places(tmp_path)]
    assert f"{', '.join(path.name for path in models_files)} in {tmp_path / 'models' / 'ltx-2.3'}; " in error
    assert f"{lora.name} in {tmp_path / 'loras'}. Go online" in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "ACTION"),
        (("download",), "NAME"),
        (("download", "ltx-9"), "ltx-9: no such model in the catalogue; choose one of ltx-2.3, ltx-2.3-input-scaled"),
        (("verify", "/no/such/folder"), "no such file, folder or model; models are ltx-2.3"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(capsys, arguments, words):
    status, text, error = run(capsys, *arguments)
    assert (status, text) == (2, "")
    assert error.startswith("ltx-live: ") and error.count("\n") == 1 and words in error


def test_verify_names_what_is_missing_cut_short_or_damaged(capsys, tmp_path, monkeypatch):
    good, bad = b"good" * 1000, b"evil" * 1000
    licence = catalogue.Licence("Test Terms", "https://example.org")
    repository = catalogue.Repository("org/repo", "main", licence)
    digest = hashlib.sha256(good).hexdigest()
    names = ("good", "bad", "short", "gone", "unknown")
    files = tuple(
        catalogue.HubFile(repository, f"{name}.safetensors", len(good), None if name == "unknown" else digest)
        for name in names
    )
    monkeypatch.setitem(catalogue.SETS, "test-set", catalogue.ModelSet("test-set", "a test", files))
    folder = tmp_path / "models" / "test-set"
    folder.mkdir(parents=True)
    for name, content in (("good", good), ("bad", bad), ("short", good[:-1]), ("unknown", bad)):
        (folder / f"{name}.safetensors").write_bytes(content)
    status, text, error = run(capsys, "verify", "test-set", "--home", str(tmp_path))
    assert (status, error) == (1, "")
    said = dict(line.removeprefix(f"{folder}{os.sep}").split(".safetensors: ", 1) for line in text.splitlines()[:5])
    assert said["good"] == "size and sha256 ok"
    assert said["bad"].startswith(f"sha256 {hashlib.sha256(bad).hexdigest()[:12]}... instead of {digest[:12]}")
    assert said["short"].startswith("3999 bytes instead of 4000")
    assert said["gone"].startswith("missing")
    assert said["unknown"] == "size ok, sha256 not known"


def test_verify_takes_a_folder_and_checks_every_tensor(capsys, tmp_path):
    status, text, _ = run(capsys, "verify", str(weights_folder()))
    assert (status, text) == (0, "pocket: split files, all tensors of all networks are there in their shapes\n")
    folder = tmp_path / "copy"
    shutil.copytree(weights_folder(), folder)
    path = next(at for at in sorted(folder.glob("*.safetensors")) if "patchify_proj.bias" in " ".join(load_file(at)))
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = {name: tensor for name, tensor in load_file(path).items() if not name.endswith(".proj_out.bias")}
    save_file(tensors, path, metadata)
    status, text, _ = run(capsys, "verify", str(folder))
    assert status == 1
    assert text.startswith(f"{path}: transformer: ") and "missing" in text and text.count("\n") == 1
    path.write_bytes(path.read_bytes()[:-10])
    status, text, _ = run(capsys, "verify", str(folder))
    assert status == 1
    assert "not a complete safetensors file" in text and text.count("\n") == 1


def test_verify_of_a_folder_knows_published_files_by_name(capsys, tmp_path):
    (tmp_path / "LTX23_video_vae_bf16.safetensors").write_bytes(b"cut")
    status, text, _ = run(capsys, "verify", str(tmp_path))
    assert status == 1
    assert text.startswith(f"{tmp_path / 'LTX23_video_vae_bf16.safetensors'}: 3 bytes instead of 1452258578: cut short")


def lora_file(path: Path, rank: int = 8) -> Path:
    """A LoRA for one real layer of the transformer and for one that it does not have."""
    layer = "diffusion_model.transformer_blocks.0.attn1.to_q"
    tensors = {f"{layer}.lora_A.weight": torch.zeros(rank, 4096), f"{layer}.lora_B.weight": torch.zeros(4096, rank)}
    tensors |= {f"diffusion_model.nowhere.lora_{part}.weight": torch.zeros(2, 2) for part in "AB"}
    save_file(tensors, path, {"reference_downscale_factor": "2", "about": json.dumps({})})
    return path


def test_a_lora_file_is_described(capsys, tmp_path):
    status, text, _ = run(capsys, "lora", str(lora_file(tmp_path / "test.safetensors")))
    assert status == 0
    rows = {line.split("  ")[0].strip(): line for line in text.splitlines() if line.strip()}
    assert "8" in rows["rank"] and "attn1 1" in rows["targets"] and "1 layers" in rows["matched"]
    assert "diffusion_model.nowhere" in rows["unmatched"]
    assert "yes (reference_downscale_factor in its metadata)" in rows["IC-LoRA"]
    assert rows["reference downscale"].split()[-1] == "2"


def test_a_lora_is_found_by_name_and_described_for_a_model(capsys, layouts, tiny, tmp_path):
    (tmp_path / "loras").mkdir()
    layer = "diffusion_model.transformer_blocks.2.attn1.to_q"
    factors = {f"{layer}.lora_A.weight": torch.ones(2, 32), f"{layer}.lora_B.weight": torch.ones(32, 2)}
    save_file(factors, tmp_path / "loras" / "small.safetensors")
    split = layouts.write_split(tmp_path / "split", tiny)
    home = ("--home", str(tmp_path))
    status, text, _ = run(capsys, "lora", "small", "--model", str(split), *home)
    assert status == 0 and "attn1 1" in text and str(tmp_path / "loras" / "small.safetensors") in text
    (split / "3.safetensors").rename(tmp_path / "gemma.safetensors")
    elsewhere = ("--text-encoder", str(tmp_path / "gemma.safetensors"))
    assert run(capsys, "lora", "small", "--model", str(split), *elsewhere, *home) == (0, text, "")
    status, _, error = run(capsys, "lora", "small", *home)
    assert status == 1 and "is (2, 32), must be (rank, 4096)" in error and error.count("\n") == 1
    status, _, error = run(capsys, "lora", str(split), *home)
    assert status == 2 and f"LoRA {split}: a folder; give the .safetensors file in it" in error
    status, _, error = run(capsys, "lora", "large", *home)
    assert status == 2 and "LoRA large: no such file, nor in" in error


def test_a_lora_is_described_for_the_pocket(capsys, tmp_path):
    status, _, error = run(capsys, "lora", str(lora_file(tmp_path / "large.safetensors")), "--model", "pocket")
    assert status == 1 and "misshapen" in error


def test_a_file_that_is_no_lora_is_one_line(capsys, tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    status, text, error = run(capsys, "lora", str(tmp_path / "other.safetensors"))
    assert (status, text) == (1, "")
    assert "not a LoRA" in error and error.count("\n") == 1


@pytest.fixture
def split_folder(layouts, tiny, tmp_path) -> Path:
    return layouts.write_split(tmp_path / "split", tiny)


@pytest.mark.parametrize("dtype", ["fp8", "bf16"])
def test_a_model_is_converted_and_the_result_verified(capsys, split_folder, tmp_path, dtype):
    out = tmp_path / "made"
    status, text, _ = run(capsys, "convert", str(split_folder), str(out), "--dtype", dtype)
    assert status == 0
    first, *made, last = text.splitlines()
    assert first == "tiny: split files, all tensors of all networks are there in their shapes"
    names = ["transformer", "text_projection", "gemma", "video_vae", "audio_vae"]
    large = {"fp8": "fp8_scaled", "bf16": "bf16"}[dtype]
    paths = [out / f"{name}_{large if name in ('transformer', 'gemma') else 'bf16'}.safetensors" for name in names]
    assert made == [f"{models.size(path.stat().st_size)}  {path}" for path in paths]
    assert last == str(out)
    assert run(capsys, "verify", str(out)) == (0, f"{first}\n", "")


def test_a_model_elsewhere_is_converted_with_its_text_encoder_and_a_lora(capsys, layouts, tiny, tmp_path):
    model = layouts.write_single(tmp_path / "models" / "ltx.safetensors", tiny)
    gemma = layouts.write_gemma(tmp_path / "gemma", tiny, "model.", new_keys=True)
    lora, home, out = tmp_path / "home" / "loras" / "shine.safetensors", tmp_path / "home", tmp_path / "made"
    lora.parent.mkdir(parents=True)
    layer = "diffusion_model.transformer_blocks.2.attn1.to_q"
    save_file({f"{layer}.lora_A.weight": torch.ones(2, 32), f"{layer}.lora_B.weight": torch.ones(32, 2)}, lora)
    options = ("--text-encoder", str(gemma), "--lora", "shine:0.5", "--only", "transformer", "--home", str(home))
    status, _, _ = run(capsys, "convert", str(model), str(out), *options)
    assert status == 0 and [path.name for path in out.iterdir()] == ["transformer_fp8_scaled.safetensors"]
    with safe_open(out / "transformer_fp8_scaled.safetensors", "pt") as file:
        assert file.metadata()["made_from"].endswith("transformer of ltx.safetensors, shine.safetensors at 0.5")


def test_a_conversion_that_cannot_be_is_one_line_and_writes_nothing(capsys, split_folder, tmp_path):
    out = tmp_path / "made"

    def error(*arguments: str) -> str:
        status, text, error = run(capsys, "convert", *arguments)
        assert status in (1, 2) and error.startswith("ltx-live: ") and error.count("\n") == 1
        assert "Traceback" not in error and not out.exists()
        return error

    assert "is there already and not an empty folder" in error(str(split_folder), str(split_folder))
    assert "no such file or folder" in error(str(tmp_path / "nowhere"), str(out))
    assert "ltx-2.3 is not downloaded" in error("ltx-2.3", str(out), "--home", str(tmp_path))
    assert "no such file, nor in" in error(str(split_folder), str(out), "--lora", "nowhere", "--home", str(tmp_path))
    lora = lora_file(tmp_path / "large.safetensors")
    assert "misshapen" in error(str(split_folder), str(out), "--lora", str(lora))
    assert "a LoRA changes the transformer" in error(
        str(split_folder), str(out), "--lora", str(lora), "--only", "video-vae"
    )
    assert "invalid choice" in error(str(split_folder), str(out), "--dtype", "fp4")
    whole = split_folder / "2.safetensors"
    whole.write_bytes(whole.read_bytes()[:-10])
    assert "not a complete safetensors file" in error(str(split_folder), str(out))


def test_the_command_line_offers_the_files_that_there_are(capsys, split_folder, tmp_path):
    for index, name in enumerate(FILES):
        status, _, _ = run(capsys, "convert", str(split_folder), str(tmp_path / f"{index}"), "--only", name)
        assert status == 0 and len(list((tmp_path / f"{index}").iterdir())) == 1
