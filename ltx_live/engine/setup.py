"""From settings to a model that can be loaded: its files, its precision, where its weights go, its LoRAs."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace

import torch

from ltx_live.chunk import LONGEST_CHUNK
from ltx_live.engine.device import allowed_bytes, available_bytes, choose_device, compute_dtype
from ltx_live.engine.settings import LtxSettings
from ltx_live.errors import DeviceError
from ltx_live.model.config import TransformerConfig
from ltx_live.weights.check import check_model
from ltx_live.weights.checkpoint import Storage
from ltx_live.weights.files import ModelFiles, find_model
from ltx_live.weights.fp8 import has_float8_matmul
from ltx_live.weights.loading import measure
from ltx_live.weights.lora import Lora, read_lora
from ltx_live.weights.memory import (
    BYTES_PER_PIXEL,
    BYTES_PER_TOKEN,
    GIB,
    LONGEST_PROMPT_BYTES,
    MERGE_BYTES,
    PROCESS_BYTES,
    MemoryPlan,
    Sizes,
    Workload,
    free_host_bytes,
    plan,
)

CPU = torch.device("cpu")

MKL_REPRODUCIBLE = "AUTO,STRICT"
"""Products do not depend on where in memory their operands lie, so the same request gives the same chunk on the CPU.

