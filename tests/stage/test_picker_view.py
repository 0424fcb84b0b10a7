"""The list of LoRA files in the real window, with a keyboard."""

LIST = """
import subprocess, time
import numpy as np
from ltx_live import params
from ltx_live.stage.hud_state import HudState
from ltx_live.stage.timeline import Frame, Picture
from ltx_live.stage.window import Window

WIDTH, HEIGHT = {size}
values, events = params.defaults() | {{"window/hud": "off"}}, []
window = Window(lambda *event: events.append(event), values.get, (WIDTH, HEIGHT))
picture = Picture(Frame(np.full((36, 64, 3), (0, 0, 255), np.uint8), 0, 0, 0))
long = "a-name-that-is-much-too-long-" * 6
rows = tuple((f"file {{k}}", "style", "16", 1, "yes", "", "") for k in range(9)) + (
    (long, "style", "16", 1, "no", "2", f"/a/{{long}}.safetensors: it fits no model; " + "choose another one " * 6),
)
hud = HudState(state="playing", prompt="a prompt", loras=rows)

def screen(*keys):
    for key in keys:
        subprocess.run(["xdotool", "key", key], check=True)
    for _ in range(6):
        window.pump()
        window.show(picture, params.snapshot(params.OutputParams, values), hud)
        time.sleep(0.05)
    raw = subprocess.run(["import", "-window", "root", "-depth", "8", "rgb:-"], capture_output=True, check=True).stdout
    seen = np.frombuffer(raw, np.uint8).reshape(800, 1280, 3).astype(int)
    top, left = (800 - HEIGHT) // 2, (1280 - WIDTH) // 2
    return seen[top : top + HEIGHT, left : left + WIDTH]

def letters(seen):
    return seen.min(axis=2) > 150

screen()
search = subprocess.run(["xdotool", "search", "--name", "^ltx_live$", "windowfocus", "--sync"], check=True)
blank = screen()
opened = screen("l")
assert letters(opened).sum() > 500 > letters(blank).sum(), "it is there although the display is off"
moved = screen("Down")
assert (moved != opened).any(axis=2).sum() > 1000, "the chosen line"
assert events == []
screen("3", "Return", "Right", "Delete", "b", "F12")
wanted = [("/ltx/lora/3/name", ("file 1",)), ("/ltx/lora/4/name", ("",))]
assert events == [*wanted, ("/ltx/out/blackout", (1,)), ("/ltx/sys/panic", ())], events
faulty = screen("Up", "Up")
amber = (faulty[..., 0] > 200) & (faulty[..., 1] > 140) & (faulty[..., 2] < 120)
rows_of, columns = np.flatnonzero(amber.any(axis=1)), np.flatnonzero(amber.any(axis=0))
assert len(rows_of) and columns[0] > WIDTH * 0.04 and columns[-1] < WIDTH * 0.96, (columns[0], columns[-1])
help_rows = np.flatnonzero(letters(faulty).any(axis=1) | (faulty.min(axis=2) > 140).any(axis=1))
assert rows_of[-1] < help_rows[-1] - 3, "the fault does not run into the line of keys"
edges = np.concatenate([faulty[:, : int(WIDTH * 0.04)], faulty[:, -int(WIDTH * 0.035) :]], axis=1)
assert (edges == blank[0, 0]).all(), "nothing leaves the list"
assert np.array_equal(screen("Escape"), blank)
assert letters(screen("l")).sum() > 500 and np.array_equal(screen("l"), blank)
print("LISTED")
"""


def test_it_opens_over_the_picture_and_keys_choose(display, run_script):
    for size in ((1024, 576), (640, 360)):
        assert "LISTED" in run_script(LIST.format(size=size), display)
