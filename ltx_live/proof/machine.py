"""What the figures were measured on: versions, device, memory and files."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib import metadata

import torch

from ltx_live import __version__
from ltx_live.engine.setup import Setup
from ltx_live.weights.files import ModelFiles
from ltx_live.weights.memory import GIB, free_host_bytes

LIBRARIES = ("torch", "triton", "transformers", "safetensors", "numpy", "av")
UNKNOWN = "not known"
LARGEST_HASHED_BYTES = 2**28
"""Of larger files no sha256 is made here: `models verify` has compared those that are known."""


def versions() -> dict[str, str]:
    """Of ltx_live and everything that computes."""
    found = {"ltx_live": __version__, "python": platform.python_version(), "system": platform.platform()}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            found[library] = "not installed"
    return found | {"cuda": torch.version.cuda or "none", "driver": nvidia_driver()}


def nvidia_driver() -> str:
    """The version of NVIDIA's driver, as its own tool says."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return UNKNOWN
    return next(iter(done.stdout.split()), UNKNOWN)


def device(where: torch.device) -> dict[str, object]:
    """Name and memory of the device, and the host beside it."""
    free = free_host_bytes()
    host = {"cores": os.cpu_count(), "free_host_gib": UNKNOWN if free is None else free / GIB}
    if where.type != "cuda":
        name = platform.processor() or platform.machine()
        return {"device": f"{name} with {torch.backends.cpu.get_cpu_capability()}", **host}
    card = torch.cuda.get_device_properties(where)
    free_gpu, total = torch.cuda.mem_get_info(where)
    return {
        "device": card.name,
        "compute_capability": f"{card.major}.{card.minor}",
        "gpu_gib": total / GIB,
        "free_gpu_gib": free_gpu / GIB,
        **host,
    }


def model(setup: Setup) -> dict[str, object]:
    """Which model, and how it is going to be computed."""
    return {
        "name": setup.files.name,
        "layout": setup.files.layout,
        "computes": setup.detail,
        "plan": setup.plan.describe(),
        "blocks": setup.plan.num_blocks,
        "streamed_blocks": len(setup.plan.streamed),
    }


def files(found: ModelFiles) -> dict[str, dict[str, object]]:
    """Name, size and, where that is quick, sha256 of every file the model is in."""
    networks = (found.transformer, found.text_projection, found.text_encoder)
    networks += (found.video_vae, found.audio_vae, found.vocoder)
    paths = {entry.path for network in networks for entry in network.entries.values()}
    listed = {}
    for path in sorted(paths):
        size, digest = path.stat().st_size, "not computed"
        if size <= LARGEST_HASHED_BYTES:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        listed[path.name] = {"bytes": size, "sha256": digest}
    return listed


def memory(setup: Setup) -> dict[str, float]:
    """What the plan predicted and what is held now; the card's own count holds every program on it."""
    where, plan = setup.storage.device, setup.plan
    figures = {"predicted_host_gib": plan.host_bytes / GIB, "measured_host_gib": held_host_bytes() / GIB}
    if where.type == "cuda":
        free, total = torch.cuda.mem_get_info(where)  # the allocator keeps what it has taken: this is the peak too
        figures |= {
            "predicted_gpu_gib": plan.total_bytes / GIB,
            "measured_gpu_gib": (total - free) / GIB,
            "reserved_gpu_gib": torch.cuda.max_memory_reserved(where) / GIB,
            "allocated_gpu_gib": torch.cuda.max_memory_allocated(where) / GIB,
        }
    return figures


def held_host_bytes() -> int:
    """Host memory that this process holds and the system cannot take back; mapped files, which it can, are left out.

    0 where the system does not say.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as lines:
            kib = [int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:"))]
    except OSError:
        return 0
    return sum(kib) * 1024
