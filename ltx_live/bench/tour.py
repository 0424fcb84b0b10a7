"""`ltx-live bench tour`: three minutes through every mode, by OSC from another process, with all that can go wrong.

`ltx-live play` runs headless and records; a script sends every switch of every mode, and bad input between them.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltx_live.bench import _tour_media
from ltx_live.bench._bars import Bar, print_bars
from ltx_live.control.osc import decode_packet, encode_message
from ltx_live.media.video import read_video
from ltx_live.options import Parser
from ltx_live.params import SCHEDULES

BLACK = 4.0
"""Mean of a picture (0..255) under which it is black; the darkest prompt of the tour is above 10."""

FADER_S, FADER_HZ = 4.0, 50.0


@dataclass(frozen=True)
class Step:
    """Something that is sent, `wait_s` before the next. `made` says of a chunk's parameters that it has arrived.

    Bad input has `wrong`: what a line of the show must say, while the value stays what it was.
    """

    address: str
    args: tuple[Any, ...] = ()
    wait_s: float = 3.0
    made: Callable[[dict[str, Any]], bool] | None = None
    wrong: str = ""


def _is(name: str, value: Any) -> Callable[[dict[str, Any]], bool]:
    return lambda params: params[name] == value


def _names(name: str, part: str) -> Callable[[dict[str, Any]], bool]:
    """A file is in use: the log has (name, version, ...)."""
    return lambda params: part in str(params[name])


def steps(media: _tour_media.Media) -> list[Step]:
    """The tour, in order; with the waits three minutes."""
    return [*_pictures(media), *_references(media), *_sounds(media), *_voices(media), *_generation(media)]


def _pictures(media: _tour_media.Media) -> list[Step]:
    return [
        Step("prompt", ("fast red tunnel with drums",), 4, _is("prompt", "fast red tunnel with drums")),
        Step("i2v_image", (media.image,), 4, _names("i2v_image", media.image)),
        Step("i2v_image", ("missing.png",), 2, wrong="cannot read"),
        Step("i2v_image", (media.broken_image,), 2, wrong="as an image"),
        Step("i2v_strength", (0.5,), 1),
        Step("i2v_compress", (0,), 1),
        Step("image/again", (), 4, _is("i2v_strength", 0.5)),
        Step("i2v_hold", (1,), 5, _is("i2v_hold", True)),
        Step("i2v_hold", (0,), 1),
        Step("image/grab", (), 4, _names("i2v_image", "grab-")),
        Step("image/clear", (), 2, _is("i2v_image", "")),
    ]


def _references(media: _tour_media.Media) -> list[Step]:
    return [
        Step("prompt", ("slow gold rings, low drone",), 1),
        Step("lora/1/name", ("pocket-ic-lora-structure",), 3),
        Step("ref/source", (media.video,), 5, _names("ref_source", media.video)),
        Step("ref/control", ("luminance",), 4, _is("ref_control", "luminance")),
        Step("ref/control", ("canny",), 4, _is("ref_control", "canny")),
        Step("control_strength", (0.5,), 3, _is("control_strength", 0.5)),
        Step("control_strength", (1.0,), 1),
        Step("ref/speed", (2.0,), 3, _is("ref_speed", 2.0)),
        Step("ref/seek", (1.0,), 3),
        Step("ref/loop", (0,), 1),
        Step("ref/source", ("camera:97",), 3, wrong="cannot open camera"),
        Step("ref/source", (media.one_frame,), 4, _names("ref_source", media.one_frame)),
        Step("ref/source", (media.folder,), 4, _names("ref_source", media.folder)),
        Step("ref/letterbox", (1,), 1),
        Step("ref/gamma", (1,), 4, _is("ref_gamma", True)),
        Step("ref/gamma", (0,), 1),
        Step("ref/letterbox", (0,), 1),
        Step("ref/mask", (media.image,), 4, _names("ref_mask", media.image)),
        Step("ref/mask", ("",), 1),
        Step("track/1", (0.2, 0.3), 0.5),
        Step("track/1", (0.8, 0.7), 0.5),
        Step("ref/control", ("tracks",), 4, _is("ref_control", "tracks")),
        Step("ref/control", ("none",), 1),
        Step("ref/source", ("test",), 4, _names("ref_source", "test")),
        Step("ref/source", ("",), 3, _is("ref_source", "")),
        Step("lora/1/name", ("",), 2),
    ]


def _sounds(media: _tour_media.Media) -> list[Step]:
    return [
        Step("prompt", ("slow purple plasma",), 1),
        Step("audio_input", (media.drums,), 6, _names("audio_input", media.drums)),
        Step("audio_input", (media.broken_image,), 2, wrong="sound stays as it was"),
        Step("audioin/gain", (0.5,), 3, _is("audioin_gain", 0.5)),
        Step("audioin/seek", (2.0,), 3),
        Step("audio/source", ("generated",), 4, _is("audio_source", "generated")),
        Step("audio/source", ("driving",), 2),
        Step("audio_input", (media.mono,), 5, _names("audio_input", media.mono)),
        Step("audioin/source", ("live",), 3),
        Step("audio/monitor", (1,), 3, _is("audio_monitor", True)),
        Step("audio/monitor", (0,), 1),
        *(Step("live_align", (name,), 3, _is("live_align", name)) for name in ("off", "beat", "bar", "through")),
        Step("audioin/source", ("file",), 1),
    ]


def _voices(media: _tour_media.Media) -> list[Step]:
    return [
        Step("prompt/visual", ("slow blue waves",), 1),
        Step("prompt/sounds", ("an arpeggio",), 1),
        Step("audio_input", (media.voice,), 2),
        Step("audio_mode", ("id_lora",), 8, _is("audio_mode", "id_lora")),
        Step("identity_guidance_scale", (0.0,), 5, _is("identity_guidance_scale", 0.0)),
        Step("audio_mode", ("driving",), 1),
        Step("audio_input", ("",), 2, _is("audio_input", "")),
        Step("prompt/visual", ("",), 1),
        Step("prompt/sounds", ("",), 2),
    ]


def _generation(media: _tour_media.Media) -> list[Step]:
    return [
        Step("lora/2/name", (media.foreign_lora,), 2, wrong="another model"),
        Step("lora/2/name", ("pocket-style-ink",), 4, _names("lora_name", "pocket-style-ink")),
        Step("lora/2/strength", ("fader",), 2),
        Step("lora/2/active", (0,), 3),
        Step("lora/drop", ("pocket-ic-lora-structure",), 3, _names("lora_name", "pocket-ic-lora-structure")),
        Step("randomize_seed", (1,), 2, _is("randomize_seed", True)),
        Step("realtime_pacing_slack", (1.0,), 2, _is("realtime_pacing_slack", 1.0)),
        Step("realtime_pacing_slack", (0.0,), 1),
        Step("frame_rate", (20.0,), 4, _is("frame_rate", 20.0)),
        Step("frame_rate", (24.0,), 4),
        Step("num_steps", (5,), 3, _is("num_steps", 5)),
        *(Step("schedule", (name,), 3, _is("schedule", name)) for name in SCHEDULES[1:]),
        Step("sigmas", ("0.5 0.7 0",), 2, wrong="must descend to 0"),
        Step("sigmas", ("1 0.9 0.6 0.3 0",), 3, lambda params: params["sigmas"] is not None),
        Step("sigmas", ("none",), 1),
        Step("schedule", ("distilled",), 1),
        Step("num_steps", (8,), 3, _is("num_steps", 8)),
        Step("num_frames", (40,), 4, _is("num_frames", 41)),
    ]


@dataclass
class Told:
    """What the tour found: steps that did not do what they should, and the show's own figures."""

    missing: list[str] = field(default_factory=list)
    num_underruns: int = 0
    num_black: int = 0
    seconds: float = 0.0


