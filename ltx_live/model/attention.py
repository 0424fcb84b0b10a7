"""Gated multi-head attention with RMS-normed queries and keys."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltx_live.model.rope import Rope, rotate


class KeysValues(NamedTuple):
    """What queries attend to."""

    keys: Tensor  # (B, H, S, d)
    values: Tensor  # (B, H, S, d)


class Attention(nn.Module):
    """Attention whose heads are weighted by 2 sigmoid(to_gate_logits(query input)) before the output projection.

    The norms span all heads jointly, before the split (ltx-core model/transformer/attention.py).
    """

    def __init__(self, query_dim: int, context_dim: int, num_heads: int, head_dim: int, eps: float):
        super().__init__()
        inner = num_heads * head_dim
        self.num_heads = num_heads
        self.q_norm = nn.RMSNorm(inner, eps=eps)
        self.k_norm = nn.RMSNorm(inner, eps=eps)
        self.to_q = nn.Linear(query_dim, inner)
        self.to_k = nn.Linear(context_dim, inner)
        self.to_v = nn.Linear(context_dim, inner)
        self.to_gate_logits = nn.Linear(query_dim, num_heads)
        self.to_out = nn.ModuleList([nn.Linear(inner, query_dim)])

    def keys_values(self, context: Tensor, rope: Rope | None = None) -> KeysValues:
        """Keys and values of (B, S, context_dim)."""
        keys = self._heads(self.k_norm(self.to_k(context)), rope)
        return KeysValues(keys, self._heads(self.to_v(context), None))

    def forward(self, x: Tensor, attended: KeysValues, rope: Rope | None = None, bias: Tensor | None = None) -> Tensor:
        """Queries from x (B, T, D), additive `bias` (B, 1, T, S) -> (B, T, D)."""
        queries = self._heads(self.q_norm(self.to_q(x)), rope)
        out = F.scaled_dot_product_attention(queries, attended.keys, attended.values, attn_mask=bias)  # (B, H, T, d)
        gates = 2 * torch.sigmoid(self.to_gate_logits(x))  # (B, T, H)
        return self.to_out[0]((out.transpose(1, 2) * gates[..., None]).flatten(2))

    def _heads(self, x: Tensor, rope: Rope | None) -> Tensor:
        heads = x.unflatten(-1, (self.num_heads, -1))  # (B, T, H, d)
        return (heads if rope is None else rotate(heads, rope)).transpose(1, 2)  # (B, H, T, d)


def attention_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Attention mask (B, T, S) in 0..1 -> additive bias (B, 1, T, S): its log, the lowest number for 0."""
    bias = mask.to(torch.float32).log().clamp(min=torch.finfo(dtype).min)
    return bias.to(dtype)[:, None]
