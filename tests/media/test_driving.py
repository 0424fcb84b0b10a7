"""The driving sound on the media clock: exact over seams and loops, changes that land with a chunk, live delays."""

import numpy as np
import pytest

from ltx_live.chunk import Chunk, frames_to_samples
from ltx_live.media.driving import DELAY_STEP_S, FADE_SAMPLES, Driving, Track, delay_step_s, heard
from ltx_live.media.live_sound import LiveSound
from ltx_live.stage.player import START_FADE_SAMPLES, Player
from ltx_live.stage.timeline import Timeline

RATE = 48_000


def noise(num_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (num_samples, 2)).astype(np.float32)


def chunk_of(driving: Driving, start: int, num_new: int = 48) -> tuple[int, np.ndarray]:
    """Ask for a chunk of new frames from `start` on and have it made: (its end, its own sound)."""
    end = start + frames_to_samples(num_new, 24.0)
    sound = driving.ask(start, end).stretch(start, end - start)
    driving.made()
    return end, sound


@pytest.mark.parametrize("loops", [True, False])
@pytest.mark.parametrize("start", [-700, -100, 0, 333, 990, 1000, 5003])
@pytest.mark.parametrize("num", [0, 1, 50, 1000, 3456])
def test_a_track_is_read_anywhere(loops, start, num):
    samples = noise(1000)
    index = np.arange(start, start + num)
    inside = np.ones(num, bool) if loops else (index >= 0) & (index < 1000)
    wanted = np.where(inside[:, None], samples[index % 1000], 0)
    np.testing.assert_array_equal(Track(samples, loops).read(start, num), wanted)


def test_any_stretch_is_the_file_from_where_it_began():
    driving, samples = Driving(), noise(50_001)
    driving.play(samples)
    chunk_of(driving, 96_000)
    plan = driving.plan
    assert not plan.stretch(90_000, 6_000).any(), "silence before"
    index = np.arange(96_000, 400_000)
    np.testing.assert_array_equal(plan.stretch(96_000, len(index)), samples[(index - 96_000) % len(samples)])
    for start in range(90_000, 300_000, 7_001):
        np.testing.assert_array_equal(plan.stretch(start, 20_000)[5_000:9_000], plan.stretch(start + 5_000, 4_000))


def test_once_it_is_silent_after_its_end():
    driving, samples = Driving(), noise(30_000)
    driving.loops = False
    driving.play(samples)
    end, first = chunk_of(driving, 0)
    np.testing.assert_array_equal(first[:30_000], samples)
    assert not first[30_000:].any() and not chunk_of(driving, end)[1].any()


def test_sixty_seconds_are_heard_as_they_are_in_the_file():
    """Through the timeline's seams and the player, at offset 0: chunks of 2 s, with 0.2 s of overlap each."""
    driving, samples = Driving(), noise(13 * RATE + 17)
    driving.play(samples)
    timeline, player = Timeline(), Player()
    out, blocks = np.empty((480, 2), np.float32), []
    frames = np.zeros((57, 1, 1, 3), np.uint8)
    for index in range(31):
        cut, overlap, num_overlap = timeline.end, 9600 if index else 0, 9 if index else 0
        end = cut + 2 * RATE
        plan = driving.ask(cut, end)
        sound = plan.stretch(cut - overlap, end + 500 - cut + overlap)
        video_start = cut - frames_to_samples(num_overlap, 24.0)
        chunk = Chunk(
            index, frames[: 48 + num_overlap], video_start, num_overlap, sound, cut - overlap, overlap, 24.0, 0
        )
        timeline.append(chunk, player.committed)
        driving.made()
        player.playlist = timeline.playlist
        while player.published.samples < timeline.end - RATE:
            player.render(out, 0.0)
            blocks.append(out.copy())
            timeline.advance(player.published.samples, player.published.generation)
    played = np.concatenate(blocks)
    assert len(played) > 60 * RATE and player.num_underruns == 0
    index = np.arange(START_FADE_SAMPLES, len(played))
    error = np.abs(played[index] - samples[index % len(samples)]).max()
    print(f"{len(index) / RATE:.0f} s over 30 seams: error {error:.1e}")
    assert error < 1e-6


def test_a_change_lands_where_the_next_chunk_begins_and_what_was_not_made_is_forgotten():
    driving, samples = Driving(), noise(20 * RATE)
    driving.play(samples)
    end, _ = chunk_of(driving, 0)
    driving.seek(10.0)
    driving.ask(end, end + 2 * RATE)  # asked for and cancelled
    late = end + RATE
    assert driving.plan.at(late).head_at(late) == late, "the play-head has not jumped in what is heard"
    _, sound = chunk_of(driving, late)
    np.testing.assert_array_equal(sound[FADE_SAMPLES:], samples[10 * RATE : 12 * RATE][FADE_SAMPLES:])
    cut = late - RATE // 2  # a cut before that: it jumps there
    _, sound = chunk_of(driving, cut)
    np.testing.assert_array_equal(sound[FADE_SAMPLES:], samples[10 * RATE : 12 * RATE][FADE_SAMPLES:])
    before = driving.plan.stretch(cut - 9600, 9600)
    np.testing.assert_array_equal(before, samples[cut - 9600 : cut])