class Player:
    """`ltx-live play` in a process of its own, heard and told by OSC."""

    def __init__(self, home: Path, arguments: list[str]):
        command = [sys.executable, "-m", "ltx_live", "play", "--headless", "--midi", "none", "--osc", "127.0.0.1:0"]
        self._process = subprocess.Popen(
            [*command, "--home", str(home), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=lambda: self.lines.extend(self._process.stderr), daemon=True)
        self._reader.start()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(5)
        self.pid = self._process.pid
        self.port = int(self.wait_for(r"OSC: listening on 127.0.0.1:(\d+)", 60)[1])

    def wait_for(self, pattern: str, timeout_s: float) -> re.Match:
        """The first line that fits; SystemExit when it does not come."""
        end_s = time.perf_counter() + timeout_s
        while time.perf_counter() < end_s:
            for line in list(self.lines):
                if found := re.search(pattern, line):
                    return found
            time.sleep(0.05)
        raise SystemExit(f"the show did not say {pattern}:\n" + "".join(self.lines[-20:]))

    def send(self, address: str, *args: Any) -> None:
        self._socket.sendto(encode_message(f"/ltx/{address}", args), ("127.0.0.1", self.port))

    def ask(self, address: str) -> Any:
        """The present value; other answers that come meanwhile are passed over."""
        self.send(address, "?")
        while True:
            for name, args in decode_packet(self._socket.recv(65535))[0]:
                if name == f"/ltx/{address}":
                    return args[0]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._reader.join(5)


def main(argv: list[str]) -> int:
    """Print the figures beside their bars; the exit status is 1 where one is missed."""
    parser = Parser(prog="ltx-live bench tour", description=__doc__)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--preset", default="live")
    parser.add_argument("--size", metavar="WxH", help="picture size (the model's own)")
    parser.add_argument("--pace", type=float, default=1.0, help="times the waits between the steps (1)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the recording and the log there")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="ltx-live-tour-") as folder:
        home = options.keep.absolute() if options.keep else Path(folder)
        size = ["--size", options.size] if options.size else []
        told = tour(home, ["--model", options.model, "--preset", options.preset, "--seed", "7", *size], options.pace)
    for text in told.missing:
        print(f"  not done: {text}")
    bars = [
        Bar("length of the show", told.seconds, 170 * options.pace, "s"),
        Bar("steps that did not do what they should", len(told.missing), 0, "", is_most=True),
        Bar("underruns after the first chunk", told.num_underruns, 0, "", is_most=True),
        Bar("black frames", told.num_black, 0, "", is_most=True),
    ]
    return print_bars(f"tour --model {options.model}", bars)


