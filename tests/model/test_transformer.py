"""The transformer against diffusers, against its own plain evaluation, and its full size."""

import copy
import json
from dataclasses import replace

import pytest
import torch

from ltx_live.model.attention import attention_bias
from ltx_live.model.av import AV
from ltx_live.model.config import LAUNCH_RULE, CrossTimestepRule, TransformerConfig
from ltx_live.model.layers import TokenTimesteps
from ltx_live.model.transformer import Modality, TextCache, Transformer

BATCH = 2
SIGMA = 0.7


def relative_error(ours, reference):
    return float((ours - reference).norm().detach() / reference.norm())


@pytest.fixture(scope="module")
def transformer(tiny_config, randomise):
    return randomise(Transformer(tiny_config), seed=1)


@pytest.fixture(scope="module")
def twin(transformer, by_their_names):
    """The same weights in diffusers."""
    from diffusers import LTX2VideoTransformer3DModel

    config = transformer.config
    model = LTX2VideoTransformer3DModel(
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        num_attention_heads=config.num_attention_heads,
        attention_head_dim=config.attention_head_dim,
        cross_attention_dim=config.cross_attention_dim,
        audio_in_channels=config.audio_in_channels,
        audio_out_channels=config.audio_out_channels,
        audio_num_attention_heads=config.audio_num_attention_heads,
        audio_attention_head_dim=config.audio_attention_head_dim,
        audio_cross_attention_dim=config.audio_cross_attention_dim,
        num_layers=config.num_layers,
        caption_channels=config.caption_channels,
        gated_attn=True,
        cross_attn_mod=True,
        audio_gated_attn=True,
        audio_cross_attn_mod=True,
        rope_type="split",
        rope_double_precision=True,
        use_prompt_embeddings=False,
        perturbed_attn=True,
    )
    ours = {name: tensor for name, tensor in transformer.state_dict().items() if "embeddings_connector" not in name}
    model.load_state_dict(by_their_names("transformer", model, ours), strict=True)
    return model.eval()


@pytest.fixture(scope="module")
def inputs(transformer, tiny_positions):
    """Latents, contexts and positions of both modalities."""
    config, generator = transformer.config, torch.Generator().manual_seed(2)

    def randn(*shape):
        return torch.randn(*shape, generator=generator)

    video, audio = (positions.expand(BATCH, -1, -1, -1) for positions in tiny_positions)
    return AV(
        (randn(BATCH, video.shape[2], config.in_channels), randn(BATCH, 16, config.cross_attention_dim), video),
        (
            randn(BATCH, audio.shape[2], config.audio_in_channels),
            randn(BATCH, 16, config.audio_cross_attention_dim),
            audio,
        ),
    )


def masks(inputs, conditioned):
    """Denoise masks (B, T); conditioned: the first latent frame and five audio latents are clean."""
    video, audio = torch.ones(inputs.video[0].shape[:2]), torch.ones(inputs.audio[0].shape[:2])
    if conditioned:
        video[:, :6] = 0
        video[1, 6:9] = 0.5
        audio[:, :5] = 0
    return AV(video, audio)


def modalities(transformer, inputs, denoise_masks, sigma=SIGMA):
    """What the transformer is called with."""
    ropes = (transformer.video_rope, transformer.audio_rope)
    return AV(
        *(
            Modality(
                latent=latent,
                timesteps=TokenTimesteps.from_tokens(mask * sigma),
                sigma=torch.full((BATCH,), sigma),
                rope=rope(positions),
                context=context,
            )
            for (latent, context, positions), mask, rope in zip(inputs, denoise_masks, ropes, strict=True)
        )
    )


def twin_velocities(twin, inputs, denoise_masks, **options):
    (video, video_context, video_positions), (audio, audio_context, audio_positions) = inputs
    return twin(
        hidden_states=video,
        audio_hidden_states=audio,
        encoder_hidden_states=video_context,
        audio_encoder_hidden_states=audio_context,
        timestep=denoise_masks.video * SIGMA * 1000,
        audio_timestep=denoise_masks.audio * SIGMA * 1000,
        sigma=torch.full((BATCH,), SIGMA * 1000),
        audio_sigma=torch.full((BATCH,), SIGMA * 1000),
        video_coords=video_positions,
        audio_coords=audio_positions,
        return_dict=False,
        **options,
    )


@torch.no_grad()
@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("rule", [LAUNCH_RULE, CrossTimestepRule("own", "own")])
def test_equals_diffusers(transformer, twin, inputs, monkeypatch, conditioned, rule):
    denoise_masks = masks(inputs, conditioned)
    monkeypatch.setattr(transformer, "cross_timestep_rule", rule)
    ours = transformer(*modalities(transformer, inputs, denoise_masks))
    references = twin_velocities(twin, inputs, denoise_masks, use_cross_timestep=rule == LAUNCH_RULE)
    for velocity, reference in zip(ours, references, strict=True):
        assert relative_error(velocity, reference) <= 1e-5


