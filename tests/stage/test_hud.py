"""The head-up display as it is drawn."""

OPENED = """
import subprocess, time
import numpy as np
from ltx_live import params
from ltx_live.stage.hud_state import HudState
from ltx_live.stage.timeline import Frame, Picture
from ltx_live.stage.window import Window

values = params.defaults() | {"window/hud": "min"}
window = Window(print, values.get, (1280, 720))
picture = Picture(Frame(np.full((36, 64, 3), (0, 0, 255), np.uint8), 0, 0, 0))

def shot(hud="min", **state):
    values["window/hud"] = hud
    for _ in range(3):
        window.pump()
        window.show(picture, params.snapshot(params.OutputParams, values), HudState(state="playing", **state))
        time.sleep(0.1)
    raw = subprocess.run(["import", "-window", "root", "-depth", "8", "rgb:-"], capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(800, 1280, 3).astype(int)

def amber(seen):
    return (seen[..., 0] > 200) & (seen[..., 1] > 140) & (seen[..., 2] < 120)
"""

DRAWN = (
    OPENED
    + """
def rows(**state):
    seen = shot(**state)
    return np.flatnonzero((seen.min(axis=2) > 200).any(axis=1)), np.flatnonzero(amber(seen).any(axis=1))

alone, nothing = rows(prompt="a slow blue tunnel")
prompt, pending = rows(prompt="a slow blue tunnel", pending="a red fox", landing_s=0.8)
assert len(nothing) == 0 < len(alone) and np.array_equal(prompt, alone)
assert 0 < len(pending) and pending[-1] < prompt[0], "the next change stands above"
assert min(np.ptp(prompt), np.ptp(pending)) > 17, (np.ptp(prompt), np.ptp(pending), "read from some metres")
print("DRAWN")
"""
)


def test_what_comes_next_is_drawn_above_what_is_seen_which_does_not_move(display, run_script):
    assert "DRAWN" in run_script(DRAWN, display)


MODE = (
    OPENED
    + """
def letters(hud, **state):
    return (shot(hud, **state).min(axis=2) > 150).sum()

plain, told = letters("full"), letters("full", mode="video mode: camera, canny")
assert told > plain + 300, (plain, told)
assert letters("min", mode="video mode: camera, canny") == letters("min") < plain + 1
print("TOLD")
"""
)


def test_what_leads_the_model_is_told_in_the_full_display_alone(display, run_script):
    assert "TOLD" in run_script(MODE, display)


LEARNING = (
    OPENED
    + """
line = "learn: move a control for out/hue   Esc ends"
told = {"messages": tuple((f"message {k}", 1e12) for k in range(6)), "prompt": "waves", "recording": True}
assert not amber(shot("off", **told)).any()
alone = amber(shot("off", **told, learning=line))
assert alone.sum() > 300 and (alone == amber(shot("off", learning=line))).all()
assert (alone == amber(shot("min", learning=line))).all(), "where it always is"
many = amber(shot("min", **told, learning=line))
assert many.sum() > alone.sum() and (many != amber(shot("min", **told))).any(), "newer messages do not push it out"
assert not amber(shot("off", **told)).any()
print("LEARNING")
"""
)


def test_what_learning_waits_for_is_the_only_line_where_the_display_is_off(display, run_script):
    assert "LEARNING" in run_script(LEARNING, display)
