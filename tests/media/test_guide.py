"""Guides are the right pictures at the right media positions, prepared as asked; nothing waits, failures are said."""

import time
from dataclasses import replace

import numpy as np
import pytest

from ltx_live.errors import MediaError
from ltx_live.media import controls, guide, image
from ltx_live.media.frames import Opening, TestPattern
from ltx_live.media.guide import Guide, Preparation, controlled, letterboxed, restored
from ltx_live.media.image import write_png
from ltx_live.media.recording import VideoWriter

WIDTH, HEIGHT = 96, 64
SECOND = 48_000


def write_video(path, num_frames: int, rate: float) -> None:
    """Grey pictures, each 4 lighter than the one before."""
    with VideoWriter(path, WIDTH, HEIGHT, rate) as writer:
        for index in range(num_frames):
            writer.write_frame(np.full((HEIGHT, WIDTH, 3), 20 + 4 * index, np.uint8))


def indices(frames: np.ndarray) -> list[int]:
    """Which pictures they are."""
    return [round((float(frame[4:-4, 4:-4].mean()) - 20) / 4) for frame in frames]


@pytest.fixture
def shown():
    """A guide whose clock is turned by hand: shown.now_s."""
    made = Guide(WIDTH, HEIGHT, clock=lambda: made.now_s)
    made.now_s = 1000.0
    made.preparation = Preparation(64, 32)
    yield made
    made.close()


