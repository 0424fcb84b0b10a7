"""Sound that drives: its stretch for each chunk, what is heard, what is a gesture, and a speaker's voice."""

import time
import wave
from dataclasses import replace

import numpy as np
import pytest

from ltx_live.chunk import DRIVING_CONTEXT_S, NO_INPUTS, SAMPLE_RATE_HZ, ChunkRequest
from ltx_live.modes.sound import SoundMode
from ltx_live.modes.use import Arrival, Setting
from ltx_live.params import GenerationParams, defaults, snapshot
from ltx_live.tempo import Tempo

SECOND = SAMPLE_RATE_HZ


def write_wav(path, samples, rate=SAMPLE_RATE_HZ):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def noise(seed, seconds):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (round(seconds * SECOND), 2)).astype(np.float32)


class Sound:
    """A sound mode beside live values, on a hand-turned clock."""

    def __init__(self, folder):
        self.tempo = Tempo(120.0, 4)
        self.mode, self.values = SoundMode(folder, self.tempo), defaults()
        self.now_s = self.position = 0.0

    def set(self, values):
        self.values |= values
        self.mode.take(self.values)

    def tick(self):
        return list(self.mode.tick(self.now_s, self.position, True))

    def told(self, timeout_s=10.0):
        end = time.monotonic() + timeout_s
        while not (told := self.tick()):
            assert time.monotonic() < end
            time.sleep(0.005)
        return told

    def params(self):
        params = snapshot(GenerationParams, self.values)
        return replace(params, **self.mode.fields(params))

    def filled(self, start=0, num_frames=24, is_made=True):
        request = ChunkRequest(1, self.params(), 1, start, num_frames, None)
        filled = self.mode.fill(request, NO_INPUTS)
        if is_made:
            self.mode.made()
        return filled


@pytest.fixture
def sound(tmp_path):
    write_wav(tmp_path / "a.wav", noise(1, 3.0))
    write_wav(tmp_path / "b.wav", noise(2, 2.0))
    made = Sound(tmp_path)
    yield made
    made.mode.close()


def of_file(name, seed, seconds):
    """What a file written from noise holds, in 16 bits."""
    return (noise(seed, seconds) * 32767).astype("<i2") / np.float32(32768)


def test_without_sound_nothing_is_given_and_no_value_is_a_gesture(sound):
    plain = sound.params()
    sound.set({"audioin/gain": 2.0, "audio/monitor": True, "identity_guidance_scale": 5.0, "audio_mode": "id_lora"})
    assert sound.params() == plain and sound.filled() is NO_INPUTS
    sound.set({"audio_mode": "driving", "audioin/loop": False, "audio/source": "off", "live_align": "bar"})
    assert sound.params() == plain, "driving without audio_input is plain text mode"


def test_a_file_drives_from_its_start_and_goes_on_sample_by_sample(sound):
    sound.set({"audio_input": "a.wav"})
    assert sound.mode.words == "sound loading" and sound.params().audio_input == ""
    assert sound.told() == [Arrival("audio_input", "sound: a.wav, 3.0 s")]
    track, start = of_file("a", 1, 3.0), 5 * SECOND
    first = sound.filled(start)
    context = round(DRIVING_CONTEXT_S * SECOND)
    assert first.driving_start == start - context and first.heard == "driving" and first.speaker is None
    assert not first.driving[:context].any(), "it begins with the chunk"
    assert np.abs(first.driving[context : context + SECOND] - track[:SECOND]).max() < 1e-4
    second = sound.filled(start + SECOND)
    assert np.abs(second.driving[context : context + SECOND] - track[SECOND : 2 * SECOND]).max() < 1e-4
    third = sound.filled(start + 2 * SECOND, 48)
    assert np.abs(third.driving[context + SECOND : context + 2 * SECOND] - track[:SECOND]).max() < 1e-4, "it loops"
    sound.position = start + 2.5 * SECOND
    sound.tick()
    assert sound.mode.words == "driving a.wav 0:02"
    heard = sound.mode.hear(round(sound.position))
    assert np.abs(heard.read(heard.end - 4800, 4800) - track[round(2.4 * SECOND) : round(2.5 * SECOND)]).max() < 1e-4


def test_a_new_file_a_seek_and_the_end_of_driving_are_gestures_the_gain_is_none(sound):
    sound.set({"audio_input": "a.wav"})
    sound.told()
    seen = [sound.params()]
    sound.set({"audioin/gain": 0.5})
    assert replace(sound.params(), audioin_gain=1.0) == seen[0]
    sound.set({"audioin/gain": 1.0})
    assert sound.mode.seek(1.0)
    seen.append(sound.params())
    sound.set({"audio_input": "b.wav"})
    assert sound.params() == seen[-1], "not before it is there"
    sound.told()
    seen.append(sound.params())
    sound.set({"audio_input": ""})
    seen.append(sound.params())
    assert len({params.audio_input for params in seen}) == 4 and not sound.mode.seek(1.0)
    assert sound.filled(9 * SECOND).driving is None


def test_what_was_asked_for_and_never_made_is_forgotten(sound):
    sound.set({"audio_input": "a.wav"})
    sound.told()
    track, context = of_file("a", 1, 3.0), round(DRIVING_CONTEXT_S * SECOND)
    sound.filled(5 * SECOND, is_made=False)
    again = sound.filled(4 * SECOND)
    assert np.abs(again.driving[context : context + SECOND] - track[:SECOND]).max() < 1e-4


