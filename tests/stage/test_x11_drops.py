"""Files dragged onto the real window by another program, over the XDND protocol of a real X server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("xdnd_source.py")

WINDOW = """
import time
from ltx_live import params
from ltx_live.stage.hud_state import HudState
from ltx_live.stage.window import Window

values = params.defaults()
window = Window(lambda address, args: print("EVENT", address, *args), values.get, (576, 320))
print("OPEN")
for _ in range(60 * 20):
    window.pump()
    window.show(None, params.snapshot(params.OutputParams, values), HudState())
    time.sleep(1 / 60)
    if window._notice:
        print("NOTICE", window._notice[0][0])
        break
"""


def drag(environment, uris, num_types):
    env = os.environ | environment
    number = subprocess.run(
        ["xdotool", "search", "--sync", "--onlyvisible", "--name", "^ltx_live$"],
        env=env,
        capture_output=True,
        text=True,
    )
    command = [sys.executable, str(SOURCE), number.stdout.strip(), *uris]
    done = subprocess.run(command, env=env | {"NUM_TYPES": str(num_types)}, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("num_types", [1, 3, 4])
def test_a_drag_from_another_program_arrives(start_script, display, tmp_path, num_types):
    """Of four types and more XDND has a list; pyglet's own code fails for less."""
    window = start_script(WINDOW, display)
    assert window.stdout.readline() == "OPEN\n"
    files = [tmp_path / "a picture ü.png", tmp_path / "style.safetensors", tmp_path / "frames", tmp_path / "notes.txt"]
    files[2].mkdir()
    assert "ACCEPTED 1" in drag(display, [file.as_uri() for file in files], num_types)
    out = window.stdout.read().splitlines()
    assert window.wait(10) == 0
    assert out == [
        f"EVENT /ltx/i2v_image {files[0]}",
        f"EVENT /ltx/lora/drop {files[1]}",
        f"EVENT /ltx/ref/source {files[2]}",
        "NOTICE notes.txt: drop an image, a sound, a video, a folder of frames, or a LoRA (.safetensors)",
    ]
