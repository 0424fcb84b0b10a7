"""`ltx-live doctor`: what is found, what is missing and how to get it. Each part is tried in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from ltx_live import config, listing
from ltx_live.engine import slots
from ltx_live.errors import LtxLiveError
from ltx_live.pocket import weights_folder
from ltx_live.weights import catalogue, memory

TRIAL_LIMIT_S = 120  # the first import of PyTorch from a slow disk takes that long
SYSTEM_PACKAGES = "`make play` installs it; by hand: apt-get install libportaudio2 libgl1 libegl1 libgl1-mesa-dri"

FULL_MODEL = "ltx-2.3"
FULL_MODEL_WORK = memory.Workload(width=320, height=384, num_frames=129)  # the specification's defaults

Verdict = Literal["ok", "missing", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: `missing` is something the show goes on without, `broken` is not."""

    part: str
    verdict: Verdict
    detail: str
    remedy: str = ""


def run(home: Path) -> int:
    """Print the report; returns 0 when `ltx-live play` can run, 1 when something it cannot do without is broken."""
    findings = list(examine(home))
    rows = [(finding.part, finding.verdict, finding.detail, finding.remedy) for finding in findings]
    listing.print_table("", ("part", "", "found", "how to get it"), rows)
    return 1 if any(finding.verdict == "broken" for finding in findings) else 0


def examine(home: Path) -> Iterator[Finding]:
    """Every finding, in the order in which a show needs its parts."""
    yield python()
    yield torch()
    yield library("av", "video files")
    yield weights()
    yield full_model(home)
    yield full_model_memory()
    yield shared_memory()
    yield home_folder(home)
    yield free_port("OSC", config.OSC_PORT, "--osc", socket.SOCK_DGRAM)
    yield free_port("remote page", config.HTTP_PORT, "--http", socket.SOCK_STREAM)
    yield devices("screens", "screens", SYSTEM_PACKAGES)
    yield devices("sound", "sound_outputs", SYSTEM_PACKAGES)
    yield devices("MIDI", "midi_inputs", "the show runs without; MIDI needs a system with it and Python 3.11 or 3.12")


def python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= (3, 13):
        return Finding("Python", "ok", version, "MIDI here needs a compiler: pip install 'ltx-live[midi]'")
    return Finding("Python", "ok", version)


def torch() -> Finding:
    """PyTorch and what it would run on."""
    worked, text = trial(
        "import torch\n"
        "names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]\n"
        "print(torch.__version__, 'on', ', '.join(names) or f'{torch.get_num_threads()} CPU threads, no CUDA GPU')"
    )
    return Finding("PyTorch", "ok" if worked else "broken", text, "" if worked else "pip install 'torch>=2.11'")


def library(name: str, purpose: str) -> Finding:
    """A Python library that must be there, tried by importing it."""
    worked, text = trial(f"import {name}")
    if worked:
        return Finding(purpose, "ok", f"{name} {metadata.version(name)}")
    return Finding(purpose, "broken", text, f"pip install {name}")


def weights() -> Finding:
    """The embedded pocket model's files."""
    files = list(weights_folder().glob("*.safetensors"))
    if not files:
        return Finding("pocket model", "broken", "no weights in the package", "pip install --force-reinstall ltx-live")
    total_mb = sum(item.stat().st_size for item in files) / 1e6
    return Finding("pocket model", "ok", f"{len(files)} files, {total_mb:.0f} MB")


def full_model(home: Path) -> Finding:
    """LTX-2.3's own files."""
    try:
        folder = catalogue.installed(FULL_MODEL, home)
    except LtxLiveError:
        return Finding("LTX-2.3", "missing", "not downloaded", f"ltx-live models download {FULL_MODEL}")
    return Finding("LTX-2.3", "ok", f"{folder}")


def full_model_memory() -> Finding:
    """In which memory mode LTX-2.3 would play here, and the host memory that each mode needs."""
    worked, text = trial("import torch\nprint(torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else 0)")
    gpu = int(text) if worked else 0
    host = memory.free_host_bytes()
    modes = [memory.plan(memory.LTX_2_3, FULL_MODEL_WORK, sys.maxsize, mode) for mode in memory.MODES[1:]]
    needs = ", ".join(
        f"{plan.mode} {plan.total_bytes / memory.GIB:.0f} + {plan.host_bytes / memory.GIB:.0f}" for plan in modes
    )
    here = f"{gpu / memory.GIB:.0f} GiB of GPU memory free, {'?' if host is None else round(host / memory.GIB)} of RAM"
    detail = f"{here}; {FULL_MODEL_WORK.width}x{FULL_MODEL_WORK.height} needs (GPU + RAM): {needs}"
    try:
        chosen = memory.plan(memory.LTX_2_3, FULL_MODEL_WORK, gpu)
    except LtxLiveError:
        return Finding(
            "memory for it", "missing", detail, "an NVIDIA GPU with 8 GB or more; the pocket model needs none"
        )
    if host is not None and chosen.host_bytes > host:
        return Finding("memory for it", "missing", detail, f"{chosen.host_bytes / memory.GIB:.0f} GiB of free RAM")
    return Finding("memory for it", "ok", f"it would play in mode {chosen.mode}; {detail}")


def shared_memory() -> Finding:
    """Room for the chunks that travel from the engine process, at the pocket's size."""
    free = slots.free_shared_memory()
    if free is None:
        return Finding("shared memory", "ok", "as much as there is memory")
    values = config.initial_values("pocket", None, {})
    detail = f"{free / 2**20:.0f} MiB free"
    try:
        slots.plan(values["width"], values["height"], slots.num_slots(values["realtime_pacing_slack"]), free)
    except LtxLiveError as error:
        return Finding("shared memory", "broken", detail, str(error))
    return Finding("shared memory", "ok", detail)


def home_folder(home: Path) -> Finding:
    """Where models, recordings and shows are kept."""
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        return Finding("home", "broken", f"{home} cannot be written", "choose another folder with --home")
    return Finding("home", "ok", f"{home}" if existing == home else f"{home}, made at first need")


def free_port(part: str, port: int, option: str, kind: socket.SocketKind) -> Finding:
    """Whether the usual port of a part is free."""
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM and os.name == "posix":  # connections that have just ended do not matter
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            remedy = f"is another ltx-live running? else use {option} HOST:PORT"
            return Finding(part, "missing", f"port {port}: {error.strerror}", remedy)
    return Finding(part, "ok", f"127.0.0.1:{port}")


def devices(part: str, listed_by: str, remedy: str) -> Finding:
    """Devices of one kind, listed by a function of `ltx_live.listing`."""
    worked, text = trial(f"from ltx_live import listing\nprint(' | '.join(listing.{listed_by}()))")
    if not worked:
        return Finding(part, "missing", text, remedy)
    return Finding(part, "ok", text) if text else Finding(part, "missing", "none connected", "the show runs without")


def trial(code: str) -> tuple[bool, str]:
    """Run Python code in a process of its own: whether it worked, and the last line of what it said."""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TRIAL_LIMIT_S)
    except subprocess.TimeoutExpired:
        return False, f"no answer within {TRIAL_LIMIT_S} s"
    said = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    text = said[-1] if said else ("" if done.returncode == 0 else f"ended with status {done.returncode}")
    return done.returncode == 0, text.removeprefix("ltx_live.errors.DeviceError: ")
