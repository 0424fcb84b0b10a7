"""Modulators: waves over time and beats, sums and clamping, envelopes, and that base values stay."""

import random

import pytest

from ltx_live import params
from ltx_live.control.event import Event, Origin
from ltx_live.control.modulators import DECAY, Modulators, wave
from ltx_live.control.registry import Registry
from ltx_live.params import GenerationParams, OutputParams

ORIGIN = Origin("osc", "test")


def made(number=1, **rows):
    """Modulators of which one is on, with these values of its rows."""
    modulators = Modulators(random.Random(1))
    values = params.defaults() | {f"mod/{number}/active": True}
    modulators.take(values | {f"mod/{number}/{name}": value for name, value in rows.items()})
    return modulators


def at(modulators, now_s, beat=0.0, signals=(), base=None):
    modulators.update(now_s, beat, dict(signals))
    return modulators.apply(base or OutputParams())


@pytest.mark.parametrize(
    ("shape", "quarters"),
    [
        ("sine", (0, 1, 0, -1)),
        ("triangle", (0, 1, 0, -1)),
        ("saw", (-1, -0.5, 0, 0.5)),
        ("square", (1, 1, -1, -1)),
    ],
)
def test_a_wave_over_its_cycle(shape, quarters):
    assert [wave(shape, k / 4) for k in range(4)] == pytest.approx(quarters, abs=1e-12)
    assert wave(shape, -3.75) == pytest.approx(wave(shape, 0.25)), "beats before a resync"


def test_a_wave_in_hertz_moves_its_target_by_depth_times_range_and_goes_on_when_its_rate_changes():
    modulators = made(target="out/hue", rate=2.0, depth=0.25)
    assert at(modulators, 10.0).out_hue == 0
    assert at(modulators, 10.125).out_hue == pytest.approx(90)
    modulators.take(
        params.defaults() | {"mod/1/active": True, "mod/1/target": "out/hue", "mod/1/rate": 1.0, "mod/1/depth": 0.25}
    )
    assert at(modulators, 10.125).out_hue == pytest.approx(90), "no jump"
    assert at(modulators, 10.375).out_hue == pytest.approx(0)


def test_a_wave_in_beats_keeps_to_the_bar_whenever_it_was_switched_on():
    late = made(target="out/hue", rate=4.0, unit="beats", depth=0.5)
    assert at(late, 3.3, beat=41.0).out_hue == pytest.approx(180)
    assert at(late, 4.3, beat=43.0).out_hue == pytest.approx(-180)


def test_phase_shifts_and_switching_on_begins_anew():
    assert at(made(target="out/hue", phase=0.25, depth=0.5), 7.0).out_hue == pytest.approx(180)
    modulators = made(target="out/hue", depth=0.5)
    at(modulators, 0.0)
    assert at(modulators, 0.25).out_hue == pytest.approx(180)
    values = params.defaults() | {"mod/1/target": "out/hue", "mod/1/depth": 0.5}
    modulators.take(values)
    assert at(modulators, 0.3).out_hue == 0 and modulators.apply(OutputParams()) == OutputParams()
    modulators.take(values | {"mod/1/active": True})
    assert at(modulators, 0.3).out_hue == pytest.approx(0), "from its beginning"


def test_random_holds_a_value_for_a_cycle():
    modulators = made(target="out/hue", shape="random", rate=2.0, depth=0.5)
    seen = [at(modulators, k / 20).out_hue for k in range(200)]
    assert len(set(seen)) == 20 and max(seen) > 60 and min(seen) < -60


def test_an_envelope_decays_from_its_trigger_to_one_percent_in_a_cycle():
    modulators = made(3, target="out/brightness", shape="envelope", rate=4.0, depth=0.5)
    assert at(modulators, 0.0).out_brightness == 0
    modulators.trigger(3)
    assert at(modulators, 0.0).out_brightness == 1
    assert at(modulators, 0.125).out_brightness == pytest.approx(DECAY**0.5)
    assert at(modulators, 0.25).out_brightness == pytest.approx(DECAY)
    modulators.trigger(3)
    assert at(modulators, 0.25).out_brightness == 1
    in_beats = made(target="out/brightness", shape="envelope", rate=2.0, unit="beats", depth=0.5)
    at(in_beats, 0.0, beat=7.5)
    in_beats.trigger(1)
    assert at(in_beats, 9.0, beat=8.5).out_brightness == pytest.approx(DECAY**0.5)
    assert at(in_beats, 9.0, beat=0.0).out_brightness == pytest.approx(DECAY**0.5), "a resync brings nothing back"


