"""Sizes of the audio-video transformer, as the `transformer` section of a checkpoint's metadata names them."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

# What this code computes and does not make optional; a checkpoint must say the same.
FIXED = {
    "apply_gated_attention": True,
    "caption_proj_before_connector": True,
    "causal_temporal_positioning": True,
    "connector_apply_gated_attention": True,
    "cross_attention_adaln": True,
    "frequencies_precision": "float64",
    "rope_type": "split",
    "text_encoder_norm_type": "per_token_rms",
    "use_middle_indices_grid": True,
}


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of transformer and connectors; the defaults are LTX-2.3 22B (Wan2GP configs/ltx2_22b_config.json).

    `text_length` is our own key: the context length up to which the connectors' registers fill (official: 1024).
    """

    num_layers: int = 48
    num_attention_heads: int = 32
    attention_head_dim: int = 128
    in_channels: int = 128
    out_channels: int = 128
    cross_attention_dim: int = 4096
    audio_num_attention_heads: int = 32
    audio_attention_head_dim: int = 64
    audio_in_channels: int = 128
    audio_out_channels: int = 128
    audio_cross_attention_dim: int = 2048
    caption_channels: int = 3840
    connector_num_layers: int = 8
    connector_num_attention_heads: int = 32
    connector_attention_head_dim: int = 128
    audio_connector_num_attention_heads: int = 32
    audio_connector_attention_head_dim: int = 64
    connector_num_learnable_registers: int = 128
    connector_positional_embedding_max_pos: tuple[float, ...] = (4096,)
    positional_embedding_theta: float = 10000.0
    positional_embedding_max_pos: tuple[float, ...] = (20, 2048, 2048)
    audio_positional_embedding_max_pos: tuple[float, ...] = (20,)
    timestep_scale_multiplier: float = 1000.0
    av_ca_timestep_scale_multiplier: float = 1000.0
    norm_eps: float = 1e-6
    text_length: int = 1024

    def __post_init__(self) -> None:
        for stream, context, width in (
            ("connector", "cross_attention_dim", self.connector_width),
            ("audio_connector", "audio_cross_attention_dim", self.audio_connector_width),
        ):
            if width != getattr(self, context):
                raise ValueError(f"{stream}: heads x head_dim is {width}, but {context} is {getattr(self, context)}")

    @classmethod
    def from_metadata(cls, section: dict[str, Any]) -> Self:
        """Read the `transformer` section of the metadata; ValueError names a missing key or an unsupported value."""
        for key, value in FIXED.items():
            if section.get(key) != value:
                raise ValueError(
                    f"transformer config: {key} must be {value!r}, the checkpoint says {section.get(key)!r}"
                )
        ours = {"text_length": cls.text_length, "audio_in_channels": section.get("audio_out_channels")}
        known = ours | section
        missing = [field.name for field in fields(cls) if known.get(field.name) is None]
        if missing:
            raise ValueError(
                f"transformer config: missing {', '.join(missing)}; the checkpoint's metadata is incomplete"
            )
        values = {field.name: known[field.name] for field in fields(cls)}
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})

    def to_metadata(self) -> dict[str, Any]:
        """The section that `from_metadata` reads, ready for JSON."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return values | FIXED

    @property
    def width(self) -> int:
        """Width of a video token."""
        return self.num_attention_heads * self.attention_head_dim

    @property
    def audio_width(self) -> int:
        """Width of an audio token, and inner width of the attention between picture and sound."""
        return self.audio_num_attention_heads * self.audio_attention_head_dim

    @property
    def connector_width(self) -> int:
        """Width of the video context."""
        return self.connector_num_attention_heads * self.connector_attention_head_dim

    @property
    def audio_connector_width(self) -> int:
        """Width of the audio context."""
        return self.audio_connector_num_attention_heads * self.audio_connector_attention_head_dim


@dataclass(frozen=True)
class CrossTimestepRule:
    """Whose timestep drives the attention between picture and sound: the stream's own tokens or the other's sigma.

    Implementations disagree where tokens are conditioned (reference/model.md 1.6); the default is the official rule
    since Lightricks/LTX-2 203d484.
    """

    scale_shift: Literal["own", "other"] = "own"
    gate: Literal["own", "other"] = "other"


LAUNCH_RULE = CrossTimestepRule(scale_shift="other", gate="other")  # official at the launch of 2.3 (2026-03)
