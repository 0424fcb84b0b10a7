"""`ltx-live bench control`: how long from a packet to the registry, and does a storm of them disturb the show?

2,000 messages a second to 1,000 addresses over the loopback, with three subscribers, beside MIDI; without a window,
then with one whose pixels are read. Nothing is sent anywhere else, and it ends by itself.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ltx_live import app
from ltx_live.bench import _load
from ltx_live.bench._bars import Bar, print_bars
from ltx_live.bench._show import after, watched_show
from ltx_live.bench.loop import WINDOW_PX
from ltx_live.config import Config, initial_values
from ltx_live.control.event import Transaction
from ltx_live.options import Parser
from ltx_live.show import Show
from ltx_live.stage.clock import FramePacer

MIDI_HZ = 100.0
MIDI_PORT = "bench"
WARM_UP_S = 4.0
QUIET_S = 5.0
CALLBACK_S = 0.01
"""Length of a block of sound without a device: a callback that is later than one block is late."""


@dataclass(frozen=True)
class Plan:
    """What is measured; `screen` is the frame buffer of the display with the window, None = headless."""

    model: str
    seconds: float
    rate_hz: float
    window_hz: float
    num_addresses: int = 1000
    num_subscribers: int = 3
    screen: Path | None = None

    @property
    def period_s(self) -> float:
        return 1 / (app.HEADLESS_RATE_HZ if self.screen is None else self.window_hz)


@dataclass(frozen=True)
class Measured:
    """Seconds each: packet and MIDI message to registry, ticks before and under load, gaps between displayed frames,
    lateness of sound callbacks, packet of `out/master` to pixel, lateness of the sender; counts; feedback."""

    packet_s: np.ndarray
    midi_s: np.ndarray
    quiet_tick_s: np.ndarray
    tick_s: np.ndarray
    frame_gap_s: np.ndarray
    callback_late_s: np.ndarray
    master_s: np.ndarray
    sender_late_s: np.ndarray
    num_sent: int
    num_addresses: int
    num_lost: int
    stream_hz: float
    told_hz: float
    num_underruns: int


def main(argv: list[str]) -> int:
    """Print the figures beside their bars; the exit status is 1 where one is missed."""
    parser = Parser(prog="ltx-live bench control", description=__doc__)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the load, without and with a window")
    parser.add_argument("--rate", type=float, default=2000.0, help="messages a second")
    parser.add_argument(
        "--window-rate", type=float, default=app.WINDOW_RATE_HZ, metavar="HZ", help="pace of the window"
    )
    options = parser.parse_args(argv)
    plan = Plan(options.model, options.seconds, options.rate, options.window_rate)
    headless = _apart(plan)
    bars = headless_bars(headless)
    with _load.screen() as screen:
        if screen is None:
            print("no Xvfb: the show with a window is left out")
        else:
            windowed = replace(plan, screen=screen)
            bars += window_bars(_apart(windowed), windowed.period_s)
    return print_bars(f"control --model {plan.model}, {os.cpu_count()} CPU cores", bars)


def _apart(plan: Plan) -> Measured:
    """Measure in a process of its own: one process can have a display or none, not both."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        measured = pool.submit(measure, plan).result()
    print(described("headless" if plan.screen is None else "with a window", measured), flush=True)
    return measured


def described(name: str, one: Measured) -> str:
    """What has no bar."""

    def ms(values: np.ndarray) -> str:
        if not len(values):
            return "none"
        return " ".join(f"{1000 * value:.2f}" for value in (*np.percentile(values, (50, 99)), values.max()))

    return "\n".join(
        [
            f"{name}: {one.num_sent} messages to {one.num_addresses} addresses; ms: p50, p99, max",
            f"  packet to registry   {ms(one.packet_s)}",
            f"  MIDI to registry     {ms(one.midi_s)}",
            f"  tick, without load   {ms(one.quiet_tick_s)}",
            f"  tick, under load     {ms(one.tick_s)}, mean {1000 * one.tick_s.mean():.2f}",
            f"  sound callback late  {ms(one.callback_late_s)}",
            f"  gap between frames   {ms(one.frame_gap_s)}",
            f"  out/master to pixel  {ms(one.master_s)}",
            f"  a process that only sends is late by {ms(one.sender_late_s)}",
            f"  feedback: {one.told_hz:.0f} values a second to each subscriber; underruns {one.num_underruns}",
        ]
    )


