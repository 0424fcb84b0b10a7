"""What the display is given: pending values in words, and the beat only where something keeps to it."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ltx_live.chunk import Chunk
from ltx_live.control.event import Event, Origin
from ltx_live.control.registry import Registry
from ltx_live.display import Display, FrameRate, Playing
from ltx_live.lora_files import LoraFile, Shelf
from ltx_live.loras import Rack
from ltx_live.session import Session
from ltx_live.tempo import Tempo


class Told:
    """A display beside a registry that takes messages; `landing_s` is what the session foresees."""

    def __init__(self):
        self.registry, self.session = Registry({"prompt": "waves"}), Session()
        self.rack = Rack(Shelf(()), lambda number, path: None)
        self.display = Display(self.registry, self.session, Tempo(120.0, 3), self.rack)

    def hud(self, *messages, landing_s=0.8):
        for address, *args in messages:
            self.registry.apply((Event(f"/ltx/{address}", tuple(args), Origin("app", "test"), time.perf_counter()),))
        self.session.statistics.landing_s = landing_s
        status = self.display.status(Playing("playing", "", 0.0, 48_000, None, 0.1, 2.25))
        return self.display.hud(status, False, "", ())


@pytest.mark.parametrize(
    ("messages", "pending"),
    [
        ([], ""),
        ([("prompt", "a red fox")], "a red fox"),
        ([("refresh", 0.5), ("prompt", "a red fox"), ("num_frames", 57)], "a red fox, refresh 0.5, num_frames 57"),
        ([("prompt/sounds", "rain"), ("randomize_seed", 0)], "prompt/sounds rain, randomize_seed off"),
        ([("prompt", "")], "none"),
        ([("bank/2/text", "rings"), ("bank/2/connect",)], "rings"),
        ([("restart",)], "a new take"),
        ([("pause", 1)], ""),
        ([("width", 512), ("seed", 7)], "seed 7"),
    ],
)
def test_what_is_pending_is_told_in_words(messages, pending):
    assert Told().hud(*messages).pending == pending


def test_nothing_is_pending_once_it_is_seen():
    told = Told()
    told.hud(("prompt", "a red fox"), ("restart",))
    told.registry.mark_applied(2)
    assert told.hud().pending == ""


@pytest.mark.parametrize(
    ("messages", "bpm", "grid"),
    [
        ([], 0.0, ""),
        ([("tempo/quantise", "chunk")], 0.0, ""),
        ([("tempo/quantise", "2 bars")], 120.0, "2 bars"),
        ([("tempo/midi_clock", 1)], 120.0, ""),
    ],
)
def test_the_beat_is_told_where_something_keeps_to_it(messages, bpm, grid):
    hud = Told().hud(*messages)
    assert (hud.bpm, hud.grid, hud.beat, hud.bar, hud.beats_per_bar) == (bpm, grid, 2, 2, 3)


def test_the_list_of_lora_files_and_what_leads_are_handed_on():
    told = Told()
    told.rack.shelf.files = (LoraFile("paint", Path("/a/paint.safetensors"), "style", (16,), matches=True),)
    status = told.display.status(Playing("playing", "", 0.0, 48_000, None, 0.1, 2.25, mode="image red.png"))
    hud = told.display.hud(status, False, "", ())
    assert hud.loras == (("paint", "style", "16", 1, "yes", "", ""),) and hud.mode == "image red.png"


def test_gpu_memory_is_told_where_there_is_a_gpu():
    told = Told()
    playing = Playing("playing", "", 0.0, 48_000, None, 0.1, 2.25)
    chunk = Chunk(0, np.zeros((9, 2, 2, 3), np.uint8), 0, 0, np.zeros((18_000, 2), np.float32), 0, 0, 24.0, 0)
    assert told.display.status(playing).gpu_mem_gib is None
    for num_bytes, gib in ((5 * 2**29, 2.5), (None, None)):
        told.session.statistics.add(replace(chunk, gpu_bytes=num_bytes), 0.1, 0.0)
        assert told.display.status(playing).gpu_mem_gib == gib


def test_pictures_of_the_last_second_are_counted_once_each():
    rate = FrameRate()
    for tick in range(180):  # three seconds at 60 Hz, of 24 pictures a second
        rate.seen(tick * 24 // 60, tick / 60)
    assert rate.at(3.0) in (24, 25) and rate.at(3.5) in (12, 13) and rate.at(5.0) == 0
