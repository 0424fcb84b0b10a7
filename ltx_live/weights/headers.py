"""Headers of safetensors files: what every tensor is called, its type, shape and place, without reading any weight."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ltx_live.errors import CheckpointError
from ltx_live.weights.header_json import are_texts, read_header

DTYPES = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "BOOL": torch.bool,
}
UNSUPPORTED = "which is not supported; use a bf16 or float8_e4m3fn file"
INDEX_SUFFIX = ".safetensors.index.json"


UNUSABLE = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError)
"""What is raised where code computes with values of a configuration that are not what they must be."""


@dataclass(frozen=True)
class Entry:
    """One tensor in a safetensors file, known from the header alone."""

    path: Path
    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Size in the file."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Bundle:
    """One safetensors file, or the shards that an index lists: tensors by their names there, and the metadata."""

    where: Path  # the file, or the folder of the shards
    paths: frozenset[Path]
    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]

    @property
    def folder(self) -> Path:
        """The folder that the files are in."""
        return next(iter(self.paths)).parent

    def config(self) -> dict[str, Any]:
        """The sections under `config` in the metadata; {} without it, CheckpointError for what is not JSON."""
        text = self.metadata.get("config")
        return {} if text is None else _json_object(text, f"{self.where}: 'config' in its metadata")

    def config_file(self) -> dict[str, Any]:
        """The `config.json` beside the files, as diffusers and transformers write it; {} without one."""
        path = self.folder / "config.json"
        return _read_json(path) if path.is_file() else {}


def read_bundle(path: Path) -> Bundle:
    """The header of one safetensors file; CheckpointError where it is missing, cut short or something else."""
    entries, metadata = _read_header(path)
    return Bundle(path, frozenset([path]), entries, metadata)


def read_shards(index: Path) -> Bundle:
    """The headers of the shards that an index file lists; CheckpointError for a shard that is not there."""
    listed = _read_json(index).get("weight_map")
    if not isinstance(listed, dict) or not listed or not are_texts(listed.values()):
        raise CheckpointError(f"{index}: lists no files of tensors (weight_map); get it again")
    paths = [index.parent / name for name in sorted(set(listed.values()))]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise CheckpointError(f"{index.parent}: {', '.join(missing)} of {len(paths)} parts missing; download the rest")
    entries: dict[str, Entry] = {}
    metadata: dict[str, str] = {}
    for path in paths:
        more, about = _read_header(path)
        entries |= more
        metadata |= about
    return Bundle(index.parent, frozenset(paths), entries, metadata)


def find_bundles(folder: Path) -> tuple[list[Bundle], list[CheckpointError]]:
    """All bundles in `folder` and below, in order of their paths, and the faults of files that cannot be read."""
    bundles, faults, sharded = [], [], set()
    paths = files_below(folder)
    for index in (path for path in paths if path.name.endswith(INDEX_SUFFIX)):
        try:
            bundle = read_shards(index)
        except CheckpointError as fault:
            faults.append(fault)
            sharded |= set(index.parent.glob("*-of-*.safetensors"))
        else:
            bundles.append(bundle)
            sharded |= bundle.paths
    for path in (path for path in paths if path.suffix == ".safetensors"):
        if path not in sharded and path.is_file():
            try:
                bundles.append(read_bundle(path))
            except CheckpointError as fault:
                faults.append(fault)
    return bundles, faults


def files_below(folder: Path) -> list[Path]:
    """Everything in a folder and below that is no folder, sorted; links to folders are followed, each folder once."""
    found, seen = [], set()
    for where, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        found += [Path(where, name) for name in names]
    return sorted(found)


def read_tensors(entries: Mapping[str, Entry]) -> dict[str, Tensor]:
    """The tensors by the keys of `entries`: views of the mapped files, which are read when a tensor is used.

    Raises CheckpointError for a file that cannot be mapped.
    """
    by_path: dict[Path, list[tuple[str, str]]] = {}
    for key, entry in entries.items():
        by_path.setdefault(entry.path, []).append((key, entry.name))
    tensors = {}
    for path, names in by_path.items():
        with open_checkpoint(path) as file:
            tensors |= {key: file.get_tensor(name) for key, name in names}
    return {key: tensors[key] for key in entries}


@contextmanager
def open_checkpoint(path: Path) -> Iterator[Any]:
    """The safetensors file, mapped; CheckpointError where it is missing, cut short or something else."""
    try:
        file = safe_open(path, framework="pt", device="cpu")
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a complete safetensors file ({error}); get it again") from error
    with file:
        yield file


def _read_header(path: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    tensors, metadata = read_header(path)
    try:
        return {name: _entry(path, name, about) for name, about in tensors.items()}, metadata
    except ValueError as error:
        raise CheckpointError(
            f"{path}: not a complete safetensors file (its header is not one); get it again"
        ) from error


def _entry(path: Path, name: str, about: dict[str, Any]) -> Entry:
    if about["dtype"] not in DTYPES:
        raise CheckpointError(f"{path}: tensor {name} is of type {about['dtype']}, {UNSUPPORTED}")
    entry = Entry(path, name, DTYPES[about["dtype"]], tuple(about["shape"]))
    start, end = about["data_offsets"]
    if end - start != entry.num_bytes:
        raise ValueError(f"{name}: offsets do not fit the shape")
    return entry


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return _json_object(path.read_bytes(), str(path))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error


def _json_object(text: str | bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"{what} is not JSON ({error}); get the file again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{what} is not a JSON object; get the file again")
    return value
