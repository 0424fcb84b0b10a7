"""The denoising loop: exact where the velocity is, still where tokens are given, and cancelled at once."""

import itertools

import pytest
import torch

from ltx_live.model.av import AV
from ltx_live.model.conditioning import DrivingAudio, LatentState, Prefix, ReferenceAudio
from ltx_live.model.sampler import Denoiser, draw_noise, sample
from ltx_live.model.schedules import schedule
from ltx_live.model.transformer import TextCache, Transformer

SEEDS = AV(7, 8)


@pytest.fixture
def states(tiny_positions):
    return AV(LatentState.blank(tiny_positions[0], 16), LatentState.blank(tiny_positions[1], 8))


@pytest.fixture(scope="module")
def transformer(tiny_config, randomise):
    return randomise(Transformer(tiny_config), seed=6)


@pytest.fixture(scope="module")
def contexts(tiny_config):
    """Two contexts."""
    generator = torch.Generator().manual_seed(9)
    widths = (tiny_config.cross_attention_dim, tiny_config.audio_cross_attention_dim)
    return [AV(*(torch.randn(1, 16, width, generator=generator) for width in widths)) for _ in range(2)]


def finish(loop):
    """Run a loop to its end: (number of steps, returned states)."""
    for count in itertools.count():
        try:
            next(loop)
        except StopIteration as stop:
            return count, stop.value


class StraightFlow:
    """The true velocity field of a single clip: from any point straight to the clip, reached at sigma 0."""

    def __init__(self, clips, noise):
        self.clips, self.noise = clips, noise

    def __call__(self, latents, sigma, context):
        return AV(*(noise - clip for noise, clip in zip(self.noise, self.clips, strict=True)))


@pytest.mark.parametrize("name", ["distilled", "beta"])
def test_true_velocity_reconstructs_the_clip(states, name):
    clips, noise = AV(*(torch.randn_like(state.latent) for state in states)), draw_noise(states, SEEDS)
    num_steps, made = finish(sample(StraightFlow(clips, noise), states, noise, schedule(name, 8), context=None))
    assert num_steps == 8
    for state, clip in zip(made, clips, strict=True):
        torch.testing.assert_close(state.latent, clip, atol=1e-5, rtol=0)


@torch.no_grad()
def test_given_tokens_stay_put_exactly(states, transformer, contexts):
    given = torch.randn(1, 6, 16), torch.randn(1, 17, 8)
    states = AV(Prefix(given[0]).apply(states.video), DrivingAudio(given[1]).apply(states.audio))
    loop = sample(Denoiser(transformer, states), states, draw_noise(states, SEEDS), schedule("linear", 3), contexts[0])
    for step in loop:
        assert torch.equal(step.states.video.latent[:, :6], given[0])
        assert torch.equal(step.states.audio.latent, given[1])
        assert torch.isfinite(step.states.video.latent).all()


@torch.no_grad()
def test_strength_moves_a_token_away_by_degrees(states, transformer, contexts):
    tokens = torch.randn(1, 6, 16)
    distances = []
    for strength in (1.0, 0.9, 0.5, 0.0):
        held = AV(Prefix(tokens, strength).apply(states.video), states.audio)
        loop = sample(Denoiser(transformer, held), held, draw_noise(held, SEEDS), schedule("linear", 3), contexts[0])
        distances.append(float((finish(loop)[1].video.latent[:, :6] - tokens).norm()))
    assert distances == sorted(distances) and distances[0] == 0 and len(set(distances)) == 4


def test_partial_strength_follows_the_equations(states):
    """A token of mask 1/2 is noised to half of sigma, and half of every prediction is what is given."""
    clean, noise = torch.randn(1, 18, 16), AV(torch.randn(1, 18, 16), None)
    video = AV(Prefix(clean, strength=0.5).apply(states.video), None)
    true_velocity = noise.video - clean
    made = finish(sample(lambda *_: AV(true_velocity, None), video, noise, schedule("linear", 3), None))[1]
    torch.testing.assert_close(made.video.latent, clean, atol=1e-5, rtol=0)
    still = finish(sample(lambda *_: AV(true_velocity * 0, None), video, noise, [1.0, 0.0], None))[1]
    torch.testing.assert_close(still.video.latent, clean + true_velocity / 4)


