"""Fetching a set of the catalogue from the Hugging Face Hub, so that a killed download goes on where it stopped.

huggingface_hub gives the addresses, the files' metadata, the token and the errors. The transfer itself is plain HTTP
with ranges and is ours: huggingface_hub's own, over HTTP or Xet, begins a file anew in each process since 1.31
(huggingface/huggingface_hub issue 4196, file_download.py `_download_to_tmp_and_move`). Xet repositories serve HTTP too.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import (
    HfFileMetadata,
    constants,
    get_hf_file_metadata,
    get_session,
    get_token,
    hf_hub_url,
    is_offline_mode,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import WeakFileLock, build_hf_headers, hf_raise_for_status

from ltx_live.errors import CheckpointError
from ltx_live.weights.catalogue import GB, HUB, SETS, HubFile, ModelSet

CHUNK_BYTES = 1 << 20
NUM_ATTEMPTS = 4  # in a row without a new byte
RETRY_DELAY_S = 1.0
SHA256 = re.compile(r"[0-9a-f]{64}")  # what the hub's ETag is for a large file


@dataclass(frozen=True, slots=True)
class Item:
    """What has to be done for one file of a set: nothing, a link to `twin` (the same file in another set), a fetch."""

    file: HubFile
    path: Path
    twin: Path | None
    num_missing: int  # bytes to fetch

    @property
    def is_complete(self) -> bool:
        return self.file.is_at(self.path)


Report = Callable[[Item, str, int], None]
"""Called as (item, stage, bytes so far); the stages are `fetching`, `checking` and `complete`."""


def plan(model_set: ModelSet, home: Path) -> list[Item]:
    """What is there and what is missing of a set; touches neither network nor files."""
    items = []
    for file, path in model_set.places(home):
        twin = None if file.is_at(path) else find_twin(file, path, home)
        there = file.is_at(path) or twin is not None
        begun = max((part.stat().st_size for part in parts_of(path)), default=0)
        items.append(Item(file, path, twin, 0 if there else max(0, file.num_bytes - begun)))
    return items


def find_twin(file: HubFile, path: Path, home: Path) -> Path | None:
    """The same file where another set has it."""
    places = (place for other in SETS.values() for place in other.places(home))
    return next((at for same, at in places if same == file and at != path and file.is_at(at)), None)


def parts_of(path: Path) -> list[Path]:
    """What earlier runs have begun of a file."""
    return sorted(path.parent.glob(f"{path.name}.*.part")) if path.parent.is_dir() else []


def fetch(model_set: ModelSet, home: Path, report: Report, offline: bool = False) -> None:
    """Bring every file of a set to its place, checked. Raises CheckpointError: one line with what to do.

    Stopped at any moment it can be run again: complete files stay, the begun one goes on. Offline nothing is fetched.
    """
    with locked(home / "models"):
        items = plan(model_set, home)
        missing = [item for item in items if not item.is_complete and item.twin is None]
        if offline or is_offline_mode():
            require_none_missing(model_set, missing)
        check_space(model_set, home, sum(item.num_missing for item in missing))
        for item in items:
            try:
                item.path.parent.mkdir(parents=True, exist_ok=True)
                if item.twin is not None:
                    link(item.twin, item.path)
                elif not item.is_complete:
                    fetch_file(item, report)
            except HTTPError as error:
                raise CheckpointError(explain(error, item.file)) from None
            except OSError as error:
                raise CheckpointError(f"cannot write {item.path}: {error.strerror or error}") from None
            report(item, "complete", item.file.num_bytes)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One download at a time below a folder: two would write the same parts."""
    lock = contextlib.ExitStack()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.enter_context(WeakFileLock(folder / ".download.lock", timeout=0.1))
    except TimeoutError:
        raise CheckpointError(f"another download into {folder} is running; wait for it or stop it") from None
    except OSError as error:
        raise CheckpointError(f"cannot write {folder}: {error.strerror}; choose another home with --home") from None
    with lock:
        yield


def require_none_missing(model_set: ModelSet, missing: list[Item]) -> None:
    """Raise CheckpointError that names what an offline machine lacks."""
    if missing:
        by_folder: dict[Path, list[str]] = {}
        for item in missing:
            by_folder.setdefault(item.path.parent, []).append(item.path.name)
        places = "; ".join(f"{', '.join(names)} in {folder}" for folder, names in by_folder.items())
        gb = sum(item.num_missing for item in missing) / GB
        raise CheckpointError(
            f"offline, and {model_set.name} lacks {len(missing)} files ({gb:.2f} GB): {places}. Go online (without "
            "--offline and HF_HUB_OFFLINE), or copy them there from another machine"
        )


def free_bytes(folder: Path) -> int:
    """Free space of the disk that holds a folder, or would hold it."""
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


def check_space(model_set: ModelSet, home: Path, num_bytes: int) -> None:
    """Raise CheckpointError when so many bytes do not fit."""
    free = free_bytes(home)
    if num_bytes > free:
        raise CheckpointError(
            f"{model_set.name} needs {num_bytes / GB:.1f} GB, {free / GB:.1f} GB are free in {home}: make room, or "
            "choose another home with --home"
        )


