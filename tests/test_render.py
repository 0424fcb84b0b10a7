"""Rendering to a file: exact lengths, every frame once, and the same every time."""

import wave
from pathlib import Path

import av
import numpy as np
import pytest

from ltx_live import config, params, render
from ltx_live.config import Config
from ltx_live.engine.testcard import TestCardEngine, beeps, read_counters
from ltx_live.errors import ConfigError, MediaError
from ltx_live.pocket import weights_folder


def rendered(path: Path, model: str, seconds: float, **settings) -> tuple[np.ndarray, np.ndarray]:
    """Frames (F, H, W, 3) and sound (S, 2) of a rendered file."""
    values = config.initial_values(model, None, {"randomize_seed": False} | settings)
    assert render.run(Config(model=model, values=values), seconds, path) == 0
    with av.open(str(path)) as file:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
    with av.open(str(path)) as file:
        sound = np.concatenate([block.to_ndarray() for block in file.decode(audio=0)], axis=1).T
    return frames, sound


@pytest.mark.parametrize(("seconds", "frame_rate", "num_frames"), [(3, 24, 33), (2.6, 25, 17), (1.1, 10, 9)])
def test_a_file_has_every_frame_once_and_as_much_sound(tmp_path, seconds, frame_rate, num_frames):
    size = {"width": 320, "height": 160}
    frames, sound = rendered(
        tmp_path / "a.mp4", "testcard", seconds, frame_rate=frame_rate, num_frames=num_frames, **size
    )
    count = round(seconds * frame_rate)
    assert frames.shape == (count, 160, 320, 3)
    assert [read_counters(frame)[1] for frame in frames] == list(range(count))
    assert 0 <= len(sound) - seconds * 48000 < 1024  # a whole AAC frame at the end
    wanted = beeps(0, round(seconds * 48000))
    envelopes = [np.abs(x[: len(wanted), 0]).reshape(-1, 400).max(axis=1) > 0.2 for x in (sound, wanted)]
    assert np.mean(envelopes[0] != envelopes[1]) < 0.02


def test_seams_are_cross_faded(tmp_path):
    values = config.initial_values("testcard", None, {"num_frames": 33})
    generation = params.snapshot(params.GenerationParams, values)
    made = []
    for chunk in render.chunks(TestCardEngine(), generation):
        made.append(chunk)
        if len(made) == 3:
            break
    assert [chunk.num_overlap for chunk in made] == [0, 9, 9]
    assert all(after.cut == before.end for before, after in zip(made, made[1:], strict=False))
    frames, _ = rendered(tmp_path / "a.mp4", "testcard", 1.4, num_frames=33, width=320, height=160)
    lit = frames[:, 132:140, 308:316].astype(float).mean(axis=(1, 2, 3))  # the last digit of the chunk's index
    assert lit[26] < 5 and lit[33] > 250  # a quarter of a second before the seam, and at it
    assert (np.diff(lit[27:34]) > 20).all()


def test_the_look_applies(tmp_path):
    bright, _ = rendered(tmp_path / "a.mp4", "testcard", 0.5)
    dim, _ = rendered(tmp_path / "b.mp4", "testcard", 0.5, **{"out/master": 0.5})
    assert dim.mean() == pytest.approx(bright.mean() / 2, rel=0.05)
    strobed, _ = rendered(tmp_path / "c.mp4", "testcard", 1.0, **{"out/strobe": 20})
    lit = strobed.max(axis=(1, 2, 3)) > 150
    assert lit.tolist() == [k // 4 % 2 == 0 for k in range(24)], "3 Hz at most"


def test_the_same_command_gives_the_same_file(tmp_path):
    first, second = (tmp_path / name for name in ("a.mp4", "b.mp4"))
    rendered(first, "testcard", 1.0, prompt="red")
    rendered(second, "testcard", 1.0, prompt="red")
    assert first.read_bytes() == second.read_bytes()


def test_less_than_a_frame_is_an_error(tmp_path):
    values = config.initial_values("testcard", None, {})
    with pytest.raises(ConfigError, match="--seconds"):
        render.run(Config(model="testcard", values=values), 0.01, tmp_path / "a.mp4")
    assert not (tmp_path / "a.mp4").exists()


def test_which_engine_a_model_names(tmp_path):
    values = config.initial_values("pocket", None, {})
    assert render.engine_spec(Config(model="testcard", values=values)).module == "ltx_live.engine.testcard"
    pocket = render.engine_spec(Config(model="pocket", values=values))
    settings = pocket.arguments["settings"]
    assert (settings.model, settings.width, settings.height, settings.num_frames) == (weights_folder(), 288, 160, 57)
    assert not settings.merge_loras and settings.ffn_chunk_size == 4096  # as the presets and the table say
    own = Config(model=str(tmp_path), values=values, memory="streamed", max_vram_gb=22.5, loras=((tmp_path, 0.5),))
    settings = render.engine_spec(own).arguments["settings"]
    assert settings.model == tmp_path and settings.loras == ((tmp_path, 0.5),)
    assert (settings.memory, settings.max_vram_gb) == ("streamed", 22.5)


@pytest.mark.skipif(not any(weights_folder().glob("*.safetensors")), reason="the pocket has no weights yet")
def test_the_pocket_renders_what_the_seed_says(tmp_path):
    settings = {"prompt": "a fast red tunnel with drums", "num_frames": 33}
    first, sound = rendered(tmp_path / "a.mp4", "pocket", 2.0, seed=1, **settings)
    again, _ = rendered(tmp_path / "b.mp4", "pocket", 2.0, seed=1, **settings)
    other, _ = rendered(tmp_path / "c.mp4", "pocket", 2.0, seed=2, **settings)
    assert first.shape == (48, 160, 288, 3) and np.array_equal(first, again)
    assert np.abs(first.astype(float) - other).mean() > 2
    assert np.abs(np.diff(first.astype(float), axis=0)).mean() > 0.5 and np.abs(sound).mean() > 1e-3


def test_files_that_values_name_are_given_to_the_chunks(tmp_path):
    """Sound from a file goes through every seam as it is; a reference is prepared; what cannot be read is an error."""
    track = (0.4 * np.sin(np.arange(4 * 48000) / 48000 * 2 * np.pi * 330)).astype(np.float32)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48000)
        file.writeframes((track * 32767).astype("<i2").tobytes())
    values = {"audio_input": str(tmp_path / "a.wav"), "audioin/loop": False, "ref/source": "test", "num_frames": 33}
    _, sound = rendered(tmp_path / "a.mp4", "testcard", 3, **values)
    wanted = np.repeat(track[: 3 * 48000, None], 2, axis=1)
    assert np.abs(sound[4800 : len(wanted) - 4800] - wanted[4800:-4800]).max() < 0.05  # AAC
    with pytest.raises(MediaError, match="cannot read .*nowhere.wav: no such file"):
        rendered(tmp_path / "b.mp4", "testcard", 1, audio_input=str(tmp_path / "nowhere.wav"))
    with pytest.raises(ConfigError, match="--set lora/2/name: .*--lora; give x there"):
        rendered(tmp_path / "b.mp4", "testcard", 1, **{"lora/2/name": "x"})
