"""One transformer block: two streams, each attending to itself and its text, then to each other."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ltx_live.model.attention import Attention, KeysValues
from ltx_live.model.av import AV
from ltx_live.model.config import TransformerConfig
from ltx_live.model.layers import FeedForward, Modulation, modulate, rms_norm
from ltx_live.model.rope import Rope

TextKeysValues = dict[nn.Module, KeysValues]  # of one context at one sigma, per text attention


class StreamRope(NamedTuple):
    """Rotations of one modality's tokens: over all axes for self-attention, over time for the other modality."""

    own: Rope
    time: Rope


@dataclass(frozen=True)
class Guide:
    """What steers one stream through all blocks at one step."""

    context: Tensor  # (B, S, D)
    rope: StreamRope
    modulation: Modulation  # 9 rows: shift, scale, gate of self-attention, of feed-forward, of text attention
    prompt: Modulation  # 2 rows: shift, scale of the context
    cross: Modulation | None  # 4 rows: scale, shift of audio-to-video, of video-to-audio; None: no other stream
    cross_gate: Modulation | None  # 1 row
    bias: Tensor | None  # (B, 1, T, T), added to the self-attention scores
    text_keys_values: TextKeysValues | None  # filled by the blocks at first use


class StreamLayers(NamedTuple):
    """The layers of one stream under names that do not depend on the modality."""

    self_attention: Attention
    text_attention: Attention
    feed_forward: FeedForward
    table: Tensor  # (9, D)
    prompt_table: Tensor  # (2, D)


