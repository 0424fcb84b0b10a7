"""The window on a real X server: pixels as they are on the screen, keys as a keyboard sends them."""

import json
import os
import subprocess
import threading
import time

import numpy as np
import pytest

SIZE = (576, 320)
SCREEN = (1280, 800)
LEFT, TOP = (SCREEN[0] - SIZE[0]) // 2, (SCREEN[1] - SIZE[1]) // 2
RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)

SHOW = """
import contextlib, json, select, sys, time
from unittest import mock
import numpy as np
import pyglet
from ltx_live import params
from ltx_live.stage.hud_state import HudState
from ltx_live.stage.timeline import Frame, Picture
from ltx_live.stage.window import Window

values = params.defaults() | {"window/hud": "off"} | json.loads(sys.argv[1])
hud, picture, number = HudState(), None, 0

def on_event(address, args):
    print("EVENT", json.dumps([address, list(args)]))
    if address.startswith("/ltx/window/"):
        values[address[5:]] = args[0]

def quadrants(flip):
    pixels = np.zeros((160, 288, 3), np.uint8)
    pixels[:80, :144], pixels[:80, 144:], pixels[80:, :144] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    pixels[80:, 144:] = 255
    return pixels[:, ::-1] if flip else pixels

window, faults = Window(on_event, values.get, (576, 320)), contextlib.ExitStack()
print("OPEN")
while not window.closed:
    window.pump()
    drawn = window.show(picture, params.snapshot(params.OutputParams, values), hud)
    if select.select([sys.stdin], [], [], 1 / 60)[0]:
        line = sys.stdin.readline()
        if not line:
            break
        name, value = json.loads(line)
        if name == "frame":
            number += 1
            picture = Picture(Frame(quadrants(value), 0, number, 0))
        elif name == "fade":
            picture = Picture(Frame(quadrants(False), 0, 90, 0), Frame(quadrants(True), 1, 91, 0), value)
        elif name == "hud":
            hud = HudState(**value)
        elif name == "grab":
            grabbed = window.grab()
            print("GRAB", json.dumps([grabbed.shape, grabbed[40, 40].tolist(), grabbed[120, 200].tolist()]))
        elif name == "break":
            faults.close()
            if value == "no screens":
                faults.enter_context(mock.patch.object(type(pyglet.display.get_display()), "get_screens", lambda _: []))
            elif value == "no window":
                fault = pyglet.window.NoSuchConfigException("no config")
                faults.enter_context(mock.patch.object(pyglet.window, "Window", mock.Mock(side_effect=fault)))
        elif name == "idle":
            output = params.snapshot(params.OutputParams, values)
            print("IDLE", sum(window.show(picture, output, hud) for _ in range(9)))
        else:
            values[name] = value
        window.pump()
        window.show(picture, params.snapshot(params.OutputParams, values), hud)
        print("DONE")
window.close()
print("CLOSED")
"""


class Show:
    """The show's window in a process of its own, with a hand on it."""

    def __init__(self, process, environment, width=SCREEN[0]):
        self.process, self.environment, self.events = process, os.environ | environment, []
        self.width = width
        self.wait_for("OPEN")

    def wait_for(self, word):
        while line := self.process.stdout.readline():
            head, _, rest = line.strip().partition(" ")
            if head == "EVENT":
                self.events.append(json.loads(rest))
            if head == word:
                return rest
        raise AssertionError(f"the window ended before {word}")

    def do(self, name, value=None, word=None):
        self.process.stdin.write(json.dumps([name, value]) + "\n")
        answer = self.wait_for(word) if word else None
        self.wait_for("DONE")
        return answer

    def end(self):
        self.process.stdin.close()
        self.wait_for("CLOSED")

    def screen(self):
        raw = subprocess.run(
            ["import", "-window", "root", "-depth", "8", "rgb:-"], env=self.environment, capture_output=True, check=True
        ).stdout
        return np.frombuffer(raw, np.uint8).reshape(-1, self.width, 3)

    def inside(self):
        return self.screen()[TOP : TOP + SIZE[1], LEFT : LEFT + SIZE[0]]

    def corners(self):
        seen = self.inside()
        return [tuple(seen[y, x].tolist()) for y, x in ((60, 100), (60, 470), (260, 100), (260, 470))]

    def xdotool(self, *arguments):
        subprocess.run(["xdotool", *map(str, arguments)], env=self.environment, check=True, capture_output=True)

    def focus(self):
        """Give the keyboard to the newest of the windows, as a window manager would."""
        self.xdotool("search", "--sync", "--onlyvisible", "--name", "^ltx_live$")
        found = subprocess.check_output(["xdotool", "search", "--name", "^ltx_live$"], env=self.environment)
        self.xdotool("windowfocus", "--sync", max(found.split(), key=int).decode())

    def press(self, *names):
        """Press keys; the events they make, once a last unbound round trip shows that they have all arrived."""
        self.events.clear()
        self.xdotool("key", "--delay", "20", *names)
        time.sleep(0.15)
        self.do("tempo/bpm", 120.0)
        return [(address, tuple(args)) for address, args in self.events]


