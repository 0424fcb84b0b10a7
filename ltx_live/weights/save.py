"""Networks -> checkpoint files, in the layout that `checkpoint` loads."""

import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ltx_live.weights.checkpoint import is_always_float32
from ltx_live.weights.fp8 import FLOAT8, quantise
from ltx_live.weights.headers import DTYPES
from ltx_live.weights.transfer import as_bytes


def network_tensors(network: nn.Module, prefix: str, fp8: bool = False) -> dict[str, Tensor]:
    """Tensors of a network under their names in the file: bfloat16, modulation tables float32.

    With `fp8` the weights of all Linear layers are float8 with a `.weight_scale` beside them.
    """
    linear = {f"{name}.weight" for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    tensors = {}
    for name, tensor in network.state_dict().items():
        tensor = tensor.detach().cpu()
        if fp8 and name in linear:
            tensors[prefix + name], tensors[f"{prefix}{name}_scale"] = quantise(tensor)
        elif tensor.dtype == FLOAT8 or not tensor.is_floating_point():
            tensors[prefix + name] = tensor
        elif is_always_float32(name):
            tensors[prefix + name] = tensor.float()
        else:
            tensors[prefix + name] = tensor.to(torch.bfloat16)
    return tensors


def tokenizer_tensor(model_proto: bytes) -> Tensor:
    """A SentencePiece model file as the uint8 tensor `spiece_model` of the text encoder's file."""
    return torch.frombuffer(bytearray(model_proto), dtype=torch.uint8)


def save_network(path: Path, tensors: dict[str, Tensor], config: dict[str, Any], metadata: dict[str, str]) -> None:
    """Write a safetensors file with `config` (sections as in `checkpoint`) and free `metadata`: commit, seed."""
    save_tensors(path, tensors, {**metadata, "config": json.dumps(config)})


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file. It appears whole or not at all: a running show may have the old one open."""
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    unfinished = path.with_name(path.name + ".part")
    save_file(contiguous, unfinished, metadata={"format": "pt", **metadata})
    os.replace(unfinished, path)


@dataclass(frozen=True)
class Promise:
    """A tensor of a file to be written: `make` is called once, in its turn, and must give what is promised."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    make: Callable[[], Tensor]

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def save_promises(path: Path, promises: Iterable[Promise], metadata: dict[str, str]) -> None:
    """Write a safetensors file, making one tensor after the other; safetensors' own writer needs all in memory.

    They are made in the order given, whatever their places in the file, which appears whole or not at all. Format:
    length of the header, the header as JSON, the data without gaps (huggingface/safetensors README.md).
    """
    promises = list(promises)
    names = {dtype: name for name, dtype in DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **metadata}}
    starts, end = {}, 0
    for promise in sorted(promises, key=lambda each: (-each.dtype.itemsize, each.name)):  # so all are aligned
        starts[promise.name] = start = end
        end += promise.num_bytes
        about = {"dtype": names[promise.dtype], "shape": list(promise.shape), "data_offsets": [start, end]}
        header[promise.name] = about
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for promise in promises:
            tensor = promise.make().detach().cpu().contiguous()
            if (tensor.dtype, tuple(tensor.shape)) != (promise.dtype, promise.shape):
                raise ValueError(f"{promise.name}: {tensor.dtype} {tuple(tensor.shape)} is not what was promised")
            file.seek(8 + len(text) + starts[promise.name])
            file.write(as_bytes(tensor).numpy())
    os.replace(unfinished, path)
