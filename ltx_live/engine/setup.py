"""From settings to a model that can be loaded: its files, its precision, where its weights go, its LoRAs."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace

import torch

from ltx_live.engine.settings import LtxSettings
from ltx_live.errors import DeviceError
from ltx_live.model.config import TransformerConfig
from ltx_live.model.transformer import Transformer
from ltx_live.weights.checkpoint import Storage
from ltx_live.weights.files import ModelFiles, find_model
from ltx_live.weights.fp8 import has_float8_matmul
from ltx_live.weights.loading import measure
from ltx_live.weights.lora import Lora, read_lora
from ltx_live.weights.memory import (
    CONTEXT_BYTES,
    GIB,
    PROCESS_BYTES,
    MemoryPlan,
    Sizes,
    Workload,
    free_host_bytes,
    plan,
)

SMALL_MODEL_BYTES = 2 * GIB
"""Float8 weights of a smaller model are dequantised once: small float8 products are slower than plain ones."""


LONGEST_CHUNK = 257


@dataclass(frozen=True)
class Setup:
    """Everything that is decided before weights are read; `max_num_frames` is the longest chunk that memory is for."""

    files: ModelFiles
    storage: Storage
    plan: MemoryPlan
    loras: tuple[tuple[Lora, float], ...]
    max_num_frames: int = LONGEST_CHUNK

    @property
    def detail(self) -> str:
        """How it computes, for the performer."""
        dtype = str(self.storage.dtype).removeprefix("torch.")
        if self.storage.device.type == "cpu":
            return f"{dtype}, {torch.get_num_threads()} threads"
        return f"{dtype}, float8 weights {self.storage.fp8}, memory {self.plan.mode}"


def prepare(settings: LtxSettings) -> Setup:
    """Read the headers and decide. Raises CheckpointError for files, DeviceError for memory that does not suffice."""
    if sys.platform == "linux":  # before CUDA starts: memory that was freed is used again whatever its size
        os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    torch.backends.cudnn.allow_tf32 = False  # the vocoder is meant in float32 (reference/model.md 4.3)
    torch.backends.cudnn.deterministic = True  # the same request gives the same sound
    device = choose_device(settings.device)
    files = find_model(settings.model, settings.text_encoder)
    shapes = transformer_shapes(files)
    loras = tuple((read_lora(path, shapes), strength) for path, strength in settings.loras)
    storage = Storage(device, compute_dtype(device))
    if not is_small(measure(files, storage)):
        storage = Storage(device, storage.dtype, "matmul" if has_float8_matmul(device) else "storage")
    if device.type != "cuda":
        storage, made = plan_cpu(files, storage)
        check_host_memory(made)
        return Setup(files, storage, made, loras)
    adapters = 0 if settings.merge_loras else sum(lora.num_values for lora, _ in loras) * storage.dtype.itemsize
    work = Workload(settings.width, settings.height, settings.num_frames, adapters)
    available = available_bytes(device, settings.max_vram_gb)
    made = plan(measure(files, storage), work, available, settings.memory)
    check_host_memory(made)
    return Setup(files, storage, made, loras, longest_chunk(work, available - made.total_bytes))


def longest_chunk(work: Workload, spare: int) -> int:
    """The most frames for which memory suffices where `spare` bytes are left at the workload's."""
    room = work.working_bytes + spare
    lengths = range(LONGEST_CHUNK, work.num_frames, -8)
    return next((n for n in lengths if replace(work, num_frames=n).working_bytes <= room), work.num_frames)


def transformer_shapes(files: ModelFiles) -> Transformer:
    """The transformer without memory."""
    with torch.device("meta"):
        return Transformer(TransformerConfig.from_metadata(files.transformer.config))


def is_small(sizes: Sizes) -> bool:
    """Whether the weights of the transformer take less than SMALL_MODEL_BYTES."""
    return sum(sizes.blocks) + sizes.scaffold < SMALL_MODEL_BYTES


def plan_cpu(files: ModelFiles, storage: Storage) -> tuple[Storage, MemoryPlan]:
    """On the CPU everything is resident: dequantised where host memory suffices, else as the file has it."""
    dequantised = Storage(storage.device, storage.dtype)
    options = [(option, resident(measure(files, option))) for option in (dequantised, storage)]
    free = free_host_bytes()
    return next((option for option in options if free is None or option[1].host_bytes <= free), options[-1])


def resident(sizes: Sizes) -> MemoryPlan:
    """Everything in host memory, and nothing elsewhere."""
    weights = sum(sizes.blocks) + sizes.scaffold + sizes.decoders + sizes.text + sizes.text_rest + sizes.embedding
    is_pocket = weights < SMALL_MODEL_BYTES
    return MemoryPlan("resident", len(sizes.blocks), host_bytes=weights + (GIB if is_pocket else PROCESS_BYTES))


def available_bytes(device: torch.device, max_vram_gb: float | None) -> int:
    """GPU memory that this process may take in all, its CUDA context included."""
    free, total = torch.cuda.mem_get_info(device)  # opens the context, which is in `total - free` then
    available = min(free + CONTEXT_BYTES, total)
    return available if max_vram_gb is None else min(available, round(max_vram_gb * GIB))


def cap(device: torch.device, max_vram_gb: float | None) -> None:
    """Let PyTorch reserve no more than what is left of `max_vram_gb` beside the context."""
    if device.type == "cuda" and max_vram_gb is not None:
        total = torch.cuda.mem_get_info(device)[1]
        share = (max_vram_gb * GIB - CONTEXT_BYTES) / total
        torch.cuda.set_per_process_memory_fraction(min(1.0, share), device)


def check_host_memory(made: MemoryPlan) -> None:
    """Raises DeviceError where there is less host memory than the plan needs."""
    free = free_host_bytes()
    if free is not None and made.host_bytes > free:
        raise DeviceError(
            f"memory: {free / GIB:.1f} GiB of RAM are free, mode {made.mode} needs {made.host_bytes / GIB:.1f} GiB; "
            "close other programs, or use a machine with more"
        )


def choose_device(name: str) -> torch.device:
    """The device of a name; `auto` is a CUDA GPU where there is one, else the CPU. DeviceError where it is missing."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.empty(0, device=name).device  # with the index of the GPU
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"device '{name}': {str(error).splitlines()[0]}; use auto, cpu or cuda") from None
    return device


def compute_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it itself (GPUs, CPUs with AMX or AVX512-BF16), else float32."""
    if device.type == "cuda":
        return torch.bfloat16
    capabilities = torch.cpu.get_capabilities()
    native = capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")
    return torch.bfloat16 if native else torch.float32