def test_default_rule_is_the_current_official_one(transformer):
    assert transformer.cross_timestep_rule == CrossTimestepRule(scale_shift="own", gate="other")


@torch.no_grad()
def test_attention_mask_equals_diffusers(transformer, twin, inputs):
    denoise_masks = masks(inputs, conditioned=False)
    mask = torch.ones(BATCH, 18, 18)
    mask[:, :12, 12:] = 0
    video, audio = modalities(transformer, inputs, denoise_masks)
    ours = transformer(replace(video, mask=mask), audio)
    references = twin_velocities(twin, inputs, denoise_masks, video_self_attention_mask=mask)
    for velocity, reference in zip(ours, references, strict=True):
        assert relative_error(velocity, reference) <= 1e-5


def test_partial_attention_mask_scales_the_weights():
    scores, mask = torch.randn(1, 1, 4, 4), torch.rand(1, 4, 4) + 0.1
    weights = (scores + attention_bias(mask, torch.float32)).softmax(dim=-1)
    expected = scores.softmax(dim=-1) * mask
    torch.testing.assert_close(weights, expected / expected.sum(dim=-1, keepdim=True))


@torch.no_grad()
@pytest.mark.parametrize("conditioned", [False, True])
def test_rules_differ_only_where_tokens_are_conditioned(transformer, inputs, monkeypatch, conditioned):
    given = modalities(transformer, inputs, masks(inputs, conditioned))
    current = transformer(*given)
    monkeypatch.setattr(transformer, "cross_timestep_rule", LAUNCH_RULE)
    for velocity, reference in zip(transformer(*given), current, strict=True):
        error = relative_error(velocity, reference)
        assert error > 1e-2 if conditioned else error < 1e-6


@pytest.fixture(scope="module")
def double(transformer):
    """The same network in float64, where different orders of evaluation agree to rounding."""
    return copy.deepcopy(transformer).double()


def test_distinct_timesteps_equal_one_per_token(double, inputs):
    given = modalities(double, inputs, masks(inputs, conditioned=True))
    assert [modality.timesteps.values.shape[1] for modality in given] == [3, 2]
    plain = []
    for modality, mask in zip(given, masks(inputs, conditioned=True), strict=True):
        one_each = torch.arange(mask.numel()).view(mask.shape)
        plain.append(replace(modality, timesteps=TokenTimesteps(mask * SIGMA, one_each)))
    with torch.no_grad():
        references = double(*plain)
        looked_up = double(*given)
    for velocities in (looked_up, double(*given)):  # without and with gradients
        for velocity, reference in zip(velocities, references, strict=True):
            assert relative_error(velocity, reference) <= 1e-12


@torch.no_grad()
def test_text_cache_is_exact_and_spares_the_text(transformer, inputs):
    given = modalities(transformer, inputs, masks(inputs, conditioned=True))
    reference = transformer(*given)
    cache = TextCache(max_entries=4)
    cached = [replace(m, text_keys_values=cache.entry(m.context, (SIGMA, SIGMA))) for m in given]
    transformer(*cached)
    calls = []
    hooks = [
        block.attn2.to_k.register_forward_hook(lambda *_: calls.append(1)) for block in transformer.transformer_blocks
    ]
    again = transformer(*cached)
    [hook.remove() for hook in hooks]
    assert not calls
    for velocity, expected in zip(again, reference, strict=True):
        assert torch.equal(velocity, expected)


def test_text_cache_drops_the_pair_used_least_recently():
    cache, contexts = TextCache(max_entries=2), [torch.zeros(1) for _ in range(3)]
    first, second = (cache.entry(context, (1.0,)) for context in contexts[:2])
    assert cache.entry(contexts[0], (1.0,)) is first
    cache.entry(contexts[2], (1.0,))
    assert cache.entry(contexts[0], (1.0,)) is first
    assert cache.entry(contexts[1], (1.0,)) is not second
    assert cache.entry(contexts[0], (0.5,)) is not first


@torch.no_grad()
def test_video_alone(transformer, inputs):
    video, audio = modalities(transformer, inputs, masks(inputs, conditioned=False))
    alone = transformer(video, None)
    assert alone.audio is None
    assert alone.video.shape == video.latent.shape
    assert relative_error(alone.video, transformer(video, audio).video) > 1e-2


@torch.no_grad()
def test_bfloat16_stays_near_float32(transformer, inputs):
    denoise_masks = masks(inputs, conditioned=True)
    reference = transformer(*modalities(transformer, inputs, denoise_masks))
    half = copy.deepcopy(transformer).bfloat16()
    for velocity, expected in zip(half(*modalities(half, inputs, denoise_masks)), reference, strict=True):
        assert velocity.dtype == torch.bfloat16
        assert relative_error(velocity.float(), expected) <= 2e-2


