"""`ltx-live models`: which model files there are, fetching, checking and converting them, and what a LoRA file is."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ltx_live import listing, lora_files
from ltx_live.errors import CheckpointError, ConfigError
from ltx_live.pocket import weights_folder
from ltx_live.weights import catalogue, ic_loras
from ltx_live.weights.catalogue import HubFile, ModelSet, size

if TYPE_CHECKING:
    from ltx_live.weights.convert import Recipe
    from ltx_live.weights.download import Item
    from ltx_live.weights.files import ModelFiles

NAME_WIDTH = 28  # columns of a file's name beside its bar


def print_list(home: Path) -> int:
    """Print the catalogue and what of it is in the home."""
    rows = []
    for model_set in catalogue.SETS.values():
        places = model_set.places(home)
        num_here = sum(file.is_at(path) for file, path in places)
        here = "yes" if num_here == len(places) else f"{num_here} of {len(places)} files" if num_here else "no"
        rows.append((model_set.name, model_set.about, size(model_set.num_bytes), here))
    listing.print_table("", ("model", "what it is", "size", "here"), rows)
    print(f"models are in {home / 'models'}{os.sep}NAME, their LoRAs in {home / 'loras'}")
    return 0


def print_loras(home: Path) -> int:
    """Print the published IC-LoRAs and the ID-LoRA, and which are in the folders that hold LoRAs."""
    for lora in ic_loras.KNOWN:
        paths = [folder / lora.file for folder in lora_files.folders(home)]
        here = next((str(path) for path in paths if path.is_file()), "not here")
        low, high = lora.strengths
        strength = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        size_text = f" at 1/{lora.reference_downscale_factor} size" if lora.reference_downscale_factor > 1 else ""
        print(f"{lora.title} ({lora.kind}-LoRA by {lora.author}): {lora.purpose}")
        print(f"    {lora.file} of {lora.page}: {here}")
        prepared = ", or ".join(ic_loras.PREPARATIONS[each] for each in lora.preparations)
        print(f"    give it {prepared}{size_text}; strength {strength}{'; ' * bool(lora.advice)}{lora.advice}")
    print(f"LoRAs are in {' or '.join(map(str, lora_files.folders(home)))}")
    return 0


def download(name: str, home: Path, dry_run: bool, offline: bool) -> int:
    """Fetch a set, or with `dry_run` only print what would be fetched. Raises ConfigError, CheckpointError."""
    from ltx_live.weights import download as hub

    model_set = catalogue.find(name)
    if dry_run:
        print_plan(model_set, home, hub.plan(model_set, home), hub.free_bytes(home))
        return 0
    print_licences(model_set)
    with Progress() as progress:
        hub.fetch(model_set, home, progress.report, offline)
    print(model_set.folder(home))
    return 0


def print_plan(model_set: ModelSet, home: Path, items: Sequence[Item], free: int) -> None:
    """Print every file with its size, where it comes from and where it goes, the sum, and the free space."""
    print(f"{model_set.name}: {model_set.about}")
    for item in items:
        about = "about " if not item.file.size_is_known else ""
        state = "is there" if item.is_complete else f"linked from {item.twin}" if item.twin else "to fetch"
        print(f"{about}{size(item.file.num_bytes)}  {item.file.repository.name}/{item.file.path} ({state})")
        print(f"    -> {item.path}")
    num_missing = sum(item.num_missing for item in items)
    print(
        f"{size(model_set.num_bytes)} in {len(items)} files, {size(num_missing)} to fetch, {size(free)} free in {home}"
    )
    print_licences(model_set)


def print_licences(model_set: ModelSet) -> None:
    """Print whose terms somebody agrees to who downloads the set, and where they are accepted."""
    for repository in model_set.repositories():
        gate = f"; gated, accept at {repository.page}" if repository.gated else ""
        print(f"{repository.name}: {repository.licence.name}, {repository.licence.url}{gate}")


class Progress:
    """A bar for each file on a terminal, a line for each complete file into a pipe."""

    def __init__(self) -> None:
        from rich import progress

        self._bars = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
            disable=not sys.stdout.isatty(),
        )
        self._tasks: dict[Path, int] = {}

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def report(self, item: Item, stage: str, num_bytes: int) -> None:
        """Show how far a download is."""
        self.show(item.path, item.file.place, num_bytes, item.file.num_bytes, " (checking)" * (stage == "checking"))
        if stage == "complete":
            self.complete(item.path, num_bytes)

    def report_conversion(self, path: Path, done: int, total: int) -> None:
        """Show how far the making of a file is."""
        self.show(path, path.name, done, total)
        if done == total:
            self.complete(path, path.stat().st_size)

    def show(self, path: Path, name: str, done: int, total: int, note: str = "") -> None:
        """Bring a file's bar to where it is."""
        if len(name) > NAME_WIDTH:
            name = f"{name[:12]}...{name[15 - NAME_WIDTH :]}"
        if path not in self._tasks:
            self._tasks[path] = self._bars.add_task(name, total=total, completed=done)
        self._bars.update(self._tasks[path], completed=done, description=name + note)

    def complete(self, path: Path, num_bytes: int) -> None:
        """Say that a file is there, where no bar does."""
        if self._bars.disable:
            print(f"{size(num_bytes)}  {path}", flush=True)


