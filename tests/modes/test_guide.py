"""Video mode: a reference is given in time with the chunk, smaller by its factor; wishes that fail are taken back."""

import time
from dataclasses import replace

import numpy as np
import pytest

from ltx_live.chunk import NO_INPUTS, ChunkRequest, Inputs
from ltx_live.media import controls
from ltx_live.media.image import write_png
from ltx_live.media.recording import VideoWriter
from ltx_live.modes.guide import GuideMode
from ltx_live.modes.use import Arrival, Setting, Used
from ltx_live.params import GenerationParams, defaults, snapshot

SIZE = 96, 64
SECOND = 48_000


class Reference:
    """A guide mode beside live values."""

    def __init__(self, folder):
        self.mode, self.values, self.position = GuideMode(SIZE, folder), defaults() | {"frame_rate": 24.0}, 0

    def set(self, **values):
        self.values |= {name.replace("ref_", "ref/"): value for name, value in values.items()}
        self.mode.take(self.values)

    def told(self, timeout_s=10.0):
        end = time.monotonic() + timeout_s
        while not (told := list(self.mode.tick(self.position))):
            assert time.monotonic() < end
            time.sleep(0.005)
        return told

    def params(self):
        params = snapshot(GenerationParams, self.values)
        return replace(params, **self.mode.fields(params))

    def filled(self, start=SECOND, num_frames=17, continues=True, inputs=NO_INPUTS, timeout_s=10.0):
        request = ChunkRequest(1, self.params(), 1, start, num_frames, (0, 33) if continues else None)
        end = time.monotonic() + timeout_s
        while (filled := self.mode.fill(request, inputs)) is None:
            assert time.monotonic() < end
            time.sleep(0.002)
        return filled


