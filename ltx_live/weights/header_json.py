"""The header of a safetensors file as it is written, without torch: the show looks at files too."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ltx_live.errors import CheckpointError

MAX_HEADER_BYTES = 100_000_000  # what the format allows (huggingface/safetensors README.md)


def read_header(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """`dtype`, `shape` and `data_offsets` of every tensor, and the metadata; nothing else is read.

    Format: length of the header (8 bytes, little endian), the header as JSON, the data (safetensors README.md). Raises
    CheckpointError for a file that is missing, cut short or something else.
    """
    damaged = f"{path}: not a complete safetensors file"
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
                raise CheckpointError(f"{damaged} (it has {size} bytes); get it again")
            header = json.loads(file.read(length))
        metadata = header.pop("__metadata__", None) or {}
        if not isinstance(metadata, dict) or not are_texts(metadata.values()):
            raise CheckpointError(f"{path}: its metadata are not texts by name; get the file again")
        end = 8 + length + _data_bytes(header)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise CheckpointError(f"{damaged} (its header is not one); get it again") from error
    if end != size:
        raise CheckpointError(f"{damaged} (it has {size} bytes of {end}); get it again")
    return header, metadata


def are_texts(values: Iterable[Any]) -> bool:
    """Whether all values are text."""
    return all(isinstance(value, str) for value in values)


def summary(names: Iterable[str], num_shown: int = 3) -> str:
    """The first few of some names: 'a, b, c, ...'."""
    names = list(names)
    return ", ".join(names[:num_shown]) + (", ..." if len(names) > num_shown else "")


def count(names: Iterable[str], what: str = "") -> str:
    """How many tensors there are, and the first few: '5 tensors missing (a, b, c, ...)', `what` being "missing"."""
    names = list(names)
    noun = "tensor" if len(names) == 1 else "tensors"
    return f"{len(names)} {noun}{' ' * bool(what)}{what} ({summary(names)})"


def _data_bytes(header: Mapping[str, Any]) -> int:
    """Bytes of all tensors, which follow each other without gaps; ValueError where they do not."""
    places = []
    for name, about in header.items():
        start, stop = about["data_offsets"]
        if not all(type(number) is int and number >= 0 for number in (*about["shape"], start, stop)):
            raise ValueError(f"{name}: sizes are not numbers")
        if not isinstance(about["dtype"], str):
            raise ValueError(f"{name}: its type is not a name")
        places.append((start, stop))
    end = 0
    for start, stop in sorted(places):
        if start != end:
            raise ValueError("tensors overlap, or there is a gap between them")
        end = stop
    return end
