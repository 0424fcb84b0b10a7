"""Audio autoencoder: parity with diffusers, causality, geometry, tensor names and counts of the 22B checkpoint."""

import pytest
import torch
from diffusers import AutoencoderKLLTX2Audio

from ltx_live.model.audio_vae import AudioDecoder, AudioEncoder, AudioVAE
from ltx_live.weights.known import AUDIO_VAE


def section(**changes) -> dict:
    """The published `audio_vae` section of LTX-2.3, its sizes changed."""
    return {"model": {"params": {"ddconfig": AUDIO_VAE["model"]["params"]["ddconfig"] | changes}}}


def randomize(module: torch.nn.Module) -> torch.nn.Module:
    """Matrices N(0, 1 / fan_in), biases 0.3 N: defaults near zero would hide errors."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        scale = 0.3 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return module.eval()


def error(got: torch.Tensor, want: torch.Tensor) -> float:
    assert got.shape == want.shape
    return float((got - want).norm() / want.norm())


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def tiny() -> AudioVAE:
    return randomize(AudioVAE.from_config(section(ch=32, z_channels=2)))


@torch.inference_mode()
def test_both_ways_equal_diffusers(tiny, by_their_names):
    other = AutoencoderKLLTX2Audio(base_channels=32, latent_channels=2, norm_type="pixel", causality_axis="height")
    other.load_state_dict(by_their_names("audio_vae", other, tiny.state_dict()), strict=True)
    mel = random(1, 2, 41, 64)  # (B, stereo, T_mel, M)
    assert error(tiny.encoder(mel), other.encode(mel).latent_dist.mode()) <= 1e-5
    latents = random(1, 2, 7, 16)  # (B, z, T, M / 4)
    assert error(tiny.decoder(latents), other.decode(latents).sample) <= 1e-5


@torch.inference_mode()
def test_numbers_of_latents_and_mel_frames(tiny):
    for num_mel, num_latents in ((100, 25), (101, 26), (104, 26), (105, 27)):  # reference/model.md 4.2
        assert tiny.encode(random(1, 2, num_mel, 64)).shape == (1, 2, num_latents, 16)
    for num_latents in (1, 2, 26):
        assert tiny.decode(random(1, 2, num_latents, 16)).shape == (1, 2, 4 * num_latents - 3, 64)


@torch.inference_mode()
def test_both_ways_are_causal(tiny):
    mel, latents = random(1, 2, 41, 64), random(1, 2, 11, 16)
    encoded, decoded = tiny.encode(mel), tiny.decode(latents)
    assert error(tiny.encode(mel[:, :, :21]), encoded[:, :, :6]) <= 1e-5
    assert error(tiny.decode(latents[:, :, :6]), decoded[:, :, :21]) <= 1e-5
    changed = latents.clone()
    changed[:, :, 6:] += 1
    assert error(tiny.decode(changed)[:, :, 21:], decoded[:, :, 21:]) > 0.1


@torch.inference_mode()
def test_statistics_belong_to_channel_and_band(tiny):
    mel = random(1, 2, 13, 64)
    plain = tiny.encode(mel)  # (B, z, T, M / 4)
    mean, std = torch.linspace(-1, 1, 32), torch.linspace(0.5, 2, 32)
    tiny.per_channel_statistics.set(mean, std)
    try:
        normalised = tiny.encode(mel)
        want = (plain[0, 1, 2, 5] - mean[1 * 16 + 5]) / std[1 * 16 + 5]
        assert torch.allclose(normalised[0, 1, 2, 5], want, atol=1e-5)
        assert error(tiny.decode(normalised), tiny.decoder(plain)) <= 1e-5
    finally:
        tiny.per_channel_statistics.set(torch.zeros(32), torch.ones(32))


def test_tensors_of_the_22b_model():
    with torch.device("meta"):
        vae = AudioVAE.from_config(section())
    shapes = {name: tuple(t.shape) for name, t in vae.state_dict().items()}
    assert len(shapes) == 102
    assert shapes["encoder.down.1.block.0.nin_shortcut.conv.weight"] == (256, 128, 1, 1)
    assert shapes["encoder.down.0.downsample.conv.weight"] == (128, 128, 3, 3)
    assert shapes["encoder.conv_out.conv.bias"] == (16,)
    assert shapes["decoder.up.0.block.0.nin_shortcut.conv.weight"] == (128, 256, 1, 1)
    assert shapes["decoder.up.2.upsample.conv.conv.weight"] == (512, 512, 3, 3)
    assert shapes["decoder.mid.block_2.conv2.conv.weight"] == (512, 512, 3, 3)
    assert shapes["per_channel_statistics.std-of-means"] == (128,)
    assert round(sum(p.numel() for p in vae.encoder.parameters()) / 1e6, 1) == 21.3
    assert round(sum(p.numel() for p in vae.decoder.parameters()) / 1e6, 1) == 31.9


@torch.inference_mode()
def test_filled_meta_modules_compute_the_same(tiny):
    with torch.device("meta"):
        other = AudioVAE.from_config(section(ch=32, z_channels=2))
    other.load_state_dict(tiny.state_dict(), strict=True, assign=True)
    assert torch.equal(other.decode(random(1, 2, 3, 16)), tiny.decode(random(1, 2, 3, 16)))


def test_every_weight_learns():
    vae = randomize(AudioVAE.from_config(section(ch=16, z_channels=4, num_res_blocks=1)))
    mel = random(2, 2, 13, 64)
    mean, log_var = vae.encoder.moments(mel)
    assert mean.shape == log_var.shape == (2, 4, 4, 16)
    ((vae.decoder(mean) - mel).square().mean() + log_var.square().mean()).backward()
    assert all(p.grad.norm() > 0 for p in vae.parameters())


@pytest.mark.parametrize(
    ("key", "value"), [("norm_type", "group"), ("causality_axis", "width"), ("attn_resolutions", [8])]
)
def test_unusable_configuration_is_named(key, value):
    for network in (AudioEncoder, AudioDecoder, AudioVAE):
        with pytest.raises(ValueError, match=key):
            network.from_config(section(**{key: value}))
