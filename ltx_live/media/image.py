"""Image files: writing, reading, fitting to the output's size, and the compression that the model was trained on."""

from __future__ import annotations

import io
import re
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ltx_live.errors import MediaError
from ltx_live.media.loader import file_size
from ltx_live.media.recording import reason

MAX_SIDE_PX = 8192
MAX_IMAGE_BYTES = 256 * 2**20

TURNS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}
"""How a picture with an Exif orientation is made upright: whether its axes are exchanged, then x and y reversed."""

TRAINED_OPTIONS = {"crf": "33", "preset": "veryfast"}
"""How pictures were compressed that models up to 2.3 were conditioned on, at one frame a second, which x264 takes into
account (Lightricks/LTX-2 `ltx_pipelines/utils/media_io.py` encode_single_frame, `utils/constants.py`)."""


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


def read_image(path: Path | str) -> np.ndarray:
    """The picture of an image file, (H, W, 3) uint8: upright, alpha over black, 16 bits and grey as 8-bit colours.

    Of what moves it is the first frame. Raises MediaError when it is missing, broken, no image or too large.
    """
    import av

    try:
        if file_size(path) > MAX_IMAGE_BYTES:
            raise MediaError(f"{path} has more than {MAX_IMAGE_BYTES // 2**20} MiB; make it smaller")
        content = _still(Path(path).read_bytes())
        with av.open(io.BytesIO(content), metadata_errors="replace") as file:
            if not file.streams.video:
                raise MediaError(f"{path} has no picture; choose an image file")
            stream = file.streams.video[0]
            if stream.codec_context is None:
                raise MediaError(f"{path} is coded in a way that cannot be read; choose another image")
            if max(stream.width, stream.height) > MAX_SIDE_PX:
                size = f"{stream.width}x{stream.height}"
                raise MediaError(f"{path} is {size}, over {MAX_SIDE_PX} pixels a side; make it smaller")
            stream.codec_context.options = {"err_detect": "explode"}  # else what is cut off decodes to grey
            frame = next(file.decode(stream), None)
            if frame is None:
                raise MediaError(f"{path} has no picture that can be read; choose another image")
            pixels = frame.reformat(format="rgba", interpolation=_filter(), threads=1).to_ndarray()
    except OSError as error:
        raise MediaError(f"cannot read {path}: {reason(error)}; check the path") from None
    except av.FFmpegError as error:
        raise MediaError(f"cannot read {path} as an image: {reason(error)}; choose a PNG, JPEG or WebP file") from None
    return upright(_over_black(pixels), _exif_orientation(content))


def fitted(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """A picture (H, W, 3) uint8 that fills width x height: what is over is cut off evenly, the aspect stays."""
    source_height, source_width = picture.shape[:2]
    kept_width = min(source_width, max(1, round(source_height * width / height)))
    kept_height = min(source_height, max(1, round(source_width * height / width)))
    left, top = (source_width - kept_width) // 2, (source_height - kept_height) // 2
    return resized(picture[top : top + kept_height, left : left + kept_width], width, height)


def resized(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """A picture (H, W, 3) uint8 resized to exactly width x height with a Lanczos filter, whatever its aspect."""
    import av

    if picture.shape[:2] == (height, width):
        return picture
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    return frame.reformat(width, height, interpolation=_filter(), threads=1).to_ndarray()


def as_trained(picture: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 after the H.264 compression of TRAINED_OPTIONS, without which an image stays still."""
    import av

    height, width = picture.shape[:2]
    even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = even.shape[:2]
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = encoder.framerate = Fraction(1)
    encoder.thread_count = 1  # x264's output depends on it
    encoder.options = TRAINED_OPTIONS
    frame = av.VideoFrame.from_ndarray(even, format="rgb24").reformat(format="yuv420p", threads=1)
    frame.pts = 0
    decoder = av.CodecContext.create("h264", "r")
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    decoded = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    return decoded[0].reformat(format="rgb24", threads=1).to_ndarray()[:height, :width]


def rgb(frame: Any, width: int, height: int) -> np.ndarray:
    """A decoded frame (av.VideoFrame) as (H, W, 3) uint8, upright, scaled down to just cover width x height.

    What is smaller than that stays as it is.
    """
    orientation = (1, 8, 3, 6)[round(frame.rotation / 90) % 4]  # quarters counterclockwise
    if TURNS[orientation][0]:
        width, height = height, width
    scale = min(1.0, max(width / frame.width, height / frame.height))
    size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    small = frame.reformat(*size, format="rgb24", interpolation=_filter(), threads=1)
    return upright(small.to_ndarray(), orientation)


def upright(picture: np.ndarray, orientation: int) -> np.ndarray:
    """A stored picture turned and mirrored as its Exif orientation says (Exif 2.3, tag 0x0112: 1..8, 1 = upright)."""
    is_transposed, is_mirrored, is_upside_down = TURNS[orientation]
    if is_transposed:
        picture = picture.swapaxes(0, 1)
    return np.ascontiguousarray(picture[:: -1 if is_upside_down else 1, :: -1 if is_mirrored else 1])


def _still(content: bytes) -> bytes:
    """A file's content; of an animated WebP, which FFmpeg 8 does not read, its first frame (in an ANMF chunk)."""
    if content[:4] != b"RIFF" or content[8:12] != b"WEBP":
        return content
    place = 12
    while place + 8 <= len(content):
        size = int.from_bytes(content[place + 4 : place + 8], "little")
        if content[place : place + 4] == b"ANMF":
            frame = content[place + 8 : place + 8 + size]  # x, y, width, height, duration, flags: 16 bytes; its chunks
            header = b"VP8X" + struct.pack("<II", 10, 0x10) + frame[6:12]  # with alpha, of the frame's size
            chunks = header + frame[16:]
            return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks
        place += 8 + size + size % 2
    return content


def _exif_orientation(content: bytes) -> int:
    """The orientation in the Exif block of a JPEG, PNG or WebP file; 1 if there is none.

    FFmpeg reads it too, but PyAV 18 fails on a frame that has Exif data (it does not know that kind of side data).
    """
    found = re.search(rb"(?:Exif\0\0|eXIf|EXIF.{4})(II\*\0|MM\0\*)", content, re.DOTALL)
    if not found:
        return 1
    tiff, order = content[found.start(1) :], "<" if found[1] == b"II*\0" else ">"
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for k in range(count):
            tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, start + 2 + 12 * k)
            if tag == 0x0112:
                return value if value in TURNS else 1
    except struct.error:
        pass
    return 1


def _over_black(pixels: np.ndarray) -> np.ndarray:
    """Pixels (H, W, 4) with alpha as (H, W, 3) over black."""
    colours, alpha = pixels[..., :3], pixels[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(colours)
    return ((colours.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)


def _filter() -> Any:
    """Lanczos, at full accuracy and with the colours of every pixel."""
    from av.video.reformatter import Interpolation

    exact = Interpolation.FULL_CHR_H_INP | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
    return Interpolation.LANCZOS | exact
