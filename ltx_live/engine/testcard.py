"""The test-card engine: colour bars, counters, a flash and a beep every second. Test double and A/V-sync tool."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Generator
from dataclasses import replace

import numpy as np

from ltx_live.chunk import (
    SAMPLE_RATE_HZ,
    Chunk,
    ChunkRequest,
    EngineInfo,
    Progress,
    StepValues,
    frames_to_samples,
    num_prefix_frames,
    num_steps,
)

BEEP_HZ = 1000
BEEP_S = 0.1
BEEP_LEVEL = 0.5
OVERLAP_S = 0.1
NUM_BITS = 20  # of each counter: half a day of frames at 24 fps
BARS = ((191, 191, 191), (191, 191, 0), (0, 191, 191), (0, 191, 0), (191, 0, 191), (191, 0, 0), (0, 0, 191))
FONT_5X7 = {  # one number per row, most significant of 5 bits on the left
    "0": (14, 17, 19, 21, 25, 17, 14),
    "1": (4, 12, 4, 4, 4, 4, 14),
    "2": (14, 17, 1, 2, 4, 8, 31),
    "3": (31, 2, 4, 2, 1, 17, 14),
    "4": (2, 6, 10, 18, 31, 2, 2),
    "5": (31, 16, 30, 1, 1, 17, 14),
    "6": (6, 8, 16, 30, 17, 17, 14),
    "7": (31, 1, 2, 4, 8, 8, 8),
    "8": (14, 17, 17, 14, 17, 17, 14),
    "9": (14, 17, 17, 15, 1, 2, 12),
    ".": (0, 0, 0, 0, 0, 12, 12),
    " ": (0, 0, 0, 0, 0, 0, 0),
}


def load(report: Callable[[str], None], **arguments: float) -> TestCardEngine:
    """What an EngineSpec names: the engine with the arguments of its constructor."""
    report("test card")
    return TestCardEngine(**arguments)


class TestCardEngine:
    """Picture and sound depend on the media position alone, so seams are invisible; see `read_counters`.

    Only a strip at the bottom shows the prompts, as a mixture of their colours. Step values are taken at every step.
    `chunk_time_s` is how long it pretends to work on a chunk, spread evenly over its steps.
    """

    __test__ = False  # the name is no test for pytest

    def __init__(self, width: int = 288, height: int = 160, chunk_time_s: float = 0.0):
        self.info = EngineInfo("test card", width, height, "cpu", f"{chunk_time_s:g} s a chunk")
        self._chunk_time_s = chunk_time_s
        columns = np.arange(width) * len(BARS) // width
        self._bars = np.broadcast_to(np.array(BARS, np.uint8)[columns], (height, width, 3))  # (H, W, 3)

    def encode(self, prompts: tuple[str, ...]) -> None:
        """Nothing to do: a prompt is a colour."""

    def generate(self, request: ChunkRequest) -> Generator[Progress | Chunk, StepValues | None, None]:
        """Yield Progress after every pretended step, at last the Chunk."""
        steps = num_steps(request.params)
        latched, prompts, epoch = [], request.played, request.epoch
        for step in range(1, steps + 1):
            time.sleep(self._chunk_time_s / steps)
            values = yield Progress(request.index, step, steps, sigma=1 - step / steps)
            if values is not None:
                latched.append((step, values.values))
                prompts = values.values.get("prompts", prompts)
                epoch = epoch if values.epoch is None else values.epoch
        request = replace(request, prompts=prompts, epoch=epoch)
        yield replace(self._chunk(request), latched=tuple(latched))

    def _chunk(self, request: ChunkRequest) -> Chunk:
        frame_rate = request.params.frame_rate
        num_overlap = num_overlap_samples = 0
        if request.continue_from is not None:
            if request.inputs.image is None:
                num_overlap = num_prefix_frames(request.num_frames, request.continue_from[1])
        if request.continue_from is not None or request.inputs.driving is not None:
            num_overlap_samples = min(request.start, round(OVERLAP_S * SAMPLE_RATE_HZ))
        video_start = request.start - frames_to_samples(num_overlap, frame_rate)
        audio_start = request.start - num_overlap_samples
        positions = [video_start + frames_to_samples(i, frame_rate) for i in range(request.num_frames + 1)]
        tint = np.rint(sum(weight * _colour(text) for text, weight in request.played)).astype(np.uint8)  # (3,)
        frames = np.stack([self._frame(p, frame_rate, request.index, tint) for p in positions[:-1]])  # (F, H, W, 3)
        if request.inputs.driving is None or request.inputs.heard == "generated":
            audio = beeps(audio_start, positions[-1])  # (S, 2)
        else:
            audio = request.inputs.driving_sound(audio_start, positions[-1]) * (request.inputs.heard == "driving")
        return Chunk(
            index=request.index,
            frames=frames,
            video_start=video_start,
            num_overlap=num_overlap,
            audio=audio,
            audio_start=audio_start,
            num_overlap_samples=num_overlap_samples,
            frame_rate=frame_rate,
            epoch=request.epoch,
        )

    def _frame(self, position: int, frame_rate: float, index: int, tint: np.ndarray) -> np.ndarray:
        """The picture at a media position, (H, W, 3) uint8."""
        height, width = self._bars.shape[:2]
        number = round(position * frame_rate / SAMPLE_RATE_HZ)
        frame = self._bars.copy()  # (H, W, 3)
        if flashes(position, frame_rate):
            frame[:] = 255
        marker = position % (2 * SAMPLE_RATE_HZ) * width // (2 * SAMPLE_RATE_HZ)
        frame[: height // 4, marker : marker + max(1, width // 64)] = (255, 255, 255)
        scale = max(1, width // 120)
        _write(frame, f"{number} {index} {position / SAMPLE_RATE_HZ:.3f}", height // 4, scale)
        cell = _cell_px(height, width)
        frame[-3 * cell : -2 * cell] = tint
        for row, value in ((-2, index), (-1, number)):
            bits = (value >> np.arange(NUM_BITS)[::-1]) & 1  # (NUM_BITS,)
            top = height + row * cell
            frame[top : top + cell] = 0
            frame[top : top + cell, : NUM_BITS * cell] = np.repeat(bits, cell)[None, :, None] * 255
        return frame


def _colour(text: str) -> np.ndarray:
    """A colour (3,) in 0..255 that goes with a text."""
    return np.frombuffer(zlib.crc32(text.encode()).to_bytes(4, "big"), np.uint8)[1:].astype(float)


def flashes(position: int, frame_rate: float) -> bool:
    """Whether a whole second of the media clock begins while the frame at this position is shown."""
    position -= 2  # positions are rounded to whole samples; a second that begins with a frame belongs to that frame
    next_second = -(-position // SAMPLE_RATE_HZ) * SAMPLE_RATE_HZ
    return next_second < position + SAMPLE_RATE_HZ / frame_rate


def beeps(start: int, end: int) -> np.ndarray:
    """Sound from media position start to end, (S, 2) float32: 100 ms of 1 kHz at every whole second, else silence."""
    into_second = np.arange(start, end) % SAMPLE_RATE_HZ  # (S,)
    tone = np.sin(2 * np.pi * BEEP_HZ / SAMPLE_RATE_HZ * into_second) * BEEP_LEVEL
    tone[into_second >= BEEP_S * SAMPLE_RATE_HZ] = 0
    return np.repeat(tone.astype(np.float32)[:, None], 2, axis=1)


def read_counters(frame: np.ndarray) -> tuple[int, int]:
    """(chunk index, frame number on the media clock) from the squares at the bottom of a frame (H, W, 3) uint8."""
    height, width = frame.shape[:2]
    cell = _cell_px(height, width)
    values = []
    for row in (-2, -1):
        line = frame[height + row * cell + cell // 2, cell // 2 : NUM_BITS * cell : cell]  # (NUM_BITS, 3)
        values.append(int("".join("1" if mean > 127 else "0" for mean in line.mean(axis=-1)), 2))
    return values[0], values[1]


def _cell_px(height: int, width: int) -> int:
    return max(1, min(width // NUM_BITS, height // 10))


def _write(frame: np.ndarray, text: str, top: int, scale: int) -> None:
    """White digits on black, at the left of the frame; what does not fit is left out."""
    shifts = np.arange(6)[::-1]  # one empty column after five of a digit
    glyphs = [(np.array(FONT_5X7[character])[:, None] << 1 >> shifts) & 1 for character in text]
    bitmap = np.pad(np.hstack(glyphs), 1).astype(np.uint8) * 255
    bitmap = bitmap.repeat(scale, axis=0).repeat(scale, axis=1)[: frame.shape[0] - top, : frame.shape[1]]
    frame[top : top + bitmap.shape[0], : bitmap.shape[1]] = bitmap[:, :, None]
