"""From the hidden states of the text encoder to the context of each modality."""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltx_live.model.attention import Attention
from ltx_live.model.av import AV
from ltx_live.model.config import TransformerConfig
from ltx_live.model.layers import FeedForward, rms_norm
from ltx_live.model.rope import Rope, rope_tables


class TextProjection(nn.Module):
    """All hidden states of each text token -> one feature per modality (ltx-core gemma/feature_extractor.py, V2)."""

    def __init__(self, config: TransformerConfig, num_states: int):
        """`num_states`: layers of the text encoder + 1 (Gemma 3 12B: 49)."""
        super().__init__()
        self.eps = config.norm_eps
        self.hidden_dim = config.caption_channels
        self.video_aggregate_embed = nn.Linear(config.caption_channels * num_states, config.connector_width)
        self.audio_aggregate_embed = nn.Linear(config.caption_channels * num_states, config.audio_connector_width)

    def layer_weights(self) -> Iterator[AV[Tensor]]:
        """Both weights' share of one hidden state after the other, (out, D) each."""
        embeds = self.video_aggregate_embed, self.audio_aggregate_embed
        by_layer = [embed.weight.unflatten(1, (self.hidden_dim, -1)) for embed in embeds]  # (out, D, L)
        for layer in range(by_layer[0].shape[-1]):
            yield AV(*(weight[..., layer].contiguous() for weight in by_layer))

    def forward(self, hidden_states: Tensor, layer_weights: Iterable[AV[Tensor]] | None = None) -> AV[Tensor]:
        """Hidden states (B, S, D, L), the last of the L after the final norm -> features (B, S, D) per modality.

        The projection is summed over the layers in float32 or better, so that `layer_weights`, its weights one layer
        after the other, may come from elsewhere: nothing needs the whole.
        """
        dtype = hidden_states.dtype
        embeds = self.video_aggregate_embed, self.audio_aggregate_embed
        factors = [math.sqrt(embed.out_features / self.hidden_dim) for embed in embeds]
        sums = [embed.bias.to(torch.promote_types(dtype, torch.float32)) for embed in embeds]
        for state, weights in zip(hidden_states.unbind(-1), layer_weights or self.layer_weights(), strict=True):
            x = rms_norm(state, self.eps)  # (B, S, D)
            parts = (F.linear(x * factor, weight) for factor, weight in zip(factors, weights, strict=True))
            sums = [total + part for total, part in zip(sums, parts, strict=True)]  # (B, S, out)
        return AV(*(total.to(dtype) for total in sums))


class ConnectorBlock(nn.Module):
    """Pre-norm gated self-attention and feed-forward."""

    def __init__(self, num_heads: int, head_dim: int, eps: float):
        super().__init__()
        width = num_heads * head_dim
        self.eps = eps
        self.attn1 = Attention(width, width, num_heads, head_dim, eps)
        self.ff = FeedForward(width)

    def forward(self, x: Tensor, rope: Rope) -> Tensor:
        normed = rms_norm(x, self.eps)
        x = x + self.attn1(normed, self.attn1.keys_values(normed, rope), rope)
        return x + self.ff(rms_norm(x, self.eps))  # (B, S, D)


class EmbeddingsConnector(nn.Module):
    """Text features, filled up with learned registers, -> context (ltx-core gemma/embeddings_connector.py)."""

    def __init__(self, config: TransformerConfig, num_heads: int, head_dim: int):
        super().__init__()
        self.config = config
        self.heads = (num_heads, head_dim)
        self.learnable_registers = nn.Parameter(
            torch.randn(config.connector_num_learnable_registers, num_heads * head_dim)
        )
        self.transformer_1d_blocks = nn.ModuleList(
            ConnectorBlock(num_heads, head_dim, config.norm_eps) for _ in range(config.connector_num_layers)
        )

    def forward(self, features: Tensor, num_tokens: Tensor | None = None) -> Tensor:
        """Features (B, S, D) -> context (B, text_length, D).

        `num_tokens` (B,) says how many leading features of each batch item are text (None: all); the register of
        position p is p mod their number. Raises ValueError where there are more features than `text_length`.
        """
        batch, num_features, width = features.shape
        length = self.config.text_length
        if num_features > length:
            raise ValueError(
                f"text of {num_features} tokens is longer than the context ({length}): truncate the prompt"
            )
        position = torch.arange(length, device=features.device)
        registers = self.learnable_registers[position % len(self.learnable_registers)].to(features.dtype)  # (text, D)
        x = torch.cat((features, registers[num_features:].expand(batch, -1, -1)), dim=1)  # (B, text, D)
        if num_tokens is not None:
            x = torch.where((position < num_tokens[:, None])[..., None], x, registers)
        max_pos, theta = self.config.connector_positional_embedding_max_pos, self.config.positional_embedding_theta
        rope = rope_tables(position[None, None], max_pos, self.heads, theta).to(x)
        for block in self.transformer_1d_blocks:
            x = block(x, rope)
        return rms_norm(x, self.config.norm_eps)
