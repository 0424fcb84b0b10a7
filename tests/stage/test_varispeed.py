"""The media at another speed, as the player hands it out: pitch, continuity, and not a bit changed at a speed of 1."""

import numpy as np
import pytest

from ltx_live.stage.player import START_FADE_SAMPLES, Player
from ltx_live.stage.playlist import Playlist

RATE = 48_000
LONG = 8 * RATE
NOISE = np.random.default_rng(3).uniform(-0.3, 0.3, (LONG, 2)).astype(np.float32)


def tone(hz=440.0, level=0.25):
    wave = level * np.sin(2 * np.pi * hz * np.arange(LONG) / RATE)
    return np.repeat(wave[:, None], 2, axis=1).astype(np.float32)


def playing(media):
    """A player that is past the fade-in of the start."""
    player = Player()
    player.playlist = Playlist(1, ((0, media),), len(media))
    play(player, START_FADE_SAMPLES // RATE, block=4800)
    return player


def play(player, seconds, speed=1.0, block=480):
    """The left channel of what is handed out meanwhile."""
    player.target_speed = speed
    out = np.empty((round(seconds * RATE / block), block, 2), np.float32)
    for piece in out:
        player.render(piece, 0.0)
    return out.reshape(-1, 2)[:, 0]


@pytest.mark.parametrize("speed", [0.25, 0.5, 0.7, 1.5, 2.0])
@pytest.mark.parametrize(("hz", "else_db"), [(440, -100), (3000, -60)])
def test_the_pitch_follows_the_speed_and_nothing_else_is_heard(hz, speed, else_db):
    player = playing(tone(hz))
    play(player, 0.1, speed)
    heard = play(player, 1.0, speed)
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
    peak, loudest = np.argmax(spectrum), spectrum.max()
    assert peak == pytest.approx(hz * speed, abs=1)
    assert np.abs(heard).max() == pytest.approx(0.25, abs=0.005)
    spectrum[peak - 3 : peak + 4] = 0
    assert 20 * np.log10(spectrum.max() / loudest) < else_db


@pytest.mark.parametrize(("speed", "block"), [(0.5, 511), (1.3, 480), (2.0, 64), (0.0, 480)])
def test_so_much_media_passes_and_no_sample_is_lost(speed, block):
    player = playing(NOISE)
    play(player, 0.2, speed, block)
    start = player.published.samples
    num = len(play(player, 1.0, speed, block))
    assert player.published.samples - start == pytest.approx(num * speed, abs=1)
    assert player.published.speed == speed and player.num_errors == 0


def test_at_a_speed_of_1_and_after_a_return_to_it_every_bit_is_the_medias():
    player = playing(NOISE)
    for speed, block in ((1.0, 480), (0.37, 511), (1.0, 480), (1.9, 96), (0.0, 333), (1.0, 1024), (1.21, 480)):
        play(player, 0.13, speed, block)
        play(player, 0.2, 1.0, block)
        start = player.published.samples
        heard = play(player, 0.05, 1.0, 480)
        np.testing.assert_array_equal(heard, NOISE[start : start + len(heard), 0])


@pytest.mark.parametrize("speed", [0.37, 1.61])
def test_a_return_to_1_comes_to_a_whole_sample_without_a_jump(speed):
    player = playing(tone(3000.0))
    steepest = 0.25 * (2 * np.pi * 3000 * max(1, speed) / RATE) ** 2
    for block in range(470, 490):
        heard = np.concatenate([play(player, 0.07, speed, block), play(player, 0.07, 1.0, block)])
        assert np.abs(np.diff(heard, 2)).max() < 1.02 * steepest


def test_no_change_of_speed_clicks():
    player, random = playing(tone()), np.random.default_rng(5)
    speeds = random.choice([0.0, 0.02, 0.5, 1.0, 2.0], 60)
    heard = np.concatenate([play(player, 0.01 * random.integers(1, 9), speed) for speed in speeds])
    steepest = 0.25 * 2 * np.pi * 440 * 2 / RATE  # of the tone at twice the speed
    assert np.abs(np.diff(heard)).max() < steepest + 0.25 / 480, "a gain ramp adds that much"
    assert np.abs(heard).max() < 0.2501


def test_what_is_held_falls_in_pitch_is_silent_and_goes_on_where_it_stood():
    player = playing(tone())
    stopping = play(player, 0.08, 0.0)
    assert np.abs(stopping[1200:2000]).max() > 0.1, "the tape runs down: it is heard"
    held = player.published
    assert not play(player, 1.0, 0.0).any() and player.is_silent
    assert (player.published.samples, player.published.speed) == (held.samples, 0.0)
    assert held.samples - 2 * RATE == pytest.approx(0.05 * RATE / 2, abs=5)
    play(player, 0.05, 1.0)
    assert player.published.samples - held.samples == pytest.approx(0.05 * RATE / 2, abs=5)
    assert np.abs(play(player, 0.01, 1.0)).max() > 0.2 and player.num_underruns == 0


@pytest.mark.parametrize("speed", [0.5, 2.0])
def test_the_end_is_reached_exactly_and_what_follows_begins_there(speed):
    player = playing(NOISE)
    play(player, 0.1, speed)
    end = player.published.samples + 4803
    player.playlist = Playlist(2, ((0, NOISE[:end]),), end)
    heard = play(player, 0.4, speed)
    assert player.published.samples == end and player.num_underruns == 1
    assert np.flatnonzero(heard)[-1] == pytest.approx(4803 / speed, abs=3)
    player.playlist = Playlist(3, ((0, NOISE),), LONG)
    play(player, 0.05, speed)
    assert player.published.samples == end + round(0.05 * speed * RATE)


def test_what_was_handed_out_cannot_be_changed_at_any_speed():
    player = playing(NOISE)
    player.largest_block = 480
    for speed in (0.0, 0.5, 1.0, 2.0, 0.1, 2.0):
        player.target_speed = speed
        for _ in range(20):
            committed = player.committed
            play(player, 0.02, speed)
            assert player.published.samples <= committed
