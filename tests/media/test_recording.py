"""What is recorded comes back: pictures, sound, exact durations, and a readable file after a crash."""

import subprocess
import sys

import numpy as np
import pytest

from ltx_live.errors import MediaError
from ltx_live.media.recording import VideoWriter
from ltx_live.media.video import read_video

TONE_HZ = 440


def picture(index: int, width: int = 96, height: int = 64) -> np.ndarray:
    """A quadrant each of red, green, blue, and a grey that rises with the index."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[: height // 2, : width // 2] = (200, 30, 30)
    frame[: height // 2, width // 2 :] = (30, 200, 30)
    frame[height // 2 :, : width // 2] = (30, 30, 200)
    frame[height // 2 :, width // 2 :] = 16 + index
    return frame


def tone(start: int, num_samples: int) -> np.ndarray:
    wave = 0.5 * np.sin(2 * np.pi * TONE_HZ * np.arange(start, start + num_samples) / 48000)
    return np.stack([wave, -wave], axis=1).astype(np.float32)


def record(path, num_frames: int, width: int = 96, height: int = 64) -> None:
    with VideoWriter(path, width, height, 24) as writer:
        for index in range(num_frames):
            writer.write_frame(picture(index, width, height))
            writer.write_audio(tone(index * 2000, 2000))


def probe(path) -> dict[str, float]:
    """Stream durations in seconds as FFmpeg's own tool reads them."""
    import av

    with av.open(str(path)) as file:
        return {stream.type: float(stream.duration * stream.time_base) for stream in file.streams}


def test_eight_seconds_are_192_frames_and_384000_samples(tmp_path):
    record(tmp_path / "a.mp4", 192)
    video = read_video(tmp_path / "a.mp4")
    assert probe(tmp_path / "a.mp4") == {"video": 8.0, "audio": 8.0}
    assert video.frames.shape == (192, 64, 96, 3)
    assert video.frame_rate == 24
    assert video.sample_rate == 48000
    assert abs(len(video.audio) - 384_000) <= 1024


def test_pictures_and_sound_come_back_in_place(tmp_path):
    record(tmp_path / "a.mp4", 48)
    video = read_video(tmp_path / "a.mp4")
    for index in (0, 20, 47):
        centres = video.frames[index][[16, 16, 48, 48], [24, 72, 24, 72]].astype(int)
        wanted = picture(index)[[16, 16, 48, 48], [24, 72, 24, 72]].astype(int)
        assert np.abs(centres - wanted).max() <= 6
    middle = slice(20_000, 60_000)
    assert np.sqrt(np.mean((video.audio[middle] - tone(0, 96_000)[middle]) ** 2)) < 0.01  # in time to the sample


def test_a_duration_that_fills_no_whole_aac_frame(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 32, 32, 30000 / 1001) as writer:
        for index in range(7):
            writer.write_frame(picture(index, 32, 32))
        writer.write_audio(tone(0, 11_211))
    durations = probe(tmp_path / "a.mp4")
    assert durations["video"] == pytest.approx(7 * 1001 / 30000, abs=1e-4)
    assert durations["audio"] == pytest.approx(11_211 / 48_000, abs=1e-4)
    assert read_video(tmp_path / "a.mp4").frame_rate == pytest.approx(29.97, abs=0.001)


def test_odd_sizes_are_padded_by_one_pixel(tmp_path):
    record(tmp_path / "a.mp4", 3, width=95, height=63)
    assert read_video(tmp_path / "a.mp4").frames.shape == (3, 64, 96, 3)


def test_the_same_input_gives_the_same_file(tmp_path):
    record(tmp_path / "a.mp4", 12)
    record(tmp_path / "b.mp4", 12)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_picture_without_sound(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 96, 64, 24) as writer:
        for index in range(3):
            writer.write_frame(picture(index))
    video = read_video(tmp_path / "a.mp4")
    assert len(video.frames) == 3
    assert len(video.audio) == 0


def test_a_killed_recording_is_readable(tmp_path):
    program = """
import os, sys, numpy as np
from ltx_live.media.recording import VideoWriter
writer = VideoWriter(sys.argv[1], 96, 64, 24)
for index in range(100):
    writer.write_frame(np.full((64, 96, 3), index, np.uint8))
    writer.write_audio(np.zeros((2000, 2), np.float32))
os._exit(9)
"""
    run = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.mp4")], timeout=60)
    assert run.returncode == 9
    assert len(read_video(tmp_path / "a.mp4").frames) >= 72  # at most the last second and a bit are lost


def test_errors_say_where(tmp_path):
    with pytest.raises(MediaError, match="nowhere.*no such file or directory"):
        VideoWriter(tmp_path / "nowhere" / "a.mp4", 96, 64, 24)
    writer = VideoWriter(tmp_path / "a.mp4", 96, 64, 24)
    with pytest.raises(MediaError, match=r"a frame is \(32, 32, 3\)"):
        writer.write_frame(picture(0, 32, 32))
    with pytest.raises(MediaError, match=r"sound is \(10,\)"):
        writer.write_audio(np.zeros(10, np.float32))
    writer.write_frame(picture(0))
    writer.close()
    writer.close()
    with pytest.raises(MediaError, match="already closed"):
        writer.write_frame(picture(0))