def test_asking_again_changes_nothing():
    driving = Driving()
    driving.play(noise(5 * RATE))
    end, _ = chunk_of(driving, 1000)
    for _ in range(20):
        end, _ = chunk_of(driving, end)
    assert len(driving.plan.pieces) == 1 and driving.plan.at(end).head_at(end) == (end - 1000) % (5 * RATE)


def test_jumps_and_gains_are_faded_and_never_click():
    driving = Driving()
    wave = np.repeat(0.5 * np.sin(2 * np.pi * 100 * np.arange(10 * RATE) / RATE + 1)[:, None], 2, axis=1)
    driving.play(wave.astype(np.float32))
    end, _ = chunk_of(driving, 0)
    changes = (lambda: driving.seek(4.0025), lambda: vars(driving).update(gain=0.25), lambda: driving.play(None))
    for change in changes:
        change()
        last, end = end, chunk_of(driving, end)[0]
        sound = driving.plan.stretch(last - 1000, 4000)
        assert np.abs(np.diff(sound, axis=0)).max() < 0.5 * 2 * np.pi * 100 / RATE + 1.1 / FADE_SAMPLES
    assert not driving.plan.stretch(end - 1000, 1000).any()


def test_the_gain_is_applied_and_does_not_move_the_play_head():
    driving, samples = Driving(), noise(20 * RATE)
    driving.play(samples)
    end, _ = chunk_of(driving, 0)
    driving.gain = 0.5
    start, (end, sound) = end, chunk_of(driving, end)
    np.testing.assert_array_equal(sound[FADE_SAMPLES:], 0.5 * samples[start:end][FADE_SAMPLES:])


def test_a_file_that_follows_another_begins_in_full():
    driving, first, second = Driving(), noise(20 * RATE), noise(20 * RATE, seed=1)
    driving.play(first)
    end, _ = chunk_of(driving, 0)
    driving.play(second)
    _, sound = chunk_of(driving, end)
    np.testing.assert_array_equal(sound[FADE_SAMPLES:], second[: len(sound)][FADE_SAMPLES:])
    rise = (np.arange(FADE_SAMPLES)[:, None] + 0.5) / FADE_SAMPLES
    old = first[end : end + FADE_SAMPLES]
    np.testing.assert_allclose(sound[:FADE_SAMPLES], second[:FADE_SAMPLES] + old * (1 - rise), atol=1e-6)


def test_switching_the_loop_keeps_the_play_head():
    driving, samples = Driving(), noise(3 * RATE)
    driving.play(samples)
    end, _ = chunk_of(driving, 0)
    end, _ = chunk_of(driving, end)  # 4 s: a second into the second round
    driving.loops = False
    end, sound = chunk_of(driving, end)
    np.testing.assert_array_equal(sound[FADE_SAMPLES:], samples[RATE:][FADE_SAMPLES:])
    driving.loops = True  # it stands at the end
    _, sound = chunk_of(driving, end)
    np.testing.assert_array_equal(sound, samples[: len(sound)])


class Room:
    """A live input and a show, turned by hand: the input's clock runs off by `ppm`, and hears a click every beat."""

    def __init__(self, bpm: float = 120.0, ppm: float = 0.0):
        self.sound, self.driving = LiveSound(), Driving()
        self.driving.listen(self.sound)
        self.beat_s, self.rate = 60 / bpm, RATE * (1 + ppm * 1e-6)
        self.now_s = self.began_s = 100.0
        self.heard_s = 90.0  # the time at which the media clock was 0; the input was opened 10 s later

    @property
    def position(self) -> float:
        return (self.now_s - self.heard_s) * RATE

    def advance(self, seconds: float, is_open: bool = True) -> None:
        end_s = self.now_s + seconds
        while self.now_s < end_s - 1e-9:
            self.now_s += 0.01
            if is_open:
                self._capture()
            self.driving.follow(self.now_s, self.position)

    def _capture(self) -> None:
        while self.sound.num_samples + 480 <= (self.now_s - self.began_s) * self.rate:
            times_s = self.began_s + (self.sound.num_samples + np.arange(480)) / self.rate
            beats = times_s / self.beat_s
            clicks = np.floor(beats) > np.floor(beats - 1 / self.rate / self.beat_s)
            self.sound.write(clicks.astype(np.float32)[:, None], times_s[0])

    def clicks_s(self, start: int, num_samples: int) -> np.ndarray:
        """When, in time, the clicks of a stretch are heard or seen."""
        found = np.flatnonzero(self.driving.plan.stretch(start, num_samples)[:, 0] > 0.4)
        return self.heard_s + (start + found) / RATE

    def chunk(self, ahead_s: float = 1.0, new_s: float = 2.0) -> np.ndarray:
        """Ask for and make the chunk that begins `ahead_s` from now; the times of its clicks."""
        start = round(self.position + ahead_s * RATE)
        self.driving.ask(start, start + round(new_s * RATE))
        self.driving.made()
        return self.clicks_s(start + 2 * FADE_SAMPLES, round(new_s * RATE) - 2 * FADE_SAMPLES)


