"""Geometry, tokens, positions, and the windows of chunks that follow each other."""

import pytest
import torch

from ltx_live.model.latents import (
    ChunkWindow,
    VideoGeometry,
    audio_end_s,
    audio_positions,
    patchify_audio,
    patchify_video,
    reference_video_positions,
    unpatchify_audio,
    unpatchify_video,
    video_positions,
)


def test_geometry_of_the_default_size():
    geometry = VideoGeometry(num_frames=129, width=320, height=384)
    assert (geometry.num_latent_frames, geometry.latent_height, geometry.latent_width) == (17, 12, 10)
    assert (geometry.tokens_per_frame, geometry.num_tokens) == (120, 2040)
    with pytest.raises(ValueError, match="num_frames"):
        VideoGeometry(num_frames=128, width=320, height=384)
    with pytest.raises(ValueError, match="330x384"):
        VideoGeometry(num_frames=129, width=330, height=384)


def test_tokens_run_over_frames_then_rows_then_columns():
    geometry = VideoGeometry(num_frames=17, width=128, height=64)
    latent = torch.arange(5 * 3 * 2 * 4).view(1, 5, 3, 2, 4)
    tokens = patchify_video(latent)
    assert torch.equal(tokens[0, 1 * 8 + 1 * 4 + 2], latent[0, :, 1, 1, 2])
    assert torch.equal(unpatchify_video(tokens, geometry), latent)


def test_audio_token_is_channel_times_bins_plus_bin():
    latent = torch.arange(8 * 5 * 16).view(1, 8, 5, 16)
    tokens = patchify_audio(latent)
    assert tokens[0, 3, 2 * 16 + 7] == latent[0, 2, 3, 7]
    assert torch.equal(unpatchify_audio(tokens), latent)


def test_video_positions_have_a_first_latent_of_one_frame():
    positions = video_positions(VideoGeometry(num_frames=17, width=96, height=64), frame_rate=24.0, start_s=0.5)
    assert positions.shape == (1, 3, 3 * 2 * 3, 2)
    times = positions[0, 0, ::6] - 0.5
    torch.testing.assert_close(times * 24, torch.tensor([[0.0, 1], [1, 9], [9, 17]]), atol=1e-5, rtol=0)
    token = 1 * 6 + 1 * 3 + 2  # second latent frame, second row, third column
    assert positions[0, 1:, token].tolist() == [[32, 64], [64, 96]]


def test_audio_positions_have_a_first_latent_of_ten_milliseconds():
    expected = torch.tensor([[0, 0.01], [0.01, 0.05], [0.05, 0.09]])
    torch.testing.assert_close(audio_positions(3)[0, 0], expected)
    assert audio_end_s(3) == pytest.approx(0.09)


def test_positions_equal_diffusers(tiny_positions, tiny_geometry):
    from diffusers.models.transformers.transformer_ltx2 import LTX2AudioVideoRotaryPosEmbed

    video, audio = tiny_positions
    rope = LTX2AudioVideoRotaryPosEmbed(dim=128, rope_type="split")
    assert torch.equal(rope.prepare_video_coords(1, 3, 2, 3, "cpu", fps=24.0), video)
    audio_rope = LTX2AudioVideoRotaryPosEmbed(dim=64, modality="audio", scale_factors=(4,), rope_type="split")
    torch.testing.assert_close(audio_rope.prepare_audio_coords(1, 17, "cpu"), audio)


def test_reference_positions_cover_the_whole_picture():
    target = video_positions(VideoGeometry(9, 256, 128), 24.0)
    reference = reference_video_positions(VideoGeometry(9, 128, 64), 24.0, downscale_factor=2)
    assert torch.equal(reference[:, 1:].amax(dim=(2, 3)), target[:, 1:].amax(dim=(2, 3)))
    assert torch.equal(reference[:, 0].unique(), target[:, 0].unique())


def test_first_window_starts_at_zero():
    window = ChunkWindow(num_frames=129, frame_rate=24.0)
    assert (window.video_start_s, window.cut_s, window.num_audio_latents) == (0, 0, 135)
    assert ChunkWindow(num_frames=249, frame_rate=25.0).num_audio_latents == 249  # 25 * 9.96 is above 249 in binary


def test_continued_window_ends_the_given_sound_before_the_cut():
    window = ChunkWindow(num_frames=129, frame_rate=24.0).continued(cut_frame=129, num_frames=57)
    assert (window.num_prefix_frames, window.num_audio_prefix) == (9, 25)
    assert window.carry_s == pytest.approx(5.375 - 5.37)
    assert window.cut_s == pytest.approx(0.97 + 0.005)
    assert window.video_start_s == pytest.approx(0.975 - 9 / 24)
    assert window.end_s == pytest.approx(2.975)
    assert audio_end_s(window.num_audio_latents - 1) < window.end_s <= audio_end_s(window.num_audio_latents)


@pytest.mark.parametrize(("frame_rate", "num_frames"), [(24.0, 57), (25.0, 33), (30.0, 41), (23.976, 129)])
def test_sound_never_drifts_from_the_picture(frame_rate, num_frames):
    """The time of a cut, counted in audio latents plus carry, is the time counted in frames, chunk after chunk."""
    window = ChunkWindow(num_frames, frame_rate)
    latents_before, frames_before = 0, 0  # of the show, before this window's own clock starts
    for cut_frame in (num_frames, num_frames - 5, 20, num_frames, 9):
        after = window.continued(cut_frame, num_frames)
        whole = window.whole_latents(window.video_start_s + cut_frame / frame_rate)
        latents_before += whole - after.num_audio_prefix
        frames_before += cut_frame - after.num_prefix_frames
        assert 0 <= after.carry_s < 0.04
        sound_s = (latents_before + after.num_audio_prefix) * 0.04 - 0.03 + after.carry_s
        picture_s = (frames_before + after.num_prefix_frames) / frame_rate
        assert sound_s == pytest.approx(picture_s, abs=1e-6)
        window = after


def test_short_chunks_continue_with_what_there_is():
    window = ChunkWindow(num_frames=9, frame_rate=24.0).continued(cut_frame=5, num_frames=33)
    assert window.num_prefix_frames == 1
    assert window.num_audio_prefix == 5  # 0.17 s of 0.208 s
    assert window.carry_s == pytest.approx(5 / 24 - 0.17)
