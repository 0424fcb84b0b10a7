"""How long a chunk will take, from those that were made."""

import pytest

from ltx_live.chunk_times import ChunkTimes


def made(**times_s: float) -> ChunkTimes:
    """Chunks of 8 steps by their frames (`f33=0.8`), each made often enough to be sure of it."""
    times = ChunkTimes()
    for frames, time_s in times_s.items():
        for _ in range(5):
            times.add(int(frames[1:]), 8, time_s)
    return times


def test_the_longest_of_the_last_eight_counts_and_the_warm_up_is_forgotten():
    times = ChunkTimes()
    assert times.p95_s(57, 8) is None and times.bound_s(57, 8) is None
    times.add(57, 8, 20.0)
    assert times.p95_s(57, 8) == 20.0
    for time_s in (1.0, 1.2, 1.1):
        times.add(57, 8, time_s)
    assert times.p95_s(57, 8) == 1.2
    for _ in range(8):
        times.add(57, 8, 1.0)
    assert times.p95_s(57, 8) == 1.0
    times.engine_started()
    times.add(57, 8, 20.0)
    assert times.p95_s(57, 8) == 1.0


def test_shapes_that_were_never_made_are_estimated_and_rather_too_long():
    times = made(f57=1.2)
    assert times.p95_s(33, 8) == pytest.approx(1.2 * (0.2 + 0.8 * 33 / 57))
    assert times.bound_s(33, 8) == 1.2
    assert times.p95_s(57, 16) == pytest.approx(2.4) and times.bound_s(57, 16) == pytest.approx(3.0), (
        "more work than any"
    )
    times = made(f33=0.8, f57=1.4, f129=3.0)
    assert times.p95_s(45, 8) == times.bound_s(45, 8) == pytest.approx(1.1)
    assert times.p95_s(93, 8) == pytest.approx(2.2)
    assert times.p95_s(33, 8) == times.bound_s(33, 8) == 0.8


def test_times_that_are_few_scatter_as_those_of_other_shapes_do():
    times = ChunkTimes()
    for time_s in (9.0, 1.0, 1.0, 0.9, 1.1, 1.3):
        times.add(57, 8, time_s)
    times.add(33, 8, 5.0)  # the warm-up
    times.add(33, 8, 0.8)
    assert times.p95_s(33, 8) == pytest.approx(0.8 * 1.3 / 1.06)
    for _ in range(4):
        times.add(33, 8, 0.8)
    assert times.p95_s(33, 8) == 0.8
