"""`ltx-live bench full_size`: LTX-2.3 at full size with random weights, in every memory mode, on one CUDA GPU.

Makes the checkpoint (42 GB, split FP8 layout) in --folder unless it is there, then plays two chunks per mode, each in a
process of its own: 8 steps, with sound, 320x384 and 129 frames unless said otherwise; the second has a new prompt and
continues the first.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from ltx_live.bench._bars import Bar, print_bars
from ltx_live.bench._random_model import Configurations, write_random_lora, write_random_model
from ltx_live.chunk import Chunk, ChunkRequest, Progress
from ltx_live.engine.ltx import LtxEngine, build
from ltx_live.engine.settings import LtxSettings
from ltx_live.engine.setup import prepare
from ltx_live.errors import DeviceError, LtxLiveError
from ltx_live.model.sampler import Step
from ltx_live.options import Parser
from ltx_live.params import GenerationParams
from ltx_live.weights.memory import GIB
from ltx_live.weights.streaming import Unit

PROMPTS = ("a slow red tunnel with drums", "blue waves under a golden sky, bells, and a voice far away")
LONGEST_PROMPT = "slow red tunnel with drums and bells, " * 200
"""Cut at 1024 tokens."""

CARD_GB = 22.5
"""What a 24 GB card has for one program."""

POLL_S = 0.01


@dataclass(frozen=True)
class Run:
    """One way of running the model; what is not said is the resident mode without limit or LoRA."""

    name: str
    memory: str = "auto"
    max_vram_gb: float | None = None
    ffn_chunk_size: int = 4096
    lora: bool = False
    merge: bool = False
    strength: float = 1.0
    width: int = 320
    height: int = 384
    num_frames: int = 129

    def settings(self, folder: Path) -> LtxSettings:
        return LtxSettings(
            model=folder,
            width=self.width,
            height=self.height,
            num_frames=self.num_frames,
            device="cuda",
            memory=self.memory,
            max_vram_gb=self.max_vram_gb,
            loras=((lora_path(folder), self.strength),) if self.lora else (),
            merge_loras=self.merge,
            ffn_chunk_size=self.ffn_chunk_size,
        )


RUNS = (
    Run("resident", "resident"),
    Run("parked", "parked"),
    Run("24 GB", max_vram_gb=CARD_GB),
    Run("24 GB, all streamed", "streamed", CARD_GB),
    Run("feed-forward in pieces", ffn_chunk_size=512),
    Run("LoRA live, strength 0", lora=True, strength=0.0),
    Run("LoRA live", lora=True),
    Run("LoRA merged", lora=True, merge=True),
    Run("24 GB, LoRA live", max_vram_gb=CARD_GB, lora=True),
    Run("24 GB, LoRA merged", max_vram_gb=CARD_GB, lora=True, merge=True),
    Run("768x512, 121 frames", "resident", width=768, height=512, num_frames=121),
    Run("33 frames", "resident", num_frames=33),
)


@dataclass
class Result:
    """What a run measured, in seconds and bytes. Steps and the parts of a chunk are of the second chunk."""

    name: str
    plan: str = ""
    load_s: float = 0.0
    first_chunk_s: float = 0.0
    step_s: list[float] = field(default_factory=list)
    parts_s: dict[str, float] = field(default_factory=dict)
    new_prompt_s: float = 0.0
    peak_bytes: int = 0
    predicted_bytes: int = 0
    peaks_by_part: dict[str, int] = field(default_factory=dict)
    beside_tensors: dict[str, int] = field(default_factory=dict)
    copied_bytes: int = 0
    copy_s: float = 0.0
    pinned_rate: float = 0.0
    bytes_per_step: float = 0.0
    is_sound: bool = False
    error: str = ""

    @property
    def median_step_s(self) -> float:
        return sorted(self.step_s)[len(self.step_s) // 2]


def main(argv: list[str]) -> int:
    """Print the figures of every run beside their bars; 1 where one is missed or a run fails."""
    parser = Parser(prog="ltx-live bench full_size", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where the checkpoint is or is made (45 GB)")
    parser.add_argument("--only", help="names of the runs, separated by ; (all)")
    parser.add_argument("--out", type=Path, help="folder for the figures as JSON")
    parser.add_argument("--one", help="run one in this process and print its figures as JSON")
    options = parser.parse_args(argv)
    folder = options.folder.expanduser().absolute()
    if options.one is not None:
        print(json.dumps(asdict(play(next(run for run in RUNS if run.name == options.one), folder))))
        return 0
    if not torch.cuda.is_available():
        raise DeviceError("bench full_size: no CUDA GPU here; it needs one with 24 GB or more")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:  # whose CUDA context must not stay
        apart.submit(make_checkpoint, folder).result()
    chosen = [run for run in RUNS if options.only is None or run.name in options.only.split(";")]
    results = {run.name: in_a_process_of_its_own(run, folder) for run in chosen}
    if options.out is not None:
        text = json.dumps([asdict(result) for result in results.values()], indent=1)
        (options.out / "full_size.json").write_text(text, encoding="utf-8")
    return print_bars("full_size", list(bars(results, folder)))


def make_checkpoint(folder: Path) -> None:
    """Write what is not there yet."""
    if not any(folder.glob("transformer*.safetensors")):
        start_s = time.perf_counter()
        write_random_model(folder, Configurations(), torch.device("cuda"), seed=1)
        print(f"wrote the checkpoint in {time.perf_counter() - start_s:.0f} s", flush=True)
    if not lora_path(folder).exists():
        write_random_lora(lora_path(folder), Configurations().transformer, rank=64, device=torch.device("cuda"), seed=2)


def lora_path(folder: Path) -> Path:
    return folder / "lora_rank64.safetensors"


def latents_path(folder: Path, name: str) -> Path:
    return folder / f"latents of {name}.pt"


def in_a_process_of_its_own(run: Run, folder: Path) -> Result:
    """Its figures, or its error; printed at once."""
    command = [sys.executable, "-m", "ltx_live", "bench", "full_size", "--folder", str(folder), "--one", run.name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    lines = done.stdout.strip().splitlines()
    result = Result(**json.loads(lines[-1])) if done.returncode == 0 else Result(run.name, error="see above")
    print(describe(result), flush=True)
    return result


def describe(result: Result) -> str:
    """The figures of a run in a few lines."""
    if result.error:
        return f"{result.name}: {result.error}"
    parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in result.parts_s.items())
    peaks = ", ".join(f"{name} {num / GIB:.2f}" for name, num in result.peaks_by_part.items())
    beside = ", ".join(f"{name} {num / GIB:.2f}" for name, num in result.beside_tensors.items())
    lines = [
        f"{result.name}: {result.plan}",
        f"  load {result.load_s:.1f} s, first chunk {result.first_chunk_s:.2f} s, step {result.median_step_s:.3f} s, "
        f"new prompt {result.new_prompt_s:.2f} s, second chunk: {parts} s",
        f"  peak {result.peak_bytes / GIB:.2f} GiB of predicted {result.predicted_bytes / GIB:.2f}; "
        f"allocated at most, GiB: {peaks}; finite and moving: {result.is_sound}",
        f"  CUDA beside tensors, GiB: {beside}",
    ]
    if result.copied_bytes:
        rate = result.copied_bytes / result.copy_s
        lines.append(
            f"  copies {rate / 1e9:.1f} GB/s of {result.pinned_rate / 1e9:.1f} pinned, "
            f"{result.bytes_per_step / 1e9:.2f} GB a step"
        )
    return "\n".join(lines)


def bars(results: dict[str, Result], folder: Path) -> Iterator[Bar]:
    """What the figures must be, as far as the runs are there."""
    made = {name: result for name, result in results.items() if not result.error}
    yield Bar("runs that failed", len(results) - len(made), 0, is_most=True)
    yield Bar("runs with finite, moving picture and sound", sum(r.is_sound for r in made.values()), len(made))
    for name, result in made.items():
        off = 100 * abs(result.peak_bytes / result.predicted_bytes - 1)
        yield Bar(f"{name}: prediction of the peak off by", off, 5, "%", is_most=True)
        if name.startswith("24 GB"):
            yield Bar(f"{name}: peak", result.peak_bytes / GIB, CARD_GB, "GiB", is_most=True)
    reference = made.get("resident")
    for name, limit in (
        ("parked", 0.0),
        ("24 GB", 0.0),
        ("24 GB, all streamed", 0.0),
        ("LoRA live, strength 0", 0.0),
        ("feed-forward in pieces", 1e-2),
    ):
        if reference and name in made:
            yield Bar(f"{name}: latents off the resident mode's", difference(folder, "resident", name), limit, "", True)
    for one, other, limit in (
        ("LoRA live", "24 GB, LoRA live", 0.0),
        ("LoRA merged", "24 GB, LoRA merged", 0.0),
    ):
        if one in made and other in made:
            yield Bar(f"{other}: latents off {one}", difference(folder, one, other), limit, "", True)
    if "LoRA live" in made and "LoRA merged" in made:
        moved = difference(folder, "resident", "LoRA live", first_step=True)
        apart = difference(folder, "LoRA merged", "LoRA live", first_step=True)
        yield Bar("LoRA live against merged, of the LoRA's effect", apart / moved, 0.5, "", True)
    for name in ("24 GB", "24 GB, all streamed"):
        if reference and name in made and made[name].copied_bytes:
            yield from streaming_bars(made[name], reference)


def streaming_bars(result: Result, resident: Result) -> Iterator[Bar]:
    """How well copies hide behind the computation."""
    rate = result.copied_bytes / result.copy_s
    yield Bar(f"{result.name}: copies, of the pinned rate", 100 * rate / result.pinned_rate, 85, "%")
    transfer_s = result.bytes_per_step / result.pinned_rate
    ratio = result.median_step_s / max(resident.median_step_s, transfer_s)
    yield Bar(f"{result.name}: step, of max(resident, transfer)", ratio, 1.1, "", is_most=True)


def difference(folder: Path, one: str, other: str, first_step: bool = False) -> float:
    """Relative difference of two runs' latents, the larger of picture and sound; after the first step or the last."""
    index = 0 if first_step else -1
    pairs = zip(*(torch.load(latents_path(folder, name))[index] for name in (one, other)), strict=True)
    return max(float((a - b).norm() / a.norm()) for a, b in pairs)


