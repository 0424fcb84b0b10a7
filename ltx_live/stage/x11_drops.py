"""Files dropped on a window under X11: what pyglet 2.1 lacks of the XDND protocol (freedesktop.org, version 5).

Its `dispatch_events`, unlike its own event loop, leaves the answer with the names in the queue; and it fails where a
program offers at most three types, because it adds a number to a ctypes array.
"""

from __future__ import annotations

import functools
from ctypes import byref
from typing import Any

from pyglet.libs.x11 import xlib


def repair(handle: Any) -> None:
    """Let a pyglet window take drops of programs that offer few types."""
    handle._event_drag_enter = functools.partial(_drag_enter, handle, handle._event_drag_enter)


def pump(handle: Any) -> None:
    """Call after the window's `dispatch_events`: takes the names of what was dropped, which the next call tells."""
    event = xlib.XEvent()
    while xlib.XCheckTypedWindowEvent(handle._x_display, handle._window, xlib.SelectionNotify, byref(event)):
        handle.dispatch_platform_event(event)


def _drag_enter(handle: Any, with_many_types: Any, event: Any) -> None:
    words = event.xclient.data.l
    if words[1] & 1:
        with_many_types(event)
        return
    handle._xdnd_source, handle._xdnd_version = words[0], words[1] >> 24
    names = handle._xdnd_atoms["text/uri-list"]
    handle._xdnd_format = names if names in words[2:5] else None
