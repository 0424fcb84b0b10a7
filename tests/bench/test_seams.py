"""The measures on pictures and sound whose answers are known, and the bench's films on the test card."""

import numpy as np
import pytest

from ltx_live.bench import _measures as measures
from ltx_live.bench import seams
from ltx_live.bench._arrival import ENOUGH, LOOK_FRAMES, when_seen
from ltx_live.bench._measures import AtSeams, Meter
from ltx_live.config import initial_values
from ltx_live.engine.testcard import TestCardEngine

RATE = 24
SEAMS = np.arange(48, 480, 48)


def texture(shift: tuple[float, float] = (0.0, 0.0), size: tuple[int, int] = (160, 288)) -> np.ndarray:
    """A soft random texture moved down and right by pixels, (H, W) in 0..1."""
    noise = np.fft.rfft2(np.random.default_rng(0).standard_normal(size))
    down, right = np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])
    kept = noise * np.exp(-((down**2 + right**2) / (2 * 0.03**2)))
    moved = np.fft.irfft2(kept * np.exp(-2j * np.pi * (down * shift[0] + right * shift[1])), s=size)
    return np.clip(0.5 + moved / (4 * moved.std()), 0, 1).astype(np.float32)


def to_frame(grey: np.ndarray) -> np.ndarray:
    return np.repeat(np.rint(255 * grey).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("shift", [(0, 0), (2.6, -1.2), (7, 8.5), (-12, 4)])
def test_motion_is_what_the_picture_moved_by(shift):
    meter = Meter()
    meter.write_frame(to_frame(texture()))
    meter.write_frame(to_frame(texture(shift)))
    found = np.median(meter.film().motion[1], axis=0)
    assert found == pytest.approx(np.array(shift), abs=0.3 + 0.06 * np.hypot(*shift))
    assert measures.speed(meter.film().motion)[1] == pytest.approx(np.hypot(*shift), rel=0.1, abs=0.1)


def test_stripes_move_across_themselves_only():
    columns = np.arange(144)
    before, after = (np.tile(np.sin(2 * np.pi * (columns - x) / 24), (80, 1)) for x in (0, 2))
    down, right = np.median(measures.block_motion(before, after), axis=0)
    assert abs(down) < 0.05 and right == pytest.approx(2, rel=0.25)


def test_a_reversal_is_a_jump_of_twice_the_speed():
    positions = np.concatenate((np.arange(6), 4 - np.arange(6))) * 2.0
    meter = Meter()
    for x in positions:
        meter.write_frame(to_frame(texture((0, x))))
    jump = measures.motion_jump(meter.film().motion)
    assert jump[6] == pytest.approx(4, rel=0.15)
    assert np.delete(jump, (1, 6)).max() < 0.4


def test_figures_of_one_picture():
    meter = Meter()
    bright = np.zeros((80, 144, 3), np.uint8)
    bright[:, 72:] = (255, 128, 0)
    meter.write_frame(bright)
    meter.write_frame(255 - bright)
    film = meter.film()
    assert film.colour[0] == pytest.approx([0.5, 64 / 255, 0], abs=1e-3)
    half = 0.5 * (0.2126 + 0.7152 * 128 / 255)
    assert film.brightness[0] == pytest.approx(half, abs=1e-3) and film.contrast[0] == pytest.approx(half, abs=1e-3)
    # Black turns white, and orange its complement.
    assert film.difference.tolist() == pytest.approx([0, 2 * half], abs=1e-3)


def test_sharpness_grows_with_contrast_and_falls_with_blur():
    grey = texture()
    blurred = (grey + np.roll(grey, 4, axis=1)) / 2
    assert measures.sharpness(0.5 * grey) == pytest.approx(0.5 * measures.sharpness(grey), rel=1e-3)
    assert measures.sharpness(blurred) < 0.9 * measures.sharpness(grey)


def test_at_seams_and_elsewhere():
    values = np.full(500, 0.1)
    values[SEAMS] = 0.3  # the pair over the cut
    values[SEAMS - 3] = 0.05
    values[0] = 9
    found = AtSeams.of(values, SEAMS, (6, 1))
    assert found.seams.shape == (len(SEAMS), 8) and len(found.elsewhere) == 500 - 1 - 8 * len(SEAMS)
    expected = [1, 1, 1, 0.5, 1, 1, 3, 1]
    assert np.median(found.ratios(1e-3), axis=0) == pytest.approx(expected)
    assert np.median(found.ratios(1.0), axis=0) == pytest.approx(np.array(expected) / 10)  # the least denominator
    near_the_ends = AtSeams.of(values, np.array([3, 48, 499]), (6, 1))
    assert near_the_ends.seams.shape == (1, 8)


@pytest.mark.parametrize(("depth", "least_db", "most_db"), [(0.0, -3, 3), (0.05, 6, 30), (0.5, 20, 60)])
def test_breathing_is_heard_over_the_noise(depth, least_db, most_db):
    time_s = np.arange(2400) / RATE
    noise = np.random.default_rng(1).standard_normal(len(time_s)) * 0.1
    values = 1 + 0.01 * time_s + noise + depth * np.sin(2 * np.pi * 0.5 * time_s)
    assert least_db < measures.breathing_db(values, 0.5, RATE) < most_db
    assert measures.breathing_db(values, 0.3, RATE) < 6  # another rate hardly hears it
    assert np.isnan(measures.breathing_db(values[:100], 0.5, RATE))


def test_steps_of_sound_at_seams():
    time_s = np.arange(20 * 48000) / 48000
    sound = (0.1 * np.sin(2 * np.pi * 220 * time_s)).astype(np.float32)
    at = np.arange(2, 20, 2) * 48000
    assert measures.sound_steps(sound, at) == pytest.approx((1, 1), rel=0.1)
    clicks = sound.copy()
    clicks[at - 2000] += 0.2
    assert measures.sound_steps(clicks, at)[0] > 20
    louder = sound * np.where((time_s % 4) < 2, 1.0, 2.0).astype(np.float32)  # 6 dB at every seam
    assert measures.sound_steps(louder, at)[1] > 5
    assert measures.loudness_db(sound) == pytest.approx(-23.01, abs=0.01)


def test_a_loop_and_a_freeze_are_not_far_from_themselves():
    pictures = np.random.default_rng(0).random((480, 4, 6, 3), np.float32)
    assert measures.distance_apart(pictures, 120) == pytest.approx(1 / 3, rel=0.05)
    assert measures.distance_apart(np.tile(pictures[:120], (4, 1, 1, 1)), 120) == 0
    assert measures.distance_apart(np.repeat(pictures[:1], 480, axis=0), 120) == 0


def test_when_most_have_seen_the_new_prompt():
    seen = np.ones((10, 24), bool)
    seen[:, :4] = False
    assert when_seen(seen, RATE) == (4 * LOOK_FRAMES / RATE, 1.0)
    seen[9] = False  # what is never seen does not count as late
    assert when_seen(seen, RATE) == (4 * LOOK_FRAMES / RATE, pytest.approx(0.9))
    seen[8, :12] = False
    assert 0.8 < ENOUGH * 0.9 < 0.9 and when_seen(seen, RATE)[0] == 12 * LOOK_FRAMES / RATE
    assert when_seen(np.zeros((10, 24), bool), RATE) == (3.0, 0.0)  # not within the time watched


def test_a_film_of_the_test_card_has_its_seams_where_chunks_meet():
    values = initial_values("testcard", None, {"num_frames": 33, "width": 64, "height": 32, "randomize_seed": False})
    film = seams.film(TestCardEngine(64, 32), values, 6.0)
    assert len(film.measured.difference) == 144 and len(film.measured.sound) == 6 * 48000
    assert film.seams[:4].tolist() == [33, 57, 81, 105] and film.chunk_s == 1.0
    assert np.array_equal(film.seam_samples, film.seams * 2000)
    sound = film.measured.sound.reshape(-1, 480)
    assert (np.abs(sound).max(axis=1) > 0.05).sum() >= 6  # the card's beep every second
