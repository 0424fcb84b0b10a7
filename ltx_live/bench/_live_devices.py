"""A live input that drives the real show, through a sound server: the delay that is said against the one that is heard.

A null sink is the room, whose monitor is the show's input; another one is the show's output, and its monitor is on. The
pictures are the test card's, since a delay is measured. Needs PulseAudio and a display, of Xvfb where there is none.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ltx_live.bench import sync
from ltx_live.bench._bars import Bar
from ltx_live.bench._driven import SEED, drums, write_wave
from ltx_live.bench._pulses import place
from ltx_live.bench._show import after, tick, watched_show
from ltx_live.bench.loop import WINDOW_PX, display
from ltx_live.chunk import SAMPLE_RATE_HZ, Engine
from ltx_live.config import Config, initial_values
from ltx_live.stage.clock import FramePacer

ROOM = "ltx_room"
PLAYED_S, QUICK_S = 40.0, 20.0
SETTLED_S = 12.0  # nothing is measured before: the show learns how long a chunk takes
PIECE_S, FARTHEST_S = 2.0, 20.0  # how much sound is looked for, and how far back
SILENT = 1e-4
STARTING_S = 20.0  # at most, of a show
RATE_HZ = 60.0
BPM = 97


def bars(engine: Engine, values: Mapping[str, Any], quick: bool) -> Iterator[Bar]:
    """Without alignment and aligned to the beat."""
    seconds = QUICK_S if quick else PLAYED_S
    errors_ms = []
    for align in ("beat",) if quick else ("off", "beat"):
        delays = measure(seconds, align)
        if delays is None:
            print("live devices: no PulseAudio, or no display; left out")
            return
        if not len(delays):
            print(f"live devices, {align}: the delay never held still; the machine is too busy")
            errors_ms.append(float("inf"))
            continue
        off_ms = 1000 * (delays[:, 1] - delays[:, 0])
        each = " ".join(f"{off:+.1f}" for off in off_ms)
        print(f"live devices, {align}: said {delays[-1, 0]:.3f} s, heard off by (ms, every {PIECE_S:g} s) {each}")
        errors_ms.append(float(np.abs(off_ms).max()))
    yield Bar("live devices: delay said against heard, furthest", max(errors_ms), 10, "ms", is_most=True)


def measure(seconds: float, align: str) -> np.ndarray | None:
    """(delay that is said, delay that is heard) in s, every 2 s: (N, 2); None without a sound server or a display."""
    with contextlib.ExitStack() as parts:
        home = Path(parts.enter_context(tempfile.TemporaryDirectory()))
        has_display = parts.enter_context(display()) is not None
        sink = parts.enter_context(sync.null_sink()) if has_display else None
        if sink is None:
            return None
        environment = os.environ | sink.environment
        load = ["pactl", "load-module", "module-null-sink", f"sink_name={ROOM}", f"rate={SAMPLE_RATE_HZ}", "channels=2"]
        subprocess.run(load, env=environment, check=True, stdout=subprocess.DEVNULL)
        write_wave(home / "room.wav", drums(BPM, SEED, seconds + STARTING_S), SAMPLE_RATE_HZ)
        room, output = (Ear(f"{name}.monitor", environment) for name in (ROOM, sync.SINK))
        room_player = subprocess.Popen(["paplay", f"--device={ROOM}", str(home / "room.wav")], env=environment)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            set_there = {**sink.environment, "PULSE_SOURCE": f"{ROOM}.monitor"}
            said = pool.submit(play, home, seconds, align, set_there).result()
        room_player.terminate()
        room_player.wait()
        return compare(np.array(said), room.stop(), output.stop())


def play(home: Path, seconds: float, align: str, environment: Mapping[str, str]) -> list[tuple[float, float]]:
    """A show of its own that a live input drives; at every tick the time (time.perf_counter) and the delay it says."""
    logging.disable(logging.INFO)
    os.environ.update(environment)
    live = {"audioin/source": "live", "audioin/device": "pulse", "audio/monitor": True, "audio/volume": 1.0}
    live |= {"live_align": align, "tempo/bpm": float(BPM), "num_frames": 57, "window/hud": "off"}
    config = Config(
        "testcard",
        home,
        values=initial_values("testcard", None, {**live, "width": 64, "height": 64}),
        osc=("127.0.0.1", 0),
        midi="none",
        audio="pulse",
        window_px=WINDOW_PX,
    )
    said: list[tuple[float, float]] = []
    with watched_show(config, lambda picture, output: None) as show:
        is_over = after(seconds)

        def until() -> bool:
            said.append((time.perf_counter(), show.delay_s))
            return is_over()

        tick(show, FramePacer(RATE_HZ), until)
    return said


class Ear:
    """Records a PulseAudio source from now on."""

    def __init__(self, source: str, environment: Mapping[str, str]):
        command = ["parec", f"--device={source}", f"--rate={SAMPLE_RATE_HZ}", "--channels=1"]
        command += ["--format=float32le", "--latency-msec=10", "--raw"]
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        self._blocks: list[np.ndarray] = []
        self._begins_s: list[float] = []
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def stop(self) -> tuple[float, np.ndarray]:
        """When its first sample was (time.perf_counter), and the sound (S,).

        A block is late at times and never early: the earliest tenth of them tells the time.
        """
        self._process.terminate()
        self._process.wait()
        self._listening.join()
        begins_s = np.sort(self._begins_s)
        return float(np.median(begins_s[: 1 + len(begins_s) // 10])), np.concatenate(self._blocks)

    def _listen(self) -> None:
        num_samples = 0
        while block := self._process.stdout.read1(1 << 16):
            self._begins_s.append(time.perf_counter() - num_samples / SAMPLE_RATE_HZ)
            self._blocks.append(np.frombuffer(block, np.float32))
            num_samples += len(self._blocks[-1])


def compare(said: np.ndarray, room: tuple[float, np.ndarray], output: tuple[float, np.ndarray]) -> np.ndarray:
    """What was said (N, 2), time and delay in s, beside where pieces of the output are found in the room: (K, 2).

    Only where the delay had not changed for so long that all that is heard has it.
    """
    (room_s, source), (output_s, heard) = room, output
    times_s, delays_s = said.T
    found = []
    for time_s in np.arange(times_s[0] + SETTLED_S, times_s[-1] - PIECE_S - 1, PIECE_S):
        asked_s = time_s - delays_s[times_s <= time_s][-1] - PIECE_S  # what is heard was asked for after that
        lately = delays_s[(times_s > asked_s) & (times_s < time_s + PIECE_S)]
        at = round((time_s - output_s) * SAMPLE_RATE_HZ)
        piece = heard[at : at + round(PIECE_S * SAMPLE_RATE_HZ)]
        first = max(0, round((time_s - FARTHEST_S - room_s) * SAMPLE_RATE_HZ))
        around = source[first : first + round((FARTHEST_S + PIECE_S) * SAMPLE_RATE_HZ)]
        if np.ptp(lately) < 1e-6 and piece.std() > SILENT and len(around) > len(piece):
            found.append((lately[-1], time_s - room_s - (first + place(piece, around)) / SAMPLE_RATE_HZ))
    return np.array(found).reshape(-1, 2)
