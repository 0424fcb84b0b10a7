"""Text projection and connectors against diffusers, padded there and unpadded here."""

import pytest
import torch

from ltx_live.model.text_connector import TextProjection
from ltx_live.model.transformer import Transformer

NUM_STATES = 5
NUM_TOKENS = 6


@pytest.fixture(scope="module")
def projection(tiny_config, randomise):
    return randomise(TextProjection(tiny_config, NUM_STATES), seed=3)


@pytest.fixture(scope="module")
def transformer(tiny_config, randomise):
    return randomise(Transformer(tiny_config), seed=4)


@pytest.fixture(scope="module")
def hidden_states(tiny_config):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(1, NUM_TOKENS, tiny_config.caption_channels, NUM_STATES, generator=generator) * 7


def diffusers_twin(config):
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors

    model = LTX2TextConnectors(
        caption_channels=config.caption_channels,
        text_proj_in_factor=NUM_STATES,
        video_connector_num_attention_heads=config.connector_num_attention_heads,
        video_connector_attention_head_dim=config.connector_attention_head_dim,
        video_connector_num_layers=config.connector_num_layers,
        video_connector_num_learnable_registers=config.connector_num_learnable_registers,
        video_gated_attn=True,
        audio_connector_num_attention_heads=config.audio_connector_num_attention_heads,
        audio_connector_attention_head_dim=config.audio_connector_attention_head_dim,
        audio_connector_num_layers=config.connector_num_layers,
        audio_connector_num_learnable_registers=config.connector_num_learnable_registers,
        audio_gated_attn=True,
        connector_rope_base_seq_len=4096,
        rope_type="split",
        per_modality_projections=True,
        video_hidden_dim=config.cross_attention_dim,
        audio_hidden_dim=config.audio_cross_attention_dim,
        proj_bias=True,
    )
    return model.eval()


@torch.no_grad()
def test_unpadded_run_equals_padded_diffusers(tiny_config, projection, transformer, hidden_states, by_their_names):
    connectors = {name: t for name, t in transformer.state_dict().items() if "embeddings_connector" in name}
    twin = diffusers_twin(tiny_config)
    twin.load_state_dict(by_their_names("connectors", twin, connectors | projection.state_dict()), strict=True)
    num_padding = tiny_config.text_length - NUM_TOKENS
    padding = torch.randn(1, num_padding, *hidden_states.shape[2:])
    mask = torch.tensor([[0] * num_padding + [1] * NUM_TOKENS])
    video, audio, _ = twin(torch.cat((padding, hidden_states), dim=1), mask)
    ours = transformer.connect_text(projection(hidden_states))
    for context, reference in zip(ours, (video, audio), strict=True):
        assert context.shape == reference.shape
        assert (context - reference).norm() / reference.norm() <= 1e-5


@torch.no_grad()
def test_batch_of_different_lengths_equals_one_by_one(transformer, projection, hidden_states):
    features = projection(hidden_states.expand(2, -1, -1, -1))
    batch = transformer.connect_text(features, num_tokens=torch.tensor([NUM_TOKENS, 2]))
    single = transformer.connect_text(projection(hidden_states[:, :2]))
    for both, alone in zip(batch, single, strict=True):
        torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-5)
        assert (both[0] - both[1]).abs().max() > 0.1


@torch.no_grad()
def test_order_of_tokens_matters(transformer, projection, hidden_states):
    features = projection(hidden_states[:, [1, 0, 2, 3, 4, 5]])
    swapped, straight = transformer.connect_text(features), transformer.connect_text(projection(hidden_states))
    assert (swapped.video[:, 2:] - straight.video[:, 2:]).abs().max() > 1e-3


def test_text_longer_than_the_context_is_refused(transformer, tiny_config):
    with pytest.raises(ValueError, match="longer than the context"):
        transformer.video_embeddings_connector(torch.zeros(1, tiny_config.text_length + 1, 128))
