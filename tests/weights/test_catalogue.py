"""The catalogue: complete, consistent, and clear about what is missing."""

import re
from pathlib import Path

import pytest

from ltx_live.errors import ConfigError
from ltx_live.weights import catalogue
from ltx_live.weights.catalogue import SETS, HubFile


def put(file: HubFile, path: Path, num_bytes: int | None = None) -> None:
    """A file of a size, without its contents (sparse)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as opened:
        opened.truncate(file.num_bytes if num_bytes is None else num_bytes)


def test_the_sets_of_the_issue_are_there():
    assert list(SETS) == ["ltx-2.3", "ltx-2.3-input-scaled", "ltx-2.3-bf16", "ltx-2.3-fp8", "ltx-2.3-diffusers"]
    assert catalogue.DEFAULT == "ltx-2.3"


def test_the_default_set_is_the_specification_s():
    assert {file.path.rpartition("/")[2] for file in (*SETS["ltx-2.3"].files, *SETS["ltx-2.3"].loras)} == {
        "ltx-2.3-22b-distilled-1.1_transformer_only_fp8_scaled.safetensors",
        "ltx-2.3_text_projection_bf16.safetensors",
        "gemma_3_12B_it_fp8_scaled.safetensors",
        "LTX23_video_vae_bf16.safetensors",
        "LTX23_audio_vae_bf16.safetensors",
        "ltx-2.3-id-lora-talkvid-3k.safetensors",
    }
    assert 43e9 < SETS["ltx-2.3"].num_bytes < 44e9


@pytest.mark.parametrize("model_set", SETS.values(), ids=list(SETS))
def test_every_file_of_a_set_has_a_place_of_its_own_and_a_licence(model_set):
    places = [path for _, path in model_set.places(Path("home"))]
    assert len(set(places)) == len(places)
    for file, path in model_set.places(Path("home")):
        assert path.is_relative_to(Path("home") / ("loras" if file in model_set.loras else f"models/{model_set.name}"))
        assert file.num_bytes > 0
        assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert re.fullmatch("[0-9a-f]{40}|main", file.repository.revision)
        assert file.repository.licence.url.startswith("https://")
    assert {file.repository.gated for file in model_set.files if "gemma/" in file.target} <= {True}


def test_different_files_have_different_digests():
    digests = {file: file.sha256 for each in SETS.values() for file in (*each.files, *each.loras) if file.sha256}
    assert len(set(digests.values())) == len(digests)


def test_a_set_counts_as_installed_when_all_its_files_have_their_sizes(tmp_path):
    model_set = SETS["ltx-2.3"]
    with pytest.raises(ConfigError, match=r"ltx-2\.3 is not downloaded in .*: run `ltx-live models download ltx-2\.3 "):
        catalogue.installed("ltx-2.3", tmp_path)
    for file, path in model_set.places(tmp_path):
        if file in model_set.files:  # its LoRA is not needed to play
            put(file, path)
    assert catalogue.installed("ltx-2.3", tmp_path) == tmp_path / "models" / "ltx-2.3"
    vae, path = next(each for each in model_set.places(tmp_path) if "video_vae" in each[0].path)
    put(vae, path, 1000)
    with pytest.raises(ConfigError, match=r"lacks LTX23_video_vae_bf16\.safetensors in .* \(1\.5 GB\)"):
        catalogue.installed("ltx-2.3", tmp_path)


def test_a_size_that_is_not_known_for_certain_is_not_demanded(tmp_path):
    file = catalogue.FP8_INPUT_SCALED
    put(file, tmp_path / file.place, 10)
    assert file.is_at(tmp_path / file.place)
    assert not catalogue.FP8_SCALED.is_at(tmp_path / file.place)


def test_an_unknown_name_lists_those_that_there_are():
    with pytest.raises(ConfigError, match=r"ltx-9: no such model in the catalogue; choose one of ltx-2\.3, "):
        catalogue.find("ltx-9")


def test_files_are_known_by_name_where_names_are_their_own():
    assert catalogue.known_as(Path("somewhere/LTX23_video_vae_bf16.safetensors")).num_bytes == 1_452_258_578
    assert catalogue.known_as(Path("vae/diffusion_pytorch_model.safetensors")) is None
