"""The window: screens and fullscreen, keys and the prompt field, and what is drawn into it. Main thread only."""

from __future__ import annotations

import dataclasses
import functools
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyglet

from ltx_live.errors import DeviceError, MediaError
from ltx_live.stage import drops, keys
from ltx_live.stage.hud_state import HudState
from ltx_live.stage.picker import LoraRow, Picker
from ltx_live.stage.text_field import TextField
from ltx_live.stage.timeline import Picture

log = logging.getLogger(__name__)

TITLE = "ltx_live"
SIZE = (1024, 576)
SMALLEST = (320, 180)
CURSOR_IDLE_S = 2.0
QUIT_AGAIN_S = 2.0
NOTICE_S = 6.0
NUM_CORRECTIONS = 3


def _window_errors() -> tuple[type[Exception], ...]:
    """What pyglet raises when there is no display, no OpenGL or no library for it; they have no common base."""
    errors: list[type[Exception]] = [ImportError, OSError]
    if "pyglet.gl" in sys.modules:
        errors += [pyglet.gl.ContextException, pyglet.gl.ConfigException, pyglet.gl.GLException]
    if "pyglet.window" in sys.modules:
        errors.append(pyglet.window.WindowException)
    if "pyglet.display.xlib" in sys.modules:
        errors.append(sys.modules["pyglet.display.xlib"].NoSuchDisplayException)
    return tuple(errors)


class Offscreen:
    """A compositor without a display, through EGL; raises DeviceError when there is no OpenGL.

    pyglet has either windows or EGL in a process: make this before any Window, and no Window after it.
    """

    def __init__(self) -> None:
        pyglet.options["headless"] = True
        pyglet.options["shadow_window"] = False
        try:
            from ltx_live.stage.compositor import Compositor

            self._context = pyglet.window.Window(16, 16, visible=False)
            self._compositor = Compositor()
        except _window_errors() as error:
            raise DeviceError(f"no OpenGL without a display: {error}; install libegl1 and libgl1-mesa-dri") from None

    def compose(self, picture: Picture | None, output: Any) -> None:
        """Take the picture, unless frozen, and give it the look of OutputParams."""
        self._compositor.compose(picture, output)

    def grab(self) -> np.ndarray:
        """The composed picture (H, W, 3) uint8, top row first; empty before the first one."""
        return self._compositor.grab()


