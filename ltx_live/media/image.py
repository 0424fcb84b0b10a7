"""Writing image files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from ltx_live.errors import MediaError


def write_png(path: Path | str, picture: np.ndarray) -> None:
    """Write a picture (H, W, 3) uint8 as PNG. Raises MediaError when it cannot be written."""
    import av

    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise MediaError(f"{path}: a picture is {picture.dtype} {picture.shape}, not uint8 (height, width, 3)")
    try:
        codec = av.CodecContext.create("png", "w")
        codec.height, codec.width = picture.shape[:2]
        codec.pix_fmt = "rgb24"
        codec.time_base = Fraction(1)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        packets = [*codec.encode(frame), *codec.encode(None)]
        Path(path).write_bytes(b"".join(bytes(packet) for packet in packets))
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from None
