"""Reads files beside the show: the newest that was asked for, in a thread."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from ltx_live.errors import MediaError

FAULTS = MediaError, OSError, ValueError, LookupError, RuntimeError, MemoryError
"""What files can bring about: all of it ends in a line. PyAV's own errors are told by those who call it."""

T = TypeVar("T")


def file_size(path: Path | str) -> int:
    """Bytes of a file. Raises OSError where there is none, MediaError for a device or pipe: that has no end."""
    try:
        status = Path(path).stat()
    except ValueError as error:  # a name with a zero in it
        raise MediaError(f"cannot read {path}: {error}; check the path") from None
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise MediaError(f"cannot read {path}: it is a device or a pipe; choose a file")
    return status.st_size


class Loaded(NamedTuple, Generic[T]):
    """What was read under a name, or why it could not be: exactly one of `content` and `error`."""

    name: str
    content: T | None
    error: MediaError | None


class Loader(Generic[T]):
    """`read(name)` runs in a thread, one at a time; of several wishes only the newest is answered.

    Asked and checked by one thread.
    """

    def __init__(self, read: Callable[[str], T]) -> None:
        self._read = read
        self._wanted: str | None = None
        self._thread: threading.Thread | None = None
        self._done: Loaded[T] | None = None

    @property
    def is_reading(self) -> bool:
        """Whether what was asked for is still to come."""
        return self._wanted is not None

    def ask(self, name: str) -> None:
        """Have this read; `check` gives it."""
        self._wanted = name

    def forget(self) -> None:
        """Nothing is asked for any more."""
        self._wanted = None

    def check(self) -> Loaded[T] | None:
        """Call every tick: what has been read, once."""
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
            loaded, self._done = self._done, None
            if loaded.name == self._wanted:
                self._wanted = None
                return loaded
        if self._thread is None and self._wanted is not None:
            self._thread = threading.Thread(target=self._run, args=(self._wanted,), name="loader", daemon=True)
            self._thread.start()
        return None

    def _run(self, name: str) -> None:
        self._done = Loaded(name, None, MediaError(f"cannot read {name}; choose another file"))  # whatever happens
        try:
            self._done = Loaded(name, self._read(name), None)
        except MediaError as error:
            self._done = Loaded(name, None, error)
        except FAULTS as error:
            self._done = Loaded(name, None, MediaError(f"cannot read {name}: {error}; choose another file"))