@pytest.fixture
def reference(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", *SIZE, 24.0) as writer:
        for index in range(48):
            writer.write_frame(np.full((SIZE[1], SIZE[0], 3), 20 + 4 * index, np.uint8))
    made = Reference(tmp_path)
    yield made
    made.mode.close()


def indices(frames):
    return [round((float(frame[4:-4, 4:-4].mean()) - 20) / 4) for frame in frames]


def test_without_a_reference_nothing_is_given_and_no_value_is_a_gesture(reference):
    plain = reference.params()
    reference.set(ref_control="canny", ref_speed=2.0, control_strength=0.3)
    assert reference.params() == plain and reference.filled() is NO_INPUTS and not reference.mode.is_active


def test_the_reference_begins_with_its_first_chunk_and_goes_on_in_time_with_frames_shown_again(reference):
    reference.set(ref_source="a.mp4")
    assert reference.told()[0] == Arrival("ref/source") and reference.mode.is_active
    assert reference.mode.words == "reference a.mp4"
    assert indices(reference.filled(SECOND, continues=False).guide) == list(range(17))
    again = reference.filled(SECOND + 17 * 2000)  # the chunk after it shows the last 9 frames again
    assert indices(again.guide) == list(range(8, 25)) and again.guide_factor == 1
    led = reference.filled(SECOND + 17 * 2000, inputs=Inputs(image=np.zeros((64, 96, 3), np.uint8)))
    assert indices(led.guide) == list(range(17, 34)), "an image leads without a past"


def test_the_factor_makes_it_smaller_and_strength_zero_leaves_it_out(reference):
    reference.set(ref_source="test")
    reference.told()
    reference.mode.factor = 2
    filled = reference.filled()
    assert filled.guide.shape == (17, 32, 64, 3) and filled.guide_factor == 2  # 48x32 filled up to 64x32
    assert reference.params().ref_source == Used("test", 0, 2)
    reference.set(control_strength=0.0)
    assert reference.filled() is NO_INPUTS and not reference.mode.is_active


def test_a_request_whose_reference_was_given_up_gets_none(reference):
    reference.set(ref_source="test")
    reference.told()
    for source in ("", Used("a.mp4", 1, 1)):
        request = ChunkRequest(1, replace(reference.params(), ref_source=source), 1, SECOND, 17, None)
        assert reference.mode.fill(request, NO_INPUTS) is NO_INPUTS
    assert reference.filled().guide is not None


def test_control_signals_letterbox_gamma_and_mask_are_applied(reference, tmp_path):
    reference.set(ref_source="test")
    reference.told()
    plain = reference.filled().guide.copy()
    reference.set(ref_control="luminance")
    assert (reference.filled().guide == controls.luminance(plain)).all()
    reference.set(ref_control="canny", ref_low=0.05, ref_high=0.1)
    assert (reference.filled().guide == controls.canny(plain, 0.05, 0.1)).all()
    assert reference.mode.words == "reference test, canny"
    reference.set(ref_control="none", ref_letterbox=True, ref_scale=0.5, ref_gamma=True)
    boxed = reference.filled()
    assert not boxed.guide[:, :12].any() and boxed.guide[:, 32, 48].any() and boxed.restores_gamma
    mask = np.zeros((64, 96, 3), np.uint8)
    mask[:32] = 255
    write_png(tmp_path / "mask.png", mask)
    reference.set(ref_letterbox=False, ref_gamma=False, ref_mask="mask.png")
    while reference.mode._guide.is_loading:
        time.sleep(0.005)
    assert not list(reference.mode.tick(0))
    assert (reference.filled().guide[:, :32] == controls.MASK_COLOUR).all()


def test_tracks_need_no_source(reference):
    reference.set(ref_control="tracks")
    assert reference.told() == [Arrival("ref/source")] and reference.mode.words == "reference tracks, delay 0.0 s"
    now_s = time.perf_counter()
    assert reference.mode.track(3, (0.5, "0.5"), now_s) is None
    assert reference.filled().guide.any()
    assert "send x and y" in reference.mode.track(3, ("left", 1), now_s)
    assert "send x and y" in reference.mode.track(3, (1,), now_s)
    reference.mode.clear_tracks()
    assert not reference.filled(2 * SECOND).guide.any()


def test_seek_is_a_gesture_of_a_recording_only(reference):
    assert not reference.mode.seek(1.0)
    reference.set(ref_source="a.mp4")
    reference.told()
    reference.filled()
    before = reference.params()
    assert reference.mode.seek(1.0)
    reference.told()
    assert reference.params() != before
    assert indices(reference.filled(3 * SECOND, continues=False).guide)[0] == 24


@pytest.mark.parametrize("name", ["missing.mp4", "broken.mp4", "empty", "camera:97", "one.png"])
def test_what_cannot_be_opened_is_one_line_and_the_old_one_goes_on(reference, tmp_path, name):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "empty").mkdir()
    write_png(tmp_path / "one.png", np.full((16, 16, 3), 99, np.uint8))
    reference.set(ref_source="a.mp4")
    reference.told()
    used = reference.params().ref_source
    reference.set(ref_source=name)
    told = reference.told(20)
    if name == "one.png":  # a guide of one frame is one that stands still
        assert told == [Arrival("ref/source")] and (reference.filled().guide == 99).all()
        return
    (setting,) = told
    assert isinstance(setting, Setting) and (setting.name, setting.value) == ("ref/source", "a.mp4")
    assert "stays as it was" in setting.text and "\n" not in setting.text
    assert reference.params().ref_source == used and indices(reference.filled(continues=False).guide)[0] == 0


def test_a_failure_between_two_looks_is_the_refusal_too(reference, monkeypatch):
    guide, take = reference.mode._guide, reference.mode._guide.take_messages

    def take_later():
        guide.wait_until_open()
        return take()

    monkeypatch.setattr(guide, "take_messages", take_later)
    reference.set(ref_source="missing.mp4")
    (setting,) = reference.told()
    assert (setting.name, setting.value) == ("ref/source", "")
    assert "missing.mp4: no such file" in setting.text


def test_a_reference_that_is_gone_from_its_folder_plays_on_and_is_not_complained_of(reference, tmp_path):
    reference.set(ref_source="a.mp4")
    reference.told()
    (tmp_path / "a.mp4").rename(tmp_path / "b.mp4")
    assert not list(reference.mode.tick(0)) and reference.filled().guide is not None
