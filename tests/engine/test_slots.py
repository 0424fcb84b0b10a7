"""Shared-memory slots: layout, free list, views, and no trace left behind."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from ltx_live.engine.slots import MAX_FRAMES, MIN_FRAMES, SlotLayout, Slots, num_slots, plan
from ltx_live.errors import DeviceError, EngineError


def test_slack_asks_for_more_slots():
    assert [num_slots(slack) for slack in (0, 0.2, 1, 2.5)] == [6, 7, 7, 9]


def test_longest_request_that_fits_by_frames_and_by_sound():
    layout = SlotLayout(64, 32, 57)
    assert layout.longest(129, 24.0) == 57
    assert layout.longest(33, 24.0) == 33
    assert layout.longest(57, 12.0) == 57
    assert layout.longest(57, 6.0) == 25  # the sound of 57 frames at 12 fps is that of 28 at 6
    assert layout.longest(57, 1.0) == 9
    assert SlotLayout(64, 32).longest(257, 24.0) == 257


def test_plan_takes_fewer_frames_in_little_memory_and_says_when_it_is_too_little():
    assert plan(288, 160, 6, None).num_frames == MAX_FRAMES
    container = plan(288, 160, 6, 64_000_000)
    assert MIN_FRAMES <= container.num_frames < MAX_FRAMES and container.num_frames % 8 == 1
    assert container.num_bytes * 6 <= 64_000_000
    with pytest.raises(DeviceError, match=r"64 MB of shared memory are free, 1280x736 needs at least \d+ MB"):
        plan(1280, 736, 6, 64_000_000)


def test_views_of_two_processes_show_the_same_memory():
    with Slots.create(64, 32, 2) as slots:
        other = Slots.attach(slots.layout, slots.names)
        other.frames(1, 3)[2] = 7
        other.audio(1, 100)[:] = 0.5
        assert slots.frames(1, 3).shape == (3, 32, 64, 3) and (slots.frames(1, 3)[2] == 7).all()
        assert slots.audio(1, 100).dtype == np.float32 and (slots.audio(1, 100) == 0.5).all()
        assert not slots.frames(0, 3).any() and not slots.frames(1, 2).any()
        other.frames(1, MAX_FRAMES)[:] = 255
        assert (slots.audio(1, 100) == 0.5).all()
        other.close()


def test_free_list():
    with Slots.create(32, 32, 2) as slots:
        taken = {slots.acquire(), slots.acquire()}
        assert taken == {0, 1} and slots.num_free == 0 and slots.acquire() is None
        slots.release(1)
        assert slots.num_free == 1 and slots.acquire() == 1
        slots.release(0)
        with pytest.raises(ValueError, match="already free"):
            slots.release(0)


def test_nothing_is_left_or_said_when_views_outlive_the_slots():
    code = (
        "from ltx_live.engine.slots import Slots\n"
        "from multiprocessing.shared_memory import SharedMemory\n"
        "slots = Slots.create(32, 32, 2)\n"
        "names, view = slots.names, slots.frames(0, 9)\n"
        "slots.close()\n"
        "view[:] = 3\n"
        "assert view.sum() == 3 * view.size\n"
        "for name in names:\n"
        "    try: SharedMemory(name); raise SystemExit('left behind')\n"
        "    except FileNotFoundError: pass\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_inputs_lie_in_the_slot_until_its_chunk_is_written():
    arrays = [np.arange(9, dtype=np.uint8).reshape(1, 3, 3), np.linspace(0, 1, 8, dtype=np.float32).reshape(4, 2)]
    with Slots.create(32, 32, 1) as slots:
        stored = slots.store(0, arrays)
        with Slots.attach(slots.layout, slots.names) as engine:
            for array, where in zip(arrays, stored, strict=True):
                found = engine.stored(0, where).copy()
                assert found.dtype == array.dtype and (found == array).all()
        with pytest.raises(EngineError, match="do not fit a slot"):
            slots.store(0, [np.zeros(slots.layout.num_bytes + 8, np.uint8)])
