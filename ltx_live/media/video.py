"""Reading video files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ltx_live.errors import MediaError


@dataclass(frozen=True, slots=True)
class Video:
    """frames (F, H, W, 3) uint8 at `frame_rate`; audio (S, C) float32 at `sample_rate`, with S = 0 when it has none."""

    frames: np.ndarray
    frame_rate: float
    audio: np.ndarray
    sample_rate: int


def read_video(path: Path | str) -> Video:
    """A whole video file, picture and sound. Raises MediaError when it cannot be read or has no picture."""
    import av

    try:
        with av.open(str(path)) as file:
            if not file.streams.video:
                raise MediaError(f"{path} has no picture; choose a video file")
            stream = file.streams.video[0]
            tracks = [stream, *file.streams.audio[:1]]
            frames, sound = [], []
            sample_rate = tracks[1].rate if len(tracks) > 1 else 0
            resampler = av.AudioResampler(format="fltp")
            for decoded in file.decode(tracks):
                if isinstance(decoded, av.VideoFrame):
                    frames.append(decoded.to_ndarray(format="rgb24"))
                else:
                    sound += [part.to_ndarray().T for part in resampler.resample(decoded)]
            rate = float(stream.average_rate or stream.guessed_rate)
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if not frames:
        raise MediaError(f"{path} has no picture; choose a video file")
    audio = np.concatenate(sound) if sound else np.zeros((0, 2), np.float32)
    return Video(np.stack(frames), rate, audio, sample_rate)
