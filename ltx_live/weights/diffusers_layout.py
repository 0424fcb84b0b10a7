"""The folder that diffusers writes for LTX-2.3, in our names: tensors by the official ones, sections by official keys.

Names and defaults: huggingface/diffusers 0.42.1, models/transformers/transformer_ltx2.py,
models/autoencoders/autoencoder_kl_ltx2*.py, pipelines/ltx2/{connectors,vocoder}.py (reference/model.md 1.8, 3.4, 4).
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

Section = dict[str, Any]

TRANSFORMER_MODULES = {  # diffusers' name of a module -> ours, of which LoRAs have layers too
    "proj_in": "patchify_proj",
    "audio_proj_in": "audio_patchify_proj",
    "time_embed": "adaln_single",
    "audio_time_embed": "audio_adaln_single",
    "prompt_adaln": "prompt_adaln_single",
    "audio_prompt_adaln": "audio_prompt_adaln_single",
    "av_cross_attn_video_scale_shift": "av_ca_video_scale_shift_adaln_single",
    "av_cross_attn_audio_scale_shift": "av_ca_audio_scale_shift_adaln_single",
    "av_cross_attn_video_a2v_gate": "av_ca_a2v_gate_adaln_single",
    "av_cross_attn_audio_v2a_gate": "av_ca_v2a_gate_adaln_single",
}
CONNECTOR_MODULES = {
    "video_connector": "video_embeddings_connector",
    "audio_connector": "audio_embeddings_connector",
    "transformer_blocks": "transformer_1d_blocks",
}


def _renamed(modules: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(rf"(^|\.){theirs}\.", rf"\g<1>{ours}.") for theirs, ours in modules.items()]


NAMES: dict[str, list[tuple[str, str]]] = {  # component: regular expression in diffusers' name -> ours
    "transformer": [
        *_renamed(TRANSFORMER_MODULES),
        (r"\b(video|audio)_a2v_cross_attn_scale_shift_table$", r"scale_shift_table_a2v_ca_\1"),
        (r"\.norm_([qk])\.", r".\1_norm."),
    ],
    "connectors": [
        *_renamed(CONNECTOR_MODULES),
        (r"^(video|audio)_text_proj_in\.", r"\1_aggregate_embed."),
        (r"\.norm_([qk])\.", r".\1_norm."),
    ],
    "vae": [
        (r"^latents_mean$", "per_channel_statistics.mean-of-means"),
        (r"^latents_std$", "per_channel_statistics.std-of-means"),
    ],
    "audio_vae": [
        (r"^latents_mean$", "per_channel_statistics.mean-of-means"),
        (r"^latents_std$", "per_channel_statistics.std-of-means"),
    ],
    "vocoder": [
        (r"\.conv_in\.", ".conv_pre."),
        (r"\.conv_out\.", ".conv_post."),
        (r"\.act_out\.", ".act_post."),
        (r"\.upsamplers\.", ".ups."),
        (r"\.resnets\.", ".resblocks."),
        (r"\.downsample\.filter$", ".downsample.lowpass.filter"),
    ],
}
SIGNS = {  # component: tensors that only it has
    "transformer": ("proj_in.weight", "audio_proj_in.weight"),
    "connectors": ("video_connector.learnable_registers", "video_text_proj_in.weight"),
    "vae": ("latents_mean", "decoder.mid_block.resnets.0.conv1.conv.weight"),
    "audio_vae": ("latents_mean", "decoder.mid.block_1.conv1.conv.weight"),
    "vocoder": ("vocoder.conv_in.weight", "bwe_generator.conv_in.weight"),
}
VIDEO_VAE_BLOCK = re.compile(
    r"(?P<side>encoder|decoder)\.(?:mid_block|(?:down|up)_blocks\.(?P<level>\d+))\."
    r"(?P<kind>resnets|(?:down|up)samplers\.0)\.(?P<rest>.+)"
)
CHANGES = {"spatial": "compress_space", "temporal": "compress_time", "spatiotemporal": "compress_all"}
PREFIXES = {"transformer": "model.diffusion_model.", "vae": "vae.", "audio_vae": "audio_vae.", "vocoder": "vocoder."}


def component(names: Collection[str]) -> str | None:
    """Which component of the diffusers folder has tensors of these names; None for any other layout."""
    return next((each for each, signs in SIGNS.items() if all(sign in names for sign in signs)), None)


def own_names(of: str, names: Iterable[str]) -> dict[str, str]:
    """Diffusers' names of a component -> the network's own; the connectors' belong to transformer and projection."""
    names = list(names)
    levels = {int(found[1]) for name in names if (found := re.match(r"encoder\.down_blocks\.(\d+)\.", name))}
    return {name: _own_name(of, name, len(levels)) for name in names}


