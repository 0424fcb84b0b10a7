"""The beat from taps and from simulated clocks with jitter; all times are given."""

import itertools
import random

import pytest

from ltx_live import params
from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.errors import ParameterError
from ltx_live.tempo import MediaBeats, Tempo

UNIFORM = "uniform", 0.005
LATE = "late", 0.005
NORMAL = "normal", 0.005
NONE = "uniform", 0.0


def jitter(rng, kind):
    shape, size = kind
    if shape == "normal":
        return rng.gauss(0.0, size)
    return rng.uniform(0.0 if shape == "late" else -size, size)


class Clock:
    """A master that plays `bpm`, whose ticks arrive with jitter; `beat` is its own, exact beat."""

    def __init__(self, tempo, kind=UNIFORM, seed=0, now_s=100.0):
        self.tempo, self.kind, self.rng = tempo, kind, random.Random(seed)
        self.now_s, self.tick, self.arrived_s = now_s, 0, now_s - 1

    @property
    def beat(self):
        return self.tick / 24

    def run(self, bpm, num_beats):
        """Send ticks; yields (time, true beat) after every one of them."""
        for _ in range(round(num_beats * 24)):
            self.arrived_s = max(self.arrived_s, self.now_s + jitter(self.rng, self.kind))
            self.tempo.clock(self.arrived_s)
            yield self.arrived_s, self.beat + (self.arrived_s - self.now_s) * bpm / 60
            self.now_s += 60 / bpm / 24
            self.tick += 1

    def play(self, bpm, num_beats):
        """The errors after each tick: of the tempo in bpm, of the phase in seconds."""
        return [
            (self.tempo.bpm - bpm, (self.tempo.beat_at(time_s) - beat) * 60 / bpm)
            for time_s, beat in self.run(bpm, num_beats)
        ]


def worst(errors):
    return max(abs(bpm) for bpm, _ in errors), max(abs(time_s) for _, time_s in errors)


def started(kind=UNIFORM, seed=0, bpm=120.0):
    """A tempo and the master it follows, just before its first tick."""
    tempo = Tempo(bpm)
    clock = Clock(tempo, kind, seed)
    tempo.start(clock.now_s - 0.02)
    return tempo, clock


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", [UNIFORM, LATE, NORMAL], ids=lambda kind: kind[0])
@pytest.mark.parametrize("bpm", [60.0, 120.0, 174.0])
def test_a_clock_with_5_ms_of_jitter_gives_tempo_and_phase(bpm, kind, seed):
    _, clock = started(kind, seed, bpm=120.0)
    clock.play(bpm, 8)
    bpm_error, phase_s = worst(clock.play(bpm, 40))
    assert bpm_error < 0.2 * max(1, bpm / 120) ** 2 and phase_s < 0.010


@pytest.mark.parametrize("kind", [UNIFORM, NONE], ids=["jitter", "exact"])
@pytest.mark.parametrize(("before", "after"), [(70, 200), (200, 70), (118, 122), (122, 118), (120, 140), (140, 120)])
def test_a_change_of_tempo_is_followed_within_two_beats(before, after, kind):
    tempo, clock = started(kind, bpm=before)
    clock.play(before, 12)
    clock.play(after, 2)
    bpm_error, phase_s = worst(clock.play(after, 8))
    assert bpm_error < 0.02 * after and phase_s < 0.010
    bpm_error, _ = worst(clock.play(after, 4))
    assert bpm_error < 0.2 * max(1, after / 120) ** 2


def test_a_ritardando_keeps_the_beat():
    _, clock = started()
    clock.play(120.0, 8)
    for tenth in range(0, 400):
        assert worst(clock.play(120 - tenth / 10, 1 / 6))[1] < 0.015
    assert worst(clock.play(80.0, 16)[-24:])[0] < 0.2


def test_one_tempo_is_never_taken_for_two():
    """Three minutes: a false alarm would show as the tempo of twelve ticks, several bpm beside it."""
    _, clock = started(NORMAL, seed=3)
    clock.play(120.0, 8)
    assert worst(clock.play(120.0, 360))[0] < 0.2


def test_ticks_that_come_late_together_lose_no_beat():
    tempo, clock = started(NONE)
    clock.play(120.0, 16)
    for _ in range(5):  # the computer was busy for 100 ms
        tempo.clock(clock.now_s + 0.1)
        clock.tick += 1
    clock.now_s += 5 * 60 / 120 / 24
    clock.arrived_s = clock.now_s
    assert worst(clock.play(120.0, 2))[1] < 0.015
    assert worst(clock.play(120.0, 24)[-24:]) < (0.2, 0.001)


def test_a_lost_clock_runs_on_and_is_taken_up_in_phase():
    tempo, clock = started()
    clock.play(127.0, 16)
    lost_s = clock.now_s
    assert tempo.is_clocked(lost_s + 0.5) and not tempo.is_clocked(lost_s + 1.5)
    assert tempo.beat_at(lost_s + 10) == pytest.approx(clock.beat + 10 * 127 / 60, abs=0.02)
    tempo.set_bpm(127.0, lost_s + 2)
    clock.now_s += 24 * 60 / 127 / 24 * 5  # five beats of ticks are missing
    clock.tick += 24 * 5
    assert worst(clock.play(127.0, 12))[1] < 0.015
    assert worst(clock.play(127.0, 4))[0] < 0.3


