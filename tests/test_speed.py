"""What is asked for while the media runs slower or faster than time, or is held."""

from dataclasses import replace

import numpy as np
import pytest
from turned_show import LATENCY_S, TICK_S, Show, pocket_s, seconds

from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.moment import MARGIN_S, Moment
from ltx_live.params import GenerationParams
from ltx_live.tempo import MediaBeats, Tempo


def fast_s(num_frames: int) -> float:
    return 0.1 + num_frames / 150


def running(speed, seconds_before=12.0, **values):
    """A show that has settled at a speed."""
    show = Show(**values)
    show.play(seconds_before)
    show.speed = speed
    show.play(seconds_before)
    return show


@pytest.mark.parametrize("speed", [0.0, 0.5, 2.0])
def test_media_and_time_are_told_apart(speed):
    moment = Moment(0.0, 48_000, 96_000, GenerationParams(), 0, 2, committed=48_000 + 4800, speed=speed)
    assert moment.after(0.5) == 48_000 + 24_000 * speed and moment.unplayed_s == 1.0
    assert moment.until_s(72_000) == (0.5 / speed if speed else np.inf)
    assert moment.lead(0.5) == 24_000 * speed + 4800 + 4800 * max(1, speed), "what is handed out is counted as media"
    assert moment.has_room(0.3) and moment.has_room(np.inf) == (speed == 0)
    assert moment.ready(0.5) == 48_000 + moment.lead(0.5)


@pytest.mark.parametrize(("speed", "time_s"), [(0.5, pocket_s), (0.5, lambda n: 1.6), (1.5, fast_s), (2.0, fast_s)])
def test_the_show_flows_on_at_any_speed_that_the_engine_can_keep(speed, time_s):
    show = running(speed, time_s=time_s)
    before, underruns = show.position, show.session.statistics.num_underruns
    show.play(20)
    assert seconds(show.position - before) == pytest.approx(20 * speed, abs=0.01)
    assert show.session.statistics.num_underruns == underruns
    show.seen = show.seen[-1000:]
    assert set(np.diff(show.seen)) <= {0, 1}


def test_what_is_faster_than_the_engine_is_an_underrun_as_ever_and_comes_in_whole_chunks():
    show = running(2.0, time_s=lambda num_frames: 1.6)
    assert show.session.statistics.num_underruns > 3
    assert {request.num_frames for request in show.asked[-3:]} == {57}


def test_a_slow_show_is_asked_for_later_but_can_go_on_at_once():
    normal, slow = running(1.0), running(0.5)
    asked = {}
    for name, show in (("normal", normal), ("slow", slow)):
        show.until(lambda show=show: show.session.running is None)
        show.until(lambda show=show: show.session.running is not None)
        asked[name] = show.moment.unplayed_s
    time_s = pocket_s(57)
    assert asked["normal"] == pytest.approx(2 * time_s + LATENCY_S + MARGIN_S, abs=2 * TICK_S)
    assert asked["slow"] == pytest.approx(time_s + LATENCY_S + MARGIN_S, abs=2 * TICK_S)
    slow.speed = 1.0
    slow.play(20)
    assert slow.session.statistics.num_underruns == 0


def test_what_is_held_is_made_as_far_ahead_as_a_release_needs_and_no_further():
    show = running(0.0)
    num_asked, position = len(show.asked), show.position
    show.play(30)
    assert len(show.asked) == num_asked and show.position == position
    show.speed = 1.0
    show.play(10)
    assert show.session.statistics.num_underruns == 0 and set(np.diff(show.seen)) <= {0, 1}


def test_what_nearly_stands_can_go_on_at_once_at_any_time():
    show = Show()
    show.play(10)
    for _ in range(4):
        show.speed = 0.1
        show.play(27.3)
        show.speed = 1.0
        show.play(3)
    assert show.session.statistics.num_underruns == 0


def test_a_gesture_while_held_cuts_what_is_not_shown_yet():
    show = running(0.0)
    gesture, end = show.gesture(), show.timeline.end
    show.play(3)
    made = show.timeline.last.chunk
    assert made.epoch == gesture and made.cut < end
    assert seconds(made.cut - show.position) == pytest.approx(LATENCY_S + MARGIN_S, abs=1 / 24 + 1e-6)
    assert show.session.statistics.landing_s is None, "nobody knows when"
    num_asked = len(show.asked)
    show.play(10)
    assert len(show.asked) <= num_asked + 2, "what the cut has dropped is made again, once"
    show.speed, released_s = 1.0, show.now_s
    show.until(lambda: gesture in show.heard)
    assert show.now_s - released_s < 0.3
    show.play(10)
    assert show.session.statistics.num_underruns == 0


