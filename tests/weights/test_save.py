"""Writing checkpoint files."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ltx_live.weights.fp8 import FLOAT8
from ltx_live.weights.headers import read_bundle
from ltx_live.weights.save import network_tensors, save_network


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
