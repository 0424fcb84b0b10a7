"""How many frames a request has, by how long chunks take."""

from dataclasses import replace

import pytest

from ltx_live.chunk import SAMPLE_RATE_HZ, EngineInfo
from ltx_live.chunk_times import ChunkTimes
from ltx_live.lengths import Lengths, in_beats
from ltx_live.moment import Moment
from ltx_live.params import GenerationParams

PARAMS = GenerationParams(num_frames=129)


def lengths(fixed_s: float, frame_s: float) -> Lengths:
    """Of an engine that takes so long for a chunk and for each of its frames."""
    times = ChunkTimes()
    for num_frames in range(9, 130, 8):
        for _ in range(5):
            times.add(num_frames, 8, fixed_s + frame_s * num_frames)
    made = Lengths(lambda num_frames, frame_rate: num_frames, times)
    made.engine = EngineInfo("x", 32, 32, "cpu")
    return made


@pytest.mark.parametrize(
    ("fixed_s", "frame_s", "expected"),
    [
        (0.05, 0.005, 33),  # feeds the show at any length
        (0.72, 0.003, 33),  # 0.82 s for a second
        (0.3, 0.02, 41),  # 0.96 s for a second is too close; 1.12 s for 1.33 s
        (0.5, 0.03, 113),  # 3.89 s for 4.33 s
        (0.0, 0.0355, 129),  # never with room, but that is nearest to it
        (0.3, 0.1, None),  # slower than real time
    ],
)
def test_a_cut_is_short_but_feeds_the_show(fixed_s, frame_s, expected):
    assert lengths(fixed_s, frame_s).cut(PARAMS, continues=True) == expected


@pytest.mark.parametrize(
    ("fixed_s", "frame_s", "speed", "expected"),
    [
        (0.05, 0.005, 2.0, 33),  # 0.2 s for a second
        (0.05, 0.015, 2.0, 57),  # 0.55 s for a second is too much, 0.91 s for two is not
        (0.3, 0.02, 2.0, None),
        (0.3, 0.02, 0.0, 41),  # so that it feeds a show that is let go
        (0.3, 0.1, 0.25, 33),  # slower than real time
        (0.3, 0.1, 0.5, None),
        (0.3, 0.1, 0.0, 33),
    ],
)
def test_a_cut_feeds_the_show_at_its_speed(fixed_s, frame_s, speed, expected):
    assert lengths(fixed_s, frame_s).cut(PARAMS, True, speed) == expected


def test_a_cut_is_as_long_as_asked_and_never_longer_than_chunks_are():
    fast = lengths(0.05, 0.005)
    assert fast.cut(replace(PARAMS, cut_frames=9), continues=True) == 9
    assert fast.cut(replace(PARAMS, cut_frames=81), continues=True) == 81
    assert fast.cut(replace(PARAMS, num_frames=25), continues=True) == 25
    assert lengths(0.72, 0.003).cut(replace(PARAMS, num_frames=25), continues=True) is None
    fast.engine = replace(fast.engine, max_num_frames=57)
    assert fast.whole(PARAMS) == fast.cut(replace(PARAMS, cut_frames=257), continues=True) == 57


def test_new_seconds_are_those_after_the_prefix():
    made = lengths(0.05, 0.005)
    assert made.new_s(33, PARAMS, continues=True) == 1.0
    assert made.new_s(33, PARAMS, continues=False) == 33 / 24
    assert made.new_s(9, PARAMS, continues=True) == 8 / 24


@pytest.mark.parametrize(
    ("beats", "bpm", "expected"),
    [
        (0, 120, 129),  # num_frames
        (4, 120, 57),  # 2 s at 24 fps = 48 new frames, and the 9 that it continues
        (2, 120, 33),
        (4, 128, 57),  # 45 new frames: 53.. is no 8K + 1, 57 is the nearest
        (32, 60, 257),  # more than there is
        (0.1, 300, 9),
    ],
)
def test_a_chunk_has_as_many_new_frames_as_beats_take(beats, bpm, expected):
    assert in_beats(replace(PARAMS, beats=beats), bpm).num_frames == expected
    if 9 < expected < 129 and beats:
        nearest = min(range(9, 258, 8), key=lambda num: abs(num - 9 - beats * 60 / bpm * 24))
        assert nearest == expected


@pytest.mark.parametrize(
    ("speed", "unplayed_s", "expected"), [(1.0, 1.5, 41), (2.0, 2.9, 129), (0.5, 0.9, 57), (0, 0.2, 129)]
)
def test_a_chunk_is_short_where_that_keeps_up_with_the_show(speed, unplayed_s, expected):
    """41 frames take 1.12 s and bring 1.33 s: enough at a speed of 1, not at 2."""
    moment = Moment(0.0, 0, round(unplayed_s * SAMPLE_RATE_HZ), PARAMS, 0, 1, speed=speed)
    assert lengths(0.3, 0.02).next(moment, continues=True) == expected
