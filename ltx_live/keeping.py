"""What outlives a show: bank and snapshots in the show file, the last state beside it, and what is changed by hand."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltx_live.config import Config
from ltx_live.control.cues import Cue, load_cues
from ltx_live.control.event import Event, Origin, Transaction
from ltx_live.control.registry import Outcome
from ltx_live.control.toml_source import SCHEMA, read
from ltx_live.control.toml_store import BACKUP, Saver, dumps
from ltx_live.errors import ConfigError
from ltx_live.playback import Playback
from ltx_live.show_file import ShowFile, load_show, made, new_show, read_show, stand

RESTORE_WITHIN_S = 3600.0
"""How long after its last sign of life a show that broke off is taken up again without being asked."""

SAVE_S = 1.0
WATCH_S = 0.5
TOUCH_S = 10.0

HAND = Origin("app", "show file")
DARK = ("out/blackout", "audio/mute")
STILL = "out/freeze", "pause"
"""There is nothing yet to freeze, and what generates nothing never begins."""

HELD = "out/speed", 0.0

_MADE = re.compile(r"(bank|snap)/\d+/(text|name)")
_HEADER = (
    "# The last state of a show, kept by ltx-live: `--restore` brings it back. Copy it to make a show file of it.\n"
)


@dataclass(frozen=True, slots=True)
class State:
    """A last state: what it says, and whether its show broke off."""

    file: ShowFile
    broke_off: bool

    @property
    def values(self) -> dict[str, Any]:
        """What is to be restored: after a break all but a standstill; after an end in order nothing dark, either.

        A dark stage must not light up by itself; and who begins anew wants to see and hear something.
        """
        left = STILL if self.broke_off else (*STILL, *DARK)
        kept = {name: value for name, value in self.file.values.items() if name not in left}
        return {name: value for name, value in kept.items() if (name, value) != HELD}


def state_path(shows: Path, show: Path | None) -> Path:
    """Where the last state is kept of a show with this show file, or of those without."""
    return shows / ("last.toml" if show is None else f"last-{show.stem}.toml")


def find_state(path: Path, show: Path | None, model: str, wanted: bool | None) -> tuple[State | None, str]:
    """The state to restore, and a line about it. `wanted` None: only that of a show that has just broken off.

    Such a show had the same show file and model, and gave its last sign of life within RESTORE_WITHIN_S.
    """
    if wanted is False or not path.exists():
        return None, "there is no last state to restore" if wanted else ""
    try:
        file = _readable(path)
    except ConfigError as error:
        return None, f"the last state is not restored: {error}"
    is_same = (file.last.get("show", ""), file.last.get("model", "")) == (str(show or ""), model)
    age_s = time.time() - path.stat().st_mtime
    broke_off = not file.last.get("ended", True) and is_same and age_s <= RESTORE_WITHIN_S
    if not broke_off and not wanted:
        return None, ""
    when = time.strftime("%H:%M:%S", time.localtime(path.stat().st_mtime))
    why = f"the show broke off at {when}: its last state is back" if broke_off else f"the state of {when} is back"
    dark = [name for name in DARK if broke_off and file.values.get(name)]
    return State(file, broke_off), why + (f"; {' and '.join(dark)} still on" if dark else "")


def _readable(path: Path) -> ShowFile:
    """The state, or the one before where it cannot be used."""
    try:
        return load_show(path)
    except ConfigError:
        backup = path.with_name(path.name + BACKUP)
        if not backup.exists():
            raise
        return load_show(backup)


class Keeper:
    """Writes what has changed, and takes up what was changed in the files. `update` belongs into every tick.

    Without a show file bank and snapshots are kept with the state. `values` are the registry's; `tell(line)` is also
    called from another thread.
    """

    def __init__(self, config: Config, playback: Playback, values: Mapping[str, Any], tell: Callable[[str], None]):
        self._config, self._playback, self._values, self._tell = config, playback, values, tell
        self._start = dict(values)
        self._saver = Saver(tell)
        self._show = config.show
        self._watched = {path: _signature(path) for path in {config.show, config.cues_file} - {None}}
        self._state_due = True
        self._made_due_s: float | None = None
        self._unsaved: set[str] = set()  # while that is due: bank slots by name, snapshots as snap/N/save
        self._made_text = ""  # of bank and snapshots: much to write out, and seldom changed
        self._next_save_s = self._next_watch_s = self._next_touch_s = 0.0

    def heard(self, transaction: Transaction, outcome: Outcome, now_s: float) -> None:
        """What has been applied is to be kept; what came from the show file is in it."""
        saved = [fired.name for fired in outcome.fired if re.fullmatch(r"snap/\d+/save", fired.name)]
        self._state_due |= bool(outcome.changes or saved)
        made = {*saved, *(change.name for change in outcome.changes if _MADE.fullmatch(change.name))}
        self._made_text = "" if made else self._made_text
        if made and not any(event.origin == HAND for event in transaction):
            self._unsaved = made | (self._unsaved if self._made_due_s is not None else set())
            self._made_due_s = now_s + SAVE_S
        if any(fired.name == "sys/save" for fired in outcome.fired):
            self._save_all()

    def update(self, now_s: float) -> Transaction:
        """Write what is due, at most once a second; look at the files. What has been changed in them by hand."""
        if self._made_due_s is not None and now_s >= self._made_due_s:
            self._made_due_s = None
            if self._show is not None:
                self._saver.revise(self._show, self._made())
        if self._config.state is not None:
            self._keep_state(now_s)
        if now_s < self._next_watch_s:
            return ()
        self._next_watch_s = now_s + WATCH_S
        return tuple(event for path in self._watched for event in self._look(path, now_s))

    def close(self) -> None:
        """The show ends in order: write what is left."""
        if self._made_due_s is not None and self._show is not None:
            self._saver.revise(self._show, self._made())
        if self._config.state is not None:
            self._write_state(ended=True)
        self._saver.close()

    def _keep_state(self, now_s: float) -> None:
        if self._state_due and now_s >= self._next_save_s:
            self._next_save_s = now_s + SAVE_S
            self._write_state(ended=False)
        if now_s >= self._next_touch_s:
            self._next_touch_s = now_s + TOUCH_S
            self._saver.touch(self._config.state)

    def _write_state(self, ended: bool) -> None:
        self._state_due = False
        last = {"show": str(self._config.show or ""), "model": self._config.model, "ended": ended}
        tables = {"schema": SCHEMA, "last": last, **self._stand(lambda name: True)}
        text = _HEADER + dumps(tables)
        if self._config.show is None:
            self._made_text = self._made_text or "\n" + dumps({key: each for key, each in self._made().items() if each})
            text += self._made_text
        self._saver.write(self._config.state, text)

    def _stand(self, is_kept: Callable[[str], bool]) -> dict[str, Any]:
        live = {name: value for name, value in self._values.items() if is_kept(name) and name != "audio/device"}
        return stand(live, self._start, self._config.base)

    def _made(self) -> dict[str, Any]:
        return made(self._values, self._playback.snapshots.kept)

    def _save_all(self) -> None:
        """`sys/save`: all into the show file; a new one where there is none."""
        tables = self._stand(lambda name: name not in (*DARK, *STILL) and not name.startswith("cue/"))
        tables = {"schema": SCHEMA} | tables | self._made()
        if self._show is None:
            self._show = self._config.folder("shows") / time.strftime("show-%Y%m%d-%H%M%S.toml")
            self._watched[self._show] = None
            tables = new_show(self._config) | tables
        self._made_due_s = None
        self._saver.revise(self._show, tables, f"saved as {self._show}")

    def _look(self, path: Path, now_s: float) -> list[Event]:
        """What a file asks for that was changed by hand."""
        signature = _signature(path)
        if signature in (None, self._watched[path]) or self._saver.is_revising(path):
            return []
        self._watched[path] = signature
        try:
            if path == self._config.cues_file and path != self._config.show:
                return self._take(load_cues(path), {}, path, now_s)
            source = read(path)
            if source.text == self._saver.written.get(path):
                return []
            file = read_show(source)
        except ConfigError as error:
            self._tell(f"{error}; the show goes on with what it had")
            return []
        own = self._unsaved if path == self._show and self._made_due_s is not None else set()
        kept = self._playback.snapshots.kept
        unsaved = {number: kept[number] for number in kept if f"snap/{number}/save" in own}
        self._playback.snapshots.kept = {number: dict(each) for number, each in {**file.snapshots, **unsaved}.items()}
        cues = self._playback.cues if self._config.cues_file != path else file.cues
        texts = {name: value for name, value in file.values.items() if _MADE.fullmatch(name)}
        gone = {name: "" for name, value in self._values.items() if value and _MADE.fullmatch(name)}
        texts = gone | texts if file.has_bank else texts
        return self._take(cues, {name: texts[name] for name in texts.keys() - own}, path, now_s)

    def _take(self, cues: Sequence[Cue], values: Mapping[str, Any], path: Path, now_s: float) -> list[Event]:
        changed = self._playback.replace(cues, self._values)
        wanted = {name: value for name, value in {**values, **changed}.items() if value != self._values[name]}
        self._tell(f"{path.name} was read again")
        return [Event(f"/ltx/{name}", (value,), HAND, now_s) for name, value in wanted.items()]


def _signature(path: Path | None) -> tuple[int, int] | None:
    """What changes with a file; None while there is none, as between two steps of an editor that saves."""
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_mtime_ns, found.st_size
    return None
