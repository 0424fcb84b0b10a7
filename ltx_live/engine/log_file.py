"""What the engine process prints, passed on to the logging of the show."""

from __future__ import annotations

import logging
import os
import tempfile

log = logging.getLogger(__name__)


class LogFile:
    """A file that the engine process writes to and the show reads from; `last_line` is what it said last.

    A file, not a pipe: a full pipe would stop the engine, a file keeps its last words, and Windows can do it too.
    """

    def __init__(self):
        self._descriptor, self.path = tempfile.mkstemp(prefix="ltx-live-engine-", suffix=".log")
        self._is_closed = False
        self._rest = b""
        self._level = logging.INFO
        self.last_line = ""

    def forward(self) -> None:
        """Log the lines that are new; a line without a level, as of a traceback, has the level of the last."""
        while data := os.read(self._descriptor, 65536):
            *lines, self._rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
            for line in lines:
                text = line.decode(errors="replace").rstrip()
                if not text:
                    continue
                first, _, more = text.partition(" ")
                if first in logging.getLevelNamesMapping():
                    self._level, text = logging.getLevelNamesMapping()[first], more
                self.last_line = text
                log.log(self._level, "engine: %s", text)

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self.forward()
            os.close(self._descriptor)
            os.unlink(self.path)
