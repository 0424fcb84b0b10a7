"""Prompts as the transformer takes them, kept so that a prompt that was played before costs nothing."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor

from ltx_live.model.av import AV
from ltx_live.model.text_connector import TextProjection
from ltx_live.model.transformer import TextCache, Transformer
from ltx_live.weights.text_encoder import TextEncoder

NUM_CONTEXTS = 32
"""The prompt bank and as many others."""

TEXT_CACHE_BYTES = 256_000_000
MAX_TEXT_ENTRIES = NUM_CONTEXTS * 16
"""16 a prompt: both modalities at 8 steps."""


class Prompts:
    """Prompt -> context of both modalities (1, text_length, D); the prompts used last are kept.

    `text_cache` keeps the transformer's keys and values of these contexts; None where they are too large to keep.
    """

    def __init__(self, encoder: TextEncoder, projection: TextProjection, transformer: Transformer):
        self._encoder = encoder
        self._projection = projection
        self._transformer = transformer
        self._contexts: OrderedDict[str, AV[Tensor]] = OrderedDict()
        num_entries = min(MAX_TEXT_ENTRIES, TEXT_CACHE_BYTES // entry_bytes(transformer))
        self.text_cache = TextCache(num_entries) if num_entries >= 16 else None

    @torch.inference_mode()
    def context(self, prompt: str) -> AV[Tensor]:
        """The context of a prompt; the same object as long as it is kept, which `text_cache` goes by."""
        if prompt not in self._contexts:
            hidden = self._encoder.encode(prompt)[None].to(self._transformer.dtype)  # (1, S, D, L)
            self._contexts[prompt] = self._transformer.connect_text(self._projection(hidden))
        self._contexts.move_to_end(prompt)
        while len(self._contexts) > NUM_CONTEXTS:
            self._contexts.popitem(last=False)
        return self._contexts[prompt]


def entry_bytes(transformer: Transformer) -> int:
    """Bytes of the picture's text keys and values of all blocks at one sigma, the larger kind of cache entry."""
    config = transformer.config
    return 2 * config.num_layers * config.text_length * config.width * transformer.dtype.itemsize
