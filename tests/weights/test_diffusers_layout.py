"""Names and configurations of diffusers' LTX-2.3, at full size: its own classes, built without memory, against ours."""

import json

import diffusers
import pytest
import torch
from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
from diffusers.pipelines.ltx2.vocoder import LTX2VocoderWithBWE

from ltx_live.model.audio_vae import AudioVAE
from ltx_live.model.bandwidth import VocoderWithBWE
from ltx_live.model.config import TransformerConfig
from ltx_live.model.mel import MelConfig
from ltx_live.model.text_connector import TextProjection
from ltx_live.model.transformer import Transformer
from ltx_live.model.video_vae import VideoVAE
from ltx_live.weights import known
from ltx_live.weights.diffusers_layout import component, official_names, own_names, sections

# What of LTX-2.3 is not the default of the classes (huggingface/diffusers scripts/convert_ltx2_to_diffusers.py).
COMPONENTS = {
    "transformer": (
        diffusers.LTX2VideoTransformer3DModel,
        dict.fromkeys(("gated_attn", "cross_attn_mod", "audio_gated_attn", "audio_cross_attn_mod"), True)
        | {"rope_type": "split", "use_prompt_embeddings": False, "perturbed_attn": True},
    ),
    "connectors": (
        LTX2TextConnectors,
        dict.fromkeys(("video_gated_attn", "audio_gated_attn", "per_modality_projections", "proj_bias"), True)
        | dict.fromkeys(("video_connector_num_attention_heads", "audio_connector_num_attention_heads"), 32)
        | dict.fromkeys(("video_connector_num_layers", "audio_connector_num_layers"), 8)
        | {"audio_connector_attention_head_dim": 64, "rope_type": "split"},
    ),
    "vae": (
        diffusers.AutoencoderKLLTX2Video,
        {
            "block_out_channels": (256, 512, 1024, 1024),
            "decoder_block_out_channels": (256, 512, 512, 1024),
            "layers_per_block": (4, 6, 4, 2, 2),
            "decoder_layers_per_block": (4, 6, 4, 2, 2),
            "decoder_spatio_temporal_scaling": (True,) * 4,
            "decoder_inject_noise": (False,) * 5,
            "upsample_type": ("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
            "upsample_residual": (False,) * 4,
            "upsample_factor": (2, 2, 1, 2),
            "decoder_causal": False,
            "decoder_spatial_padding_mode": "zeros",
        },
    ),
    "audio_vae": (diffusers.AutoencoderKLLTX2Audio, {}),
    "vocoder": (LTX2VocoderWithBWE, {}),
}


@pytest.fixture(scope="module")
def theirs():
    """Diffusers' components, and their configurations as `config.json` has them."""
    with torch.device("meta"):
        built = {name: build(**options) for name, (build, options) in COMPONENTS.items()}
    return {name: (network.state_dict(), json.loads(network.to_json_string())) for name, network in built.items()}


@pytest.fixture(scope="module")
def ours():
    """Our networks by the documented configuration."""
    config = TransformerConfig()
    with torch.device("meta"):
        networks = {
            "transformer": Transformer(config),
            "projection": TextProjection(config, 49),
            "vae": VideoVAE.from_config(known.VIDEO_VAE),
            "audio_vae": AudioVAE.from_config(known.AUDIO_VAE),
            "vocoder": VocoderWithBWE.from_config(known.VOCODER),
        }
    states = {name: network.state_dict() for name, network in networks.items()}
    connectors = {name for name in states["transformer"] if "embeddings_connector" in name}
    text = {name: states["transformer"].pop(name) for name in connectors}
    return states | {"connectors": text | states.pop("projection")}


@pytest.mark.parametrize("name", COMPONENTS)
def test_every_tensor_has_our_name_and_shape(theirs, ours, name):
    state, _ = theirs[name]
    assert component(state) == name
    renamed = {own: tuple(state[key].shape) for key, own in own_names(name, state).items()}
    assert renamed == {key: tuple(tensor.shape) for key, tensor in ours[name].items()}
    assert len(set(official_names(name, state).values())) == len(state)


def test_the_components_together_are_the_official_file(theirs):
    names = {own for name, (state, _) in theirs.items() for own in official_names(name, state).values()}
    assert len(names) == 5947  # of the published header: reference/model.md 0


def test_the_configurations_are_the_documented_one(theirs):
    made: dict[str, dict] = {}
    for name, (_, config) in theirs.items():
        for section, values in sections(name, config).items():
            made[section] = made.get(section, {}) | values
    assert TransformerConfig.from_metadata(made["transformer"]) == TransformerConfig()
    for section, build in (("vae", VideoVAE), ("audio_vae", AudioVAE), ("vocoder", VocoderWithBWE)):
        with torch.device("meta"):
            theirs_built, ours_built = build.from_config(made[section]), build.from_config(known.CONFIG[section])
        assert repr(theirs_built) == repr(ours_built)  # every layer with its sizes, strides, dilations and padding
        assert plain_attributes(theirs_built) == plain_attributes(ours_built)
    assert MelConfig.from_config(made["audio_vae"]) == MelConfig.from_config(known.AUDIO_VAE) == MelConfig()


def plain_attributes(network: torch.nn.Module) -> list[dict]:
    """What modules keep beside tensors and children: strides, causality, rates, the clamp."""
    return [
        {key: value for key, value in vars(module).items() if isinstance(value, (int, float, str, tuple))}
        for module in network.modules()
    ]
