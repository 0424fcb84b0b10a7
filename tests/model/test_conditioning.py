"""Conditionings: what they write into a state, and what does not fit."""

import pytest
import torch

from ltx_live.model.conditioning import (
    DrivingAudio,
    FirstFrame,
    LatentState,
    Prefix,
    ReferenceAudio,
    ReferenceVideo,
)
from ltx_live.model.latents import VideoGeometry, audio_positions, reference_video_positions


@pytest.fixture
def video(tiny_positions):
    return LatentState.blank(tiny_positions[0], num_channels=16)


@pytest.fixture
def audio(tiny_positions):
    return LatentState.blank(tiny_positions[1], num_channels=8)


def test_blank_state_is_all_to_be_made(video):
    assert video.latent.shape == video.clean.shape == (1, 18, 16)
    assert video.denoise_mask.shape == (1, 18, 1) and bool((video.denoise_mask == 1).all())
    assert video.target.shape == (1, 18, 16)


def test_prefix_is_given_and_leaves_the_old_state_alone(video):
    tokens = torch.randn(1, 6, 16)
    state = FirstFrame(tokens, strength=0.75).apply(video)
    assert torch.equal(state.clean[:, :6], tokens) and not state.clean[:, 6:].any()
    assert state.denoise_mask.squeeze().tolist() == [0.25] * 6 + [1] * 12
    assert not video.clean.any() and bool((video.denoise_mask == 1).all())


def test_later_conditioning_wins_where_both_speak(video):
    prefix, image = torch.randn(1, 12, 16), torch.randn(1, 6, 16)
    state = FirstFrame(image).apply(Prefix(prefix).apply(video))
    assert torch.equal(state.clean[:, :12], torch.cat((image, prefix[:, 6:]), dim=1))


def test_driving_audio_freezes_everything(audio):
    tokens = torch.randn(1, 17, 8)
    state = DrivingAudio(tokens).apply(audio)
    assert torch.equal(state.clean, tokens) and not state.denoise_mask.any()


def test_what_does_not_fit_is_refused(video, audio):
    with pytest.raises(ValueError, match="19 given tokens"):
        Prefix(torch.zeros(1, 19, 16)).apply(video)
    with pytest.raises(ValueError, match="16 latents, the chunk needs 17"):
        DrivingAudio(torch.zeros(1, 16, 8)).apply(audio)


def test_reference_video_is_appended_and_not_wanted(video):
    positions = reference_video_positions(VideoGeometry(9, 32, 32), 24.0, downscale_factor=2)
    state = ReferenceVideo(torch.ones(1, 2, 16), positions, strength=0.5).apply(video)
    assert state.latent.shape == (1, 20, 16) and state.positions.shape == (1, 3, 20, 2)
    assert torch.equal(state.positions[:, :, 18:], positions)
    assert state.denoise_mask[0, 18:, 0].tolist() == [0.5, 0.5]
    assert bool((state.clean[:, 18:] == 1).all())
    assert state.target.shape == (1, 18, 16)


def test_reference_audio_ends_one_latent_before_the_start(audio):
    state = ReferenceAudio(torch.ones(1, 4, 8)).apply(audio)
    placed = state.positions[0, 0, 17:]
    assert float(placed.max()) == pytest.approx(-0.04)
    torch.testing.assert_close(placed.diff(dim=0), audio_positions(4)[0, 0].diff(dim=0), atol=1e-6, rtol=0)
    assert not state.denoise_mask[:, 17:].any()
