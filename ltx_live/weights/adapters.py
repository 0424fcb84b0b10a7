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
    bit. Several adapters add up. Parameters keep their names and places, so streaming works with it. Whoever changes
    the strength, attaches or detaches clears the TextCache, and makes contexts anew where `touches_text`.
    """

    def __init__(
        self, network: Transformer, lora: Lora, strength: float = 0.0, device: torch.device | str | None = None
    ):
        """Bring the factors to `device` (default: where activations are) in the network's dtype; not yet attached."""
        self.lora = lora
        self.strength = strength
        device = network.patchify_proj.bias.device if device is None else torch.device(device)
        self._network = network
        self._branches = {
            layer: (
                factors.a.to(device, network.dtype),  # (R, in)
                (factors.b.to(device, torch.float32) * factors.scale).to(network.dtype),  # (out, R)
            )
            for layer, factors in lora.factors.items()
        }
        self._handles: list[RemovableHandle] = []

    @property
    def num_bytes(self) -> int:
        """Device memory of the factors."""
        return sum(factor.nbytes for branch in self._branches.values() for factor in branch)

    @property
    def touches_text(self) -> bool:
        """True where connectors are changed too, so that contexts depend on the strength."""
        return self.lora.touches_text

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
            low = F.linear(x.flatten(0, -2), a.to(x.dtype))  # (N, R)
            flat = output.flatten(0, -2)  # (N, out), the layer's own fresh memory
            return flat.addmm_(low, b.to(x.dtype).t(), alpha=self.strength).view(output.shape)

        return hook


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
