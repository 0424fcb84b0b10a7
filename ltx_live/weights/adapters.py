"""LoRAs applied to a transformer: merged into its weights for good, or as branches beside them with a live strength."""

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from ltx_live.model.transformer import Transformer
from ltx_live.weights.fp8 import FP8Linear, dequantise, quantise
from ltx_live.weights.lora import Lora
from ltx_live.weights.streaming import Unit
from ltx_live.weights.transfer import to_device


@torch.no_grad()
def merge(
    network: Transformer, adapters: Sequence[tuple[Lora, float]], device: torch.device | str | None = None
) -> int:
    """Add all LoRAs, each at its strength, to the weights; returns the number of layers changed.

    W' = W + sum of strength * scale * B A (reference/model.md 6), summed in float32 on `device` (None: where each
    weight is), one layer at a time, and rounded once; a float8 weight gets a new scale. Weights stay on their devices
    and are replaced, never written into: they may be views of a file. Do it before weights are packed for streaming
    (ValueError where a weight is on the meta device).
    """
    adapters = [(lora, strength) for lora, strength in adapters if strength != 0]
    layers = dict.fromkeys(layer for lora, _ in adapters for layer in lora.factors)
    for layer in layers:
        linear = network.get_submodule(layer)
        if linear.weight.is_meta:
            raise ValueError(f"{layer} has no weights here: merge LoRAs before weights are streamed")
        weight = _float32_copy(linear, linear.weight.device if device is None else device)  # (out, in)
        _replace(linear, merged_weight(weight, layer, adapters))
    return len(layers)


def merged_weight(weight: Tensor, layer: str, adapters: Sequence[tuple[Lora, float]]) -> Tensor:
    """A layer's float32 weight (out, in), to which the share of all LoRAs is added in place."""
    for lora, strength in adapters:
        if layer in lora.factors:
            factors = lora.factors[layer]
            a, b = (factor.to(weight.device, torch.float32) for factor in (factors.a, factors.b))
            weight.addmm_(b, a, alpha=strength * factors.scale)
    return weight


class RuntimeAdapter:
    """A LoRA as a low-rank branch beside every layer it touches: y + strength * (x A^T) (scale B)^T.

    `strength` is a plain number, to be set between steps; at 0 outputs are those of the network without LoRA bit for
    bit. Several adapters add up, in the order in which they were attached. Parameters keep their names and places, so
    streaming works with it. Whoever changes the strength, attaches or detaches clears the TextCache, and makes contexts
    anew where `touches_text`: where connectors are changed too, so that contexts depend on the strength.
    """

    def __init__(
        self,
        network: Transformer,
        lora: Lora,
        strength: float = 0.0,
        device: torch.device | str | None = None,
        on_host: bool = False,
    ):
        """Bring the factors to `device` (default: where activations are) in the network's dtype; not yet attached.

        With `on_host` they stay in (pinned) host memory, and each is copied when its layer is computed: slower, and the
        same numbers. May be called by any thread while the network computes. Raises DeviceError where memory cannot be
        pinned.
        """
        self.strength = strength
        self.on_host = on_host
        self.touches_text = lora.touches_text
        device = network.patchify_proj.bias.device if device is None else torch.device(device)
        self._network = network
        factors = {
            f"{layer}.{part}": _converted(factor, scale, network.dtype, own=device.type == "cpu")
            for layer, each in lora.factors.items()
            for part, factor, scale in (("a", each.a, 1.0), ("b", each.b, each.scale))
        }
        if on_host:
            unit = Unit(factors, pin=device.type == "cuda")
            factors = unit.views(unit.host)
        else:
            factors = to_device(factors, device)
        self._branches = {layer: (factors[f"{layer}.a"], factors[f"{layer}.b"]) for layer in lora.factors}
        self._handles: list[RemovableHandle] = []

    @property
    def num_bytes(self) -> int:
        """Memory of the factors."""
        return sum(factor.nbytes for branch in self._branches.values() for factor in branch)

    def attach(self) -> Self:
        """Take part in the network's computation from now on."""
        if not self._handles:
            self._handles = [
                self._network.get_submodule(layer).register_forward_hook(self._hook(a, b))
                for layer, (a, b) in self._branches.items()
            ]
        return self

    def detach(self) -> None:
        """Leave the network as it was; the factors stay, so `attach` works again."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _hook(self, a: Tensor, b: Tensor) -> Callable[..., Tensor | None]:
        def hook(layer: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor | None:
            if self.strength == 0:
                return None
            (x,) = args
            low = F.linear(x.flatten(0, -2), a.to(x, non_blocking=True))  # (N, R)
            flat = output.flatten(0, -2)  # (N, out), the layer's own fresh memory
            return flat.addmm_(low, b.to(x, non_blocking=True).t(), alpha=self.strength).view(output.shape)

        return hook


def _converted(factor: Tensor, scale: float, dtype: torch.dtype, own: bool) -> Tensor:
    """A factor times its scale, rounded once; with `own` it is no view of the file, which somebody may write anew."""
    if scale == 1.0:
        return factor.to(dtype, copy=own)
    return (factor.float() * scale).to(dtype)


def _float32_copy(linear: nn.Linear | FP8Linear, device: torch.device | str) -> Tensor:
    weight = linear.weight.detach()
    if isinstance(linear, FP8Linear):
        return dequantise(weight.to(device), linear.weight_scale.to(device), torch.float32)
    return weight.to(device).to(torch.float32, copy=True)


def _replace(linear: nn.Linear | FP8Linear, weight: Tensor) -> None:
    device, dtype = linear.weight.device, linear.weight.dtype
    if isinstance(linear, FP8Linear):
        weight, scale = quantise(weight)
        linear.weight_scale = scale.to(linear.weight_scale.device)
    linear.weight = nn.Parameter(weight.to(device, dtype), requires_grad=False)
