"""The shelf of LoRA files: found, examined without their tensors, watched."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ltx_live import lora_files
from ltx_live.errors import ParameterError
from ltx_live.lora_files import Shelf, examine, folders
from ltx_live.weights.lora_header import Targets

LAYERS = {"transformer_blocks.0.attn1.to_q": (8, 8), "transformer_blocks.0.attn1.to_out.0": (8, 4)}
UNION = "ltx-2.3-22b-ic-lora-union-control-ref0.5"


def write(path: Path, rank: int = 2, width: int = 8, **metadata: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    layer = "diffusion_model.transformer_blocks.0.attn1.to_q"
    factors = {f"{layer}.lora_A.weight": torch.ones(rank, width), f"{layer}.lora_B.weight": torch.ones(8, rank)}
    save_file(factors, path, metadata or None)
    return path


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    return tmp_path / "home"


@pytest.fixture
def shelf(home) -> Shelf:
    return Shelf(folders(home))


def names(shelf: Shelf) -> list[str]:
    shelf.look()
    return [file.name for file in shelf.files]


def test_files_are_found_in_both_folders_and_the_home_goes_first(shelf, home, tmp_path):
    assert names(shelf) == []  # no folder is there yet
    write(home / "loras/glass.safetensors", rank=3)
    write(tmp_path / "user/.daydream-scope/models/lora/Ash.safetensors")
    write(tmp_path / "user/.daydream-scope/models/lora/glass.safetensors")
    (home / "loras/notes.txt").write_text("no LoRA")
    assert names(shelf) == ["Ash", "glass"]
    assert shelf.file("glass").ranks == (3,) and shelf.file("glass").path == home / "loras/glass.safetensors"


def test_what_a_file_is(tmp_path):
    style = examine(write(tmp_path / "style.safetensors", rank=4), None)
    assert (style.name, style.kind, style.rank_text, style.reference_downscale_factor) == ("style", "style", "4", 1)
    assert (style.preparation, style.strength, style.matches, style.fault) == ("", 1.0, None, "")
    union = examine(write(tmp_path / f"{UNION}.safetensors"), None)
    assert (union.kind, union.reference_downscale_factor, union.preparation) == ("IC", 2, "canny")
    own = examine(write(tmp_path / "guide.safetensors", reference_downscale_factor="4"), None)
    assert (own.kind, own.reference_downscale_factor, own.preparation) == ("IC", 4, "video")
    edit = examine(write(tmp_path / "ltx23_edit_anything_global_rank128_v1_9000steps_adamw.safetensors"), None)
    assert (edit.kind, edit.strength) == ("IC", 1.1)
    voice = examine(write(tmp_path / "my-id-lora.safetensors"), None)
    assert (voice.kind, voice.preparation) == ("ID", "voice")


def test_whether_it_fits_the_model(shelf, home):
    write(home / "loras/fits.safetensors")
    write(home / "loras/wide.safetensors", width=16)
    assert names(shelf) == ["fits", "wide"] and {file.matches for file in shelf.files} == {None}
    shelf.fit(LAYERS)
    shelf.look()
    fits, wide = shelf.files
    assert (fits.matches, fits.fault, wide.matches, wide.kind) == (True, "", False, "style")
    assert "misshapen" in wide.fault and "\n" not in wide.fault
    shelf.fit({"transformer_blocks.0.attn1.to_q": (8, 16)})
    shelf.look()
    assert [file.matches for file in shelf.files] == [False, True]


def test_a_broken_file_is_one_line_until_it_is_whole(shelf, home):
    path = write(home / "loras/late.safetensors")
    whole = path.read_bytes()
    for content in (b"", whole[:-8], b"[" * 100_000, (len(whole)).to_bytes(8, "little") + b"[" * len(whole)):
        path.write_bytes(content)
        assert names(shelf) == ["late"]
        (file,) = shelf.files
        assert file.kind is None and not file.matches
        assert file.fault.startswith(f"{path}: not a complete safetensors file") and "\n" not in file.fault
    path.write_bytes(whole)
    shelf.look()
    assert shelf.files[0].fault == ""
    save_file({"weight": torch.zeros(2)}, path)
    shelf.look()
    assert "not a LoRA" in shelf.files[0].fault
    path.unlink()
    assert names(shelf) == []


def test_only_what_has_changed_is_opened(shelf, home, monkeypatch):
    examined = []
    monkeypatch.setattr(lora_files, "examine", lambda path, *rest: examined.append(path.stem) or examine(path, *rest))
    for name in "ab":
        write(home / f"loras/{name}.safetensors")
    shelf.look()
    shelf.look()
    assert examined == ["a", "b"]
    before = shelf.files
    os.utime(home / "loras/b.safetensors", ns=(1, 1))
    shelf.look()
    assert examined == ["a", "b", "b"] and shelf.files is before  # the same again


def test_a_dropped_file_joins(shelf, home, tmp_path):
    path = write(tmp_path / "elsewhere/dropped.safetensors")
    assert shelf.file(str(path)).path == path  # a path is a name too
    assert names(shelf) == ["dropped"] and shelf.file("dropped").ranks == (2,)
    shelf.add(path)
    assert names(shelf) == ["dropped"]


WRONG = {"misspelt": "glasss", "no home": "~nobody-here/x", "NUL": "a\0b", "long": "x" * 70_000}


@pytest.mark.parametrize("name", WRONG.values(), ids=WRONG)
def test_a_name_that_is_not_there(shelf, home, name):
    write(home / "loras/glass.safetensors")
    shelf.look()
    with pytest.raises(ParameterError) as error:
        shelf.file(name)
    assert str(error.value).startswith(f"LoRA {name[:80]}: no such file in {home / 'loras'} or ")
    assert ("did you mean glass?" in str(error.value)) == (name == "glasss")


def test_the_thread_sees_what_comes_and_goes(home):
    shelf = Shelf(folders(home), poll_s=0.01)
    shelf.watch()
    try:
        path = write(home / "loras/new.safetensors")
        assert wait(lambda: [file.name for file in shelf.files] == ["new"])
        shelf.fit(LAYERS)
        assert wait(lambda: shelf.files[0].matches)
        path.unlink()
        assert wait(lambda: shelf.files == ())
    finally:
        shelf.close()
    shelf.close()


def wait(condition) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return False


def test_a_full_size_file_is_examined_within_moments(tmp_path):
    """All layers of all blocks of LTX-2.3: 3000 factors, of which only the header is read."""
    from ltx_live.weights.checkpoint import build_transformer
    from ltx_live.weights.known import CONFIG
    from ltx_live.weights.lora import linear_shapes
    from ltx_live.weights.parts import Source

    shapes = linear_shapes(build_transformer(Source("transformer", tmp_path, {}, CONFIG["transformer"])))
    path = tmp_path / "large.safetensors"
    header, end = {}, 0
    for layer, (num_out, num_in) in shapes.items():
        for part, shape in (("A", [64, num_in]), ("B", [num_out, 64])):
            size = 2 * shape[0] * shape[1]
            about = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
            header[f"diffusion_model.{layer}.lora_{part}.weight"] = about
            end += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    targets = Targets(shapes)
    start_s = time.process_time()
    found = examine(path, targets)
    assert found.matches and found.ranks == (64,)
    assert time.process_time() - start_s < 1.0
