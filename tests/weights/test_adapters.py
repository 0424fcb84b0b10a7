"""LoRAs merged and beside the weights: both against a float64 reference, and nothing else changes."""

import copy
import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ltx_live.model.av import AV
from ltx_live.model.config import TransformerConfig
from ltx_live.model.latents import VideoGeometry, audio_positions, video_positions
from ltx_live.model.layers import TokenTimesteps
from ltx_live.model.transformer import Modality, Transformer
from ltx_live.weights.adapters import RuntimeAdapter, merge
from ltx_live.weights.fp8 import FP8Linear, dequantise, quantise
from ltx_live.weights.lora import CONNECTORS, Factors, Lora, linear_shapes

CONFIG = TransformerConfig(
    num_layers=2,
    num_attention_heads=2,
    attention_head_dim=32,
    in_channels=16,
    out_channels=16,
    cross_attention_dim=64,
    audio_num_attention_heads=2,
    audio_attention_head_dim=16,
    audio_in_channels=16,
    audio_out_channels=16,
    audio_cross_attention_dim=32,
    caption_channels=16,
    connector_num_layers=1,
    connector_num_attention_heads=2,
    connector_attention_head_dim=32,
    audio_connector_num_attention_heads=2,
    audio_connector_attention_head_dim=16,
    connector_num_learnable_registers=4,
    text_length=8,
)
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float8": torch.bfloat16}
QUERY = "transformer_blocks.1.attn1.to_q"


def relative_error(got: Tensor, want: Tensor) -> float:
    return float((got.double() - want.double()).norm() / want.double().norm())


def worst(got: AV[Tensor], want: AV[Tensor]) -> float:
    return max(relative_error(*pair) for pair in zip(got, want, strict=True))


def random_network(precision: str) -> Transformer:
    """Every weight random; with float8 the Linear layers of blocks are FP8Linear, as in the published files."""
    generator = torch.Generator().manual_seed(1)
    network = Transformer(CONFIG)
    for name, parameter in network.named_parameters():
        scale = parameter.shape[-1] ** -0.5 if parameter.ndim == 2 and "table" not in name else 0.3
        parameter.data = (torch.randn(parameter.shape, generator=generator) * scale).to(PRECISIONS[precision])
    for name, linear in list(network.named_modules()):
        if precision == "float8" and isinstance(linear, nn.Linear) and name.startswith("transformer_blocks."):
            parent, _, child = name.rpartition(".")
            quantised = FP8Linear(linear, has_input_scale=True, matmul=False)
            weight, quantised.weight_scale = quantise(linear.weight.data)
            quantised.weight = nn.Parameter(weight, requires_grad=False)
            quantised.input_scale.fill_(0.01)
            setattr(network.get_submodule(parent), child, quantised)
    return network.requires_grad_(False).eval()


def random_lora(seed: int, layers: dict[str, tuple[int, int]], size: float = 0.3) -> Lora:
    """Factors whose product is about `size` of a weight, ranks 1, 2, 3, ..., alphas not 1."""
    generator = torch.Generator().manual_seed(seed)
    factors = {}
    for index, (layer, (num_out, num_in)) in enumerate(layers.items()):
        rank, scale = 1 + index % 3, 0.5 + index % 2
        a = torch.randn(rank, num_in, generator=generator)
        b = torch.randn(num_out, rank, generator=generator) * size / scale / (rank * num_in) ** 0.5
        factors[layer] = Factors(a.bfloat16(), b.bfloat16(), scale)
    return Lora(Path(f"{seed}.safetensors"), factors, {}, (), 1, 1)


SHAPES = linear_shapes(Transformer(CONFIG))
BLOCKS = {layer: shape for layer, shape in SHAPES.items() if not layer.startswith(CONNECTORS)}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny tensors are slower on several threads."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="module", params=PRECISIONS)
def network(request) -> Transformer:
    return random_network(request.param)


@pytest.fixture(scope="module")
def lora() -> Lora:
    return random_lora(5, BLOCKS)


@torch.inference_mode()
def run(network: Transformer) -> AV[Tensor]:
    """Velocities of a fixed input."""
    generator = torch.Generator().manual_seed(3)
    sigma = torch.full((2,), 0.7)
    video, audio = torch.randn(2, 12, 16, generator=generator), torch.randn(2, 9, 16, generator=generator)
    text = torch.randn(2, 8, 64, generator=generator), torch.randn(2, 8, 32, generator=generator)
    mask = (torch.arange(12) > 3).float().expand(2, 12)  # some tokens are clean
    positions = video_positions(VideoGeometry(9, 96, 64), frame_rate=24.0), audio_positions(9)
    return network(
        Modality(
            video, TokenTimesteps.from_tokens(mask).scaled(sigma), sigma, network.video_rope(positions[0]), text[0]
        ),
        Modality(audio, TokenTimesteps.common(sigma), sigma, network.audio_rope(positions[1]), text[1]),
    )