def play(run: Run, folder: Path) -> Result:
    """Two chunks with one engine; the figures, and the latents after every step of the second as a file."""
    result = Result(run.name)
    try:
        setup = prepare(run.settings(folder))
        result.plan, result.predicted_bytes = setup.plan.describe(), setup.plan.total_bytes
        with peak_memory() as peaks:
            start_s = time.perf_counter()
            engine = build(setup, lambda text: None)
            torch.cuda.synchronize()
            result.load_s = time.perf_counter() - start_s
            result.beside_tensors["loaded"] = beside_tensors()
            two_chunks(engine, run, result, folder)
        result.peak_bytes = max(peaks)
    except LtxLiveError as error:
        result.error = str(error)
    return result


def two_chunks(engine: LtxEngine, run: Run, result: Result, folder: Path) -> None:
    """The first chunk warms up, the second is measured."""
    params = GenerationParams(
        prompt=PROMPTS[0], lora_strength=(run.strength,) * 8, randomize_seed=False, width=run.width, height=run.height
    )
    request = ChunkRequest(index=0, params=params, seed=1, start=0, num_frames=run.num_frames)
    start_s = time.perf_counter()
    *_, first = engine.generate(request)
    result.first_chunk_s = time.perf_counter() - start_s
    result.beside_tensors["first chunk"] = beside_tensors()
    start_s = time.perf_counter()
    engine.encode((PROMPTS[1],))
    torch.cuda.synchronize()
    result.new_prompt_s = time.perf_counter() - start_s
    result.beside_tensors["new prompt"] = beside_tensors()
    stream = engine.networks.stream
    if stream is not None:
        stream.copies = []
    request = replace(request, index=1, seed=2, start=first.end, continue_from=(0, first.num_frames))
    request = replace(request, params=replace(params, prompt=PROMPTS[1]))
    times_s, latents, second = observe(engine, request, result)
    result.step_s = [b - a for a, b in zip(times_s, times_s[1:], strict=False)]
    result.parts_s = dict(second.timings_s)
    result.beside_tensors["second chunk"] = beside_tensors()
    result.peaks_by_part["longest prompt"] = peak_of(lambda: engine.encode((LONGEST_PROMPT,)))
    result.beside_tensors["longest prompt"] = beside_tensors()
    result.is_sound = all(torch.isfinite(x).all() for pair in latents for x in pair)
    result.is_sound &= bool(second.frames.std() > 1 and (second.frames[1:] != second.frames[:-1]).any())
    result.is_sound &= bool(second.audio.std() > 1e-4)
    torch.save(latents, latents_path(folder, run.name))
    if stream is not None:
        torch.cuda.synchronize()
        copies, stream.copies = stream.copies, None
        result.copied_bytes = sum(num for _, _, num in copies)
        result.copy_s = sum(start.elapsed_time(end) for start, end, _ in copies) / 1000
        result.bytes_per_step = result.copied_bytes / len(result.step_s)
        result.pinned_rate = pinned_rate(next(slot.unit for slot in stream.slots if slot.unit is not None))