def link(twin: Path, path: Path) -> None:
    """The same file at a second place: a hard link, or a copy where the file system has none."""
    path.unlink(missing_ok=True)
    try:
        os.link(twin, path)
    except OSError:
        copy = path.with_name(f"{path.name}.copy.part")
        shutil.copyfile(twin, copy)
        copy.replace(path)


def fetch_file(item: Item, report: Report) -> None:
    """Fetch one file to its place, over short failures of the network. Raises HTTPError, OSError, CheckpointError."""
    failures = 0
    while True:
        begun = sum(part.stat().st_size for part in parts_of(item.path))
        try:
            return attempt(item, report)
        except HTTPError as error:
            status = status_of(error)
            failures = 1 if sum(part.stat().st_size for part in parts_of(item.path)) > begun else failures + 1
            if status is not None and status < 500 or failures >= NUM_ATTEMPTS:
                raise
            time.sleep(RETRY_DELAY_S)


def attempt(item: Item, report: Report) -> None:
    """Look the file up, fetch what is missing of it into a part named by its ETag, check that, give it its name."""
    repository = item.file.repository
    url = hf_hub_url(repository.name, item.file.path, revision=repository.revision)
    found = get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    num_bytes = expect(item.file, found)
    part = item.path.with_name(f"{item.path.name}.{re.sub(r'[^0-9a-zA-Z]', '', found.etag)[:16]}.part")
    for other in parts_of(item.path):
        if other != part or other.stat().st_size > num_bytes:  # of a file that has changed on the hub
            other.unlink()
    transfer(url, part, num_bytes, lambda done: report(item, "fetching", done))
    report(item, "checking", num_bytes)
    digest = item.file.sha256 or (found.etag if SHA256.fullmatch(found.etag) else None)
    if part.stat().st_size != num_bytes or (digest is not None and sha256_of(part) != digest):
        part.unlink()
        raise CheckpointError(f"{item.file.path} arrived damaged and was thrown away; run the command again")
    part.replace(item.path)


def expect(file: HubFile, found: HfFileMetadata) -> int:
    """The size of a file on the hub; raises CheckpointError when it is not the file that the catalogue knows."""
    if found.commit_hash is None or found.etag is None:
        raise CheckpointError(
            f"{constants.ENDPOINT} does not answer as a Hugging Face Hub does: a proxy or a login page?"
        )
    other_digest = file.sha256 is not None and SHA256.fullmatch(found.etag) and found.etag != file.sha256
    other_size = file.size_is_known and found.size not in (None, file.num_bytes)
    if other_digest or other_size:
        raise CheckpointError(
            f"{file.path} at {file.repository.page} is not the file that this version of ltx-live knows "
            f"({found.size} bytes instead of {file.num_bytes}, {found.etag[:12]}): update ltx-live"
        )
    return file.num_bytes if found.size is None else found.size


def transfer(url: str, part: Path, num_bytes: int, report: Callable[[int], None]) -> None:
    """Append to a part what it lacks. The token goes to the hub only: a redirect to another host loses it."""
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    with part.open("ab") as file:
        done = file.tell()
        report(done)
        if done == num_bytes:
            return
        if done:
            headers["Range"] = f"bytes={done}-"
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        with get_session().stream("GET", url, headers=headers, timeout=timeout) as response:
            hf_raise_for_status(response)
            if done and response.status_code != 206:  # a server without ranges
                done = file.truncate(0)
            for chunk in response.iter_bytes(CHUNK_BYTES):
                file.write(chunk)
                done += len(chunk)
                report(done)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def status_of(error: HTTPError) -> int | None:
    """The status that the hub answered with; None when it did not answer."""
    return getattr(getattr(error, "response", None), "status_code", None)


def explain(error: HTTPError, file: HubFile) -> str:
    """One line for what the hub, or the way to it, refused."""
    repository, status = file.repository, status_of(error)
    if isinstance(error, GatedRepoError) or (repository.gated and status in (401, 403)):
        token = "the token that was sent has no access; " if get_token() else ""
        return (
            f"{repository.name} is gated: {token}accept the {repository.licence.name} at {repository.page} with your "
            f"account, make a read token at {HUB}/settings/tokens, set HF_TOKEN to it, and run the command again"
        )
    if isinstance(error, (EntryNotFoundError, RevisionNotFoundError, RepositoryNotFoundError)):
        return (
            f"{file.path} is not at {repository.page} (revision {repository.revision[:12]}) any more: update ltx-live, "
            "or use files that you have with --model FOLDER"
        )
    if status in (401, 403):
        return f"{repository.page} refuses the token: make a new one at {HUB}/settings/tokens, or unset HF_TOKEN"
    if status is not None:
        return f"{constants.ENDPOINT} answers {status} for {file.path}; run the command again later: it goes on"
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"no connection to {constants.ENDPOINT} ({reason}); run the command again: what has arrived is kept"
