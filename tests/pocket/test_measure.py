"""Measures on held-out renderer output: palette, speed, sound, onsets and flashes, and the scene classifier."""

import dataclasses

import numpy as np
import pytest
import torch

from ltx_live.pocket.classifier import train_scene_classifier
from ltx_live.pocket.description import SPEEDS, Batch, Description, sample_descriptions
from ltx_live.pocket.measure import flash_times, onsets, palette_of, sound_of, speed_of
from ltx_live.pocket.scenes import render_frames
from ltx_live.pocket.sounds import render_audio

CLIP = Description("spiral", "purple", "still", (), "drums", 120, seed=4)


pytestmark = pytest.mark.usefixtures("one_thread")


def frames_of(clip: Description, num_frames: int, start_s: float = 0.0) -> np.ndarray:
    times_s = torch.arange(num_frames, dtype=torch.float64)[None] / 24 + start_s
    return (render_frames(Batch.of([clip]), times_s, 144, 80)[0] * 255).round().byte().numpy()


def audio_of(clip: Description, seconds: float) -> np.ndarray:
    return render_audio(Batch.of([clip]), torch.zeros(1), round(48000 * seconds))[0].numpy()


def test_palette_and_speed_of_pictures():
    clips = [c for c in sample_descriptions(50, torch.Generator().manual_seed(31)) if c.speed != "normal"]
    pictures = [frames_of(clip, 14, start_s=i * 1.3) for i, clip in enumerate(clips)]
    assert np.mean([palette_of(p) == c.palette for p, c in zip(pictures, clips, strict=True)]) >= 0.98
    assert np.mean([speed_of(p) == c.speed for p, c in zip(pictures, clips, strict=True)]) >= 0.95


def test_speed_survives_noise_like_that_of_a_small_decoder():
    generator = np.random.default_rng(0)
    for speed in set(SPEEDS) - {"normal"}:
        clip = dataclasses.replace(CLIP, speed=speed, sound="pad")
        noisy = frames_of(clip, 20) + generator.normal(0.0, 2.0, (20, 80, 144, 3))
        assert speed_of(noisy.clip(0, 255).astype(np.uint8)) == speed


def test_sound_of_samples():
    clips = sample_descriptions(48, torch.Generator().manual_seed(32))
    batch = Batch.of(clips)
    audio = render_audio(
        batch, torch.rand(48, generator=torch.Generator().manual_seed(33)).double() * 40, 114000
    ).numpy()
    assert np.mean([sound_of(a) == c.sound for a, c in zip(audio, clips, strict=True)]) >= 0.95


def test_every_beat_of_the_drums_is_an_onset_and_a_flash_together():
    batch = Batch.of([CLIP])
    truth = [k for k in (np.arange(1, 6) + float(batch.vary("beat", 0, 1)[0])) * 0.5 if 0.1 < k < 2.3]
    struck, flashed = onsets(audio_of(CLIP, 2.375)), flash_times(frames_of(CLIP, 57))
    for beat_s in truth:
        assert np.abs(struck - beat_s).min() < 0.015
        flash_s = flashed[np.abs(flashed - beat_s).argmin()]
        assert flash_s <= beat_s < flash_s + 1 / 24


def test_steady_sounds_and_pictures_have_no_onsets_and_flashes():
    quiet = dataclasses.replace(CLIP, sound="low drone")
    assert len(onsets(audio_of(quiet, 2.0))) <= 1
    assert len(flash_times(frames_of(quiet, 24))) == 0
    assert sound_of(np.zeros((48000, 2), np.float32)) == "silence"


def test_the_scene_classifier_learns():
    clips = sample_descriptions(48, torch.Generator().manual_seed(34))
    classifier = train_scene_classifier(steps=50, seed=1)
    guesses = [classifier.scene_of(torch.from_numpy(frames_of(clip, 4))) for clip in clips]
    assert np.mean([guess == clip.scene for guess, clip in zip(guesses, clips, strict=True)]) > 0.5
    assert sum(p.numel() for p in classifier.parameters()) < 300_000