@pytest.mark.parametrize("speed", [0.5, 1.5])
def test_a_gesture_lands_in_the_time_that_a_cut_takes_at_any_speed(speed):
    show = running(speed, time_s=fast_s)
    show.until(lambda: show.session.running is None and show.moment.unplayed_s > 1.2)
    gesture = show.gesture()
    show.tick()
    foreseen_s = show.session.statistics.landing_s
    show.until(lambda: gesture in show.heard)
    margin_s = LATENCY_S / speed + MARGIN_S * max(1, 1 / speed)  # what is handed out here is so much media
    expected_s = fast_s(57) + margin_s  # a shorter shape, never made, is not counted on to be faster
    assert show.heard[gesture] == pytest.approx(expected_s, abs=1 / 24 / speed + 2 * TICK_S)
    assert show.heard[gesture] == pytest.approx(foreseen_s, abs=1 / 24 / speed + 2 * TICK_S)
    show.play(5)
    show.assert_fluent()


def test_an_engine_that_is_too_slow_for_cuts_can_make_them_at_half_the_speed():
    def time_s(num_frames):
        return 0.2 + num_frames / 24  # a second takes 1.6

    show = running(0.5, time_s=time_s)
    show.until(lambda: show.session.running is None or show.session.step[0] < 6)
    gesture = show.gesture()
    show.play(12)
    assert show.session.statistics.num_cuts == 1 and gesture in show.heard


def test_a_cut_comes_too_late_sooner_where_the_media_runs_faster():
    show = running(1.0)
    show.until(lambda: show.session.running is not None)
    chunk, end = show.timeline.last.chunk, show.timeline.end + 1
    position = chunk.end - 1.5 * pocket_s(57) * SAMPLE_RATE_HZ
    late = [show.session.comes_too_late(chunk, position, end, speed) for speed in (0.0, 0.5, 1.0, 2.0)]
    assert late == [False, False, False, True]


def test_a_hold_at_the_end_is_no_underrun_until_it_is_let_go():
    show = Show()
    show.play(6)
    show.params = replace(show.params, pause=True)
    show.until(lambda: show.timeline.end - show.position < SAMPLE_RATE_HZ)
    show.params = replace(show.params, pause=False)
    show.until(lambda: show.session.running is not None)
    show.position, show.speed = float(show.timeline.end), 0.0
    show.play(1)
    assert show.session.statistics.num_underruns == 0


@pytest.mark.parametrize("speed", [0.25, 0.5, 2.0])
def test_a_gesture_on_a_grid_lands_on_the_beat_of_the_wall(speed):
    tempo = Tempo(120.0, 4, 0.0)
    beats = MediaBeats(tempo, 100.2, 7 * SAMPLE_RATE_HZ, speed)
    landed = beats.land("beat", round((7 + 0.4 * speed) * SAMPLE_RATE_HZ))  # which is heard at 100.6
    assert 100.2 + seconds(landed - beats.position) / speed == pytest.approx(101.0, abs=1e-4)
    assert beats.beat_at(beats.position + SAMPLE_RATE_HZ) - beats.beat_at(beats.position) == pytest.approx(2.0)


def test_while_held_no_beat_comes_and_what_waits_for_one_waits():
    held = MediaBeats(Tempo(120.0, 4, 0.0), 100.2, 7 * SAMPLE_RATE_HZ, 0.0)
    assert held.land("bar", 8 * SAMPLE_RATE_HZ) == np.inf and held.land("now", 9) == 9 and held.land("chunk", 9) is None
    show = running(0.0)
    tempo = Tempo(60.0, 4, 0.0)
    show.land = lambda rule, earliest: MediaBeats(tempo, show.now_s, show.position, show.speed).land(rule, earliest)
    show.quantise("bar")
    gesture = show.gesture()
    show.play(10)
    assert show.timeline.last.chunk.epoch < gesture and show.session.statistics.landing_s is None
    show.speed = 0.5
    show.until(lambda: gesture in show.heard)
    assert abs((show.now_s + 2) % 4 - 2) < 0.06, "on a bar of 4 s"
