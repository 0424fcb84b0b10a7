"""What a dropped file does, by its suffix alone."""

import pytest

from ltx_live import params
from ltx_live.errors import MediaError
from ltx_live.media.frames import IMAGE_SUFFIXES
from ltx_live.stage.drops import ADDRESSES, message


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("/a b/fox.JPG", "/ltx/i2v_image"),
        ("/a/fox.webp", "/ltx/i2v_image"),
        ("/a/style.safetensors", "/ltx/lora/drop"),
        ("/a/song.wav", "/ltx/audio_input"),
        ("/a/song.tar.MP3", "/ltx/audio_input"),
        ("/a/clip.mp4", "/ltx/ref/source"),
        ("C:\\clips\\clip.mov", "/ltx/ref/source"),
    ],
)
def test_a_file_goes_where_its_suffix_says_with_its_whole_path(path, address):
    assert message(path, is_folder=False) == (address, (path,))


def test_a_folder_is_a_reference_whatever_its_name():
    assert message("/a/frames.png", is_folder=True) == ("/ltx/ref/source", ("/a/frames.png",))


@pytest.mark.parametrize(
    ("path", "said"), [("/a/pads.toml", "--mapping"), ("/a/x.txt", "drop an"), ("/a/x", "drop an")]
)
def test_anything_else_is_a_line_that_says_what_to_do(path, said):
    with pytest.raises(MediaError, match=said) as caught:
        message(path, is_folder=False)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 110


def test_no_suffix_has_two_meanings_and_images_are_those_that_are_read():
    every = [suffix for suffixes, _ in ADDRESSES for suffix in suffixes]
    assert len(set(every)) == len(every) and set(every) >= IMAGE_SUFFIXES
    assert params.find("i2v_image") and params.find("audio_input")
