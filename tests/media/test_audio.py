"""Sound files of every kind come in whole, in place to the sample, at 48 kHz in stereo; what cannot is one line."""

from fractions import Fraction

import av
import numpy as np
import pytest

from ltx_live.errors import MediaError
from ltx_live.media import audio
from ltx_live.media.audio import read_audio, read_sound
from ltx_live.media.recording import VideoWriter

RATE = 48_000
CODECS = {  # file name ending: codec, sample format
    "wav": ("pcm_s16le", "s16"),
    "flac": ("flac", "s16"),
    "mp3": ("libmp3lame", "fltp"),
    "m4a": ("aac", "fltp"),
    "mka": ("aac", "fltp"),
    "ogg": ("libopus", "flt"),
    "mp4": ("aac", "fltp"),
}


def sines(rate: int, num_samples: int, hz=(441.0, 1600.0), channels=2) -> np.ndarray:
    """Two tones, one for each channel; the same function of time at whatever rate."""
    times_s = np.arange(num_samples) / rate
    waves = [0.5 * np.sin(2 * np.pi * each * times_s) for each in hz]
    return np.stack([waves[channel % len(waves)] for channel in range(channels)], axis=1).astype(np.float32)


def write_sound(path, samples, rate, layout="stereo", codec=None, start_s=0.0):
    """Write (S, C) float32 with FFmpeg's encoders; start_s later than its picture, when the file has one."""
    name, sample_format = codec or CODECS[path.suffix[1:]]
    scaled = np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)
    with av.open(str(path), "w", options={"movie_timescale": "48000"} if start_s else {}) as file:
        video = None
        if start_s:
            video = file.add_stream("libx264", rate=24)
            video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        stream = file.add_stream(name, rate=rate, layout=layout)
        stream.format = sample_format
        if video is not None:
            for index in range(48):
                frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 24)
                file.mux(video.encode(frame))
            file.mux(video.encode(None))
        resampler = av.AudioResampler(sample_format, layout, rate)
        for start in range(0, len(scaled), rate):
            frame = av.AudioFrame.from_ndarray(scaled[start : start + rate].reshape(1, -1), "s16", layout)
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = start + round(start_s * rate)
            for part in resampler.resample(frame):
                file.mux(stream.encode(part))
        for part in resampler.resample(None):
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return path


