"""The remote page in a real Chromium, playing a real show with the test card."""

import json
import os
import queue
import re
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from ltx_live.control.osc import encode_message
from ltx_live.pocket.reading import BANK

ROOT = Path(__file__).parents[2]
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update"]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
SMALLEST_TOUCH_PX = 32  # the side of a switch; all else is taller


class Show:
    """`ltx-live play` in a process of its own, with an OSC client."""

    def __init__(self, home, http_port=0):
        command = [sys.executable, "-m", "ltx_live", "play", "--model", "testcard", "--size", "96x64", "--headless"]
        command += ["--osc", "127.0.0.1:0", "--http", f"127.0.0.1:{http_port}", "--midi", "none", "--home", str(home)]
        env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
        self._lines = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        self.osc_port = int(self.wait_for(r"OSC: listening on 127.0.0.1:(\d+)"))
        self.http_port = int(self.wait_for(r"http://127.0.0.1:(\d+)/remote"))
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def _read(self):
        for line in self.process.stderr:
            self._lines.put(line)

    def wait_for(self, pattern):
        while not (found := re.search(pattern, self._lines.get(timeout=30))):
            pass
        return found[1]

    def send(self, address, *args):
        self._socket.sendto(encode_message(address, args), ("127.0.0.1", self.osc_port))

    def value(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/ltx/{name}?VALUE") as answer:
            return json.load(answer)["VALUE"][0]

    def end(self):
        self.process.terminate()
        self.process.wait(10)
        self._socket.close()


@pytest.fixture(scope="module")
def start():
    """Starts shows, and ends those that a test has left running."""
    started = []

    def start(*arguments):
        started.append(Show(*arguments))
        return started[-1]

    yield start
    for show in started:
        show.end()


@pytest.fixture(scope="module")
def show(start, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    (home / "loras").mkdir()
    (home / "loras" / "style.safetensors").write_bytes(b"")
    return start(home)


@pytest.fixture(scope="module")
def browser():
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        must_run = os.environ.get("CI") == "true" and sys.platform == "linux" and os.geteuid() == 0
        (pytest.fail if must_run else pytest.skip)("chromium is not installed")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, headless=True, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Opens the page of a show as on a phone or elsewhere; at the end nothing may stand in its console."""
    opened, said, asked = [], [], []

    def open_it(show, **options):
        context = browser.new_context(**(options or PHONE))
        opened.append(context)
        page = context.new_page()
        page.set_default_timeout(8000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        expect.set_options(timeout=8000)
        page.goto(f"http://127.0.0.1:{show.http_port}/")
        page.wait_for_selector("body:not(.offline)")
        return page

    open_it.forgiven = "nothing"
    yield open_it
    for context in opened:
        context.close()
    assert [line for line in said if not re.search(open_it.forgiven, line)] == []
    assert len({re.match(r"\w+://[^/]+/", url)[0] for url in asked}) == 1  # nothing comes from elsewhere


@pytest.fixture
def page(open_page, show):
    show.send("/ltx/out/blackout", 0)
    show.send("/ltx/audio/mute", 0)
    return open_page(show)


def until(page, is_so, what=""):
    """Wait until the show has taken something up."""
    for _ in range(100):
        if is_so():
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"it did not happen: {what}")


def fader(page, name):
    return page.locator(f'[data-path="/ltx/{name}"] input[type=range]')


def test_a_prompt_is_typed_and_played(page, show):
    page.fill("#text", "a slow red tunnel, drums")
    assert page.evaluate("document.getElementById('prompt').classList.contains('draft')")
    page.tap("#prompt button")
    until(page, lambda: show.value("prompt") == "a slow red tunnel, drums", "the prompt")
    expect(page.locator("#applied")).to_have_text("a slow red tunnel, drums")
    page.fill("#text", "rings")
    page.press("#text", "Enter")
    until(page, lambda: show.value("prompt") == "rings", "the prompt, by Enter")


def test_a_draft_is_left_alone_and_given_up_by_escape(page, show):
    page.fill("#text", "half a though")
    show.send("/ltx/prompt", "by OSC")
    expect(page.locator("#applied")).to_have_text("by OSC")
    assert page.input_value("#text") == "half a though"
    page.press("#text", "Escape")
    assert page.input_value("#text") == "by OSC"
    show.send("/ltx/prompt", "by OSC again")
    expect(page.locator("#text")).to_have_value("by OSC again")


def test_what_is_pending_is_told_beside_what_is_seen(page, show):
    show.send("/ltx/prompt", "what is seen")
    expect(page.locator("#applied")).to_have_text("what is seen")
    show.send("/ltx/pause", 1)
    page.wait_for_selector('[data-path="/ltx/pause"][aria-pressed=true]')
    page.wait_for_timeout(1000)  # until a chunk under way is done
    page.fill("#text", "what comes")
    page.tap("#prompt button")
    expect(page.locator("#pending span")).to_have_text("what comes")
    assert page.inner_text("#applied") == "what is seen"
    page.tap('[data-path="/ltx/pause"]')
    expect(page.locator("#applied")).to_have_text("what comes")
    expect(page.locator("#pending span")).to_have_count(0)


def test_a_slider_moves_the_show_and_osc_moves_the_slider(page, show):
    show.send("/ltx/out/hue", 0)
    slider = fader(page, "out/hue")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + box["width"] / 4, middle[1], steps=5)
    until(page, lambda: 60 < show.value("out/hue") < 120, "the hue follows the hand")
    show.send("/ltx/out/hue", -90)  # somebody else, while it is held
    page.wait_for_timeout(600)
    assert float(slider.input_value()) > 60
    page.mouse.up()
    expect(fader(page, "out/hue")).to_have_value("-90")
    assert show.value("out/hue") == -90
    show.send("/ltx/out/hue", 12.5)
    expect(fader(page, "out/hue")).to_have_value("12.5")
    assert page.input_value('[data-path="/ltx/out/hue"] input.number') == "12.5"


def test_a_number_is_typed_and_what_became_of_it_is_shown(page, show):
    page.evaluate("document.querySelector('[data-group=generation]').open = true")
    field = page.locator('[data-path="/ltx/num_frames"] input.number')
    field.fill("60")
    field.press("Enter")
    expect(field).to_have_value("57")
    assert show.value("num_frames") == 57  # 8 K + 1
    field.fill("many")
    field.press("Enter")
    assert field.input_value() == "57"


def test_menus_toggles_and_buttons(page, show):
    page.evaluate("for (const it of document.querySelectorAll('details')) it.open = true")
    page.select_option('[data-path="/ltx/tempo/quantise"] select', "2 bars")
    until(page, lambda: show.value("tempo/quantise") == "2 bars", "a menu")
    page.select_option('[data-path="/ltx/tempo/quantise"] select', "now")
    page.tap('[data-path="/ltx/out/fit"] [data-choice=fill]')
    until(page, lambda: show.value("out/fit") == "fill", "a choice of two")
    page.tap('[data-path="/ltx/randomize_seed"] button')
    until(page, lambda: show.value("randomize_seed") == 0, "a toggle")
    seed = show.value("seed")
    page.tap('[data-path="/ltx/reseed"] button')
    until(page, lambda: show.value("seed") != seed, "a button")
    page.locator('[data-path="/ltx/out/master"] label').dblclick()
    until(page, lambda: show.value("out/master") == 1, "back to the default")


def test_the_bank_is_played_and_edited(page, show):
    assert page.locator(".slot").count() == 64
    page.tap('[data-slot="5"]')
    until(page, lambda: show.value("bank/selected") == 5, "the slot")
    assert show.value("prompt") == BANK[4][1]
    page.wait_for_selector('[data-slot="5"].chosen:not(.pending)')
    page.tap("#steps [aria-label='next slot']")
    page.wait_for_selector('[data-slot="6"].chosen')
    page.tap("#pages button:nth-child(3)")
    page.tap('[data-slot="40"]')  # an empty one opens
    page.fill("#slot-name", "mine")
    page.fill("#slot-text", "green grid")
    page.tap("dialog .main")
    until(page, lambda: (show.value("bank/40/name"), show.value("bank/40/text")) == ("mine", "green grid"), "a slot")
    page.tap('[data-slot="40"]')
    until(page, lambda: show.value("prompt") == "green grid", "the new slot")
    page.tap("#edit")
    page.tap('[data-slot="40"]')
    assert page.input_value("#slot-name") == "mine"
    page.tap("dialog button[value=cancel]")


def test_lora_files_are_offered_where_one_is_named(page):
    page.evaluate("document.querySelector('[data-group=lora]').open = true")
    page.focus('[data-path="/ltx/lora/2/name"] input')
    expect(page.locator('#lora-files option[value="style"]')).to_have_count(1)


def test_panic_acts_at_once_and_is_taken_back_by_holding(page, show):
    def hold():
        box = page.locator("#panic").bounding_box()
        page.mouse.move(box["x"] + 20, box["y"] + 20)
        page.mouse.down()
        page.wait_for_timeout(900)
        page.mouse.up()

    hold()  # whoever panics may press long
    page.wait_for_selector("#panic.over")
    page.tap("#panic")
    page.wait_for_timeout(900)
    assert (show.value("out/blackout"), show.value("audio/mute")) == (1, 1)
    hold()
    until(page, lambda: (show.value("out/blackout"), show.value("audio/mute")) == (0, 0), "the return")
    page.wait_for_selector("#panic:not(.over)")
    page.tap("#panic")
    until(page, lambda: (show.value("out/blackout"), show.value("audio/mute")) == (1, 1), "panic by a tap")


def test_an_error_is_a_line_on_the_page(page):
    page.fill("#text", "x" * 8001)
    page.press("#text", "Enter")
    expect(page.locator("#notice")).to_contain_text("8001 characters are too many")


def test_everything_that_can_be_set_has_its_place(page, show):
    with urllib.request.urlopen(f"http://127.0.0.1:{show.http_port}/ltx") as answer:
        tree = json.load(answer)

    def settable(node):
        if node.get("ACCESS", 0) & 2:
            yield node["FULL_PATH"]
        for child in node.get("CONTENTS", {}).values():
            yield from settable(child)

    elsewhere = r"/ltx/(prompt|sys/(panic|ping|dump|(un)?subscribe|hold|quit)"
    elsewhere += r"|(.*/)?(seek|drop|goto|list|track/\d+)|bank/(\d+/(connect|text|name)|selected|next|prev|random))"
    wanted = {path for path in settable(tree) if not re.fullmatch(elsewhere, path)}
    placed = page.evaluate("[...document.querySelectorAll('[data-path]')].map((it) => it.dataset.path)")
    assert sorted(placed) == sorted(wanted)
    meters = page.evaluate("[...document.querySelectorAll('.meter')].map((it) => it.dataset.name)")
    assert {"buffer_s", "latency_s", "chunk_s"} <= set(meters)


@pytest.mark.parametrize("size", [(390, 844), (1280, 800)])
def test_it_fits_and_can_be_touched(open_page, show, size):
    width, height = size
    page = open_page(show, viewport={"width": width, "height": height}, has_touch=True)
    page.evaluate("for (const it of document.querySelectorAll('details')) it.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    sides = page.evaluate("""[...document.querySelectorAll('button, select, input[type=range]')]
        .map((it) => it.getBoundingClientRect()).filter((it) => it.width).map((it) => Math.min(it.width, it.height))""")
    assert len(sides) > 100 and min(sides) >= SMALLEST_TOUCH_PX
    panic = page.locator("#panic").bounding_box()
    assert panic["y"] + panic["height"] <= height


def test_it_comes_back_by_itself(open_page, start, tmp_path):
    first = start(tmp_path)
    page = open_page(first)
    open_page.forgiven = "ERR_CONNECTION"  # the browser's own words
    first.end()
    page.wait_for_selector("body.offline")
    assert "no connection" in page.inner_text("#state")
    page.fill("#text", "said to nobody")
    page.press("#text", "Enter")
    expect(page.locator("#notice")).to_contain_text("was not sent")
    second = start(tmp_path, first.http_port)
    page.wait_for_selector("body:not(.offline)")
    assert page.input_value("#text") == "said to nobody"
    second.send("/ltx/out/master", 0.5)
    expect(fader(page, "out/master")).to_have_value("0.5")
    page.press("#text", "Enter")
    until(page, lambda: second.value("prompt") == "said to nobody", "the prompt")