def test_gradients_reach_every_weight_of_the_forward(transformer, inputs):
    network = copy.deepcopy(transformer)
    velocities = network(*modalities(network, inputs, masks(inputs, conditioned=True)))
    sum(velocity.square().mean() for velocity in velocities).backward()
    untouched = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert all("embeddings_connector" in name for name in untouched)


def linear(name, out_features, in_features):
    return {f"{name}.weight": (out_features, in_features), f"{name}.bias": (out_features,)}


def attention(name, query, inner, context):
    shapes = {f"{name}.q_norm.weight": (inner,), f"{name}.k_norm.weight": (inner,)}
    shapes |= linear(f"{name}.to_q", inner, query) | linear(f"{name}.to_k", inner, context)
    shapes |= linear(f"{name}.to_v", inner, context) | linear(f"{name}.to_out.0", query, inner)
    return shapes | linear(f"{name}.to_gate_logits", 32, query)


def feed_forward(name, width):
    return linear(f"{name}.net.0.proj", 4 * width, width) | linear(f"{name}.net.2", width, 4 * width)


def full_size_shapes():
    """Names and shapes of the DiT file of LTX-2.3 22B (reference/model.md 1.8), without and with the connectors."""
    shapes = linear("patchify_proj", 4096, 128) | linear("audio_patchify_proj", 2048, 128)
    shapes |= linear("proj_out", 128, 4096) | linear("audio_proj_out", 128, 2048)
    shapes |= {"scale_shift_table": (2, 4096), "audio_scale_shift_table": (2, 2048)}
    for name, width, num_rows in (
        ("adaln_single", 4096, 9),
        ("audio_adaln_single", 2048, 9),
        ("prompt_adaln_single", 4096, 2),
        ("audio_prompt_adaln_single", 2048, 2),
        ("av_ca_video_scale_shift_adaln_single", 4096, 4),
        ("av_ca_audio_scale_shift_adaln_single", 2048, 4),
        ("av_ca_a2v_gate_adaln_single", 4096, 1),
        ("av_ca_v2a_gate_adaln_single", 2048, 1),
    ):
        shapes |= linear(f"{name}.emb.timestep_embedder.linear_1", width, 256)
        shapes |= linear(f"{name}.emb.timestep_embedder.linear_2", width, width)
        shapes |= linear(f"{name}.linear", num_rows * width, width)
    for i in range(48):
        block = f"transformer_blocks.{i}"
        for name in ("attn1", "attn2"):
            shapes |= attention(f"{block}.{name}", 4096, 4096, 4096)
            shapes |= attention(f"{block}.audio_{name}", 2048, 2048, 2048)
        shapes |= attention(f"{block}.audio_to_video_attn", 4096, 2048, 2048)
        shapes |= attention(f"{block}.video_to_audio_attn", 2048, 2048, 4096)
        shapes |= feed_forward(f"{block}.ff", 4096) | feed_forward(f"{block}.audio_ff", 2048)
        for name, width in (("", 4096), ("audio_", 2048)):
            shapes |= {f"{block}.{name}scale_shift_table": (9, width)}
            shapes |= {f"{block}.{name}prompt_scale_shift_table": (2, width)}
        shapes |= {f"{block}.scale_shift_table_a2v_ca_video": (5, 4096)}
        shapes |= {f"{block}.scale_shift_table_a2v_ca_audio": (5, 2048)}
    connectors = {}
    for connector, width in (("video_embeddings_connector", 4096), ("audio_embeddings_connector", 2048)):
        connectors |= {f"{connector}.learnable_registers": (128, width)}
        for i in range(8):
            connectors |= attention(f"{connector}.transformer_1d_blocks.{i}.attn1", width, width, width)
            connectors |= feed_forward(f"{connector}.transformer_1d_blocks.{i}.ff", width)
    return shapes, connectors


def test_full_size_names_and_shapes():
    with torch.device("meta"):
        network = Transformer(TransformerConfig())
    shapes, connectors = full_size_shapes()
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == shapes | connectors
    assert (len(shapes), len(connectors)) == (4186, 258)
    dit = [p for name, p in network.named_parameters() if name in shapes]
    assert sum(parameter.numel() for parameter in dit) == 18_988_838_144


def test_metadata_round_trip_and_complaints(tiny_config):
    section = json.loads(json.dumps(tiny_config.to_metadata()))
    assert TransformerConfig.from_metadata(section) == tiny_config
    with pytest.raises(ValueError, match="rope_type must be 'split'"):
        TransformerConfig.from_metadata(section | {"rope_type": "interleaved"})
    del section["num_layers"]
    with pytest.raises(ValueError, match="missing num_layers"):
        TransformerConfig.from_metadata(section)


def test_official_metadata_is_the_default_config():
    """The keys of deepbeepmeep/Wan2GP models/ltx2/configs/ltx2_22b_config.json; two of ours are not in it."""
    section = TransformerConfig().to_metadata()
    del section["text_length"], section["audio_in_channels"]
    assert TransformerConfig.from_metadata(section | {"dropout": 0.0}) == TransformerConfig()
