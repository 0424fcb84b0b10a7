"""The slots of a show: what is asked of the engine, what it answers, and a process that starts anew."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ltx_live.chunk import EngineInfo
from ltx_live.engine.process import Died, LoraFailed, LoraLoaded, LoraMerged, LoraMerging, Progress, Ready
from ltx_live.errors import ParameterError
from ltx_live.lora_files import Shelf
from ltx_live.loras import Rack

LAYER = "transformer_blocks.0.attn1.to_q"
READY = Ready(EngineInfo("tiny", 64, 32, "cpu"), {LAYER: (8, 8)})


def write(path: Path, width: int = 8) -> Path:
    save_file({f"{LAYER}.lora_A.weight": torch.ones(2, width), f"{LAYER}.lora_B.weight": torch.ones(8, 2)}, path)
    return path


@pytest.fixture
def shelf(tmp_path) -> Shelf:
    write(tmp_path / "glass.safetensors")
    write(tmp_path / "ash.safetensors")
    write(tmp_path / "wide.safetensors", 16)
    (tmp_path / "broken.safetensors").write_bytes(b"")
    shelf = Shelf([tmp_path])
    shelf.look()
    return shelf


class Asked(list):
    """What the engine was asked for."""

    def __call__(self, slot: int, path: Path | None) -> None:
        self.append((slot, path and path.stem))


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def rack(shelf, asked) -> Rack:
    rack = Rack(shelf, asked)
    rack.hear(READY)
    shelf.look()
    return rack


def loaded(rack: Rack, slot: int, name: str) -> LoraLoaded:
    return LoraLoaded(slot, rack.shelf.file(name).path if name else None, f"lora/{slot}: {name}")


def test_a_slot_is_loading_until_the_engine_says_so(rack, asked):
    assert {slot.state for slot in rack.slots} == {"empty"} and len(rack.slots) == 8
    rack.put(2, "glass")
    assert asked == [(2, "glass")] and rack.slots[1].state == "loading" and rack.played == ("",) * 8
    assert rack.hear(loaded(rack, 2, "glass")) == "lora/2: glass"
    assert rack.slots[1].state == "loaded" and rack.played[:3] == ("", "glass", "")
    assert rack.files[1].name == "glass" and rack.files[0] is None
    rack.put(2, "ash")
    assert rack.slots[1].state == "loading" and rack.played[1] == "glass"  # which goes on
    rack.hear(loaded(rack, 2, "ash"))
    rack.put(2, "")
    assert asked[1:] == [(2, "ash"), (2, None)]
    rack.hear(loaded(rack, 2, ""))
    assert rack.slots[1].state == "empty" and rack.played == ("",) * 8
    assert rack.hear(Progress(0, 1, 2, 0.5)) is None


def test_an_answer_to_an_older_wish_does_not_end_the_newer(rack):
    rack.put(1, "glass")
    rack.put(1, "ash")
    rack.hear(loaded(rack, 1, "glass"))
    assert (rack.slots[0].state, rack.slots[0].wanted, rack.played[0]) == ("loading", "ash", "glass")
    rack.hear(LoraFailed(1, rack.shelf.file("glass").path, "too late"))
    assert rack.slots[0].wanted == "ash"
    rack.hear(loaded(rack, 1, "ash"))
    assert rack.slots[0].state == "loaded"


def test_a_failure_keeps_the_old_one(rack):
    rack.put(1, "glass")
    rack.hear(loaded(rack, 1, "glass"))
    rack.put(1, "ash")
    text = rack.hear(LoraFailed(1, rack.shelf.file("ash").path, "GPU memory: there is not enough"))
    assert text == "lora/1: GPU memory: there is not enough"
    slot = rack.slots[0]
    assert (slot.state, slot.wanted, slot.played, slot.fault) == ("failed", "glass", "glass", text[8:])
    rack.put(1, "glass")
    assert rack.slots[0].fault == ""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("wide", "/ltx/lora/3/name: .*misshapen"),
        ("broken", "/ltx/lora/3/name: .*not a complete safetensors file"),
        ("nowhere", "LoRA nowhere: no such file in "),
    ],
)
def test_what_cannot_be_played_is_not_even_asked_for(rack, asked, name, text):
    with pytest.raises(ParameterError, match=text) as error:
        rack.put(3, name)
    assert "\n" not in str(error.value) and asked == [] and rack.slots[2].state == "empty"


def test_merged_slots_stay(shelf, asked, tmp_path):
    rack = Rack(shelf, asked, [tmp_path / "glass.safetensors"], is_merged=True)
    rack.hear(READY)
    assert rack.slots[0].state == "merged" and rack.played[:2] == ("glass", "")
    for name in ("ash", ""):
        with pytest.raises(ParameterError, match="/ltx/lora/1/name: glass is merged into the model and stays; use ano"):
            rack.put(1, name)
    rack.put(2, "ash")
    assert asked == [(2, "ash")]


def test_a_merged_slot_is_merging_while_it_follows_its_fader(shelf, asked, tmp_path):
    glass = tmp_path / "glass.safetensors"
    rack = Rack(shelf, asked, [glass], is_merged=True)
    rack.hear(READY)
    assert rack.hear(LoraMerging(1, 0.5)) is None and rack.slots[0].state == "merging"
    assert rack.hear(LoraMerged(1, 0.5, "lora/1: glass at 0.5, merged")) == "lora/1: glass at 0.5, merged"
    assert (rack.slots[0].state, rack.played[0], rack.slots[0].fault) == ("merged", "glass", "")
    rack.hear(LoraMerging(1, 0.7))
    assert rack.hear(LoraFailed(1, glass, "glass stays at 0.5: gone")) == "lora/1: glass stays at 0.5: gone"
    assert (rack.slots[0].state, rack.slots[0].fault) == ("merged", "glass stays at 0.5: gone")
    rack.hear(LoraMerging(1, 0.8))
    assert rack.slots[0].fault == ""
    rack.hear(Died(1, "the engine process ended", None, 0.5))
    rack.hear(READY)
    assert rack.slots[0].state == "merged"


def test_a_new_process_is_asked_for_what_was_put_in(shelf, asked, tmp_path):
    rack = Rack(shelf, asked, [tmp_path / "glass.safetensors", tmp_path / "ash.safetensors"])
    rack.put(3, "glass")
    assert asked == [] and rack.slots[2].state == "loading"  # nobody is there to hear it
    rack.hear(READY)
    assert asked == [(3, "glass")]
    rack.hear(loaded(rack, 3, "glass"))
    rack.put(1, "")
    rack.hear(loaded(rack, 1, ""))
    rack.hear(Died(1, "the engine process ended", None, 0.5))
    rack.put(4, "ash")
    asked.clear()
    rack.hear(READY)
    assert asked == [(1, None), (3, "glass"), (4, "ash")]
    assert rack.played == ("glass", "ash", *[""] * 6)  # as it begins
    assert [slot.state for slot in rack.slots[:5]] == ["loading", "loaded", "loading", "loading", "empty"]


def test_files_named_at_the_start_are_on_the_shelf(shelf, asked, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    rack = Rack(shelf, asked, [write(tmp_path / "elsewhere/far.safetensors")])
    shelf.look()
    assert rack.files[0].name == "far"


def test_the_list_answers_as_data(rack):
    rack.put(2, "glass")
    rack.hear(loaded(rack, 2, "glass"))
    rows = {row[0]: row[1:] for row in rack.rows()}
    assert list(rows) == ["ash", "broken", "glass", "wide"]
    assert rows["ash"] == ("style", "2", 1, "yes", "", "") and rows["glass"] == ("style", "2", 1, "yes", "2", "")
    assert rows["wide"][3] == "no" and "misshapen" in rows["wide"][5]
    assert rows["broken"][:4] == ("", "", 1, "no")