def test_the_stated_delay_of_a_live_input_is_the_measured_one():
    room = Room()
    room.advance(5)
    clicks_s = room.chunk()
    delay_s = room.driving.delay_s
    assert 3.0 <= delay_s <= 3.0 + 0.05 + DELAY_STEP_S + 0.02, "the material ahead, what is new, and a little"
    assert len(clicks_s) >= 3
    for late_s in (clicks_s - delay_s) / room.beat_s:
        assert abs(late_s - round(late_s)) * room.beat_s < 0.001


@pytest.mark.parametrize("align", ["beat", "bar"])
@pytest.mark.parametrize("bpm", [97.0, 120.0, 174.0])
def test_pulses_fall_on_the_beat(align, bpm):
    room = Room(bpm)
    room.driving.delay_step_s = delay_step_s(align, bpm, 4)
    room.advance(8)
    clicks_s = room.chunk()
    beats = room.driving.delay_s / room.beat_s
    assert beats == pytest.approx(round(beats), abs=1e-3) and room.driving.delay_s >= 3.0
    assert align == "beat" or round(beats) % 4 == 0
    off_s = np.abs(clicks_s / room.beat_s - np.round(clicks_s / room.beat_s)) * room.beat_s
    assert len(clicks_s) >= 2 and off_s.max() < 1 / 24 / 10


def test_a_clock_that_runs_away_is_set_right():
    room = Room(ppm=200)
    room.advance(5)
    starts = set()
    for _ in range(60):
        room.advance(2)
        clicks_s = room.chunk() - room.driving.delay_s
        starts |= {piece.start for piece in room.driving.plan.pieces}
        assert np.abs(clicks_s / room.beat_s - np.round(clicks_s / room.beat_s)).max() * room.beat_s < 0.008
    assert 3 <= len(starts) <= 12, "it is set right now and then, not with every chunk"


def test_the_delay_holds_still_and_grows_only_when_it_must():
    room, scatter = Room(), np.random.default_rng(2).uniform(0.8, 1.0, 12)
    room.advance(5)
    delays_s = set()
    for ahead_s in scatter:
        room.advance(1.5)
        room.chunk(ahead_s)
        delays_s.add(room.driving.delay_s)
    assert len(delays_s) <= 3
    room.chunk(ahead_s=2.0)
    assert room.driving.delay_s >= 4.0
    for _ in range(8):
        room.advance(1.5)
        room.chunk(0.5)
    assert room.driving.delay_s < 3.0, "and shrinks when it was not needed for a while"


def test_after_an_underrun_the_delay_is_the_same():
    room = Room()
    room.advance(5)
    room.chunk()
    room.heard_s += 0.7  # the media clock stood still
    room.advance(2)
    clicks_s = room.chunk() - room.driving.delay_s
    assert np.abs(clicks_s / room.beat_s - np.round(clicks_s / room.beat_s)).max() < 0.01


def test_an_input_that_is_gone_is_silence_and_does_not_make_the_delay_grow():
    room = Room()
    room.advance(5)
    room.chunk()
    delay_s = room.driving.delay_s
    room.advance(20, is_open=False)
    assert not len(room.chunk()) and room.driving.delay_s < delay_s + 0.5


def test_nothing_was_captured_yet():
    room = Room()
    room.advance(1, is_open=False)
    assert not len(room.chunk()) and room.driving.is_on and room.driving.is_live


def test_from_a_file_to_a_live_input_and_back():
    room, samples = Room(), noise(20 * RATE)
    room.driving.play(samples)
    room.advance(5)
    end, _ = chunk_of(room.driving, 0)
    room.driving.listen(room.sound)
    room.advance(1)
    assert len(room.chunk()) >= 3 and room.driving.delay_s > 0
    room.driving.play(samples)
    _, sound = chunk_of(room.driving, round(room.position) + RATE)
    np.testing.assert_array_equal(sound[FADE_SAMPLES:], samples[: len(sound)][FADE_SAMPLES:])
    assert room.driving.delay_s == 0


@pytest.mark.parametrize("monitor", [False, True])
def test_what_is_heard(monitor):
    driving = Driving()
    assert heard("driving", driving, "off", monitor) == "generated", "nothing drives"
    driving.play(noise(100))
    assert heard("driving", driving, "off", monitor) == "driving"
    assert heard("generated", driving, "off", monitor) == "generated" and heard("off", driving, "off", monitor) == "off"
    driving.listen(LiveSound())
    for align in ("off", "beat", "bar"):
        assert heard("driving", driving, align, monitor) == ("driving" if monitor else "off")
    assert heard("driving", driving, "through", monitor) == "driving"
