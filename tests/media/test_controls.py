"""Control signals: edges agree with a slow and plain Canny, trails and masks are drawn as their LoRAs know them."""

import time

import numpy as np
import pytest

from ltx_live.media import controls
from ltx_live.media.controls import Tracks, blocks, canny, luminance, with_mask


def slow_canny(frame: np.ndarray, low: float, high: float) -> np.ndarray:
    """The same, a pixel at a time, from the definition. (H, W) bool."""
    grey = luminance(frame[None])[0, ..., 0].astype(int)
    height, width = grey.shape
    binomial = (1, 4, 6, 4, 1)

    def smooth(y: int, x: int) -> int:
        return sum(
            binomial[i] * binomial[j] * grey[np.clip(y + i - 2, 0, height - 1), np.clip(x + j - 2, 0, width - 1)]
            for i in range(5)
            for j in range(5)
        )

    field = np.array([[smooth(y, x) for x in range(-1, width + 1)] for y in range(-1, height + 1)])
    strength = np.zeros((height + 2, width + 2), np.float32)
    direction = {}
    for y in range(1, height + 1):
        for x in range(1, width + 1):
            left, right = field[y - 1 : y + 2, x - 1], field[y - 1 : y + 2, x + 1]
            above, below = field[y - 1, x - 1 : x + 2], field[y + 1, x - 1 : x + 2]
            dx = np.float32(right @ (1, 2, 1) - left @ (1, 2, 1))
            dy = np.float32(below @ (1, 2, 1) - above @ (1, 2, 1))
            strength[y, x] = dx * dx + dy * dy
            angle = np.degrees(np.arctan2(dy, dx)) % 180
            sector = int((angle + 22.5) // 45) % 4  # across: to the right, down right, down, down left
            direction[y, x] = [(0, 1), (1, 1), (1, 0), (1, -1)][sector]
    unit = 4 * 256 * 0.625 * 255
    thin = {
        (y, x)
        for (y, x), (down, right) in direction.items()
        if strength[y, x] >= (low * unit) ** 2
        and strength[y, x] > strength[y - down, x - right]
        and strength[y, x] >= strength[y + down, x + right]
    }
    waiting = [place for place in thin if strength[place] >= (high * unit) ** 2]
    found = set(waiting)
    while waiting:
        y, x = waiting.pop()
        for place in [(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]:
            if place in thin and place not in found:
                found.add(place)
                waiting.append(place)
    edges = np.zeros((height, width), bool)
    for y, x in found:
        edges[y - 1, x - 1] = True
    return edges


def shapes(height: int = 26, width: int = 34) -> np.ndarray:
    """A disc, a square, a slanted line, a soft gradient, and noise: (5, H, W, 3) uint8."""
    y, x = np.mgrid[:height, :width]
    pictures = [
        np.where(np.hypot(x - 16, y - 13) < 8.3, 220, 40),
        np.where((abs(x - 16) < 9) & (abs(y - 13) < 7), 30, 200),
        np.where(abs(0.4 * x - y + 6) < 2, 255, 90),
        x * 7,
        np.random.default_rng(3).integers(0, 256, (height, width)),
    ]
    return np.repeat(np.stack(pictures).astype(np.uint8)[..., None], 3, axis=-1)


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.2), (0.02, 0.5), (0.3, 0.3)])
def test_edges_are_those_of_the_plain_definition(low, high):
    frames = shapes()
    edges = canny(frames, low, high)
    for frame, found in zip(frames, edges, strict=True):
        assert np.array_equal(found[..., 0] == 255, slow_canny(frame, low, high))
    assert set(np.unique(edges)) <= {0, 255}
    assert edges[0].any() and edges[4].any()


def test_frames_do_not_know_of_each_other(monkeypatch):
    frames = shapes()
    together = canny(frames)
    monkeypatch.setattr(controls, "GROUP_PX", 1)
    assert np.array_equal(canny(frames), together)
    assert np.array_equal(canny(frames[2:3])[0], together[2])


def test_an_edge_is_one_pixel_wide_and_closed():
    frame = np.full((1, 40, 60, 3), 20, np.uint8)
    frame[0, 10:30, 15:45] = 230
    edges = canny(frame)[0, ..., 0] == 255
    assert edges[20].sum() == 2 and edges[:, 30].sum() == 2
    assert set(np.flatnonzero(edges[20])) <= {14, 15, 44, 45}
    assert 90 <= edges.sum() <= 104  # the outline has 2 x (20 + 30) pixels


def test_thresholds_are_the_contrast_of_a_step():
    def has_edge(contrast: float, low: float, high: float) -> bool:
        frame = np.zeros((1, 16, 20, 3), np.uint8)
        frame[:, :, 10:] = round(255 * contrast)
        return bool(canny(frame, low, high).any())

    assert has_edge(0.3, 0.1, 0.29) and not has_edge(0.3, 0.1, 0.31)
    frame = np.zeros((1, 40, 40, 3), np.uint8)
    frame[0, :, 20:] = np.linspace(255, 25, 40).astype(np.uint8)[:, None, None]  # fades from strong to weak
    long = canny(frame, 0.08, 0.6)[0, :, 17:23, 0].any(axis=1)
    assert long.all()  # the weak end hangs on the strong one
    assert not canny(frame[:, 25:], 0.08, 0.6).any()  # alone it is none


def test_nothing_in_nothing_out():
    assert not canny(np.full((3, 16, 16, 3), 77, np.uint8), 0, 0).any()
    assert canny(np.zeros((0, 16, 16, 3), np.uint8)).shape == (0, 16, 16, 3)
    assert canny(np.zeros((2, 1, 1, 3), np.uint8)).shape == (2, 1, 1, 3)