@torch.no_grad()
def test_text_cache_changes_nothing_and_is_used_again(states, transformer, contexts):
    sigmas, noise, cache = schedule("distilled", 8), draw_noise(states, SEEDS), TextCache(max_entries=16)
    plain = finish(sample(Denoiser(transformer, states), states, noise, sigmas, contexts[0]))[1]
    for _ in range(2):
        cached = finish(sample(Denoiser(transformer, states, cache), states, noise, sigmas, contexts[0]))[1]
        assert torch.equal(cached.video.latent, plain.video.latent)
    kept = cache.entry(contexts[0].video, (sigmas[3],))
    assert len(kept) == transformer.config.num_layers


@torch.no_grad()
def test_a_context_sent_in_takes_effect_at_the_next_step(states, transformer, contexts):
    sigmas, noise = schedule("linear", 3), draw_noise(states, SEEDS)
    loops = [sample(Denoiser(transformer, states), states, noise, sigmas, contexts[0]) for _ in range(2)]
    first = [next(loop) for loop in loops]
    assert torch.equal(first[0].states.video.latent, first[1].states.video.latent)
    assert (first[0].index, first[0].num_steps, first[0].sigma) == (0, 3, pytest.approx(2 / 3))
    kept, changed = next(loops[0]), loops[1].send(contexts[1])
    assert not torch.equal(kept.states.video.latent, changed.states.video.latent)


@torch.no_grad()
def test_close_cancels_before_the_next_step(states, transformer, contexts):
    calls = []
    denoiser = Denoiser(transformer, states)

    def counted(*arguments):
        calls.append(1)
        return denoiser(*arguments)

    loop = sample(counted, states, draw_noise(states, SEEDS), schedule("linear", 8), contexts[0])
    next(loop), next(loop)
    loop.close()
    assert len(calls) == 2
    with pytest.raises(StopIteration):
        next(loop)


@torch.no_grad()
def test_video_alone(states, transformer, contexts):
    video = AV(states.video, None)
    noise = draw_noise(video, SEEDS)
    made = finish(sample(Denoiser(transformer, video), video, noise, schedule("linear", 2), contexts[0]))[1]
    assert made.audio is None and torch.isfinite(made.video.latent).all()


def test_frozen_modality_has_sigma_zero(states, transformer, contexts):
    states = AV(states.video, DrivingAudio(torch.zeros(1, 17, 8)).apply(states.audio))
    seen = []
    handle = transformer.register_forward_pre_hook(lambda _, given: seen.extend(m.sigma.tolist() for m in given))
    with torch.no_grad():
        Denoiser(transformer, states)(AV(*(state.latent for state in states)), 0.75, contexts[0])
    handle.remove()
    assert seen == [[0.75], [0.0]]


def test_schedule_that_starts_low_keeps_the_latent(states):
    start = torch.ones_like(states.video.latent)
    video = LatentState(start, states.video.clean, states.video.denoise_mask, states.video.positions, 18)
    noise = AV(torch.zeros_like(start), None)
    loop = sample(lambda latents, *_: AV(latents.video * 0, None), AV(video, None), noise, [0.25, 0.0], None)
    assert torch.equal(next(loop).states.video.latent, start * 0.75)


def test_noise_is_fixed_by_its_seed_and_not_by_references(states):
    noise = draw_noise(states, SEEDS)
    longer = AV(states.video, ReferenceAudio(torch.ones(1, 5, 8)).apply(states.audio))
    other = draw_noise(longer, AV(1, SEEDS.audio))
    assert noise.video.dtype == torch.float32
    assert torch.equal(other.audio[:, :17], noise.audio) and other.audio.shape == (1, 22, 8)
    assert not torch.equal(other.video, noise.video)
