"""`ltx-live bench latency`: how long from a gesture to its picture? OSC by UDP from a second process to the real show.

The end is the first picture that shows nothing but frames made with the gesture; the blend before it does not count.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import socket
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ltx_live.bench import _audit
from ltx_live.bench._bars import Bar, print_bars
from ltx_live.bench._show import after, tick, watched_show
from ltx_live.bench.loop import WINDOW_PX, WINDOW_RATE_HZ, display
from ltx_live.config import Config, initial_values
from ltx_live.control.event import Event, Origin
from ltx_live.control.osc import encode_message
from ltx_live.errors import EngineError
from ltx_live.options import Parser
from ltx_live.pocket.reading import BANK
from ltx_live.show import Show
from ltx_live.stage.clock import FramePacer
from ltx_live.stage.timeline import Picture

HEADLESS_RATE_HZ = 60.0
STREAM_HZ = 50.0
LANDING_LIMIT_S = 20.0
NUM_WARM_UPS = 4
SLACK_S = 0.3
"""What `now` may take beyond the time of the chunk that answers."""

Packet = tuple[str, tuple]


@dataclass(frozen=True)
class Rule:
    """What is sent: a kind of message at random times, `shortest_s` to `longest_s` apart, under a landing rule."""

    name: str
    quantise: str
    message: str
    shortest_s: float
    longest_s: float

    def packets(self, count: int) -> list[Packet]:
        """Messages each of which changes something."""
        match self.message:
            case "look":
                return [("/ltx/out/brightness", (k / 8192,)) for k in range(1, count + 1)]
            case "prompt":
                return [(f"/ltx/bank/{2 - k % 2}/connect", ()) for k in range(count)]
            case _:
                return [("/ltx/prompts/1/weight", (0.25 + 0.5 * (k % 97) / 97,)) for k in range(count)]


FRAME = Rule("frame tier", "now", "look", 0.1, 0.4)
NOW = Rule("now", "now", "prompt", 2.5, 4.5)
CHUNK = Rule("chunk", "chunk", "prompt", 2.5, 4.5)
BEAT = Rule("beat", "beat", "prompt", 2.5, 4.5)
STREAM = Rule("now, 50 Hz stream", "now", "weight", 1 / STREAM_HZ, 1 / STREAM_HZ)
SINGLE = (FRAME, NOW, CHUNK, BEAT)
BEAT_S = 0.5


@dataclass(frozen=True)
class Seen:
    """What a picture tells of the gestures."""

    epoch: int
    chunk: int
    brightness: float


@dataclass(frozen=True)
class Measured:
    """Latencies of a rule's events, times of the chunks that answered them, and how far from a beat they landed."""

    rule: Rule
    latency_s: np.ndarray
    num_underruns: int
    chunk_time_s: np.ndarray = field(default_factory=lambda: np.zeros(0))
    off_beat_s: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def longest_chunk_s(self) -> float:
        """T: the 95th percentile of the chunks that answered."""
        return float(np.percentile(self.chunk_time_s, 95)) if len(self.chunk_time_s) else 0.0

    def __str__(self) -> str:
        p50, p95 = np.percentile(self.latency_s, (50, 95))
        text = f"{self.rule.name:<18} {len(self.latency_s):5}  {self.latency_s.mean():6.3f} {p50:6.3f} {p95:6.3f} "
        text += f"{self.latency_s.max():6.3f}  "
        if len(self.chunk_time_s):
            text += f"{self.chunk_time_s.mean():6.3f} {self.longest_chunk_s:6.3f}"
        text = f"{text:<69} {self.num_underruns:9}"
        if len(self.off_beat_s):
            low, high = 1000 * np.percentile(self.off_beat_s, (5, 95))
            text += f"   {low:+.0f} to {high:+.0f} ms off the beat (p5, p95)"
        return text


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    model: str
    preset: str
    num_events: int
    stream_s: float
    with_window: bool

    @property
    def rate_hz(self) -> float:
        return WINDOW_RATE_HZ if self.with_window else HEADLESS_RATE_HZ


