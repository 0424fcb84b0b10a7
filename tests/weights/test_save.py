"""Writing checkpoint files."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ltx_live.weights.fp8 import FLOAT8
from ltx_live.weights.headers import read_bundle
from ltx_live.weights.save import Promise, network_tensors, save_network, save_promises
from ltx_live.weights.transfer import as_bytes


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.norm = nn.LayerNorm(3)
        self.conv = nn.Conv1d(3, 3, 3)
        self.scale_shift_table = nn.Parameter(torch.randn(2, 3))


def test_dtypes_and_names_of_a_file():
    small = Small()
    tensors = network_tensors(small, "a.")
    assert tensors.keys() == {f"a.{name}" for name in small.state_dict()}
    assert {name for name, tensor in tensors.items() if tensor.dtype == torch.float32} == {"a.scale_shift_table"}
    assert all(tensor.dtype in (torch.bfloat16, torch.float32) for tensor in tensors.values())
    assert not any(tensor.requires_grad for tensor in tensors.values())


def test_only_linear_weights_become_float8():
    tensors = network_tensors(Small(), "a.", fp8=True)
    assert [name for name, tensor in tensors.items() if tensor.dtype == FLOAT8] == ["a.linear.weight"]
    assert tensors["a.linear.weight_scale"].dtype == torch.float32
    assert tensors["a.conv.weight"].dtype == torch.bfloat16


def test_a_file_has_its_tensors_and_all_metadata(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {"x": torch.randn(3, 4).t(), "y": torch.tensor(2.0)}
    save_network(path, tensors, {"vae": {"latent_channels": 8}}, {"commit": "abc", "seed": "1"})
    loaded = load_file(path)
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    metadata = read_bundle(path).metadata
    assert json.loads(metadata["config"]) == {"vae": {"latent_channels": 8}}
    assert metadata["commit"] == "abc" and metadata["seed"] == "1"


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.safetensors"
    save_network(path, {"x": torch.ones(2)}, {}, {})
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_network(path, {"x": torch.zeros(2)}, {}, {"seed": 1})  # metadata must be text
    assert path.read_bytes() == before


def test_promises_are_kept_in_the_order_given_and_stored_aligned(tmp_path):
    """What is made last may stand first: a scale is known once its weight is made."""
    order: list[str] = []

    def promise(name: str, tensor: torch.Tensor) -> Promise:
        return Promise(name, tensor.dtype, tuple(tensor.shape), lambda: order.append(name) or tensor)

    tensors = {
        "b": torch.arange(6).to(FLOAT8).reshape(2, 3),
        "a": torch.randn(5, 3).bfloat16(),
        "scale": torch.tensor(0.5),
        "none": torch.empty(0, 3),
        "c": torch.arange(7, dtype=torch.uint8),
        "d": torch.randn(4).t(),
    }
    path = tmp_path / "a.safetensors"
    save_promises(path, [promise(name, tensor) for name, tensor in tensors.items()], {"seed": "1"})
    assert order == list(tensors)
    loaded = load_file(path)
    assert loaded.keys() == tensors.keys() == read_bundle(path).entries.keys()
    assert all(torch.equal(as_bytes(loaded[name]), as_bytes(tensors[name])) for name in tensors)
    header = json.loads(path.read_bytes()[8:].partition(b"}}")[0] + b"}}")
    for name, tensor in tensors.items():
        assert header[name]["data_offsets"][0] % tensor.dtype.itemsize == 0
    with pytest.raises(ValueError, match="b: torch.float32 .* is not what was promised"):
        save_promises(path, [Promise("b", torch.bfloat16, (2,), lambda: torch.ones(2))], {})
    assert load_file(path).keys() == tensors.keys()
