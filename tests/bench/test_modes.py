"""The measures of the modes on pictures and sound whose answers are known, and a quick subset on the pocket itself."""

from dataclasses import replace

import numpy as np
import pytest

from ltx_live import render
from ltx_live.bench import _driven, _i2v, _live, _live_devices, _pulses
from ltx_live.chunk import Chunk
from ltx_live.config import Config, initial_values
from ltx_live.engine.testcard import TestCardEngine
from ltx_live.engines import engine_spec
from ltx_live.pocket.measure import onsets

RATE_HZ = 24
TIMES_S = np.arange(240) / RATE_HZ
HITS_S = np.sort(np.random.default_rng(3).uniform(0, 10, 18))
CARD = {"num_frames": 57, "width": 32, "height": 32, "seed": 1, "randomize_seed": False}


def flashing(hits_s: np.ndarray, gain: float = 0.5, late_s: float = 0.0) -> np.ndarray:
    """Brightness of frames that flash with hits, and move a little on their own."""
    ages_s = TIMES_S[:, None] + 1 / RATE_HZ - late_s - hits_s
    pulse = np.exp(-np.where(ages_s < 0, np.inf, ages_s) / 0.1).max(axis=1)
    return 0.3 * (1 + gain * pulse) * (1 + 0.02 * np.sin(TIMES_S))


class Flasher(TestCardEngine):
    """Its pictures are bright where the driving sound is loud, `late` frames later; its sound `slip` samples off."""

    def __init__(self, late: int = 0, slip: int = 0):
        super().__init__(32, 32)
        self._late, self._slip = late, slip

    def _chunk(self, request) -> Chunk:
        chunk, frame = super()._chunk(request), 48_000 // RATE_HZ
        first = chunk.video_start - self._late * frame
        sound = request.inputs.driving_sound(first, first + chunk.num_frames * frame)
        loud = np.sqrt(np.square(sound).reshape(chunk.num_frames, frame, 2).mean((1, 2)))
        frames = np.broadcast_to((40 + 400 * loud).clip(0, 255).astype(np.uint8)[:, None, None, None], (57, 32, 32, 3))
        start = chunk.audio_start - self._slip
        audio = request.inputs.driving_sound(start, start + len(chunk.audio))
        return replace(chunk, frames=frames[: chunk.num_frames], audio=audio)


# --- Measures --------------------------------------------------------------------------------------------------------


def test_brightness_follows_its_own_hits_and_no_others():
    seen = flashing(HITS_S)
    others = np.sort(np.random.default_rng(4).uniform(0, 10, 18))
    assert _pulses.correlation(seen, TIMES_S, HITS_S) > 0.95
    assert abs(_pulses.correlation(seen, TIMES_S, others)) < 0.25
    assert _pulses.correlation(flashing(HITS_S, gain=-0.5), TIMES_S, HITS_S) < -0.8, "what grows dark does not follow"
    assert _pulses.correlation(np.full(240, 0.3), TIMES_S, HITS_S) == 0
    assert _pulses.depth(seen, TIMES_S, HITS_S) == pytest.approx(0.5, abs=0.12)
    assert _pulses.depth(flashing(HITS_S, 0.05), TIMES_S, HITS_S) == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("late_s", [-0.1, 0.0, 0.06, 0.2])
def test_how_late_pulses_are(late_s):
    beats_s = np.arange(0.1, 10, 0.6)
    found_s, tie = _pulses.off_the_beat(flashing(beats_s, late_s=late_s), TIMES_S, beats_s)
    assert found_s == pytest.approx(late_s, abs=0.012) and tie > 0.9


@pytest.mark.parametrize("at", [0, 1, 700, 10_000])
def test_a_piece_is_found_where_it_is_and_not_where_it_is_loud(at):
    sound = np.random.default_rng(0).standard_normal(30_000) * np.linspace(0.2, 2, 30_000)
    assert _pulses.place(0.5 * sound[at : at + 20_000], sound) == at


def test_verdicts_on_images():
    led = _i2v.Led(None, np.array([30.0, 28, 20, 14, 9]), np.zeros(5), np.full(5, 0.2), 31.0, 1.0)
    flat = replace(led, psnr_db=np.array([30.0, 30, 20, 14, 9]))
    unlike = replace(led, psnr_db=np.array([17.0, 16, 14, 12, 9]), own_db=17.5)
    lost = replace(led, psnr_db=np.array([17.0, 16, 14, 12, 9]))
    still = replace(led, flow=np.array([0.01, 0.2, 0.2, 0.2, 0.2]))
    met = [[bar.is_met for bar in _i2v.verdicts([one])] for one in (led, flat, unlike, lost, still)]
    assert met == [[True] * 3, [False, True, True], [True] * 3, [True, False, True], [True, True, False]]


def test_a_delay_is_what_two_recordings_show_once_it_holds_still():
    room = np.random.default_rng(0).standard_normal(48_000 * 32).astype(np.float32)
    output = room[: 48_000 * 28]
    times_s = np.arange(100.0, 130, 0.1)
    said = np.stack((times_s, np.where(times_s < 106, 2.0, 2.5)), axis=1)
    found = _live_devices.compare(said, (100.0, room), (102.507, output))
    assert len(found) >= 4 and found[:, 0] == pytest.approx(2.5)
    assert found[:, 1] == pytest.approx(2.507, abs=1e-4)
    grows = np.stack((times_s, times_s / 10), axis=1)
    assert not len(_live_devices.compare(grows, (100.0, room), (102.507, output)))


# --- Whole parts, on engines that are known --------------------------------------------------------------------------


@pytest.mark.parametrize(("slip", "met"), [(0, [True, True]), (3, [False, False])])
def test_sound_of_a_file_on_the_test_card(slip, met):
    values = initial_values("testcard", None, CARD)
    assert [bar.is_met for bar in _driven.sound_bars(Flasher(slip=slip), values, quick=True)] == met


@pytest.mark.parametrize(("late", "slip", "met"), [(0, 0, [True, True]), (3, 960, [False, False])])
def test_a_live_input_on_the_test_card(late, slip, met):
    values = initial_values("testcard", None, CARD)
    bars = list(_live.bars(Flasher(late, slip), values, quick=True))
    print(*bars, sep="\n")
    assert [bar.is_met for bar in bars] == met


# --- The pocket ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def played():
    """The pocket and its values."""
    values = initial_values("pocket", None, {"seed": 1, "randomize_seed": False})
    return render.load_engine(engine_spec(Config("pocket", values=values)), lambda text: None), values


def test_pocket_begins_with_the_image_and_moves_on(played):
    engine, values = played
    image = next(_i2v.images((engine.info.width, engine.info.height)))
    led = _i2v.lead(engine, values, image)
    print(led)
    assert all(bar.is_met for bar in _i2v.verdicts([led]))
    assert led.psnr_db[0] > led.psnr_db[-1] + 10


def test_pocket_pulses_with_held_out_drums_and_not_with_others(played):
    engine, values = played
    tracks = [_driven.drums(bpm, _driven.SEED + bpm, 6) for bpm in (97, 143)]
    seen = [_driven.film_to(engine, {**values, "prompt": _driven.NAMED[0]}, tracks[0], 3.8).brightness]  # two chunks
    followed = _driven.follow("", seen, [onsets(tracks[0])], RATE_HZ)
    other = _pulses.correlation(seen[0], np.arange(len(seen[0])) / RATE_HZ, onsets(tracks[1]))
    assert followed.correlations[0] >= 0.5 and abs(other) < 0.35
