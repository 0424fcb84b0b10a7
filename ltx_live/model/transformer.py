"""The audio-video transformer: noisy latent tokens of both modalities -> their velocities."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltx_live.model.attention import attention_bias
from ltx_live.model.av import AV
from ltx_live.model.block import Block, Guide, StreamRope, TextKeysValues, modulation_table
from ltx_live.model.config import CrossTimestepRule, TransformerConfig
from ltx_live.model.layers import AdaLayerNormSingle, Modulation, TokenTimesteps, modulate
from ltx_live.model.rope import rope_tables
from ltx_live.model.text_connector import EmbeddingsConnector


@dataclass(frozen=True)
class Modality:
    """What the transformer is given of one modality at one step."""

    latent: Tensor  # (B, T, C)
    timesteps: TokenTimesteps  # of the tokens, 0..1
    sigma: Tensor  # (B,) float32, of the modality as a whole
    rope: StreamRope  # from Transformer.video_rope or audio_rope
    context: Tensor  # (B, S, D)
    mask: Tensor | None = None  # (B, T, T) in 0..1, of the self-attention
    text_keys_values: TextKeysValues | None = None  # from TextCache


class TextCache:
    """Text keys and values of every block per (context, sigma), exact; the pair used least recently is dropped.

    A context is known by its tensor object. Clear the cache whenever weights change (LoRA strengths too).
    """

    def __init__(self, max_entries: int):
        self.max_entries = max_entries
        self._entries: OrderedDict[tuple, tuple[Tensor, TextKeysValues]] = OrderedDict()

    def entry(self, context: Tensor, sigma: tuple[float, ...]) -> TextKeysValues:
        """What is kept for this context at this sigma (one number per batch item); the blocks fill what is missing."""
        key = (id(context), sigma)  # the entry holds the context, so its id stays its own
        _, kept = self._entries.setdefault(key, (context, {}))
        self._entries.move_to_end(key)
        while len(self._entries) > self.max_entries:
            self._entries.popitem(last=False)
        return kept

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()


class StreamEnds(NamedTuple):
    """The layers of one stream before and after the blocks, under names that do not depend on the modality."""

    patchify: nn.Linear
    adaln: AdaLayerNormSingle
    prompt_adaln: AdaLayerNormSingle
    cross_adaln: AdaLayerNormSingle
    gate_adaln: AdaLayerNormSingle
    table: Tensor  # (2, D): shift, scale
    proj_out: nn.Linear


class Transformer(nn.Module):
    """LTX-2.3's audio-video diffusion transformer; `state_dict` names are those of the checkpoint's DiT file.

    The connectors live in that file and so belong to this module; `forward` does not use them, `connect_text` does.
    """

    def __init__(self, config: TransformerConfig, cross_timestep_rule: CrossTimestepRule | None = None):
        super().__init__()
        self.config = config
        self.cross_timestep_rule = cross_timestep_rule or CrossTimestepRule()
        video, audio = config.width, config.audio_width
        self.patchify_proj = nn.Linear(config.in_channels, video)
        self.audio_patchify_proj = nn.Linear(config.audio_in_channels, audio)
        self.adaln_single = AdaLayerNormSingle(video, 9)
        self.audio_adaln_single = AdaLayerNormSingle(audio, 9)
        self.prompt_adaln_single = AdaLayerNormSingle(video, 2)
        self.audio_prompt_adaln_single = AdaLayerNormSingle(audio, 2)
        self.av_ca_video_scale_shift_adaln_single = AdaLayerNormSingle(video, 4)
        self.av_ca_audio_scale_shift_adaln_single = AdaLayerNormSingle(audio, 4)
        self.av_ca_a2v_gate_adaln_single = AdaLayerNormSingle(video, 1)
        self.av_ca_v2a_gate_adaln_single = AdaLayerNormSingle(audio, 1)
        self.transformer_blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.scale_shift_table = modulation_table(2, video)
        self.audio_scale_shift_table = modulation_table(2, audio)
        self.proj_out = nn.Linear(video, config.out_channels)
        self.audio_proj_out = nn.Linear(audio, config.audio_out_channels)
        self.video_embeddings_connector = EmbeddingsConnector(
            config, config.connector_num_attention_heads, config.connector_attention_head_dim
        )
        self.audio_embeddings_connector = EmbeddingsConnector(
            config, config.audio_connector_num_attention_heads, config.audio_connector_attention_head_dim
        )

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that activations have."""
        return self.patchify_proj.bias.dtype  # the weight may be stored as float8

    def connect_text(self, features: AV[Tensor], num_tokens: Tensor | None = None) -> AV[Tensor]:
        """Features of TextProjection (B, S, D) -> contexts (B, text_length, D); see EmbeddingsConnector."""
        return AV(
            self.video_embeddings_connector(features.video, num_tokens),
            self.audio_embeddings_connector(features.audio, num_tokens),
        )

    def video_rope(self, positions: Tensor) -> StreamRope:
        """Rotations for [start, end) positions (B, 3, T, 2) in seconds, pixels, pixels; once per chunk."""
        heads = (self.config.num_attention_heads, self.config.attention_head_dim)
        return self._rope(positions, self.config.positional_embedding_max_pos, heads)

    def audio_rope(self, positions: Tensor) -> StreamRope:
        """Rotations for [start, end) positions (B, 1, T, 2) in seconds; once per chunk."""
        heads = (self.config.audio_num_attention_heads, self.config.audio_attention_head_dim)
        return self._rope(positions, self.config.audio_positional_embedding_max_pos, heads)

    def _rope(self, positions: Tensor, max_pos: tuple[float, ...], heads: tuple[int, int]) -> StreamRope:
        middle = positions.to(torch.float32).mean(dim=-1)  # (B, A, T)
        theta = self.config.positional_embedding_theta
        cross_heads = (self.config.audio_num_attention_heads, self.config.audio_attention_head_dim)
        cross_max = max(self.config.positional_embedding_max_pos[0], self.config.audio_positional_embedding_max_pos[0])
        like = self.patchify_proj.bias
        own = rope_tables(middle, max_pos, heads, theta).to(like)
        return StreamRope(own, rope_tables(middle[:, :1], (cross_max,), cross_heads, theta).to(like))

    def forward(self, video: Modality | None, audio: Modality | None) -> AV[Tensor | None]:
        """Velocities (B, T, C) of both modalities; None for one that is not given."""
        ends = AV(self._video_ends(), self._audio_ends())
        video_x, video_guide, video_time = self._enter(video, audio, ends.video)
        audio_x, audio_guide, audio_time = self._enter(audio, video, ends.audio)
        hidden, guides = AV(video_x, audio_x), AV(video_guide, audio_guide)
        for block in self.transformer_blocks:
            hidden = block(hidden, guides)
        return AV(self._leave(hidden.video, video_time, ends.video), self._leave(hidden.audio, audio_time, ends.audio))

    def _enter(
        self, own: Modality | None, other: Modality | None, ends: StreamEnds
    ) -> tuple[Tensor | None, Guide | None, Modulation | None]:
        """Hidden state (B, T, D), guide through the blocks, embedded timestep for the head."""
        if own is None:
            return None, None, None
        multiplier = self.config.timestep_scale_multiplier
        modulation, embedded = ends.adaln(own.timesteps, multiplier)
        prompt, _ = ends.prompt_adaln(TokenTimesteps.common(own.sigma), multiplier)
        cross, gate = (None, None) if other is None else self._cross_modulations(own, other, ends)
        guide = Guide(
            context=own.context.to(self.dtype),
            rope=own.rope,
            modulation=modulation,
            prompt=prompt,
            cross=cross,
            cross_gate=gate,
            bias=None if own.mask is None else attention_bias(own.mask, self.dtype),
            text_keys_values=own.text_keys_values,
        )
        return ends.patchify(own.latent.to(self.dtype)), guide, embedded

    def _cross_modulations(self, own: Modality, other: Modality, ends: StreamEnds) -> tuple[Modulation, Modulation]:
        rule = self.cross_timestep_rule
        sources = {"own": own.timesteps, "other": TokenTimesteps.common(other.sigma)}
        cross, _ = ends.cross_adaln(sources[rule.scale_shift], self.config.timestep_scale_multiplier)
        gate, _ = ends.gate_adaln(sources[rule.gate], self.config.av_ca_timestep_scale_multiplier)
        return cross, gate

    def _leave(self, x: Tensor | None, embedded: Modulation | None, ends: StreamEnds) -> Tensor | None:
        if x is None:
            return None
        shift, scale = (embedded.expand(row) for row in embedded.with_table(ends.table))
        normed = F.layer_norm(x, (x.shape[-1],), eps=self.config.norm_eps)
        return ends.proj_out(modulate(normed, scale, shift))  # (B, T, C)

    def _video_ends(self) -> StreamEnds:
        return StreamEnds(
            self.patchify_proj,
            self.adaln_single,
            self.prompt_adaln_single,
            self.av_ca_video_scale_shift_adaln_single,
            self.av_ca_a2v_gate_adaln_single,
            self.scale_shift_table,
            self.proj_out,
        )

    def _audio_ends(self) -> StreamEnds:
        return StreamEnds(
            self.audio_patchify_proj,
            self.audio_adaln_single,
            self.audio_prompt_adaln_single,
            self.av_ca_audio_scale_shift_adaln_single,
            self.av_ca_v2a_gate_adaln_single,
            self.audio_scale_shift_table,
            self.audio_proj_out,
        )
