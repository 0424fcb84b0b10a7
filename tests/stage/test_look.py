"""The look of the picture: the numpy maths beside the shader."""

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
for k, look in enumerate(looks):
    output = params.snapshot(params.OutputParams, params.defaults() | look)
    picture = Picture(Frame(first, 0, 0, k), Frame(second, 1, 0, k), 0.3) if k % 2 else Picture(Frame(first, 0, 1, k))
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
