"""A noise gate: what is quiet is silence, what is loud is whole from its beginning, and neither clicks."""

import numpy as np
import pytest

from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.media.gate import Gate

BLOCK = SAMPLE_RATE_HZ // 100


def through(gate, sound):
    return np.concatenate([gate.process(block) for block in np.split(sound, len(sound) // BLOCK)])


def tone(level_db, seconds):
    phases = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ * 2 * np.pi * 300
    return (10 ** (level_db / 20) * np.sin(phases)).astype(np.float32)[:, None].repeat(2, axis=1)


@pytest.fixture
def gate():
    made = Gate()
    made.threshold_db = -40.0
    return made


def test_at_its_lowest_everything_passes_as_it_is():
    sound = tone(-100, 0.1)
    assert np.array_equal(through(Gate(), sound), sound)


def test_to_open_it_by_hand_is_a_fade_too(gate):
    loud = tone(-3, 0.31)[40:][: 30 * BLOCK]  # from a crest on
    gate.threshold_db = 0.0
    assert not through(gate, loud)[-BLOCK:].any()
    gate.threshold_db = -90.0
    opened = through(gate, loud)
    assert np.abs(np.diff(opened[:, 0], prepend=0)).max() <= 1.3 * np.abs(np.diff(loud[:, 0])).max()
    assert np.array_equal(opened[BLOCK:], loud[BLOCK:]), "and all of it is there 10 ms later"


def test_quiet_sound_is_silence_and_loud_sound_is_as_it_was(gate):
    quiet, loud = tone(-50, 0.5), tone(-20, 0.5)
    out = through(gate, np.concatenate([quiet, loud, quiet]))
    num = len(quiet)
    assert not out[num // 2 : num].any() and not out[2 * num + num // 2 :].any()
    assert np.array_equal(out[num + BLOCK : 2 * num], loud[BLOCK:])


def test_what_opens_it_within_a_block_has_its_beginning(gate):
    through(gate, tone(-60, 0.5))
    block = np.zeros((BLOCK, 2), np.float32)
    block[BLOCK // 2 :] = 0.5
    assert np.array_equal(gate.process(block), block)


def test_it_fades_and_does_not_chatter(gate):
    loud, wavering = tone(-20, 0.2), tone(-43, 0.5)  # below the threshold, but not by the hysteresis
    out = through(gate, np.concatenate([loud, wavering]))
    assert np.array_equal(out, np.concatenate([loud, wavering]))
    out = through(gate, tone(-60, 0.5))
    gains = np.abs(out).max(axis=1) / np.abs(tone(-60, 0.5)).max()
    assert out[: round(0.09 * SAMPLE_RATE_HZ)].any() and not out[-BLOCK:].any()
    assert np.abs(np.diff(out[:, 0])).max() <= 1.1 * np.abs(np.diff(tone(-60, 0.5)[:, 0])).max() and gains.max() <= 1
