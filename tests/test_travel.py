"""What chunks play: weights, channel tags, morphs; and what a text costs that the engine has not encoded."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from ltx_live.chunk import SAMPLE_RATE_HZ, Chunk, ChunkRequest, frames_to_samples
from ltx_live.engine.process import Died, Encoded, Failed
from ltx_live.params import NUM_PROMPTS, GenerationParams
from ltx_live.travel import Texts, Travel, target, texts

PARAMS = replace(GenerationParams(), prompt="waves", num_frames=57)


def weighted(*pairs, **params):
    filled = [*pairs, *[("", 0.0)] * (NUM_PROMPTS - len(pairs))]
    return replace(
        PARAMS, prompts_text=tuple(t for t, _ in filled), prompts_weight=tuple(w for _, w in filled), **params
    )


def beats_at(position: int) -> float:
    return 2 * position / SAMPLE_RATE_HZ  # 120 bpm


class Show:
    """Chunks one after the other, as the session asks for them."""

    def __init__(self):
        self.travel, self.index, self.start = Travel(), 0, 0

    def play(self, params, num_frames=None, beats_at=beats_at):
        """The prompts of the next chunk as a dictionary."""
        prompts = self.travel.prompts(params, self.start, self.index, beats_at)
        num_frames = num_frames or params.num_frames
        request = ChunkRequest(self.index, params, 1, self.start, num_frames, prompts=prompts)
        self.travel.asked(request)
        self.index += 1
        self.start += frames_to_samples(num_frames - 9, params.frame_rate)
        assert sum(weight for _, weight in prompts) == pytest.approx(1)
        return dict(prompts)


def test_a_prompt_is_played_alone_until_a_weight_is_set():
    assert target(PARAMS) == (("waves", 1.0),)
    assert target(weighted(("tunnel", 0.0), ("grid", 0.0))) == (("waves", 1.0),)
    assert target(weighted(("tunnel", 0.2))) == (("tunnel", 1.0),)
    assert target(weighted(("", 1.0), ("  ", 1.0))) == (("waves", 1.0),)


def test_weights_are_shares_and_the_same_text_adds_up():
    assert target(weighted(("a", 1.0), ("b", 0.5), ("c", 0.0), ("a", 0.5))) == (("a", 0.75), ("b", 0.25))


def test_channel_tags_replace_the_prompt():
    parts = replace(PARAMS, prompt_visual="A park.", prompt_speech=" Hello world. ", prompt_sounds="Birds.")
    assert target(parts) == (("[VISUAL]: A park. [SPEECH]: Hello world. [SOUNDS]: Birds.", 1.0),)
    assert target(replace(PARAMS, prompt_sounds="Birds.")) == (("[SOUNDS]: Birds.", 1.0),)
    assert target(weighted(("a", 1.0), prompt_visual="A park.")) == (("a", 1.0),)


def test_the_texts_that_moving_weights_can_play():
    assert texts(weighted(("a", 0.0), ("b", 1.0), ("a", 0.0))) == ("b", "a")
    assert texts(weighted(("a", 0.0))) == ("waves", "a")


def test_without_a_morph_a_change_is_whole():
    show = Show()
    assert show.play(PARAMS) == {"waves": 1}
    assert show.play(replace(PARAMS, prompt="grid")) == {"grid": 1}


def test_a_morph_over_chunks_arrives_with_the_last_of_them():
    show, params = Show(), replace(PARAMS, prompts_morph=4.0, prompts_morph_unit="chunks")
    assert show.play(params) == {"waves": 1}  # nothing to come from
    shares = [show.play(replace(params, prompt="grid")).get("grid") for _ in range(5)]
    assert shares == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert show.travel.prompts(replace(params, prompt="grid"), show.start, show.index, beats_at) == (("grid", 1.0),)


@pytest.mark.parametrize(("unit", "morph"), [("seconds", 8.0), ("beats", 16.0)])
def test_a_morph_over_time_is_where_the_middle_of_a_chunk_is(unit, morph):
    show, params = Show(), replace(PARAMS, prompts_morph=morph, prompts_morph_unit=unit)
    show.play(params)
    params = replace(params, prompt="grid")
    shares = [show.play(params, 33)["grid"], *(show.play(params).get("grid") for _ in range(5))]
    # A second that answers the gesture (its middle at 0.5 s), then two seconds each: 2 s, 4 s, 6 s, 8 s.
    assert shares == pytest.approx([0.5 / 8, 2 / 8, 4 / 8, 6 / 8, 1, 1])


def test_a_morph_takes_as_long_as_its_beats_when_the_tempo_changes():
    show, params = Show(), replace(PARAMS, prompts_morph=32.0, prompts_morph_unit="beats")
    show.play(params)
    params = replace(params, prompt="grid")
    before = [show.play(params)["grid"] for _ in range(2)]
    slower = [show.play(params, beats_at=lambda position: beats_at(position) / 2 - 100)["grid"] for _ in range(2)]
    assert np.diff([*before, *slower]) == pytest.approx([2.5 * 2 / 32, 2 / 32, 2 / 32])  # the first is sampled as a cut


def test_a_new_target_goes_on_from_what_is_played():
    show, params = Show(), replace(PARAMS, prompts_morph=4.0, prompts_morph_unit="chunks")
    show.play(params)
    half = [show.play(replace(params, prompt="grid")) for _ in range(2)][-1]
    assert half == pytest.approx({"waves": 0.5, "grid": 0.5})
    turned = show.play(replace(params, prompt="rings"))
    assert turned == pytest.approx({"waves": 0.375, "grid": 0.375, "rings": 0.25})
    back = [show.play(params) for _ in range(4)]
    assert back[0]["waves"] == pytest.approx(0.375 * 0.75 + 0.25) and back[-1] == {"waves": 1}
    assert all(a["waves"] < b["waves"] for a, b in pairwise(back))


def test_a_cut_goes_on_from_the_chunk_that_it_cuts():
    show, params = Show(), replace(PARAMS, prompts_morph=4.0, prompts_morph_unit="chunks")
    for _ in range(2):
        show.play(params)
    grid = replace(params, prompt="grid")
    show.play(grid)  # 0.25
    cut = show.start - SAMPLE_RATE_HZ  # within it
    for _ in range(2):
        show.play(grid)  # 0.5 and 0.75, dropped by the cut
    show.start = cut
    assert show.play(replace(params, prompt="rings")) == pytest.approx({"waves": 0.5625, "grid": 0.1875, "rings": 0.25})
    assert show.play(replace(params, prompt="rings"))["rings"] == pytest.approx(0.5)


def test_a_request_that_was_cancelled_leaves_nothing_behind():
    show, params = Show(), replace(PARAMS, prompts_morph=4.0, prompts_morph_unit="chunks")
    show.play(params)
    show.travel.prompts(replace(params, prompt="rings"), show.start, show.index, beats_at)
    assert show.play(replace(params, prompt="grid")) == pytest.approx({"waves": 0.75, "grid": 0.25})


def test_what_a_chunk_latched_is_what_the_next_one_comes_from():
    show, params = Show(), weighted(("a", 1.0), ("b", 0.0), prompts_morph=4.0, prompts_morph_unit="chunks")
    show.play(params)
    show.play(params)
    moved = weighted(("a", 0.0), ("b", 1.0), prompts_morph=4.0, prompts_morph_unit="chunks")
    start = show.start - frames_to_samples(48, 24)
    latched = show.travel.prompts(moved, start, 1, beats_at)  # while chunk 1 is being made
    assert dict(latched) == pytest.approx({"a": 0.75, "b": 0.25})
    show.travel.latched(1, latched)
    assert show.play(moved) == pytest.approx({"a": 0.5, "b": 0.5})


def test_a_mixture_has_at_most_as_many_texts_as_can_be_weighted():
    show, params = Show(), replace(PARAMS, prompts_morph=100.0, prompts_morph_unit="chunks")
    for number in range(20):
        played = show.play(replace(params, prompt=f"prompt {number}"))
    assert len(played) == NUM_PROMPTS and max(played, key=played.get) == "prompt 0"


def made(request: ChunkRequest, text_s: float) -> Chunk:
    frames, audio = np.zeros((9, 2, 2, 3), np.uint8), np.zeros((0, 2), np.float32)
    return Chunk(request.index, frames, 0, 0, audio, 0, 0, 24.0, 0, timings_s={"text": text_s})


def ask(engine_texts: Texts, index: int, *prompts: str, text_s: float = 0.0) -> None:
    share = 1 / len(prompts)
    request = ChunkRequest(index, PARAMS, 1, 0, 9, prompts=tuple((text, share) for text in prompts))
    engine_texts.asked(request)
    engine_texts.handle(made(request, text_s))


def test_only_new_texts_take_time_and_the_first_only_until_there_is_another():
    known = Texts()
    assert known.time_s((("a", 1.0),)) == 0.0
    ask(known, 0, "a", text_s=2.0)  # warms up
    assert known.time_s((("a", 1.0),)) == 0.0
    assert known.time_s((("a", 0.5), ("b", 0.5))) == 2.0
    ask(known, 1, "a", text_s=0.01)  # its context was kept
    ask(known, 2, "a", "b", "c", text_s=0.6)
    assert known.time_s((("d", 0.5), ("e", 0.5))) == pytest.approx(0.6)
    assert known.time_s((("a", 0.5), ("c", 0.5))) == 0.0


def test_texts_are_encoded_ahead_once_and_one_that_is_in_the_way_counts():
    known = Texts()
    ask(known, 0, "a", text_s=0.3)
    assert known.new(["a", "b", "", "b", "c"]) == ("b", "c")
    assert known.new(["c", "d"]) == ("c", "d"), "one that waits comes first now"
    assert known.time_s((("a", 1.0),)) == pytest.approx(0.3)  # the engine may be at one just now
    known.handle(Encoded(("b",)))
    assert known.are_waiting((("b", 0.5), ("c", 0.5))) and not known.are_waiting((("b", 1.0),))
    known.handle(Failed("out of memory", prompts=("c",)))  # which may be asked for again
    known.handle(Encoded(("d",)))
    assert known.time_s((("a", 0.5), ("d", 0.5))) == 0.0
    assert known.new(["b", "c", "d"]) == ("c",)


def test_a_new_engine_process_knows_no_texts():
    known = Texts()
    ask(known, 0, "a", text_s=0.3)
    known.handle(Died(1, "gone", None, 0.5))
    assert known.time_s((("a", 1.0),)) == pytest.approx(0.3) and known.new(["a"]) == ("a",)