def observe(
    engine: LtxEngine, request: ChunkRequest, result: Result
) -> tuple[list[float], list[tuple[torch.Tensor, torch.Tensor]], Chunk]:
    """Make the chunk; the time at which each step had ended, the latents after each, and the chunk."""
    times_s: list[float] = []
    latents: list[tuple[torch.Tensor, torch.Tensor]] = []

    def watch(step: Step) -> None:
        torch.cuda.synchronize()
        times_s.append(time.perf_counter())
        latents.append(tuple(state.target.float().cpu() for state in step.states))

    engine.watch = watch
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    for made in engine.generate(request):
        if isinstance(made, Progress) and made.step == made.num_steps:
            result.peaks_by_part["denoise"] = torch.cuda.max_memory_allocated() - before
            torch.cuda.reset_peak_memory_stats()
    result.peaks_by_part["decode"] = torch.cuda.max_memory_allocated() - before
    result.peaks_by_part["weights"] = before
    result.peaks_by_part["reserved"] = torch.cuda.memory_reserved()
    return times_s, latents, made


def beside_tensors() -> int:
    """Bytes in use on the device that are not PyTorch's: CUDA's context, the code of kernels, their local memory."""
    free, total = torch.cuda.mem_get_info()
    return total - free - torch.cuda.memory_reserved()


def peak_of(work: Callable[[], None]) -> int:
    """Bytes that were allocated at most while something was done, beside those that were before."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    return torch.cuda.max_memory_allocated() - before


def pinned_rate(unit: Unit, repeats: int = 10) -> float:
    """Bytes a second from pinned host memory to the device: the best that copies of this size can reach."""
    target = torch.empty_like(unit.host, device="cuda")
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
    target.copy_(unit.host, non_blocking=True)
    events[0].record()
    for _ in range(repeats):
        target.copy_(unit.host, non_blocking=True)
    events[1].record()
    torch.cuda.synchronize()
    return repeats * unit.num_bytes / (events[0].elapsed_time(events[1]) / 1000)


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Used bytes of the device as it counts them itself, looked up every 10 ms; nothing else may run on it."""
    used: list[int] = []
    over = threading.Event()

    def poll() -> None:
        while not over.wait(POLL_S):
            free, total = torch.cuda.mem_get_info()
            used.append(total - free)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield used
    finally:
        over.set()
        thread.join()