def test_start_is_beat_one_at_the_tick_after_it():
    tempo = Tempo(120.0)
    clock = Clock(tempo, NONE)
    clock.play(120.0, 4.5)
    tempo.start(clock.now_s - 0.01)
    assert tempo.beat_at(clock.now_s) == pytest.approx(0.0, abs=0.03)
    clock.tick = 0
    assert worst(clock.play(120.0, 8)) < (0.01, 0.001)


def test_stop_runs_on_and_continue_goes_on_where_it_stopped():
    tempo, clock = started(NONE)
    clock.play(120.0, 5.25)
    tempo.stop()
    while_stopped_s = clock.now_s + 0.7
    assert tempo.beat_at(while_stopped_s) == pytest.approx(clock.beat + 1.4, abs=0.05)
    clock.now_s += 3.3
    clock.arrived_s = clock.now_s
    tempo.continue_(clock.now_s - 0.005)
    assert worst(clock.play(120.0, 4))[1] < 0.001


def test_nudge_and_resync_stay_while_a_clock_leads():
    tempo, clock = started(NONE)
    clock.play(120.0, 8)
    tempo.fire("tempo/nudge_up", clock.now_s)
    assert worst(clock.play(120.0, 4)) == (pytest.approx(0, abs=0.01), pytest.approx(0.5 / 16, abs=1e-3))
    tempo.fire("tempo/nudge_down", clock.now_s)
    assert worst(clock.play(120.0, 4))[1] < 0.001
    at_s = clock.now_s + 0.004
    tempo.fire("tempo/resync", at_s)
    clock.play(120.0, 4)
    assert tempo.beat_at(at_s + 2.0) == pytest.approx(4.0, abs=0.01)


def values(**changed):
    return params.defaults() | {f"tempo/{name}": value for name, value in changed.items()}


def test_midi_is_followed_only_when_asked_from_one_port_and_its_tempo_told_once_a_beat():
    tempo = Tempo(120.0)
    times = [100 + tick * 60 / 126 / 24 for tick in range(24 * 8)]
    groups = [tuple(times[i : i + 6]) for i in range(0, len(times), 6)]
    assert [tempo.midi("tick", group, "A") for group in groups] == [None] * len(groups)
    assert tempo.bpm == 120.0
    tempo.take(values(midi_clock=True), 100.0)
    tempo.midi("start", (99.99,), "A")
    told = []
    for group in groups:
        told.append(tempo.midi("tick", group, "A"))
        assert tempo.midi("tick", tuple(time_s + 0.003 for time_s in group), "B") is None
    assert [bpm for bpm in told if bpm is not None] == [126.0]
    assert tempo.beat_at(times[-1]) == pytest.approx((len(times) - 1) / 24, abs=1e-3)
    tempo.midi("start", (times[-1] + 2.0,), "B")  # A is silent
    assert tempo.beat_at(times[-1] + 2.0) == 0.0


def test_a_clock_leads_over_what_is_sent_and_says_so():
    tempo = Tempo(120.0)
    tempo.take(values(midi_clock=True), 0.0)

    def play(since_s):
        groups = [tuple(since_s + (6 * group + tick) / 48 for tick in range(6)) for group in range(16)]
        return [bpm for group in groups if (bpm := tempo.midi("tick", group, "A")) is not None]

    assert play(100.0) == []
    tempo.take(values(midi_clock=True, bpm=90.0), 102.0)
    assert tempo.bpm == pytest.approx(120.0) and play(102.0) == [120.0]
    tempo.take(values(midi_clock=False, bpm=90.0), 104.0)
    assert tempo.bpm == 90.0


def test_a_clock_beyond_the_range_breaks_nothing():
    for bpm in (5000.0, 5.0):
        tempo, clock = started(NONE)
        clock.play(bpm, 4)
        assert 20 <= tempo.bpm <= 300
    tempo = Tempo()
    for _ in range(100):
        tempo.clock(5.0)
    assert tempo.bpm == 300


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("bpm", [40.0, 93.0, 128.0, 200.0])
def test_taps_by_hand(bpm, seed):
    rng, tempo = random.Random(seed), Tempo(120.0)
    at_s = [50 + beat * 60 / bpm for beat in range(8)]
    told = [tempo.tap(time_s + rng.gauss(0, 0.01)) for time_s in at_s]
    assert told[:2] == [None, None]
    assert tempo.bpm == pytest.approx(bpm, rel=0.035)
    beat = tempo.beat_at(at_s[-1])
    assert abs(beat - round(beat)) * 60 / bpm < 0.02


