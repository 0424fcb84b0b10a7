"""Video autoencoder: parity with diffusers, causality, geometry, tensor names and counts of the 22B checkpoint."""

import pytest
import torch
from diffusers import AutoencoderKLLTX2Video

from ltx_live.model.video_vae import VideoDecoder, VideoEncoder, VideoVAE, depth_to_space, space_to_depth
from ltx_live.weights.known import VIDEO_VAE


def res(num_layers: int) -> list:
    return ["res_x", {"num_layers": num_layers}]


def section(**changes) -> dict:
    """The published `vae` section of LTX-2.3, changed."""
    return VIDEO_VAE | changes


TINY = section(latent_channels=16, encoder_base_channels=16, decoder_base_channels=16)


def randomize(module: torch.nn.Module) -> torch.nn.Module:
    """Matrices N(0, 1 / fan_in), biases 0.3 N: defaults near zero would hide errors."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        scale = 0.3 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return module.eval()


def reference(decoder_padding: str) -> AutoencoderKLLTX2Video:
    return AutoencoderKLLTX2Video(
        latent_channels=16,
        block_out_channels=(32, 64, 128, 128),
        decoder_block_out_channels=(32, 64, 64, 128),
        layers_per_block=(4, 6, 4, 2, 2),
        decoder_layers_per_block=(4, 6, 4, 2, 2),
        decoder_spatio_temporal_scaling=(True,) * 4,
        decoder_inject_noise=(False,) * 5,
        downsample_type=("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
        upsample_type=("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
        upsample_residual=(False,) * 4,
        upsample_factor=(2, 2, 1, 2),
        encoder_causal=True,
        decoder_causal=False,
        encoder_spatial_padding_mode="zeros",
        decoder_spatial_padding_mode=decoder_padding,
    ).eval()


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def error(got: torch.Tensor, want: torch.Tensor) -> float:
    assert got.shape == want.shape
    return float((got - want).norm() / want.norm())


@pytest.fixture(scope="module")
def tiny() -> VideoVAE:
    return randomize(VideoVAE.from_config(TINY))


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    return torch.rand(1, 3, 17, 96, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1  # (B, C, F, H, W)


@torch.inference_mode()
@pytest.mark.parametrize("padding", ["zeros", "reflect"])
def test_both_ways_equal_diffusers(frames, padding, by_their_names):
    vae = randomize(VideoVAE.from_config(TINY | {"decoder_spatial_padding_mode": padding}))
    other = reference(padding)
    other.load_state_dict(by_their_names("vae", other, vae.state_dict()), strict=True)
    assert error(vae.encoder(frames), other.encode(frames).latent_dist.mode()) <= 1e-5
    latents = torch.randn(1, 16, 3, 3, 2, generator=torch.Generator().manual_seed(2))
    assert error(vae.decoder(latents), other.decode(latents).sample) <= 1e-5


@torch.inference_mode()
def test_encoder_is_causal(tiny, frames):
    full = tiny.encode(frames)
    assert full.shape == (1, 16, 3, 3, 2)
    assert error(tiny.encode(frames[:, :, :9]), full[:, :, :2]) <= 1e-5
    assert error(tiny.encode(frames[:, :, :1]), full[:, :, :1]) <= 1e-5
    changed = frames.clone()
    changed[:, :, 9:] = 0
    assert error(tiny.encode(changed)[:, :, 2:], full[:, :, 2:]) > 0.1


def test_sizes_that_do_not_fit_are_refused(tiny):
    assert tiny.encoder.strides == (8, 32, 32)
    for shape in ((1, 3, 8, 32, 32), (1, 3, 9, 48, 32), (1, 3, 9, 32, 40)):
        with pytest.raises(ValueError, match=f"{shape[2]} frames of {shape[4]} x {shape[3]} do not fit"):
            tiny.encode(torch.zeros(shape))


@torch.inference_mode()
def test_filled_meta_modules_compute_the_same(tiny, frames):
    with torch.device("meta"):
        other = VideoVAE.from_config(TINY)
    other.load_state_dict(tiny.state_dict(), strict=True, assign=True)
    assert torch.equal(other.encode(frames), tiny.encode(frames))


@torch.inference_mode()
def test_latents_to_frames(tiny):
    for num_latents in (1, 2, 4):
        out = tiny.decode(torch.randn(1, 16, num_latents, 1, 2))
        assert out.shape == (1, 3, 8 * (num_latents - 1) + 1, 32, 64)


@torch.inference_mode()
def test_statistics_normalise_around_the_network(tiny, frames):
    plain = tiny.encode(frames)
    mean, std = torch.linspace(-1, 1, 16), torch.linspace(0.5, 2, 16)
    tiny.per_channel_statistics.set(mean, std)
    try:
        normalised = tiny.encode(frames)
        assert error(normalised * std.view(-1, 1, 1, 1) + mean.view(-1, 1, 1, 1), plain) <= 1e-6
        assert error(tiny.decode(normalised), tiny.decoder(plain)) <= 1e-5
    finally:
        tiny.per_channel_statistics.set(torch.zeros(16), torch.ones(16))


@torch.inference_mode()
def test_decode_u8_is_the_rounded_decode(tiny):
    latents = torch.randn(1, 16, 2, 2, 3) * 0.5
    pictures = tiny.decode_u8(latents)
    assert pictures.shape == (1, 9, 64, 96, 3) and pictures.dtype == torch.uint8
    want = ((tiny.decode(latents).clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 4, 1)
    assert (pictures.float() - want).abs().max() <= 1
    assert pictures.float().std() > 10


def test_shuffles_are_inverse_and_count_channels_outermost():
    x = torch.arange(2 * 2 * 2 * 4).view(1, 2, 2, 2, 4)  # (B, C, F, H, W)
    y = space_to_depth(x, (2, 2, 2))
    assert y.shape == (1, 16, 1, 1, 2)
    assert y[0, :4, 0, 0, 0].tolist() == [0, 1, 4, 5]  # one channel: first frame, rows, then columns
    assert torch.equal(depth_to_space(y, (2, 2, 2)), x)


def test_gradients_equal_those_of_float64(frames):
    """The in-place activation and the CPU shortcut must not change training."""
    small = section(
        latent_channels=8,
        encoder_base_channels=8,
        encoder_blocks=[res(1), ["compress_all_res", {"multiplier": 2}], res(1)],
        decoder_base_channels=8,
        decoder_blocks=[res(1), ["compress_all", {"multiplier": 2}], res(1)],
    )
    vae = randomize(VideoVAE.from_config(small))
    gradients = []
    for dtype in (torch.float32, torch.float64):
        vae.to(dtype).zero_grad()
        x = frames[:, :, :5, :32, :32].to(dtype)
        (vae.decode(vae.encode(x)) - x).square().mean().backward()
        gradients.append([p.grad.double().clone() for p in vae.parameters() if p.grad.norm() > 0])
    assert len(gradients[0]) == len(list(vae.parameters()))
    assert all(error(a, b) < 1e-3 for a, b in zip(*gradients, strict=True))


def test_tensors_of_the_22b_model():
    with torch.device("meta"):
        vae = VideoVAE.from_config(section())
    shapes = {name: tuple(t.shape) for name, t in vae.state_dict().items()}
    assert len(shapes) == 170
    assert shapes["decoder.conv_in.conv.weight"] == (1024, 128, 3, 3, 3)
    assert [shapes[f"decoder.up_blocks.{i}.conv.conv.weight"][:2] for i in (1, 3, 5, 7)] == [
        (4096, 1024),
        (4096, 512),
        (512, 512),
        (512, 256),
    ]
    assert [shapes[f"encoder.down_blocks.{i}.conv.conv.weight"][:2] for i in (1, 3, 5, 7)] == [
        (64, 128),
        (256, 256),
        (128, 512),
        (128, 1024),
    ]
    assert shapes["encoder.conv_out.conv.weight"][:2] == (129, 1024)
    assert shapes["decoder.up_blocks.6.res_blocks.5.conv2.conv.bias"] == (256,)
    assert shapes["per_channel_statistics.mean-of-means"] == (128,)
    assert round(sum(p.numel() for p in vae.encoder.parameters()) / 1e6, 1) == 318.9
    assert round(sum(p.numel() for p in vae.decoder.parameters()) / 1e6, 1) == 407.2


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"timestep_conditioning": True}, "timestep_conditioning"),
        ({"norm_layer": "group_norm"}, "group_norm"),
        ({"spatial_padding_mode": "circular"}, "circular"),
        ({"latent_log_var": "odd"}, "latent_log_var"),
        ({"encoder_blocks": [["compress_all", {}]], "decoder_blocks": [["attn", {}]]}, "that LTX-2.3 does not have"),
    ],
)
def test_unusable_configuration_is_named(change, word):
    for network in (VideoEncoder, VideoDecoder):
        with pytest.raises(ValueError, match=word):
            network.from_config(section(**change))
