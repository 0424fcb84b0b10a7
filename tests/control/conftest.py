"""Real parts for control: a JACK server, which carries MIDI where a machine has no other transport."""

import os
import shutil
import subprocess
import sys

import pytest


@pytest.fixture
def jack():
    """A JACK server on its dummy driver, real-time priority not asked for: the environment that reaches it."""
    if not (shutil.which("jackd") and shutil.which("jack_wait")):
        must_run = os.environ.get("CI") == "true" and sys.platform == "linux" and os.geteuid() == 0
        (pytest.fail if must_run else pytest.skip)("jackd or jack_wait is missing: apt-get install jackd2 jack-tools")
    name = "ltxmidi"  # always the same: jackd keeps at most 8 names of killed servers, and takes its own over
    command = ["jackd", "-r", "-n", name, "-d", "dummy", "-r", "48000", "-p", "1024"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ready = subprocess.run(["jack_wait", "-s", name, "-w", "-t", "10"], capture_output=True)
    assert ready.returncode == 0, "jackd did not start"
    yield {
        "JACK_DEFAULT_SERVER": name,
        "JACK_NO_START_SERVER": "1",
        "MIDO_BACKEND": "mido.backends.rtmidi/UNIX_JACK",
    }
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
