"""Prompts as the transformer takes them, kept so that a prompt that was played before costs nothing."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor

from ltx_live.model.av import AV
from ltx_live.model.transformer import TextCache, Transformer
from ltx_live.weights.loading import Networks

NUM_CONTEXTS = 96
"""The whole prompt bank and as many others; one of the full model takes 12.6 MB."""

TEXT_CACHE_BYTES = 256_000_000
MAX_TEXT_ENTRIES = 512
"""16 a prompt: both modalities at 8 steps."""


class Prompts:
    """Prompt -> context of both modalities (1, text_length, D); the prompts used last are kept.

    `text_cache` keeps the transformer's keys and values of these contexts; None where they are too large to keep.
    """

    def __init__(self, networks: Networks, on_host: bool = False):
        """With `on_host` the contexts are kept in host memory, only the last one on the device."""
        self._networks = networks
        self._on_host = on_host
        self._contexts: OrderedDict[str, AV[Tensor]] = OrderedDict()
        self._current: tuple[str, AV[Tensor]] | None = None
        num_entries = min(MAX_TEXT_ENTRIES, TEXT_CACHE_BYTES // entry_bytes(networks.transformer))
        self.text_cache = TextCache(num_entries) if num_entries >= 16 else None

    @torch.inference_mode()
    def context(self, prompt: str) -> AV[Tensor]:
        """The context of a prompt; the same object as long as it is kept, which `text_cache` goes by."""
        if prompt not in self._contexts:
            made = self._encode(prompt)
            self._current = prompt, made
            self._contexts[prompt] = AV(*(x.cpu() for x in made)) if self._on_host else made
        self._contexts.move_to_end(prompt)
        while len(self._contexts) > NUM_CONTEXTS:
            self._contexts.popitem(last=False)
        if not self._on_host:
            return self._contexts[prompt]
        if self._current is None or self._current[0] != prompt:
            device = self._networks.transformer.patchify_proj.weight.device
            self._current = prompt, AV(*(x.to(device) for x in self._contexts[prompt]))
        return self._current[1]

    def forget(self, contexts: bool) -> None:
        """Weights have changed: drop what was computed with them, with `contexts` the contexts too."""
        if self.text_cache is not None:
            self.text_cache.clear()
        if contexts:
            self._contexts.clear()
            self._current = None

    def _encode(self, prompt: str) -> AV[Tensor]:
        networks = self._networks
        hidden = networks.encoder.encode(prompt)[None].to(networks.transformer.dtype)  # (1, S, D, L)
        return networks.transformer.connect_text(networks.projection(hidden))


def entry_bytes(transformer: Transformer) -> int:
    """Bytes of the picture's text keys and values of all blocks at one sigma, the larger kind of cache entry."""
    config = transformer.config
    return 2 * config.num_layers * config.text_length * config.width * transformer.dtype.itemsize
