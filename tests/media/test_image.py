"""Image files hold the picture that was written, every kind is read, and pictures are fitted and compressed as said."""

import io
import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from ltx_live.errors import MediaError
from ltx_live.media import image
from ltx_live.media.image import as_trained, fitted, read_image, resized, write_png


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width] / (height, width)[0]
    return np.stack([60 + 100 * x / x.max(), 200 - 120 * y, 90 + 50 * np.sin(6 * x)], axis=-1).astype(np.uint8)


def encoded(codec_name: str, pixels: np.ndarray, format: str, pix_fmt: str = "") -> bytes:
    """One picture as a file's content."""
    codec = av.CodecContext.create(codec_name, "w")
    codec.height, codec.width = pixels.shape[:2]
    codec.pix_fmt = pix_fmt or format
    codec.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(pixels, format=format)
    if pix_fmt:
        frame = frame.reformat(format=pix_fmt, dst_color_range="JPEG" if pix_fmt.startswith("yuvj") else None)
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG file with an Exif segment that says how it is to be turned (Exif 2.3, tag 0x0112)."""
    tiff = b"MM\x00\x2a\x00\x00\x00\x08\x00\x01" + struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0) + b"\x00" * 4
    segment = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


@pytest.mark.parametrize(("height", "width"), [(64, 96), (33, 57), (1, 1)])
def test_a_png_gives_back_every_pixel(tmp_path, height, width):
    picture = noise(height, width)
    write_png(tmp_path / "a.png", picture)
    assert np.array_equal(read_image(tmp_path / "a.png"), picture)
    with av.open(str(tmp_path / "a.png")) as file:
        (frame,) = file.decode(video=0)
    assert np.array_equal(frame.to_ndarray(format="rgb24"), picture)


def test_what_is_no_picture_or_cannot_be_written_says_so(tmp_path):
    with pytest.raises(MediaError, match="a picture is float64"):
        write_png(tmp_path / "a.png", np.zeros((4, 4, 3)))
    with pytest.raises(MediaError, match="no-such-folder/a.png: No such file"):
        write_png(tmp_path / "no-such-folder" / "a.png", np.zeros((4, 4, 3), np.uint8))


def test_grey_16_bit_and_alpha(tmp_path):
    path = tmp_path / "a.png"
    grey = noise(20, 30)[..., 0]
    path.write_bytes(encoded("png", grey, "gray"))
    assert np.abs(read_image(path).astype(int) - grey[..., None]).max() <= 1
    path.write_bytes(encoded("png", (grey.astype(np.uint16) * 257).byteswap(), "gray16be"))
    assert np.abs(read_image(path).astype(int) - grey[..., None]).max() <= 1
    alpha = np.dstack([noise(20, 30), np.full((20, 30), 255, np.uint8)])
    alpha[:, :10, 3], alpha[:, 10:20, 3] = 0, 128
    path.write_bytes(encoded("png", alpha, "rgba"))
    picture = read_image(path).astype(int)
    assert picture.shape == (20, 30, 3)
    assert (picture[:, :10] == 0).all()
    assert np.abs(picture[:, 10:20] - alpha[:, 10:20, :3] * (128 / 255)).max() <= 1
    assert np.array_equal(picture[:, 20:], alpha[:, 20:, :3])


@pytest.mark.parametrize("name", ["a b 100%d.jpg", "a.webp", "a.bmp", "a.gif"])
def test_other_files_and_odd_names(tmp_path, name):
    picture = smooth(48, 80)
    kinds = {
        ".jpg": ("mjpeg", "rgb24", "yuvj444p"),
        ".webp": ("libwebp", "rgb24", "yuv420p"),
        ".bmp": ("bmp", "bgr24", ""),
        ".gif": ("gif", "rgb24", "rgb8"),
    }
    path = tmp_path / name
    codec, format, pix_fmt = kinds[path.suffix]
    if path.suffix == ".gif":  # needs a container
        with av.open(str(path), "w") as file:
            stream = file.add_stream("gif", rate=10)
            stream.height, stream.width, stream.pix_fmt = 48, 80, "rgb8"
            for shift in (0, 7):
                frame = av.VideoFrame.from_ndarray(np.roll(picture, shift, 1), format="rgb24").reformat(format="rgb8")
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
    else:
        source = picture[..., ::-1].copy() if format == "bgr24" else picture
        path.write_bytes(encoded(codec, source, format, pix_fmt))
    read = read_image(path)
    assert read.shape == picture.shape
    assert np.abs(read.astype(int) - picture).mean() < (20 if path.suffix == ".gif" else 5)  # a GIF has 256 colours


@pytest.mark.parametrize("is_lossless", ["0", "1"])
def test_the_first_frame_of_an_animated_webp(tmp_path, is_lossless):
    picture = smooth(48, 80)
    with av.open(str(tmp_path / "a.webp"), "w") as file:
        stream = file.add_stream("libwebp_anim", rate=10, options={"lossless": is_lossless})
        stream.height, stream.width, stream.pix_fmt = 48, 80, "yuva420p" if is_lossless == "0" else "bgra"
        for shift in (0, 30, 60):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, shift, 1), format="rgb24")
            file.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        file.mux(stream.encode(None))
    assert b"ANMF" in (tmp_path / "a.webp").read_bytes()
    read = read_image(tmp_path / "a.webp")
    assert read.shape == picture.shape
    assert np.abs(read.astype(int) - picture).mean() < 5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_stands_upright(tmp_path, orientation):
    upright = smooth(48, 80)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    content = encoded("mjpeg", np.ascontiguousarray(stored), "rgb24", "yuvj444p")
    (tmp_path / "a.jpg").write_bytes(with_orientation(content, orientation))
    read = read_image(tmp_path / "a.jpg")
    assert read.shape == upright.shape
    assert np.abs(read.astype(int) - upright).mean() < 5


def test_what_cannot_be_read_is_one_line(tmp_path, monkeypatch):
    write_png(tmp_path / "a.png", noise(64, 64))
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").write_bytes(b"")
    with av.open(str(tmp_path / "a.wav"), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        file.mux(stream.encode(sound))
        file.mux(stream.encode(None))
    cases = {
        "nothing.png": "cannot read .*nothing.png: no such file or directory; check the path",
        ".": "cannot read .*; check the path",
        "cut.png": "cut.png",
        "text.png": "cannot read .*text.png as an image: .*; choose a PNG",
        "empty.png": "cannot read .*empty.png as an image",
        "a.wav": "a.wav has no picture; choose an image file",
    }
    for name, words in cases.items():
        with pytest.raises(MediaError, match=words) as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(image, "MAX_SIDE_PX", 63)
    with pytest.raises(MediaError, match="a.png is 64x64, over 63 pixels a side; make it smaller"):
        read_image(tmp_path / "a.png")
    monkeypatch.setattr(image, "MAX_IMAGE_BYTES", 2**10)
    with pytest.raises(MediaError, match="more than 0 MiB"):
        read_image(tmp_path / "a.png")


def test_fitting_keeps_the_aspect_and_the_middle():
    y, x = np.mgrid[:300, :500]
    disc = np.where(np.hypot(x - 249.5, y - 149.5)[..., None] < 100, (255, 200, 40), (0, 30, 90)).astype(np.uint8)
    for width, height in [(288, 160), (160, 288), (64, 64), (1000, 600)]:
        picture = fitted(disc, width, height)
        assert picture.shape == (height, width, 3)
        inside = picture[..., 0] > 127
        radius = 100 * max(width / 500, height / 300)
        if 2 * radius < min(width, height):
            assert inside.sum() == pytest.approx(np.pi * radius**2, rel=0.02)
        assert inside.any(axis=0).sum() == pytest.approx(min(2 * radius, width), abs=2)
        assert inside.any(axis=1).sum() == pytest.approx(min(2 * radius, height), abs=2)
        rows, columns = np.nonzero(inside)
        assert (rows.mean(), columns.mean()) == pytest.approx(((height - 1) / 2, (width - 1) / 2), abs=0.6)


def test_resizing_keeps_colours_exactly_and_details_finely():
    for colour in [(255, 0, 0), (3, 77, 250), (255, 255, 255), (0, 0, 0)]:
        flat = np.full((90, 120, 3), colour, np.uint8)
        assert np.abs(resized(flat, 47, 33).astype(int) - colour).max() <= 1
    picture = noise(32, 48)
    assert resized(picture, 48, 32) is picture
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = (250, 0, 0)
    stripes[:, 1::2] = (0, 0, 250)
    assert np.abs(resized(stripes, 32, 32)[8:-8, 8:-8].astype(int) - (125, 0, 125)).max() <= 3
    assert fitted(np.zeros((1, 4000, 3), np.uint8), 288, 160).shape == (160, 288, 3)


def test_the_compression_is_that_of_a_file_with_one_frame_a_second():
    picture = np.clip(smooth(96, 160).astype(int) + (noise(96, 160) // 16), 0, 255).astype(np.uint8)
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=1, options={"crf": "33", "preset": "veryfast"})
        stream.height, stream.width = 96, 160
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    content.seek(0)
    with av.open(content) as file:
        wanted = next(file.decode(video=0)).to_ndarray(format="rgb24")
    trained = as_trained(picture)
    assert np.array_equal(trained, wanted)
    assert np.array_equal(trained, as_trained(picture))
    error = np.mean((trained.astype(float) - picture) ** 2)
    assert 25 < 10 * np.log10(255**2 / error) < 45


def test_odd_sizes_are_compressed_too():
    picture = smooth(33, 57)
    assert as_trained(picture).shape == (33, 57, 3)
    assert np.abs(as_trained(picture).astype(int) - picture).mean() < 6
