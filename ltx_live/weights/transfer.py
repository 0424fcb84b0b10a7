"""Tensors of mapped files -> device memory, read by several threads through small pinned buffers."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

NUM_THREADS = 8
PIECE_BYTES = 32 << 20
"""Pinned memory of each thread, and the most that it moves at a time."""


def to_device(state: dict[str, Tensor], device: torch.device | str) -> dict[str, Tensor]:
    """The tensors on `device`. On the CPU they stay what they are: views of the file, which take no memory twice."""
    device = torch.device(device)
    if device.type != "cuda":
        return {name: tensor.to(device) for name, tensor in state.items()}
    moved = {name: torch.empty(tensor.shape, dtype=tensor.dtype, device=device) for name, tensor in state.items()}
    torch.cuda.synchronize(device)  # the memory may have been in use on another stream
    pieces = [piece for name, tensor in state.items() for piece in _pieces(as_bytes(tensor), as_bytes(moved[name]))]
    lanes = threading.local()

    def move(piece: tuple[Tensor, Tensor]) -> None:
        if not hasattr(lanes, "stream"):
            lanes.stream = torch.cuda.Stream(device)
            lanes.buffer = torch.empty(PIECE_BYTES, dtype=torch.uint8, pin_memory=True)
        source, target = piece
        pinned = lanes.buffer[: len(source)].copy_(source)
        with torch.cuda.stream(lanes.stream):
            target.copy_(pinned, non_blocking=True)
        lanes.stream.synchronize()

    with ThreadPoolExecutor(NUM_THREADS) as threads:
        list(threads.map(move, pieces))
    return moved


def as_bytes(tensor: Tensor) -> Tensor:
    """A contiguous tensor as its bytes (n,), without a copy."""
    return tensor.reshape(-1).view(torch.uint8)


def _pieces(source: Tensor, target: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    yield from zip(source.split(PIECE_BYTES), target.split(PIECE_BYTES), strict=True)
