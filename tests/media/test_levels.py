"""Levels, bands and onsets of tones, sweeps, noise and drums, and what measuring them costs."""

import time

import numpy as np
import pytest

from ltx_live.media.levels import FLOOR_DB, HIGH_HZ, HOP, LOW_HZ, LevelMeter, Response

RATE = 48_000
SECOND = np.arange(RATE) / RATE


def tone(hz: float, level: float = 1.0, seconds: float = 1.0) -> np.ndarray:
    return level * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)


def feed(meter: LevelMeter, wave: np.ndarray, block: int = 480) -> list:
    stereo = np.repeat(np.asarray(wave, np.float32)[:, None], 2, axis=1)
    return [meter.update(stereo[start : start + block]) for start in range(0, len(stereo), block)]


def onsets(wave: np.ndarray, block: int = 480) -> np.ndarray:
    """Samples at which onsets are noticed, with a second of silence before."""
    found = feed(LevelMeter(), np.concatenate((np.zeros(RATE), wave)), block)
    return np.array([sample - RATE for levels in found for sample in levels.onsets])


def hit(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Half a second of a drum."""
    times_s = np.arange(RATE // 2) / RATE
    if kind == "kick":
        phase = 2 * np.pi * np.cumsum(50 + 100 * np.exp(-times_s / 0.03)) / RATE
        return 0.8 * np.sin(phase) * np.exp(-times_s / 0.12)
    noise = rng.normal(size=len(times_s))
    if kind == "hat":
        return 0.15 * np.diff(noise, prepend=0) * np.exp(-times_s / 0.03)
    return 0.3 * noise * np.exp(-times_s / 0.08) + 0.4 * np.sin(2 * np.pi * 190 * times_s) * np.exp(-times_s / 0.1)


@pytest.mark.parametrize("hz", [40.0, 100.0, 440.0, 1000.0, 5000.0, 15_000.0])
@pytest.mark.parametrize("level_db", [0.0, -20.0, -40.0])
def test_a_sine_reads_its_level_whatever_its_pitch(hz, level_db):
    levels = feed(LevelMeter(), tone(hz, 10 ** (level_db / 20)))[-1]
    assert levels.level_db == pytest.approx(level_db, abs=1.0 if hz < 50 else 0.2)
    assert levels.level == pytest.approx(1 - level_db / FLOOR_DB, abs=0.02)


def test_silence_is_nothing():
    levels = feed(LevelMeter(), np.zeros(RATE))[-1]
    assert (levels.level, levels.low, levels.mid, levels.high, levels.onset) == (0, 0, 0, 0, 0)
    assert levels.level_db < FLOOR_DB


@pytest.mark.parametrize(
    "hz, band", [(60, "low"), (150, "low"), (500, "mid"), (1800, "mid"), (4000, "high"), (12e3, "high")]
)
def test_a_tone_is_in_its_band_alone(hz, band):
    """In the others it is 24 dB less or weaker, 100 Hz beside a corner; an octave away it is 40 dB."""
    levels = feed(LevelMeter(), tone(hz))[-1]
    for name in ("low", "mid", "high"):
        value = getattr(levels, name)
        assert value == pytest.approx(1, abs=0.02) if name == band else value < 0.6, (name, value)


def test_a_sweep_goes_through_the_bands_in_order():
    seconds = 6
    hz = np.geomspace(30, 15_000, seconds * RATE)
    found = feed(LevelMeter(Response(release_s=0.02)), np.sin(2 * np.pi * np.cumsum(hz) / RATE))
    loudest = [("low", "mid", "high")[np.argmax((each.low, each.mid, each.high))] for each in found[20:]]
    changes = [k for k in range(1, len(loudest)) if loudest[k] != loudest[k - 1]]
    assert [loudest[0]] + [loudest[k] for k in changes] == ["low", "mid", "high"]
    for change, wanted_hz in zip(changes, (LOW_HZ, HIGH_HZ), strict=True):
        assert hz[(change + 20) * 480] == pytest.approx(wanted_hz, rel=0.15)


def test_it_rises_at_once_and_falls_as_asked():
    meter = LevelMeter(Response(attack_s=0.005, release_s=0.2))
    feed(meter, np.zeros(RATE // 2))
    risen = [each.level for each in feed(meter, tone(440))]
    assert risen[2] > 0.9 and risen[4] > 0.98, "30 ms"
    fallen = [each.level for each in feed(meter, np.zeros(RATE))]
    assert np.all(np.diff(fallen[5:]) <= 0)
    assert fallen[30] / fallen[10] == pytest.approx(np.exp(-0.2 / 0.2), rel=0.02)


def test_sides_that_cancel_each_other_are_as_loud():
    wave = tone(440).astype(np.float32)
    assert LevelMeter().update(np.stack((wave, -wave), axis=1)).level_db == pytest.approx(0, abs=0.1)
    assert LevelMeter().update(wave[:, None]).level_db == pytest.approx(0, abs=0.1)


def test_how_the_stream_is_cut_makes_no_difference():
    rng = np.random.default_rng(3)
    wave = np.concatenate([hit(kind, rng) for kind in ("kick", "hat", "snare", "kick")])
    ends = {}
    for block in (64, 480, 801, 4096, len(wave)):
        found = feed(LevelMeter(), wave, block)
        last = found[-1]
        ends[block] = (*np.round((last.level, last.low, last.mid, last.high, last.onset), 6), *onsets(wave, block))
    assert len(set(ends.values())) == 1 and len(ends[64]) > 5


@pytest.mark.parametrize("kind", ["kick", "snare", "hat"])
@pytest.mark.parametrize("level_db", [0.0, -18.0])
def test_a_drum_hit_is_noticed_within_20_ms(kind, level_db):
    rng, starts = np.random.default_rng(4), np.arange(16) * 12_000 + np.arange(16) * 37
    wave = np.zeros(starts[-1] + RATE)
    for start in starts:
        wave[start : start + RATE // 2] += hit(kind, rng)
    found = onsets(10 ** (level_db / 20) * wave)
    assert len(found) == len(starts)
    late_s = (found - starts) / RATE
    print(f"{kind} {level_db} dB: {1000 * late_s.min():.1f} to {1000 * late_s.max():.1f} ms late")
    assert 0 < late_s.min() and late_s.max() < 0.02


def test_drums_over_a_chord_are_noticed():
    rng = np.random.default_rng(6)
    wave = sum(tone(hz, 0.08, 8) for hz in (110, 220, 277, 330))
    starts = np.arange(1, 15) * RATE // 2
    for index, start in enumerate(starts):
        wave[start : start + RATE // 2] += hit(("kick", "snare")[index % 2], rng)[: len(wave) - start]
    found = onsets(wave)
    late_s = [np.min(np.where(found > start, found - start, RATE)) / RATE for start in starts]
    false = [each for each in found if each > RATE // 10 and not np.any((each > starts) & (each < starts + 2400))]
    print(f"over a chord: {1000 * max(late_s):.1f} ms at most, {len(false)} false")
    assert max(late_s) < 0.02 and not false


@pytest.mark.parametrize("hz", [25, 31, 40, 50, 55, 73, 82.4, 98, 110, 164.8, 220, 247, 440, 997, 2500, 6000, 12_000])
def test_a_steady_tone_has_one_onset_its_beginning(hz):
    found = onsets(tone(hz, 0.5, 4))
    assert len(found) == 1 and found[0] < 0.02 * RATE, found / RATE


@pytest.mark.parametrize("colour", ["white", "pink", "hum", "chord", "glide", "vibrato"])
def test_what_is_steady_has_no_onset_after_its_beginning(colour):
    rng, num = np.random.default_rng(7), 6 * RATE
    times_s = np.arange(num) / RATE
    if colour in ("white", "pink"):
        spectrum = np.fft.rfft(rng.normal(size=num))
        if colour == "pink":
            spectrum /= np.sqrt(np.maximum(1, np.arange(len(spectrum))))
        wave = np.fft.irfft(spectrum)
        wave *= 0.2 / wave.std()
    elif colour == "hum":
        wave = sum(tone(50 * k, 0.3 / k, 6) for k in (1, 2, 3, 5, 7))
    elif colour == "chord":
        wave = sum(tone(hz, 0.15, 6) for hz in (130.8, 164.8, 196.0, 261.6))
    elif colour == "glide":
        wave = 0.5 * np.sin(2 * np.pi * np.cumsum(np.geomspace(80, 8000, num)) / RATE)
    else:
        wave = 0.5 * np.sin(2 * np.pi * (440 * times_s + 3 * np.sin(2 * np.pi * 5.5 * times_s)))
    found = onsets(wave)
    assert len(found) >= 1 and found[-1] < 0.06 * RATE, found / RATE


def test_a_block_of_10_ms_costs_little():
    meter, wave = LevelMeter(), np.random.default_rng(8).normal(size=(5 * RATE, 2)).astype(np.float32)
    times_s = []
    for start in range(0, len(wave), 480):
        begin_s = time.perf_counter()
        meter.update(wave[start : start + 480])
        times_s.append(time.perf_counter() - begin_s)
    print(f"{1e6 * np.median(times_s):.0f} us for {480 // HOP} hops")
    assert np.median(times_s) < 0.002
