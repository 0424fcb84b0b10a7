"""Vocoder and bandwidth extension: parity with diffusers, activation by definition, names, counts."""

import copy

import pytest
import torch
import torch.nn.functional as F
from diffusers.pipelines.ltx2.vocoder import LTX2VocoderWithBWE

from ltx_live.model.bandwidth import MelSTFT, VocoderWithBWE, upsample_sinc
from ltx_live.model.mel import MelConfig
from ltx_live.model.vocoder import Activation, Vocoder
from ltx_live.weights.known import VOCODER


def section(core_width: int = 1536, bwe_width: int = 512, blocks: dict | None = None) -> dict:
    """The published `vocoder` section of LTX-2.3 with other widths or residual blocks."""
    widths = {"vocoder": core_width, "bwe": bwe_width}
    return {
        part: VOCODER[part] | (blocks or {}) | {"upsample_initial_channel": width} for part, width in widths.items()
    }


SMALL = {"resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3]]}


def randomize(module: torch.nn.Module) -> torch.nn.Module:
    """Matrices N(0, 1 / fan_in), biases 0.3 N, the last layer small so that nothing is clamped."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in module.named_parameters():
        scale = 0.3 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
        scale *= 1e-3 if "conv_post" in name else 1.0
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return module.eval()


def error(got: torch.Tensor, want: torch.Tensor) -> float:
    assert got.shape == want.shape
    return float((got - want).norm() / want.norm())


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_core_and_extension_equal_diffusers(by_their_names):
    ours = randomize(VocoderWithBWE.from_config(section(128, 64)))
    other = LTX2VocoderWithBWE(hidden_channels=128, bwe_hidden_channels=64).eval()
    own_filters = {k: v for k, v in other.state_dict().items() if k.endswith("filter")}
    state = by_their_names("vocoder", other, ours.state_dict())
    assert all(torch.allclose(state[k], v, atol=1e-7) for k, v in own_filters.items())  # computed alike
    other.load_state_dict(state, strict=True)
    mel = random(1, 2, 9, 64) - 3  # (B, stereo, T, M)
    core = ours.core(mel)
    assert core.shape == (1, 2, 1440) and core.abs().max() < 1
    assert error(core, other.vocoder(mel)) <= 1e-5
    full = ours(mel)
    assert full.shape == (1, 2, 4320)
    assert error(full, other(mel)) <= 1e-5
    assert error(full, upsample_sinc(core, 3)) > 1e-3  # the generator contributes


def defined_activation(act: Activation, x: torch.Tensor) -> torch.Tensor:
    """By definition: interleaved signal, depthwise convolutions (reference/model.md 4.3)."""
    width = x.shape[1]
    up = act.upsample.filter.expand(width, -1, -1)
    down = act.downsample.lowpass.filter.expand(width, -1, -1)
    y = F.conv_transpose1d(F.pad(x, (5, 5), mode="replicate"), up, stride=2, groups=width) * 2
    y = y[..., 15:-15]
    alpha, beta = act.act.alpha.exp()[:, None], act.act.beta.exp()[:, None]
    y = y + (alpha * y).sin() ** 2 / (beta + 1e-9)
    return F.conv1d(F.pad(y, (5, 6), mode="replicate"), down, stride=2, groups=width)


def test_activation_is_one_graph_without_values():
    act, x = randomize(Activation(4)), random(1, 4, 20)
    with torch.inference_mode():
        assert error(torch.compile(act, backend="eager", fullgraph=True)(x), act(x)) < 1e-6


@pytest.mark.parametrize("length", [1, 2, 3, 50])
def test_activation_equals_its_definition(length):
    act = randomize(Activation(5)).double()
    for buffer in act.buffers():
        buffer.copy_(random(12).double().view(1, 1, 12))  # no symmetry to hide behind
    results = []
    for function in (act, lambda x: defined_activation(act, x)):
        x = random(2, 5, length).double().requires_grad_()
        act.zero_grad()
        y = function(x)
        y.sin().sum().backward()
        results.append((y.detach(), x.grad, act.act.alpha.grad.clone(), act.act.beta.grad.clone()))
    assert all(error(a, b) < 1e-12 for a, b in zip(*results, strict=True))


def test_upsampling_keeps_a_sine():
    time = torch.arange(1600, dtype=torch.float64)
    low = torch.sin(2 * torch.pi * 1000 / 16000 * time).expand(1, 2, -1)
    high = torch.sin(2 * torch.pi * 1000 / 48000 * torch.arange(4800, dtype=torch.float64)).expand(1, 2, -1)
    assert error(upsample_sinc(low, 3)[..., 300:-300], high[..., 300:-300]) < 0.01


def test_mel_of_a_sine_and_finite_gradient_of_silence():
    stft = MelSTFT(MelConfig(window=512, hop=80))
    time = torch.arange(1600) / 16000
    mel = stft(torch.sin(2 * torch.pi * 1000 * time)[None])
    assert mel.shape == (1, 20, 64)
    assert int(mel[0, 15].argmax()) in (20, 21, 22)  # bands around 1 kHz
    silence = torch.zeros(1, 1600, requires_grad=True)
    stft(silence).sum().backward()
    assert torch.isfinite(silence.grad).all()


@torch.inference_mode()
def test_filled_meta_modules_compute_the_same():
    ours = randomize(VocoderWithBWE.from_config(section(64, 32, SMALL)))
    with torch.device("meta"):
        other = VocoderWithBWE.from_config(section(64, 32, SMALL))
    other.load_state_dict(ours.state_dict(), strict=True, assign=True)
    mel = random(1, 2, 5, 64) - 3
    assert torch.equal(other(mel), ours(mel))


def test_small_configuration_learns_everywhere():
    ours = randomize(VocoderWithBWE.from_config(section(64, 32, SMALL)))
    ours(random(2, 2, 5, 64) - 3).square().mean().backward()
    assert all(p.grad.norm() > 0 for p in ours.parameters())


def test_core_is_clamped_and_extension_input_may_have_any_length():
    core = randomize(Vocoder.from_config(section(64, 32, SMALL)["vocoder"]))
    core.conv_post.weight.data.mul_(1e6)
    assert core(random(1, 2, 5, 64)).abs().max() == 1
    ours = randomize(VocoderWithBWE.from_config(section(64, 32, SMALL)))
    assert ours.extend(random(1, 2, 1001)).shape == (1, 2, 3003)


def test_tensors_of_the_22b_model():
    with torch.device("meta"):
        vocoder = VocoderWithBWE.from_config(section())
    shapes = {name: tuple(t.shape) for name, t in vocoder.state_dict().items()}
    assert len(shapes) == 1227
    assert shapes["vocoder.conv_pre.weight"] == (1536, 128, 7)
    assert shapes["vocoder.ups.0.weight"] == (1536, 768, 11)
    assert shapes["vocoder.resblocks.17.convs2.2.weight"] == (24, 24, 11)
    assert shapes["vocoder.resblocks.3.acts1.1.downsample.lowpass.filter"] == (1, 1, 12)
    assert shapes["bwe_generator.act_post.act.alpha"] == (16,)
    assert shapes["mel_stft.mel_basis"] == (64, 257)
    assert shapes["mel_stft.stft_fn.forward_basis"] == shapes["mel_stft.stft_fn.inverse_basis"] == (514, 1, 512)
    assert "vocoder.conv_post.bias" not in shapes
    assert round(sum(t.numel() for t in vocoder.state_dict().values()) / 1e6, 1) == 129.1


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("vocoder", "resblock", "1"),
        ("bwe", "activation", "snake"),
        ("bwe", "win_size", 400),
        ("bwe", "hop_length", 100),
        ("vocoder", "upsample_kernel_sizes", [11, 4, 4, 4, 4, 5]),
    ],
)
def test_unusable_configuration_is_named(part, key, value):
    changed = copy.deepcopy(section())
    changed[part][key] = value
    with pytest.raises(ValueError, match=key.split("_")[0]):
        VocoderWithBWE.from_config(changed)