class Window:
    """Shows pictures with the display over them, and turns keys and dropped files into control messages.

    `on_event(address, args)` gets what they ask for; `value_of(name)` gives the present value of a parameter: where
    to open, and what a toggling key turns. Raises DeviceError when there is no display or no OpenGL 3.3.
    """

    def __init__(
        self,
        on_event: Callable[[str, tuple[Any, ...]], None],
        value_of: Callable[[str], Any],
        size: tuple[int, int] = SIZE,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.closed = False
        self._on_event, self._value_of, self._clock, self._size = on_event, value_of, clock, size
        self._keys = {key.chord: key for key in keys.KEYS}
        self._field: TextField | None = None
        self._picker: Picker | None = None
        self._loras: tuple[LoraRow, ...] = ()
        self._swallow_text = False
        self._prefix = ""
        self._help = False
        self._notice: tuple[tuple[str, float], ...] = ()
        self._quit_s = self._moved_s = -1e9
        self._cursor = (True, True)
        self._stale = self._visible = True
        self._fit = ""
        self._hud_before = "full"  # also after a show that opened in fullscreen
        self._hud: Any = None
        self._list: Any = None
        self._handle: Any = None
        self._x11_drops: Any = None
        self._place: tuple[bool, int] = (False, 0)  # as asked for
        self._fullscreen = False  # as it is
        pyglet.options["shadow_window"] = False
        try:
            self._open(value_of("window/fullscreen"), value_of("window/screen"))
            from ltx_live.stage.compositor import Compositor

            self._compositor = Compositor()
        except _window_errors() as error:
            reason = str(error) or type(error).__name__
            raise DeviceError(f"no window: {reason}; set DISPLAY, install libgl1, or play with --headless") from None

    def show(self, picture: Picture | None, output: Any, hud: HudState) -> bool:
        """Draw what is new: the picture (None = title card) with the look of OutputParams, and the display; True when
        anything was drawn. Moves to another screen or to fullscreen when OutputParams say so."""
        if self.closed:
            return False
        if (output.window_fullscreen, output.window_screen) != self._place:
            self._move(output.window_fullscreen, output.window_screen)
        self._handle.switch_to()
        width, height = self._handle.get_framebuffer_size()
        if self._hud is None:
            from ltx_live.stage.hud import Hud
            from ltx_live.stage.picker_view import PickerView

            self._hud, self._list = Hud(width, height), PickerView(width, height)
        self._loras = hud.loras
        changed = self._compositor.compose(picture, output)
        state = dataclasses.replace(hud, messages=(*hud.messages, *self._notice))
        card = self._compositor.empty and not output.out_blackout
        changed |= self._hud.update(output.window_hud, state, self._field, card, self._clock())
        changed |= self._list.update(self._picker, hud.loras)
        changed |= self._stale or (output.out_fit, card) != self._fit
        self._cursor = (output.window_cursor, self._cursor[1])
        if not changed or not self._visible:
            return False
        self._stale, self._fit = False, (output.out_fit, card)
        self._compositor.draw(width, height, output.out_fit, card)
        self._hud.draw(card, self._help)
        self._list.draw()
        self._handle.flip()
        return True

    def pump(self) -> None:
        """Take in what window system and keyboard have sent; hide the pointer when it has rested for 2 s."""
        if self.closed:
            return
        self._handle.switch_to()
        self._handle.dispatch_events()
        if self._x11_drops is not None and not self.closed:
            self._x11_drops.pump(self._handle)
        allowed, shown = self._cursor
        wanted = allowed and self._clock() - self._moved_s < CURSOR_IDLE_S
        if wanted != shown and not self.closed:
            self._handle.set_mouse_visible(wanted)
            self._cursor = (allowed, wanted)

    def compose(self, picture: Picture | None, output: Any) -> None:
        """Compose without showing, to `grab` what is recorded."""
        self._handle.switch_to()
        self._stale |= self._compositor.compose(picture, output)

    def grab(self) -> np.ndarray:
        """The composed picture (H, W, 3) uint8 without the display, top row first; empty before the first one."""
        self._handle.switch_to()
        return self._compositor.grab()

    def close(self) -> None:
        """Close the window."""
        self.closed = True
        if self._handle is not None:
            self._handle.pop_handlers()
            self._handle.close()
            self._handle = None

    def _move(self, fullscreen: bool, screen: int) -> None:
        """Open the window at another place; where that fails, say so, stay, and do not try again by itself."""
        try:
            self._open(fullscreen, screen)
        except (DeviceError, *_window_errors()) as error:
            text = f"cannot move the window: {str(error) or type(error).__name__}; it stays where it is"
            log.warning(text)
            self._notice = ((text, self._clock() + NOTICE_S),)
        else:
            self._compositor.attach()

    def _open(self, fullscreen: bool, screen: int) -> None:
        """Open the window at its place. To change between window and fullscreen it is made anew, because pyglet's own
        change lands on the wrong screen under X11 window managers (pyglet#1330); there fullscreen is borderless."""
        before, was_fullscreen = self._handle, self._fullscreen
        self._place = (fullscreen, screen)
        screens = pyglet.display.get_display().get_screens()
        if not screens:
            raise DeviceError("no screen is connected")
        place = screens[min(screen, len(screens)) - 1]
        self._handle, self._corrections = self._make_handle(fullscreen, place), NUM_CORRECTIONS
        self._fullscreen = fullscreen
        names = ["key_press", "text", "text_motion", "mouse_motion", "file_drop"]
        names += ["resize", "expose", "show", "hide", "close"]
        handlers = {f"on_{name}": functools.partial(getattr(self, f"_on_{name}")) for name in names}
        self._handle.push_handlers(**handlers)  # partials, because pyglet would hold bound methods weakly
        self._hud, self._stale, self._visible = None, True, True
        self._cursor, self._moved_s = (self._cursor[0], True), self._clock()
        if before is not None:
            before.pop_handlers()
            before.close()
            self._handle.switch_to()
        if fullscreen and before is not None and not was_fullscreen:
            self._hud_before = self._value_of("window/hud")
            self._on_event("/ltx/window/hud", ("off",))
        elif was_fullscreen and not fullscreen:
            self._on_event("/ltx/window/hud", (self._hud_before,))

    def _make_handle(self, fullscreen: bool, place: Any) -> Any:
        options: dict[str, Any] = {"caption": TITLE, "screen": place, "vsync": True, "file_drops": True}
        if fullscreen and sys.platform != "linux":
            return pyglet.window.Window(fullscreen=True, **options)
        width, height = (place.width, place.height) if fullscreen else self._size
        if fullscreen:
            options["style"] = pyglet.window.Window.WINDOW_STYLE_BORDERLESS
        handle = pyglet.window.Window(width, height, resizable=not fullscreen, **options)
        if sys.platform == "linux":
            from ltx_live.stage import x11_drops  # there is no X11 library elsewhere

            self._x11_drops = x11_drops
            x11_drops.repair(handle)
        if fullscreen:
            handle.set_location(place.x, place.y)
        else:
            handle.set_minimum_size(*SMALLEST)
            handle.set_location(place.x + (place.width - width) // 2, place.y + (place.height - height) // 2)
        handle.activate()
        return handle

    def _on_key_press(self, symbol: int, modifiers: int) -> bool:
        key = pyglet.window.key
        ctrl = bool(modifiers & (key.MOD_CTRL | key.MOD_COMMAND))
        name = keys.chord(
            key.symbol_string(symbol), bool(modifiers & key.MOD_SHIFT), ctrl, bool(modifiers & key.MOD_ALT)
        )
        self._swallow_text = False
        name, self._prefix = self._prefix + name, ""
        if self._field is not None:
            self._edit(name)
        elif self._picker is not None and (wish := self._picker.press(name, self._loras)):
            if wish is not True:
                self._on_event(*wish)
        elif name in self._keys:
            entry = self._keys[name]
            if entry.action == "local":
                getattr(self, f"_do_{entry.value}")()
            else:
                self._on_event(*keys.message(entry, self._value_of))
        return pyglet.event.EVENT_HANDLED

    def _edit(self, name: str) -> None:
        """A key while the prompt field is open: all but these are text."""
        if name == "Enter" and self._field.text.strip():
            self._on_event("/ltx/prompt", (self._field.text.strip(),))
        if name in ("Enter", "Esc"):
            self._field = None
        elif name == "Ctrl+V" and sys.platform in ("win32", "darwin"):  # pyglet on X11 waits for the owner for ever
            self._field.insert(self._handle.get_clipboard_text())
        elif name == "Ctrl+Q":
            self._do_quit()

    def _on_text(self, text: str) -> None:
        if self._field is not None and not self._swallow_text:
            self._field.insert(text)
        self._swallow_text = False

    def _on_text_motion(self, motion: int) -> None:
        name = pyglet.window.key.motion_string(motion).removeprefix("MOTION_")
        if self._field is not None and name == "UP":
            self._field = TextField(self._value_of("prompt"))
        elif self._field is not None:
            self._field.move(name)

    def _do_edit(self) -> None:
        self._field, self._swallow_text, self._help, self._picker = TextField(), True, False, None

    def _do_loras(self) -> None:
        self._picker, self._help, self._stale = Picker() if self._picker is None else None, False, True

    def _do_save(self) -> None:
        self._prefix = keys.SAVE
        self._notice = (("save a snapshot: press its number", self._clock() + QUIT_AGAIN_S),)

    def _do_help(self) -> None:
        self._help, self._stale = not self._help, True

    def _do_escape(self) -> None:
        if self._picker is not None:
            self._picker = None
        elif self._help:
            self._do_help()
        elif self._value_of("midi/learn"):
            self._on_event("/ltx/midi/learn", ("",))
        elif self._place[0]:
            self._on_event("/ltx/window/fullscreen", (0,))

    def _do_quit(self) -> None:
        now_s = self._clock()
        self.closed = now_s - self._quit_s < QUIT_AGAIN_S
        self._quit_s = now_s
        self._notice = (("press Ctrl+Q again to quit", now_s + QUIT_AGAIN_S),)

    def _on_mouse_motion(self, *_: int) -> None:
        self._moved_s = self._clock()

    def _on_file_drop(self, x: int, y: int, paths: list[str]) -> None:
        for path in paths:
            try:
                self._on_event(*drops.message(path, Path(path).is_dir()))
            except MediaError as error:
                log.warning("%s", error)
                self._notice = ((str(error), self._clock() + NOTICE_S),)

    def _on_resize(self, width: int, height: int) -> None:
        if not self._fullscreen:
            self._size = (width, height)
        elif (width, height) != (self._handle.screen.width, self._handle.screen.height) and self._corrections:
            self._corrections -= 1  # openbox may take a borderless window to another screen first and shrink it
            self._handle.set_size(self._handle.screen.width, self._handle.screen.height)
            self._handle.set_location(self._handle.screen.x, self._handle.screen.y)
        self._hud, self._stale = None, True

    def _on_expose(self) -> None:
        self._stale = True

    def _on_show(self) -> None:
        self._visible = self._stale = True

    def _on_hide(self) -> None:
        self._visible = False

    def _on_close(self) -> bool:
        self.closed = True
        return pyglet.event.EVENT_HANDLED


def list_screens() -> list[str]:
    """Size and place of each screen, in their order; raises DeviceError without a display."""
    try:
        screens = pyglet.display.get_display().get_screens()
    except _window_errors() as error:
        raise DeviceError(f"no display: {str(error) or type(error).__name__}; set DISPLAY") from None
    return [f"{screen.width}x{screen.height} at {screen.x},{screen.y}" for screen in screens]
