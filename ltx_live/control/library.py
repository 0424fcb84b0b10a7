"""The mapping files of a show: read when they change, written when something is learned. One thread owns them all."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from ltx_live.control import learned
from ltx_live.control.event import NOTICE, Event, Origin, Transaction, guard
from ltx_live.control.files import DEFAULT, load_mapping, load_mappings, mapping_folders
from ltx_live.control.learn import Lesson
from ltx_live.control.mapping import Mapping
from ltx_live.errors import ConfigError

LOADED = "/mappings"
"""Address of an event that brings other mappings; its one argument is the tuple of them."""

POLL_S = 0.25

Signature = dict[Path, tuple[int, int]]


def signature(paths: Iterable[Path]) -> Signature:
    """Time and size of the files; those that are not there are left out."""
    found: Signature = {}
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        found[path] = (status.st_mtime_ns, status.st_size)
    return found


class Shelf:
    """The mappings that have been read. One is read again when one of its files has changed, and all of them when a
    file has come or gone, which another may have meant."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[Signature, Mapping]] = {}
        self._paths: set[Path] = set()

    def load(self, chosen: str, home: Path) -> tuple[Mapping, ...]:
        """As `load_mappings`."""
        paths = {path for folder in mapping_folders(home) for path in folder.rglob("*.toml")}
        if paths != self._paths:
            self._paths = paths
            self._read.clear()
        return load_mappings(chosen, home, self._load)

    def _load(self, path: Path, folders: list[Path]) -> Mapping:
        known = self._read.get(path)
        if known is None or known[0] != signature(known[1].files):
            before = signature([path])
            mapping = load_mapping(path, folders)
            known = self._read[path] = signature(mapping.files) | before, mapping
        return known[1]


class Library:
    """Looks at the files of the mapping folders four times a second and puts the mappings they make on the queue.

    A file that has been saved is read when it has kept its size and time for one look. One that cannot be understood is
    told of once, and what was in force stays. `mappings` are those at the start.

    Raises ConfigError where the first ones cannot be read.
    """

    def __init__(self, target: queue.SimpleQueue[Transaction], chosen: str, home: Path, poll_s: float = POLL_S):
        self._target = target
        self._chosen = chosen
        self._home = home
        self._poll_s = poll_s
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="mappings", daemon=True)
        self._shelf = Shelf()
        self._seen: Signature = {}
        self.mappings = self._load(chosen)

    @property
    def is_chosen(self) -> bool:
        """Whether one mapping, chosen by name, serves every port."""
        return self._chosen != DEFAULT

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """End; what is being written is completed."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join(2.0)

    def learn(self, lesson: Lesson, page: int, mapping: Mapping | None) -> None:
        """Write a lesson into the file of the port's mapping."""
        self._jobs.put(lambda: self._learn(lesson, page, mapping))

    def save(self, name: str, mapping: Mapping) -> None:
        """Copy a mapping's file under a name."""
        self._jobs.put(lambda: self._say(f"saved {learned.save_as(name, mapping, self._home)}"))

    def choose(self, name: str) -> None:
        """Use another mapping; `default` = each controller by its own."""
        self._jobs.put(lambda: self._choose(name))

    def _run(self) -> None:
        before = self._seen
        while True:
            try:
                job = self._jobs.get(timeout=self._poll_s)
                if job is None:
                    return
                guard(self._attempt, job)
            except queue.Empty:
                now = self._signature()
                if now == before and now != self._seen:
                    guard(self._attempt, self._read_again)
                before = now

    def _attempt(self, job: Callable[[], None]) -> None:
        try:
            job()
        except ConfigError as error:
            self._say(f"{error}; the mapping before stays in force")

    def _load(self, chosen: str) -> tuple[Mapping, ...]:
        """Read what has changed; what changes meanwhile is seen at the next look."""
        self._seen = self._signature()
        return self._shelf.load(chosen, self._home)

    def _read_again(self) -> None:
        self._put(self._load(self._chosen))
        self._say("MIDI mappings read again")

    def _learn(self, lesson: Lesson, page: int, mapping: Mapping | None) -> None:
        path = learned.write_lesson(lesson, page, mapping, self._home)
        if self.is_chosen:
            self._chosen = str(path)
        self._put(self._load(self._chosen))
        self._say(f"learned: {lesson.control} of {lesson.port} -> {lesson.target}, in {path}")

    def _choose(self, name: str) -> None:
        self._put(self._load(name))
        self._chosen = name
        self._say(f"MIDI mapping {name} in force")

    def _signature(self) -> Signature:
        """Size and time of every file that may matter; what is gone meanwhile does not."""
        folders = mapping_folders(self._home)
        paths = [path for folder in folders for path in folder.rglob("*.toml")]
        chosen = Path(os.path.expanduser(self._chosen))
        return signature([*paths, *([chosen] if self.is_chosen and chosen.suffix == ".toml" else [])])

    def _put(self, mappings: tuple[Mapping, ...]) -> None:
        self._target.put((Event(LOADED, (mappings,), Origin("app", "mappings"), time.perf_counter()),))

    def _say(self, text: str) -> None:
        self._target.put((Event(NOTICE, (text,), Origin("app", "mappings"), time.perf_counter()),))
