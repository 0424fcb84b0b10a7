"""Which weights live where: decided once, from sizes in bytes, before anything is loaded. Knows no torch."""

import math
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ltx_live.errors import DeviceError

GIB = 2**30
MODES = ("auto", "resident", "parked", "streamed")
Mode = Literal["auto", "resident", "parked", "streamed"]
"""resident: everything on the GPU. parked: the blocks too, but the text encoder passes through two buffers when a new
prompt comes. streamed: some or all of the blocks pass through them as well, at every step."""

# Measured on an H200 with the full model (docs/LOG.md; `ltx-live bench full_size` compares them with what it sees).
CONTEXT_BYTES = round(0.78 * GIB)
"""What CUDA and its libraries take beside tensors."""

FRESH_CONTEXT_BYTES = round(0.5 * GIB)
"""Of these, what is taken before the libraries are loaded: a plan counts it, and so does the card by then."""

MOST_CONTEXT_BYTES = round(0.82 * GIB)
"""The most that was seen: what PyTorch may reserve under a limit leaves room for it."""

RESERVE_BYTES = round(0.5 * GIB)
"""Not planned with: other programs on the card come and go."""

CAPPED_RESERVE_BYTES = round(0.15 * GIB)
"""Not planned with where `--max-vram-gb` is the limit, which has room for other programs already."""

BYTES_PER_TOKEN = 200_000
"""Working memory of a denoising step per token of the full model, picture and sound together."""

BYTES_PER_PIXEL = 90
"""Working memory of decoding per pixel of every frame of the chunk."""

LONGEST_PROMPT_BYTES = round(0.9 * GIB)
"""Working memory of encoding a prompt of 1024 tokens."""

LEAST_WORKING_BYTES = round(0.4 * GIB)
"""Of a small model: the text that is kept on the device (256 MB) and the workspaces of CUDA's libraries."""

PROCESS_BYTES = 4 * GIB
"""Host memory of the engine process beside weights: Python, PyTorch, CUDA and the buffers of loading."""

MERGE_BYTES = GIB // 2
"""Kept on the device for merging LoRAs anew, where some are merged: at least this less what follows at a time."""

MERGE_WORKING_BYTES = GIB // 4
"""Of these, what summing takes: a layer as stored, pieces of it in float32, and a LoRA's share of it."""

MIN_STREAMED = 2
"""As many blocks as there are buffers: they rest in these until a prompt needs the buffers, so they cost nothing."""


@dataclass(frozen=True)
class Sizes:
    """Bytes that the parts of a model take once loaded."""

    blocks: tuple[int, ...]  # of the transformer
    scaffold: int  # the transformer without its blocks and its connectors' blocks
    decoders: int  # video VAE, audio VAE and vocoder
    text_units: tuple[int, ...]  # what a prompt passes through: encoder layers, projection by layer, connector blocks
    text_rest: int  # norms and biases of these
    embedding: int  # of the tokens, which stays in host memory

    @property
    def text(self) -> int:
        """All that only a new prompt needs."""
        return sum(self.text_units)


LTX_2_3 = Sizes(
    blocks=(*[773_590_016] * 2, *[387_141_632] * 44, *[773_590_016] * 2),
    scaffold=856_519_680,
    decoders=2_075_374_592,
    text_units=(*[224_168_448] * 48, *[47_185_920] * 49, *[403_005_952] * 8, *[100_839_936] * 8),
    text_rest=19_968,
    embedding=2_013_757_440,
)
"""The split FP8 files; that four blocks are bfloat16 follows from the size of the published transformer."""


