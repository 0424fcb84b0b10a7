"""The lines of the head-up display: what is seen, what comes and when, and how the show is doing."""

from dataclasses import replace

import pytest

from ltx_live.stage.hud_state import HudState, pending_line, status_line, tempo_words

PLAYING = HudState(state="playing", detail="step 3/8", buffer_s=1.32, clock_s=754.9)
FOX = replace(PLAYING, pending="a red fox", landing_s=0.83)
BAR = replace(FOX, bpm=120.0, beat=3, bar=6, grid="bar")


def test_the_status_tells_what_is_known():
    assert status_line(PLAYING) == "playing   buffer 1.3 s   0:12:34   step 3/8"
    known = replace(PLAYING, latency_s=0.71, chunk_s=0.91, speed=1.83, num_underruns=1, clock_s=7200)
    expected = "playing   buffer 1.3 s   latency 0.7 s   chunk 0.9 s   1.8x real time   1 underrun   2:00:00   step 3/8"
    assert status_line(known) == expected
    assert status_line(BAR).startswith("playing   120.0 bpm, beat 3/4, on the bar   buffer")
    assert "2 underruns" in status_line(replace(PLAYING, num_underruns=2))


@pytest.mark.parametrize(
    ("state", "line"),
    [
        (PLAYING, ""),
        (FOX, "in 0.8 s: a red fox"),
        (replace(FOX, landing_s=None), "with the next chunk: a red fox"),
        (replace(FOX, state="paused"), "next: a red fox"),
        (replace(FOX, state="engine down", landing_s=None), "next: a red fox"),
        (replace(BAR, landing_s=2.0), "in 4 beats: a red fox"),
        (replace(BAR, landing_s=2.02), "in 4 beats: a red fox"),
        (replace(BAR, landing_s=1.98), "in 4 beats: a red fox"),
        (replace(BAR, landing_s=1.1), "in 3 beats: a red fox"),
        (replace(BAR, landing_s=0.5), "in 1 beat: a red fox"),
        (replace(BAR, landing_s=0.001), "in 1 beat: a red fox"),
        (replace(BAR, bpm=60.0, landing_s=8.0), "in 8 beats: a red fox"),
    ],
)
def test_the_next_change_is_counted_down_in_seconds_or_beats(state, line):
    assert pending_line(state) == line


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"bpm": 0.0}, ""),
        ({"grid": ""}, "120.0 bpm, beat 3/4"),
        ({"grid": "beat", "beats_per_bar": 7}, "120.0 bpm, beat 3/7, on the beat"),
        ({"grid": "2 bars"}, "120.0 bpm, bar 2/2 beat 3/4"),
        ({"grid": "4 bars"}, "120.0 bpm, bar 2/4 beat 3/4"),
        ({"grid": "4 bars", "bar": 4}, "120.0 bpm, bar 4/4 beat 3/4"),
    ],
)
def test_the_beat_and_its_place_in_the_grid(values, words):
    assert tempo_words(replace(BAR, **values)) == words