def official_names(of: str, names: Iterable[str]) -> dict[str, str]:
    """Diffusers' names of a component -> those of the official single file."""
    return {name: _prefix(of, own) + own for name, own in own_names(of, names).items()}


def sections(of: str, config: Mapping[str, Any]) -> dict[str, Section]:
    """A component's `config.json` -> sections of the official metadata; KeyError or ValueError names what is wrong.

    The transformer's section is whole only with the connectors' added.
    """
    return SECTIONS[of](config)


def _own_name(of: str, name: str, num_levels: int) -> str:
    for pattern, ours in NAMES[of]:
        name = re.sub(pattern, ours, name)
    return _video_vae_block(name, num_levels) if of == "vae" else name


def _video_vae_block(name: str, num_levels: int) -> str:
    """Theirs counts levels, ours blocks: stacks of residual blocks and changes of resolution in turn."""
    found = VIDEO_VAE_BLOCK.match(name)
    if found is None:
        return name
    blocks, before_level = ("down_blocks", 0) if found["side"] == "encoder" else ("up_blocks", 2)
    middle = num_levels if found["side"] == "encoder" else -1  # the encoder's last level, the decoder's first
    level = middle if found["level"] is None else int(found["level"])
    if found["kind"] == "resnets":
        return f"{found['side']}.{blocks}.{2 * level + before_level}.res_blocks.{found['rest']}"
    return f"{found['side']}.{blocks}.{2 * level + 1}.{found['rest']}"


def _prefix(of: str, own: str) -> str:
    if of != "connectors":
        return PREFIXES[of]
    return "text_embedding_projection." if "_aggregate_embed." in own else PREFIXES["transformer"]


def _transformer(config: Mapping[str, Any]) -> dict[str, Section]:
    section = {
        key: config[key]
        for key in (
            "num_layers",
            "num_attention_heads",
            "attention_head_dim",
            "in_channels",
            "out_channels",
            "cross_attention_dim",
            "audio_num_attention_heads",
            "audio_attention_head_dim",
            "audio_in_channels",
            "audio_out_channels",
            "audio_cross_attention_dim",
            "caption_channels",
            "timestep_scale_multiplier",
            "norm_eps",
            "rope_type",
        )
    }
    section |= {
        "apply_gated_attention": config["gated_attn"] and config["audio_gated_attn"],
        "audio_positional_embedding_max_pos": [config["audio_pos_embed_max_pos"]],
        "av_ca_timestep_scale_multiplier": config["cross_attn_timestep_scale_multiplier"],
        "caption_proj_before_connector": not config["use_prompt_embeddings"],
        "causal_temporal_positioning": config["causal_offset"] == 1,
        "cross_attention_adaln": config["cross_attn_mod"] and config["audio_cross_attn_mod"],
        "frequencies_precision": _precision(config),
        "positional_embedding_max_pos": [config["pos_embed_max_pos"], config["base_height"], config["base_width"]],
        "positional_embedding_theta": config["rope_theta"],
        "use_middle_indices_grid": True,  # always
    }
    return {"transformer": section}


def _connectors(config: Mapping[str, Any]) -> dict[str, Section]:
    for key in ("num_layers", "num_learnable_registers"):
        if config[f"video_connector_{key}"] != config[f"audio_connector_{key}"]:
            raise ValueError(f"{key} of the video and the audio connector differ; LTX-2.3 has them equal")
    section = {
        "connector_num_layers": config["video_connector_num_layers"],
        "connector_num_learnable_registers": config["video_connector_num_learnable_registers"],
        "connector_positional_embedding_max_pos": [config["connector_rope_base_seq_len"]],
        "connector_apply_gated_attention": config["video_gated_attn"] and config["audio_gated_attn"],
        "text_encoder_norm_type": "per_token_rms" if config["per_modality_projections"] else "masked_mean",
        "rope_type": config["rope_type"],
        "frequencies_precision": _precision(config),
    }
    for prefix, theirs in (("connector", "video_connector"), ("audio_connector", "audio_connector")):
        section[f"{prefix}_num_attention_heads"] = config[f"{theirs}_num_attention_heads"]
        section[f"{prefix}_attention_head_dim"] = config[f"{theirs}_attention_head_dim"]
    return {"transformer": section}


def _precision(config: Mapping[str, Any]) -> str:
    return "float64" if config["rope_double_precision"] else "float32"


