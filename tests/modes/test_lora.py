"""LoRAs of a running show: wishes, what comes with a file, and that adapters follow what they are for."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ltx_live.chunk import EngineInfo
from ltx_live.engine.process import LoraFailed, LoraLoaded, Ready
from ltx_live.lora_files import Shelf
from ltx_live.loras import Rack
from ltx_live.modes.lora import LoraMode
from ltx_live.modes.use import Arrival, Setting
from ltx_live.params import GenerationParams, defaults, snapshot

LAYER = "transformer_blocks.0.attn1.to_q"
NAMES = "glass", "my-ic-lora", "an-id-lora", "ltx-2.3-22b-ic-lora-outpaint"
BOTH = {"IC": True, "ID": True}


class Loras:
    """A mode, its live values, and an engine that does at once what it is asked for."""

    def __init__(self, folder: Path):
        for name in NAMES:
            metadata = {"reference_downscale_factor": "2"} if name == "my-ic-lora" else None
            tensors = {f"{LAYER}.lora_A.weight": torch.ones(2, 8), f"{LAYER}.lora_B.weight": torch.ones(8, 2)}
            save_file(tensors, folder / f"{name}.safetensors", metadata)
        self.asked: list[tuple[int, Path | None]] = []
        self.shelf = Shelf([folder])
        self.shelf.look()
        self.mode, self.values = LoraMode(Rack(self.shelf, lambda *ask: self.asked.append(ask))), defaults()
        self.mode.hear(Ready(EngineInfo("tiny", 64, 32, "cpu"), {LAYER: (8, 8)}))
        self.shelf.look()

    def set(self, **values):
        named = {f"lora/{name[1:].replace('_', '/')}": value for name, value in values.items()}
        self.values |= named
        self.mode.take(self.values, named)
        return list(self.mode.tick())

    def answer(self):
        for slot, path in self.asked:
            self.mode.hear(LoraLoaded(slot, path, f"lora/{slot} is there"))
        self.asked.clear()
        return list(self.mode.tick())

    def fields(self, follows=BOTH):
        return self.mode.fields(snapshot(GenerationParams, self.values), follows)


@pytest.fixture
def loras(tmp_path):
    return Loras(tmp_path)


def test_a_file_is_a_gesture_when_the_engine_has_it(loras):
    before = loras.fields()
    assert loras.set(_1_name="glass") == []
    assert loras.fields() == before and [slot for slot, _ in loras.asked] == [1]
    assert loras.answer() == [Setting("lora/1/strength", 1.0), Arrival("lora/1/name", "lora/1 is there")]
    assert loras.fields()["lora_name"][0] == "glass" != before["lora_name"][0]
    assert loras.set(_1_name="") == [] and loras.answer() == [Arrival("lora/1/name", "lora/1 is there")]
    assert loras.fields() == before


def test_a_file_by_its_path_gets_its_name_and_a_known_one_brings_what_it_needs(loras, tmp_path):
    told = loras.set(_2_name=str(tmp_path / "ltx-2.3-22b-ic-lora-outpaint.safetensors"))
    assert told == [Setting("lora/2/name", "ltx-2.3-22b-ic-lora-outpaint")]
    loras.set(_2_name="ltx-2.3-22b-ic-lora-outpaint")
    told = loras.answer()
    assert Setting("ref/letterbox", True) in told and Setting("lora/2/strength", 1.0) in told


def test_what_was_set_with_the_name_or_since_stays(loras):
    loras.set(_1_name="glass", _1_strength=0.4)  # as a snapshot does
    assert loras.answer() == [Arrival("lora/1/name", "lora/1 is there")]
    loras.set(_1_name="ltx-2.3-22b-ic-lora-outpaint")
    loras.set(_1_strength=0.6)
    assert [told.name for told in loras.answer()] == ["ref/control", "ref/letterbox", "lora/1/name"]
    loras.set(_1_name="glass")
    loras.mode.hear(LoraFailed(1, loras.asked[-1][1], "memory is full"))
    assert [told.name for told in loras.mode.tick()] == ["lora/1/name"], "the strength stays that of what is played"


def test_a_wish_is_answered_once(loras, tmp_path):
    loras.values["lora/1/name"] = "nowhere"
    loras.values["lora/2/name"] = str(tmp_path / "glass.safetensors")
    for _ in range(3):  # other values that come within the same tick
        loras.mode.take(loras.values, {"control_strength"})
    assert [told.name for told in loras.mode.tick()] == ["lora/1/name", "lora/2/name"] and len(loras.asked) == 1


def test_a_merged_one_that_cannot_follow_its_fader_sets_it_back(loras):
    loras.mode.hear(LoraFailed(1, None, "glass stays at 1: memory", 1.0))
    (setting,) = loras.mode.tick()
    assert (setting.name, setting.value) == ("lora/1/strength", 1.0) and "glass stays at 1" in setting.text


def test_adapters_are_played_while_there_is_something_to_follow(loras):
    loras.set(_1_name="glass", _2_name="my-ic-lora", _3_name="an-id-lora", _1_strength=0.5)
    loras.answer()
    assert loras.fields()["lora_strength"][:4] == (0.5, 1.0, 1.0, 1.0)
    assert loras.fields({"IC": False, "ID": True})["lora_strength"][:3] == (0.5, 0.0, 1.0)
    assert loras.fields({"IC": True, "ID": False})["lora_strength"][:3] == (0.5, 1.0, 0.0)
    loras.set(_1_active=False)
    assert loras.fields()["lora_strength"][0] == 0.0
    assert loras.mode.factor(loras.fields()["lora_strength"]) == 2
    assert loras.mode.factor(loras.fields({"IC": False, "ID": True})["lora_strength"]) == 1


def test_what_cannot_be_put_in_is_taken_back_with_a_line(loras):
    loras.set(_1_name="glass")
    loras.answer()
    (setting,) = loras.set(_1_name="nowhere")
    assert (setting.name, setting.value) == ("lora/1/name", "glass") and "no such file" in setting.text
    loras.set(_1_name="glass")
    loras.set(_1_name="my-ic-lora")
    loras.mode.hear(LoraFailed(1, loras.asked[-1][1], "memory is full"))
    (setting,) = loras.mode.tick()
    assert (setting.name, setting.value) == ("lora/1/name", "glass") and "memory is full" in setting.text
    assert loras.fields()["lora_name"][0] == "glass"


def test_files_and_free_slots_are_found(loras):
    assert loras.mode.is_known and loras.mode.free_slot() == 1 and not loras.mode.is_wanted("ID")
    assert loras.mode.find("ID").name == "an-id-lora" and loras.mode.find("IC").name == "ltx-2.3-22b-ic-lora-outpaint"
    loras.set(**{f"_{number}_name": "glass" for number in range(1, 8)})
    assert loras.mode.free_slot() == 8
    loras.set(_8_name="an-id-lora")
    assert loras.mode.free_slot() is None and loras.mode.is_wanted("ID")
