"""The device that computes: which one, how much memory it has for us, and what is said when that runs out."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ltx_live.errors import DeviceError, EngineError, LtxLiveError
from ltx_live.weights.memory import CAPPED_RESERVE_BYTES, FRESH_CONTEXT_BYTES, GIB, MOST_CONTEXT_BYTES, RESERVE_BYTES

NAMES = re.compile(r"cpu|cuda(?::(\d+))?")


def choose_device(name: str) -> torch.device:
    """The device of a name: `cpu`, `cuda`, `cuda:N`, or `auto`, a GPU where there is one. DeviceError for any other."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    known = NAMES.fullmatch(name)
    if known is None:
        raise DeviceError(f"device '{name}' is not known; use auto, cpu, cuda or cuda:N")
    if name == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise DeviceError(f"device '{name}': PyTorch finds no CUDA GPU here; use auto or cpu")
    index, number = int(known[1] or 0), torch.cuda.device_count()
    if index >= number:
        raise DeviceError(f"device '{name}': there {'is' if number == 1 else 'are'} only {number}, counted from cuda:0")
    return torch.device("cuda", index)


def compute_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it itself (GPUs, CPUs with AMX or AVX512-BF16), else float32."""
    if device.type == "cuda":
        return torch.bfloat16
    capabilities = torch.cpu.get_capabilities()
    native = capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")
    return torch.bfloat16 if native else torch.float32


def available_bytes(device: torch.device) -> int:
    """GPU memory that this process can plan with in all, its CUDA context included, less a reserve.

    Opens the GPU for this process; DeviceError where that cannot be done.
    """
    try:
        torch.cuda.set_device(device)
        free, total = torch.cuda.mem_get_info(device)  # opens the context, which is not in `free` any more
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise DeviceError(f"{device} cannot be opened ({reason}); close other programs on it") from error
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # taken already, and ours
    opened = min(FRESH_CONTEXT_BYTES, total - free)
    return max(0, free + unused + opened - RESERVE_BYTES)


def allowed_bytes(max_vram_gb: float) -> int:
    """The same where this process may not take more than `max_vram_gb` (GiB)."""
    return max(0, round(max_vram_gb * GIB) - CAPPED_RESERVE_BYTES)


def used_bytes(device: torch.device) -> int | None:
    """GPU memory in use just now, by this process and all others; None on a CPU."""
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return total - free


def cap(device: torch.device, max_vram_gb: float | None) -> None:
    """Let PyTorch reserve no more than what is left of `max_vram_gb` beside the context."""
    if device.type == "cuda" and max_vram_gb is not None:
        total = torch.cuda.mem_get_info(device)[1]
        share = (max_vram_gb * GIB - MOST_CONTEXT_BYTES) / total
        torch.cuda.set_per_process_memory_fraction(min(1.0, max(0.0, share)), device)


@contextmanager
def memory_guard() -> Iterator[None]:
    """Where GPU memory runs out, all that is unused is given back, and one EngineError says what to do."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # whose variables hold memory
        torch.cuda.empty_cache()
        raise EngineError(
            "GPU memory: more is in use than when it was planned; close other programs, or start with a smaller "
            "--max-vram-gb, another --memory or a smaller picture"
        ) from None


def one_line(error: BaseException, out_of_memory: str) -> str:
    """What is wrong, in one line; where GPU memory is used up, the line given."""
    if isinstance(error, RuntimeError) and is_out_of_memory(error):
        return out_of_memory
    text = str(error) if isinstance(error, LtxLiveError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether it says that GPU memory is used up, in whichever of the libraries."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        sign in str(error) for sign in ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    )