def weight_of(layer: nn.Module) -> Tensor:
    if isinstance(layer, FP8Linear):
        return dequantise(layer.weight, layer.weight_scale, torch.float32)
    return layer.weight


def reference_weight(network: Transformer, layer: str, adapters: list[tuple[Lora, float]]) -> Tensor:
    """W + sum of strength * scale * B A in float64."""
    weight = weight_of(network.get_submodule(layer)).double()
    for lora, strength in adapters:
        if layer in lora.factors:
            each = lora.factors[layer]
            weight = weight + strength * each.scale * (each.b.double() @ each.a.double())
    return weight


def test_merged_weights_are_rounded_once(network):
    adapters = [(random_lora(5, SHAPES), 0.8), (random_lora(6, BLOCKS), -0.4)]
    merged = copy.deepcopy(network)
    assert merge(merged, adapters, device="cpu") == len(SHAPES)
    for layer in SHAPES:
        module, want = merged.get_submodule(layer), reference_weight(network, layer, adapters)
        assert type(module) is type(network.get_submodule(layer)) and not module.weight.requires_grad
        assert module.weight.dtype == network.get_submodule(layer).weight.dtype
        if isinstance(module, FP8Linear):
            scale = want.abs().max() / 448
            assert relative_error(module.weight_scale, scale) < 1e-6 and module.weight_scale.dtype == torch.float32
            assert module.input_scale == network.get_submodule(layer).input_scale
            step = torch.maximum(want.abs() / 16, scale / 2**10)  # half a step of e4m3
        else:
            step = want.abs() * torch.finfo(module.weight.dtype).eps / 2
        slack = 1e-6 * want.abs().max()  # of float32 sums
        assert ((weight_of(module).double() - want).abs() <= step * 1.0001 + slack).all(), layer


def test_merging_leaves_everything_else_alone(network, lora):
    """The old tensors may be views of a file, so they are never written into."""
    merged = copy.deepcopy(network)
    before = {name: (tensor, tensor.clone()) for name, tensor in merged.state_dict().items()}
    touched = {f"{layer}.weight" for layer in lora.factors} | {f"{layer}.weight_scale" for layer in lora.factors}
    merge(merged, [(lora, 1.0)])
    after = merged.state_dict()
    assert list(after) == list(before)
    for name, (tensor, value) in before.items():
        assert torch.equal(tensor.float(), value.float())
        assert (after[name].data_ptr() == tensor.data_ptr()) == (name not in touched), name


def test_strength_0_merges_nothing(network, lora):
    merged = copy.deepcopy(network)
    before = {name: tensor.data_ptr() for name, tensor in merged.state_dict().items()}
    assert merge(merged, [(lora, 0.0)]) == merge(merged, []) == 0
    assert {name: tensor.data_ptr() for name, tensor in merged.state_dict().items()} == before


def test_merging_is_the_same_on_any_number_of_threads():
    """Few rows of many columns are where MKL splits its sums."""
    weight = torch.randn(7, 4096, generator=torch.Generator().manual_seed(0))
    lora = random_lora(1, {"one": (7, 4096), "two": (7, 4096)})
    results = []
    for num_threads in (1, 2, 8):
        torch.set_num_threads(num_threads)
        network = nn.ModuleDict({name: nn.Linear(4096, 7) for name in lora.factors})
        for linear in network.values():
            linear.weight = nn.Parameter(weight, requires_grad=False)
        merge(network, [(lora, 0.37)])
        results.append(torch.stack([linear.weight for linear in network.values()]))
        assert torch.get_num_threads() == num_threads
    torch.set_num_threads(1)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_merging_needs_weights(lora):
    with torch.device("meta"):
        network = Transformer(CONFIG)
    with pytest.raises(ValueError, match="merge LoRAs before weights are streamed"):
        merge(network, [(lora, 1.0)])


def test_float8_loses_less_when_all_are_merged_together():
    network = random_network("float8")
    adapters = [(random_lora(seed, BLOCKS, size=0.05), 1.0) for seed in (5, 6, 7)]
    together, in_turn = copy.deepcopy(network), copy.deepcopy(network)
    merge(together, adapters)
    for adapter in adapters:
        merge(in_turn, [adapter])
    layers = [layer for layer in BLOCKS if isinstance(network.get_submodule(layer), FP8Linear)]
    assert len(layers) == 2 * 34
    for layer in layers:
        want = reference_weight(network, layer, adapters)
        errors = [relative_error(weight_of(each.get_submodule(layer)), want) for each in (together, in_turn)]
        assert errors[0] < 0.03
        if "to_gate_logits" not in layer:  # of two rows only: no statistics
            assert errors[0] < 0.9 * errors[1], layer