def verify(what: str, home: Path, text_encoder: Path | None = None) -> int:
    """Check a set of the catalogue, the pocket, or the files in a folder or one file; 1 when something is wrong.

    `text_encoder` names Gemma's file or folder where it lies elsewhere. First sizes and sha256, where the catalogue
    knows them; then that each network has all its tensors in their shapes.
    """
    if what in catalogue.SETS:
        model_set = catalogue.find(what)
        path, places = model_set.folder(home), model_set.places(home)
    else:
        path = weights_folder() if what == "pocket" else Path(what).expanduser()
        if not path.exists():
            raise ConfigError(f"{what}: no such file, folder or model; models are {', '.join(catalogue.SETS)}, pocket")
        places = [(file, at) for at in weights_in(path) if (file := catalogue.known_as(at)) is not None]
    faults = 0
    for file, at in places:
        fault = check(file, at)
        faults += fault is not None
        print(f"{at}: {fault or ('size and sha256 ok' if file.sha256 else 'size ok, sha256 not known')}", flush=True)
    try:
        print(structure(find_files(path, text_encoder)), flush=True)
    except CheckpointError as error:
        faults += 1
        print(error)
    return 1 if faults else 0


def weights_in(path: Path) -> list[Path]:
    """A file itself, or the safetensors files in a folder and below."""
    return [path] if path.is_file() else sorted(path.rglob("*.safetensors"))


def check(file: HubFile, path: Path) -> str | None:
    """What is wrong with a file, or nothing, by its size and, where the catalogue has it, its sha256."""
    if not path.is_file():
        return "missing; `ltx-live models download` fetches it"
    if not file.is_at(path):
        return f"{path.stat().st_size} bytes instead of {file.num_bytes}: cut short, or another file; fetch it again"
    if file.sha256 is not None:
        from ltx_live.weights.download import sha256_of

        if (found := sha256_of(path)) != file.sha256:
            return f"sha256 {found[:12]}... instead of {file.sha256[:12]}...: damaged, or another file; fetch it again"
    return None


def find_files(path: Path, text_encoder: Path | None = None) -> ModelFiles:
    """The files of a model in a folder or beside a file. Raises CheckpointError."""
    from ltx_live.weights.files import find_model

    return find_model(path, text_encoder)


def structure(files: ModelFiles) -> str:
    """What the networks in files are; raises CheckpointError where a tensor is missing or misshapen.

    Every show checks the same before its window opens.
    """
    from ltx_live.weights.check import check_model

    check_model(files)
    return f"{files.name}: {files.layout}, all tensors of all networks are there in their shapes"


def convert(path: Path, out: Path, recipe: Recipe, text_encoder: Path | None = None) -> int:
    """Check a model's files and write what the recipe says into a folder. Raises ConfigError, CheckpointError."""
    from ltx_live.weights import convert as conversion

    files = find_files(path, text_encoder)
    print(structure(files), flush=True)
    with Progress() as progress:
        conversion.convert(files, out, recipe, progress.report_conversion)
    print(out)
    return 0


def print_lora(path: Path, model: Path | None = None, text_encoder: Path | None = None) -> int:
    """Print what a LoRA file is, for a model or else for LTX-2.3 22B. Raises CheckpointError."""
    from ltx_live.weights import known, lora
    from ltx_live.weights.checkpoint import build_transformer
    from ltx_live.weights.parts import Source

    documented = Source("transformer", Path("LTX-2.3"), {}, known.CONFIG["transformer"])
    source = documented if model is None else find_files(model, text_encoder).transformer
    rows = lora.describe(lora.read_lora(path, build_transformer(source), unmatched="warn"))
    listing.print_table("", ("", ""), rows)
    return 0