def test_edges_of_a_chunk_take_well_under_a_second():
    y, x = np.mgrid[:160, :288]
    discs = [np.hypot((x - 60 - 3 * k) % 70 - 35, (y + k) % 50 - 25) < 17 for k in range(57)]
    frames = np.where(np.stack(discs)[..., None], (230, 120, 40), (30, 60, 90)).astype(np.uint8)
    frames += np.random.default_rng(5).integers(0, 24, frames.shape, np.uint8)
    started_s = time.perf_counter()
    canny(frames)
    assert time.perf_counter() - started_s < 1.0


def test_luminance_is_luma():
    frames = np.random.default_rng(2).integers(0, 256, (3, 9, 11, 3), np.uint8)
    grey = luminance(frames)
    wanted = np.rint(frames.astype(float) @ (0.2126, 0.7152, 0.0722))
    assert np.abs(grey - wanted[..., None]).max() <= 1
    assert (grey[..., 0] == grey[..., 1]).all() and (grey[..., 1] == grey[..., 2]).all()
    white = np.full((1, 2, 2, 3), 255, np.uint8)
    assert np.array_equal(luminance(white), white)


def test_a_mask_covers_whole_blocks():
    mask = np.zeros((20, 30), bool)
    mask[7, 8] = mask[18, 29] = True
    grown = blocks(mask)
    wanted = np.zeros((20, 30), bool)
    wanted[0:8, 8:16] = wanted[16:20, 24:30] = True
    assert np.array_equal(grown, wanted)
    assert np.array_equal(blocks(np.stack([mask, mask & False])), np.stack([wanted, wanted & False]))
    frames = np.random.default_rng(4).integers(0, 200, (2, 20, 30, 3), np.uint8)
    painted = with_mask(frames, mask)
    assert painted.dtype == np.uint8
    assert (painted[:, wanted] == (255, 0, 255)).all()
    assert np.array_equal(painted[:, ~wanted], frames[:, ~wanted])


def test_a_point_moves_evenly_stays_and_ends():
    tracks = Tracks()
    tracks.add(1, 0.2, 0.5, 10.0)
    tracks.add(1, 0.6, 0.7, 10.5)
    tracks.add(1, 0.6, 0.1, 14.0)  # after more than a second of standing still
    tracks.end(1, 15.0)
    tracks.add(1, 0.0, 0.0, 16.0)
    tracks.end(2, 15.0)
    at = tracks.positions(1, np.array([9.9, 10.0, 10.25, 10.5, 13.9, 14.0, 14.9, 15.5, 16.5]))
    nan = (np.nan, np.nan)
    wanted = [nan, (0.2, 0.5), (0.4, 0.6), (0.6, 0.7), (0.6, 0.7), (0.6, 0.1), (0.6, 0.1), nan, (0, 0)]
    assert np.allclose(at, wanted, equal_nan=True)
    kept = tracks.copy()
    tracks.add(1, 0.9, 0.9, 10.25)  # time went back: what came later is forgotten
    assert np.allclose(tracks.positions(1, np.array([12.0])), [(0.9, 0.9)])
    assert np.allclose(kept.positions(1, np.array([14.5])), [(0.6, 0.1)])
    tracks.clear()
    assert not tracks.drawn(np.arange(3.0), 32, 32).any()


def moving(num_frames: int, width: int, height: int) -> np.ndarray:
    """One point from left to right, at 24 frames a second."""
    tracks = Tracks()
    times_s = np.arange(num_frames) / 24
    for time_s in times_s:
        tracks.add(3, 0.1 + 0.8 * time_s / times_s[-1], 0.5, time_s)
    return tracks.drawn(times_s, width, height)


def test_a_trail_is_as_the_lora_knows_it():
    """Radii 8 to 2 at a short side of 1080, 50 frames long; newest blue, then cyan, green, and red at its end."""
    width, height, num_frames = 1920, 1080, 61
    frames = moving(num_frames, width, height)
    assert frames.shape == (num_frames, height, width, 3)
    head = frames[0]
    rows, columns = np.nonzero(head.any(axis=-1))
    assert (columns.mean(), rows.mean()) == pytest.approx((0.1 * width - 0.5, height / 2 - 0.5), abs=0.1)
    cover = head[..., 2].sum() / 255
    assert cover == pytest.approx(np.pi * 8**2, rel=0.05)
    assert head[..., :2].max() == 0

    last = frames[-1]
    for age, colour in [(0, (0, 0, 255)), (50 / 3, (0, 255, 255)), (100 / 3, (0, 255, 0)), (50, (255, 0, 0))]:
        column = round((0.1 + 0.8 * (60 - round(age)) / 60) * width - 0.5)
        assert np.abs(last[height // 2, column].astype(int) - colour).max() <= 16
    at_tail = round((0.1 + 0.8 * 10 / 60) * width - 0.5)
    assert last[:, at_tail].any(axis=-1).sum() == pytest.approx(4, abs=1)
    assert not last[:, : at_tail - 4].any()  # nothing is older than 50 frames


def test_the_newest_is_on_top_and_trails_are_seen_at_small_sizes():
    tracks = Tracks()
    tracks.add(1, 0.5, 0.5, 0.0)
    still = tracks.drawn(np.arange(20) / 24, 384, 256)[-1]
    assert still[..., 2].max() > 200 and still[..., 0].max() == 0  # all that is seen of it is its newest circle
    small = moving(57, 144, 80)[-1]
    assert small.max(axis=-1)[39:41].max() > 100
    tracks.add(2, 1.02, -0.01, 0.0)
    tracks.add(4, 7.0, -3.0, 0.0)
    assert tracks.drawn(np.arange(2.0), 144, 80).any()
