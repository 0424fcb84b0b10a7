"""Real parts for the stage: an X server, a PulseAudio null sink and a JACK server."""

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lacking(reason):
    """Skip the test, but in CI, whose Linux machines have everything (tools/system-packages.sh test)."""
    must_run = os.environ.get("CI") == "true" and sys.platform == "linux" and os.geteuid() == 0
    (pytest.fail if must_run else pytest.skip)(reason)


def need(*programs):
    for program in programs:
        if shutil.which(program) is None:
            lacking(f"{program} is not installed")


def wait_until(condition, what, timeout_s=10.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {timeout_s} s"
        time.sleep(0.05)


def stop(process):
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()


@pytest.fixture(scope="session")
def run_script():
    """Run Python source in a process of its own, with extra environment; gives its output, fails when it fails."""

    def run(source, environment=None, timeout_s=60, arguments=()):
        env = os.environ | {"PYTHONPATH": str(ROOT)} | (environment or {})
        command = [sys.executable, "-c", textwrap.dedent(source), *map(str, arguments)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout_s, cwd=ROOT)
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def start_script():
    """Start Python source in a process of its own; all of them are ended with the session."""
    started = []

    def start(source, environment=None, arguments=()):
        env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | (environment or {})
        command = [sys.executable, "-c", textwrap.dedent(source), *map(str, arguments)]
        process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, bufsize=1
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            stop(process)


@pytest.fixture(scope="session")
def display():
    """An X server without a window manager, 1280x800; the environment that reaches it."""
    need("Xvfb", "xdotool", "import")
    read_end, write_end = os.pipe()
    command = ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "1280x800x24", "+extension", "GLX"]
    command += ["+extension", "RANDR", "-nolisten", "tcp", "-noreset"]
    server = subprocess.Popen(command, pass_fds=[write_end], stderr=subprocess.DEVNULL)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        number = pipe.readline().strip()
    assert number, "Xvfb did not start"
    yield {"DISPLAY": f":{number}", "LIBGL_ALWAYS_SOFTWARE": "1"}
    stop(server)


@pytest.fixture(scope="session")
def pulse():
    """A PulseAudio server with one null sink, `ltx_out`, kept at low latency by a recorder; its environment."""
    need("pulseaudio", "pactl", "parec")
    folder = Path(tempfile.mkdtemp(prefix="pa"))  # a short path: it holds a unix socket
    env = {"XDG_RUNTIME_DIR": str(folder), "PULSE_SINK": "ltx_out", "HOME": str(folder)}
    command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--log-level=error", "--use-pid-file=no"]
    command += ["-L", "module-native-protocol-unix", "-L", "module-null-sink sink_name=ltx_out rate=48000 channels=2"]
    all_env = os.environ | env
    server = subprocess.Popen(command, env=all_env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    info = ["pactl", "info"]
    wait_until(lambda: subprocess.run(info, env=all_env, capture_output=True).returncode == 0, "pulseaudio")
    keep = ["parec", "--device=ltx_out.monitor", "--latency-msec=10", "--raw"]
    recorder = subprocess.Popen(keep, env=all_env, stdout=subprocess.DEVNULL)
    time.sleep(2)  # until the recorder has brought the sink to low latency
    yield env
    stop(recorder)
    stop(server)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def jack():
    """A JACK server on its dummy driver, one per test because a test may kill it: (its environment, its process)."""
    need("jackd", "jack_wait")
    name = "ltxstage"  # always the same: jackd keeps at most 8 names of killed servers, and takes its own over
    env = {"JACK_DEFAULT_SERVER": name, "JACK_NO_START_SERVER": "1"}
    command = ["jackd", "-R", "-P", "70", "-n", name, "-d", "dummy", "-r", "48000", "-p", "1024", "-C", "2", "-P", "2"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ready = subprocess.run(["jack_wait", "-s", name, "-w", "-t", "5"], capture_output=True)
    assert ready.returncode == 0, "jackd did not start"
    yield env, server
    if server.poll() is None:
        stop(server)


XORG_CONF = """
Section "ServerFlags"
 Option "DontVTSwitch" "true"
 Option "AutoAddDevices" "false"
 Option "AutoEnableDevices" "false"
 Option "AutoAddGPU" "false"
EndSection
Section "Device"
 Identifier "dummy"
 Driver "dummy"
 VideoRam 256000
EndSection
Section "Monitor"
 Identifier "monitor"
 HorizSync 5.0-1000.0
 VertRefresh 5.0-200.0
 Modeline "1280x720" 74.50 1280 1344 1472 1664 720 723 728 748 -hsync +vsync
 Modeline "1024x576" 46.50 1024 1064 1160 1296 576 579 584 599 -hsync +vsync
EndSection
Section "Screen"
 Identifier "screen"
 Device "dummy"
 Monitor "monitor"
 DefaultDepth 24
 SubSection "Display"
  Depth 24
  Modes "1280x720" "1024x576"
  Virtual 4096 2048
 EndSubSection
EndSection
"""


@pytest.fixture(params=["no window manager", "openbox"])
def two_screens(request, tmp_path):
    """An X server with screens 1280x720 and, right of it, 1024x576; the environment that reaches it."""
    need("Xorg", "xrandr", "import", *[request.param] * (request.param == "openbox"))
    (tmp_path / "xorg.conf").write_text(XORG_CONF)
    read_end, write_end = os.pipe()
    command = ["Xorg", "-displayfd", str(write_end), "-config", str(tmp_path / "xorg.conf"), "-noreset"]
    command += ["-novtswitch", "-sharevts", "-nolisten", "tcp", "-logfile", str(tmp_path / "xorg.log")]
    server = subprocess.Popen(command, pass_fds=[write_end], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        number = pipe.readline().strip()
    if not number:
        lacking("Xorg with the dummy driver does not start (package xserver-xorg-video-dummy)")
    env = {"DISPLAY": f":{number}", "LIBGL_ALWAYS_SOFTWARE": "1"}
    second = ["--output", "DUMMY1", "--mode", "1024x576", "--right-of", "DUMMY0"]
    for arguments in (["--addmode", "DUMMY1", "1024x576"], second):
        subprocess.run(["xrandr", *arguments], env=os.environ | env, check=True)
    manager = subprocess.Popen(["openbox"], env=os.environ | env) if request.param == "openbox" else None
    time.sleep(0.5)
    yield env
    if manager:
        stop(manager)
    stop(server)
