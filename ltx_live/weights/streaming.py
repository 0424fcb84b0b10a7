"""Weights that stay in host memory and pass through two buffers on the device while they are used.

Each unit (a transformer block, a layer of the text encoder, ...) is one contiguous piece of pinned memory. While one
is computed with, the next is copied on a stream of its own; a unit's memory is written again only when the computation
that used it has ended. What is computed is the same as with resident weights, bit for bit.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ltx_live.errors import DeviceError
from ltx_live.weights.memory import GIB
from ltx_live.weights.transfer import as_bytes

ALIGNMENT = 512
"""Bytes to which tensors are aligned in a unit, as the CUDA allocator aligns them: the same kernels are chosen."""


@dataclass(frozen=True)
class Place:
    """Where a tensor lies in a unit."""

    dtype: torch.dtype
    shape: torch.Size
    offset: int
    num_bytes: int


class Unit:
    """Named tensors in one piece of host memory; `next` is the unit that is needed after it."""

    def __init__(self, tensors: dict[str, Tensor], pin: bool):
        """Copies the tensors, into pinned memory with `pin`; those on the meta device are left to be filled."""
        self._pin = pin
        self.places: dict[str, Place] = {}
        self.next: Unit = self
        offset = 0
        for name, tensor in tensors.items():
            num_bytes = tensor.numel() * tensor.element_size()
            self.places[name] = Place(tensor.dtype, tensor.shape, offset, num_bytes)
            offset += aligned(num_bytes)
        self.host = self._memory(offset)
        for name, tensor in tensors.items():
            if not tensor.is_meta:
                self._bytes(self.host, name).copy_(as_bytes(tensor.detach().contiguous()))

    @property
    def num_bytes(self) -> int:
        return len(self.host)

    def copy(self) -> Tensor:
        """A copy of `host`, to be changed and given to `WeightStream.exchange`; may be made while the unit is used."""
        return self._memory(self.num_bytes).copy_(self.host)

    def views(self, buffer: Tensor) -> dict[str, Tensor]:
        """The tensors where they lie in a buffer that holds the unit."""
        return {
            name: self._bytes(buffer, name).view(place.dtype).view(place.shape) for name, place in self.places.items()
        }

    def _memory(self, num_bytes: int) -> Tensor:
        return pinned(num_bytes) if self._pin else torch.empty(num_bytes, dtype=torch.uint8)

    def _bytes(self, buffer: Tensor, name: str) -> Tensor:
        place = self.places[name]
        return buffer[place.offset : place.offset + place.num_bytes]


def pinned(num_bytes: int) -> Tensor:
    """Host memory (n,) that the device copies from by itself, page-locked for as long as the tensor lives.

    PyTorch's own pinned memory is rounded up to a power of two, a third more for a block. Raises DeviceError where
    the system does not lock it.
    """
    memory = torch.empty(num_bytes, dtype=torch.uint8)
    status = int(torch.cuda.cudart().cudaHostRegister(memory.data_ptr(), num_bytes, 0))
    if status != 0:
        raise DeviceError(
            f"memory: cannot page-lock {num_bytes / GIB:.1f} GiB more of RAM (CUDA error {status}); close other "
            "programs, or start with --memory resident"
        )
    weakref.finalize(memory.untyped_storage(), _unpin, memory.data_ptr())
    return memory


def _unpin(address: int) -> None:
    with contextlib.suppress(RuntimeError):  # CUDA that has failed copies nothing any more
        torch.cuda.synchronize()  # a copy from it may be under way
    torch.cuda.cudart().cudaHostUnregister(address)


def aligned(num_bytes: int) -> int:
    """Bytes that a tensor takes in a unit."""
    return -(-num_bytes // ALIGNMENT) * ALIGNMENT


@dataclass
class Slot:
    """One buffer: which unit it holds, when that has arrived, and when the computation with it has ended."""

    buffer: Tensor
    unit: Unit | None = None
    in_use: bool = False
    arrived: torch.cuda.Event | None = None
    released: torch.cuda.Event | None = None


class WeightStream:
    """Brings units onto the device in time, two at once; `units` are those of whole modules.

    `copies` may be set to a list, which then gets (start event, end event, bytes) of every copy.
    """

    def __init__(self, device: torch.device | str, buffer_bytes: int):
        """`buffer_bytes` is the size of the largest unit to come."""
        self.device = torch.device(device)
        self.slots = tuple(Slot(torch.empty(buffer_bytes, dtype=torch.uint8, device=device)) for _ in range(2))
        self.copies: list[tuple[torch.cuda.Event, torch.cuda.Event, int]] | None = None
        self.units: dict[nn.Module, Unit] = {}
        self._views: dict[tuple[int, Unit], dict[str, Tensor]] = {}
        self._stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self.device))  # the buffers' memory may be in use there
            for slot in self.slots:
                slot.buffer.record_stream(self._stream)  # it is not used anew before the last copy has ended

    @property
    def pins(self) -> bool:
        """Whether units must lie in pinned memory, so that copies run beside the computation."""
        return self._stream is not None

    def acquire(self, unit: Unit) -> dict[str, Tensor]:
        """The unit's tensors on the device, for what is computed from now on; `release` it before the next."""
        index = next((i for i, slot in enumerate(self.slots) if slot.unit is unit), None)
        if index is None:
            index = next((i for i, slot in enumerate(self.slots) if slot.unit is not unit.next), 0)
            self._fetch(unit, self.slots[index])
            self._fetch(unit.next, self.slots[1 - index])
        self.slots[index].in_use = True
        if self._stream is not None:
            torch.cuda.current_stream(self.device).wait_event(self.slots[index].arrived)
        if (index, unit) not in self._views:
            self._views[index, unit] = unit.views(self.slots[index].buffer)
        return self._views[index, unit]

    def release(self, unit: Unit) -> None:
        """What was computed so far is the last that uses the unit; its memory takes the unit after the next."""
        slot, other = self.slots if self.slots[0].unit is unit else self.slots[::-1]
        self._leave(slot)
        self._fetch(other.unit.next if other.unit is unit.next else unit.next, slot)

    def exchange(self, unit: Unit, host: Tensor) -> Tensor:
        """Let the unit lie in other memory from now on, while nothing is computed with it; what it lay in before.

        A copy from the old memory may still be under way: it is awaited where that memory is given back.
        """
        old, unit.host = unit.host, host
        for slot in self.slots:
            if slot.unit is unit:
                slot.unit = None
        return old

    def passing(self, units: Iterable[Unit]) -> Iterator[dict[str, Tensor]]:
        """The tensors of one unit after the other; each is released when the next is asked for."""
        for unit in units:
            yield self.acquire(unit)
            self.release(unit)

    def _leave(self, slot: Slot) -> None:
        slot.in_use = False
        if self._stream is not None:
            slot.released = torch.cuda.current_stream(self.device).record_event()

    def _fetch(self, unit: Unit, slot: Slot) -> None:
        if any(slot.unit is unit for slot in self.slots):
            return
        if slot.in_use:  # a computation that failed has not released it
            self._leave(slot)
        slot.unit = unit
        target = slot.buffer[: unit.num_bytes]
        if self._stream is None:
            target.copy_(unit.host)
            return
        with torch.cuda.stream(self._stream):
            if slot.released is not None:
                self._stream.wait_event(slot.released)
            start = torch.cuda.Event(enable_timing=True)
            slot.arrived = torch.cuda.Event(enable_timing=True)
            start.record()
            target.copy_(unit.host, non_blocking=True)
            slot.arrived.record()
        if self.copies is not None:
            self.copies.append((start, slot.arrived, unit.num_bytes))