def test_even_taps_are_exact_told_to_a_tenth_and_keep_the_count_of_beats():
    tempo = Tempo(120.0, now_s=0.0)
    told = [tempo.tap(4.0 + tap * 60 / 123.456) for tap in range(6)]
    assert told == [None, None, 123.5, None, None, None]
    assert tempo.beat_at(4.0 + 5 * 60 / 123.456) == pytest.approx(13.0, abs=0.02)


@pytest.mark.parametrize(
    ("intervals", "bpm"),
    [
        ([0.5, 0.5, 0.5, 1.0, 0.5, 0.5], 120),  # one was left out
        ([0.5, 0.5, 0.5, 0.75, 0.75], 80),  # another tempo begins
        ([0.5, 0.02, 0.48, 0.02, 0.48], 120),  # each press bounces
        ([0.6, 0.6, 5.0, 0.5, 0.5], 120),  # a pause
        ([0.6, 0.6, 2.5, 0.4], 100),  # two taps after a pause are too few
        ([0.16, 0.16], 300),
        ([2.0, 2.0], 30),
    ],
)
def test_outliers_and_pauses_begin_anew(intervals, bpm):
    tempo = Tempo(111.0)
    for time_s in itertools.accumulate(intervals, initial=10.0):
        tempo.tap(time_s)
    assert tempo.bpm == pytest.approx(bpm, abs=0.01)


def test_taps_do_nothing_while_a_clock_leads():
    tempo, clock = started(NONE)
    clock.play(120.0, 8)
    assert [tempo.tap(clock.now_s + tap * 0.3) for tap in range(3)] == [None] * 3
    assert tempo.bpm == pytest.approx(120.0)


def test_a_new_tempo_keeps_the_phase_and_is_clamped():
    tempo = Tempo(120.0, now_s=10.0)
    tempo.take(values(bpm=90.0, beats_per_bar=3), 11.25)
    assert tempo.beat_at(11.25) == pytest.approx(2.5) and tempo.beat_at(11.25 + 2 / 3) == pytest.approx(3.5)
    assert tempo.beats_per_bar == 3
    tempo.resync(20.0)
    tempo.take(values(bpm=90.0, beats_per_bar=4), 25.0)  # nothing new of the tempo
    assert tempo.beat_at(20.0) == pytest.approx(0.0)
    tempo.set_bpm(1000.0, 25.0)
    assert tempo.bpm == 300


def test_the_grid():
    tempo = Tempo(120.0, beats_per_bar=3, now_s=100.0)
    grids = ["beat", "bar", "2 bars", "4 bars"]
    assert [tempo.next(grid, 100.6) for grid in grids] == pytest.approx([101.0, 101.5, 103.0, 106.0])
    assert [tempo.next(grid, 100.0) for grid in grids] == [100.0] * 4
    assert tempo.next("beat", 99.9) == pytest.approx(100.0)  # before the first beat too


def test_a_grid_point_is_its_own_next_and_never_lies_before():
    rng = random.Random(1)
    for _ in range(2000):
        tempo = Tempo(rng.uniform(20, 300), rng.randint(1, 16), rng.uniform(0, 1e6))
        after_s, grid = rng.uniform(0, 1e6), rng.choice(["beat", "bar", "2 bars", "4 bars"])
        spacing = {"beat": 1, "bar": 1, "2 bars": 2, "4 bars": 4}[grid] * (1 if grid == "beat" else tempo.beats_per_bar)
        found_s = tempo.next(grid, after_s)
        assert after_s <= found_s <= after_s + spacing * 60 / tempo.bpm + 1e-6
        assert tempo.beat_at(found_s) / spacing == pytest.approx(round(tempo.beat_at(found_s) / spacing), abs=1e-5)
        assert tempo.next(grid, found_s) == pytest.approx(found_s, abs=1e-6)


def test_gestures_land_on_the_grid_of_the_media_clock():
    tempo = Tempo(120.0, now_s=100.0)

    beats = MediaBeats(tempo, now_s=100.2, position=7 * SAMPLE_RATE_HZ)
    earliest = round(7.4 * SAMPLE_RATE_HZ)
    assert beats.land("now", earliest) == earliest and beats.land("chunk", earliest) is None
    assert beats.land("beat", earliest) == round(7.8 * SAMPLE_RATE_HZ)
    assert beats.land("bar", earliest) == round(8.8 * SAMPLE_RATE_HZ)
    assert beats.beat_at(7.8 * SAMPLE_RATE_HZ) == pytest.approx(2.0)
    on_it = round(7.3 * SAMPLE_RATE_HZ)
    assert beats.land("beat", on_it) == on_it


def test_a_nudge_in_beats():
    tempo = Tempo(120.0, 4, 0.0)
    for args, expected in (((0.25,), 0.25), (("-0.5",), -0.25), ((7,), 0.75)):
        tempo.fire("tempo/nudge", 0.0, args)
        assert tempo.beat_at(0.0) == pytest.approx(expected)
    for args in ((), ("a bit",), (None,)):
        with pytest.raises(ParameterError, match="tempo/nudge: send beats"):
            tempo.fire("tempo/nudge", 0.0, args)
    assert tempo.beat_at(0.0) == pytest.approx(0.75)
