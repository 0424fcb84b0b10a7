"""The real pocket through the whole show: what is recorded follows the prompt, picture and sound."""

import os
import queue
import re
import socket
import subprocess
import sys
import threading
import time

import pytest

from ltx_live.control.osc import decode_packet, encode_message
from ltx_live.media.video import read_video
from ltx_live.pocket import measure, weights_folder

DURATION_S = 12
BEFORE, AFTER = "slow blue waves, low drone", "a fast red tunnel with drums, 128 bpm"


@pytest.mark.skipif(
    not (weights_folder() / "transformer.safetensors").exists(), reason="the pocket has no weights here"
)
def test_a_new_prompt_changes_picture_and_sound(tmp_path):
    path = tmp_path / "show.mp4"
    command = [sys.executable, "-m", "ltx_live", "play", "--model", "pocket", "--headless", "--midi", "none"]
    command += ["--osc", "127.0.0.1:0", "--home", str(tmp_path / "home"), "--seed", "7", "--prompt", BEFORE]
    command += ["--duration", str(DURATION_S), "--record", str(path)]
    env = os.environ | {"PYTHONUNBUFFERED": "1"}
    play = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    reader = threading.Thread(target=lambda: [lines.put(line) for line in play.stderr], daemon=True)
    reader.start()
    try:
        port = int(wait_for(lines, r"OSC: listening on 127.0.0.1:(\d+)"))
        wait_for(lines, r"(first picture)")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(5)
            udp.connect(("127.0.0.1", port))
            while played_s(udp) < 3.5:
                time.sleep(0.1)
            udp.send(encode_message("/ltx/prompt", (AFTER,)))
        assert play.wait(80) == 0
    finally:
        play.kill()
    recorded = read_video(path)
    frames, audio = recorded.frames, recorded.audio
    second = measure.SAMPLE_RATE
    assert measure.palette_of(frames[24:72]) == "blue"
    assert measure.sound_of(audio[second : 3 * second]) == "low drone"
    assert measure.palette_of(frames[-48:]) == "red"
    assert measure.sound_of(audio[-2 * second :]) == "drums"


def played_s(udp) -> float:
    """Media time that was heard: on a slow machine it stands still now and then."""
    udp.send(encode_message("/ltx/status/clock_s", ("?",)))
    ((_, (seconds,)), *_), _ = decode_packet(udp.recv(65535))
    return seconds


def wait_for(lines, pattern: str) -> str:
    while True:
        if found := re.search(pattern, lines.get(timeout=30)):
            return found[1]
