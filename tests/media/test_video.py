"""Reading video files of other programs, and refusing what is none."""

import subprocess

import numpy as np
import pytest

from ltx_live.errors import MediaError
from ltx_live.media.video import read_video

FFMPEG = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i"]


def test_a_file_made_by_ffmpeg(tmp_path):
    path = tmp_path / "a.mp4"
    source = "color=c=red:size=64x48:rate=25:duration=2"
    sound = ["-f", "lavfi", "-i", "sine=frequency=1000:sample_rate=44100:duration=2"]
    subprocess.run([*FFMPEG, source, *sound, "-pix_fmt", "yuv420p", "-shortest", path], check=True)
    video = read_video(path)
    assert video.frames.shape == (50, 48, 64, 3)
    assert video.frame_rate == 25
    assert np.abs(video.frames[25, 24, 32].astype(int) - (255, 0, 0)).max() <= 8
    assert video.sample_rate == 44100
    assert abs(len(video.audio) - 88200) <= 1024
    peak_hz = np.abs(np.fft.rfft(video.audio[:44100, 0])).argmax()
    assert peak_hz == 1000


def test_what_is_no_video_is_one_line(tmp_path):
    (tmp_path / "a.mp4").write_text("not a video")
    for path, words in ((tmp_path / "a.mp4", "cannot read .*a.mp4: "), (tmp_path / "b.mp4", "No such file")):
        with pytest.raises(MediaError, match=words) as caught:
            read_video(path)
        assert "\n" not in str(caught.value)


def test_sound_alone_is_refused(tmp_path):
    subprocess.run([*FFMPEG, "sine=duration=0.5", tmp_path / "a.wav"], check=True)
    with pytest.raises(MediaError, match="has no picture"):
        read_video(tmp_path / "a.wav")