def test_motion_keeps_its_speed_whatever_the_rate_of_the_source(tmp_path, shown):
    for rate, num_frames in ((12, 24), (24, 48), (25, 50), (30, 55)):
        write_video(tmp_path / f"{rate}.mp4", num_frames, rate)
        shown.load(str(tmp_path / f"{rate}.mp4"))
        for frame_rate in (24, 16, 50):
            shown.wait_until_open()
            shown.wait(0, 9, frame_rate)  # a new source begins with the first chunk
            frames = shown.wait(SECOND // 2, 17, frame_rate)
            assert frames.shape == (17, 32, 64, 3)
            wanted = [int((0.5 + k / frame_rate + 0.002) * rate) for k in range(17)]
            assert indices(frames) == [index % num_frames for index in wanted]
    assert shown.take_messages() == []


def test_speed_seek_and_loop(tmp_path, shown):
    write_video(tmp_path / "a.mp4", 48, 24)
    shown.load(str(tmp_path / "a.mp4"))
    assert indices(shown.wait(5 * SECOND, 9, 24)) == list(range(9))  # begins with the first chunk
    assert shown.name.endswith("a.mp4") and shown.duration_s == pytest.approx(2.0)
    assert indices(shown.wait(6 * SECOND + SECOND // 2, 33, 24)) == [(36 + k) % 48 for k in range(33)]
    shown.head = replace(shown.head, loop=False)
    assert indices(shown.wait(6 * SECOND + SECOND // 2, 33, 24)) == [min(36 + k, 47) for k in range(33)]
    shown.head = shown.head.sought(10 * SECOND, 0.25)
    assert indices(shown.wait(10 * SECOND, 9, 24)) == list(range(6, 15))
    shown.head = shown.head.playing(10 * SECOND, shown.duration_s, speed=0.5, loop=True)
    assert indices(shown.wait(10 * SECOND, 9, 24)) == [6, 6, 7, 7, 8, 8, 9, 9, 10]
    shown.head = shown.head.playing(10 * SECOND, shown.duration_s, speed=2.5, loop=True)
    assert indices(shown.wait(10 * SECOND, 5, 24)) == [6, 8, 11, 13, 16]
    shown.head = shown.head.playing(10 * SECOND, shown.duration_s, speed=0.0, loop=True)
    assert indices(shown.wait(20 * SECOND, 3, 24)) == [6, 6, 6]


def test_the_same_position_gives_the_same_frames(tmp_path):
    write_video(tmp_path / "a.mp4", 50, 24)
    made = []
    for order in ([0, 1, 2, 3], [3, 0, 2, 1]):
        one = Guide(WIDTH, HEIGHT)
        one.load(str(tmp_path / "a.mp4"))
        one.wait(0, 1, 24)
        chunks = {k: one.wait(k * SECOND, 33, 24).copy() for k in order}
        one.close()
        made.append([chunks[k] for k in range(4)])
    assert np.array_equal(made[0], made[1])
    assert np.array_equal(made[0][0][24:33], made[0][1][:9])  # the overlap of two chunks


def test_asking_never_waits_and_is_answered_soon(shown):
    shown.load("test")
    shown.wait_until_open()
    shown.preparation = replace(shown.preparation, control="canny")
    started_s = time.perf_counter()
    assert shown.frames(0, 57, 24, 0) is None
    assert time.perf_counter() - started_s < 0.02
    until_s = time.perf_counter() + 5
    while (frames := shown.frames(0, 57, 24, 0)) is None:
        assert time.perf_counter() < until_s
        time.sleep(0.005)
    assert shown.frames(0, 57, 24, 0) is frames  # it stays until something else is asked for
    assert not frames.flags.writeable
    for start in range(40):  # what was asked for in between is left out
        shown.frames(start * 2000, 57, 24, 0)
    last = shown.wait(39 * 2000, 57, 24)
    assert np.array_equal(last[0], shown.wait(38 * 2000, 57, 24)[1])


def test_nothing_to_give(shown):
    assert not shown.is_active and shown.name == "" and shown.duration_s == 0
    assert shown.frames(0, 9, 24, 0) is None
    with pytest.raises(MediaError, match="there is no reference"):
        shown.wait(0, 9, 24)
    shown.load("test")
    shown.wait(0, 9, 24)
    shown.load("")
    shown.wait_until_open()
    assert not shown.is_active


def test_what_fails_is_said_once_and_the_old_goes_on(tmp_path, shown):
    shown.load("test")
    before = shown.wait(0, 9, 24).copy()
    (tmp_path / "a.mp4").write_text("not a video")
    for name in (str(tmp_path / "a.mp4"), str(tmp_path / "none.mp4"), "a\0b.mp4", "~no-such-user/a.mp4", str(tmp_path)):
        shown.load(name)
        shown.wait_until_open()
        (message,) = shown.take_messages()
        assert "\n" not in message and shown.name == "test"
    shown.load_mask(str(tmp_path / "none.png"))
    shown.wait_until_open()
    assert "none.png" in shown.take_messages()[0]
    assert np.array_equal(shown.wait(0, 9, 24), before)
    assert shown.take_messages() == []


def test_the_newest_of_several_sources_wins(tmp_path, shown):
    write_video(tmp_path / "a.mp4", 12, 24)
    for name in ("test", str(tmp_path / "a.mp4"), "test", "", str(tmp_path / "a.mp4")):
        shown.load(name)
    assert indices(shown.wait(0, 3, 24)) == [0, 1, 2]
    assert shown.name.endswith("a.mp4")


def test_a_failure_while_preparing_is_a_black_guide(shown, monkeypatch):
    shown.load("test")
    shown.wait_until_open()
    monkeypatch.setattr(TestPattern, "_at", lambda self, time_s: np.zeros((0, 0, 3), np.uint8))
    assert not shown.wait(0, 9, 24).any()
    assert "cannot prepare the reference" in shown.take_messages()[0]


class Stamped:
    """A live source whose picture tells its time: one a frame of 24, by the clock."""

    is_live = True
    duration_s = float("inf")

    def at(self, times_s):
        return [np.full((HEIGHT, WIDTH, 3), round((time_s - 1000) * 24) % 256, np.uint8) for time_s in times_s]

    def close(self):
        pass


def seen(frames: np.ndarray) -> list[int]:
    return [int(frame[0, 0, 0]) for frame in frames]


def test_a_live_guide_is_what_was_there_up_to_now_evenly_over_chunks(shown):
    shown._source = Stamped()
    shown.now_s = 1005.0
    frames = shown.wait(7 * SECOND, 33, 24, now=6 * SECOND)  # asked for a second before it is shown
    assert seen(frames) == list(range(120 - 32, 121))
    assert shown.delay_s == pytest.approx(1 + 32 / 24)
    shown.now_s = 1006.1  # asked for 0.1 s late, relative to what it continues
    frames = shown.wait(8 * SECOND, 33, 24, now=round(7.1 * SECOND))
    assert shown.delay_s == pytest.approx(1 + 32 / 24)  # as before: the last 9 of before are the first 9 of now
    assert seen(frames) == list(range(112, 145))
    shown.now_s = 1006.5  # 0.5 s early: the delay must grow
    shown.wait(9 * SECOND, 33, 24, now=round(7.5 * SECOND))
    assert shown.delay_s == pytest.approx(1.5 + 32 / 24)
    shown.now_s = 1009.5  # a cut that is seen soon: the delay is as short as can be
    frames = shown.wait(11 * SECOND, 17, 24, now=round(10.5 * SECOND))
    assert shown.delay_s == pytest.approx(0.5 + 16 / 24)
    assert seen(frames)[-1] == 228


def test_a_live_guide_stays_what_it_was_when_it_is_asked_for_again(shown):
    shown._source = Stamped()
    frames = shown.wait(0, 9, 24)
    shown.now_s += 1
    assert shown.wait(0, 9, 24) is frames


def test_tracks_are_drawn_for_the_time_up_to_now(shown):
    shown.preparation = Preparation(480, 320, control="tracks")
    assert shown.is_active
    for k in range(25):
        shown.tracks.add(1, k / 24, 0.5, 1000 + k / 24)
    shown.now_s = 1001.0
    frames = shown.wait(SECOND, 25, 24, now=0)
    assert np.array_equal(frames, shown.tracks.drawn(1000 + np.arange(25) / 24, 480, 320))
    heads = [int(np.flatnonzero(frame.any(axis=(0, 2))).max()) for frame in frames]
    assert heads[0] <= 8 and heads[12] == pytest.approx(240, abs=8) and heads == sorted(heads)


def circle(width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    inside = np.hypot(x - (width - 1) / 2, y - (height - 1) / 2)[..., None] < 0.3 * min(width, height)
    return np.where(inside, (240, 200, 90), (40, 70, 120)).astype(np.uint8)


def test_letterboxing_leaves_black_and_keeps_the_aspect():
    for how, size in [
        (Preparation(160, 90, letterbox=True), (120, 90)),  # 4:3 in 16:9: bars at the sides
        (Preparation(90, 160, letterbox=True), (90, 68)),
        (Preparation(160, 90, letterbox=True, aspect=1.0), (90, 90)),
        (Preparation(160, 90, letterbox=True, aspect=2.0, scale=0.5), (80, 40)),
        (Preparation(160, 90, letterbox=True, scale=0.6), (72, 54)),
    ]:
        framed = letterboxed(circle(400, 300), how)
        assert framed.shape == (how.height, how.width, 3)
        lit = framed.any(axis=-1)
        assert (lit.any(axis=0).sum(), lit.any(axis=1).sum()) == size
        bright = framed[..., 0] > 140
        rows, columns = np.nonzero(bright)
        assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=1)
        assert columns.mean() == pytest.approx((how.width - 1) / 2, abs=1)


def test_gamma_lifts_the_dark_and_comes_back():
    values = np.arange(256, dtype=np.uint8)
    lifted = guide.LIFTED[values]
    assert lifted[0] == 0 and lifted[255] == 255 and lifted[16] == 64
    assert np.abs(restored(lifted).astype(int) - values).max() <= 1
    how = Preparation(64, 32, letterbox=True, gamma=True)
    frames = guide.finished(controlled([np.full((32, 32, 3), 4, np.uint8)], how), how, None)
    assert set(np.unique(frames)) == {0, 32}


def test_control_signals_and_the_mask(tmp_path, shown):
    shown.load("test")
    plain = shown.wait(0, 9, 24).copy()
    pictures = TestPattern(Opening(WIDTH, HEIGHT, 24.0, time.perf_counter, print)).at([k / 24 for k in range(9)])
    assert np.array_equal(plain, np.stack([image.fitted(picture, 64, 32) for picture in pictures]))
    shown.preparation = replace(shown.preparation, control="luminance")
    assert np.array_equal(shown.wait(0, 9, 24), controls.luminance(plain))
    shown.preparation = replace(shown.preparation, control="canny", low=0.05, high=0.1)
    assert np.array_equal(shown.wait(0, 9, 24), controls.canny(plain, 0.05, 0.1))
    shown.preparation = replace(shown.preparation, control="none")
    mask = np.zeros((64, 96, 3), np.uint8)
    mask[:32, :48] = 255
    write_png(tmp_path / "mask.png", mask)
    shown.load_mask(str(tmp_path / "mask.png"))
    shown.wait_until_open()
    masked = shown.wait(0, 9, 24)
    assert (masked[:, :16, :32] == controls.MASK_COLOUR).all()
    assert np.array_equal(masked[:, 16:], plain[:, 16:]) and np.array_equal(masked[:, :, 32:], plain[:, :, 32:])
    shown.load_mask("")
    shown.wait_until_open()
    assert np.array_equal(shown.wait(0, 9, 24), plain)


def test_prepared_frames_are_kept_within_bounds(shown, monkeypatch):
    monkeypatch.setattr(guide, "PREPARED_BYTES", 420_000)
    shown.load("test")
    for k in range(5):
        shown.wait(k * SECOND, 17, 24)
    assert 17 <= len(shown._prepared._frames) <= 2 * 17


def test_a_picture_of_odd_size_is_filled_up_by_its_edges(shown):
    shown.load("test")
    shown.preparation = Preparation(48, 24)
    frames = shown.wait(0, 9, 24)
    assert frames.shape == (9, 32, 64, 3)
    assert (frames[:, :24, 48:] == frames[:, :24, 47:48]).all() and (frames[:, 24:] == frames[:, 23:24]).all()
    assert frames[:, :24, :48].std() > 10


def test_a_recording_jumps_and_changes_its_way_where_the_next_chunk_begins(tmp_path, shown):
    write_video(tmp_path / "a.mp4", 48, 24)
    shown.load(str(tmp_path / "a.mp4"))
    shown.wait(0, 9, 24)
    assert not shown.is_live and not shown.is_loading
    shown.move(SECOND, 1.0, True)
    assert indices(shown.wait(SECOND, 9, 24)) == list(range(24, 33))
    shown.seek(0.5)
    shown.move(SECOND, 1.0, True)
    assert indices(shown.wait(SECOND, 9, 24)) == list(range(12, 21))
    shown.move(SECOND + SECOND // 4, -1.0, True)
    assert indices(shown.wait(SECOND + SECOND // 4, 9, 24)) == list(range(18, 9, -1))