class Block(nn.Module):
    """Self-attention, text attention, attention between picture and sound, feed-forward (ltx-core transformer.py)."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        video, audio, eps = config.width, config.audio_width, config.norm_eps
        video_heads = (config.num_attention_heads, config.attention_head_dim, eps)
        audio_heads = (config.audio_num_attention_heads, config.audio_attention_head_dim, eps)
        self.eps = eps
        self.attn1 = Attention(video, video, *video_heads)
        self.audio_attn1 = Attention(audio, audio, *audio_heads)
        self.attn2 = Attention(video, config.cross_attention_dim, *video_heads)
        self.audio_attn2 = Attention(audio, config.audio_cross_attention_dim, *audio_heads)
        self.audio_to_video_attn = Attention(video, audio, *audio_heads)
        self.video_to_audio_attn = Attention(audio, video, *audio_heads)
        self.ff = FeedForward(video)
        self.audio_ff = FeedForward(audio)
        self.scale_shift_table = modulation_table(9, video)
        self.audio_scale_shift_table = modulation_table(9, audio)
        self.prompt_scale_shift_table = modulation_table(2, config.cross_attention_dim)
        self.audio_prompt_scale_shift_table = modulation_table(2, config.audio_cross_attention_dim)
        self.scale_shift_table_a2v_ca_video = modulation_table(5, video)
        self.scale_shift_table_a2v_ca_audio = modulation_table(5, audio)

    def forward(self, hidden: AV[Tensor | None], guides: AV[Guide | None]) -> AV[Tensor | None]:
        """Hidden states (B, T, D) of both streams -> the same; a stream whose hidden state is None takes no part."""
        layers = AV(self._video_layers(), self._audio_layers())
        video, audio = (
            None if x is None else self._attend(x, guide, own)
            for x, guide, own in zip(hidden, guides, layers, strict=True)
        )
        if video is not None and audio is not None:
            video, audio = self._attend_across(video, audio, guides)
        return AV(
            *(
                None if x is None else self._feed_forward(x, guide, own)
                for x, guide, own in zip((video, audio), guides, layers, strict=True)
            )
        )

    def _attend(self, x: Tensor, guide: Guide, layers: StreamLayers) -> Tensor:
        rows, expand = guide.modulation.with_table(layers.table), guide.modulation.expand
        shift, scale, gate = rows[:3]
        attention = layers.self_attention
        query = modulate(rms_norm(x, self.eps), expand(scale), expand(shift))  # (B, T, D)
        attended = attention.keys_values(query, guide.rope.own)
        x = torch.addcmul(x, expand(gate), attention(query, attended, guide.rope.own, guide.bias))
        shift, scale, gate = rows[6:]
        query = modulate(rms_norm(x, self.eps), expand(scale), expand(shift))  # (B, T, D)
        text = layers.text_attention(query, self._text(guide, layers))
        return torch.addcmul(x, expand(gate), text)

    def _text(self, guide: Guide, layers: StreamLayers) -> KeysValues:
        kept = guide.text_keys_values
        if kept is not None and layers.text_attention in kept:
            return kept[layers.text_attention]
        shift, scale = guide.prompt.with_table(layers.prompt_table)  # (B, 1, D)
        keys_values = layers.text_attention.keys_values(modulate(guide.context, scale, shift))
        if kept is not None:
            kept[layers.text_attention] = keys_values
        return keys_values

    def _attend_across(self, video: Tensor, audio: Tensor, guides: AV[Guide]) -> AV[Tensor]:
        video_rows = guides.video.cross.with_table(self.scale_shift_table_a2v_ca_video[:4])
        audio_rows = guides.audio.cross.with_table(self.scale_shift_table_a2v_ca_audio[:4])
        seen = AV(
            self._both_directions(video, guides.video, video_rows),
            self._both_directions(audio, guides.audio, audio_rows),
        )
        attention = self.audio_to_video_attn
        attended = attention.keys_values(seen.audio[0], guides.audio.rope.time)
        to_video = attention(seen.video[0], attended, guides.video.rope.time)
        attention = self.video_to_audio_attn
        attended = attention.keys_values(seen.video[1], guides.video.rope.time)
        to_audio = attention(seen.audio[1], attended, guides.audio.rope.time)
        return AV(
            self._gated(video, guides.video, self.scale_shift_table_a2v_ca_video, to_video),
            self._gated(audio, guides.audio, self.scale_shift_table_a2v_ca_audio, to_audio),
        )

    def _both_directions(self, x: Tensor, guide: Guide, rows: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The stream as audio-to-video and as video-to-audio attention see it."""
        normed, expand = rms_norm(x, self.eps), guide.cross.expand
        scale_a2v, shift_a2v, scale_v2a, shift_v2a = (expand(row) for row in rows)
        return modulate(normed, scale_a2v, shift_a2v), modulate(normed, scale_v2a, shift_v2a)

    def _gated(self, x: Tensor, guide: Guide, table: Tensor, residual: Tensor) -> Tensor:
        (gate,) = guide.cross_gate.with_table(table[4:])
        return torch.addcmul(x, guide.cross_gate.expand(gate), residual)

    def _feed_forward(self, x: Tensor, guide: Guide, layers: StreamLayers) -> Tensor:
        expand = guide.modulation.expand
        shift, scale, gate = guide.modulation.with_table(layers.table)[3:6]
        normed = modulate(rms_norm(x, self.eps), expand(scale), expand(shift))  # (B, T, D)
        return torch.addcmul(x, expand(gate), layers.feed_forward(normed))

    def _video_layers(self) -> StreamLayers:
        return StreamLayers(self.attn1, self.attn2, self.ff, self.scale_shift_table, self.prompt_scale_shift_table)

    def _audio_layers(self) -> StreamLayers:
        tables = self.audio_scale_shift_table, self.audio_prompt_scale_shift_table
        return StreamLayers(self.audio_attn1, self.audio_attn2, self.audio_ff, *tables)


def modulation_table(num_rows: int, width: int) -> nn.Parameter:
    """A table of `num_rows` learned rows, started as PixArt-alpha does (arXiv 2310.00426)."""
    return nn.Parameter(torch.randn(num_rows, width) / width**0.5)
