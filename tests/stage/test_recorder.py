"""The recorder with a real timeline, player and encoder; the test plays the sound by hand, so time is its own."""

import dataclasses

import numpy as np
import pytest

from ltx_live import params
from ltx_live.chunk import SAMPLE_RATE_HZ, Chunk
from ltx_live.errors import MediaError
from ltx_live.media.video import read_video
from ltx_live.stage import recorder as module
from ltx_live.stage.look import NumpyCompositor
from ltx_live.stage.player import START_FADE_SAMPLES, Player
from ltx_live.stage.playlist import EMPTY
from ltx_live.stage.recorder import Recorder
from ltx_live.stage.timeline import Timeline

FRAME = SAMPLE_RATE_HZ // 24
BLOCK = 512
OUTPUT = params.OutputParams()


def chunk(num_frames: int) -> Chunk:
    """Frame k shows k + 128 as eight black and white bars; the sound is a constant 0.25."""
    bits = (np.arange(128, 128 + num_frames)[:, None] >> np.arange(8)[::-1]) & 1  # (F, 8)
    bars = (bits * 255).astype(np.uint8).repeat(8, axis=1)  # (F, W)
    frames = np.broadcast_to(bars[:, None, :, None], (num_frames, 32, 64, 3)).copy()
    audio = np.full((num_frames * FRAME, 2), 0.25, np.float32)
    return Chunk(0, frames, 0, 0, audio, 0, 0, frame_rate=24.0, epoch=0)


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """The test plays faster than any encoder can follow."""
    monkeypatch.setattr(module, "MAX_WAITING_FRAMES", 1000)