def tour(home: Path, arguments: list[str], pace: float) -> Told:
    """Play the tour and look at what came of it."""
    media = _tour_media.make(home)
    recording = home / "tour.mp4"
    player = Player(home, [*arguments, "--prompt", "slow blue waves, low drone", "--record", str(recording)])
    told = Told()
    try:
        player.wait_for("first picture", 120)
        time.sleep(4 * pace)
        underruns = player.ask("status/num_underruns")
        start_s = time.perf_counter()
        for step in steps(media):
            told.missing += _do(player, step, pace)
        told.seconds = time.perf_counter() - start_s
        told.num_underruns = player.ask("status/num_underruns") - underruns
    finally:
        player.close()
    made = [json.loads(line)["params"] for line in (home / "shows" / "last.jsonl").read_text("utf-8").splitlines()]
    arrived = [step for step in steps(media) if step.made is not None]
    lost = [step for step in arrived if not any(map(step.made, made))]
    told.missing += [f"{step.address} {step.args}: no chunk has it" for step in lost]
    _look(recording, told)
    return told


def _do(player: Player, step: Step, pace: float) -> list[str]:
    """Send a step and wait; what is wrong with it."""
    if step.args == ("fader",):
        for k in range(round(FADER_S * FADER_HZ)):
            player.send(step.address, k / (FADER_S * FADER_HZ - 1))
            time.sleep(1 / FADER_HZ)
        return []
    before = player.ask(step.address) if step.wrong else None
    num_lines = len(player.lines)
    player.send(step.address, *step.args)
    time.sleep(step.wait_s * pace)
    if not step.wrong:
        return []
    lines = [line for line in player.lines[num_lines:] if step.wrong in line]
    faults = [] if len(lines) == 1 else [f"{step.address} {step.args}: {len(lines)} lines say '{step.wrong}'"]
    after = player.ask(step.address)
    return faults if after == before else [*faults, f"{step.address} {step.args}: became {after!r}, was {before!r}"]


def _look(recording: Path, told: Told) -> None:
    """Black frames of the recording."""
    told.num_black = sum(frame.mean() < BLACK for frame in read_video(recording).frames)
