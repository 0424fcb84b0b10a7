"""`ltx-live bench loop`: does the live loop keep up? The real show, with its engine process, in real time.

Chunk times headless at 57 and 33 frames, the show with a window, the lateness of 10 ms ticks, and the start.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ltx_live import app
from ltx_live.bench._bars import Bar, print_bars
from ltx_live.bench._show import after, tick
from ltx_live.config import Config, initial_values
from ltx_live.options import Parser
from ltx_live.stage.clock import FramePacer

WINDOW_PX = (640, 360)
WINDOW_RATE_HZ = 30.0
TICK_S = 0.01
WARM_UP_S = 8.0
FIRST_PICTURE = "first picture"
START_LIMIT_S = 120.0


@dataclass(frozen=True)
class Played:
    """What a show said of itself: chunk time T (the longest of the last 8), speed, stalls, late ticks (seconds)."""

    chunk_time_s: float
    real_time_factor: float
    num_underruns: int
    num_chunks: int
    lateness_s: np.ndarray


def main(argv: list[str]) -> int:
    """Print the figures beside their bars; the exit status is 1 where one is missed."""
    parser = Parser(prog="ltx-live bench loop", description=__doc__)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the show with a window")
    options = parser.parse_args(argv)
    long, short = (_apart(options.model, frames, options.seconds / 2, False) for frames in (57, 33))
    late_ms = 1000 * float(np.percentile(long.lateness_s, 99))
    bars = [
        Bar("chunk time T, 57 frames, headless", long.chunk_time_s, 1.3, "s", is_most=True),
        Bar("chunk time T, 33 frames, headless", short.chunk_time_s, 0.85, "s", is_most=True),
        Bar("underruns headless, 57 and 33 frames", long.num_underruns + short.num_underruns, 0, is_most=True),
        Bar("10 ms ticks beside the engine late by, p99", late_ms, 5.0, "ms", is_most=True),
        Bar("start of `play` to first picture", seconds_to_first_picture(options.model), 12.0, "s", is_most=True),
    ]
    with display() as name:
        if name is None:
            print("no display and no Xvfb: the show with a window is left out")
        else:
            window = _apart(options.model, 57, options.seconds, True)
            title = f"real-time factor, 57 frames, {WINDOW_PX[0]}x{WINDOW_PX[1]} window"
            bars.append(Bar(title, window.real_time_factor, 1.2))
            bars.append(
                Bar(f"underruns in {options.seconds:g} s with the window", window.num_underruns, 0, is_most=True)
            )
    return print_bars(f"loop --model {options.model}, {os.cpu_count()} CPU cores", bars)


def _apart(model: str, num_frames: int, seconds: float, with_window: bool) -> Played:
    """Play in a process of its own: one process can have a display or none, not both."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(play, model, num_frames, seconds, with_window).result()


def play(model: str, num_frames: int, seconds: float, with_window: bool) -> Played:
    """Run the show for some seconds after its warm-up."""
    logging.disable(logging.INFO)
    values = initial_values(model, None, {"num_frames": num_frames, "window/hud": "min"})
    with tempfile.TemporaryDirectory() as home, contextlib.ExitStack() as parts:
        config = Config(
            model,
            Path(home),
            values=values,
            osc=("127.0.0.1", 0),
            midi="none",
            headless=not with_window,
            audio="none",
            window_px=WINDOW_PX,
        )
        show = app.assemble(config, parts)
        pacer = FramePacer(WINDOW_RATE_HZ if with_window else app.HEADLESS_RATE_HZ)
        tick(show, pacer, until=lambda: show.parts.session.statistics.num_chunks >= 3)
        tick(show, pacer, after(WARM_UP_S))
        statistics = show.parts.session.statistics
        num_underruns, num_chunks = statistics.num_underruns, statistics.num_chunks
        with late_ticks() as lateness_s:
            tick(show, pacer, after(seconds))
        return Played(
            chunk_time_s=statistics.chunk_time_s,
            real_time_factor=statistics.real_time_factor,
            num_underruns=statistics.num_underruns - num_underruns,
            num_chunks=statistics.num_chunks - num_chunks,
            lateness_s=np.array(lateness_s),
        )


@contextlib.contextmanager
def late_ticks() -> Iterator[list[float]]:
    """Seconds by which a thread that wants to wake every 10 ms wakes late, as the clock without a device does."""
    lateness_s: list[float] = []
    stop = threading.Event()

    def tick() -> None:
        due_s = time.perf_counter()
        while not stop.is_set():
            due_s += TICK_S
            time.sleep(max(0.0, due_s - time.perf_counter()))
            lateness_s.append(time.perf_counter() - due_s)
            due_s = max(due_s, time.perf_counter() - TICK_S)

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield lateness_s
    finally:
        stop.set()
        thread.join()


def seconds_to_first_picture(model: str) -> float:
    """From the start of the program `ltx-live play` to its first generated picture."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "ltx_live", "play", "--model", model, "--headless", "--midi", "none"]
        command += ["--osc", "127.0.0.1:0", "--home", home, "--duration", "1"]
        start_s = time.perf_counter()
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        try:
            for line in process.stderr:
                if FIRST_PICTURE in line:
                    return time.perf_counter() - start_s
                if time.perf_counter() - start_s > START_LIMIT_S:
                    break
            return float("inf")
        finally:
            process.terminate()
            process.communicate()


@contextlib.contextmanager
def display() -> Iterator[str | None]:
    """The display there is, or one of Xvfb's own for the time of the benchmark."""
    if sys.platform != "linux" or os.environ.get("DISPLAY"):
        yield os.environ.get("DISPLAY", "native")
        return
    if shutil.which("Xvfb") is None:
        yield None
        return
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x800x24", "-nolisten", "tcp"]
    process = subprocess.Popen(command, pass_fds=(write,), stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as number:
            os.environ["DISPLAY"] = f":{number.readline().strip()}"
        yield os.environ["DISPLAY"]
    finally:
        os.environ.pop("DISPLAY", None)
        process.terminate()
        process.wait()
