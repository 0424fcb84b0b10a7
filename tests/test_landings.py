"""Each parameter can land by a rule of its own (`land/NAME`), with time turned by hand."""

from __future__ import annotations

import pytest
from turned_show import FRAME_S, Show, pocket_s, seconds

from ltx_live.gestures import RESTART


def one_lora(strength: float) -> tuple[float, ...]:
    return (strength,) + (1.0,) * 7


def test_parameters_of_one_gesture_land_each_by_its_own_rule():
    show = Show()
    show.quantise("now", 8.0)
    show.rules["prompt"] = "bar"
    show.play(9)
    show.gesture(prompt="later", lora_strength=one_lora(0.2))
    show.play(1.6)
    first = show.asked[-1]
    assert (first.params.prompt, first.params.lora_strength) == ("0", one_lora(0.2))
    assert first.epoch == 0, "it does not claim what is still to land"
    show.play(8)
    landed = next(request for request in show.asked if request.params.prompt == "later")
    assert landed.epoch == 1 and seconds(landed.start) == pytest.approx(16, abs=FRAME_S)
    assert all(request.params.lora_strength == one_lora(0.2) for request in show.asked[show.asked.index(first) :])
    show.assert_fluent()


def test_a_new_take_waits_for_its_grid_while_a_prompt_lands():
    show = Show()
    show.quantise("now", 8.0)
    show.rules[RESTART] = "bar"
    show.play(9)
    show.session.restart()
    show.gesture(prompt="now")
    show.play(8)
    take = next(request for request in show.asked[1:] if request.continue_from is None)
    prompt = next(request for request in show.asked if request.params.prompt == "now")
    assert seconds(prompt.start) < 11 < seconds(take.start) == pytest.approx(16, abs=FRAME_S)
    assert len([request for request in show.asked if request.continue_from is None]) == 2


def test_a_length_that_is_told_to_land_now_cuts():
    show = Show()
    show.rules["num_frames"] = "now"
    show.play(9)
    show.gesture(num_frames=33)
    show.play(3)
    assert show.session.statistics.num_cuts == 1 and show.heard[1] <= pocket_s(33) + 0.5
    show.assert_fluent()


def test_what_lands_with_the_chunk_is_in_those_that_fill_up_to_a_grid():
    show = Show()
    show.quantise("now", 16.0)
    show.rules |= {"prompt": "bar", "lora_strength": "chunk"}
    show.play(9)
    num_asked = len(show.asked)
    show.gesture(prompt="later", lora_strength=one_lora(0.2))
    show.play(5)
    fills = show.asked[num_asked:]
    assert fills and all(request.params.prompt == "0" for request in fills)
    assert fills[-1].params.lora_strength == one_lora(0.2)
    show.play(4)
    assert show.asked[-1].params.prompt == "later"
