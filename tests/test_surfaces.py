"""What lies in mappings/surfaces: files load as far as their formats say, and every address in them is in the table."""

import json
import re
from pathlib import Path

import pytest

from ltx_live import params
from ltx_live.control.aliases import resolume_to_ours
from ltx_live.control.status import NAMES

SURFACES = Path(__file__).parents[1] / "mappings" / "surfaces"
FILES = sorted(path.name for path in SURFACES.iterdir())
SENT_BY_US = {"error", "sys/startup", "status"}


def text(name):
    return (SURFACES / name).read_text(encoding="utf-8")


def is_known(address):
    """Whether an address of ours, or a pattern or stand-in for some, is a row of the table or what the show sends."""
    name = address.removeprefix("/ltx/").removeprefix("norm/").replace("/N/", "/1/").rstrip("/")
    if name.endswith("*") or name in ("NAME", ""):
        return True
    if name.startswith("layers/1/"):
        return resolume_to_ours(address.replace("/N/", "/1/"), ())[0] != address
    if address.endswith("/"):  # a group
        return any(row.startswith(f"{name}/") for row in params.concrete_names())
    return name in SENT_BY_US or name.removeprefix("status/") in NAMES or name in params.concrete_names()


@pytest.mark.parametrize("name", FILES)
def test_every_address_is_in_the_table(name):
    found = re.findall(r"/ltx/[\w/*]*", text(name))
    if name.endswith(".pd"):
        found += ["/" + words.replace(" ", "/") for words in re.findall(r"oscformat (ltx [\w ]+);", text(name))]
    assert len(found) >= 2 and [address for address in found if not is_known(address)] == []


def test_the_check_can_fail():
    assert not is_known("/ltx/out/mastr") and not is_known("/ltx/layers/2/clips/1/connect")


def test_every_alias_of_the_page_is_one():
    found = re.findall(r"/composition/[\w/]+", text("resolume.md"))
    whole = [address.replace("/N/", "/7/") for address in found if address != "/composition/layers/1"]
    assert len(whole) >= 10
    assert [address for address in whole if not resolume_to_ours(address, (1,))[0].startswith("/ltx/")] == []


def test_every_file_is_told_of():
    for name in FILES:
        assert name == "README.md" or f"({name})" in text("README.md"), name


def test_the_max_patch_is_whole():
    patcher = json.loads(text("ltx_live.maxpat"))["patcher"]
    boxes = {box["box"]["id"]: box["box"] for box in patcher["boxes"]}
    assert len(boxes) == len(patcher["boxes"]) > 40
    for line in patcher["lines"]:
        (source, outlet), (target, inlet) = line["patchline"]["source"], line["patchline"]["destination"]
        assert outlet < boxes[source]["numoutlets"] and inlet < boxes[target]["numinlets"], line
    route = next(box for box in boxes.values() if box.get("text", "").startswith("route /ltx/out/master"))
    assert route["numoutlets"] == len(route["text"].split())


def test_the_pure_data_patch_is_whole():
    """Its cords join objects that are there, in the canvas and in its subpatch."""
    canvases, ended = [], []
    for line in text("ltx_live.pd").replace("\n", " ").split("; "):
        match line.split()[:2]:
            case ["#N", "canvas"]:
                canvases.append([0, []])
            case ["#X", "restore"]:
                ended.append(canvases.pop())
                canvases[-1][0] += 1
            case ["#X", "connect"]:
                canvases[-1][1].append([int(word.strip(";")) for word in line.split()[2:6]])
            case ["#X", _]:
                canvases[-1][0] += 1
    for num_objects, cords in [*canvases, *ended]:
        assert all(max(source, target) < num_objects for source, _, target, _ in cords)
    assert len(ended) == 1 and len(ended[0][1]) > 80


def test_the_open_stage_control_session_fits_the_table():
    session = json.loads(text("open_stage_control.json"))
    assert session["type"] == "session" and session["content"]["type"] == "root"
    widgets = session["content"]["widgets"]
    assert len({widget["id"] for widget in widgets}) == len(widgets) > 30
    for widget in widgets:
        if widget["type"] == "fader":
            row = params.find(widget["address"].removeprefix("/ltx/"))
            assert widget["range"] == {"min": row.minimum, "max": row.maximum}
        if widget["type"] == "button":
            kind = params.find(widget["address"].removeprefix("/ltx/")).kind
            assert widget["mode"] == {"trigger": "tap", "bool": "toggle"}[kind]


def test_the_script_for_touchdesigner_sends_what_it_says():
    (script,) = re.findall(r"```python\n(.*?)```", text("touchdesigner.md"), re.DOTALL)
    sent, later = [], []

    class Out:
        def sendOSC(self, address, args):
            sent.append((address, args))

    class Me:
        path = "/project1/script"

    names = {"op": {"osc_text": Out()}.__getitem__, "me": Me, "run": lambda code, **more: later.append((code, more))}
    exec(compile(script, "touchdesigner.md", "exec"), names)
    names["start"]()
    names["together"]({"/ltx/out/hue": 30.0})
    assert sent[0] == ("/ltx/sys/subscribe", [9131, "/ltx/*"])
    assert sent[1:] == [("/ltx/sys/hold", [1]), ("/ltx/out/hue", [30.0]), ("/ltx/sys/hold", [0])]
    assert later == [("op('/project1/script').module.start()", {"delayMilliSeconds": 30000})]