def stream_modules(stream: WeightStream, modules: Iterable[nn.Module]) -> list[Unit]:
    """Move all tensors of each module into a unit; from now on they are on the device while its forward runs.

    In between they are on the meta device. Tensors must not have been shared with another module.
    """
    units = []
    for module in modules:
        owners = {
            f"{path}.{name}": (table, name)
            for path, owner in module.named_modules()
            for table in (owner._parameters, owner._buffers)
            for name, tensor in table.items()
            if tensor is not None
        }
        unit = Unit({key: table[name] for key, (table, name) in owners.items()}, stream.pins)
        _install(owners, {key: table[name].detach().to("meta") for key, (table, name) in owners.items()})
        stream.units[module] = unit
        module.register_forward_pre_hook(_acquiring(stream, unit, owners))
        module.register_forward_hook(_releasing(stream, unit, owners))
        units.append(unit)
    return units


def chain(units: list[Unit], then: Unit) -> None:
    """Make each unit the next of the one before it, and `then` the next of the last."""
    for unit, following in zip(units, [*units[1:], then], strict=True):
        unit.next = following


Owners = dict[str, tuple[dict[str, Tensor], str]]


def _install(owners: Owners, tensors: dict[str, Tensor]) -> None:
    for key, (table, name) in owners.items():
        table[name] = tensors[key]


def _acquiring(stream: WeightStream, unit: Unit, owners: Owners) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple) -> None:
        _install(owners, stream.acquire(unit))

    return hook


def _releasing(stream: WeightStream, unit: Unit, owners: Owners) -> Callable[..., None]:
    absent = {key: table[name] for key, (table, name) in owners.items()}

    def hook(module: nn.Module, args: tuple, output: object) -> None:
        _install(owners, absent)
        stream.release(unit)

    return hook
