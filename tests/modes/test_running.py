"""All modes through the whole show: what is sent reaches the chunks, what is wrong changes nothing but a line."""

import contextlib
import math
import socket
from dataclasses import replace

import numpy as np
import pytest
from ticked_show import Play

from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.control.event import Event, Origin
from ltx_live.control.osc import decode_packet
from ltx_live.media.image import write_png
from ltx_live.media.recording import VideoWriter

SIZE = 96, 64


@pytest.fixture
def play(tmp_path):
    media = tmp_path / "media"
    media.mkdir()
    write_png(media / "red.png", np.full((64, 96, 3), (250, 10, 10), np.uint8))
    (media / "broken.png").write_bytes(b"\x89PNG no picture")
    with VideoWriter(media / "a.mp4", *SIZE, 24.0) as writer:
        for index in range(48):
            writer.write_frame(np.full((SIZE[1], SIZE[0], 3), 20 + 4 * index, np.uint8))
            writer.write_audio(np.full((2000, 2), 0.25, np.float32))
    with contextlib.ExitStack() as parts:
        yield lambda **values: Play(tmp_path, parts, **values)


def values(it):
    return it.show.parts.registry.values


def test_an_image_cuts_in_once_and_the_flow_goes_on_from_it(play):
    it = play()
    it.until(lambda: len(it.asked) >= 3)
    it.send("/ltx/i2v_image", "red.png")
    it.until(lambda: any(request.inputs.image is not None for request in it.asked))
    led = next(request for request in it.asked if request.inputs.image is not None)
    assert led.continue_from is not None and led.num_frames == 33, "it is a gesture, and the sound flows on"
    it.until(lambda: it.asked[-1].index >= led.index + 2)
    later = [request for request in it.asked if request.index > led.index]
    assert all(request.inputs.image is None and request.continue_from for request in later)
    assert later[0].params.i2v_image == led.params.i2v_image and it.session.statistics.num_cuts == 1
    status = it.show._status()
    assert status.mode == "image red.png" and status.chunk == it.show._picture().frame.chunk > 0
    assert status.gen_fps == pytest.approx(24 * status.real_time_factor) and status.gen_fps > 24


def test_modulators_do_not_wake_a_lora_that_is_out_nor_outrun_what_is_kept_up(play):
    it = play()
    modes, base = it.show._flow.modes, it.show._desk.generation
    moved = replace(base, num_steps=20, lora_strength=(0.5,) * 8)
    params = replace(base, lora_strength=(1.0,) + (0.0,) * 7)
    assert modes.limited(params, moved) == replace(moved, lora_strength=(0.5,) + (0.0,) * 7)
    assert modes.limited(params, params) is params
    it.send("/ltx/ref/source", "a.mp4")
    it.until(lambda: modes.applied(base).ref_source)
    modes._pace.made(modes._mode, 8, 8, 0.6)
    assert modes.limited(params, moved).num_steps == modes.applied(base).num_steps < 8


def test_a_reference_is_given_to_every_chunk_in_time(play):
    it = play()
    it.until(lambda: len(it.asked) >= 2)
    it.send("/ltx/ref/source", "a.mp4")
    it.until(lambda: len([request for request in it.asked if request.inputs.guide is not None]) >= 3)
    first, second, third = [request for request in it.asked if request.inputs.guide is not None][:3]
    assert first.inputs.guide.shape == (first.num_frames, 64, 96, 3)
    shown = [[round((float(frame.mean()) - 20) / 4) for frame in each.inputs.guide] for each in (first, second)]
    ahead = (second.start - first.start) * 24 // SAMPLE_RATE_HZ  # both show 9 frames again
    assert shown[1][0] == (shown[0][0] + ahead) % 48 and shown[0][:9] == list(range(9))
    it.send("/ltx/control_strength", 0.0)
    it.until(lambda: it.asked[-1].params.control_strength == 0)
    assert it.asked[-1].inputs.guide is None
    assert it.session.statistics.num_underruns == 0


def test_driving_sound_is_what_the_timeline_plays(play):
    it = play()
    it.until(lambda: len(it.asked) >= 2)
    it.send("/ltx/audio_input", "a.mp4")
    it.until(lambda: it.show._timeline.chunks and abs(it.show._timeline.chunks[-1].audio[-100:] - 0.25).max() < 0.05)
    assert it.asked[-1].inputs.driving is not None and it.show._status().mode.startswith("driving a.mp4")
    it.send("/ltx/audio_input", "")
    it.until(lambda: it.asked[-1].inputs.driving is None)


