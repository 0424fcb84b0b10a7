"""`ltx-live models verify NAME --play`: loads the model as a show does and writes a folder that proves what it does."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ltx_live import params
from ltx_live.config import Config
from ltx_live.engine.ltx import build
from ltx_live.engine.settings import LtxSettings
from ltx_live.engine.setup import Setup, prepare
from ltx_live.engines import engine_spec
from ltx_live.errors import EngineError
from ltx_live.params import GenerationParams
from ltx_live.proof import machine, parts
from ltx_live.proof.folder import Proof
from ltx_live.proof.parts import PROMPTS, Prompt
from ltx_live.proof.takes import Player, Take, synchronise

Report = Callable[[str], None]


def run(config: Config, out: Path | None = None, prompts: Sequence[Prompt] = PROMPTS) -> int:
    """Play two prompts or more and write the folder, whose path is the last line; 0 where every part and check is good.

    Raises ConfigError where nothing can be played or written; what fails afterwards is in the summary.
    """
    settings = engine_spec(config).arguments["settings"]
    generation = params.snapshot(GenerationParams, config.values)
    proof = Proof(out or default_folder(config))
    proof.folder.mkdir(parents=True, exist_ok=True)
    with progress() as report:
        reference = None
        with proof.part("the model"):
            reference = play_model(replace(settings, loras=()), generation, proof, prompts, report)
        if settings.loras:
            with proof.part("the LoRA"):
                play_lora(settings, generation, proof, (prompts[0], reference), report)
    proof.is_finished = True
    proof.save()
    for name, holds in proof.checks.items():
        print(f"{'ok' if holds else 'FAILED'}: {name}")
    for name, text in proof.faults.items():
        print(f"FAULT in {name}: {text}")
    print(proof.folder.absolute())
    return 0 if proof.is_good else 1


def default_folder(config: Config) -> Path:
    """A new folder among the recordings, named after the model and the time."""
    model = Path(config.model).stem or "model"
    return config.folder("recordings") / f"proof-{model}-{time.strftime('%Y%m%d-%H%M%S')}"


@contextmanager
def progress() -> Iterator[Report]:
    """A line on the terminal that says what is being done, and a line for each thing where there is no terminal."""
    console = Console(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("")

        def report(text: str) -> None:
            bar.update(task, description=text)
            if not console.is_terminal:
                print(text, file=sys.stderr, flush=True)

        yield report


def play_model(
    settings: LtxSettings, generation: GenerationParams, proof: Proof, prompts: Sequence[Prompt], report: Report
) -> Take:
    """Everything that needs no LoRA; the take of the first prompt, which the LoRA is compared with."""
    proof.figures["versions"] = machine.versions()
    setup = prepare(settings)
    proof.figures["machine"] = machine.device(setup.storage.device)
    proof.figures["model"] = machine.model(setup) | asked(settings, generation)
    proof.figures["files"] = machine.files(setup.files)
    player = loaded(setup, generation, proof.figures["model"], report)
    report(f"playing prompt {prompts[0].name}")
    reference = parts.play_prompt(player, proof, prompts[0])
    proof.figures["memory"] = machine.memory(setup)
    work = [
        (f"prompt {prompt.name}", lambda prompt=prompt: parts.play_prompt(player, proof, prompt))
        for prompt in prompts[1:]
    ]
    work += [
        ("the same again", lambda: parts.repeat(player, proof, reference, prompts[0])),
        ("seams", lambda: parts.seams(player, proof, prompts[len(prompts) // 2])),
        ("between two prompts", lambda: parts.between(player, proof, reference, prompts[:2])),
        ("float8", lambda: parts.float8(player, proof, reference, prompts[0])),
    ]
    for name, part in work:
        report(f"playing {name}")
        with proof.part(name):
            part()
        proof.figures["memory"] = machine.memory(setup)
    return reference


def play_lora(
    settings: LtxSettings,
    generation: GenerationParams,
    proof: Proof,
    played: tuple[Prompt, Take | None],
    report: Report,
) -> None:
    """Load the model once more, with its LoRAs beside the weights, and compare with what was played without."""
    prompt, reference = played
    if reference is None:
        raise EngineError("not played, because the model itself could not be; see its own fault")
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    settings = replace(settings, merge_loras=False)
    pairs = zip(settings.loras, generation.lora_strength, strict=False)
    files = [f"{path.name}:{strength:g}" for (path, _), strength in pairs]
    proof.figures["lora"] = {"files": ", ".join(files)}
    player = loaded(prepare(settings), generation, proof.figures["lora"], report)
    report("playing with LoRA")
    parts.lora(player, proof, reference, prompt)


def asked(settings: LtxSettings, generation: GenerationParams) -> dict[str, object]:
    """What was asked of the model."""
    limit = settings.max_vram_gb
    return {
        "size": f"{settings.width}x{settings.height}",
        "num_frames": settings.num_frames,
        "frame_rate": generation.frame_rate,
        "num_steps": generation.num_steps,
        "schedule": generation.schedule,
        "ffn_chunk_size": settings.ffn_chunk_size,
        "memory_mode_asked": settings.memory,
        "max_vram_gib": "no limit" if limit is None else limit,
    }


def loaded(setup: Setup, generation: GenerationParams, figures: dict[str, object], report: Report) -> Player:
    """The engine as the show loads it, and how long that took."""
    start_s = time.perf_counter()
    engine = build(setup, report)
    synchronise(setup.storage.device)
    figures["load_s"] = time.perf_counter() - start_s
    return Player(engine, generation, setup.settings.num_frames)
