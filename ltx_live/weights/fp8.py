"""Linear layers whose weight is stored as float8 (e4m3) with one float32 scale per tensor: W = weight * weight_scale.

Semantics of the tensors: comfyanonymous/ComfyUI QUANTIZATION.md (reference/model.md 7).
"""

import json
from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltx_live.errors import CheckpointError

FLOAT8 = torch.float8_e4m3fn
FLOAT8_MAX = 448.0
SMALLEST_SCALE = 1e-12  # of all-zero tensors
MIN_ROWS = 64

FP8Mode = Literal["matmul", "storage", "dequantised"]
"""What becomes of float8 weights: multiplied as float8 where the GPU can (rounds the activations too), kept as float8
but dequantised at every call (exact, small), or dequantised once at load (exact, and as fast as any other weight)."""


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weight of any shape -> (float8 of that shape, float32 scale of shape ()), the scale being amax / 448."""
    weight = weight.to(torch.float32, copy=True)
    scale = scale_for(weight.abs().amax())
    return rounded(weight, scale), scale


def scale_for(amax: Tensor) -> Tensor:
    """The scale of a weight whose largest absolute value is `amax`, both float32 of shape ()."""
    return (amax / FLOAT8_MAX).clamp_(min=SMALLEST_SCALE)


def rounded(weight: Tensor, scale: Tensor) -> Tensor:
    """A float32 weight, or rows of one, as float8 with the whole weight's scale; it is used up."""
    return weight.div_(scale).clamp_(-FLOAT8_MAX, FLOAT8_MAX).to(FLOAT8)


def dequantise(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """float8 weight times its scale, multiplied in float32, as `dtype`."""
    return (weight.float() * scale).to(dtype)


def scaled_matmul(x: Tensor, layer: "FP8Linear") -> Tensor:
    """x (N, in) bfloat16 -> (N, out), x rounded to float8 too: with the layer's input_scale, else a scale per row.

    With a scale per row and a bias cuBLAS has no kernel for few rows of many inputs (docs/LOG.md), so there are at
    least 64.
    """
    num_rows = len(x)
    if num_rows < MIN_ROWS:
        x = F.pad(x, (0, 0, 0, MIN_ROWS - num_rows))
    if layer.input_scale is None:
        amax = torch.linalg.vector_norm(x, float("inf"), dim=-1, keepdim=True).float()  # (N, 1)
        input_scale = (amax / FLOAT8_MAX).clamp_(min=SMALLEST_SCALE)
        weight_scale = layer.weight_scale.expand(1, layer.out_features).contiguous()  # the row-wise kernel's form
        scaled = x.float().div_(input_scale)
    else:
        input_scale, weight_scale = layer.input_scale, layer.weight_scale
        scaled = x.float().div_(input_scale).clamp_(-FLOAT8_MAX, FLOAT8_MAX)
    return torch._scaled_mm(
        scaled.to(FLOAT8),
        layer.weight.t(),
        scale_a=input_scale,
        scale_b=weight_scale,
        bias=None if layer.bias is None else layer.bias.to(x.dtype),
        out_dtype=x.dtype,
        use_fast_accum=x.is_cuda,
    )[:num_rows]


@cache
def has_float8_matmul(device: torch.device) -> bool:
    """True for NVIDIA GPUs of compute capability 8.9 (Ada) and above."""
    return device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 9)


class FP8Linear(nn.Module):
    """nn.Linear with a float8 weight; its tensors are named as in the checkpoint.

    `matmul` allows the float8 product; it is used for bfloat16 inputs on a GPU that has it, else weights are
    dequantised at every call.
    """

    def __init__(self, like: nn.Linear, has_input_scale: bool, matmul: bool):
        super().__init__()
        self.in_features, self.out_features = like.in_features, like.out_features
        self.matmul = matmul and self.in_features % 16 == 0 and self.out_features % 16 == 0  # what the kernel takes
        device = like.weight.device
        self.weight = nn.Parameter(torch.empty(like.weight.shape, dtype=FLOAT8, device=device), requires_grad=False)
        self.bias = like.bias
        self.register_buffer("weight_scale", torch.empty((), dtype=torch.float32, device=device))
        scale = torch.empty((), dtype=torch.float32, device=device) if has_input_scale else None
        self.register_buffer("input_scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        if self.matmul and x.dtype == torch.bfloat16 and has_float8_matmul(x.device):
            return scaled_matmul(x.flatten(0, -2), self).unflatten(0, x.shape[:-1])
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, dequantise(self.weight, self.weight_scale, x.dtype), bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def adopt_fp8(network: nn.Module, state: dict[str, Tensor], where: str, mode: FP8Mode, dtype: torch.dtype) -> None:
    """Make `network` and `state` agree about float8 weights; decided tensor by tensor, and both are changed.

    Linear layers become FP8Linear. Everything else, and all of it in mode `dequantised`, becomes `dtype`. Raises
    CheckpointError for a weight without its scale, a float8 bias and for formats other than float8_e4m3fn.
    """
    modules = dict(network.named_modules())
    full_precision = {
        name.removesuffix(".comfy_quant"): _full_precision(state.pop(name), f"{where}: {name}")
        for name in list(state)
        if name.endswith(".comfy_quant")
    }
    for name in [name for name, tensor in state.items() if tensor.dtype == FLOAT8]:
        if not name.endswith(".weight"):
            what = "float8 bias" if name.endswith(".bias") else "float8 tensor that is no weight"
            raise CheckpointError(f"{where}: {name}: a {what}, which is not supported; use a bf16 or float8 file")
        layer = name.removesuffix(".weight")
        for scale in (f"{layer}.weight_scale", f"{layer}.input_scale"):
            if scale in state and state[scale].numel() == 1:
                state[scale] = state[scale].reshape(())  # some files store (1,)
        if f"{layer}.weight_scale" not in state:
            raise CheckpointError(f"{where}: tensor {layer}.weight_scale is missing, and {name} (float8) needs it")
        linear = modules.get(layer)
        if mode != "dequantised" and isinstance(linear, nn.Linear):
            matmul = mode == "matmul" and not full_precision.get(layer, False)
            parent, _, child = layer.rpartition(".")
            setattr(network.get_submodule(parent), child, FP8Linear(linear, f"{layer}.input_scale" in state, matmul))
        else:
            state[name] = dequantise(state[name], _scalar(state, f"{layer}.weight_scale", where), dtype)
            state.pop(f"{layer}.input_scale", None)


def _scalar(state: dict[str, Tensor], name: str, where: str) -> Tensor:
    """Take a scale out of `state`."""
    scale = state.pop(name)
    if scale.numel() != 1:
        raise CheckpointError(f"{where}: tensor {name} is {tuple(scale.shape)}, must be one number")
    return scale.float()


def _full_precision(blob: Tensor, where: str) -> bool:
    """Read the JSON of a `.comfy_quant` tensor: whether its layer must not round its input."""
    try:
        quant = json.loads(bytes(blob.tolist()))
        known, full_precision = quant["format"], bool(quant.get("full_precision_matrix_mult", False))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{where}: not the JSON of a quantisation format; the file is damaged") from error
    if known != "float8_e4m3fn":
        raise CheckpointError(f"{where}: format '{known}' is not supported; use a bf16 or float8_e4m3fn file")
    return full_precision
