"""A mode that cannot be kept up gets fewer steps, and has them back when it could."""

from ltx_live.modes.pace import FEWEST_STEPS, LEAST_FACTOR, NUM_SURE, Pace


def play(pace, mode, num_chunks, factor_at_8, wanted=8):
    """Chunks whose time is in proportion to their steps; the steps of each."""
    made = []
    for _ in range(num_chunks):
        steps = pace.steps(mode, wanted)
        made.append(steps)
        pace.made(mode, steps, wanted, factor_at_8 * wanted / steps)
    return made


def test_a_slow_mode_settles_where_it_is_kept_up():
    steps = play(Pace(), "id", 12, 1.05)
    assert steps[:NUM_SURE] == [8] * NUM_SURE and steps[-1] == 7 and 1.05 * 8 / 7 >= LEAST_FACTOR
    steps = play(Pace(), "id", 12, 0.8)
    assert steps[:2] == [8, 5] and set(steps[1:]) == {5}, "slower than real time is answered at once"
    assert 0.8 * 8 / 5 >= LEAST_FACTOR
    assert play(Pace(), "id", 30, 0.2)[-1] == FEWEST_STEPS


def test_a_fast_mode_and_plain_text_keep_all_their_steps():
    assert set(play(Pace(), "id", 12, 1.2)) == {8}
    assert set(play(Pace(), None, 12, 0.3)) == {8}, "whoever plays text on a slow machine has chosen so"


def test_one_slow_chunk_is_none():
    pace = Pace()
    for factor in (1.05, 2.0, 1.05, 2.0):
        assert pace.steps("id", 8) == 8
        pace.made("id", 8, 8, factor)
    assert pace.steps("id", 8) == 8


def test_steps_come_back_one_by_one_and_another_mode_begins_with_all():
    pace = Pace()
    slow = play(pace, "id", 6, 0.8)
    back = play(pace, "id", 20, 1.6)
    assert back[0] == slow[-1] and back[-1] == 8 and set(b - a for a, b in zip(back, back[1:], strict=False)) <= {0, 1}
    play(pace, "id", 6, 0.8)
    assert pace.steps("guide", 8) == 8 and pace.steps("id", 8) == 8


def test_fewer_wanted_steps_are_not_made_more():
    pace = Pace()
    play(pace, "id", 6, 0.8)
    assert pace.steps("id", 4) == 4


def test_a_mode_that_is_expected_to_be_too_slow_begins_with_what_is_safe():
    pace = Pace()
    assert pace.steps("id", 8, lambda: 1.0) == 6 and pace.steps("id", 8, lambda: 9.0) == 6, "asked where it begins"
    assert pace.steps("guide", 8, lambda: 1.2) == 8 and pace.steps("both", 8, lambda: 0.1) == FEWEST_STEPS
    assert pace.steps(None, 8, lambda: 0.1) == 8 and pace.steps("id", 8, lambda: None) == 8
