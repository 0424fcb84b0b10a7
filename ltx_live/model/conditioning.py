"""The state of one modality while it is made, and what conditions it: data only, the sampler knows no modes."""

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ltx_live.model.latents import AUDIO_LATENTS_PER_SECOND, audio_end_s, audio_positions


@dataclass(frozen=True)
class LatentState:
    """Tokens of one modality with what is known of them. Mask 1: make the token; 0: it is given; between: strength."""

    latent: Tensor  # (B, T, C), what is being made
    clean: Tensor  # (B, T, C), what is given
    denoise_mask: Tensor  # (B, T, 1) in 0..1
    positions: Tensor  # (B, A, T, 2), [start, end)
    num_target: int  # leading tokens that are wanted; the others are references

    @classmethod
    def blank(cls, positions: Tensor, num_channels: int) -> "LatentState":
        """Everything still to be made, in float32 on the device of the positions."""
        batch, _, num_tokens, _ = positions.shape
        zeros = positions.new_zeros(batch, num_tokens, num_channels)
        return cls(zeros, zeros, positions.new_ones(batch, num_tokens, 1), positions, num_tokens)

    @property
    def target(self) -> Tensor:
        """The tokens without references: (B, num_target, C)."""
        return self.latent[:, : self.num_target]

    def without_references(self) -> "LatentState":
        """The state as it would be without what was appended."""
        num = self.num_target
        return LatentState(
            self.latent[:, :num], self.clean[:, :num], self.denoise_mask[:, :num], self.positions[:, :, :num], num
        )


class Conditioning(Protocol):
    """Something that a state is conditioned on."""

    def apply(self, state: LatentState) -> LatentState:
        """The state with this conditioning in it; ValueError where it does not fit."""
        ...


@dataclass(frozen=True)
class Prefix:
    """Clean tokens from index 0 on, held with `strength` 0..1: what a chunk continues from."""

    tokens: Tensor  # (B, n, C)
    strength: float = 1.0

    def apply(self, state: LatentState) -> LatentState:
        num_given = self.tokens.shape[1]
        if num_given > state.num_target:
            raise ValueError(f"{num_given} given tokens do not fit into {state.num_target}: give fewer or make more")
        clean, mask = state.clean.clone(), state.denoise_mask.clone()
        clean[:, :num_given] = self.tokens
        mask[:, :num_given] = 1 - self.strength
        return replace(state, clean=clean, denoise_mask=mask)


class FirstFrame(Prefix):
    """An image, as the tokens of a latent that is one frame long, at the start of the clip."""


@dataclass(frozen=True)
class DrivingAudio:
    """The whole sound is given and stays as it is; the picture follows it."""

    tokens: Tensor  # (B, T, C)

    def apply(self, state: LatentState) -> LatentState:
        if self.tokens.shape[1] != state.num_target:
            raise ValueError(f"driving audio has {self.tokens.shape[1]} latents, the chunk needs {state.num_target}")
        return Prefix(self.tokens).apply(state)


@dataclass(frozen=True)
class ReferenceVideo:
    """Tokens of another video beside those to be made (IC-LoRA); positions from `reference_video_positions`."""

    tokens: Tensor  # (B, n, C)
    positions: Tensor  # (B, 3, n, 2)
    strength: float = 1.0

    def apply(self, state: LatentState) -> LatentState:
        return append_reference(state, self.tokens, self.positions, self.strength)


@dataclass(frozen=True)
class ReferenceAudio:
    """Sound of a speaker beside the sound to be made (ID-LoRA), placed before it: it ends one latent before 0 s."""

    tokens: Tensor  # (B, n, C)

    def apply(self, state: LatentState) -> LatentState:
        num_latents = self.tokens.shape[1]
        positions = audio_positions(num_latents) - (audio_end_s(num_latents) + 1 / AUDIO_LATENTS_PER_SECOND)
        return append_reference(state, self.tokens, positions, strength=1.0)


def append_reference(state: LatentState, tokens: Tensor, positions: Tensor, strength: float) -> LatentState:
    """The state with tokens (B, n, C) at positions (1 or B, A, n, 2) after those that it has."""
    tokens = tokens.to(state.clean).expand(len(state.clean), -1, -1)
    positions = positions.to(state.positions).expand(len(state.positions), -1, -1, -1)
    mask = torch.full_like(tokens[..., :1], 1 - strength)  # (B, n, 1)
    return replace(
        state,
        latent=torch.cat((state.latent, torch.zeros_like(tokens)), dim=1),
        clean=torch.cat((state.clean, tokens), dim=1),
        denoise_mask=torch.cat((state.denoise_mask, mask), dim=1),
        positions=torch.cat((state.positions, positions), dim=2),
    )
