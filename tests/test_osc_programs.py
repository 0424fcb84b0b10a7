"""The whole show played by others' programs: liblo's oscsend and oscdump, Pure Data with the shipped patch."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ltx_live.control.osc import decode_packet, encode_message
from ltx_live.pocket.reading import BANK

ROOT = Path(__file__).parents[1]
PATCH = ROOT / "mappings" / "surfaces" / "ltx_live.pd"
LIMIT_S = 15.0

BUNDLING = """#N canvas 0 0 450 300 12;
#X obj 10 10 r bundle;
#X obj 10 40 osc/packOSC;
#X obj 10 70 list prepend send;
#X obj 10 100 list trim;
#X obj 10 130 netsend -u -b;
#X obj 200 10 r net;
#X connect 0 0 1 0;
#X connect 1 0 2 0;
#X connect 2 0 3 0;
#X connect 3 0 4 0;
#X connect 5 0 4 0;
"""

needs_liblo = pytest.mark.skipif(shutil.which("oscdump") is None, reason="missing: apt-get install liblo-tools")
needs_pd = pytest.mark.skipif(shutil.which("pd") is None, reason="missing: apt-get install puredata-core")


class Lines:
    """A program and what it prints, read as it comes."""

    def __init__(self, command, stream="stdout", **more):
        self.process = subprocess.Popen(command, **{stream: subprocess.PIPE}, **more)
        self._file = getattr(self.process, stream).fileno()
        os.set_blocking(self._file, False)
        self.text = ""

    def wait_for(self, pattern):
        """The first group of the first fit, or all of it."""
        end_s = time.monotonic() + LIMIT_S
        while time.monotonic() < end_s:
            with contextlib.suppress(BlockingIOError):
                self.text += os.read(self._file, 65536).decode()
            if found := re.search(pattern, self.text, re.MULTILINE):
                return found[1] if found.groups() else found[0]
            time.sleep(0.02)
        raise AssertionError(f"no {pattern} in:\n{self.text}")

    def end(self):
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(LIMIT_S)
        self.process.kill()


@pytest.fixture(scope="module")
def show(tmp_path_factory):
    """The show, headless, with the test card; `port` takes OSC."""
    home = tmp_path_factory.mktemp("home")
    command = [sys.executable, "-m", "ltx_live", "play", "--model", "testcard", "--size", "288x160", "--headless"]
    command += ["--osc", "127.0.0.1:0", "--midi", "none", "--home", str(home), "--quit-word", "good night"]
    show = Lines(command, "stderr", env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"})
    show.port = int(show.wait_for(r"OSC: listening on 127.0.0.1:(\d+)"))
    show.wait_for("first picture")
    show.home = home
    yield show
    show.end()


@pytest.fixture
def client():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        client.settimeout(LIMIT_S)
        yield client


def send(client, show, address, *args):
    client.sendto(encode_message(address, args), ("127.0.0.1", show.port))


def ask(client, show, address, *args):
    """The arguments of the answer to a message; what else comes is left out."""
    send(client, show, address, *args)
    while True:
        for answer, values in decode_packet(client.recv(65535))[0]:
            if answer == address:
                return values


def until(client, show, address, values):
    """Ask until the answer is so."""
    end_s = time.monotonic() + LIMIT_S
    while (found := ask(client, show, address, "?")) != values:
        assert time.monotonic() < end_s, (address, found, values)
        time.sleep(0.02)


def heard(client, for_s=0.3):
    """All messages that come within so long."""
    client.settimeout(for_s)
    found = []
    with contextlib.suppress(TimeoutError):
        while True:
            found += decode_packet(client.recv(65535))[0]
    client.settimeout(LIMIT_S)
    return found


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@needs_liblo
def test_liblo_plays_and_is_told(show, client):
    port = free_port()
    dump = Lines(["oscdump", "-L", str(port)])

    def oscsend(*message):
        subprocess.run(["oscsend", "localhost", str(show.port), *message], check=True)

    try:
        time.sleep(0.3)
        oscsend("/ltx/sys/subscribe", "is", str(port), "/ltx/{out,prompt,bank/selected,status/state}*")
        dump.wait_for(r"/ltx/out/master f 1\.000000$")
        dump.wait_for(r'/ltx/status/state s "playing"$')
        oscsend("/ltx/prompt", "s", "slow blue waves, low drone")
        dump.wait_for(r'/ltx/prompt s "slow blue waves, low drone"$')
        oscsend("/ltx/out/hue", "f", "45.5")
        dump.wait_for(r"/ltx/out/hue f 45\.500000$")
        oscsend("/ltx/out/freeze", "T")
        dump.wait_for(r"/ltx/out/freeze i 1$")
        oscsend("/ltx/out/freeze", "F")
        dump.wait_for(r"/ltx/out/freeze i 0$")
        oscsend("/ltx/bank/3/connect")
        dump.wait_for(r"/ltx/bank/selected i 3$")
        dump.wait_for(re.escape(f'/ltx/prompt s "{BANK[2][1]}"'))
        oscsend("/ltx/out/fade", "ff", "0.5", "0.3")
        dump.wait_for(r"/ltx/out/master f 0\.500000$")
        levels = [float(level) for level in re.findall(r"/ltx/out/master f (\S+)$", dump.text, re.MULTILINE)]
        assert len(levels) > 4 and levels == sorted(levels, reverse=True)
    finally:
        dump.end()
    send(client, show, "/ltx/sys/unsubscribe", port)
    send(client, show, "/ltx/out/master", 1.0)


def pd(*messages, patch=PATCH):
    """Pure Data without a window, whose receivers get these messages."""
    command = ["pd", "-nogui", "-noaudio", "-nomidi", "-stderr", "-send", "; ".join(messages), str(patch)]
    return Lines(command, "stderr", stdin=subprocess.DEVNULL)


@needs_pd
def test_the_pure_data_patch_plays_and_is_told(show, client):
    connect = "ltx-net disconnect", f"ltx-net connect 127.0.0.1 {show.port}", "ltx-print 1", "ltx-subscribe bang"
    program = pd(
        *connect, "ltx-prompt list fast red rings", "ltx-out-hue 30", "ltx-out-freeze 1", "ltx-bank-5-connect bang"
    )
    try:
        until(client, show, "/ltx/bank/selected", (5,))
        until(client, show, "/ltx/out/hue", (30.0,))
        until(client, show, "/ltx/out/freeze", (1,))
        program.wait_for(r"ltx out master 1$")  # from the dump
        program.wait_for(r"ltx status state playing$")
        send(client, show, "/ltx/prompt", "green stripes, bells")
        program.wait_for(r"ltx prompt green\\ stripes\\,\\ bells$")
        send(client, show, "/ltx/audio/volume", 0.125)
        program.wait_for(r"ltx audio volume 0\.125$")
        assert "error" not in program.text and "couldn't create" not in program.text
    finally:
        program.end()
    send(client, show, "/ltx/out/freeze", 0)


@needs_pd
@pytest.mark.skipif(not Path("/usr/lib/pd/extra/osc").is_dir(), reason="missing: apt-get install pd-osc")
def test_a_bundle_from_pure_data_is_one_change(show, client, tmp_path):
    """packOSC stamps its bundles up to 1.6 s ahead, so they wait on our heap."""
    patch = tmp_path / "bundling.pd"
    patch.write_text(BUNDLING)
    bundle = [
        f"bundle {word}" for word in ("[", "/ltx/out/hue -60", "/ltx/out/contrast 1.5", "/ltx/prompt a\\ fox", "]")
    ]
    send(client, show, "/ltx/sys/subscribe", 0, "/ltx/{out,prompt}*")
    heard(client)
    program = pd(f"net connect 127.0.0.1 {show.port}", *bundle, patch=patch)
    try:
        assert dict(heard(client, 4.0)) == {
            "/ltx/out/hue": (-60.0,), "/ltx/out/contrast": (1.5,), "/ltx/prompt": ("a fox",)
        }  # fmt: skip
    finally:
        program.end()
    send(client, show, "/ltx/sys/unsubscribe")


def test_companion_sends_one_and_zero_and_touchdesigner_repeats_itself(show, client):
    send(client, show, "/ltx/bank/2/connect")
    until(client, show, "/ltx/bank/selected", (2,))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as companion:
        for value in (1, 0):
            send(companion, show, "/ltx/bank/next", value)
            time.sleep(0.05)
    until(client, show, "/ltx/bank/selected", (3,))
    send(client, show, "/ltx/sys/subscribe", 0, "/ltx/out/*")
    heard(client)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as touchdesigner:
        for k in range(60):
            send(touchdesigner, show, "/ltx/out/saturation", 0.25 if k < 30 else 0.75)
            time.sleep(1 / 60)
    assert heard(client) == [("/ltx/out/saturation", (0.25,)), ("/ltx/out/saturation", (0.75,))]
    send(client, show, "/ltx/sys/unsubscribe")
    assert ask(client, show, "/ltx/bank/selected", "?") == (3,)


def test_a_control_does_not_wait_for_the_next_tick(show, client):
    """Headless ticks are 10 ms apart, so an answer that waited for one took 5 ms on average."""
    took_s = []
    for _ in range(61):
        time.sleep(0.011)
        start_s = time.perf_counter()
        ask(client, show, "/ltx/seed", "?")
        took_s.append(time.perf_counter() - start_s)
    assert sorted(took_s)[30] < 0.0035


def test_a_touch_ends_a_fade(show, client):
    send(client, show, "/ltx/out/fade", 0.0, 30.0)
    time.sleep(0.3)
    assert 0.95 < ask(client, show, "/ltx/out/master", "?")[0] < 1.0
    send(client, show, "/ltx/out/master", 0.75)
    time.sleep(0.3)
    assert ask(client, show, "/ltx/out/master", "?") == (0.75,)
    send(client, show, "/ltx/out/fade", "much")
    assert heard(client)[0][1][1].startswith("/ltx/out/master: 'much' is not a number")
    send(client, show, "/ltx/out/master", 1.0)


def test_a_hold_lands_together(show, client):
    send(client, show, "/ltx/sys/subscribe", 0, "/ltx/{out/hue,out/contrast,out/brightness}", 1)
    heard(client)
    for address, value in (("sys/hold", 1.0), ("out/hue", 11.0), ("out/contrast", 0.5), ("out/brightness", 0.25)):
        send(client, show, f"/ltx/{address}", value)
        time.sleep(0.1)
    assert heard(client) == []
    send(client, show, "/ltx/sys/hold", 0.0)
    packet = decode_packet(client.recv(65535))[0]
    assert dict(packet) == {"/ltx/out/hue": (11.0,), "/ltx/out/contrast": (0.5,), "/ltx/out/brightness": (0.25,)}
    send(client, show, "/ltx/sys/unsubscribe")


def test_a_still_is_what_is_shown(show, client):
    from ltx_live.media.image import read_image

    send(client, show, "/ltx/rec/name", "../a still")
    send(client, show, "/ltx/rec/still")
    show.wait_for(r"still: .*a still\.png")
    (path,) = (show.home / "recordings").glob("*.png")
    assert read_image(path).shape == (160, 288, 3) and read_image(path).max() > 150


def test_it_ends_only_by_its_word(show, client):
    for args in ((), ("good",), (1,)):
        send(client, show, "/ltx/sys/quit", *args)
        ((address, (culprit, text)),) = decode_packet(client.recv(65535))[0]
        assert (address, culprit) == ("/ltx/error", "/ltx/sys/quit") and "--quit-word" in text
    send(client, show, "/ltx/sys/quit", "good night")
    assert show.process.wait(LIMIT_S) == 0
