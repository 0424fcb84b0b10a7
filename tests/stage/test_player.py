"""The player, called by hand: what every block holds, and what it reports."""

from collections import deque

import numpy as np
import pytest

from ltx_live.stage.limiter import CEILING
from ltx_live.stage.player import START_FADE_SAMPLES, Player
from ltx_live.stage.playlist import Playlist

LONG = 4 * 48_000


def constant(level=0.25, num=LONG, start=0, generation=1):
    samples = np.full((num, 2), level, np.float32)
    return Playlist(generation, ((start, samples),), start + num)


def blocks(player, num_blocks, block=480, time_s=0.0):
    out = np.empty((num_blocks, block, 2), np.float32)
    for k in range(num_blocks):
        player.render(out[k], time_s + k * block / 48_000)
    return out.reshape(-1, 2)


def test_the_start_fades_in_over_two_seconds_and_then_copies_exactly():
    player = Player()
    player.playlist = constant()
    played = blocks(player, 300)
    assert np.abs(played[:480]).max() < 0.01 and played[START_FADE_SAMPLES // 2, 0] == pytest.approx(0.125, abs=1e-3)
    assert np.all(played[START_FADE_SAMPLES:] == 0.25)
    assert np.abs(np.diff(played[:, 0])).max() < 0.25 / 2000
    assert player.published.samples == 300 * 480 and player.published.generation == 1


def test_the_gain_is_one_ramp_per_block_and_blackout_is_silent_within_10_ms():
    player = Player()
    player.playlist = constant()
    blocks(player, 250)
    player.target_gain = 0.5
    assert np.allclose(np.diff(blocks(player, 1, block=960)[:, 0]), -0.125 / 960, atol=1e-6)
    player.target_gain = 0.0
    falling = blocks(player, 20, block=64)[:, 0]
    assert np.all(np.diff(falling) <= 0) and falling[480] == 0 and falling[230] > 0


def test_it_tells_when_the_ramp_to_silence_has_been_handed_out():
    player = Player()
    player.playlist = constant()
    assert player.is_silent
    blocks(player, 250)
    player.target_gain = 0.0
    assert blocks(player, 3, block=128).any() and not player.is_silent
    blocks(player, 1, block=128)
    assert player.is_silent and not blocks(player, 4).any()


def test_an_underrun_is_silent_counts_once_and_does_not_advance_the_media():
    player = Player()
    player.playlist = constant(num=1000)
    played = blocks(player, 10, time_s=1.0)
    assert np.all(played[1000:] == 0) and player.published.samples == 1000 and player.num_underruns == 1
    assert player.published.heard_s == pytest.approx(1.0 + 1000 / 48_000)
    player.playlist = constant(num=1000, start=1000, generation=2)
    resumed = blocks(player, 1, time_s=9.0)
    assert resumed.any() and player.published.samples == 1480 and player.published.generation == 2
    assert player.published.heard_s == pytest.approx(9.01)
    blocks(player, 10)
    assert player.num_underruns == 2


def test_nothing_to_play_yet_is_not_an_underrun():
    player = Player()
    assert not blocks(player, 5).any() and player.num_underruns == 0 and player.published.samples == 0


def test_loud_material_never_clips_across_blocks_of_any_size():
    player = Player()
    wave = 4 * np.sin(2 * np.pi * 220 * np.arange(LONG) / 48_000)
    player.playlist = Playlist(1, ((0, np.repeat(wave[:, None], 2, axis=1).astype(np.float32)),), LONG)
    played = np.concatenate([blocks(player, 40, block) for block in (64, 480, 1023, 512)])
    assert np.abs(played).max() <= CEILING
    crossings = np.flatnonzero((played[9600:-1, 0] < 0) & (played[9601:, 0] >= 0))
    assert np.all(np.abs(np.diff(crossings) - 48_000 / 220) < 2), "no sample is lost between blocks"


def test_the_tap_gets_every_block_with_its_position():
    player = Player()
    player.tap = deque(maxlen=8)
    player.playlist = constant(num=1000)
    played = blocks(player, 4)
    found = [(block.position, block.num_media, block.end) for block in player.tap]
    assert found == [(0, 480, 480), (480, 480, 960), (960, 40, 1000), (1000, 0, 1000)]
    np.testing.assert_array_equal(np.concatenate([block.samples for block in player.tap]), played)


def test_a_broken_playlist_is_silence_and_a_counter():
    player = Player()
    player.playlist = Playlist(1, ((0, np.zeros((480, 5), np.float32)),), 480)
    assert not blocks(player, 2).any() and player.num_errors == 2


def test_the_level_is_the_peak_of_what_is_heard_and_falls_slowly():
    player = Player()
    player.playlist = constant()
    blocks(player, 250)
    assert player.level == 0.25
    player.target_gain = 0.0
    blocks(player, 1)
    blocks(player, 170)  # 1.7 s of silence
    assert 0.02 < player.level < 0.027
    assert blocks(player, 1).max() == 0.0
