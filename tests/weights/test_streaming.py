"""Weights that pass through two buffers compute what resident ones do, bit for bit, in whatever order they are used."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ltx_live.errors import DeviceError
from ltx_live.weights.streaming import ALIGNMENT, Unit, WeightStream, chain, pinned, stream_modules

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"))]
WIDTH = 24


class Layer(nn.Module):
    """Parameters and a buffer of several types, some of odd sizes, one below a child."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.gain = nn.Parameter(torch.randn(WIDTH))
        self.register_buffer("scale", torch.tensor(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.scale * torch.tanh(self.linear(x) * self.gain)


def layers(number: int) -> nn.ModuleList:
    torch.manual_seed(number)
    return nn.ModuleList(Layer() for _ in range(number)).requires_grad_(False)


def streamed(network: nn.ModuleList, indices: list[int], device: str) -> tuple[nn.ModuleList, WeightStream, list[Unit]]:
    """A copy of the network on the device whose layers at `indices` are streamed."""
    network = copy.deepcopy(network).to(device)
    stream = WeightStream(device, 16 * ALIGNMENT)
    units = stream_modules(stream, [network[i].cpu() for i in indices])
    chain(units, units[0])
    return network, stream, units


def run(network: nn.ModuleList, x: torch.Tensor) -> torch.Tensor:
    for layer in network:
        x = layer(x)
    return x


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("indices", [[0], [1, 3], [0, 2, 4], [0, 1, 2, 3, 4, 5]])
def test_streamed_layers_compute_the_same(device, indices):
    network = layers(6)
    x = torch.randn(5, WIDTH, device=device)
    want = run(copy.deepcopy(network).to(device), x)
    got, _, _ = streamed(network, indices, device)
    for _ in range(3):  # the last layers' buffers meet the first layers' again
        assert torch.equal(run(got, x), want)


def test_next_unit_is_fetched_before_it_is_asked_for():
    network, stream, units = streamed(layers(4), [0, 1, 2, 3], "cpu")
    stream.acquire(units[0])
    held = [slot.unit for slot in stream.slots]
    assert held == [units[0], units[1]]
    stream.release(units[0])
    assert [slot.unit for slot in stream.slots] == [units[2], units[1]]
    assert stream.slots[0].buffer[: units[2].num_bytes].equal(units[2].host)


def test_two_units_rest_in_the_buffers():
    network, stream, units = streamed(layers(4), [1, 2], "cpu")
    x = torch.randn(2, WIDTH)
    run(network, x)
    for unit in units:
        unit.host.zero_()  # whatever is copied again is wrong from here on
    assert torch.equal(run(network, x), run(layers(4), x))


def test_another_chain_takes_the_buffers_and_gives_them_back():
    """As a prompt's layers do: they pass once, then the blocks are there again."""
    network, stream, units = streamed(layers(4), [0, 1, 2, 3], "cpu")
    other = copy.deepcopy(layers(5))
    passing = stream_modules(stream, other)
    chain(passing, units[0])
    x = torch.randn(2, WIDTH)
    for _ in range(2):
        assert torch.equal(run(network, x), run(layers(4), x))
        assert torch.equal(run(other, x), run(layers(5), x))
    assert {slot.unit for slot in stream.slots} == {units[0], units[1]}


def test_bare_units_pass_one_after_the_other():
    stream = WeightStream("cpu", 4 * ALIGNMENT)
    units = [Unit({"a": torch.full((3,), float(i)), "b": torch.tensor(i)}, pin=False) for i in range(5)]
    chain(units, units[0])
    assert [(t["a"].tolist(), int(t["b"])) for t in stream.passing(units)] == [([float(i)] * 3, i) for i in range(5)]


def test_a_failed_computation_leaves_the_stream_usable():
    network, _, units = streamed(layers(4), [0, 1, 2, 3], "cpu")
    with pytest.raises(RuntimeError):
        run(network, torch.randn(2, WIDTH + 1))
    x = torch.randn(2, WIDTH)
    assert torch.equal(run(network, x), run(layers(4), x))


def test_between_calls_the_weights_are_nowhere():
    network, _, _ = streamed(layers(3), [1], "cpu")
    run(network, torch.randn(2, WIDTH))
    assert network[1].linear.weight.is_meta and not network[0].linear.weight.is_meta
    assert set(network.state_dict()) == set(layers(3).state_dict())


def test_unit_keeps_types_shapes_and_alignment():
    tensors = {
        "scalar": torch.tensor(2.5),
        "float8": torch.randn(7, 3).to(torch.float8_e4m3fn),
        "strided": torch.randn(6, 4).bfloat16().t(),
    }
    unit = Unit(tensors, pin=False)
    views = unit.views(unit.host.clone())
    for name, tensor in tensors.items():
        assert views[name].dtype == tensor.dtype and views[name].shape == tensor.shape
        assert torch.equal(views[name].float(), tensor.float())
        assert unit.places[name].offset % ALIGNMENT == 0
    assert unit.num_bytes == 3 * ALIGNMENT


def test_memory_that_cannot_be_locked_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "cudart", lambda: SimpleNamespace(cudaHostRegister=lambda *args: 2))
    with pytest.raises(DeviceError, match=r"cannot page-lock 0.0 GiB more of RAM \(CUDA error 2\).* --memory resident"):
        pinned(1000)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_a_stream_can_be_dropped_while_it_copies():
    for _ in range(3):
        stream = WeightStream("cuda", 64 << 20)
        units = [Unit({"a": torch.full((16 << 20,), float(i))}, pin=True) for i in range(3)]
        chain(units, units[0])
        assert stream.acquire(units[0])["a"].sum().item() == 0
        del stream, units
        assert torch.ones(32 << 20, device="cuda").sum().item() == 32 << 20
