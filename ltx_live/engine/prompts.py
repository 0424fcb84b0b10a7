"""Prompts as the transformer takes them, kept so that a prompt that was played before costs nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor

from ltx_live.chunk import WeightedPrompts
from ltx_live.model.av import AV
from ltx_live.model.transformer import TextCache, Transformer
from ltx_live.weights.loading import Networks

NUM_CONTEXTS = 96
"""The bank and as many others; one of the full model takes 12.6 MB of host memory, its features 12 kB a token."""

TEXT_CACHE_BYTES = 256_000_000
MAX_TEXT_ENTRIES = 512
ENTRIES_PER_CONTEXT = 16
"""Both modalities at 8 steps."""


class Prompts:
    """Prompts -> context of both modalities (1, text_length, D). Those of the prompts used last are kept on the host.

    `text_cache` keeps the transformer's keys and values of what was played last, and the contexts that it goes by stay
    on the device; None where keys and values are too large to keep, and only the last context stays there.
    """

    def __init__(self, networks: Networks):
        self._networks = networks
        self._features: OrderedDict[str, AV[Tensor]] = OrderedDict()  # what connectors take, in host memory
        self._contexts: OrderedDict[str, AV[Tensor]] = OrderedDict()  # in host memory
        self._played: OrderedDict[tuple[WeightedPrompts, str], AV[Tensor]] = OrderedDict()  # on the device
        num_entries = min(MAX_TEXT_ENTRIES, TEXT_CACHE_BYTES // entry_bytes(networks.transformer))
        self.num_played = max(1, num_entries // ENTRIES_PER_CONTEXT)
        self.text_cache = TextCache(num_entries) if num_entries >= ENTRIES_PER_CONTEXT else None

    @torch.inference_mode()
    def context(self, prompt: str) -> AV[Tensor]:
        """The context of a prompt, in host memory; what costs time is done once as long as it is kept."""
        if prompt not in self._features:
            self._features[prompt] = self._encode(prompt)
        if prompt not in self._contexts:
            self._contexts[prompt] = AV(*(x.cpu() for x in self._connect(self._features[prompt])))
        for kept in (self._features, self._contexts):
            kept.move_to_end(prompt)
            if len(kept) > NUM_CONTEXTS:
                kept.popitem(last=False)
        return self._contexts[prompt]

    @torch.inference_mode()
    def mixture(self, prompts: WeightedPrompts, interpolation: str) -> AV[Tensor]:
        """The context of weighted prompts on the device, `linear` or `spherical`; of a single one its own.

        Mixed one after the other, each by its share of the weight so far. The same tensors as long as it is kept, which
        `text_cache` goes by.
        """
        key = prompts, interpolation if len(prompts) > 1 else ""
        if key not in self._played:
            between = INTERPOLATIONS[interpolation]
            (first, total), *others = prompts
            mixed = self._on_device(self.context(first))
            for text, weight in others:
                total += weight
                pairs = zip(mixed, self._on_device(self.context(text)), strict=True)
                mixed = AV(*(between(old, new, weight / total) for old, new in pairs))
            self._played[key] = mixed
        self._played.move_to_end(key)
        while len(self._played) > self.num_played:
            self._played.popitem(last=False)
        return self._played[key]

    def forget(self, contexts: bool) -> None:
        """Weights have changed: drop what was computed with them, with `contexts` (the connectors') the contexts too.

        The text encoder is never changed: a context is made anew from the features that it gave.
        """
        if self.text_cache is not None:
            self.text_cache.clear()
        if contexts:
            self._contexts.clear()
            self._played.clear()

    def _encode(self, prompt: str) -> AV[Tensor]:
        """Features of the prompt's own tokens (1, S, D), in host memory."""
        networks = self._networks
        hidden = networks.encoder.encode(prompt)[None].to(networks.transformer.dtype)  # (1, S, D, L)
        return AV(*(x.cpu() for x in networks.projection(hidden)))

    def _connect(self, features: AV[Tensor]) -> AV[Tensor]:
        return self._networks.transformer.connect_text(self._on_device(features))

    def _on_device(self, host: AV[Tensor]) -> AV[Tensor]:
        device = self._networks.transformer.patchify_proj.weight.device
        return AV(*(x.to(device) for x in host))


def linear(a: Tensor, b: Tensor, share: float) -> Tensor:
    """From `a` (share 0) to `b` (1) on a straight line, (..., D); computed in float32."""
    return torch.lerp(a.float(), b.float(), share).to(a.dtype)


def spherical(a: Tensor, b: Tensor, share: float) -> Tensor:
    """From `a` (share 0) to `b` (1), (..., D): each token's direction turns evenly, its length changes linearly.

    Slerp (Shoemake, "Animating rotation with quaternion curves", 1985). Tokens that are nearly parallel or opposite,
    between which no arc is defined, go on a straight line. Computed in float32.
    """
    tokens = AV(a.float(), b.float())
    lengths = [x.norm(dim=-1, keepdim=True) for x in tokens]  # (..., 1)
    start, end = (x / length.clamp(min=1e-12) for x, length in zip(tokens, lengths, strict=True))
    cosine = (start * end).sum(dim=-1, keepdim=True).clamp(-1, 1)
    angle = cosine.acos()
    sine = angle.sin()
    turned = ((1 - share) * angle).sin() / sine * start + (share * angle).sin() / sine * end
    turned = turned * torch.lerp(*lengths, share)
    return torch.where(sine > 1e-3, turned, torch.lerp(*tokens, share)).to(a.dtype)


INTERPOLATIONS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"linear": linear, "spherical": spherical}


def entry_bytes(transformer: Transformer) -> int:
    """Bytes of the picture's text keys and values of all blocks at one sigma, the larger kind of cache entry."""
    config = transformer.config
    return 2 * config.num_layers * config.text_length * config.width * transformer.dtype.itemsize
