"""The ring of a live input: what was captured comes back, and its clock is told from its blocks."""

import numpy as np
import pytest

from ltx_live.media.live_sound import KEPT_S, LiveSound

RATE = 48_000


def count(start: int, num_samples: int) -> np.ndarray:
    return np.repeat((start + np.arange(num_samples, dtype=np.float32))[:, None], 2, axis=1)


def test_what_was_written_is_read_and_what_was_not_is_silent():
    sound = LiveSound()
    for start in range(0, 4800, 480):
        sound.write(count(start, 480), start / RATE)
    np.testing.assert_array_equal(sound.read(1000, 2000), count(1000, 2000))
    edge = sound.read(4700, 200)
    np.testing.assert_array_equal(edge[:100], count(4700, 100))
    assert not edge[100:].any() and not sound.read(-50, 50).any()


def test_a_mono_input_is_heard_on_both_sides():
    sound = LiveSound()
    sound.write(np.full((480, 1), 0.5, np.float32), 0.0)
    assert np.all(sound.read(0, 480) == 0.5)


def test_the_ring_goes_round_and_forgets_the_oldest():
    sound = LiveSound()
    num_blocks = (KEPT_S * RATE + 10_000) // 1000
    for block in range(num_blocks):
        sound.write(count(block * 1000, 1000), block / 48)
    end = num_blocks * 1000
    for start in (end - 50_000, end - KEPT_S * RATE + RATE, KEPT_S * RATE - 500):
        np.testing.assert_array_equal(sound.read(start, 1000), count(start, 1000))
    assert not sound.read(0, 1000).any()


def test_its_clock_is_the_median_of_what_the_blocks_tell():
    sound = LiveSound()
    assert sound.position_at(5.0) is None
    late_s = np.random.default_rng(1).uniform(-0.004, 0.004, 200)
    late_s[::9] += 0.05
    for block in range(200):
        sound.write(np.zeros((480, 2), np.float32), 3.0 + block / 100 + late_s[block])
    assert sound.position_at(5.0) == pytest.approx(2.0 * RATE, abs=0.003 * RATE)
    sound.reopened()
    assert sound.position_at(5.0) is None
    sound.write(np.zeros((480, 2), np.float32), 7.0)
    assert sound.position_at(7.0) == pytest.approx(200 * 480)
