"""`ltx-live bench sync`: do picture and sound leave together? The test card's flash against its beep, by the real show.

In the recorded file; and with PulseAudio and a display, in the window against what its null sink hears (within 10 ms).
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ltx_live.bench._bars import Bar, print_bars
from ltx_live.bench._show import after, tick, watched_show
from ltx_live.bench.loop import WINDOW_PX, display
from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.config import Config, initial_values
from ltx_live.media.video import read_video
from ltx_live.options import Parser
from ltx_live.stage.clock import FramePacer

SIZE_PX = 64  # of the test card: the recording is read as a whole
RATE_HZ = 60.0
FADED_IN_S = 3.0  # nothing is measured before
NUM_PAIRS = 10  # flashes and beeps that make a figure
FARTHEST_S = 0.4  # a flash and a beep that are farther apart do not belong together
LOUD, QUIET_S = 0.05, 0.3
SINK = "ltx_sync"
DOWN_S = 2.0


def main(argv: list[str]) -> int:
    """Print the figures beside their bars; the exit status is 1 where one is missed."""
    parser = Parser(prog="ltx-live bench sync", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--lose-device", action="store_true", help="end the sound server midway, and start it again")
    options = parser.parse_args(argv)
    with contextlib.ExitStack() as parts:
        home = Path(parts.enter_context(tempfile.TemporaryDirectory()))
        has_display = parts.enter_context(display()) is not None
        sink = parts.enter_context(null_sink()) if has_display else None
        if sink is None:
            print("no PulseAudio, or no display: only the recorded file is measured")
        seconds = 60 * options.minutes + FADED_IN_S
        measured = measure(home, seconds, sink, lose_device=options.lose_device)
    frame_ms = 1000 / 24
    bars = []
    for name, offsets_ms in measured.items():
        start, end = (float(part.mean()) for part in (offsets_ms[:NUM_PAIRS], offsets_ms[-NUM_PAIRS:]))
        print(
            f"{name}: picture after sound, {len(offsets_ms)} beeps: start {start:+.1f}, end {end:+.1f}, "
            f"from {offsets_ms.min():+.1f} to {offsets_ms.max():+.1f}, drift {end - start:+.1f} ms"
        )
        bars.append(Bar(f"{name}: off at the start", abs(start), frame_ms, "ms", is_most=True))
        bars.append(Bar(f"{name}: off after {options.minutes:g} minutes", abs(end), frame_ms, "ms", is_most=True))
        bars.append(Bar(f"{name}: drift", abs(end - start), frame_ms, "ms", is_most=True))
    return print_bars(f"sync, {os.cpu_count()} CPU cores", bars)


def measure(
    home: Path, seconds: float, sink: NullSink | None, lose_device: bool = False, **settings: Any
) -> dict[str, np.ndarray]:
    """Play for some seconds: how much later (ms) than its beep each flash comes, in the file and at the device.

    `settings` are values of the show by field name, such as av_offset.
    """
    path = home / "sync.mp4"
    context = multiprocessing.get_context("spawn")
    values = {name.replace("_", "/", 1): value for name, value in settings.items()}
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        playing = pool.submit(play, path, seconds, None if sink is None else sink.environment, values)
        if sink is not None and lose_device:
            time.sleep(seconds / 2)
            sink.stop()
            time.sleep(DOWN_S)
            sink.start()
        flashes_s = playing.result()
    measured = {"file": in_file(path)}
    if sink is not None:
        sink.stop()
        measured["device"] = offsets_ms(flashes_s[flashes_s > flashes_s[0] + FADED_IN_S], np.array(sink.beeps_s))
    return measured


def play(path: Path, seconds: float, environment: Mapping[str, str] | None, settings: Mapping[str, Any]) -> np.ndarray:
    """Record the test card in a show of its own; when each flash was shown first, in seconds."""
    logging.disable(logging.INFO)
    os.environ.update(environment or {})
    size = {"width": SIZE_PX, "height": SIZE_PX, "window/hud": "off", "audio/volume": 1.0}
    config = Config(
        "testcard",
        path.parent,
        values=initial_values("testcard", None, {**size, **settings}),
        osc=("127.0.0.1", 0),
        midi="none",
        audio="pulse" if environment else "none",
        headless=environment is None,
        window_px=WINDOW_PX,
        record=path,
        duration_s=seconds,
    )
    with watched_show(config, lambda picture, output: bool(picture.frame.pixels[1].min() == 255)) as show:
        tick(show, FramePacer(RATE_HZ), until=after(2 * seconds + 30))
        times_s, is_flash = (np.array(column) for column in zip(*show.parts.window.seen, strict=True))
    return times_s[1:][is_flash[1:] & ~is_flash[:-1]]


def in_file(path: Path) -> np.ndarray:
    """How much later than its beep each flash of a recording comes, in ms."""
    video = read_video(path)
    is_flash = video.frames[:, 1].min(axis=(1, 2)) > 200  # (F,)
    flashes_s = (1 + np.flatnonzero(is_flash[1:] & ~is_flash[:-1])) / video.frame_rate
    beeps_s = onsets(video.audio[:, 0]) / video.sample_rate
    return offsets_ms(flashes_s[flashes_s >= FADED_IN_S], beeps_s)


def onsets(sound: np.ndarray) -> np.ndarray:
    """The samples of (S,) at which it becomes loud after a while of silence."""
    loud = np.flatnonzero(np.abs(sound) > LOUD)
    return loud[np.diff(loud, prepend=-SAMPLE_RATE_HZ) > QUIET_S * SAMPLE_RATE_HZ]


def offsets_ms(flashes_s: np.ndarray, beeps_s: np.ndarray) -> np.ndarray:
    """How much later than the nearest beep each flash comes, in ms; those that are alone are left out."""
    differences_s = flashes_s[:, None] - beeps_s  # (flashes, beeps)
    nearest_s = np.take_along_axis(differences_s, np.abs(differences_s).argmin(axis=1)[:, None], axis=1)[:, 0]
    return 1000 * nearest_s[np.abs(nearest_s) < FARTHEST_S]


@contextlib.contextmanager
def null_sink() -> Iterator[NullSink | None]:
    """A PulseAudio server of its own with a null sink that is listened to; None where there is no PulseAudio."""
    if any(shutil.which(program) is None for program in ("pulseaudio", "pactl", "parec")):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="pa") as folder:  # a short path: it holds a unix socket
        sink = NullSink(folder)
        sink.start()
        try:
            yield sink
        finally:
            sink.stop()


class NullSink:
    """A PulseAudio server with one sink; `beeps_s` is when a sound began in it, by `time.perf_counter`."""

    def __init__(self, folder: str):
        self.environment = {"XDG_RUNTIME_DIR": folder, "PULSE_SINK": SINK, "HOME": folder}
        self.beeps_s: list[float] = []
        self._processes: list[subprocess.Popen] = []

    def start(self) -> None:
        """Start the server, and listen."""
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--log-level=error"]
        command += ["--use-pid-file=no", "-L", "module-native-protocol-unix"]
        command += ["-L", f"module-null-sink sink_name={SINK} rate={SAMPLE_RATE_HZ} channels=2"]
        self._run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        listen = ["parec", f"--device={SINK}.monitor", f"--rate={SAMPLE_RATE_HZ}", "--channels=1"]
        listen += ["--format=float32le", "--latency-msec=10", "--raw"]
        while subprocess.run(["pactl", "info"], env=os.environ | self.environment, capture_output=True).returncode:
            time.sleep(0.05)
        ears = self._run(listen, stdout=subprocess.PIPE)
        self._listening = threading.Thread(target=self._listen, args=(ears.stdout,), daemon=True)
        self._listening.start()
        time.sleep(DOWN_S)  # until the listener has brought the sink to low latency

    def stop(self) -> None:
        """End the server; a second call does nothing."""
        for process in reversed(self._processes):
            process.terminate()
            process.wait()
        if self._processes:
            self._listening.join()
        self._processes.clear()

    def _run(self, command: list[str], **streams: Any) -> subprocess.Popen:
        self._processes.append(subprocess.Popen(command, env=os.environ | self.environment, **streams))
        return self._processes[-1]

    def _listen(self, stream: Any) -> None:
        """Note when beeps begin. A block is late at times and never early: the earliest of the last tell its time."""
        num_samples, last_loud, begins_s = 0, -SAMPLE_RATE_HZ, []
        while block := stream.read1(1 << 16):
            begins_s.append(time.perf_counter() - num_samples / SAMPLE_RATE_HZ)
            sound = np.frombuffer(block, np.float32)
            loud = num_samples + np.flatnonzero(np.abs(sound) > LOUD)
            if len(loud):
                if loud[0] - last_loud > QUIET_S * SAMPLE_RATE_HZ:
                    self.beeps_s.append(loud[0] / SAMPLE_RATE_HZ + min(begins_s[-500:]))
                last_loud = loud[-1]
            num_samples += len(sound)
