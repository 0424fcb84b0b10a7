"""Times of cues, and numbers on their way."""

import pytest

from ltx_live import params
from ltx_live.control.glides import Glides, Span, glides, parse_span
from ltx_live.errors import ParameterError

VALUES = params.defaults()  # 120 bpm: two beats a second


@pytest.mark.parametrize(
    ("text", "span"),
    [
        (8, Span(8)), (0.5, Span(0.5)), ("8", Span(8)), ("8 s", Span(8)), ("1.5 seconds", Span(1.5)),
        ("4 beats", Span(4, "beats")), ("1 beat", Span(1, "beats")), ("2bars", Span(2, "bars")), (0, Span(0)),
    ],
)  # fmt: skip
def test_times(text, span):
    assert parse_span(text) == span


@pytest.mark.parametrize("text", ["", "soon", -1, "4 bears", True, float("inf"), float("nan"), 10**400, [], "1 2"])
def test_what_is_no_time(text):
    with pytest.raises(ParameterError, match="is no time; write seconds"):
        parse_span(text)


def test_fractional_numbers_glide_and_the_rest_switches():
    assert all(glides(name) for name in ("out/hue", "drift_anchor", "lora/2/strength", "tempo/bpm"))
    others = ("prompt", "num_steps", "out/fit", "out/freeze", "frame_rate", "prompts/1/weight", "prompts/morph", "seed")
    assert not any(glides(name) for name in others)


def test_a_glide_moves_evenly_and_ends_at_its_goal():
    way = Glides()
    way.start({"out/hue": 40.0}, VALUES, Span(2))
    assert way.advance(0.5, VALUES) == {"out/hue": pytest.approx(10)}
    assert way.advance(0.5, VALUES) == {"out/hue": pytest.approx(20)}
    assert way.advance(5, VALUES) == {"out/hue": 40.0}
    assert way.advance(1, VALUES) == {}


def test_bars_follow_the_tempo_while_they_last():
    way = Glides()
    way.start({"out/hue": 80.0}, VALUES, Span(1, "bars"))
    assert way.advance(1, VALUES)["out/hue"] == pytest.approx(40)  # two of four beats
    assert way.advance(1, VALUES | {"tempo/bpm": 60.0})["out/hue"] == pytest.approx(60)
    assert way.advance(1, VALUES | {"tempo/bpm": 60.0})["out/hue"] == 80.0


def test_chunk_values_are_soft_until_a_chunk_has_them():
    way = Glides()
    way.start({"drift_anchor": 1.0, "out/hue": 10.0}, VALUES, Span(1))
    way.advance(0.5, VALUES)
    way.asked()
    assert way.soft == {"drift_anchor"}
    way.advance(0.6, VALUES)
    assert way.soft == {"drift_anchor"}
    way.asked()
    assert way.soft == set()


def test_what_is_touched_or_stopped_goes_no_further():
    way = Glides()
    way.start({"drift_anchor": 1.0, "out/hue": 10.0}, VALUES, Span(1))
    way.drop(["out/hue"])
    assert set(way.advance(0.1, VALUES)) == {"drift_anchor"}
    way.stop()
    assert way.advance(0.1, VALUES) == {} and way.soft == {"drift_anchor"}