def _vae(config: Mapping[str, Any]) -> dict[str, Section]:
    scaled = (*config["spatio_temporal_scaling"], *config["decoder_spatio_temporal_scaling"])
    if not all(scaled) or not config["encoder_causal"]:
        raise ValueError("a level without change of resolution or an encoder that looks ahead; LTX-2.3 has neither")
    width, encoder, decoder = config["latent_channels"], [], []
    for layers, kind, num_out in zip(
        config["layers_per_block"], config["downsample_type"], config["block_out_channels"], strict=False
    ):
        encoder += [["res_x", {"num_layers": layers}], [CHANGES[kind] + "_res", {"multiplier": num_out // width}]]
        width = num_out
    options = zip(config["upsample_factor"], config["upsample_residual"], config["decoder_inject_noise"], strict=False)
    changes = zip(config["decoder_layers_per_block"], config["upsample_type"][::-1], options, strict=False)
    for layers, kind, (multiplier, residual, noise) in changes:
        decoder += [["res_x", {"num_layers": layers, "inject_noise": noise}]]
        decoder += [[CHANGES[kind], {"multiplier": multiplier, "residual": residual}]]
    section = {
        "causal_decoder": config["decoder_causal"],
        "decoder_base_channels": config["decoder_block_out_channels"][0] // config["upsample_factor"][0],
        "decoder_blocks": [*decoder, ["res_x", {"num_layers": config["decoder_layers_per_block"][-1]}]],
        "decoder_spatial_padding_mode": config["decoder_spatial_padding_mode"],
        "encoder_base_channels": config["latent_channels"],
        "encoder_blocks": [*encoder, ["res_x", {"num_layers": config["layers_per_block"][-1]}]],
        "encoder_spatial_padding_mode": config["encoder_spatial_padding_mode"],
        "in_channels": config["in_channels"],
        "latent_channels": config["latent_channels"],
        "out_channels": config["out_channels"],
        "patch_size": config["patch_size"],
        "timestep_conditioning": config["timestep_conditioning"],
    }
    return {"vae": section}


def _audio_vae(config: Mapping[str, Any]) -> dict[str, Section]:
    same = ("ch_mult", "num_res_blocks", "in_channels", "norm_type", "causality_axis", "mel_bins", "double_z")
    ddconfig = {key: config[key] for key in (*same, "mid_block_add_attention")} | {
        "attn_resolutions": config["attn_resolutions"] or [],
        "ch": config["base_channels"],
        "out_ch": config["output_channels"],
        "z_channels": config["latent_channels"],
    }
    preprocessing = {
        "audio": {"sampling_rate": config["sample_rate"]},
        "mel": {"mel_fmin": 0, "mel_fmax": config["sample_rate"] / 2, "n_mel_channels": config["mel_bins"]},
        "stft": {"filter_length": 1024, "hop_length": config["mel_hop_length"]},  # the length is in no diffusers file
    }
    return {"audio_vae": {"model": {"params": {"ddconfig": ddconfig}}, "preprocessing": preprocessing}}


def _vocoder(config: Mapping[str, Any]) -> dict[str, Section]:
    def generator(prefix: str) -> Section:
        if not config[f"{prefix}antialias"]:
            raise ValueError(f"{prefix}antialias is false; LTX-2.3 has true")
        return {
            "activation": config[f"{prefix}act_fn"],
            "num_mels": config[f"{prefix}in_channels"] // config[f"{prefix}out_channels"],
            "resblock": "AMP1",
            "resblock_dilation_sizes": config[f"{prefix}resnet_dilations"],
            "resblock_kernel_sizes": config[f"{prefix}resnet_kernel_sizes"],
            "stereo": config[f"{prefix}out_channels"] == 2,
            "upsample_initial_channel": config[f"{prefix}hidden_channels"],
            "upsample_kernel_sizes": config[f"{prefix}upsample_kernel_sizes"],
            "upsample_rates": config[f"{prefix}upsample_factors"],
            "use_bias_at_final": config[f"{prefix}final_bias"],
            "use_tanh_at_final": config[f"{prefix}final_act_fn"] == "tanh",
        }

    extension = generator("bwe_") | {
        "apply_final_activation": False,
        "hop_length": config["hop_length"],
        "input_sampling_rate": config["input_sampling_rate"],
        "n_fft": config["filter_length"],
        "num_mels": config["num_mel_channels"],
        "output_sampling_rate": config["output_sampling_rate"],
        "win_size": config["window_length"],
    }
    return {"vocoder": {"vocoder": generator(""), "bwe": extension}}


SECTIONS: dict[str, Callable[[Mapping[str, Any]], dict[str, Section]]] = {
    "transformer": _transformer,
    "connectors": _connectors,
    "vae": _vae,
    "audio_vae": _audio_vae,
    "vocoder": _vocoder,
}
