"""A whole show of the test card at other speeds, on a clock turned by hand: what is seen, told, and recorded."""

from __future__ import annotations

import numpy as np
import pytest

from ltx_live.bench import _audit as simulated
from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.config import Config, initial_values
from ltx_live.control.event import Event, Origin
from ltx_live.engine.testcard import read_counters
from ltx_live.media.video import read_video
from ltx_live.stage import recorder

FRAME = SAMPLE_RATE_HZ // 24


class Play:
    """A show with pictures of 64x64, which is recorded to `film`, if any."""

    def __init__(self, home, clock, film=None, **values):
        size = {"width": 64, "height": 64, "num_frames": 57, "randomize_seed": False, "audio/volume": 1.0}
        made = Config("testcard", home, values=initial_values("testcard", None, {**size, **values}), record=film)
        self.clock = clock
        self.show, self.sound = simulated.assemble(made, clock, chunk_time_s=0.5)
        self.show.parts.window._look = lambda picture, output: read_counters(picture.newest.pixels)[1]

    @property
    def status(self):
        return self.show._status()

    def play(self, seconds, **values):
        """Set values, play on; the frames seen meanwhile."""
        for name, value in values.items():
            address = f"/ltx/{name.replace('_', '/')}"
            self.show.parts.events.put((Event(address, (value,), Origin("test"), self.clock.now_s),))
        before = len(self.show.parts.window.seen)
        for _ in range(round(seconds / simulated.TICK_S)):
            self.clock.now_s += simulated.TICK_S
            self.sound.play()
            for duty in self.show.duties:
                duty()
        return [number for _, number in self.show.parts.window.seen[before:]]


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """Makes a show on a clock of its own; the encoder may take what time it needs."""
    monkeypatch.setattr(recorder, "MAX_WAITING_FRAMES", 1000)
    clock = simulated.Clock()
    shows = []

    def make(film=None, **values):
        shows.append(Play(tmp_path, clock, film, **values))
        return shows[-1]

    with clock.instead_of_the_computers():
        yield make
        for play in shows:
            play.show.close()


def test_the_film_is_as_long_as_the_show_and_slow_sound_stays_with_its_picture(begin, tmp_path):
    play = begin(tmp_path / "film.mp4")
    while play.show._first_picture_s is None:
        play.play(0.1)
    play.play(4)
    play.play(5, out_speed=0.5)
    play.play(1, out_speed=0.0)
    play.play(3, out_speed=1.0)
    assert play.show.parts.session.statistics.num_underruns == 0 and not play.sound.player.num_errors
    play.show.recordings.stop()
    play.show.recordings.close()
    film = read_video(tmp_path / "film.mp4")
    sound = film.audio[:, 0]
    assert len(film.frames) / 24 == pytest.approx(13, abs=0.15) and len(sound) / SAMPLE_RATE_HZ == pytest.approx(
        len(film.frames) / 24, abs=0.03
    )
    numbers = np.array([read_counters(frame)[1] for frame in film.frames])
    assert set(np.diff(numbers)) == {0, 1} and numbers[-1] == pytest.approx(9.5 * 24, abs=4)
    found = []
    for second in (3, 5, 6, 8, 9):  # a beep with the frame that flashes
        start = np.flatnonzero(numbers >= 24 * second)[0] * FRAME
        loud = start - FRAME + np.flatnonzero(np.abs(sound[start - FRAME : start + 4 * FRAME]) > 0.02)
        late = (loud[0] - start) / FRAME
        beep = sound[loud[0] + 500 : loud[0] + 4500]
        hz = np.argmax(np.abs(np.fft.rfft(beep * np.hanning(len(beep)), 48_000)))
        found.append((abs(late) < 1, round(hz, -1), round((loud[-1] - loud[0]) / 480)))
    assert found == [(True, 1000, 10), (True, 500, 20), (True, 500, 20), (True, 1000, 10), (True, 1000, 10)]


def test_what_is_told_is_in_seconds_of_the_wall(begin):
    play = begin()
    play.play(6)
    normal = play.status
    assert normal.state == "playing" and 0.05 < normal.output_latency_s < 0.1
    play.play(1, out_speed=0.5)
    left = (play.show._timeline.end - play.show._position) / SAMPLE_RATE_HZ
    slow = play.status
    assert slow.buffer_s == pytest.approx(2 * left) and slow.output_latency_s == pytest.approx(
        normal.output_latency_s, abs=0.02
    )
    assert slow.detail.startswith("at 0.50 of its speed")
    play.play(1, out_speed=0.0)
    play.play(0.5, prompt="a fox")
    held = play.status
    assert (held.state, held.buffer_s, held.landing_s) == ("held", None, None) and held.pending.startswith("prompt")


def test_cuts_and_seams_are_in_time_at_any_speed(begin, caplog, monkeypatch):
    monkeypatch.setattr(simulated, "LATENCY_S", 0.3)
    play = begin()
    play.play(6)
    for speed in (0.5, 1.4, 0.0, 1.0, 0.2):
        play.play(2.5, out_speed=speed)
        before = play.show.parts.session.statistics.num_cuts
        play.play(2.5, prompt=f"a fox at {speed}")
        assert play.show.parts.session.statistics.num_cuts == before + 1
    assert not [record for record in caplog.records if "is late" in record.message]


def test_what_is_held_moves_again_by_itself_with_a_modulator_and_is_no_freeze(begin):
    play = begin()
    play.play(4)
    assert len(set(play.play(1, out_speed=0.0)[12:])) == 1
    frozen = play.play(1, out_speed=1.0, out_freeze=1)
    assert len(set(frozen)) > 10, "a freeze is the compositor's: the media goes on"
    values = {"mod_1_target": "out/speed", "mod_1_rate": 1.0, "mod_1_depth": 0.5, "mod_1_active": 1}
    wave = play.play(2, out_freeze=0, **values)
    steps = np.diff(wave)
    assert set(steps) <= {0, 1, 2} and steps.sum() == pytest.approx(2 * 24, abs=12)
    assert len({len(set(part)) for part in np.array_split(wave, 8)}) > 2, "its speed changes"


def test_the_picture_comes_later_than_the_sound_by_so_much_time_at_any_speed(begin):
    play = begin(**{"av/offset": 100.0})
    play.play(4)
    play.play(2, out_speed=0.5)
    heard, shown = play.show._position, play.show._shown_position
    assert heard - shown == pytest.approx(0.5 * 4800, abs=50)
    seen = play.play(1, out_speed=0.0)
    assert np.diff(seen).min() >= 0 and play.show._shown_position == play.show._position


@pytest.mark.parametrize("way", ["loop", "pingpong"])
def test_what_goes_round_when_nothing_is_left_goes_slower_too(begin, way):
    play = begin(**{"out/underrun": way})
    play.play(4)
    play.play(8, pause=1)
    normal, slow = play.play(2), play.play(2, out_speed=0.5)
    assert np.count_nonzero(np.diff(slow)) == pytest.approx(np.count_nonzero(np.diff(normal)) / 2, abs=3)
    assert not np.diff(play.play(1, out_speed=0.0)[5:]).any()