class Hand:
    """Plays block after block, `latency` samples ahead of what is heard."""

    def __init__(self, num_frames: int, latency: int = 0):
        self.player, self.timeline, self.composer = Player(), Timeline(), NumpyCompositor()
        self.latency = latency
        self.add(chunk(num_frames))

    def add(self, new: Chunk) -> None:
        self.timeline.append(new, self.player.committed)
        self.player.playlist = self.timeline.playlist

    def play(self, recorder: Recorder, num_samples: int, output=OUTPUT, speed: float = 1.0) -> None:
        self.player.tap = recorder.tap
        self.player.target_speed = speed
        out = np.empty((BLOCK, 2), np.float32)
        for _ in range(num_samples // BLOCK):
            self.player.render(out, 0.0)
            position = self.player.published.samples - self.latency
            recorder.update(position, self.timeline.frame_at, self.composer, output)


def numbers(path) -> list[int]:
    """The number of the frame that each recorded frame shows."""
    seen = [frame[16, 4::8].mean(axis=-1) > 127 for frame in read_video(path).frames]
    return [int(bits @ 2 ** np.arange(8)[::-1]) - 128 for bits in seen]


def test_every_frame_is_recorded_once_and_the_length_is_exact(tmp_path):
    recorder = Recorder(tmp_path / "a.mp4", 64, 32, 24.0, duration_s=3.0)
    Hand(100).play(recorder, 4 * SAMPLE_RATE_HZ)
    assert recorder.is_over
    recorder.close()
    assert (recorder.error, recorder.num_frames, recorder.num_repeated) == ("", 72, 0)
    assert numbers(recorder.path) == list(range(72))
    sound = read_video(recorder.path).audio[:, 0]
    assert abs(len(sound) - 3 * SAMPLE_RATE_HZ) <= 1024
    assert sound[START_FADE_SAMPLES + 4800] == pytest.approx(0.25, abs=0.01)


def test_an_underrun_is_recorded_as_it_was_seen_and_heard(tmp_path):
    hand = Hand(24)
    recorder = Recorder(tmp_path / "a.mp4", 64, 32, 24.0)
    hand.play(recorder, 3 * SAMPLE_RATE_HZ // 2)
    later = dataclasses.replace(chunk(24), index=1, video_start=24 * FRAME, audio_start=24 * FRAME)
    hand.add(later)
    hand.play(recorder, SAMPLE_RATE_HZ // 2)
    recorder.close()
    seen = numbers(recorder.path)
    assert seen[:24] == list(range(24))
    assert set(seen[24:35]) == {23}
    assert seen[-1] in (9, 10, 11)
    sound = read_video(recorder.path).audio[:, 0]
    assert np.abs(sound[round(1.1 * SAMPLE_RATE_HZ) : round(1.4 * SAMPLE_RATE_HZ)]).max() < 0.001


def test_a_frame_has_the_look_of_the_moment_in_which_it_is_heard(tmp_path):
    hand = Hand(100, latency=4800)
    recorder = Recorder(tmp_path / "a.mp4", 64, 32, 24.0)
    hand.play(recorder, SAMPLE_RATE_HZ)  # heard until 0.9 s
    assert recorder.num_frames == 22
    hand.play(recorder, SAMPLE_RATE_HZ // 2, dataclasses.replace(OUTPUT, out_blackout=True))
    recorder.close()
    levels = [frame.max() for frame in read_video(recorder.path).frames]
    assert min(levels[:22]) > 4
    assert max(levels[22:]) <= 2


def test_a_recording_that_starts_later_starts_with_what_is_heard_then(tmp_path):
    hand = Hand(100)
    before = Recorder(tmp_path / "before.mp4", 64, 32, 24.0)
    hand.play(before, SAMPLE_RATE_HZ)
    recorder = Recorder(tmp_path / "a.mp4", 64, 32, 24.0)
    hand.play(recorder, SAMPLE_RATE_HZ)
    before.close()
    recorder.close()
    first = numbers(recorder.path)[0]
    assert first in (23, 24)
    assert numbers(recorder.path)[:20] == list(range(first, first + 20))


def test_an_encoder_that_cannot_follow_costs_frames_but_no_time(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING_FRAMES", 1)
    hand = Hand(100)
    recorder = Recorder(tmp_path / "a.mp4", 64, 32, 24.0, duration_s=3.0)
    recorder.wait_until_open()
    hand.play(recorder, 4 * SAMPLE_RATE_HZ)
    recorder.close()
    assert 0 < recorder.num_repeated < 72
    seen = numbers(recorder.path)
    assert len(seen) == 72
    assert seen == sorted(seen)
    assert abs(len(read_video(recorder.path).audio) - 3 * SAMPLE_RATE_HZ) <= 1024


def beeping(num_frames: int) -> Chunk:
    """With every tenth frame a beep of 440 Hz begins, that lasts two frames."""
    plain = chunk(num_frames)
    time_s = np.arange(len(plain.audio)) / SAMPLE_RATE_HZ
    is_on = np.arange(len(plain.audio)) // FRAME % 10 < 2
    wave = 0.25 * np.sin(2 * np.pi * 440 * time_s) * is_on
    return dataclasses.replace(plain, audio=np.repeat(wave[:, None], 2, axis=1).astype(np.float32))


def test_slow_and_held_is_recorded_as_long_as_it_lasted_an_octave_lower_and_in_sync(tmp_path):
    hand = Hand(100, latency=4800)
    hand.timeline, hand.player.playlist = Timeline(), EMPTY
    hand.add(beeping(100))
    recorder = Recorder(tmp_path / "a.mp4", 64, 32, 24.0)
    hand.play(recorder, 2 * SAMPLE_RATE_HZ)
    hand.play(recorder, 2 * SAMPLE_RATE_HZ, speed=0.5)
    hand.latency = 0  # what is held has been heard to its end
    hand.play(recorder, SAMPLE_RATE_HZ, speed=0.0)
    recorder.close()
    seen, sound = np.array(numbers(recorder.path)), read_video(recorder.path).audio[:, 0]
    assert len(seen) == pytest.approx(5 * 24, abs=2)
    assert len(sound) == pytest.approx(len(seen) * FRAME, abs=1024)
    steps = np.diff(seen)
    assert set(steps[:46]) == {1} and set(steps[50:92]) == {0, 1} and steps[50:92].sum() == pytest.approx(21, abs=1)
    assert not steps[98:].any() and np.abs(sound[98 * FRAME : 118 * FRAME]).max() < 1e-3
    first = np.flatnonzero(seen == 60)[0] * FRAME  # a beep of four frames at half the speed
    assert np.abs(sound[first - 2 * FRAME : first - FRAME]).max() < 0.01
    loud = np.flatnonzero(np.abs(sound[first - FRAME : first + 6 * FRAME]) > 0.05)
    assert loud[0] == pytest.approx(FRAME, abs=FRAME / 2) and np.ptp(loud) == pytest.approx(4 * FRAME, abs=400)
    beep = sound[first + 1000 : first + 1000 + 3 * FRAME]
    rising = np.flatnonzero((beep[:-1] < 0) & (beep[1:] >= 0))
    assert SAMPLE_RATE_HZ / np.diff(rising).mean() == pytest.approx(220, abs=1)


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    recorder = Recorder(tmp_path / "nowhere" / "a.mp4", 64, 32, 24.0)
    with pytest.raises(MediaError, match="cannot record to"):
        recorder.wait_until_open()
    recorder.close()
    assert recorder.is_over and recorder.is_closed


def test_without_a_picture_there_is_no_file(tmp_path):
    recorder = Recorder(tmp_path / "a.mp4", 64, 32, 24.0)
    player = Player()
    player.tap = recorder.tap
    player.render(np.empty((BLOCK, 2), np.float32), 0.0)
    recorder.update(0.0, Timeline().frame_at, NumpyCompositor(), OUTPUT)
    recorder.close()
    assert "nothing was recorded" in recorder.error
    assert not recorder.path.exists()