@dataclass(frozen=True)
class Workload:
    """The largest chunk that memory is planned for; `width` and `height` in pixels. The rest is the full model's."""

    width: int
    height: int
    num_frames: int
    adapter_bytes: int = 0  # of LoRAs with live strengths
    bytes_per_token: float = BYTES_PER_TOKEN
    bytes_per_pixel: float = BYTES_PER_PIXEL
    longest_prompt_bytes: int = LONGEST_PROMPT_BYTES

    @property
    def working_bytes(self) -> int:
        """Memory beside weights that denoising, decoding or a prompt takes, whichever is most."""
        num_latents = (self.num_frames - 1) // 8 + 1
        num_tokens = num_latents * (self.width // 32) * (self.height // 32) + 8 * num_latents + 10
        denoise = round(self.bytes_per_token * num_tokens)
        decode = round(self.bytes_per_pixel * self.num_frames * self.width * self.height)
        return max(denoise, decode, self.longest_prompt_bytes, LEAST_WORKING_BYTES)


@dataclass(frozen=True)
class MemoryPlan:
    """Where weights live; all in bytes. `device_bytes` is predicted by part, as the device itself counts.

    `note` says why it is not as was asked.
    """

    mode: Mode
    num_blocks: int
    streamed: tuple[int, ...] = ()  # indices of blocks
    buffer_bytes: int = 0  # of each of the two
    device_bytes: dict[str, int] = field(default_factory=dict)
    host_bytes: int = 0
    note: str = ""

    @property
    def total_bytes(self) -> int:
        """Predicted peak on the device."""
        return sum(self.device_bytes.values())

    def describe(self) -> str:
        """The plan in one line."""
        if not self.device_bytes:
            note = f" ({self.note})" if self.note else ""
            return f"memory: everything in host memory, {self.host_bytes / GIB:.1f} GiB{note}"
        where = {
            "resident": f"all {self.num_blocks} blocks and the text encoder stay on the GPU",
            "parked": f"all {self.num_blocks} blocks stay on the GPU, the text encoder passes through two buffers",
            "streamed": f"{self.num_blocks - len(self.streamed)} of {self.num_blocks} blocks stay on the GPU, "
            f"{len(self.streamed)} and the text encoder pass through two buffers",
        }[self.mode]
        parts = ", ".join(f"{name} {num / GIB:.1f}" for name, num in self.device_bytes.items() if num)
        return (
            f"memory: {self.mode}: {where}; {self.total_bytes / GIB:.1f} GiB of GPU memory ({parts}), "
            f"{self.host_bytes / GIB:.1f} GiB of host memory"
        )


def plan(
    sizes: Sizes, work: Workload, available: int, wanted: Mode = "auto", limit: str = "are available"
) -> MemoryPlan:
    """The fastest mode that fits into `available` bytes of GPU memory, or the one that is wanted.

    `streamed`, if wanted, streams every block. Raises DeviceError where it does not fit, which says of the bytes that
    they are the `limit`.
    """
    options = {
        "resident": [_resident(sizes, work)],
        "parked": [_streaming(sizes, work, MIN_STREAMED)],
        "streamed": [_streaming(sizes, work, len(sizes.blocks))],
    }
    if wanted == "auto":
        fewer = (_streaming(sizes, work, number) for number in range(MIN_STREAMED + 1, len(sizes.blocks)))
        tried = [*options["resident"], *options["parked"], *fewer, *options["streamed"]]
    else:
        tried = options[wanted]
    fitting = next((made for made in tried if made.total_bytes <= available), None)
    if fitting is None:
        least = min(tried, key=lambda made: made.total_bytes)
        raise DeviceError(
            f"GPU memory: {available / GIB:.1f} GiB {limit}, mode {least.mode} needs "
            f"{least.total_bytes / GIB:.1f} GiB at {work.width}x{work.height}, {work.num_frames} frames; "
            "free some, make a smaller picture or fewer frames"
            + ("" if wanted in ("auto", "streamed") else ", or leave out --memory")
        )
    return fitting


def spread(candidates: Iterable[int], number: int) -> tuple[int, ...]:
    """`number` of the candidates, as evenly as possible: what streams has the time of what rests between."""
    candidates = list(candidates)
    number = min(number, len(candidates))
    return tuple(candidates[math.floor((i + 0.5) * len(candidates) / number)] for i in range(number))


def _resident(sizes: Sizes, work: Workload) -> MemoryPlan:
    weights = sum(sizes.blocks) + sizes.scaffold + sizes.decoders + sizes.text + sizes.text_rest
    return MemoryPlan(
        "resident",
        len(sizes.blocks),
        device_bytes=_device_bytes(weights, 0, work),
        host_bytes=PROCESS_BYTES + sizes.embedding,
    )


def _streaming(sizes: Sizes, work: Workload, number: int) -> MemoryPlan:
    """With `number` blocks streamed: the small ones first, because the largest sets the size of both buffers."""
    small = [i for i, size in enumerate(sizes.blocks) if size <= max(*sizes.text_units, min(sizes.blocks))]
    streamed = spread(small if number <= len(small) else range(len(sizes.blocks)), number)
    buffer = max(*sizes.text_units, *(sizes.blocks[i] for i in streamed))
    staying = sum(size for i, size in enumerate(sizes.blocks) if i not in streamed)
    weights = staying + sizes.scaffold + sizes.decoders + sizes.text_rest
    return MemoryPlan(
        "parked" if number == MIN_STREAMED else "streamed",
        len(sizes.blocks),
        streamed=streamed,
        buffer_bytes=buffer,
        device_bytes=_device_bytes(weights, 2 * buffer, work),
        host_bytes=PROCESS_BYTES + sizes.embedding + sizes.text + sum(sizes.blocks[i] for i in streamed),
    )


def _device_bytes(weights: int, buffers: int, work: Workload) -> dict[str, int]:
    return {
        "weights": weights,
        "buffers": buffers,
        "LoRAs": work.adapter_bytes,
        "working": work.working_bytes,
        "CUDA": CONTEXT_BYTES,
    }


def free_host_bytes() -> int | None:
    """Host memory that can be had without swapping, in the control group too where there is one (containers).

    On macOS, which says no more, all that there is; None where the system says nothing.
    """
    if sys.platform == "win32":
        return _free_on_windows()
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (ValueError, OSError):
            return None
    return min([free, *cgroup_free_bytes()])


def cgroup_free_bytes(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[int]:
    """What is left of the limit of every control group that this process is in, version 1 or 2 (Linux cgroups(7)).

    Files that are held in memory count as left: they give way.
    """
    try:
        lines = own.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            tree, limit, used, prefix = root, "memory.max", "memory.current", ""
        elif "memory" in controllers.split(","):
            tree, limit, used, prefix = root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"
        else:
            continue
        group = tree / path.strip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(tree):
                break
            left = _left(folder / limit, folder / used, folder / "memory.stat", prefix)
            found += [] if left is None else [left]
    return found


def _left(limit: Path, used: Path, statistics: Path, prefix: str) -> int | None:
    """None where there is no limit: the file is missing, or says `max`."""
    try:
        most, taken = int(limit.read_text()), int(used.read_text())
        rows = dict(line.split() for line in statistics.read_text().splitlines())
    except (OSError, ValueError):
        return None
    return max(0, most - taken + sum(int(rows.get(f"{prefix}{kind}_file", 0)) for kind in ("inactive", "active")))


def _free_on_windows() -> int:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = [("size", ctypes.c_ulong), ("load", ctypes.c_ulong)]
        _fields_ += [(name, ctypes.c_ulonglong) for name in ("total", "free", "c", "d", "e", "f", "g")]

    status = Status(size=ctypes.sizeof(Status))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return status.free
