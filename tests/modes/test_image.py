"""An image leads one chunk, or every one; what cannot be read changes nothing."""

import time
from dataclasses import replace

import numpy as np
import pytest

from ltx_live.chunk import NO_INPUTS, ChunkRequest
from ltx_live.media.image import read_image, write_png
from ltx_live.modes.image import ImageMode
from ltx_live.modes.use import Arrival, Setting
from ltx_live.params import GenerationParams, defaults

SIZE = 64, 32
SECOND = 48_000


class Image:
    """An image mode beside live values; requests are made as the flow makes them."""

    def __init__(self, folder):
        self.mode, self.values, self.index = ImageMode(SIZE, folder), defaults(), 0

    def set(self, **values):
        self.values |= values
        self.mode.take(self.values)

    def told(self, timeout_s=10.0):
        end = time.monotonic() + timeout_s
        while not (told := list(self.mode.tick())):
            assert time.monotonic() < end
            time.sleep(0.005)
        return told

    def wait_until_written(self):
        end = time.monotonic() + 10
        while self.mode._grabbed:
            assert time.monotonic() < end
            time.sleep(0.002)

    def params(self):
        params = GenerationParams(**{name: self.values[name] for name in ("i2v_strength", "i2v_hold", "i2v_compress")})
        return replace(params, **self.mode.fields(params))

    def request(self, start):
        self.index += 1
        request = ChunkRequest(self.index, self.params(), 1, start, 33, (self.index - 1, 33))
        return replace(request, inputs=self.mode.fill(request, NO_INPUTS))


@pytest.fixture
def image(tmp_path):
    made = Image(tmp_path)
    for name, colour in (("red", (250, 10, 10)), ("blue", (10, 10, 250))):
        write_png(tmp_path / f"{name}.png", np.full((90, 160, 3), colour, np.uint8))
    return made


def colour(request) -> str:
    return "" if request.inputs.image is None else "red" if request.inputs.image[..., 0].mean() > 128 else "blue"


def test_an_image_leads_the_chunk_after_it_is_there_and_no_other(image):
    assert colour(image.request(0)) == "" and image.params().i2v_image == ""
    image.set(i2v_image="red.png")
    assert image.mode.words == "image loading" and image.params().i2v_image == "", "it is no gesture yet"
    assert image.told() == [Arrival("i2v_image")] and image.mode.words == "image red.png"
    before = image.params()
    first = image.request(SECOND)
    assert colour(first) == "red" and first.inputs.image.shape == (32, 64, 3)
    image.mode.made(first)
    assert colour(image.request(2 * SECOND)) == ""
    assert image.params() == replace(before, i2v_strength=1.0), "to go on is no gesture"
    image.set(i2v_image="blue.png")
    image.told()
    assert image.params().i2v_image != before.i2v_image and colour(image.request(3 * SECOND)) == "blue"


def test_a_lead_that_was_cut_away_unseen_is_made_again_and_one_that_is_seen_is_not(image):
    image.set(i2v_image="red.png")
    image.told()
    image.mode.made(image.request(5 * SECOND))
    assert colour(image.request(4 * SECOND)) == "red"
    assert colour(image.request(5 * SECOND + SECOND // 2)) == ""


def test_a_request_that_is_never_made_leaves_the_lead_to_the_next(image):
    image.set(i2v_image="red.png")
    image.told()
    assert colour(image.request(SECOND)) == "red" == colour(image.request(2 * SECOND))


def test_hold_again_clear_and_strength(image):
    image.set(i2v_image="red.png", i2v_strength=0.0)
    image.told()
    assert colour(image.request(0)) == ""
    image.set(i2v_strength=0.5, i2v_hold=True)
    for start in (1, 2, 3):
        request = image.request(start * SECOND)
        image.mode.made(request)
        assert colour(request) == "red" and request.params.i2v_strength == 0.5
    image.set(i2v_hold=False)
    assert colour(image.request(4 * SECOND)) == ""
    assert image.mode.again() and colour(image.request(4 * SECOND)) == "red"
    image.set(i2v_image="")
    assert not image.mode.again() and image.mode.words == "" and colour(image.request(5 * SECOND)) == ""


def test_the_compression_of_training_can_be_left_out(image, tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (32, 64, 3), np.uint8)
    write_png(tmp_path / "noise.png", noise)
    image.set(i2v_image="noise.png", i2v_compress=False)
    image.told()
    assert (image.request(0).inputs.image == noise).all()
    image.set(i2v_compress=True)
    assert (image.request(0).inputs.image != noise).any()


@pytest.mark.parametrize("name", ["missing.png", "broken.png", "text.txt", "."])
def test_what_cannot_be_read_is_one_line_and_the_old_image_stays(image, tmp_path, name):
    (tmp_path / "broken.png").write_bytes((tmp_path / "red.png").read_bytes()[:60])
    (tmp_path / "text.txt").write_text("no picture")
    image.set(i2v_image="red.png")
    image.told()
    used = image.params().i2v_image
    image.set(i2v_image=name)
    (setting,) = image.told()
    assert isinstance(setting, Setting) and (setting.name, setting.value) == ("i2v_image", "red.png")
    assert "stays as it was" in setting.text and "\n" not in setting.text
    image.set(i2v_image=setting.value)
    assert not list(image.mode.tick()) and image.params().i2v_image == used and colour(image.request(0)) == "red"


def test_a_grabbed_picture_is_kept_as_a_file_and_leads(image, tmp_path):
    picture = np.random.default_rng(2).integers(0, 256, (32, 64, 3), np.uint8)
    name = image.mode.grab(picture)
    kept, picture = picture.copy(), picture.__setitem__(slice(None), 0)
    image.set(i2v_image=name, i2v_compress=False)
    image.told()
    assert (image.request(0).inputs.image == kept).all()
    image.wait_until_written()
    assert (read_image(name) == kept).all()


def test_every_grabbed_picture_is_kept_as_a_file_and_none_in_memory(image, tmp_path):
    names = set()
    for level in range(6):
        names.add(image.mode.grab(np.full((32, 64, 3), level, np.uint8)))
        image.set(i2v_image=max(names))
        time.sleep(0.002)
    image.told()
    image.wait_until_written()
    assert {str(path) for path in tmp_path.glob("grab-*")} == names


def test_a_grabbed_picture_that_cannot_be_kept_leads_and_is_told(image, tmp_path):
    image.mode._folder = tmp_path / "red.png" / "no folder"
    image.set(i2v_image=image.mode.grab(np.full((32, 64, 3), (9, 9, 250), np.uint8)))
    told = image.told()
    while len(told) < 2:
        told += image.told()
    assert Arrival("i2v_image") in told and any("used, but not kept" in str(line) for line in told)
    assert colour(image.request(0)) == "blue"


def test_an_image_that_leads_again_does_so_at_its_strength(image):
    image.set(i2v_image="red.png", i2v_strength=0.4)
    image.told()
    image.mode.made(image.request(2 * SECOND))
    again = image.request(SECOND)  # a cut before it was seen
    assert colour(again) == "red" and again.params.i2v_strength == 0.4


def test_a_strength_that_modulators_have_moved_is_no_gesture_once_the_image_has_led(image):
    image.set(i2v_image="red.png", i2v_strength=0.4)
    image.told()
    request = image.request(0)
    image.mode.made(replace(request, params=replace(request.params, i2v_strength=0.7)))  # as it was sent
    assert image.params() == request.params
