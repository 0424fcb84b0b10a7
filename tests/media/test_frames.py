"""Sources of reference frames: what is shown at a time, from real files, and what happens when they fail."""

import math
import threading
import time
from fractions import Fraction

import av
import numpy as np
import pytest

from ltx_live.errors import MediaError
from ltx_live.media import camera, frames
from ltx_live.media.camera import Camera, camera_device
from ltx_live.media.frames import Opening, PlayHead, natural_order, open_source
from ltx_live.media.image import write_png
from ltx_live.media.recording import VideoWriter

WIDTH, HEIGHT = 96, 64


def shade(index: int) -> int:
    return 20 + 4 * (index % 55)


def picture(index: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    return np.full((height, width, 3), shade(index), np.uint8)


def index_of(seen: np.ndarray) -> int:
    """Which picture it is, of the first 55."""
    return round((float(seen[8:-8, 8:-8].mean()) - 20) / 4)


def write_video(path, times_s, form: str | None = None, ticks: int = 12288) -> None:
    """One picture at each time, in H.264 with a key frame every 12."""
    with av.open(str(path), "w", format=form) as file:
        stream = file.add_stream("libx264", rate=24, options={"crf": "10", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, ticks)
        stream.codec_context.gop_size = 12
        for index, time_s in enumerate(times_s):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = round(time_s * ticks), Fraction(1, ticks)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def opening(said) -> Opening:
    return Opening(WIDTH, HEIGHT, 24.0, time.perf_counter, said.append)


def shown(source, times_s) -> list[int]:
    return [index_of(each) for each in source.at(list(times_s))]


def wait_for(condition, seconds: float = 5.0) -> None:
    until_s = time.perf_counter() + seconds
    while not condition():
        assert time.perf_counter() < until_s, "it never happened"
        time.sleep(0.005)


def test_a_play_head_is_exact():
    head = PlayHead(anchor=48_000, time_s=0.5, speed=1.5)
    assert head.at(48_000, 10.0) == pytest.approx(0.5)
    assert head.at(144_000, 10.0) == pytest.approx(3.5)
    assert head.at(48_000 + 10 * 48_000, 10.0) == pytest.approx(5.5)  # 15.5, the second round
    assert head.at(0, 10.0) == pytest.approx(9.0)  # before it began is the round before
    assert PlayHead(loop=False).at(30 * 48_000, 10.0) == 10.0
    assert PlayHead(loop=False).at(-1, 10.0) == 0.0
    assert abs(PlayHead().at(4 * 48_000 - 1, 2.0)) < 1e-4  # a sample early is not a round early
    slower = head.playing(144_000, 10.0, speed=0.5, loop=True)
    assert slower.at(144_000, 10.0) == pytest.approx(3.5)
    assert slower.at(192_000, 10.0) == pytest.approx(4.0)
    assert head.sought(144_000, 7.0).at(144_000 + 32_000, 10.0) == pytest.approx(8.0)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi", ".ts"])
def test_a_file_shows_the_last_frame_before_a_time(tmp_path, opening, suffix):
    path = tmp_path / f"a 100%d{suffix}"
    write_video(path, np.arange(48) / 24, ticks=24)
    source = open_source(str(path), opening)
    assert not source.is_live
    assert source.duration_s == pytest.approx(2.0, abs=0.05)
    assert shown(source, [k / 24 for k in range(48)]) == list(range(48))
    assert shown(source, [(k + 0.9) / 24 for k in range(48)]) == list(range(48))
    source.close()


def test_what_is_shown_does_not_depend_on_what_was_asked_before(tmp_path, opening, monkeypatch):
    write_video(tmp_path / "a.mp4", np.arange(55) / 24)
    monkeypatch.setattr(frames, "CACHE_BYTES", 5 * WIDTH * HEIGHT * 3)
    monkeypatch.setattr(frames, "SKIP_S", 0.3)
    source = open_source(str(tmp_path / "a.mp4"), opening)
    order = np.random.default_rng(1).permutation(55).tolist() * 2
    assert shown(source, [k / 24 + 0.01 for k in order]) == order
    assert source._cache._num_bytes <= frames.CACHE_BYTES
    assert shown(source, [-0.002, 60.0, 0.0, 54 / 24]) == [0, 54, 0, 54]


def test_times_are_the_files_own(tmp_path, opening):
    """A variable rate: fast, then a pause, then slow; the first frame is at no round time."""
    times_s = [0.5, 0.54, 0.58, 1.0, 1.5, 1.52, 2.5]
    write_video(tmp_path / "a.mkv", times_s)
    source = open_source(str(tmp_path / "a.mkv"), opening)
    asked_s = [0, 0.03, 0.05, 0.09, 0.4, 0.51, 0.99, 1.01, 1.03, 1.9, 2.1, 9]
    assert shown(source, asked_s) == [0, 0, 1, 2, 2, 3, 3, 4, 5, 5, 6, 6]


def test_the_same_picture_is_the_same_array(tmp_path, opening):
    write_video(tmp_path / "a.mp4", np.arange(4) / 4)
    first, second, third = open_source(str(tmp_path / "a.mp4"), opening).at([0.0, 0.1, 0.3])
    assert first is second and second is not third


def test_one_frame_and_a_still(tmp_path, opening):
    write_video(tmp_path / "a.mp4", [0.0])
    write_png(tmp_path / "a.png", picture(7))
    for name, index in (("a.mp4", 0), ("a.png", 7)):
        source = open_source(str(tmp_path / name), opening)
        assert 0 < source.duration_s < 0.2
        assert shown(source, [0, 1, 100]) == [index] * 3


def test_pictures_are_no_larger_than_needed(tmp_path, said):
    write_video(tmp_path / "a.mp4", [0.0, 0.1])
    for size, wanted in [((30, 30), (30, 45)), ((48, 16), (32, 48)), ((500, 500), (64, 96))]:
        source = open_source(str(tmp_path / "a.mp4"), Opening(*size, 24.0, time.perf_counter, said.append))
        assert source.at([0.0])[0].shape == (*wanted, 3)


def test_a_file_whose_size_changes(tmp_path, opening):
    small, large = (av.CodecContext.create("mpeg2video", "w") for _ in range(2))
    content = b""
    for codec, width, index in ((small, 64, 5), (large, 128, 30)):
        codec.width, codec.height, codec.pix_fmt = width, 64, "yuv420p"
        codec.time_base = Fraction(1, 25)
        codec.framerate = Fraction(25)
        for k in range(10):
            frame = av.VideoFrame.from_ndarray(picture(index, width, 64), format="rgb24").reformat(format="yuv420p")
            frame.pts = k
            content += b"".join(bytes(packet) for packet in codec.encode(frame))
        content += b"".join(bytes(packet) for packet in codec.encode(None))
    (tmp_path / "a.m2v").write_bytes(content)
    source = open_source(str(tmp_path / "a.m2v"), opening)
    seen = source.at([k / 25 for k in range(20)])
    assert {each.shape[1] for each in seen[:8]} == {64}
    assert {each.shape[1] for each in seen[12:]} == {128}
    assert abs(index_of(seen[2]) - 5) <= 1 and abs(index_of(seen[-1]) - 30) <= 1


def test_a_broken_piece_is_skipped(tmp_path, opening, said):
    write_video(tmp_path / "a.ts", np.arange(55) / 24, form="mpegts")
    content = bytearray((tmp_path / "a.ts").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 600] = np.random.default_rng(1).bytes(600)
    (tmp_path / "a.ts").write_bytes(content)
    source = open_source(str(tmp_path / "a.ts"), opening)
    seen = shown(source, [k / 24 for k in range(55)])
    assert seen[:10] == list(range(10)) and seen[-5:] == list(range(50, 55))
    assert len(said) <= 1


def test_a_file_that_is_cut_off_holds_its_last_picture(tmp_path, opening):
    write_video(tmp_path / "a.mkv", np.arange(48) / 24)
    content = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "a.mkv").write_bytes(content[: len(content) // 2])
    source = open_source(str(tmp_path / "a.mkv"), opening)
    seen = shown(source, [k / 24 for k in range(48)])
    last = seen[-1]
    assert 5 < last < 47
    assert seen == [min(k, last) for k in range(48)]


def test_a_file_that_goes_away_holds_its_last_picture(tmp_path, opening, said, monkeypatch):
    write_video(tmp_path / "a.mp4", np.arange(48) / 24)
    source = open_source(str(tmp_path / "a.mp4"), opening)
    assert shown(source, [0.5]) == [12]
    (tmp_path / "a.mp4").unlink()
    source.close()  # as a drive that is pulled out
    source._file, source._coming = None, None
    assert shown(source, [1.5, 1.7]) == [12, 12]
    assert len(said) == 1 and "its last picture stays" in said[0]


def test_a_phones_rotation_is_obeyed(tmp_path, opening):
    upright = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    upright[:20] = 240
    with av.open(str(tmp_path / "flat.mp4"), "w") as file:
        stream = file.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        stored = np.ascontiguousarray(np.rot90(upright))
        for _ in range(3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        file.mux(stream.encode(None))
    content = bytearray((tmp_path / "flat.mp4").read_bytes())
    track = content.index(b"tkhd") + 4
    one = 1 << 16
    matrix = [0, one, 0, -one & 0xFFFFFFFF, 0, 0, HEIGHT * one, 0, 1 << 30]  # a quarter to the right
    content[track + 40 : track + 76] = b"".join(value.to_bytes(4, "big") for value in matrix)
    (tmp_path / "a.mp4").write_bytes(content)
    (seen,) = open_source(str(tmp_path / "a.mp4"), opening).at([0.0])
    assert seen.shape == upright.shape
    assert np.abs(seen.astype(int) - upright).mean() < 10


def test_a_folder_in_natural_order_at_its_own_rate(tmp_path, said):
    for index in (1, 2, 10, 11):
        write_png(tmp_path / f"frame{index}.png", picture(index))
    (tmp_path / "notes.txt").write_text("no frame")
    source = open_source(str(tmp_path), Opening(WIDTH, HEIGHT, 10.0, time.perf_counter, said.append))
    assert source.duration_s == pytest.approx(0.4)
    assert shown(source, [0, 0.09, 0.1, 0.2, 0.3, 0.39, 5]) == [1, 1, 2, 10, 11, 11, 11]
    (tmp_path / "frame2.png").write_text("broken")
    source = open_source(str(tmp_path), Opening(WIDTH, HEIGHT, 10.0, time.perf_counter, said.append))
    assert shown(source, [0, 0.1, 0.2, 0.1]) == [1, 1, 10, 1]
    assert len(said) == 1 and "frame2.png" in said[0]
    assert sorted([tmp_path / "b.png", tmp_path / "a10", tmp_path / "A9"], key=natural_order)[0].name == "A9"


def test_the_test_pattern_moves_and_depends_on_time_alone(opening):
    source = open_source("test", opening)
    again = open_source("test", opening)
    first, later = source.at([0.25, 1.25])
    assert first.shape == (HEIGHT, WIDTH, 3) and first.dtype == np.uint8
    assert np.abs(first.astype(int) - later).mean() > 10
    assert np.array_equal(first, again.at([1.25, 0.25])[1])
    assert np.array_equal(source.at([0.0])[0], source.at([source.duration_s])[0])


def test_what_cannot_be_opened_is_one_line(tmp_path, opening):
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty").mkdir()
    with av.open(str(tmp_path / "a.wav"), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        file.mux(stream.encode(sound))
        file.mux(stream.encode(None))
    with VideoWriter(tmp_path / "a.mp4", 32, 32, 24.0) as writer:
        writer.write_frame(np.zeros((32, 32, 3), np.uint8))
    (tmp_path / "odd.mp4").write_bytes((tmp_path / "a.mp4").read_bytes().replace(b"avc1", b"zzzz"))
    cases = {
        "odd.mp4": "odd.mp4 is coded in a way that cannot be read; choose another video file",
        "nothing.mp4": "cannot read .*nothing.mp4: no such file or directory; choose a video file or a folder",
        "text.mp4": "cannot read .*text.mp4: .*; choose a video file or a folder",
        "a.wav": "a.wav has no picture; choose a video file",
        "empty": "empty has no images; choose a folder",
        "nothing.png": "nothing.png: no such file",
    }
    for name, words in cases.items():
        with pytest.raises(MediaError, match=words) as caught:
            open_source(str(tmp_path / name), opening)
        assert "\n" not in str(caught.value)


def lavfi(graph: str) -> tuple[str, str, dict[str, str]]:
    """FFmpeg's virtual device in place of a camera."""
    return graph, "lavfi", {}


def test_a_camera_is_read_into_a_ring_by_its_times_of_arrival(said, monkeypatch):
    now_s = iter(100 + 0.04 * k for k in range(10**6))
    opening = Opening(48, 32, 24.0, lambda: next(now_s), said.append)
    monkeypatch.setattr(camera, "RING_S", 1.0)
    source = Camera(lavfi("testsrc=size=96x64:rate=25:duration=4"), opening)
    assert source.is_live and source.duration_s == math.inf
    wait_for(lambda: said)  # it has ended
    seen_s = [time_s for time_s, _ in source._ring]
    assert seen_s[-1] == pytest.approx(100 + 0.04 * 99)
    assert 1.0 <= seen_s[-1] - seen_s[0] <= 1.05
    last, before, oldest = source.at([1000.0, seen_s[-1] - 0.01, 0.0])
    assert last.shape == (32, 48, 3)
    assert last is source._ring[-1][1] and before is source._ring[-2][1] and oldest is source._ring[0][1]
    source.close()


def test_an_unplugged_camera_is_said_once_and_looked_for(said, monkeypatch):
    monkeypatch.setattr(camera, "RETRY_S", 0.02)
    opening = Opening(48, 32, 24.0, time.perf_counter, said.append)
    source = Camera(lavfi("testsrc=size=48x32:rate=25:duration=0.2"), opening)
    wait_for(lambda: said)
    (stays,) = source.at([time.perf_counter()])
    assert "is gone" in said[0] and "its last picture stays" in said[0]
    source._device = "nonexistent_filter=1", "lavfi", {}
    wait_for(lambda: "has ended" not in source._failure)
    num_said = len(said)
    time.sleep(0.2)  # it is looked for several times
    assert len(said) == num_said
    assert source.at([time.perf_counter()])[0].shape == stays.shape
    source._device = lavfi("testsrc=size=48x32:rate=25:duration=0.2")
    wait_for(lambda: any("is back" in line for line in said[num_said:]))
    source.close()
    wait_for(lambda: not any(thread.name == "camera" for thread in threading.enumerate()))


def test_a_camera_that_is_not_there(opening):
    with pytest.raises(MediaError, match="cannot open camera /dev/video77: .*; plug it in, or choose") as caught:
        Camera(("/dev/video77", "v4l2", {}), opening)
    assert "\n" not in str(caught.value)


def test_every_platform_names_its_camera(monkeypatch):
    for platform, which, wanted in [
        ("linux", "", ("/dev/video0", "v4l2")),
        ("linux", "2", ("/dev/video2", "v4l2")),
        ("linux", "/dev/v4l/by-id/x", ("/dev/v4l/by-id/x", "v4l2")),
        ("darwin", "", ("0:none", "avfoundation")),
        ("win32", "Webcam", ("video=Webcam", "dshow")),
    ]:
        monkeypatch.setattr("sys.platform", platform)
        assert camera_device(which)[:2] == wanted
