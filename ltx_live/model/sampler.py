"""The denoising loop: Euler steps of a rectified flow, as a generator that yields after every step."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ltx_live.model.av import AV
from ltx_live.model.block import StreamRope
from ltx_live.model.conditioning import LatentState
from ltx_live.model.layers import TokenTimesteps
from ltx_live.model.transformer import Modality, TextCache, Transformer

States = AV[LatentState | None]


@dataclass(frozen=True)
class Step:
    """A step that has been made."""

    index: int
    num_steps: int
    sigma: float  # that the states have now
    states: States


class VelocityModel(Protocol):
    """What the sampler asks at every step."""

    def __call__(self, latents: AV[Tensor | None], sigma: float, context: AV[Tensor]) -> AV[Tensor | None]:
        """Velocities (B, T, C) of noisy latents (B, T, C) at sigma."""
        ...


def sample(
    model: VelocityModel, states: States, noise: AV[Tensor | None], schedule: Sequence[float], context: AV[Tensor]
) -> Generator[Step, AV[Tensor] | None, States]:
    """Denoise both states along the schedule; returns them, yields a Step after every step, `close()` cancels.

    What is sent in becomes the context of the steps that follow. State and sigma are float32. Equations: Euler of
    ltx-core diffusion_steps.py; the given part of a token replaces the prediction, not the state.
    """
    states = AV(
        *(None if state is None else _start(state, x, schedule[0]) for state, x in zip(states, noise, strict=True))
    )
    num_steps = len(schedule) - 1
    for index in range(num_steps):
        sigma, next_sigma = schedule[index : index + 2]
        velocities = model(AV(*(None if state is None else state.latent for state in states)), sigma, context)
        states = AV(
            *(
                None if state is None else _euler(state, velocity, sigma, next_sigma)
                for state, velocity in zip(states, velocities, strict=True)
            )
        )
        sent = yield Step(index, num_steps, next_sigma, states)
        context = context if sent is None else sent
    return states


def _start(state: LatentState, noise: Tensor, sigma: float) -> LatentState:
    clean = state.clean.to(torch.float32)
    noisy = torch.lerp(state.latent.to(torch.float32), noise, sigma)  # (B, T, C)
    return replace(state, clean=clean, latent=torch.lerp(clean, noisy, state.denoise_mask))


def _euler(state: LatentState, velocity: Tensor, sigma: float, next_sigma: float) -> LatentState:
    x, mask = state.latent, state.denoise_mask
    denoised = x - mask * sigma * velocity.to(torch.float32)  # (B, T, C)
    denoised = torch.lerp(state.clean, denoised, mask)
    return replace(state, latent=torch.lerp(denoised, x, next_sigma / sigma))


@dataclass(frozen=True)
class PreparedStream:
    """What stays the same for one modality over the steps of a chunk."""

    rope: StreamRope
    levels: TokenTimesteps  # of the denoise mask; times sigma they are the tokens' timesteps
    highest: Tensor  # (B,) the highest level: a modality without anything to make has sigma 0
    highest_values: tuple[float, ...]  # the same on the host

    @classmethod
    def of(cls, state: LatentState, rope: Callable[[Tensor], StreamRope]) -> "PreparedStream":
        """Prepare for a state; `rope` makes the rotations from its positions."""
        mask = state.denoise_mask.squeeze(-1).to(torch.float32)  # (B, T)
        highest = mask.amax(dim=1)
        return cls(rope(state.positions), TokenTimesteps.from_tokens(mask), highest, tuple(highest.tolist()))


class Denoiser:
    """The transformer prepared for one chunk: rotations and distinct timesteps are made once, not at every step."""

    def __init__(self, transformer: Transformer, states: States, text_cache: TextCache | None = None):
        ropes = (transformer.video_rope, transformer.audio_rope)
        self.transformer = transformer
        self.text_cache = text_cache
        self.streams = AV(
            *(
                None if state is None else PreparedStream.of(state, rope)
                for state, rope in zip(states, ropes, strict=True)
            )
        )

    def __call__(self, latents: AV[Tensor | None], sigma: float, context: AV[Tensor]) -> AV[Tensor | None]:
        parts = zip(self.streams, latents, context, strict=True)
        return self.transformer(*(self._modality(stream, x, sigma, text) for stream, x, text in parts))

    def _modality(
        self, stream: PreparedStream | None, latent: Tensor, sigma: float, context: Tensor
    ) -> Modality | None:
        if stream is None:
            return None
        kept = None
        if self.text_cache is not None:
            kept = self.text_cache.entry(context, tuple(sigma * level for level in stream.highest_values))
        return Modality(
            latent=latent,
            timesteps=stream.levels.scaled(sigma),
            sigma=stream.highest * sigma,
            rope=stream.rope,
            context=context,
            text_keys_values=kept,
        )


def draw_noise(states: States, seeds: AV[int]) -> States:
    """Noise N(0, 1) for the tokens of both states, float32 from a CPU generator each, on the states' devices."""
    return AV(*(None if state is None else _noise(state, seed) for state, seed in zip(states, seeds, strict=True)))


def _noise(state: LatentState, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    batch, num_tokens, channels = state.clean.shape
    sizes = (state.num_target, num_tokens - state.num_target)  # references do not change the noise of the target
    noise = [torch.randn(batch, size, channels, generator=generator) for size in sizes]
    return torch.cat(noise, dim=1).to(state.clean.device)