WRONG = [
    ("i2v_image", "missing.png", "missing.png: no such file"),
    ("i2v_image", "broken.png", "as an image"),
    ("ref/source", "missing.mp4", "missing.mp4: no such file"),
    ("ref/source", "camera:97", "cannot open camera"),
    ("ref/mask", "gone.png", "gone.png: no such file"),
    ("i2v_image", "long" * 300, "longlong: file name too long; check the path"),
    ("ref/source", "~nobody/" + "long" * 300, "longlong: no such file"),
    ("audio_input", "red.png", "no sound"),
    ("lora/3/name", "nowhere", "nowhere: no such file"),
    ("sigmas", "0.5, 0.7, 0", "must descend to 0"),
]


def test_bad_input_is_one_line_and_changes_nothing(play):
    it = play()
    it.until(lambda: len(it.asked) >= 2)
    for address, wrong, text in WRONG:
        before = values(it)[address]
        it.send(f"/ltx/{address}", wrong)
        it.told(text)
        lines = [line for line, _ in it.show._messages.shown if text in line]
        assert len(lines) == 1 and "\n" not in lines[0]
        assert values(it)[address] == before
    num = len(it.asked)
    it.until(lambda: len(it.asked) >= num + 1)
    assert it.show.failure is None and it.session.statistics.num_underruns == 0


def test_a_request_whose_reference_is_not_ready_can_be_cancelled(play):
    it = play()
    it.until(lambda: len(it.asked) >= 2)
    it.send("/ltx/ref/source", "test")
    it.until(lambda: it.asked[-1].inputs.guide is not None)
    guide = it.show._flow.modes.guide._guide
    frames, guide.frames = guide.frames, lambda *wanted: None  # a camera that takes its time
    flow = it.show._flow
    it.until(lambda: it.session.running is not None and flow._asked.filled is None)
    num_before = it.session.statistics.num_cancelled
    flow._cancel(0.0)
    assert it.session.running is None and it.session.statistics.num_cancelled == num_before + 1
    guide.frames = frames
    num = len(it.asked)
    it.until(lambda: len(it.asked) > num + 1)
    assert it.show.failure is None


def test_the_displayed_frame_can_be_grabbed_and_leads(play, tmp_path):
    it = play()
    it.send("/ltx/image/grab")
    it.told("there is no picture yet")
    it.until(lambda: it.show._picture() is not None)
    it.send("/ltx/image/grab")
    it.until(lambda: any(request.inputs.image is not None for request in it.asked))
    assert [path.suffix for path in (tmp_path / "media").glob("grab-*")] == [".png"]
    it.send("/ltx/image/again")
    it.until(lambda: len([request for request in it.asked if request.inputs.image is not None]) == 2)
    it.send("/ltx/image/clear")
    it.until(lambda: values(it)["i2v_image"] == "")


def test_lora_files_are_listed_and_dropped_into_the_first_empty_slot(play, tmp_path):
    it = play()
    it.until(lambda: len(it.asked) >= 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        client.settimeout(5)
        (tmp_path / "loras").mkdir(exist_ok=True)
        (tmp_path / "loras" / "odd.safetensors").write_bytes(b"")
        it.until(lambda: it.show.parts.rack.shelf.files)
        origin = Origin("osc", "test", client.getsockname())
        it.show.parts.events.put((Event("/ltx/lora/list", (), origin, 0.0),))
        it.tick()
        ((address, row),) = decode_packet(client.recv(65535))[0]
    assert address == "/ltx/lora/file" and row[0] == "odd" and "safetensors" in row[-1]
    it.send("/ltx/lora/drop", str(tmp_path / "loras" / "odd.safetensors"))
    it.told("odd.safetensors")
    assert values(it)["lora/1/name"] == ""


def test_a_track_is_drawn_and_a_seek_without_a_file_says_so(play):
    it = play()
    it.until(lambda: len(it.asked) >= 1)
    it.send("/ltx/track/2", 0.5, 0.5)
    it.send("/ltx/ref/control", "tracks")
    it.until(lambda: it.asked[-1].inputs.guide is not None and it.asked[-1].inputs.guide.any())
    it.send("/ltx/ref/seek", 2.0)
    it.told("/ltx/ref/seek: there is no file to jump in")
    for seconds in ("soon", math.inf):
        it.send("/ltx/audioin/seek", seconds)
        it.told("/ltx/audioin/seek: send the time in seconds")
        it.show._messages.shown.clear()