def test_merged_and_runtime_agree(network, lora):
    bare = run(network)
    merged = copy.deepcopy(network)
    merge(merged, [(lora, 0.7)])
    reference = copy.deepcopy(network).double()
    for layer in lora.factors:
        module = nn.Linear(*reversed(SHAPES[layer])).double()
        module.weight.data = reference_weight(network, layer, [(lora, 0.7)])
        module.bias.data = network.get_submodule(layer).bias.double()
        parent, _, child = layer.rpartition(".")
        setattr(reference.get_submodule(parent), child, module)
    exact, from_merged = run(reference), run(merged)
    adapter = RuntimeAdapter(network, lora, 0.7).attach()
    beside = run(network)
    adapter.detach()
    is_float8 = any(isinstance(module, FP8Linear) for module in network.modules())
    rounding = 3e-6 if beside.video.dtype == torch.float32 else 0.015
    assert worst(beside, exact) < rounding
    assert worst(from_merged, exact) < (0.06 if is_float8 else rounding)
    assert worst(from_merged, beside) < (0.06 if is_float8 else rounding)
    assert worst(bare, exact) > 0.2  # so the bounds say something


def test_strength_0_and_detaching_equal_no_lora_bit_for_bit(network, lora):
    bare = run(network)
    adapter = RuntimeAdapter(network, lora)
    adapter.strength = 1.0
    assert all(torch.equal(*pair) for pair in zip(run(network), bare, strict=True))  # not attached yet
    assert adapter.attach() is adapter
    assert worst(run(network), bare) > 0.2
    adapter.strength = 0.0
    assert all(torch.equal(*pair) for pair in zip(run(network), bare, strict=True))
    adapter.strength = 1.0
    adapter.detach()
    adapter.detach()
    assert all(torch.equal(*pair) for pair in zip(run(network), bare, strict=True))
    assert not any(module._forward_hooks for module in network.modules())


def test_at_strength_0_nothing_is_computed(network, lora):
    def count() -> int:
        with FlopCounterMode(display=False) as flops:
            run(network)
        return flops.get_total_flops()

    bare = count()
    adapter = RuntimeAdapter(network, lora).attach()
    assert count() == bare
    adapter.strength = 1.0
    assert count() > bare
    adapter.detach()


def test_attaching_twice_counts_once(network, lora):
    adapter = RuntimeAdapter(network, lora, 1.0).attach()
    once = run(network)
    adapter.attach()
    assert all(torch.equal(*pair) for pair in zip(run(network), once, strict=True))
    adapter.detach()
    adapter.attach()
    assert all(torch.equal(*pair) for pair in zip(run(network), once, strict=True))
    adapter.detach()


def test_adapters_add_up(network, lora):
    other = random_lora(9, dict(itertools.islice(BLOCKS.items(), 40)))
    merged = copy.deepcopy(network)
    merge(merged, [(lora, 0.5), (other, -0.8)])
    adapters = [RuntimeAdapter(network, lora, 0.5).attach(), RuntimeAdapter(network, other, -0.8).attach()]
    beside = run(network)
    for adapter in adapters:
        adapter.detach()
    is_float8 = any(isinstance(module, FP8Linear) for module in network.modules())
    assert worst(beside, run(merged)) < (0.08 if is_float8 else 3e-6 if beside.video.dtype == torch.float32 else 0.02)


def test_parameters_keep_their_names_and_places(network, lora):
    before = {name: tensor.data_ptr() for name, tensor in network.state_dict().items()}
    adapter = RuntimeAdapter(network, lora, 1.0).attach()
    assert {name: tensor.data_ptr() for name, tensor in network.state_dict().items()} == before
    adapter.detach()
    assert adapter.num_bytes == lora.num_values * network.dtype.itemsize


def test_the_branch_of_one_layer(network):
    """x of any number of dimensions and of another dtype than the network's."""
    lora = random_lora(2, {QUERY: SHAPES[QUERY]})
    layer = network.get_submodule(QUERY)
    adapter = RuntimeAdapter(network, lora, 2.0).attach()
    for shape in ((5, 64), (2, 5, 64), (2, 3, 5, 64)):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(network.dtype)
        with torch.inference_mode():
            got = layer(x)
        want = x.double() @ reference_weight(network, QUERY, [(lora, 2.0)]).T + layer.bias.double()
        assert got.shape == (*shape[:-1], 64) and got.dtype == network.dtype
        assert relative_error(got, want) < (1e-6 if network.dtype == torch.float32 else 0.02)
    adapter.detach()


@pytest.mark.parametrize("part", ["connector", "blocks"])
def test_connectors_can_be_targets(part):
    network = random_network("float32")
    layers = {layer: shape for layer, shape in SHAPES.items() if layer.startswith(CONNECTORS) == (part == "connector")}
    lora = random_lora(4, layers)
    features = AV(torch.randn(1, 5, 64), torch.randn(1, 5, 32))
    bare = network.connect_text(features)
    adapter = RuntimeAdapter(network, lora, 0.5).attach()
    context = network.connect_text(features)
    adapter.detach()
    assert adapter.touches_text == (part == "connector")
    assert all(torch.equal(*pair) != adapter.touches_text for pair in zip(context, bare, strict=True))
    merge(network, [(lora, 0.5)])
    assert worst(network.connect_text(features), context) < 1e-5
