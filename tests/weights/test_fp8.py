"""float8 weights: bounds of the rounding, both products, and the fp8 layout against the bfloat16 one."""

import copy
import json

import pytest
import torch
from torch import nn

from ltx_live.errors import CheckpointError
from ltx_live.weights.checkpoint import Storage, build_on_meta, load_network, load_transformer
from ltx_live.weights.fp8 import FLOAT8, FP8Linear, dequantise, quantise, scaled_matmul
from ltx_live.weights.headers import read_bundle
from ltx_live.weights.parts import parts_of
from ltx_live.weights.save import network_tensors, save_network


def error(got: torch.Tensor, want: torch.Tensor) -> float:
    return float((got.float() - want.float()).norm() / want.float().norm())


def fp8_state(linear: nn.Linear, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    weight, scale = quantise(linear.weight.detach())
    return {"0.weight": weight, "0.weight_scale": scale, "0.bias": linear.bias.detach().clone(), **more}


def load_linear(state: dict[str, torch.Tensor], size: tuple[int, int], storage: Storage) -> nn.Module:
    network = build_on_meta(lambda: nn.Sequential(nn.Linear(*size)), "here")
    return load_network(network, state, "here", storage)[0]


def comfy_quant(**layer) -> torch.Tensor:
    return torch.tensor(list(json.dumps(layer).encode()), dtype=torch.uint8)


@pytest.fixture
def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(64, 48)


def test_rounding_is_within_half_a_step_of_e4m3():
    torch.manual_seed(0)
    weight = torch.randn(200, 300) * 0.02
    rounded, scale = quantise(weight)
    assert rounded.dtype == FLOAT8 and scale.dtype == torch.float32 and scale.shape == ()
    assert scale == weight.abs().max() / 448
    back = dequantise(rounded, scale, torch.float32)
    step = torch.maximum(weight.abs() / 16, scale / 2**10)  # 3 mantissa bits; subnormals below 2^-6 in steps of 2^-9
    assert ((back - weight).abs() <= step * 1.0001).all()
    assert 0.01 < error(back, weight) < 0.03
    assert back.abs().max() == weight.abs().max()


def test_zeros_and_huge_values_survive():
    rounded, scale = quantise(torch.zeros(3, 3))
    assert torch.equal(dequantise(rounded, scale, torch.float32), torch.zeros(3, 3))
    huge = torch.tensor([[1e30, -1e30, 1.0]])
    assert torch.equal(dequantise(*quantise(huge), torch.float32).isfinite(), torch.ones(1, 3, dtype=torch.bool))


@pytest.mark.parametrize("fp8", ["storage", "matmul"])
def test_on_a_cpu_the_stored_layer_equals_the_dequantised_one(linear, fp8):
    x = torch.randn(2, 5, 64)
    stored = load_linear(fp8_state(linear), (64, 48), Storage(dtype=torch.float32, fp8=fp8))
    plain = load_linear(fp8_state(linear), (64, 48), Storage(dtype=torch.float32, fp8="dequantised"))
    assert isinstance(stored, FP8Linear) and stored.weight.dtype == FLOAT8
    assert type(plain) is nn.Linear and plain.weight.dtype == torch.float32
    assert torch.equal(stored(x), plain(x))
    assert error(plain(x), linear(x).detach()) < 0.03
    assert stored(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("input_scale", [None, 4.0 / 448], ids=["scale per row", "stored scale"])
def test_the_float8_product_is_near_the_exact_one(linear, input_scale):
    more = {} if input_scale is None else {"0.input_scale": torch.tensor([input_scale])}
    layer = load_linear(fp8_state(linear, **more), (64, 48), Storage(dtype=torch.bfloat16, fp8="matmul"))
    x = torch.randn(40, 64).clamp(-4, 4).bfloat16()
    assert error(scaled_matmul(x, layer), layer(x)) < 0.04
    assert torch.equal(layer.weight_scale, fp8_state(linear)["0.weight_scale"])  # float32 in any dtype


def test_a_scale_per_row_keeps_small_rows_exact_enough(linear):
    layer = load_linear(fp8_state(linear), (64, 48), Storage(dtype=torch.bfloat16, fp8="matmul"))
    layer.bias = None
    x = torch.randn(4, 64) * torch.tensor([[1e-4], [1.0], [300.0], [0.0]])
    got = scaled_matmul(x.bfloat16(), layer)
    want = layer(x.bfloat16())
    assert all(error(got[row], want[row]) < 0.04 for row in range(3))
    assert torch.equal(got[3], torch.zeros_like(got[3]))


def test_comfy_quant_is_read_and_not_kept(linear):
    full = comfy_quant(format="float8_e4m3fn", full_precision_matrix_mult=True)
    layer = load_linear(fp8_state(linear, **{"0.comfy_quant": full}), (64, 48), Storage(fp8="matmul"))
    assert isinstance(layer, FP8Linear) and not layer.matmul
    layer = load_linear(
        fp8_state(linear, **{"0.comfy_quant": comfy_quant(format="float8_e4m3fn")}), (64, 48), Storage(fp8="matmul")
    )
    assert layer.matmul and "comfy_quant" not in layer.state_dict()


@pytest.mark.parametrize(
    "change, text",
    [
        ({"0.comfy_quant": comfy_quant(format="nvfp4")}, "0.comfy_quant: format 'nvfp4' is not supported"),
        ({"0.comfy_quant": torch.tensor([1, 2], dtype=torch.uint8)}, "0.comfy_quant: not the JSON"),
        ({"0.weight_scale": torch.ones(48)}, "0.weight_scale is \\(48,\\), must be"),
        ({"0.weight_scale": None}, "0.weight_scale is missing"),
    ],
)
@pytest.mark.parametrize("fp8", ["storage", "dequantised"])
def test_formats_that_cannot_be_used_are_named(linear, change, text, fp8):
    state = {name: tensor for name, tensor in (fp8_state(linear) | change).items() if tensor is not None}
    with pytest.raises(CheckpointError, match=text):
        load_linear(state, (64, 48), Storage(fp8=fp8))


def test_a_scale_beside_a_bfloat16_weight_is_unknown(linear):
    state = fp8_state(linear) | {"0.weight": linear.weight.detach().bfloat16()}
    with pytest.raises(CheckpointError, match=r"unknown \(0.weight_scale\)"):
        load_linear(state, (64, 48), Storage())


def test_a_float8_embedding_is_dequantised():
    torch.manual_seed(0)
    table = torch.randn(20, 16)
    weight, scale = quantise(table)
    network = build_on_meta(lambda: nn.Sequential(nn.Embedding(20, 16)), "here")
    loaded = load_network(network, {"0.weight": weight, "0.weight_scale": scale}, "here", Storage(fp8="matmul"))
    assert loaded[0].weight.dtype == torch.bfloat16 and error(loaded[0].weight, table) < 0.04


def test_the_fp8_layout_loads_to_nearly_the_same_network(tiny, tmp_path):
    config = {"transformer": tiny.networks["transformer"].config.to_metadata()}
    saved = tiny.networks["transformer"]
    path = tmp_path / "fp8.safetensors"
    save_network(path, network_tensors(saved, "model.diffusion_model.", fp8=True), config, {})
    original = saved.state_dict()
    (found,) = parts_of(read_bundle(path))
    plain = load_transformer(found.source, Storage(dtype=torch.float32)).state_dict()
    assert plain.keys() == original.keys()
    for name in original:
        linear = name.endswith(".weight") and original[name].ndim == 2
        assert error(plain[name], original[name]) <= (0.04 if linear else 0.0), name
    stored = load_transformer(found.source, Storage(dtype=torch.float32, fp8="storage"))
    num_linear = sum(isinstance(module, nn.Linear) for module in saved.modules())
    assert sum(isinstance(module, FP8Linear) for module in stored.modules()) == num_linear
    features = torch.randn(1, 3, 32)
    with torch.no_grad():
        want, got = saved.video_embeddings_connector(features), stored.video_embeddings_connector(features)
    assert 0 < error(got, want) < 0.1
    assert path.stat().st_size < 0.75 * (tiny.folder / "1.safetensors").stat().st_size


def test_saving_what_was_loaded_as_float8_changes_nothing(tiny):
    saved = tiny.networks["text_projection"]
    first = network_tensors(saved, "", fp8=True)
    network = load_network(copy.deepcopy(saved).to("meta"), dict(first), "here", Storage(fp8="storage"))
    again = network_tensors(network, "", fp8=True)
    assert again.keys() == first.keys()
    assert all(torch.equal(again[name].float(), first[name].float()) for name in first)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("num_rows", [1, 35, 77])
@pytest.mark.parametrize(
    ("num_out", "num_in"), [(2048, 8192), (4096, 4096), (16384, 4096), (4096, 16384), (2048, 4096), (32, 4096)]
)
def test_a_gpu_multiplies_float8_within_its_rounding(num_out, num_in, num_rows, static):
    """Against float64: with the rounded input only the sum and the result round; with the exact one the input too."""
    torch.manual_seed(0)
    weight, scale = quantise(torch.randn(num_out, num_in, device="cuda") * num_in**-0.5)
    x = (
        torch.randn(num_rows, num_in, device="cuda").bfloat16()
        * torch.linspace(0.1, 3, num_rows, device="cuda").bfloat16()[:, None]
    )
    layer = FP8Linear(nn.Linear(num_in, num_out, device="cuda"), has_input_scale=static, matmul=True)
    layer.weight.data, layer.weight_scale = weight, scale
    layer.bias = nn.Parameter(torch.randn(num_out, device="cuda").bfloat16())
    row_scale = x.double().abs().amax(1, keepdim=True) / 448
    if static:
        layer.input_scale = (x.float().abs().max() / 448).clone()
        row_scale = layer.input_scale.double()
    got = layer(x)
    assert got.dtype == torch.bfloat16
    exact = x.double() @ (weight.double() * scale.double()).T + layer.bias.double()
    rounded = (x.double() / row_scale).float().to(FLOAT8).double() * row_scale
    same_input = rounded @ (weight.double() * scale.double()).T + layer.bias.double()
    assert float((got.double() - same_input).norm() / same_input.norm()) < 6e-3
    assert float((got.double() - exact).norm() / exact.norm()) < (0.04 if static else 0.03)
