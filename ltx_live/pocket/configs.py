"""Configuration of the pocket's networks, in the keys of the published checkpoints' metadata (reference: model.md)."""

from __future__ import annotations

from typing import Any

from ltx_live.model.config import TransformerConfig

WIDTH_PX, HEIGHT_PX, FRAME_RATE = 288, 160, 24.0
TEXT_LENGTH = 64
"""Length of a context: prompt tokens, then registers."""

LATENT_CHANNELS = 32
AUDIO_CHANNELS, AUDIO_BINS = 8, 16

VIDEO_VAE: dict[str, Any] = {
    "latent_channels": LATENT_CHANNELS,
    "patch_size": 4,
    "norm_layer": "pixel_norm",
    "latent_log_var": "uniform",
    "causal_decoder": False,
    "timestep_conditioning": False,
    "spatial_padding_mode": "zeros",
    "encoder_base_channels": 32,
    "encoder_blocks": [
        ["res_x", {"num_layers": 1}],
        ["compress_space_res", {"multiplier": 2}],
        ["res_x", {"num_layers": 1}],
        ["compress_time_res", {"multiplier": 1}],
        ["compress_all_res", {"multiplier": 1}],
        ["res_x", {"num_layers": 1}],
        ["compress_all_res", {"multiplier": 1}],
        ["res_x", {"num_layers": 2}],
    ],
    "decoder_base_channels": 32,
    "decoder_blocks": [
        ["res_x", {"num_layers": 1}],
        ["compress_space", {"multiplier": 1}],
        ["res_x", {"num_layers": 1}],
        ["compress_time", {"multiplier": 1}],
        ["res_x", {"num_layers": 2}],
        ["compress_all", {"multiplier": 2}],
        ["res_x", {"num_layers": 2}],
        ["compress_all", {"multiplier": 1}],
        ["res_x", {"num_layers": 1}],
    ],
}

AUDIO_VAE: dict[str, Any] = {
    "model": {
        "params": {
            "ddconfig": {
                "ch": 32,
                "ch_mult": [1, 2, 2],
                "num_res_blocks": 1,
                "z_channels": AUDIO_CHANNELS,
                "double_z": True,
                "in_channels": 2,
                "out_ch": 2,
                "mel_bins": 64,
                "resolution": 256,
                "attn_resolutions": [],
                "dropout": 0.0,
                "causality_axis": "height",
                "norm_type": "pixel",
                "mid_block_add_attention": False,
            }
        }
    },
    "preprocessing": {
        "audio": {"sampling_rate": 16000},
        "stft": {"filter_length": 1024, "hop_length": 160, "win_length": 1024},
        "mel": {"n_mel_channels": 64, "mel_fmin": 0, "mel_fmax": 8000},
    },
}

VOCODER: dict[str, Any] = {
    "vocoder": {
        "resblock": "AMP1",
        "activation": "snakebeta",
        "upsample_rates": [5, 2, 2, 2, 2, 2],
        "upsample_kernel_sizes": [11, 4, 4, 4, 4, 4],
        "upsample_initial_channel": 256,
        "resblock_kernel_sizes": [3, 7],
        "resblock_dilation_sizes": [[1, 3], [1, 3]],
        "num_mels": 64,
        "use_bias_at_final": False,
    },
    "bwe": {
        "resblock": "AMP1",
        "activation": "snakebeta",
        "upsample_rates": [6, 5, 2, 2, 2],
        "upsample_kernel_sizes": [12, 11, 4, 4, 4],
        "upsample_initial_channel": 64,
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3]],
        "num_mels": 32,
        "use_bias_at_final": False,
        "input_sampling_rate": 16000,
        "output_sampling_rate": 48000,
        "n_fft": 256,
        "hop_length": 80,
        "win_size": 256,
    },
}

VOCABULARY_SIZE = 768

TEXT_ENCODER: dict[str, Any] = {
    "vocab_size": VOCABULARY_SIZE,
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "query_pre_attn_scalar": 32,
    "rms_norm_eps": 1e-6,
    "sliding_window": 64,
    "sliding_window_pattern": 6,
    "rope_theta": 1e6,
    "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    "rope_local_base_freq": 1e4,
    "max_position_embeddings": 1024,
}

TRANSFORMER: dict[str, Any] = TransformerConfig(
    num_layers=6,
    num_attention_heads=4,
    attention_head_dim=64,
    in_channels=LATENT_CHANNELS,
    out_channels=LATENT_CHANNELS,
    cross_attention_dim=256,
    audio_num_attention_heads=4,
    audio_attention_head_dim=32,
    audio_in_channels=AUDIO_CHANNELS * AUDIO_BINS,
    audio_out_channels=AUDIO_CHANNELS * AUDIO_BINS,
    audio_cross_attention_dim=128,
    caption_channels=TEXT_ENCODER["hidden_size"],
    connector_num_layers=1,
    connector_num_attention_heads=4,
    connector_attention_head_dim=64,
    audio_connector_num_attention_heads=4,
    audio_connector_attention_head_dim=32,
    connector_num_learnable_registers=TEXT_LENGTH,
    text_length=TEXT_LENGTH,
).to_metadata()
