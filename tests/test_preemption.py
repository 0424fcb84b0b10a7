"""Gestures land by cuts: how soon, what is kept, and that nothing starves, with time turned by hand."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from turned_show import FRAME_S, LATENCY_S, NUM_STEPS, Show, pocket_s, seconds

from ltx_live.chunk import SAMPLE_RATE_HZ, ChunkRequest
from ltx_live.engine.process import Died, Failed, Ready
from ltx_live.moment import MARGIN_S


@pytest.mark.parametrize("tick_s", [0.01, 1 / 60])
def test_single_gestures_are_heard_after_one_chunk_time(tick_s):
    show, rng = Show(tick_s=tick_s), random.Random(1)
    show.play(10)
    for _ in range(40):
        show.gesture()
        show.play(4 + rng.random())
    latencies = [show.heard[gesture] for gesture in range(1, 41)]
    assert np.mean(latencies) <= pocket_s(33) + 0.3
    assert max(latencies) <= pocket_s(57) * 0.3 + pocket_s(33) + 0.3, "one at its last step runs out before the cut"
    show.assert_fluent()


@pytest.mark.parametrize("preset", [{"num_frames": 57}, {"num_frames": 33}])
def test_a_stream_of_gestures_neither_starves_nor_tears(preset):
    """A minute of a knob at 50 Hz, with chunk times that scatter; T of the bar is that of the cuts."""
    show, rng = Show(**preset), random.Random(2)
    show.time_s = lambda num_frames: pocket_s(num_frames) * rng.uniform(0.85, 1.1)
    show.play(10)
    before = len(show.asked)
    gestures = show.stream(60)
    cuts = show.asked[before:]
    show.play(4)
    latencies = [show.heard[gesture] for gesture in gestures]
    mean_s = np.mean([pocket_s(request.num_frames) for request in cuts])
    assert np.mean(latencies) <= 1.5 * mean_s + 0.3 and max(latencies) <= 2 * mean_s + 0.5
    assert len(cuts) > 55 and len(show.cancelled) <= 1, "the answer to a gesture is never cancelled"
    show.assert_fluent()


def test_a_fast_engine_answers_every_gesture_of_a_stream():
    show = Show(time_s=lambda num_frames: 0.002 * num_frames, num_frames=129)
    show.play(5)
    gestures = show.stream(10)
    show.play(2)
    assert np.mean([show.heard[gesture] for gesture in gestures]) <= 1.5 * 0.066 + 0.3
    assert show.session.statistics.dropped_s > 50
    show.assert_fluent()


def test_a_cut_goes_on_from_what_was_seen_and_drops_the_rest():
    show = Show()
    show.play(10)
    show.until(lambda: show.session.running is None and show.moment.unplayed_s > 2.5)
    chunks = show.timeline.chunks
    show.gesture()
    request = show.tick()
    assert request.num_frames == 33 and request.params.prompt == "1" and request.epoch == 1
    owner = next(chunk for chunk in chunks if chunk.index == request.continue_from[0])
    assert request.history is owner and owner.cut < request.start < owner.end
    assert request.start == owner.video_start + request.continue_from[1] * SAMPLE_RATE_HZ // 24
    expected_s = pocket_s(57) + LATENCY_S + MARGIN_S  # a shorter shape, never made, is not counted on to be faster
    assert expected_s <= seconds(request.start - show.position) <= expected_s + FRAME_S + 0.01
    end = show.timeline.end
    show.until(lambda: show.timeline.end != end)
    assert show.timeline.end == request.start + SAMPLE_RATE_HZ
    statistics = show.session.statistics
    assert statistics.num_cuts == 1 and statistics.dropped_s == pytest.approx(seconds(end - request.start))
    show.play(3)
    show.assert_fluent()


def test_a_plain_request_gives_way_to_a_gesture_and_one_at_its_last_step_does_not():
    for step, cancelled in ((2, 1), (NUM_STEPS - 1, 0)):
        show = Show()
        show.play(10)
        show.until(lambda show=show, step=step: show.session.step[0] == step)
        index = show.session.running.index
        show.gesture()
        show.until(lambda show=show, index=index: show.session.running and show.session.running.params.prompt == "1")
        assert len(show.cancelled) == cancelled
        request = show.session.running
        assert request.index == index + 1 - cancelled, "what was cancelled gives its index back"
        assert request.start < show.timeline.end
        show.play(5)
        show.assert_fluent()


def test_what_cannot_be_cut_in_time_follows_at_the_end():
    show = Show()
    show.play(10)
    show.until(lambda: show.session.running is None)
    show.until(lambda: show.session.running is not None)
    show.position = show.timeline.end - 0.9 * SAMPLE_RATE_HZ
    end, index = show.timeline.end, show.session.running.index
    show.gesture()
    show.play(0.5)
    assert show.cancelled == [] and show.session.running.index == index and show.timeline.end == end
    show.play(6)
    assert show.heard[1] < 6


@pytest.mark.parametrize("period_s", [0.5, 2.0, 8.0])
def test_a_gesture_lands_on_the_grid_and_the_show_flows_until_then(period_s):
    show, rng = Show(), random.Random(3)
    show.quantise("bar", period_s)
    show.play(10)
    for _ in range(12):
        gesture = show.gesture()
        show.tick()
        foreseen_s = show.session.statistics.landing_s
        show.play(period_s + 3 + 2 * rng.random())
        cut = next(request for request in show.asked if request.epoch == gesture)
        assert 0 <= seconds(cut.start) % period_s <= FRAME_S
        assert show.heard[gesture] <= period_s + pocket_s(57) + pocket_s(33) + 0.6
        assert foreseen_s == pytest.approx(show.heard[gesture], abs=0.1 + FRAME_S) or period_s < foreseen_s + 2
        fills = [request for request in show.asked if request.epoch == gesture - 1]
        assert all(request.params.prompt == str(gesture - 1) for request in fills)
    assert len([request for request in show.asked if request.num_frames == 33]) == 12
    show.assert_fluent()


def test_gestures_before_a_grid_point_land_there_together():
    show = Show()
    show.quantise("bar", 4.0)
    show.play(10.5)
    show.gesture(prompt="one")
    show.play(0.2)
    show.gesture(lora_strength=(0.5,) * 8)
    show.play(5)
    cuts = [request for request in show.asked if request.params.prompt == "one" and request.num_frames == 33]
    assert len(cuts) == 1 and cuts[0].params.lora_strength[0] == 0.5 and cuts[0].epoch == 2
    assert show.heard[1] - show.heard[2] == pytest.approx(0.2, abs=0.011)


def test_while_a_gesture_waits_for_the_grid_other_values_go_on():
    show = Show()
    show.quantise("bar", 16.0)
    show.play(1)
    show.gesture(prompt="later", num_frames=41)
    show.play(8)
    assert {request.params.prompt for request in show.asked} == {"0"}
    assert show.asked[-1].num_frames == show.asked[-1].params.num_frames == 41
    assert show.asked[-1].epoch == 0 and show.heard.get(1) is None
    show.play(8)
    assert show.asked[-1].params.prompt == "later"
    show.assert_fluent()


def test_where_gestures_land_with_chunks_one_waits_for_the_next_chunk():
    show = Show()
    show.quantise("chunk")
    show.play(10)
    show.until(lambda: show.session.running is None)
    end = show.timeline.end
    show.gesture()
    show.play(3)
    request = next(request for request in show.asked if request.epoch == 1)
    assert request.start == end and request.num_frames == 57 and show.session.statistics.num_cuts == 0


def test_a_restart_is_a_cut_to_a_new_take():
    show = Show()
    show.play(10)
    show.until(lambda: show.session.running is None)
    show.session.restart()
    request = show.tick()
    assert request.continue_from is None and request.history is None and request.start < show.timeline.end
    show.play(6)
    assert [request.continue_from is None for request in show.asked].count(True) == 2
    show.quantise("bar", 8.0)
    show.session.restart()
    show.play(9)
    takes = [request for request in show.asked if request.continue_from is None]
    assert len(takes) == 3 and seconds(takes[2].start) % 8 <= FRAME_S
    show.assert_fluent()


def test_a_paused_show_is_not_cut():
    show = Show()
    show.play(10)
    show.until(lambda: show.session.running is None)
    num_asked = len(show.asked)
    show.gesture(pause=True, prompt="new")
    show.play(4)
    assert len(show.asked) == num_asked
    show.gesture(pause=False)
    show.play(2)
    assert show.asked[-1].params.prompt == "new"


def test_only_what_is_heard_counts_as_a_gesture():
    show = Show()
    show.play(10)
    weights, texts = [0.0] * 8, [""] * 8
    texts[0] = "a fox"
    show.gesture(prompts_text=tuple(texts))
    show.play(4)
    assert show.session.statistics.num_cuts == 0
    weights[0] = 0.3
    show.gesture(prompts_weight=tuple(weights))
    show.play(4)
    show.gesture(prompt="covered by the weighted one")
    show.play(4)
    assert show.session.statistics.num_cuts == 1


def test_a_cut_that_fails_is_tried_again():
    show = Show()
    show.play(10)
    show.until(lambda: show.session.running is None and show.moment.unplayed_s > 2)
    show.gesture()
    assert isinstance(show.tick(), ChunkRequest)
    show.session.handle(Failed("out of memory", show.session.running.index), show.now_s)
    show.play(6)
    assert show.heard[1] < 3
    show.assert_fluent()


@pytest.mark.parametrize("adopted", [True, False])
def test_late_values_are_sent_once_and_lead_to_no_cut_where_they_were_taken(adopted):
    weights = (0.2, *(0.0,) * 7)
    show = Show(late_latch=True, prompts_text=("a fox", *("",) * 7), prompts_weight=weights)
    show.play(10)
    show.until(lambda: show.session.running is None and show.moment.unplayed_s > 2)
    show.gesture(prompts_weight=(0.4, *weights[1:]), lora_strength=(0.1,) * 8)
    request = show.tick()
    assert request.epoch == 1 and show.session.step_values(show.moment) is None
    show.gesture(lora_strength=(0.7,) * 8)
    show.quantise("bar", 4.0)
    assert show.session.step_values(show.moment) is None, "a grid is kept"
    show.quantise("now")
    sent = show.session.step_values(show.moment)
    assert sent.epoch == 2 and sent.values["lora_strength"] == (0.7,) * 8
    assert show.session.step_values(show.moment) is None
    *_, chunk = show.engine.generate(request)
    show.timeline.append(replace(chunk, epoch=2) if adopted else chunk, round(show.position))
    show.session.handle(show.timeline.last.chunk, show.now_s + pocket_s(33))
    num_asked = len(show.asked)
    show.play(3)
    again = [request for request in show.asked[num_asked:] if request.num_frames == 33]
    assert len(again) == (0 if adopted else 1)
    assert show.asked[-1].params.lora_strength[0] == 0.7


def test_the_landing_of_a_gesture_is_foretold():
    show = Show()
    show.play(10)
    assert show.session.statistics.landing_s is None
    show.until(lambda: show.session.step[0] == NUM_STEPS - 1)
    show.gesture()
    show.tick()
    foreseen_s = show.session.statistics.landing_s
    show.play(3)
    assert foreseen_s == pytest.approx(show.heard[1], abs=0.1)
    assert show.session.statistics.landing_s is None


@pytest.mark.parametrize("encode_s", [0.4, 1.0])
@pytest.mark.parametrize("rule", ["now", "chunk", "bar"])
def test_a_new_text_that_takes_long_to_encode_does_not_starve_the_show(rule, encode_s):
    show, rng = Show(encode_s=encode_s), random.Random(4)
    show.quantise(rule, 2.0)
    show.play(10)
    for _ in range(10):
        gesture = show.gesture()
        show.play(8 + rng.random())
        assert show.heard[gesture] < 8
    show.assert_fluent()
    assert show.session.statistics.chunk_time_s == pytest.approx(pocket_s(57), abs=0.05), "T is that of a chunk alone"


def test_a_new_text_is_played_where_the_engine_is_never_idle():
    show = Show(lambda num_frames: num_frames / 20, encode_s=0.5)
    show.quantise("chunk")
    show.play(10)
    gesture = show.gesture()
    show.play(20)
    assert show.heard[gesture] < 12 and show.asked[-1].params.prompt == str(gesture)


def test_a_stream_that_lands_with_chunks_does_not_starve_the_show():
    show = Show()
    show.quantise("chunk")
    show.play(10)
    show.stream(30)
    assert len(show.cancelled) <= 1
    show.assert_fluent()


@pytest.mark.parametrize("late_s", [1.0, 1.3])
def test_a_cut_that_comes_too_late_is_dropped_and_made_again(late_s):
    show = Show()
    show.play(20)
    show.until(lambda: show.session.running is None and show.moment.unplayed_s > 2.8)
    show.time_s = lambda num_frames: pocket_s(num_frames) + late_s
    gesture = show.gesture()
    show.tick()
    show.time_s = pocket_s
    show.play(8)
    assert show.heard[gesture] < 6
    show.assert_fluent()


def test_a_gesture_while_the_engine_is_down_waits_for_it():
    show = Show()
    show.play(10)
    show.session.handle(Died(-9, "the engine has stopped", None, 0.5), show.now_s)
    gesture = show.gesture()
    show.tick()
    show.session.handle(Ready(show.engine.info), show.now_s)
    show.play(5)
    assert show.heard[gesture] < 5


@pytest.mark.parametrize("rule", ["now", "bar"])
def test_a_value_that_fails_is_given_up_while_other_values_move(rule):
    """The engine cannot make 20 steps; a knob is turned, or a gesture waits for the beat."""
    show = Show()
    show.quantise(rule, 8.0)
    show.play(10)
    show.fails = lambda params: params.num_steps == 20
    show.gesture(num_steps=20, prompt="new")
    num_asked = len(show.asked)
    if rule == "now":
        show.stream(20)
    else:
        show.play(20)
    made = [request for request in show.asked[num_asked:] if request.params.num_steps == 8]
    assert show.session.statistics.num_failed <= 3 and len(made) > 5 and "20 steps" in show.session.notice
    assert rule == "bar" or len({request.params.prompt for request in made}) > 5, "the knob is followed"
    show.assert_fluent()
    show.gesture(num_steps=4)
    show.play(10)
    assert show.asked[-1].params == show.params and show.session.notice == ""