@pytest.mark.parametrize(("source", "heard"), [("driving", "driving"), ("generated", "generated"), ("off", "off")])
def test_what_is_heard_is_chosen(sound, source, heard):
    sound.set({"audio_input": "a.wav", "audio/source": source})
    sound.told()
    assert sound.filled().heard == heard


def test_a_speaker_is_given_and_does_not_drive(sound, tmp_path):
    rate = 8000
    mono = (0.3 * np.sin(np.arange(12 * rate) / rate * 2 * np.pi * 440)).astype(np.float32)[:, None]
    write_wav(tmp_path / "voice.wav", mono, rate)
    sound.set({"audio_input": "voice.wav", "audio_mode": "id_lora"})
    assert not sound.mode.has_speaker
    sound.told()
    filled = sound.filled()
    assert sound.mode.has_speaker and filled.driving is None and len(filled.speaker) == 10 * SECOND
    assert filled.speaker.std() == pytest.approx(0.3 / np.sqrt(2), rel=0.05), "mono at 8 kHz is heard on both sides"
    assert sound.params().identity_guidance_scale == 3.0 and sound.mode.words == "voice voice.wav"
    sound.set({"audioin/window": 4.0})
    assert len(sound.filled().speaker) == 4 * SECOND and sound.params().audioin_window == 4.0
    sound.set({"audio_mode": "driving"})
    sound.tick()
    assert sound.params().audioin_window == 10.0, "it is no gesture where nobody speaks"
    assert sound.filled().driving is not None and not sound.mode.has_speaker


@pytest.mark.parametrize("name", ["missing.wav", "broken.wav", "."])
def test_what_cannot_be_read_is_one_line_and_the_old_goes_on(sound, tmp_path, name):
    (tmp_path / "broken.wav").write_bytes(b"RIFF no sound")
    sound.set({"audio_input": "a.wav"})
    sound.told()
    used = sound.params()
    sound.set({"audio_input": name})
    (setting,) = sound.told()
    assert isinstance(setting, Setting) and (setting.name, setting.value) == ("audio_input", "a.wav")
    assert "stays as it was" in setting.text and "\n" not in setting.text
    sound.set({"audio_input": setting.value})
    assert sound.params() == used and not sound.tick()


class LiveInput:
    """What a sound device does, by hand: it is open, and its ring is written to as time goes on."""

    def open(self, sound):
        sound.mode.input.device, sound.mode.input.check = "a device", lambda may_open: None
        sound.mode.input.open = lambda pattern: None

    def write(self, sound, block):
        sound.mode.input.sound.write(block, sound.now_s - len(block) / SECOND)


def test_a_live_input_drives_with_a_steady_delay_that_is_aligned_to_a_known_tempo(sound):
    live = LiveInput()
    sound.set({"audio_input": "a.wav"})
    sound.told()
    sound.mode.input.open = lambda pattern: None
    sound.mode.input.check = lambda may_open: None
    sound.set({"audioin/source": "live"})
    sound.tick()
    assert not sound.mode.driving.is_live, "the file drives until the input is there"
    live.open(sound)
    assert Arrival("audioin/source") in sound.tick() and sound.mode.driving.is_live
    delays = {}
    for align, is_known in (("off", False), ("auto", False), ("auto", True), ("bar", True)):
        sound.set({"live_align": align})
        if is_known:
            sound.tempo.set_bpm(121.0, sound.now_s)
            sound.tempo.set_bpm(120.0, sound.now_s)
        for _ in range(40):
            live.write(sound, noise(3, 0.05))
            sound.now_s += 0.05
            sound.position += 0.05 * SECOND
            sound.tick()
        filled = sound.filled(round(sound.position + 0.4 * SECOND), 24)
        assert filled.heard == "off", "a live input is heard only by a monitor"
        delays[align, is_known] = sound.mode.delay_s
    assert delays["off", False] == delays["auto", False] == pytest.approx(1.5, abs=0.11)
    assert delays["auto", True] == pytest.approx(1.5) and delays["bar", True] == pytest.approx(2.0)
    sound.set({"audio/monitor": True})
    assert sound.filled(round(sound.position + 0.4 * SECOND), 24).heard == "driving"
    sound.set({"audio/monitor": False, "live_align": "through"})
    assert sound.filled(round(sound.position + 0.4 * SECOND), 24).heard == "driving"
    heard = sound.mode.hear(round(sound.position))
    assert heard.read(heard.end - 480, 480).any() and sound.mode.words.startswith("driving live, delay")


@pytest.mark.parametrize("values", [{}, {"audio_mode": "id_lora"}])
def test_a_request_whose_sound_was_given_up_gets_none(sound, values):
    sound.set({"audio_input": "a.wav", **values})
    sound.told()
    given_up = replace(sound.params(), audio_input="", audio_mode="driving")
    assert sound.mode.fill(ChunkRequest(1, given_up, 1, 0, 24, None), NO_INPUTS) is NO_INPUTS
    assert sound.filled() is not NO_INPUTS


def test_a_file_that_is_taken_away_drives_no_more_though_no_input_is_there_yet(sound):
    sound.set({"audio_input": "a.wav"})
    sound.told()
    sound.set({"audioin/source": "live", "audioin/device": "no such input"})
    assert sound.mode.words.startswith("driving a.wav"), "it drives until the input does"
    sound.set({"audio_input": ""})
    assert sound.mode.words == "" and not sound.mode.driving.is_on and sound.filled() is NO_INPUTS