def bursts(rate: int, num_samples: int) -> np.ndarray:
    """Noise below 3 kHz that comes and goes: its place can be told to the sample after any codec."""
    spectrum = np.fft.rfft(np.random.default_rng(5).normal(size=num_samples))
    spectrum[round(3000 * num_samples / rate) :] = 0
    noise = np.fft.irfft(spectrum, num_samples)
    wave = 0.3 * noise / np.abs(noise).max() * (np.arange(num_samples) % (rate // 4) < rate // 8)
    return np.repeat(wave[:, None], 2, axis=1).astype(np.float32)


def offset(found: np.ndarray, wanted: np.ndarray) -> int:
    """By how many samples `found` (S,) is later than `wanted` (S,)."""
    size = 1 << (len(found) + len(wanted)).bit_length()
    product = np.fft.rfft(found, size) * np.conj(np.fft.rfft(wanted, size))
    lag = int(np.fft.irfft(product).argmax())
    return lag if lag < size // 2 else lag - size


def test_48_khz_comes_in_bit_for_bit(tmp_path):
    samples = sines(RATE, 100_003)
    path = write_sound(tmp_path / "a.wav", samples, RATE)
    np.testing.assert_array_equal(read_audio(path), np.round(samples * 32768) / 32768)
    floats = write_sound(tmp_path / "b.wav", samples, RATE, codec=("pcm_f32le", "flt"))
    np.testing.assert_array_equal(read_audio(floats), np.round(samples * 32768) / 32768)


@pytest.mark.parametrize(
    "rate, name, hz",
    [
        (44_100, "a.wav", (441.0, 12_000.0)),
        (44_100, "a.flac", (441.0, 12_000.0)),
        (8_000, "a.wav", (300.0, 2_500.0)),
        (22_050, "a.wav", (440.0, 7_000.0)),
        (96_000, "a.wav", (441.0, 15_000.0)),
        (11_025, "a.flac", (60.0, 3_000.0)),
    ],
)
def test_one_resampling_keeps_the_samples_in_place(tmp_path, rate, name, hz):
    """The error is that of the same tones at 48 kHz at offset 0; an offset of a tenth of a sample would be seen."""
    num = 2 * rate + 7
    heard = read_audio(write_sound(tmp_path / name, sines(rate, num, hz), rate))
    assert heard.shape == (-(-num * RATE // rate), 2) and heard.dtype == np.float32
    wanted = sines(RATE, len(heard), hz)
    inner = slice(RATE // 20, -RATE // 20)
    error = np.abs(heard[inner] - wanted[inner]).max()
    print(f"{rate} Hz {name}: error {error:.1e}")
    assert error < 1e-3
    assert np.abs(heard[:480] - wanted[:480]).max() < 0.3, "the edge is there, with what ringing a filter has"


def test_a_single_channel_goes_to_both_at_its_own_level(tmp_path):
    samples = sines(8_000, 16_000, (400.0,), channels=1)
    heard = read_audio(write_sound(tmp_path / "a.wav", samples, 8_000, "mono"))
    np.testing.assert_array_equal(heard[:, 0], heard[:, 1])
    assert np.abs(heard[4800:-4800, 0]).max() == pytest.approx(0.5, abs=2e-3)
    same = sines(RATE, 5_000, channels=1)
    heard = read_audio(write_sound(tmp_path / "b.wav", same, RATE, "mono"))
    np.testing.assert_allclose(heard, np.repeat(same, 2, axis=1), atol=1e-4)


@pytest.mark.parametrize("layout, channels", [("5.1", 6), ("quad", 4), ("2.1", 3)])
def test_more_than_two_channels_are_mixed_down_and_do_not_clip(tmp_path, layout, channels):
    loud = 1.9 * sines(RATE, 20_000, (441.0,), channels)
    heard = read_audio(write_sound(tmp_path / "a.wav", loud, RATE, layout))
    assert heard.shape == (20_000, 2) and 0.3 < np.abs(heard).max() <= 1
    assert abs(offset(heard[:, 0], loud[:, 0])) == 0


@pytest.mark.parametrize("rate", [44_100, 48_000])
@pytest.mark.parametrize("name", ["a.mp3", "a.m4a", "a.mka", "a.ogg", "a.mp4"])
def test_what_an_encoder_puts_around_the_sound_is_left_out(tmp_path, name, rate):
    if name == "a.ogg" and rate != RATE:
        pytest.skip("Opus is 48 kHz")
    num = 3 * rate + 1234
    heard = read_audio(write_sound(tmp_path / name, bursts(rate, num), rate))
    wanted = read_audio(write_sound(tmp_path / "plain.wav", bursts(rate, num), rate))
    late, longer = offset(heard[:, 0], wanted[:, 0]), len(heard) - len(wanted)
    print(f"{name} {rate} Hz: {late} samples late, {longer} longer")
    assert late == 0
    assert 0 <= longer <= {"a.mka": 1115, "a.m4a": 48, "a.mp4": 48}.get(name, 0), "MP4 tells ms, Matroska nothing"


def test_the_sound_of_a_video(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 32, 32, 24) as writer:
        for start in range(0, 2 * RATE, 2000):
            writer.write_frame(np.zeros((32, 32, 3), np.uint8))
            writer.write_audio(bursts(RATE, 2 * RATE)[start : start + 2000])
    heard = read_audio(tmp_path / "a.mp4")
    assert offset(heard[:, 0], bursts(RATE, 2 * RATE)[:, 0]) == 0 and len(heard) == 2 * RATE


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_sound_that_begins_after_its_picture_has_the_silence_before_it(tmp_path, name):
    path = write_sound(tmp_path / name, bursts(RATE, RATE), RATE, codec=("aac", "fltp"), start_s=0.5)
    heard = read_audio(path)
    late = offset(heard[:, 0], bursts(RATE, RATE)[:, 0])
    print(f"{name}: {late - RATE // 2} samples off")
    assert abs(late - RATE // 2) <= (48 if name == "a.mkv" else 0), "Matroska counts in milliseconds"


def test_only_the_first_seconds(tmp_path):
    path = write_sound(tmp_path / "a.flac", sines(44_100, 3 * 44_100), 44_100)
    np.testing.assert_array_equal(read_audio(path, only_s=1.5), read_audio(path)[: RATE * 3 // 2])
    assert len(read_audio(path, only_s=60)) == 3 * RATE


def test_what_cannot_be_used_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "broken.wav").write_bytes(bytes(5000))
    (tmp_path / "empty.mp3").write_bytes(b"")
    (tmp_path / "none.wav").write_bytes(write_sound(tmp_path / "b.wav", sines(RATE, 9), RATE).read_bytes()[:-36])
    write_sound(tmp_path / "long.wav", np.zeros((4 * RATE, 2), np.float32), RATE)
    with av.open(str(tmp_path / "mute.mp4"), "w") as file:
        video = file.add_stream("libx264", rate=24)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        file.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        file.mux(video.encode(None))
    whole = write_sound(tmp_path / "a.flac", sines(RATE, RATE), RATE).read_bytes()
    (tmp_path / "noise.flac").write_bytes(whole[:200] + bytes(5000))
    monkeypatch.setattr(audio, "LONGEST_S", 3)
    words = {
        "missing.wav": "cannot read .*missing.wav: no such file",
        "broken.wav": "cannot read .*broken.wav: invalid data",
        "empty.mp3": "cannot read .*empty.mp3: ",
        "none.wav": "none.wav has a sound without a sample",
        "mute.mp4": "mute.mp4 has no sound; choose a sound file",
        "long.wav": "long.wav is longer than",
        "noise.flac": "noise.flac",
        ".": "is a directory; is it a sound file",
        "http://127.0.0.1:9/a.wav": "no such file",
    }
    for name, text in words.items():
        with pytest.raises(MediaError, match=text) as caught:
            read_audio(name if "://" in name else tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_broken_place_is_left_out(tmp_path):
    path = write_sound(tmp_path / "a.mp3", bursts(RATE, 2 * RATE), RATE)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2 : len(whole) // 2 + 300] = bytes(300)
    path.write_bytes(whole)
    heard = read_audio(path)
    assert 1.8 * RATE < len(heard) <= 2 * RATE + 1 and np.abs(heard).max() > 0.2


def test_samples_that_are_no_numbers_are_refused(tmp_path):
    path = write_sound(tmp_path / "a.wav", sines(RATE, 1000), RATE, codec=("pcm_f32le", "flt"))
    data = bytearray(path.read_bytes())
    data[-4:] = np.float32(np.nan).tobytes()
    path.write_bytes(data)
    with pytest.raises(MediaError, match="no numbers"):
        read_audio(path)


def test_a_speaker_is_the_first_ten_seconds(tmp_path):
    path = write_sound(tmp_path / "a.wav", np.ones((12 * 8000, 1), np.float32) / 4, 8000, "mono")
    sound = read_sound(str(path))
    assert sound.name == "a.wav" and len(sound.voice(5.0)) == 5 * RATE and len(sound.samples) == 12 * RATE
