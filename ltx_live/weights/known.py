"""LTX-2.3 22B as documented: what its files are known by, and the configuration of files that carry none.

Source: the metadata of the published checkpoint as deepbeepmeep/Wan2GP models/ltx2/configs/ltx2_22b_config.json has it
(reference/model.md 1.1, 3, 4), and google/gemma-3-12b-it's config.json.
"""

from typing import Any

from ltx_live.model.config import TransformerConfig

RES = "res_x"
AMP = {
    "activation": "snakebeta",
    "resblock": "AMP1",
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
    "stereo": True,
    "use_bias_at_final": False,
    "use_tanh_at_final": False,
}

VIDEO_VAE: dict[str, Any] = {
    "causal_decoder": False,
    "decoder_base_channels": 128,
    "decoder_blocks": [  # in the encoder's order
        [RES, {"num_layers": 4}],
        ["compress_space", {"multiplier": 2}],
        [RES, {"num_layers": 6}],
        ["compress_time", {"multiplier": 2}],
        [RES, {"num_layers": 4}],
        ["compress_all", {"multiplier": 1}],
        [RES, {"num_layers": 2}],
        ["compress_all", {"multiplier": 2}],
        [RES, {"num_layers": 2}],
    ],
    "encoder_base_channels": 128,
    "encoder_blocks": [
        [RES, {"num_layers": 4}],
        ["compress_space_res", {"multiplier": 2}],
        [RES, {"num_layers": 6}],
        ["compress_time_res", {"multiplier": 2}],
        [RES, {"num_layers": 4}],
        ["compress_all_res", {"multiplier": 2}],
        [RES, {"num_layers": 2}],
        ["compress_all_res", {"multiplier": 1}],
        [RES, {"num_layers": 2}],
    ],
    "in_channels": 3,
    "latent_channels": 128,
    "latent_log_var": "uniform",
    "norm_layer": "pixel_norm",
    "out_channels": 3,
    "patch_size": 4,
    # Of both sides. The published 2.3 metadata says so, and huggingface/diffusers converts 2.3 so
    # (scripts/convert_ltx2_to_diffusers.py). `reflect` in the decoder is LTX-2.0: its metadata lacks this key, for
    # which the official decoder's default is reflect and the encoder's zeros (ltx-core model_configurator.py).
    "spatial_padding_mode": "zeros",
    "timestep_conditioning": False,
}

AUDIO_VAE: dict[str, Any] = {
    "model": {
        "params": {
            "ddconfig": {
                "attn_resolutions": [],
                "causality_axis": "height",
                "ch": 128,
                "ch_mult": [1, 2, 4],
                "double_z": True,
                "in_channels": 2,
                "mel_bins": 64,
                "mid_block_add_attention": False,
                "norm_type": "pixel",
                "num_res_blocks": 2,
                "out_ch": 2,
                "resolution": 256,
                "z_channels": 8,
            },
            "sampling_rate": 16000,
        }
    },
    "preprocessing": {
        "audio": {"sampling_rate": 16000},
        "mel": {"mel_fmin": 0, "mel_fmax": 8000, "n_mel_channels": 64},
        "stft": {"filter_length": 1024, "hop_length": 160, "win_length": 1024},
    },
}

VOCODER: dict[str, Any] = {
    "vocoder": AMP
    | {
        "upsample_initial_channel": 1536,
        "upsample_kernel_sizes": [11, 4, 4, 4, 4, 4],
        "upsample_rates": [5, 2, 2, 2, 2, 2],
    },
    "bwe": AMP
    | {
        "apply_final_activation": False,
        "hop_length": 80,
        "input_sampling_rate": 16000,
        "n_fft": 512,
        "num_mels": 64,
        "output_sampling_rate": 48000,
        "upsample_initial_channel": 512,
        "upsample_kernel_sizes": [12, 11, 4, 4, 4],
        "upsample_rates": [6, 5, 2, 2, 2],
        "win_size": 512,
    },
}

GEMMA_3_12B: dict[str, Any] = {
    "vocab_size": 262208,
    "hidden_size": 3840,
    "intermediate_size": 15360,
    "num_hidden_layers": 48,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-6,
    "sliding_window": 1024,
    "sliding_window_pattern": 6,  # every 6th layer attends to everything
    "rope_theta": 1e6,  # of those layers, whose positions are divided by rope_scaling's factor
    "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    "rope_local_base_freq": 1e4,  # of the others
    "max_position_embeddings": 131072,
}

CONFIG: dict[str, dict[str, Any]] = {
    "transformer": TransformerConfig().to_metadata(),
    "vae": VIDEO_VAE,
    "audio_vae": AUDIO_VAE,
    "vocoder": VOCODER,
    "text_encoder": GEMMA_3_12B,
}
"""The sections of the documented configuration, as in the metadata; Gemma's under our own name for it."""

SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "transformer": {
        "patchify_proj.weight": (4096, 128),
        "audio_patchify_proj.weight": (2048, 128),
        "adaln_single.linear.weight": (9 * 4096, 4096),
        "transformer_blocks.47.audio_ff.net.0.proj.weight": (8192, 2048),
    },
    "connectors": {
        "video_embeddings_connector.learnable_registers": (128, 4096),
        "video_embeddings_connector.transformer_1d_blocks.7.attn1.to_q.weight": (4096, 4096),
        "audio_embeddings_connector.learnable_registers": (128, 2048),
    },
    "text_projection": {
        "video_aggregate_embed.weight": (4096, 3840 * 49),
        "audio_aggregate_embed.weight": (2048, 3840 * 49),
    },
    "video_vae": {
        "encoder.conv_out.conv.weight": (129, 1024, 3, 3, 3),
        "decoder.conv_in.conv.weight": (1024, 128, 3, 3, 3),
        "decoder.up_blocks.7.conv.conv.weight": (512, 256, 3, 3, 3),
    },
    "audio_vae": {
        "encoder.conv_out.conv.weight": (16, 512, 3, 3),
        "decoder.conv_in.conv.weight": (512, 8, 3, 3),
    },
    "vocoder": {
        "vocoder.conv_pre.weight": (1536, 128, 7),
        "bwe_generator.conv_pre.weight": (512, 128, 7),
        "mel_stft.mel_basis": (64, 257),
    },
    "text_encoder": {
        "embed_tokens.weight": (262208, 3840),
        "layers.47.mlp.up_proj.weight": (15360, 3840),
        "layers.47.self_attn.k_proj.weight": (8 * 256, 3840),
    },
}
"""Tensors by which a part is known to be LTX-2.3 22B's, by the part's own names."""
