"""Mirror, pan, zoom and rotation: what is where."""

import math

import numpy as np
import pytest

from ltx_live import params
from ltx_live.stage.geometry import seen_through, view

WIDTH, HEIGHT = 60, 40


def look(**rows):
    output = params.snapshot(params.OutputParams, params.defaults() | {f"out/{name}": rows[name] for name in rows})
    found = view(output, WIDTH, HEIGHT)
    return found and (lambda pixels: seen_through(pixels.astype(np.float32), found))


@pytest.fixture
def pixels():
    return np.random.default_rng(5).integers(0, 256, (HEIGHT, WIDTH, 3))


def test_at_the_defaults_there_is_no_geometry():
    assert look() is None


def test_mirrors_repeat_the_first_half(pixels):
    half_h = np.concatenate([pixels[:, :30], pixels[:, 29::-1]], axis=1)
    half_v = np.concatenate([pixels[:20], pixels[19::-1]], axis=0)
    quad = np.concatenate([half_h[:20], half_h[19::-1]], axis=0)
    for name, wanted in (("h", half_h), ("v", half_v), ("quad", quad)):
        np.testing.assert_allclose(look(mirror=name)(pixels), wanted, atol=0.01)


def test_pan_moves_right_and_down_and_leaves_black(pixels):
    moved = look(panx=0.1, pany=0.25)(pixels)
    np.testing.assert_allclose(moved[11:, 7:], pixels[1:-10, 1:-6], atol=0.01)
    assert max(moved[:10].max(), moved[:, :6].max(), look(panx=-1.0)(pixels).max()) < 0.01


def test_rotation_is_clockwise_and_keeps_the_shape(pixels):
    np.testing.assert_allclose(look(rotate=180.0)(pixels), pixels[::-1, ::-1], atol=0.01)
    turned = look(rotate=90.0)(pixels)
    wanted = np.rot90(pixels, -1)  # (60, 40)
    np.testing.assert_allclose(turned[:, 10:50], wanted[10:50], atol=0.1)
    assert max(turned[:, :9].max(), turned[:, 51:].max()) < 0.01


def test_zoom_is_around_the_middle():
    dots = np.zeros((HEIGHT, WIDTH, 3))
    dots[18:22, 34:38] = 255
    for zoom in (0.5, 2.0, 3.0):
        seen = look(zoom=zoom)(dots)[..., 0]
        rows, columns = np.indices(seen.shape) + 0.5
        assert (seen * columns).sum() / seen.sum() == pytest.approx(30 + 6 * zoom, abs=0.6)
        assert (seen * rows).sum() / seen.sum() == pytest.approx(20, abs=0.3)
        assert seen.sum() / 255 == pytest.approx(16 * zoom**2, rel=0.2)


def test_it_is_moved_before_it_is_zoomed_and_turned_last():
    dots = np.zeros((HEIGHT, WIDTH, 3))
    dots[19:21, 29:31] = 255
    seen = look(panx=0.1, zoom=2.0, rotate=30.0)(dots)[..., 0]  # 6 px to the right, then 12, then turned
    rows, columns = np.indices(seen.shape) + 0.5
    place = (seen * columns).sum() / seen.sum(), (seen * rows).sum() / seen.sum()
    assert place == pytest.approx((30 + 12 * math.cos(math.pi / 6), 20 + 12 * math.sin(math.pi / 6)), abs=0.3)