def main(argv: list[str]) -> int:
    """Print the figures beside their bars; the exit status is 1 where one is missed."""
    parser = Parser(prog="ltx-live bench latency", description=__doc__)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--preset", choices=("instrument", "live"), default="instrument")
    parser.add_argument("--events", type=int, default=200, help="of each rule")
    parser.add_argument("--stream", type=float, default=60.0, metavar="S", help="length of the 50 Hz stream")
    parser.add_argument("--window", action="store_true", help="with a window, of Xvfb where there is no display")
    parser.add_argument("--audits", type=int, default=4, help="audited gestures of each landing rule")
    options = parser.parse_args(argv)
    plan = Plan(options.model, options.preset, options.events, options.stream, options.window)
    context = multiprocessing.get_context("spawn")
    with display() if options.window else nullcontext(), ProcessPoolExecutor(1, mp_context=context) as pool:
        measured = pool.submit(measure, plan).result()
    print(f"{'seconds':<18} {'sent':>5}  {'mean':>6} {'p50':>6} {'p95':>6} {'max':>6}  {'made':>6} {'T':>6}  underruns")
    print(*measured, sep="\n", flush=True)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        verdicts = pool.submit(_audit.run, options.model, options.preset, options.audits).result()
    print(*verdicts, sep="\n")
    found = bars(measured, plan.rate_hz)
    if verdicts:
        num_failed = sum(not verdict.passes for verdict in verdicts)
        found.append(Bar("audit: gestures whose tag is not the first difference", num_failed, 0, is_most=True))
    return print_bars(f"latency --model {plan.model} --preset {plan.preset}, {os.cpu_count()} CPU cores", found)


def bars(measured: Sequence[Measured], rate_hz: float) -> list[Bar]:
    """The figures that have a bar."""
    by_rule = {one.rule: one for one in measured}
    frame, now, stream = by_rule[FRAME], by_rule[NOW], by_rule[STREAM]
    now_s, stream_s = now.longest_chunk_s + SLACK_S, 1.5 * stream.longest_chunk_s + SLACK_S
    late_frames = float(np.percentile(frame.latency_s, 95)) * rate_hz
    return [
        Bar(f"frame tier, p95, in frames of {1000 / rate_hz:.1f} ms", late_frames, 2, is_most=True),
        Bar("now: mean, against T + 0.3", float(now.latency_s.mean()), now_s, "s", is_most=True),
        Bar("50 Hz stream: mean, against 1.5 T + 0.3", float(stream.latency_s.mean()), stream_s, "s", is_most=True),
        Bar("underruns, single gestures", sum(by_rule[rule].num_underruns for rule in SINGLE), 0, is_most=True),
        Bar("underruns, stream", stream.num_underruns, 0, is_most=True),
    ]


def measure(plan: Plan, single: Sequence[Rule] = SINGLE) -> list[Measured]:
    """Play a show of its own in this process, and send to it by these rules, and at last the stream."""
    logging.disable(logging.INFO)
    mixed = {"prompts/1/text": BANK[0][1], "prompts/2/text": BANK[1][1]}
    values = initial_values(plan.model, plan.preset, {"window/hud": "min", **mixed})
    with tempfile.TemporaryDirectory() as home, ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as sender:
        config = Config(
            plan.model,
            Path(home),
            values=values,
            osc=("127.0.0.1", 0),
            midi="none",
            headless=not plan.with_window,
            audio="none",
            window_px=WINDOW_PX,
        )
        with watched_show(config, look) as show:
            player = Player(show, FramePacer(plan.rate_hz), sender, Path(home) / "shows" / "last.jsonl")
            player.warm_up()
            measured = [player.measure(rule, plan.num_events) for rule in single]
            player.set(("/ltx/prompts/2/weight", (0.5,)))
            return [*measured, player.measure(STREAM, round(plan.stream_s * STREAM_HZ))]


def look(picture: Picture, output: Any) -> Seen:
    """What is noted of a picture: of a blend the older frame, so that a gesture counts once it is all there is."""
    return Seen(picture.frame.epoch, picture.frame.chunk, output.out_brightness)


