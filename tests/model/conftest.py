"""Tiny networks with every weight random, and their twins in diffusers."""

import pytest
import torch

from ltx_live.model.config import TransformerConfig
from ltx_live.model.latents import VideoGeometry, audio_positions, video_positions
from ltx_live.weights.diffusers_layout import own_names


def _by_their_names(component: str, twin: torch.nn.Module, ours: dict) -> dict:
    names = own_names(component, twin.state_dict())
    assert sorted(names.values()) == sorted(ours)
    return {theirs: ours[own] for theirs, own in names.items()}


def _randomise(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Matrices N(0, 1 / fan_in), norm weights 1 + 0.1 N, tables and biases 0.3 N: no default may hide an error."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "_norm." in name:
                parameter.copy_(1 + 0.1 * noise)
            elif parameter.ndim == 2 and "table" not in name and "registers" not in name:
                parameter.copy_(noise / parameter.shape[1] ** 0.5)
            else:
                parameter.copy_(0.3 * noise)
    return module.eval()


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny tensors are slower on several threads."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="session")
def by_their_names():
    """The function (diffusers' component, its module, our state dict) -> the state dict for that module."""
    return _by_their_names


@pytest.fixture(scope="session")
def randomise():
    """The function (module, seed) -> the module with random weights, for evaluation."""
    return _randomise


@pytest.fixture(scope="session")
def tiny_config() -> TransformerConfig:
    """Three layers, 128 and 64 wide, text of 16 positions."""
    return TransformerConfig(
        num_layers=3,
        num_attention_heads=4,
        attention_head_dim=32,
        in_channels=16,
        out_channels=16,
        cross_attention_dim=128,
        audio_num_attention_heads=4,
        audio_attention_head_dim=16,
        audio_in_channels=8,
        audio_out_channels=8,
        audio_cross_attention_dim=64,
        caption_channels=24,
        connector_num_layers=2,
        connector_num_attention_heads=4,
        connector_attention_head_dim=32,
        audio_connector_num_attention_heads=4,
        audio_connector_attention_head_dim=16,
        connector_num_learnable_registers=8,
        text_length=16,
    )


@pytest.fixture(scope="session")
def tiny_geometry() -> VideoGeometry:
    """3 latent frames of 2 rows and 3 columns."""
    return VideoGeometry(num_frames=17, width=96, height=64)


@pytest.fixture(scope="session")
def tiny_positions(tiny_geometry):
    """Positions of the tiny video at 24 fps and of 17 audio latents."""
    return video_positions(tiny_geometry, frame_rate=24.0), audio_positions(17)
