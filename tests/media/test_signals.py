"""Signals of a sound, tick by tick: what comes is measured once, whatever comes is survived."""

import numpy as np
import pytest

from ltx_live import params
from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.media.levels import LevelMeter
from ltx_live.media.signals import Signals, Stream, shaped

RNG = np.random.default_rng(3)


def made(**rows):
    signals = Signals()
    signals.take(params.defaults() | rows)
    return signals


def tone(hz, seconds=2.0, size=0.5):
    wave = size * np.sin(2 * np.pi * hz / SAMPLE_RATE_HZ * np.arange(round(seconds * SAMPLE_RATE_HZ)))
    return np.repeat(wave[:, None], 2, axis=1).astype(np.float32)


def follow(signals, samples, ticks=60, start_s=5.0):
    """The values after each of some ticks of 1/60 s over the samples."""
    reader = lambda position, num: samples[position : position + num]  # noqa: E731
    return [signals.update(Stream(reader, 800 * (k + 1)), start_s + (k + 1) / 60) for k in range(ticks)]


@pytest.mark.parametrize(("hz", "band"), [(60, "low"), (800, "mid"), (6000, "high")])
def test_a_tone_is_seen_in_its_band(hz, band):
    values = follow(made(), tone(hz))[-1]
    assert values[band] == pytest.approx(1 - 6.02 / 60, abs=0.02) == values["level"]
    assert all(values[other] < 0.4 for other in {"low", "mid", "high"} - {band})


def test_nothing_is_heard_twice_or_left_out():
    noise = (RNG.standard_normal((SAMPLE_RATE_HZ, 2)) * 0.1).astype(np.float32)
    noise[24000:] *= 4
    meter = LevelMeter()
    for k in range(60):
        meter.update(noise[800 * k : 800 * (k + 1)])
    assert follow(made(), noise)[-1]["level"] == pytest.approx(meter.levels.level, abs=1e-6)


def test_a_hit_is_an_onset_in_the_tick_in_which_it_comes_and_falls_from_there():
    sound = np.zeros((2 * SAMPLE_RATE_HZ, 2), np.float32)
    sound[24000:26400] = RNG.standard_normal((2400, 2)) * 0.3
    onsets = [values["onset"] for values in follow(made(), sound)]
    assert max(onsets[:30]) == 0 and onsets[30] > 0.8
    assert onsets[40] == pytest.approx(onsets[30] * np.exp(-10 / 60 / 0.15), rel=0.1)


def test_gain_and_cutoff():
    assert [shaped(value, 1, 0) for value in (0, 0.25, 1)] == [0, 0.25, 1]
    assert [shaped(value, 1, 0.5) for value in (0.4, 0.5, 0.75, 1)] == [0, 0, 0.5, 1]
    assert [shaped(value, 4, 0.5) for value in (0.55, 0.75)] == [pytest.approx(0.4), 1]
    assert shaped(1, 1, 1) == 0 == shaped(1, 0, 0)
    loud = follow(made(**{"react/mid/cutoff": 0.95, "react/level/gain": 0.5}), tone(800))[-1]
    assert loud["mid"] == 0 and loud["level"] == pytest.approx(0.45, abs=0.01)


def test_attack_and_release_are_followed():
    slow = follow(made(**{"react/attack": 1.0}), tone(800))
    assert slow[5]["mid"] < 0.15 < 0.4 < slow[-1]["mid"] < 0.7


def test_it_falls_where_the_sound_stands_still_or_is_gone():
    sound, silent = tone(800), lambda position, num: np.zeros((num, 2), np.float32)
    for rest in (Stream(silent, 800 * 60), None):
        signals = made()
        follow(signals, sound)
        after = [signals.update(rest, 6.0 + (k + 1) / 60)["mid"] for k in range(60)]
        assert after[2] > 0.6 and after[-1] < 0.01


def test_a_jump_either_way_is_no_fault():
    signals, sound = made(), tone(800, seconds=30)
    follow(signals, sound)
    reader = lambda position, num: sound[position : position + num]  # noqa: E731
    for end, now_s in ((1_200_000, 6.02), (48_000, 6.04), (48_800, 26.0)):
        assert signals.update(Stream(reader, end), now_s)["mid"] == pytest.approx(0.9, abs=0.03)