@pytest.fixture(scope="module")
def open_show(start_script, display):
    shows = []

    def make(**values):
        show = Show(start_script(SHOW, display, arguments=[json.dumps(values)]), display)
        shows.append(show)
        show.focus()
        show.xdotool("mousemove", 10, 10)
        return show

    yield make
    for show in shows:
        show.process.stdin.close()
        show.process.wait(10)


@pytest.fixture(scope="module")
def shared(open_show):
    return open_show()


@pytest.fixture
def show(shared):
    for name, value in (("out/blackout", False), ("out/freeze", False), ("out/master", 1.0), ("out/hue", 0.0)):
        shared.do(name, value)
    shared.do("window/hud", "off")
    shared.do("frame", False)
    return shared


def test_the_title_card_is_there_within_two_seconds_and_reads_loading(start_script, display):
    began = time.monotonic()
    show = Show(start_script(SHOW, display, arguments=[json.dumps({"window/hud": "full"})]), display)
    show.do("hud", {"state": "loading", "detail": "loading the pocket model"})
    assert time.monotonic() - began < 2.0
    seen = show.inside()
    assert (seen.min(axis=2) > 200).sum() > 300, "white letters"
    assert 0 < seen[300, 288].max() < 120, "on a dark, not black, ground"
    show.end()


def test_pixels_orientation_and_channel_order_are_exact(show):
    assert show.corners() == [RED, GREEN, BLUE, WHITE]
    show.do("frame", True)
    assert show.corners() == [GREEN, RED, WHITE, BLUE]
    assert json.loads(show.do("grab", word="GRAB")) == [[160, 288, 3], list(GREEN), list(BLUE)]


def test_blackout_is_black_in_the_next_frame_and_comes_back(show):
    show.do("out/blackout", True)
    assert not show.inside().any()
    show.do("out/blackout", False)
    assert show.corners() == [RED, GREEN, BLUE, WHITE]


def test_master_halves_and_hue_turns(show):
    show.do("out/master", 0.5)
    assert all(abs(int(a) - b / 2) <= 1 for got, full in zip(show.corners(), (RED, GREEN, BLUE, WHITE), strict=True)
               for a, b in zip(got, full, strict=True))  # fmt: skip
    show.do("out/master", 1.0)
    show.do("out/hue", 180.0)
    assert show.corners() == [(0, 255, 255), (255, 0, 255), (255, 255, 0), WHITE]


def test_freeze_keeps_the_frame_but_not_the_look(show):
    show.do("out/freeze", True)
    show.do("frame", True)
    assert show.corners() == [RED, GREEN, BLUE, WHITE]
    show.do("out/blackout", True)
    assert not show.inside().any()
    show.do("out/blackout", False)
    show.do("out/freeze", False)
    assert show.corners() == [GREEN, RED, WHITE, BLUE]


def test_two_frames_blend(show):
    show.do("fade", 0.25)
    near = np.array(show.corners()) - [(191, 64, 0), (64, 191, 0), (64, 64, 255), (191, 191, 255)]
    assert np.abs(near).max() <= 1
    show.do("fade", 1.0)
    assert show.corners() == [GREEN, RED, WHITE, BLUE]