def _num_late(one: Measured) -> int:
    return int((one.callback_late_s > CALLBACK_S).sum())


def headless_bars(one: Measured) -> list[Bar]:
    """The bars of the show without a window."""
    return [
        Bar("packet to registry, p99", 1000 * float(np.percentile(one.packet_s, 99)), 2, "ms", is_most=True),
        Bar("MIDI to registry, p99", 1000 * float(np.percentile(one.midi_s, 99)), 3, "ms", is_most=True),
        Bar("messages lost", one.num_lost, 0, is_most=True),
        Bar("feedback of a 100 Hz fader, at most", one.stream_hz, 30.5, "1/s", is_most=True),
        Bar("feedback of a 100 Hz fader, at least", one.stream_hz, 20, "1/s"),
        Bar("sound callbacks late by more than a block", _num_late(one), 0, is_most=True),
        Bar("underruns", one.num_underruns, 0, is_most=True),
    ]


def window_bars(one: Measured, period_s: float) -> list[Bar]:
    """The bars of the show with a window: a packet waits for the tick, which is one of the display's."""
    late = int((one.frame_gap_s > 2 * period_s).sum())
    packet_ms = 1000 * float(np.percentile(one.packet_s, 99))
    midi_ms = 1000 * float(np.percentile(one.midi_s, 99))
    frames = float(np.max(one.master_s, initial=0.0)) / period_s if len(one.master_s) else float("inf")
    return [
        Bar("window: packet to registry, p99", packet_ms, 2 + 1000 * period_s, "ms", is_most=True),
        Bar("window: MIDI to registry, p99", midi_ms, 3 + 1000 * period_s, "ms", is_most=True),
        Bar("window: messages lost", one.num_lost, 0, is_most=True),
        Bar("window: frames late by more than a period", late, 0, is_most=True),
        Bar("window: out/master to captured pixel, longest", frames, 3, "frames", is_most=True),
        Bar("window: sound callbacks late by more than a block", _num_late(one), 0,
            is_most=True),
        Bar("window: underruns", one.num_underruns, 0, is_most=True),
    ]  # fmt: skip


def measure(plan: Plan) -> Measured:
    """Play a show in this process, without load and then under it."""
    logging.disable(logging.INFO)
    values = initial_values(plan.model, None, {"window/hud": "off"})
    with tempfile.TemporaryDirectory() as home, ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as loader:
        config = Config(
            plan.model,
            Path(home),
            values=values,
            osc=("127.0.0.1", 0),
            midi="none",
            audio="none",
            headless=plan.screen is None,
            window_px=WINDOW_PX,
        )
        loader.submit(os.getpid).result()  # started
        with watched_show(config, lambda picture, output: None) as show:
            return _measure(plan, show, loader)


