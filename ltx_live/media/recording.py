"""Writing picture and sound to an MP4 file that can be played even when the show dies while recording."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.errors import MediaError

BT709 = 1  # the number of ITU-R BT.709 in H.264's colour tables (ITU-T H.264, annex E)
MP4_OPTIONS = {"movflags": "hybrid_fragmented+delay_moov", "flush_packets": "1", "movie_timescale": "48000"}
"""FFmpeg `movenc.c`: one fragment per key frame, made a plain MP4 when it is closed; the header waits for the first
packets, so that it can say how many samples of AAC's run-in to skip (else every duration is 21 ms too long), and to
the sample rather than to the millisecond."""

H264_OPTIONS = {"preset": "veryfast", "tune": "zerolatency", "crf": "18", "threads": "2"}
"""No frame waits in the encoder, and the thread count is fixed, because x264's output depends on it."""


class VideoWriter:
    """Records frames and sound to an MP4 file: H.264, and AAC in stereo. A context manager; otherwise close it.

    The file is readable up to the last second while it grows. Frames and sound count their own time from 0, so write
    about as much of one as of the other. Odd sizes are padded by one pixel. Every method raises MediaError.
    """

    def __init__(
        self, path: Path | str, width: int, height: int, frame_rate: float, sample_rate: int = SAMPLE_RATE_HZ
    ) -> None:
        import av

        self.path = Path(path)
        self.width, self.height = width, height
        self.num_frames = 0
        self.num_samples = 0
        self._av = av
        rate = Fraction(frame_rate).limit_denominator(1001)
        try:
            self._file = av.open(str(self.path), "w", format="mp4", options=MP4_OPTIONS)
            self._video = self._file.add_stream("libx264", rate=rate, options=H264_OPTIONS)
            self._audio = self._file.add_stream("aac", rate=sample_rate, layout="stereo", bit_rate=256_000)
            codec = self._video.codec_context
            codec.width, codec.height = width + width % 2, height + height % 2
            codec.pix_fmt = "yuv420p"
            codec.time_base = 1 / rate
            codec.gop_size = round(rate)
            codec.colorspace = codec.color_primaries = codec.color_trc = BT709
            self._file.start_encoding()
        except (av.FFmpegError, OSError) as error:
            raise MediaError(f"cannot record to {self.path}: {reason(error)}; choose another file") from None

    def write_frame(self, frame: np.ndarray) -> None:
        """Append one picture (H, W, 3) uint8."""
        if frame.shape != (self.height, self.width, 3):
            raise MediaError(f"{self.path}: a frame is {frame.shape}, not ({self.height}, {self.width}, 3)")
        padding = ((0, self.height % 2), (0, self.width % 2), (0, 0))
        picture = self._av.VideoFrame.from_ndarray(np.pad(frame, padding, mode="edge"), format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        picture.pts = self.num_frames
        picture.time_base = self._video.codec_context.time_base
        self._write(self._video, picture)
        self.num_frames += 1

    def write_audio(self, samples: np.ndarray) -> None:
        """Append sound (S, 2) float32 in -1..1."""
        if samples.ndim != 2 or samples.shape[1] != 2:
            raise MediaError(f"{self.path}: sound is {samples.shape}, not (samples, 2)")
        if not len(samples):
            return
        interleaved = np.clip(samples, -1, 1).astype(np.float32).reshape(1, -1)
        sound = self._av.AudioFrame.from_ndarray(interleaved, format="flt", layout="stereo")
        sound.sample_rate = self._audio.codec_context.sample_rate
        sound.pts = self.num_samples
        sound.time_base = Fraction(1, sound.sample_rate)
        self._write(self._audio, sound)
        self.num_samples += len(samples)

    def close(self) -> None:
        """Finish the file; a second call does nothing."""
        if self._file is None:
            return
        try:
            for stream, written in ((self._video, self.num_frames), (self._audio, self.num_samples)):
                if written:
                    self._write(stream, None)
        finally:
            file, self._file = self._file, None
            try:
                file.close()
            except (self._av.FFmpegError, OSError) as error:
                raise MediaError(f"cannot finish {self.path}: {reason(error)}") from None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, stream, frame) -> None:
        if self._file is None:
            raise MediaError(f"{self.path}: already closed")
        try:
            self._file.mux(stream.encode(frame))
        except (self._av.FFmpegError, OSError) as error:
            raise MediaError(f"cannot write {self.path}: {reason(error)}; is the disk full?") from None


def reason(error: Exception) -> str:
    """What went wrong, in words, without the path and the number that FFmpeg's errors repeat."""
    return (getattr(error, "strerror", None) or str(error)).lower()
