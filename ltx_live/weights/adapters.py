"""LoRAs applied to a transformer: merged into its weights for good, or as branches beside them with a live strength."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from ltx_live.model.transformer import Transformer
from ltx_live.weights.fp8 import FP8Linear, rounded, scale_for
from ltx_live.weights.lora import Lora
from ltx_live.weights.streaming import Unit
from ltx_live.weights.transfer import to_device

PIECE_VALUES = 8 << 20
"""Of a weight, merged at a time: bounds the memory that merging takes beside the result, 6 bytes a value. Fewer, larger
operations disturb chunks less that are computed beside it."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in this thread alone, on the CPU.

    Sums of few rows depend on the number of threads, and a merge beside chunks must not wait for a second core
    (docs/LOG.md has figures of both).
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


@torch.no_grad()
@one_thread()
def merge(
    network: Transformer, adapters: Sequence[tuple[Lora, float]], device: torch.device | str | None = None
) -> int:
    """Add all LoRAs, each at its strength, to the weights; returns the number of layers changed.

    Weights stay on their devices and are replaced, never written into: they may be views of a file. Do it before
    weights are packed for streaming (ValueError where a weight is on the meta device). See `merge_layer`.
    """
    layers = dict.fromkeys(layer for lora, strength in adapters if strength != 0 for layer in lora.factors)
    for layer in layers:
        linear = network.get_submodule(layer)
        if linear.weight.is_meta:
            raise ValueError(f"{layer} has no weights here: merge LoRAs before weights are streamed")
        old = weights_of(linear)
        new = {name: torch.empty_like(tensor) for name, tensor in old.items()}
        merge_layer(new, old, shares(adapters, layer, linear.weight.device if device is None else device))
        replace_weights(linear, new)
    return len(layers)


Share = tuple[Tensor, Tensor, float]
"""Of a LoRA in one layer's weight: alpha * b @ a, with a (R, in) and b (out, R) in float32."""


def shares(adapters: Sequence[tuple[Lora, float]], layer: str, device: torch.device | str) -> list[Share]:
    """What LoRAs at these strengths add to a layer, on the device that is to sum it; nothing of those at 0."""
    return [
        (each.a.to(device, torch.float32), each.b.to(device, torch.float32), strength * each.scale)
        for lora, strength in adapters
        if strength != 0 and (each := lora.factors.get(layer)) is not None
    ]


def merge_layer(new: Mapping[str, Tensor], old: Mapping[str, Tensor], added: Sequence[Share]) -> None:
    """Fill the tensors `new` with what LoRAs make of `old`: `weight` (out, in), with `weight_scale` () if it is float8.

    W' = W + sum of alpha * B A (reference/model.md 6), summed in float32 where the shares are, and rounded once; a
    float8 weight gets a new scale. Goes by pieces of rows, so that it takes little memory there, and both kinds of
    tensors may be on other devices. Without shares everything stays as it is, to the bit.
    """
    if not added:
        for name, tensor in old.items():
            new[name].copy_(tensor)
        return
    old = {name: tensor.to(added[0][0].device) for name, tensor in old.items()}
    if "weight_scale" not in new:
        for rows, piece in _merged_pieces(old, added):
            new["weight"][rows].copy_(piece)
        return
    amax = torch.zeros((), device=added[0][0].device)
    for _, piece in _merged_pieces(old, added):
        amax = torch.maximum(amax, torch.linalg.vector_norm(piece, float("inf")))
    scale = scale_for(amax)
    new["weight_scale"].copy_(scale)
    for rows, piece in _merged_pieces(old, added):
        new["weight"][rows].copy_(rounded(piece, scale))


def weights_of(linear: nn.Linear | FP8Linear) -> dict[str, Tensor]:
    """What merging changes of a layer, by its names there."""
    names = ("weight", "weight_scale") if isinstance(linear, FP8Linear) else ("weight",)
    return {name: getattr(linear, name).detach() for name in names}


def replace_weights(linear: nn.Linear | FP8Linear, new: Mapping[str, Tensor]) -> None:
    """Let a layer compute with these tensors instead of its own: pointers only."""
    linear.weight = nn.Parameter(new["weight"], requires_grad=False)
    if "weight_scale" in new:
        linear.weight_scale = new["weight_scale"]


def merged_weight(weight: Tensor, layer: str, adapters: Sequence[tuple[Lora, float]]) -> Tensor:
    """A layer's float32 weight (out, in), to which the share of all LoRAs is added in place."""
    return _add(weight, shares(adapters, layer, weight.device))


def _merged_pieces(old: Mapping[str, Tensor], added: Sequence[Share]) -> Iterator[tuple[slice, Tensor]]:
    """Which rows, and these rows of the sum in float32."""
    weight, scale = old["weight"], old.get("weight_scale")
    num_rows = max(1, PIECE_VALUES // weight.shape[1])
    for start in range(0, len(weight), num_rows):
        rows = slice(start, start + num_rows)
        piece = weight[rows].to(torch.float32, copy=True)
        if scale is not None:
            piece.mul_(scale)  # as `dequantise`, without memory of its own
        yield rows, _add(piece, [(a, b[rows], alpha) for a, b, alpha in added])


def _add(weight: Tensor, added: Sequence[Share]) -> Tensor:
    for a, b, alpha in added:
        weight.addmm_(b, a, alpha=alpha)
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