def test_nothing_is_drawn_when_nothing_changes(show):
    time.sleep(0.2)
    assert show.do("idle", word="IDLE") == "0"


def test_letterbox_and_fill(show):
    """576x320 is 9:5, the shape of the picture; a window of 400x400 is not."""
    show.xdotool("search", "--name", "^ltx_live$", "windowsize", "--sync", 400, 400)
    show.do("frame", False)
    time.sleep(0.2)
    show.do("frame", False)
    seen = show.screen()[TOP : TOP + 400, LEFT : LEFT + 400]
    assert not seen[:80].any() and not seen[-80:].any()
    assert tuple(seen[150, 50]) == RED and tuple(seen[250, 350]) == WHITE
    show.do("out/fit", "fill")
    seen = show.screen()[TOP : TOP + 400, LEFT : LEFT + 400]
    assert tuple(seen[10, 10]) == RED and tuple(seen[390, 390]) == WHITE and tuple(seen[10, 390]) == GREEN
    show.do("out/fit", "letterbox")
    show.xdotool("search", "--name", "^ltx_live$", "windowsize", "--sync", *SIZE)
    time.sleep(0.2)


def test_the_display_shows_and_hides(show):
    plain = show.inside()
    show.do("hud", {"state": "playing", "prompt": "a slow blue tunnel", "messages": [["hello", 1e12]]})
    assert np.array_equal(show.inside(), plain)
    for mode, fewest in (("min", 500), ("full", 1500)):
        show.do("window/hud", mode)
        time.sleep(0.15)
        show.do("window/hud", mode)
        assert (show.inside() != plain).any(axis=2).sum() > fewest
    show.do("window/hud", "off")
    assert np.array_equal(show.inside(), plain)


KEYS = {
    "1": ("/ltx/bank/1/connect", ()),
    "0": ("/ltx/bank/10/connect", ()),
    "shift+2": ("/ltx/bank/12/connect", ()),
    "b": ("/ltx/out/blackout", (1,)),
    "f": ("/ltx/out/freeze", (1,)),
    "shift+f": ("/ltx/pause", (1,)),
    "Up": ("/ltx/out/master", ("+", 0.05)),
    "shift+Down": ("/ltx/out/master", ("-", 0.01)),
    "r": ("/ltx/reseed", ()),
    "shift+r": ("/ltx/randomize_seed", (0,)),
    "v": ("/ltx/rec/toggle", ()),
    "bracketleft": ("/ltx/av/offset", ("-", 10.0)),
    "F12": ("/ltx/sys/panic", ()),
    "ctrl+2": ("/ltx/window/screen", (2,)),
}


@pytest.mark.parametrize("name", KEYS)
def test_keys_are_control_messages(show, name):
    assert show.press(name) == [KEYS[name]]


def test_tab_goes_round_and_space_taps_the_tempo(show):
    assert show.press("Tab", "h") == [("/ltx/window/hud", ("min",)), ("/ltx/window/hud", ("full",))]
    assert show.press("space", "Escape", "x") == [("/ltx/tempo/tap", ())]


def test_a_prompt_is_written_in_the_window(show):
    show.press("p")
    show.xdotool("type", "--delay", "20", "a slow blue tunnel, b1 f")
    assert show.press("BackSpace", "Home", "Delete", "Delete", "End", "exclam", "Return") == [
        ("/ltx/prompt", ("slow blue tunnel, b1 !",))
    ]
    assert show.press("Return", "b", "Escape", "b") == [("/ltx/out/blackout", (1,))], "Esc leaves without a message"
    assert show.press("p", "Return") == [], "an empty prompt is none"


def test_help_covers_the_picture_until_esc(show):
    show.press("F1")
    assert show.inside()[60, 560].max() < 60
    show.press("Escape")
    assert show.corners() == [RED, GREEN, BLUE, WHITE]


OWNER = """
import time, pyglet
window = pyglet.window.Window(16, 16, visible=False, caption="owner")
window.set_clipboard_text("never given")
window.dispatch_events()
print("OWNS")
time.sleep(60)
"""