class Player:
    """Sends by a rule from another process while the show plays, and finds in what was shown when it was there."""

    def __init__(self, show: Show, pacer: FramePacer, sender: ProcessPoolExecutor, show_log: Path):
        self._show = show
        self._pacer = pacer
        self._sender = sender
        self._show_log = show_log
        self._random = np.random.default_rng(5)
        sender.submit(os.getpid).result()  # started

    def warm_up(self) -> None:
        """Play some chunks, and some gestures, so that their times are known."""
        statistics = self._show.parts.session.statistics
        self._tick(lambda: statistics.num_chunks >= 3)
        for packet in NOW.packets(NUM_WARM_UPS):
            self.set(packet)

    def set(self, packet: Packet) -> float:
        """Let a value be played; when it was given, in seconds."""
        registry, now_s = self._show.parts.registry, time.perf_counter()
        self._show.parts.events.put((Event(*packet, Origin("bench"), now_s),))
        self._tick(after(0.1))
        self._tick(lambda: not registry.pending(), LANDING_LIMIT_S)
        return now_s

    def measure(self, rule: Rule, count: int) -> Measured:
        """Send `count` messages; a latency is infinite where the gesture was never seen."""
        count += count % 2  # so that the next rule's first prompt is another one, too
        show = self._show
        self.set(("/ltx/tempo/quantise", (rule.quantise,)))
        beat_one_s = self.set(("/ltx/tempo/resync", ()))
        gaps_s = self._random.uniform(rule.shortest_s, rule.longest_s, count).tolist()
        epoch, num_underruns = show.parts.registry.epoch, show.parts.session.statistics.num_underruns
        seen = show.parts.window.seen
        seen.clear()
        sending = self._sender.submit(send, show.parts.osc.port, rule.packets(count), gaps_s)
        self._tick(sending.done, sum(gaps_s) + LANDING_LIMIT_S)
        packets = rule.packets(count)
        self._tick(lambda: _shows(rule, seen[-1][1], epoch + count, packets), LANDING_LIMIT_S)
        num_epochs = show.parts.registry.epoch - epoch
        if rule is not FRAME and num_epochs != count:
            raise EngineError(f"bench latency: of {count} messages {num_epochs} changed something; is UDP full?")
        sent_s = np.array(sending.result())
        num_underruns = show.parts.session.statistics.num_underruns - num_underruns
        times_s, marks = [time_s for time_s, _ in seen], [one for _, one in seen]
        if rule is FRAME:
            wanted = [value for _, (value,) in packets]
            first = first_at([one.brightness for one in marks], wanted)
            return Measured(rule, _times(times_s, first) - sent_s, num_underruns)
        first = first_at([one.epoch for one in marks], range(epoch + 1, epoch + count + 1))
        shown_s = _times(times_s, first)
        made_s = self._chunk_times_s({marks[index].chunk for index in first if index < len(marks)})
        measured = Measured(rule, shown_s - sent_s, num_underruns, made_s)
        if rule is not BEAT:
            return measured
        return replace(measured, off_beat_s=(shown_s - beat_one_s + BEAT_S / 2) % BEAT_S - BEAT_S / 2)

    def _chunk_times_s(self, chunks: set[int]) -> np.ndarray:
        """How long each of these chunks took, by the show's log."""
        records = [json.loads(line) for line in self._show_log.read_text(encoding="utf-8").splitlines()]
        return np.array([record["took_s"] for record in records if record["index"] in chunks])

    def _tick(self, until: Any, limit_s: float = float("inf")) -> None:
        is_over = after(limit_s)
        tick(self._show, self._pacer, lambda: until() or is_over())


def _shows(rule: Rule, seen: Seen, epoch: int, packets: Sequence[Packet]) -> bool:
    """Whether the last message of a rule is seen."""
    return seen.brightness >= packets[-1][1][0] if rule is FRAME else seen.epoch >= epoch


def first_at(values: Sequence[float], wanted: Sequence[float]) -> np.ndarray:
    """For each wanted value the index of the first that has reached it; the number of values where none has."""
    reached = np.maximum.accumulate(np.asarray(values, float))
    return np.searchsorted(reached, np.asarray(wanted, float) - 1e-6)


def _times(times_s: Sequence[float], indices: np.ndarray) -> np.ndarray:
    return np.append(times_s, np.inf)[indices]


def send(port: int, packets: Sequence[Packet], gaps_s: Sequence[float]) -> list[float]:
    """Send each message so long after the one before it; when each was sent, in seconds. Runs in its own process."""
    sent_s = []
    due_s = time.perf_counter()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for (address, args), gap_s in zip(packets, gaps_s, strict=True):
            due_s += gap_s
            time.sleep(max(0.0, due_s - time.perf_counter()))
            packet = encode_message(address, args)
            sent_s.append(time.perf_counter())
            udp.sendto(packet, ("127.0.0.1", port))
    return sent_s
