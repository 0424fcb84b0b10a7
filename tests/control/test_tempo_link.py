"""Ableton Link: this show and another peer, in a network of their own, so that nothing leaves the machine."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ltx_live.control import tempo_link
from ltx_live.errors import DeviceError
from ltx_live.flow import Flow
from ltx_live.params import defaults

ROOT = Path(__file__).parents[2]
HAS_LINK = importlib.util.find_spec("aalink") is not None
CAN_UNSHARE = sys.platform == "linux" and os.geteuid() == 0

PEER = """
import asyncio, json, sys, time
from aalink import Link
async def join(): return Link(100.0)
link = asyncio.run(join())
link.quantum, link.enabled = 4, True
for line in sys.stdin:
    word, *number = line.split()
    if word == "set": link.tempo = float(number[0])
    print(json.dumps([time.perf_counter(), link.beat, link.tempo, link.num_peers]), flush=True)
"""
SHOW = """
import json, subprocess, sys, time
from ltx_live.flow import Flow
from ltx_live.params import defaults
peer = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
def other(line="read"):
    peer.stdin.write(line + "\\n"); peer.stdin.flush()
    return json.loads(peer.stdout.readline())
values = defaults() | {"tempo/link": True, "tempo/bpm": 120.0}
flow = Flow(None, None, values, time.perf_counter())
told = []
def ticks(seconds):
    end_s = time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        told.extend(event.args[0] for event in flow.keep_link())
        time.sleep(0.01)
def both():
    at_s, beat, bpm, num_peers = other()
    flow.keep_link()
    return {"bpm": bpm, "ours": flow.tempo.bpm, "apart": flow.tempo.beat_at(at_s) - beat, "peers": num_peers}
ticks(4)
seen = {"joined": both()}
other("set 133"); ticks(1.5); seen["theirs"] = both()
values["tempo/bpm"] = 141.0; flow.take_tempo(values, time.perf_counter()); ticks(1.5); seen["ours"] = both()
seen["told"] = told
values["tempo/link"] = False; flow.take_tempo(values, time.perf_counter())
other("set 90"); ticks(1); seen["left"] = both()
peer.stdin.close(); peer.wait(5)
print(json.dumps(seen))
"""


@pytest.mark.skipif(not HAS_LINK, reason="the extra `link` is not installed")
@pytest.mark.skipif(not CAN_UNSHARE, reason="a network of its own needs root on Linux")
def test_two_peers_keep_one_beat():
    program = 'ip link set lo up && exec "$0" -c "$1" "$2"'
    command = ["unshare", "-n", "sh", "-c", program, sys.executable, SHOW, PEER]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    for moment in ("joined", "theirs", "ours"):
        found = seen[moment]
        assert found["peers"] == 1 and found["ours"] == pytest.approx(found["bpm"], abs=0.01)
        bars = found["apart"] / 4
        assert abs(bars - round(bars)) * 4 < 0.02, "the beats of a bar are the same"
    assert seen["theirs"]["bpm"] == pytest.approx(133, abs=0.01) and seen["ours"]["bpm"] == pytest.approx(141, abs=0.01)
    assert 133.0 in seen["told"]  # what the others do reaches `tempo/bpm`
    assert seen["left"]["ours"] == pytest.approx(141, abs=0.01)


@pytest.mark.skipif(HAS_LINK, reason="the extra `link` is installed")
def test_without_the_extra_it_says_how_to_get_it():
    with pytest.raises(DeviceError, match=r"pip install 'ltx-live\[link\]'"):
        tempo_link.LinkPeer(120.0)
    with pytest.raises(DeviceError, match="Ableton Link is not here"):
        Flow(None, None, None, defaults() | {"tempo/link": True}, Path())