On an AMD processor without AVX-512 this was 10 to 15 % faster than MKL's own choice (docs/LOG.md).
"""

SMALL_MODEL_BYTES = 2 * GIB
"""Float8 weights of a smaller model are dequantised once: small float8 products are slower than plain ones."""

FULL_PIXEL_WIDTH = 128
FULL_TEXT_WIDTH = 49 * 3840
"""Of the full model: channels of the picture decoder's last layer, and numbers of a token's hidden states."""


@dataclass(frozen=True)
class Setup:
    """Everything that is decided before weights are read; `max_num_frames` is the longest chunk that memory is for.

    `lora_bytes` is the GPU memory for LoRAs with live strengths, those named at load included, and for merging anew
    what was merged; None without a limit.
    """

    settings: LtxSettings
    files: ModelFiles
    storage: Storage
    plan: MemoryPlan
    loras: tuple[tuple[Lora, float], ...]
    max_num_frames: int = LONGEST_CHUNK
    lora_bytes: int | None = None

    @property
    def detail(self) -> str:
        """How it computes, for the performer."""
        dtype = str(self.storage.dtype).removeprefix("torch.")
        if self.storage.device.type == "cpu":
            return f"{dtype}, {torch.get_num_threads()} threads"
        return f"{dtype}, float8 weights {self.storage.fp8}, memory {self.plan.mode}"


def prepare(settings: LtxSettings) -> Setup:
    """Read the headers, check everything that can be checked in them, and decide.

    With device `auto` a small model that does not fit on the GPU goes to the CPU, and the plan says so. Raises
    CheckpointError for files, DeviceError for a device that is not there and for memory that does not suffice.
    """
    if sys.platform == "linux":  # before CUDA starts: memory that was freed is used again whatever its size
        os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    os.environ.setdefault("MKL_CBWR", MKL_REPRODUCIBLE)  # before MKL is first used
    torch.backends.cudnn.allow_tf32 = False  # the vocoder is meant in float32 (reference/model.md 4.3)
    torch.backends.cudnn.deterministic = True  # the same request gives the same sound
    device = choose_device(settings.device)
    if device == CPU and (settings.memory != "auto" or settings.max_vram_gb is not None):
        raise DeviceError("--memory and --max-vram-gb are about a GPU, and this would play on the CPU; leave them out")
    files = find_model(settings.model, settings.text_encoder)
    network = check_model(files)
    loras = tuple((read_lora(path, network, settings.lora_unmatched), strength) for path, strength in settings.loras)
    if device == CPU:
        return on_cpu(settings, files, loras)
    try:
        return on_gpu(settings, files, loras, network.config, device)
    except DeviceError as error:
        if settings.device != "auto" or not is_small(measure(files, Storage(CPU, compute_dtype(CPU)))):
            raise
        return on_cpu(settings, files, loras, f"on the CPU, because of {error}")


def on_gpu(
    settings: LtxSettings,
    files: ModelFiles,
    loras: tuple[tuple[Lora, float], ...],
    config: TransformerConfig,
    device: torch.device,
) -> Setup:
    """The fastest memory mode that fits. Raises DeviceError where none does."""
    available, limit = available_bytes(device), "are available"
    allowed = None if settings.max_vram_gb is None else allowed_bytes(settings.max_vram_gb)
    if allowed is not None and allowed < available:
        available, limit = allowed, f"can be planned with (--max-vram-gb {settings.max_vram_gb:g})"
    storage = Storage(device, compute_dtype(device))
    if not is_small(measure(files, storage)):
        storage = Storage(device, storage.dtype, "matmul" if has_float8_matmul(device) else "storage")
    if settings.merge_loras:
        adapters = MERGE_BYTES if loras else 0
    else:
        adapters = sum(lora.num_values for lora, _ in loras) * storage.dtype.itemsize
    work = workload(settings, files, config, adapters)
    made = plan(measure(files, storage), work, available, settings.memory, limit)
    check_host_memory(made)
    spare = available - made.total_bytes
    longest = longest_chunk(work, spare)
    unused = spare - (replace(work, num_frames=longest).working_bytes - work.working_bytes)
    return Setup(settings, files, storage, made, loras, longest, adapters + max(0, unused))


def on_cpu(settings: LtxSettings, files: ModelFiles, loras: tuple[tuple[Lora, float], ...], note: str = "") -> Setup:
    """Everything resident: dequantised where host memory suffices, else as the file has it. `note` says why here.

    Raises DeviceError where host memory does not suffice.
    """
    dequantised = Storage(CPU, compute_dtype(CPU))
    small = is_small(measure(files, dequantised))
    options = [dequantised] if small else [dequantised, replace(dequantised, fp8="storage")]
    plans = [(option, resident(measure(files, option))) for option in options]
    free = free_host_bytes()
    storage, made = next((each for each in plans if free is None or each[1].host_bytes <= free), plans[-1])
    check_host_memory(made)
    return Setup(settings, files, storage, replace(made, note=note), loras)


def workload(settings: LtxSettings, files: ModelFiles, config: TransformerConfig, adapter_bytes: int) -> Workload:
    """The largest chunk asked for; what was measured with the full model is scaled by the widths of this one."""
    full = TransformerConfig()
    pixel_width = files.video_vae.entries["decoder.conv_out.conv.weight"].shape[1]
    text_width = files.text_projection.entries["video_aggregate_embed.weight"].shape[1]  # of all hidden states
    text_share = text_width / FULL_TEXT_WIDTH * config.text_length / full.text_length
    return Workload(
        settings.width,
        settings.height,
        settings.num_frames,
        adapter_bytes,
        bytes_per_token=BYTES_PER_TOKEN * config.width / full.width,
        bytes_per_pixel=BYTES_PER_PIXEL * pixel_width / FULL_PIXEL_WIDTH,
        longest_prompt_bytes=round(LONGEST_PROMPT_BYTES * text_share),
    )


def longest_chunk(work: Workload, spare: int) -> int:
    """The most frames for which memory suffices where `spare` bytes are left at the workload's."""
    room = work.working_bytes + spare
    lengths = range(LONGEST_CHUNK, work.num_frames, -8)
    return next((n for n in lengths if replace(work, num_frames=n).working_bytes <= room), work.num_frames)


def is_small(sizes: Sizes) -> bool:
    """Whether the weights of the transformer take less than SMALL_MODEL_BYTES."""
    return sum(sizes.blocks) + sizes.scaffold < SMALL_MODEL_BYTES


def resident(sizes: Sizes) -> MemoryPlan:
    """Everything in host memory, and nothing elsewhere."""
    weights = sum(sizes.blocks) + sizes.scaffold + sizes.decoders + sizes.text + sizes.text_rest + sizes.embedding
    return MemoryPlan("resident", len(sizes.blocks), host_bytes=weights + (GIB if is_small(sizes) else PROCESS_BYTES))


def check_host_memory(made: MemoryPlan) -> None:
    """Raises DeviceError where there is less host memory than the plan needs."""
    free = free_host_bytes()
    if free is not None and made.host_bytes > free:
        raise DeviceError(
            f"memory: {free / GIB:.1f} GiB of RAM are free, mode {made.mode} needs {made.host_bytes / GIB:.1f} GiB; "
            "close other programs, or use a machine with more"
        )
