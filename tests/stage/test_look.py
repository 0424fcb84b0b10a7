"""The look of the picture: the numpy maths beside the shader, and what of it goes on in time."""

import numpy as np
import pytest

from ltx_live import params
from ltx_live.stage.look import Motion, NumpyCompositor, limit_strobe
from ltx_live.stage.timeline import Frame, Picture

OFFSCREEN = """
import colorsys, numpy as np
from ltx_live import params
from ltx_live.stage.look import NumpyCompositor
from ltx_live.stage.timeline import Frame, Picture
from ltx_live.stage.window import Offscreen

rng = np.random.default_rng(7)
first, second = rng.integers(0, 256, (2, 96, 130, 3), dtype=np.uint8)
graphics, numbers = Offscreen(), NumpyCompositor()
assert graphics.grab().size == 0
looks = [{}, {"out/brightness": 0.2}, {"out/contrast": 1.7}, {"out/saturation": 0.0}, {"out/saturation": 1.8}]
looks += [{"out/hue": h} for h in (-170, -60, 45, 120)] + [{"out/master": 0.5, "out/opacity": 0.7}, {"out/blackout": 1}]
looks += [{"out/hue": 75, "out/brightness": -0.1, "out/contrast": 1.3, "out/saturation": 1.4, "out/master": 0.9}]
looks += [{"out/gamma": g} for g in (0.3, 4)] + [{"out/invert": v} for v in (0.3, 1)]
looks += [{"out/mirror": m} for m in ("h", "v", "quad")] + [{"out/zoom": z} for z in (0.25, 0.6, 1.5, 4)]
looks += [{"out/panx": 0.3}, {"out/pany": -0.7}, {"out/rotate": 90}, {"out/rotate": -33}]
looks += [{"out/zoom": 0.7, "out/rotate": 20, "out/panx": 0.2, "out/mirror": "quad", "out/invert": 0.8}]
looks += [{"out/feedback": 0.95}] * 5 + [{}] + [{"out/feedback": 0.5, "out/rotate": 10}] * 3 + [{"out/strobe": 3}] * 9
for k, look in enumerate(looks):
    output = params.snapshot(params.OutputParams, params.defaults() | look)
    picture = Picture(Frame(first, 0, 0, k), Frame(second, 1, 0, k), 0.3, k / 24) if k % 2 else None
    picture = picture or Picture(Frame(first if look or k % 4 else second, 0, 1, k), time_s=k / 24)
    graphics.compose(picture, output)
    numbers.compose(picture, output)
    away = np.abs(graphics.grab().astype(int) - numbers.grab())
    assert away.max() <= 2, (look, away.max())
    if look == {"out/hue": 120}:
        for y, x in ((0, 0), (5, 9), (95, 129)):
            h, s, v = colorsys.rgb_to_hsv(*(first[y, x] / 255))
            expected = np.array(colorsys.hsv_to_rgb((h + 120 / 360) % 1, s, v)) * 255
            assert k % 2 or np.abs(numbers.grab()[y, x] - expected).max() <= 1
print("SAME")
"""


def test_the_shader_without_a_display_equals_the_numpy_maths(run_script):
    environment = {"DISPLAY": "", "LIBGL_ALWAYS_SOFTWARE": "1"}
    assert "SAME" in run_script(OFFSCREEN, environment)


def output(**rows):
    return params.snapshot(params.OutputParams, params.defaults() | {f"out/{name}": rows[name] for name in rows})


def drawn(pixels, **rows):
    compositor = NumpyCompositor()
    compositor.compose(Picture(Frame(pixels, 0, 0, 0)), output(**rows))
    return compositor.grab()


def test_the_defaults_leave_every_byte_as_it_was():
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(drawn(pixels), pixels)


def test_gamma_lifts_the_middle_and_invert_is_the_negative():
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    assert np.array_equal(drawn(ramp, gamma=2.0), np.rint(np.sqrt(ramp / 255) * 255).astype(np.uint8))
    assert np.array_equal(drawn(ramp, invert=1.0), 255 - ramp)
    assert np.ptp(drawn(ramp, invert=0.5)) <= 1
    assert np.array_equal(drawn(ramp, gamma=2.0, invert=1.0)[0, 64], 255 - drawn(ramp, gamma=2.0)[0, 64])


def trail(rate_hz, seconds=0.5, feedback=0.9):
    """A white picture that turns black, drawn so many times a second: how bright it is `seconds` later."""
    compositor, look = NumpyCompositor(), output(feedback=feedback)
    white, black = np.full((2, 2, 3), 255, np.uint8), np.zeros((2, 2, 3), np.uint8)
    compositor.compose(Picture(Frame(white, 0, 0, 0)), look)
    for k in range(1, round(seconds * rate_hz) + 1):
        compositor.compose(Picture(Frame(black, 0, 1, 0), time_s=k / rate_hz), look)
    return compositor.grab().mean()


@pytest.mark.parametrize("rate_hz", [12, 24, 60, 144])
def test_trails_last_as_long_at_any_rate_of_drawing(rate_hz):
    assert trail(rate_hz, 0.25) == pytest.approx(255 * 0.9**15, abs=1)
    assert trail(rate_hz, 10.0, 0.98) == 0, "they end"


def test_drawing_again_at_the_same_time_changes_no_trail():
    motion = Motion()
    for time_s in (1.0, 1.0, 0.9, 1.0):
        motion.advance(time_s, output(feedback=0.5))
        assert motion.kept == 1.0
    motion.advance(1.0 + 1 / 60, output(feedback=0.5))
    assert motion.kept == pytest.approx(0.5)


def lights(rates, rate_hz=240):
    """Whether it is lit at each time for a list of strobe rates, one for each draw."""
    motion, lit = Motion(), []
    for k, rate in enumerate(rates):
        motion.advance(k / rate_hz, output(strobe=rate))
        lit.append(motion.is_lit)
    return np.array(lit)


def test_the_strobe_flashes_at_its_rate_and_is_light_half_the_time():
    for draws in (60, 240):
        lit = lights([3.0] * (draws * 4), draws)
        assert (np.diff(lit.astype(int)) == 1).sum() in (11, 12) and lit.mean() == pytest.approx(0.5, abs=0.03)
    assert lights([0.0] * 100).all()


def test_no_movement_of_the_rate_makes_more_flashes():
    rng = np.random.default_rng(3)
    moves = [np.tile([3.0] * k + [0.0] * k, 400 // k) for k in (1, 5, 20, 41)]
    moves += [np.tile([3.0] * 44 + [0.0] * 16, 20), rng.uniform(0, 3, 2400)]
    for rates in moves:
        begins = np.flatnonzero(np.diff(lights(rates).astype(int)) == 1) / 240
        assert (np.diff(begins) >= 1 / 3 - 2 / 240).all(), rates[:50]


def test_switched_off_it_is_light_again_at_once_or_after_the_dark_half():
    lit = lights([0.1] * (240 * 7) + [0.0] * 240)
    assert not lit[240 * 6] and lit[240 * 7 + 42 :].all()


def test_the_limit_holds_only_what_is_faster():
    assert limit_strobe(output(strobe=20.0), 3.0).out_strobe == 3
    calm = output(strobe=2.0)
    assert limit_strobe(calm, 3.0) is calm
