"""A program that drags files onto a window by the XDND protocol (version 5, freedesktop.org), as a file manager does.

Arguments: the window's number, then URIs. It offers `NUM_TYPES` types (environment; 4) of which one is text/uri-list.
"""

import os
import sys
import time
from ctypes import POINTER, byref, c_ulong, cast, create_string_buffer

from pyglet.libs.x11 import xlib

x = xlib.XOpenDisplay(None)
me = xlib.XCreateSimpleWindow(x, xlib.XDefaultRootWindow(x), 0, 0, 9, 9, 0, 0, 0)


def atom(name):
    return xlib.XInternAtom(x, name.encode(), False)


def send(kind, *words):
    event = xlib.XEvent()
    event.xclient.type, event.xclient.window, event.xclient.format = xlib.ClientMessage, target, 32
    event.xclient.message_type = atom(kind)
    for k, word in enumerate((me, *words)):
        event.xclient.data.l[k] = word
    xlib.XSendEvent(x, target, False, 0, byref(event))
    xlib.XFlush(x)


def wait_for(kind, seconds=5.0):
    end_s = time.monotonic() + seconds
    event = xlib.XEvent()
    while time.monotonic() < end_s:
        while xlib.XPending(x):
            xlib.XNextEvent(x, byref(event))
            if event.type == kind:
                return event
        time.sleep(0.01)
    sys.exit(f"no event {kind} from the window")


target = int(sys.argv[1])
uris = "".join(f"{uri}\r\n" for uri in sys.argv[2:]).encode()
types = [atom("text/plain"), atom("UTF8_STRING"), atom("text/x-moz-url"), atom("text/uri-list"), atom("STRING")]
types = types[-1 - int(os.environ.get("NUM_TYPES", "4")) : -1]
more = len(types) > 3
xlib.XSetSelectionOwner(x, atom("XdndSelection"), me, 0)
if more:
    array = (c_ulong * len(types))(*types)
    xlib.XChangeProperty(x, me, atom("XdndTypeList"), 4, 32, 0, cast(array, POINTER(xlib.c_ubyte)), len(types))
send("XdndEnter", 5 << 24 | more, *([] if more else types))
send("XdndPosition", 0, 640 << 16 | 400, 0, atom("XdndActionCopy"))
status = wait_for(xlib.ClientMessage)
print("ACCEPTED", status.xclient.data.l[1] & 1, flush=True)
send("XdndDrop", 0, 0)
wanted = wait_for(xlib.SelectionRequest).xselectionrequest
data = create_string_buffer(uris, len(uris))
xlib.XChangeProperty(
    x, wanted.requestor, wanted.property, wanted.target, 8, 0, cast(data, POINTER(xlib.c_ubyte)), len(uris)
)
answer = xlib.XEvent()
answer.xselection.type, answer.xselection.requestor = xlib.SelectionNotify, wanted.requestor
answer.xselection.selection, answer.xselection.target = wanted.selection, wanted.target
answer.xselection.property, answer.xselection.time = wanted.property, wanted.time
xlib.XSendEvent(x, wanted.requestor, False, 0, byref(answer))
xlib.XFlush(x)
time.sleep(0.5)
print("DROPPED")
