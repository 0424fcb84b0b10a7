"""Where chunks lie: exact on the media clock, for ever, whatever lengths, rates and cuts come."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from ltx_live.chunk import SAMPLE_RATE_HZ, Chunk, ChunkRequest, frames_to_samples
from ltx_live.engine.continuity import OVERLAP_SAMPLES, Made, Past, Plan, continued, new_take
from ltx_live.engine.encoders import LATENT_SAMPLES, Encoders, latents_to_samples
from ltx_live.model.audio_vae import AudioVAE
from ltx_live.model.latents import ChunkWindow, patchify_audio
from ltx_live.model.mel import MelConfig, decimate, log_mel
from ltx_live.params import GenerationParams

AUDIO_VAE = {
    "model": {
        "params": {
            "ddconfig": {"ch": 8, "ch_mult": [1, 1, 2], "num_res_blocks": 1, "in_channels": 2, "out_ch": 2}
            | {"z_channels": 2, "mel_bins": 64}
        }
    }
}


def request(start=0, num_frames=57, continue_from=None, frame_rate=24.0, **more) -> ChunkRequest:
    params = replace(GenerationParams(), frame_rate=frame_rate, continuity=more.pop("continuity", 1.0))
    index = 0 if continue_from is None else continue_from[0] + 1
    return ChunkRequest(index, params, 0, start, num_frames, continue_from, **more)


def made(plan: Plan) -> Made:
    """What the engine would keep of a chunk, without content."""
    window = plan.window
    frames = np.empty((window.num_frames, 0, 0, 3), np.uint8)
    audio = torch.empty(1, plan.num_audio_latents, 0)
    return Made(frames, plan.video_start, window.frame_rate, audio, plan.origin)


@pytest.fixture(scope="module")
def past() -> Past:
    torch.manual_seed(0)
    with torch.inference_mode():
        return Past(Encoders(None, AudioVAE.from_config(AUDIO_VAE).eval(), MelConfig()))  # no pictures are encoded


@pytest.mark.parametrize("frame_rate", [24, 25, 30, 60])
def test_a_new_take_has_sound_to_its_end(frame_rate):
    for num_frames in range(9, 258, 8):
        plan = new_take(request(1234, num_frames, frame_rate=frame_rate))
        assert plan.origin == plan.video_start == plan.audio_start == 1234 and plan.num_overlap_samples == 0
        assert latents_to_samples(plan.num_audio_latents) >= plan.end - plan.start
        trained = ChunkWindow(num_frames, frame_rate).num_audio_latents
        assert plan.num_audio_latents in (trained, trained + 1)


@pytest.mark.parametrize("frame_rate", [24, 25, 30])
def test_windows_are_the_trained_ones(frame_rate):
    window = ChunkWindow(57, frame_rate)
    before = made(new_take(request(0, 57, frame_rate=frame_rate)))
    for cut_frame, num_frames in ((57, 57), (33, 33), (20, 17), (57, 129), (5, 33)):
        plan = continued(request(before.cut(cut_frame), num_frames, (0, cut_frame), frame_rate), before)
        expected = window.continued(cut_frame, num_frames)
        assert plan.window.carry_s == pytest.approx(expected.carry_s, abs=1e-5)
        assert replace(plan.window, carry_s=0) == replace(expected, carry_s=0)
        assert plan.num_audio_latents == expected.num_audio_latents


@pytest.mark.parametrize("frame_rate", [24, 25, 30, 7, 23.976, 120])
def test_nothing_accumulates_over_a_thousand_chunks(frame_rate):
    pick = random.Random(0)
    plan = new_take(request(0, 57, frame_rate=frame_rate))
    for index in range(1000):
        before = made(plan)
        last = plan.window.num_frames
        frame = pick.choice((last, pick.randint(plan.window.num_prefix_frames + 1, last)))
        cut = before.cut(frame)
        num_frames = pick.choice((9, 17, 33, 57))
        plan = continued(request(cut, num_frames, (index, frame), frame_rate), before)
        carry = round(plan.window.carry_s * SAMPLE_RATE_HZ)
        assert 0 <= carry < LATENT_SAMPLES
        given = plan.window.num_audio_prefix
        whole = before.whole_latents(cut)
        # The given latents lie where they were heard, to the sample, and new ones follow on the same grid.
        assert given == min(25, whole) and given > 0
        assert plan.origin + latents_to_samples(given) == before.audio_origin + latents_to_samples(whole)
        assert plan.start == cut == plan.origin + latents_to_samples(given) + carry
        num_prefix = 9 if num_frames > 9 <= frame else 1
        assert plan.video_start == cut - frames_to_samples(num_prefix, frame_rate)
        reach = plan.origin + latents_to_samples(plan.num_audio_latents) - plan.end
        assert 0 <= reach < LATENT_SAMPLES


def test_a_cut_before_the_first_latent_has_ended_gives_pictures_only():
    before = made(new_take(request(0, 57, frame_rate=120)))
    plan = continued(request(before.cut(1), 57, (0, 1), 120), before)
    assert (plan.window.num_prefix_frames, plan.window.num_audio_prefix) == (1, 0)
    assert plan.origin == plan.start == 400 and plan.video_start == 0 and plan.num_overlap_samples == 0


def test_a_whole_second_is_given_where_there_is_one():
    plan = new_take(request(0, 57))
    for index in range(5):
        before, end = made(plan), plan.end
        plan = continued(request(end, 57, (index, 57)), before)
        assert (plan.window.num_prefix_frames, plan.window.num_audio_prefix) == (9, 25)
        assert plan.num_overlap_samples == OVERLAP_SAMPLES
        assert plan.end - end == 2 * SAMPLE_RATE_HZ
        context = plan.audio_start - plan.origin - plan.first_decoded_latent * LATENT_SAMPLES
        assert 0.4 <= context / SAMPLE_RATE_HZ < 0.44


@pytest.mark.parametrize(("num_frames", "frame", "given"), [(9, 57, 1), (57, 8, 1), (17, 9, 9), (57, 57, 9)])
def test_how_many_frames_are_given(num_frames, frame, given):
    before = made(new_take(request(0, 57)))
    before = replace(before, frames=np.arange(57, dtype=np.uint8)[:, None, None, None])
    plan = continued(request(before.cut(frame), num_frames, (0, frame)), before)
    assert plan.frames.ravel().tolist() == list(range(frame - given, frame))


def test_a_new_take_is_planned_where_nothing_may_be_continued(past):
    before = made(new_take(request(0, 57)))
    past.remember(0, before)
    assert past.plan(request(114000, 57, (0, 57))).window.num_prefix_frames == 9
    assert past.plan(request(114000, 57, (0, 57), continuity=0.0)) == new_take(request(114000, 57))
    for index in range(1, 9):
        past.remember(index, before)
    assert past.plan(request(114000, 57, (0, 57))) == new_take(request(114000, 57))  # forgotten, and no history


def chunk_with_sound(num_frames: int, frame_rate: float, audio_before: int) -> Chunk:
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 256, (num_frames, 2, 2, 3), np.uint8)
    num_samples = audio_before + frames_to_samples(num_frames - 9, frame_rate)
    sound = generator.standard_normal((num_samples, 2)).astype(np.float32) * 0.1
    video_start = 1_000_000 - frames_to_samples(9, frame_rate)
    return Chunk(77, frames, video_start, 9, sound, 1_000_000 - audio_before, audio_before, frame_rate, 0)


@torch.inference_mode()
@pytest.mark.parametrize("frame", [57, 45])
def test_a_chunk_of_another_engine_is_encoded_again(past, frame):
    history = chunk_with_sound(57, 24, OVERLAP_SAMPLES)
    cut = history.video_start + frames_to_samples(frame, 24)
    plan = past.plan(request(cut, 33, (77, frame), history=history))
    assert (plan.window.num_prefix_frames, plan.window.num_audio_prefix) == (9, 25)
    assert np.array_equal(plan.frames, history.frames[frame - 9 : frame])
    assert plan.audio.shape == (1, 25, 32)
    # Latent 25 of all sound that there is, analysed on the same grid, is the last one that is given.
    end = plan.origin + latents_to_samples(25)
    assert 0 <= cut - end < LATENT_SAMPLES
    num_before = (end - history.audio_start) // LATENT_SAMPLES
    offset = end - history.audio_start - num_before * LATENT_SAMPLES
    sound = torch.from_numpy(history.audio[offset:].T.copy())[None]
    mel = log_mel(decimate(sound, 3), MelConfig())
    # With its start `num_before` whole latents before `end`, mel frame 4 k - 1 is the last of a latent's four.
    latents = patchify_audio(past._encoders._audio_vae.encode(mel[:, :, 3 : 4 * num_before]))
    assert torch.allclose(plan.audio[:, -5:], latents[:, -5:], atol=1e-3)


def test_a_short_history_gives_less_sound(past):
    history = chunk_with_sound(17, 24, OVERLAP_SAMPLES)  # 0.1 + 1 / 3 s of sound
    with torch.inference_mode():
        plan = past.plan(request(history.end, 33, (77, 17), history=history))
    assert plan.window.num_audio_prefix == 10 and plan.origin >= history.audio_start + LATENT_SAMPLES
    assert plan.start == history.end


def test_resampling_keeps_what_16_khz_can_hold_and_nothing_else():
    time_s = torch.arange(48000) / 48000
    low, high = (torch.sin(2 * torch.pi * hz * time_s)[None, None].repeat(1, 2, 1) for hz in (1000, 10000))
    kept, gone = decimate(low, 3), decimate(high, 3)
    assert kept.shape == (1, 2, 16000)
    inside = slice(200, -200)
    assert torch.allclose(kept[..., inside], low[..., ::3][..., inside], atol=2e-3)
    assert gone[..., inside].abs().max() < 5e-3
