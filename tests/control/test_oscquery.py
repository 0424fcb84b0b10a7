"""The namespace without a server, and the announcement as another process finds it."""

import math
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ltx_live import params
from ltx_live.control.oscquery import NoContent, NoSuchAttribute, NoSuchPath, Published, attribute, host_info, read
from ltx_live.control.status import Status

ROOT = Path(__file__).parents[2]
NOW = Published()


def test_a_node_can_be_a_value_and_hold_others():
    node = read("/ltx/prompt", Published(params.defaults() | {"prompt": "a fox"}))
    assert node["VALUE"] == ["a fox"] and set(node["CONTENTS"]) >= {"visual", "speech", "sounds"}
    assert read("/ltx/prompts/3", NOW)["CONTENTS"]["weight"]["FULL_PATH"] == "/ltx/prompts/3/weight"
    assert read("/", NOW)["CONTENTS"].keys() == {"ltx"}


def test_attributes_that_are_not_there():
    assert attribute("/ltx/tempo/bpm", "RANGE", NOW) == {"RANGE": [{"MIN": 20, "MAX": 300}]}
    with pytest.raises(NoContent):
        attribute("/ltx/prompt", "RANGE", NOW)
    with pytest.raises(NoSuchAttribute):
        attribute("/ltx/prompt", "range", NOW)
    with pytest.raises(NoSuchPath):
        attribute("/ltx/prompt/loud", "VALUE", NOW)


def test_a_limit_on_one_side_is_no_clip_mode():
    node = read("/ltx/av/offset", NOW)
    assert node["CLIPMODE"] == ["both"] and node["UNIT"] == ["ms"]
    assert "CLIPMODE" not in read("/ltx/sigmas", NOW)


def test_what_json_cannot_say_is_null():
    node = read("/ltx/status/buffer_s", Published(status=Status(buffer_s=math.inf)))
    assert node["VALUE"] == [None] and node["UNIT"] == ["s"] and node["DESCRIPTION"] == "buffer"


def test_osc_on_every_address_is_asked_where_http_was():
    assert "OSC_IP" not in host_info(("0.0.0.0", 9130), 9132)
    assert host_info(("192.168.1.7", 9130), 9132)["OSC_IP"] == "192.168.1.7"


SHOW = """
import queue, sys, time
from ltx_live.control.http import WebServer
server = WebServer(queue.SimpleQueue(), ("127.0.0.1", 0), ("127.0.0.1", 9130))
server.start()
print(server.port, flush=True)
sys.stdin.readline()
server.close()
"""
BROWSER = """
import sys, time
from zeroconf import IPVersion, ServiceBrowser, Zeroconf

port, seen = int(sys.argv[1]), {}

class Listener:
    def add_service(self, zeroconf, kind, name):
        info = zeroconf.get_service_info(kind, name)
        if info and info.port == port:
            seen[name] = info
            print("found", info.parsed_addresses()[0], info.port, name, flush=True)
    def update_service(self, *change): pass
    def remove_service(self, zeroconf, kind, name):
        if name in seen:
            print("gone", flush=True)

zeroconf = Zeroconf(interfaces=["127.0.0.1"], ip_version=IPVersion.V4Only)
ServiceBrowser(zeroconf, "_oscjson._tcp.local.", Listener())
time.sleep(30)
"""
ALONE = """
import logging, queue, sys, time
logging.basicConfig(level=logging.INFO)
from ltx_live.control.http import WebServer
server = WebServer(queue.SimpleQueue(), (sys.argv[1], 0), ("127.0.0.1", 9130))
server.start()
time.sleep(1)
print(server.is_serving)
server.close()
"""
CAN_ISOLATE = sys.platform == "linux" and shutil.which("unshare") and shutil.which("ip") and os.geteuid() == 0


def test_another_process_finds_it_and_sees_it_leave():
    """In a network of its own where that can be made, so that nothing leaves the machine; else on the loopback."""
    script = f"""
    import subprocess, sys
    start = lambda *command: subprocess.Popen([sys.executable, "-c", *command], stdin=-1, stdout=-1, text=True)
    show = start({SHOW!r})
    port = show.stdout.readline().strip()
    browser = start({BROWSER!r}, port)
    print(browser.stdout.readline().strip(), flush=True)
    show.stdin.write("\\n"); show.stdin.flush()
    show.wait(10)
    print(browser.stdout.readline().strip(), flush=True)
    browser.terminate()
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    if CAN_ISOLATE:
        command = ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    found, gone = done.stdout.splitlines()
    assert found.startswith("found 127.0.0.1 "), done.stderr
    assert "ltx_live on " in found and gone == "gone"


@pytest.mark.skipif(not CAN_ISOLATE, reason="needs root on Linux, for a network of its own")
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_without_any_network_it_serves_unannounced(host):
    command = ["unshare", "-n", sys.executable, "-c", ALONE, host]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "True", done.stderr
    assert "OSCQuery is not announced: " in done.stderr and "Traceback" not in done.stderr
