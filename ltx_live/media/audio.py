"""Reading the sound of a file, whole, in stereo at the rate of the media clock."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.errors import MediaError
from ltx_live.media.loader import file_size
from ltx_live.media.recording import reason

LONGEST_S = 1800
"""The longest file: it is held in memory, and half an hour is 0.7 GB."""

_SWR_OPTIONS = {"rematrix_maxval": "1"}  # FFmpeg's: what is mixed down from more than two channels stays below 1
_SAME_START_S = 0.001
_FILLING = SAMPLE_RATE_HZ // 4  # at most two frames of HE-AAC at 22.05 kHz


def read_audio(path: Path | str, only_s: float | None = None) -> np.ndarray:
    """The sound of a sound or video file, (S, 2) float32 at 48 kHz; with `only_s` no more than its first seconds.

    Sample 0 is the file's first and S = ceil(48000 N / rate) for its N samples: what an encoder has put around them is
    left out, as far as the file tells. It is resampled once; mono goes to both channels, more than two are mixed down.
    A sound that begins later than the picture of its video has the silence before it. Raises MediaError when there is
    no sound, it cannot be read, or it is longer than LONGEST_S.
    """
    import av

    limit = round(SAMPLE_RATE_HZ * (LONGEST_S if only_s is None else only_s))
    try:
        file_size(path)
        with av.open(str(path), metadata_errors="replace") as file:
            start, pieces = _decode(file, limit, is_cut=only_s is not None)
            num_samples = _without_filling(file, sum(map(len, pieces)))
            samples = np.zeros((start + num_samples, 2), np.float32)  # (S, 2)
    except _Refused as refusal:
        raise MediaError(f"{path} {refusal}") from None
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"cannot read {path}: {reason(error)}; is it a sound file?") from None
    except MemoryError:
        raise MediaError(f"{path} does not fit into memory; choose a shorter file") from None
    for piece in pieces:
        samples[start : start + len(piece)] = piece[: len(samples) - start]
        start += len(piece)
    if not np.isfinite(samples).all():
        raise MediaError(f"{path} holds samples that are no numbers; choose another file")
    return samples if only_s is None else samples[:limit]


class _Refused(Exception):
    """A file that can be read and not be used; the text follows its path."""


class _Run:
    """Frames of one format, one after the other, and what the resampler makes of them: pieces (N, 1 or 2) float32."""

    def __init__(self, frame: Any) -> None:
        import av

        self._format = _format(frame)
        self._rate = frame.sample_rate
        layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
        self._resampler = av.AudioResampler("flt", layout, SAMPLE_RATE_HZ, options=_SWR_OPTIONS)
        self._num_in = 0
        self.pieces: list[np.ndarray] = []

    def takes(self, frame: Any) -> bool:
        return _format(frame) == self._format

    @property
    def num_samples(self) -> int:
        """How many samples at 48 kHz the frames make, to the sample."""
        return -(-self._num_in * SAMPLE_RATE_HZ // self._rate)

    def add(self, frame: Any | None) -> None:
        """Take a frame; None for the end, where the resampler gives what it still has and is cut to the length."""
        if frame is not None:
            self._num_in += frame.samples
        for out in self._resampler.resample(frame):
            self.pieces.append(out.to_ndarray().reshape(-1, out.layout.nb_channels))
        if frame is None and self.pieces:
            self._fit()

    def _fit(self) -> None:
        missing = self.num_samples - sum(map(len, self.pieces))
        while missing < 0:
            last = self.pieces.pop()
            missing += len(last)
            if missing > 0:
                self.pieces.append(last[:missing])
                return
        if missing:
            self.pieces.append(np.zeros((missing, self.pieces[-1].shape[1]), np.float32))


def _decode(file: Any, limit: int, is_cut: bool) -> tuple[int, list[np.ndarray]]:
    """(samples of silence before it, pieces (N, 1 or 2) of the sound at 48 kHz); what is beyond the limit is refused.

    A packet that is broken is left out.
    """
    if not file.streams.audio:
        raise _Refused("has no sound; choose a sound file, or a video that has sound")
    stream = file.streams.audio[0]
    runs: list[_Run] = []
    start = 0
    for frame in _frames(file, stream):
        if not runs:
            start = _silence_before(file, frame)
        if not runs or not runs[-1].takes(frame):
            if runs:
                runs[-1].add(None)
            runs.append(_Run(frame))
        runs[-1].add(frame)
        if start + sum(run.num_samples for run in runs) > limit:
            if is_cut:
                break
            raise _Refused(f"is longer than {LONGEST_S // 60} minutes; choose a shorter file")
    if not runs or not runs[-1].num_samples:
        raise _Refused("has a sound without a sample; choose another file")
    runs[-1].add(None)
    return start, [piece for run in runs for piece in run.pieces]


def _frames(file: Any, stream: Any) -> Iterator[Any]:
    import av

    num_frames, fault = 0, None
    for packet in file.demux(stream):
        try:
            frames = packet.decode()
        except av.InvalidDataError as error:
            fault = error
            continue
        num_frames += len(frames)
        yield from (frame for frame in frames if frame.samples)
    if fault is not None and not num_frames:
        raise fault


def _silence_before(file: Any, first: Any) -> int:
    """How many samples at 48 kHz later than the picture a video's sound begins."""
    from av.stream import Disposition

    pictures = [each for each in file.streams.video if not each.disposition & Disposition.attached_pic]
    if not pictures or pictures[0].start_time is None or first.pts is None:
        return 0
    late_s = float(first.pts * first.time_base - pictures[0].start_time * pictures[0].time_base)
    return round(late_s * SAMPLE_RATE_HZ) if late_s > _SAME_START_S else 0


def _without_filling(file: Any, num_samples: int) -> int:
    """How many of a sound's samples count: MP4 says in its duration how much of the last AAC frames is filling."""
    stream = file.streams.audio[0]
    if "mp4" not in file.format.name or not stream.duration:
        return num_samples
    told = math.ceil(stream.duration * stream.time_base * SAMPLE_RATE_HZ)
    return told if told < num_samples <= told + _FILLING else num_samples


def _format(frame: Any) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


class Sound(NamedTuple):
    """A file's name and its samples (S, 2) float32 at 48 kHz."""

    name: str
    samples: np.ndarray

    def voice(self, window_s: float) -> np.ndarray:
        """The voice to speak with: so much of its beginning, (S, 2)."""
        return self.samples[: round(window_s * SAMPLE_RATE_HZ)]


def read_sound(path: str) -> Sound:
    """The sound of a file with its name; see `read_audio`."""
    return Sound(Path(path).name, read_audio(path))