def _measure(plan: Plan, show: Show, loader: ProcessPoolExecutor) -> Measured:
    statistics, watched = show.parts.session.statistics, show.parts.window
    # a window ticks at its own rate, whatever app.pacer would choose for the display of a performer
    pacer = app.pacer(show, True) if plan.screen is None else FramePacer(plan.window_hz)
    applied, late_s = _Applied(show), _watch_callbacks(show)
    _tick(show, pacer, lambda: statistics.num_chunks >= 3)
    _tick(show, pacer, after(WARM_UP_S))
    quiet_tick_s = _tick(show, pacer, after(QUIET_S))
    num_underruns = statistics.num_underruns
    for record in (applied.midi_s, watched.seen, late_s):
        record.clear()
    applied.times_s.clear()
    load = _load.Load(
        show.parts.osc.port, plan.rate_hz, plan.seconds, plan.num_addresses, plan.num_subscribers,
        {name: show.parts.registry.values[name] for name, _ in show.parts.registry.readable()}, plan.screen,
    )  # fmt: skip
    sending: Future[_load.Sent] = loader.submit(_load.play, load)
    stop = threading.Event()
    midi = threading.Thread(target=_play_midi, args=(show, stop), daemon=True)
    midi.start()
    try:
        tick_s = _tick(show, pacer, sending.done)
    finally:
        stop.set()
        midi.join()
    _tick(show, pacer, after(0.5))
    sent = sending.result()
    packet_s, num_lost = applied.latencies(sent)
    return Measured(
        packet_s=packet_s,
        midi_s=np.array(applied.midi_s),
        quiet_tick_s=quiet_tick_s,
        tick_s=tick_s,
        frame_gap_s=np.diff([time_s for time_s, _ in watched.seen]),
        callback_late_s=np.array(late_s),
        master_s=np.array(sent.master_s),
        sender_late_s=np.array(sent.late_s),
        num_sent=sum(len(times) for times in sent.times_s.values()),
        num_addresses=len(sent.times_s),
        num_lost=num_lost,
        stream_hz=max(each.stream_hz for each in sent.subscribed),
        told_hz=max(each.num_messages for each in sent.subscribed) / sent.seconds,
        num_underruns=statistics.num_underruns - num_underruns,
    )


class _Applied:
    """When the registry had taken each message, noted where the show gives it its transactions."""

    def __init__(self, show: Show):
        self.times_s: dict[str, list[float]] = {}
        self.midi_s: list[float] = []
        registry = show.parts.registry
        apply = registry.apply

        def noting(transaction: Transaction) -> Any:
            outcome = apply(transaction)
            now_s = time.perf_counter()
            for event in transaction:
                if event.origin.kind == "osc":
                    self.times_s.setdefault(event.address, []).append(now_s)
                elif event.origin.kind == "midi":
                    self.midi_s.append(now_s - event.time_s)
            return outcome

        registry.apply = noting

    def latencies(self, sent: _load.Sent) -> tuple[np.ndarray, int]:
        """Seconds from sending to taking, and how many messages never were taken; messages of an address keep order."""
        latencies, num_lost = [np.zeros(0)], 0
        for address, times_s in sent.times_s.items():
            taken_s = self.times_s.get(address, [])
            num_lost += max(0, len(times_s) - len(taken_s))
            if len(times_s) == len(taken_s):
                latencies.append(np.array(taken_s) - np.array(times_s))
        return np.concatenate(latencies), num_lost


def _watch_callbacks(show: Show) -> list[float]:
    """How late each sound callback comes, without a device."""
    late_s: list[float] = []
    player = show.parts.audio.player
    render = player.render

    def noting(out: np.ndarray, due_s: float) -> None:
        late_s.append(time.perf_counter() - due_s)
        render(out, due_s)

    player.render = noting
    return late_s


def _play_midi(show: Show, stop: threading.Event) -> None:
    """Turn the modulation wheel as if a controller were there: bytes of control changes, 100 a second."""
    k = 0
    while not stop.wait(1 / MIDI_HZ):
        show.parts.midi.inject(bytes((0xB0, 1, k % 128)), MIDI_PORT)
        k += 1


def _tick(show: Show, pacer: FramePacer, until: Callable[[], bool]) -> np.ndarray:
    """Run the show until something is so; how long each tick took, in seconds. Raises what it failed with."""
    took_s = []
    while not until() and not show.is_over:
        start_s = time.perf_counter()
        for duty in show.duties:
            duty()
        took_s.append(time.perf_counter() - start_s)
        while not pacer.wait():
            show.take()
    if show.failure is not None:
        raise show.failure
    return np.array(took_s)
