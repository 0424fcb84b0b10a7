"""What keeps a scene what it was: statistics and loudness pulled to its first chunk, a looser hold on the past.

Errors add up where every chunk continues the one before. See docs/decisions: continuity. Everything here comes from a
chunk's request and from the scene that the chunk it continues was in, so that a replay stays exact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ltx_live.chunk import ChannelStatistics, Scene, WeightedPrompts
from ltx_live.model.av import AV

MAX_GAIN_STEP_DB = 1.5
"""How far the gain of the sound may go from one chunk to the next."""

MAX_GAIN_DB = 6.0
SILENCE_DB = -60.0
"""Sound below it is not made louder, and nothing is matched to it."""

_SMALLEST_DEVIATION = 1e-4


def change(before: WeightedPrompts, now: WeightedPrompts) -> float:
    """How much of what is played is new, 0..1: half the sum of the differences of the weights (total variation)."""
    old, new = dict(before), dict(now)
    return sum(abs(new.get(text, 0.0) - old.get(text, 0.0)) for text in old.keys() | new.keys()) / 2


def loudness_db(sound: np.ndarray) -> float:
    """Mean power of sound (S, 2) in dB of full scale."""
    return float(10 * np.log10(np.square(sound, dtype=np.float64).mean() + 1e-12)) if sound.size else -120.0


def statistics(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of tokens (1, T, C), both (C,)."""
    deviation, mean = torch.std_mean(tokens[0], dim=0, correction=0)  # (C,)
    return mean, deviation.clamp(min=_SMALLEST_DEVIATION)


@dataclass(frozen=True)
class Drift:
    """How one chunk is kept to its scene. `before` is the scene of the chunk that it continues; None in a new take."""

    params: Any
    prompts: WeightedPrompts
    before: Scene | None
    tokens_per_frame: int  # of the picture; a latent of sound is one token

    @property
    def scene(self) -> Scene | None:
        """The scene that goes on; None where this chunk begins one."""
        return self.before if self.before is not None and self.before.prompts == self.prompts else None

    @property
    def strength(self) -> float:
        """How strongly the prefix is held, 0..1: noise on it loosens every chunk, a change of the prompts this one."""
        changed = 0.0 if self.before is None else change(self.before.prompts, self.prompts)
        params = self.params
        return params.continuity * (1 - params.refresh * changed) * (1 - params.prefix_noise)

    def anchored(self, tokens: AV[Tensor], num_given: AV[int]) -> AV[Tensor]:
        """Tokens (1, T, C) whose statistics are pulled to the scene's, more and more from the seam to the end.

        Per-channel statistics as in Huang and Belongie, "Arbitrary style transfer with AdaIN", 2017.
        """
        share = self.params.drift_anchor
        if self.scene is None or not share:
            return tokens
        new, scene = self._new_latents(tokens, num_given), AV(self.scene.video, self.scene.audio)
        pulled = (_pulled(latents, wanted, share) for latents, wanted in zip(new, scene, strict=True))
        parts = zip(tokens, num_given, pulled, strict=True)
        return AV(*(torch.cat((x[:, :num], latents.flatten(1, 2)), dim=1) for x, num, latents in parts))

    def settle(
        self, tokens: AV[Tensor], num_given: AV[int], sound: np.ndarray, num_overlap: int
    ) -> tuple[np.ndarray, Scene]:
        """The sound (S, 2) at its loudness in the scene, and the scene as the next chunk finds it.

        The gain moves over the overlap, which the timeline cross-fades: no step is heard.
        """
        loudness = loudness_db(sound[num_overlap:])
        scene = self.scene
        if scene is None:
            scene = Scene(self.prompts, *map(_settled, self._new_latents(tokens, num_given)), loudness)
        old = 0.0 if self.before is None else self.before.gain_db
        audible = min(loudness, scene.loudness_db) > SILENCE_DB
        wanted = self.params.loudness_match * (scene.loudness_db - loudness) if audible else 0.0
        wanted = min(max(wanted, -MAX_GAIN_DB), MAX_GAIN_DB)
        gain = min(max(wanted, old - MAX_GAIN_STEP_DB), old + MAX_GAIN_STEP_DB)
        return _with_gain(sound, old, gain, num_overlap), replace(scene, gain_db=gain)

    def _new_latents(self, tokens: AV[Tensor], num_given: AV[int]) -> AV[Tensor]:
        """What of the tokens is not given, latent by latent: (1, L, n, C)."""
        sizes = self.tokens_per_frame, 1
        return AV(*(x[:, num:].unflatten(1, (-1, n)) for x, num, n in zip(tokens, num_given, sizes, strict=True)))


def _settled(latents: Tensor) -> ChannelStatistics:
    """Statistics of the later half of new latents (1, L, n, C): what was before may still be fading away."""
    settled = statistics(latents[:, latents.shape[1] // 2 :].flatten(1, 2))
    return ChannelStatistics(*(tuple(each.tolist()) for each in settled))


def _pulled(latents: Tensor, wanted: ChannelStatistics, share: float) -> Tensor:
    """New latents (1, L, n, C) with the wanted statistics by a share that grows latent by latent up to `share`."""
    tokens = latents.flatten(1, 2)
    mean, deviation = statistics(tokens)
    moved = (tokens - mean) / deviation * tokens.new_tensor(wanted.deviation) + tokens.new_tensor(wanted.mean)
    num_latents = latents.shape[1]
    weight = torch.arange(1, num_latents + 1, device=latents.device)[:, None, None] * (share / num_latents)
    return torch.lerp(latents, moved.view_as(latents), weight)


def _with_gain(sound: np.ndarray, old_db: float, new_db: float, num_overlap: int) -> np.ndarray:
    """Sound (S, 2) with a gain that goes from old to new over the overlap."""
    if old_db == new_db == 0:
        return sound
    gain_db = np.full(len(sound), new_db, np.float32)
    gain_db[:num_overlap] = np.linspace(old_db, new_db, num_overlap, endpoint=False)
    return sound * (10 ** (gain_db / 20))[:, None]