def test_a_signal_is_added_as_it_is():
    modulators = made(target="out/saturation", shape="low", depth=-0.5)
    assert at(modulators, 0.0, signals={"low": 0.5}).out_saturation == 0.5
    assert modulators.follows_sound and not made(target="out/hue").follows_sound
    assert not made(shape="low").follows_sound, "without a target"


def test_several_add_up_and_the_sum_is_clamped():
    modulators = made()
    values = params.defaults()
    for number in (1, 2):
        values |= {f"mod/{number}/active": True, f"mod/{number}/target": "out/master", f"mod/{number}/shape": "level"}
        values |= {f"mod/{number}/depth": -0.25}
    modulators.take(values)
    assert at(modulators, 0.0, signals={"level": 1.0}).out_master == 0.5
    assert modulators.apply(OutputParams(out_master=0.3)).out_master == 0
    modulators.take(values | {"mod/2/depth": 1.0})
    assert at(modulators, 0.0, signals={"level": 1.0}).out_master == 1


def test_generation_values_are_rounded_and_snapped_as_their_rows_say():
    modulators = made(target="lora/3/strength", shape="level", depth=0.25)
    base = GenerationParams(lora_strength=(1.0, 0.5, 1.0, 0.25, 1.0, 1.0, 1.0, 1.0))
    modulators.update(0.0, 0.0, {"level": 1.0})
    assert modulators.apply(base).lora_strength == (1.0, 0.5, 1.5, 0.25, 1.0, 1.0, 1.0, 1.0)
    assert base.lora_strength[2] == 1.0 and modulators.apply(OutputParams()) == OutputParams()
    frames = made(target="num_frames", shape="level", depth=0.1)
    frames.update(0.0, 0.0, {"level": 1.0})
    assert frames.apply(GenerationParams(num_frames=57)).num_frames == 81  # 57 + 24.8, as 8K + 1


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ("out/huu", "did you mean /ltx/out/hue?"),
        ("prompt", "/ltx/prompt: cannot be modulated"),
        ("out/freeze", "/ltx/out/freeze: cannot be modulated"),
        ("mod/2/depth", "/ltx/mod/2/depth: cannot be modulated"),
        ("height", "/ltx/height: cannot be modulated"),
        ("window/screen", "/ltx/window/screen: cannot be modulated"),
        ("bank/next", "/ltx/bank/next: cannot be modulated"),
    ],
)
def test_what_cannot_be_a_target_is_refused_in_a_line_and_the_old_one_stays(sent, said):
    registry = Registry()
    registry.apply((Event("/ltx/mod/1/target", ("/ltx/out/hue",), ORIGIN, 0.0),))
    outcome = registry.apply((Event("/ltx/mod/1/target", (sent,), ORIGIN, 0.0),))
    assert len(outcome.errors) == 1 and said in outcome.errors[0]
    assert registry.values["mod/1/target"] == "out/hue"
    registry.apply((Event("/ltx/mod/1/target", ("",), ORIGIN, 0.0),))
    assert registry.values["mod/1/target"] == ""


def test_every_target_that_is_accepted_can_be_moved():
    num = 0
    for name, base in params.defaults().items():
        try:
            params.modulation_target(name)
        except params.ParameterError:
            continue
        for snapshot in (OutputParams(), GenerationParams()):
            if hasattr(snapshot, params.field_name(params.find(name).name)):
                up, down = made(target=name, shape="level", depth=1.0), made(target=name, shape="level", depth=-1.0)
                seen = {at(each, 0.0, signals={"level": 1.0}, base=snapshot) for each in (up, down)}
                assert len(seen) == 2, (name, base)
                num += 1
    assert num > 30


def test_a_quick_trigger_is_not_taken_for_the_press_before():
    registry = Registry()
    fired = [registry.apply((Event("/ltx/mod/1/trigger", (1,), ORIGIN, k * 0.25),)).fired for k in range(4)]
    assert all(fired)
