"""Picture and sound through the real show, its window and a sound server: together, shifted, and after a loss."""

import numpy as np
import pytest

from ltx_live.bench import sync
from ltx_live.bench.loop import display
from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.engine.testcard import beeps

pytestmark = pytest.mark.real_time

FRAME_MS = 1000 / 24
WINDOW_MS = 1000 / 60
"""A picture is shown at the first drawing after its time, which a busy machine does late."""


@pytest.fixture
def sink():
    with display() as name, sync.null_sink() as made:
        if name is None or made is None:
            pytest.skip("needs a display and PulseAudio")
        yield made


def test_av_offset_moves_the_picture_and_the_file_stays_in_sync(sink, tmp_path):
    measured = sync.measure(tmp_path, 9, sink, av_offset=150.0)
    assert len(measured["file"]) >= 5 and np.abs(measured["file"]).max() < 1
    assert len(measured["device"]) >= 4
    assert np.median(measured["device"]) == pytest.approx(150 + WINDOW_MS / 2, abs=FRAME_MS / 2)


def test_a_device_that_is_lost_and_comes_back_keeps_sync(sink, tmp_path, capfd):
    measured = sync.measure(tmp_path, 16, sink, lose_device=True)
    said = capfd.readouterr().err
    lost, found = "sound device lost: pulse, ALSA; playing on without sound, looking for it every 3 s", "sound: pulse, "
    assert lost in said and found in said[said.index(lost) :]
    assert np.abs(measured["file"]).max() < 1, "the recording holds all of it, the loss included"
    assert 6 <= len(measured["device"]) < len(measured["file"]), "it is heard again"
    assert np.abs(measured["device"][-3:]).max() < FRAME_MS


def test_a_beep_begins_where_it_becomes_loud_after_silence():
    sound = np.roll(beeps(0, 4 * SAMPLE_RATE_HZ)[:, 0], 480)
    assert sync.onsets(sound) == pytest.approx(480 + SAMPLE_RATE_HZ * np.arange(4), abs=2)


def test_flashes_and_beeps_are_paired_and_those_without_a_partner_left_out():
    flashes_s, beeps_s = np.array([1.01, 2.02, 3.5, 5.0]), np.array([1.0, 2.0, 4.98])
    assert sync.offsets_ms(flashes_s, beeps_s) == pytest.approx([10, 20, 20])