def test_a_clipboard_that_does_not_answer_stops_nothing(show, start_script, display):
    owner = start_script(OWNER, display)
    assert owner.stdout.readline() == "OWNS\n"
    watch = threading.Timer(10, show.process.kill)
    watch.start()
    assert show.press("p", "ctrl+v", "Escape", "b") == [("/ltx/out/blackout", (1,))]
    watch.cancel()
    owner.kill()


def test_fullscreen_hides_the_display_keeps_a_frozen_frame_and_comes_back(open_show):
    show = open_show(**{"window/hud": "full"})
    show.do("frame", False)
    show.do("out/freeze", True)
    show.do("frame", True)
    assert show.press("F11") == [("/ltx/window/fullscreen", (1,)), ("/ltx/window/hud", ("off",))]
    time.sleep(0.2)
    show.do("frame", True)
    seen = show.screen()
    assert [tuple(seen[y, x]) for y, x in ((80, 5), (80, 1275), (720, 5), (720, 1275))] == [RED, GREEN, BLUE, WHITE]
    show.focus()
    assert show.press("Escape") == [("/ltx/window/fullscreen", (0,)), ("/ltx/window/hud", ("full",))]
    show.focus()
    assert show.press("ctrl+q") == []
    time.sleep(2.1)
    assert show.press("ctrl+q") == [], "two presses too far apart do not quit"
    show.xdotool("key", "ctrl+q")
    show.wait_for("CLOSED")


def test_a_show_that_opened_in_fullscreen_has_the_display_when_it_leaves(open_show):
    show = open_show(**{"window/fullscreen": True, "window/hud": "off"})
    assert show.press("Escape") == [("/ltx/window/fullscreen", (0,)), ("/ltx/window/hud", ("full",))]
    show.end()


@pytest.mark.parametrize("fault", ["no screens", "no window"])
def test_a_window_that_cannot_move_goes_on_where_it_is(open_show, fault):
    show = open_show(**{"window/hud": "min"})
    show.do("frame", False)
    show.do("break", fault)
    show.events.clear()
    show.do("window/fullscreen", True)
    show.do("frame", True)
    time.sleep(0.2)
    show.do("frame", True)
    assert show.events == [], "the display is left as it was"
    assert show.corners()[1:] == [RED, WHITE, BLUE]
    assert show.inside()[:40, :300].any(axis=2).sum() and tuple(show.inside()[14, 14]) != GREEN, "the notice"
    show.do("break", "")
    show.do("window/fullscreen", False)
    show.do("window/fullscreen", True)
    assert ["/ltx/window/hud", ["off"]] in show.events
    show.end()


def test_fullscreen_covers_the_screen_that_was_chosen(two_screens, start_script):
    show = Show(start_script(SHOW, two_screens, arguments=[json.dumps({})]), two_screens, width=1280 + 1024)
    show.do("frame", False)
    show.do("out/fit", "fill")
    places = {"first": (0, 0, 1280, 720), "second": (1280, 0, 2304, 576)}
    moves = (("window/screen", 2, None), ("window/fullscreen", True, "second"), ("window/screen", 1, "first"))
    for name, value, expected in (*moves, ("window/screen", 2, "second"), ("window/fullscreen", False, None)):
        show.do(name, value)
        for _ in range(10):
            time.sleep(0.05)
            show.do("out/fit", "fill")
        lit = np.isin(show.screen() @ [1, 2, 4], [255, 510, 1020, 1785])  # red, green, blue, white
        rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
        if expected:
            assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == places[expected], (name, value)
        else:
            assert columns[0] > 1280 and abs(rows[-1] - rows[0] - SIZE[1]) < 40, "with or without a title bar"
    show.end()


def test_no_display_is_one_clear_line(run_script):
    script = """
    from ltx_live import params
    from ltx_live.errors import DeviceError
    from ltx_live.stage.window import Window
    try:
        Window(print, params.defaults().get)
    except DeviceError as error:
        print("ERROR", error)
    """
    out = run_script(script, {"DISPLAY": ":4711"})
    assert out.startswith("ERROR no window: ") and "--headless" in out and out.count("\n") == 1
