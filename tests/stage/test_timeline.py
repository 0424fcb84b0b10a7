"""The timeline: sound goes on sample-exactly, pictures stand where they belong, and slots come back in time."""

from dataclasses import replace

import numpy as np
import pytest

from ltx_live.chunk import SAMPLE_RATE_HZ, Chunk, frames_to_samples
from ltx_live.stage.playlist import CUT_SAMPLES, TAIL_SAMPLES, cross_fade, read
from ltx_live.stage.timeline import Timeline

FRAME = SAMPLE_RATE_HZ // 24
STEP = 2 * np.pi * 440 / SAMPLE_RATE_HZ


def sine(start: int, num_samples: int, phase: float = 0.0) -> np.ndarray:
    wave = 0.5 * np.sin(STEP * (start + np.arange(num_samples)) + phase)
    return np.repeat(wave[:, None], 2, axis=1).astype(np.float32)


def make_chunk(index, cut, num_new=24, num_overlap=9, overlap_s=0.2, spare=0, phase=0.0, epoch=0, frame_rate=24.0):
    """A chunk of one sine that runs through the whole show; its first new frame stands at `cut`."""
    overlap_samples = round(overlap_s * SAMPLE_RATE_HZ) if num_overlap else 0
    num_frames = num_overlap + num_new
    frames = np.broadcast_to(np.arange(num_frames, dtype=np.uint8)[:, None, None, None], (num_frames, 2, 2, 3))
    end = cut + frames_to_samples(num_frames, frame_rate) - frames_to_samples(num_overlap, frame_rate)
    start = cut - overlap_samples
    return Chunk(
        index=index,
        frames=frames,
        video_start=cut - frames_to_samples(num_overlap, frame_rate),
        num_overlap=num_overlap,
        audio=sine(start, end + spare - start, phase),
        audio_start=start,
        num_overlap_samples=overlap_samples,
        frame_rate=frame_rate,
        epoch=epoch,
    )


def heard(playlist, start, num_samples):
    out = np.empty((num_samples, 2), np.float32)
    read(playlist.segments, start, out)
    return out


def roughness(samples):
    """Largest second difference, against that of a sine of the same level: a click is far above 1."""
    return np.abs(np.diff(samples, 2, axis=0)).max() / (0.5 * STEP**2)


def test_chunks_in_time_reproduce_the_sine_exactly():
    timeline = Timeline()
    timeline.append(make_chunk(0, 0, num_overlap=0))
    for index in range(1, 5):
        timeline.append(make_chunk(index, timeline.end), committed=timeline.end - 20_000)
    body = heard(timeline.playlist, CUT_SAMPLES, timeline.end - CUT_SAMPLES - TAIL_SAMPLES)
    np.testing.assert_allclose(body, sine(CUT_SAMPLES, len(body)), atol=2e-7)
    whole = heard(timeline.playlist, 0, timeline.playlist.end)
    assert timeline.end == timeline.playlist.end == 5 * SAMPLE_RATE_HZ
    assert roughness(whole) < 1.5 and np.abs(whole[[0, -1]]).max() < 0.01


@pytest.mark.parametrize("spare", [0, 2400])
def test_the_end_fades_into_the_material_after_it_or_within_its_last_20_ms(spare):
    timeline = Timeline()
    timeline.append(make_chunk(0, 0, num_overlap=0, spare=spare))
    faded = timeline.playlist.end - TAIL_SAMPLES
    assert timeline.playlist.end == timeline.end + (TAIL_SAMPLES if spare else 0)
    before = heard(timeline.playlist, faded - 4800, 4800)
    np.testing.assert_array_equal(before, sine(faded - 4800, 4800))
    after = heard(timeline.playlist, faded, TAIL_SAMPLES + 4800)
    assert np.abs(after[TAIL_SAMPLES:]).max() == 0 and roughness(np.concatenate((before, after))) < 1.5


@pytest.mark.parametrize("spare", [0, 2400])
@pytest.mark.parametrize("taken", [-20_000, -2_000, -700, -100, 0, 300, 960])
def test_a_late_chunk_never_clicks_against_what_was_already_taken(spare, taken):
    """Whatever the callback took from the old playlist, the new one goes on from there without a jump."""
    timeline = Timeline()
    timeline.append(make_chunk(0, 0, num_overlap=0, spare=spare))
    old = timeline.playlist
    committed = min(timeline.end + taken, old.end)
    timeline.append(make_chunk(1, timeline.end, spare=spare), committed=committed)
    new = timeline.playlist
    joined = np.concatenate((heard(old, 0, committed), heard(new, committed, new.end - committed)))
    assert roughness(joined) < 2.0
    np.testing.assert_array_equal(heard(new, new.end - 9600, 4800), sine(new.end - 9600, 4800))


@pytest.mark.parametrize("cut_frame", [1, 5, 12, 23])
def test_a_cut_drops_what_follows_and_does_not_click(cut_frame):
    timeline = Timeline()
    timeline.append(make_chunk(0, 0, num_overlap=0))
    timeline.append(make_chunk(1, timeline.end, epoch=1))
    cut = cut_frame * FRAME
    committed = max(0, cut - 3000)
    old = timeline.playlist
    other = make_chunk(2, cut, phase=0.3, epoch=2)
    timeline.append(other, committed=committed)
    assert timeline.end == cut + SAMPLE_RATE_HZ
    assert [chunk.index for chunk in timeline.chunks] == [0, 2]
    joined = np.concatenate((heard(old, 0, committed), heard(timeline.playlist, committed, timeline.end - committed)))
    assert roughness(joined) < 3.0
    np.testing.assert_array_equal(heard(timeline.playlist, cut + 1500, 999), other.audio[9600 + 1500 : 9600 + 2499])


def test_a_cut_that_comes_after_its_place_fades_with_equal_power():
    timeline = Timeline()
    timeline.append(make_chunk(0, 0, num_overlap=0))
    timeline.append(make_chunk(1, 10 * FRAME, phase=1.5), committed=12 * FRAME)
    assert np.array_equal(heard(timeline.playlist, 11 * FRAME, FRAME), sine(11 * FRAME, FRAME))
    after = 12 * FRAME + CUT_SAMPLES
    assert np.array_equal(heard(timeline.playlist, after, FRAME), sine(after, FRAME, 1.5))
    assert roughness(heard(timeline.playlist, 11 * FRAME, 2 * FRAME)) < 5


def test_the_same_sound_goes_on_as_it_is_however_late_and_whatever_it_continues():
    """As when it drives the picture: a fade with equal power would lift it by 3 dB."""
    timeline = Timeline()
    timeline.append(make_chunk(0, 0, num_new=48, num_overlap=0))
    late = make_chunk(1, SAMPLE_RATE_HZ, num_overlap=9)
    timeline.append(late, committed=SAMPLE_RATE_HZ + 4800)
    take = replace(make_chunk(2, timeline.end), num_overlap=0, frames=late.frames[:24], video_start=timeline.end)
    timeline.append(take, committed=timeline.end - 20_000)
    body = heard(timeline.playlist, CUT_SAMPLES, timeline.end - CUT_SAMPLES - TAIL_SAMPLES)
    np.testing.assert_allclose(body, sine(CUT_SAMPLES, len(body)), atol=2e-7)


def test_cross_fade_laws():
    ones, noise = np.ones((4000, 2), np.float32), np.random.default_rng(1).standard_normal((2, 400_000, 2))
    np.testing.assert_allclose(cross_fade(ones, ones, same_moment=True), 1.0, atol=1e-6)
    power = (cross_fade(*noise, same_moment=False) ** 2).reshape(20, -1).mean(axis=1)
    np.testing.assert_allclose(power, 1.0, atol=0.03)


@pytest.mark.parametrize("frame_rate", [24.0, 25.0, 30.0, 23.976, 60.0])
def test_every_frame_is_shown_once_in_order(frame_rate):
    timeline = Timeline()
    timeline.append(make_chunk(0, 0, num_new=40, num_overlap=0, frame_rate=frame_rate))
    timeline.append(make_chunk(1, timeline.end, num_new=40, frame_rate=frame_rate), crossfade_s=0)
    shown = []
    for k in range(80):
        picture = timeline.frame_at(frames_to_samples(k, frame_rate))
        assert picture.incoming is None
        shown.append((picture.frame.chunk, picture.frame.number))
    assert shown == [(0, n) for n in range(40)] + [(1, n) for n in range(9, 49)]


def test_the_picture_cross_fades_between_decodes_of_the_same_moment():
    timeline = Timeline()
    timeline.append(make_chunk(0, 0, num_overlap=0, epoch=3))
    timeline.append(make_chunk(1, timeline.end, epoch=4), crossfade_s=0.25)
    fade = SAMPLE_RATE_HZ // 4
    assert timeline.frame_at(timeline.end // 2 - fade - 1).incoming is None
    middle = timeline.frame_at(timeline.end // 2 - fade / 2)
    assert (middle.frame.number, middle.incoming.number, middle.mix) == (21, 6, 0.5)
    assert (middle.frame.epoch, middle.incoming.epoch, middle.newest.chunk) == (3, 4, 1)
    assert middle.frame.pixels.base is not None, "frames are views"
    mixes = [timeline.frame_at(24 * FRAME - fade + k).mix for k in range(0, fade, 100)]
    np.testing.assert_allclose(np.diff(mixes), 100 / fade, atol=1e-9)
    after = timeline.frame_at(24 * FRAME)
    assert (after.frame.chunk, after.frame.number, after.incoming, after.mix) == (1, 9, None, 0.0)


def test_the_cross_fade_is_no_longer_than_the_overlap_and_never_behind_the_position():
    timeline = Timeline()
    timeline.append(make_chunk(0, 0, num_overlap=0))
    timeline.append(make_chunk(1, timeline.end, num_overlap=1), crossfade_s=2.0)
    assert timeline.frame_at(23 * FRAME - 1).incoming is None
    assert timeline.frame_at(23.5 * FRAME).mix == pytest.approx(0.5)
    timeline.frame_at(47 * FRAME)
    timeline.append(make_chunk(2, timeline.end), crossfade_s=2.0)
    assert timeline.frame_at(47 * FRAME).mix == 0
    assert timeline.frame_at(47.5 * FRAME).mix == pytest.approx(0.5)


def test_the_last_frame_is_held_in_an_underrun_and_the_next_chunk_goes_on():
    timeline = Timeline()
    assert timeline.frame_at(0) is None and timeline.last is None and timeline.cut_at(0) is None
    timeline.append(make_chunk(0, 0, num_overlap=0))
    held = timeline.frame_at(timeline.end + 5 * FRAME)
    assert (held.frame.chunk, held.frame.number) == (0, 23)
    assert timeline.unplayed_s(timeline.end + 5) == 0 and timeline.unplayed_s(12 * FRAME) == 0.5
    position = timeline.playlist.end
    timeline.append(make_chunk(1, timeline.end), committed=position)
    resumed = timeline.frame_at(position)
    assert (resumed.frame.chunk, resumed.frame.number, resumed.incoming) == (1, 9, None)


def test_what_is_shown_when_nothing_is_left_goes_round_back_or_black():
    timeline = Timeline()
    assert timeline.again(0.0, "loop") is None
    timeline.append(make_chunk(0, 0, num_overlap=0))
    timeline.append(make_chunk(1, timeline.end, num_new=6, num_overlap=4))

    def numbers(way, times_s):
        return [timeline.again(time_s, way).frame.number for time_s in times_s]

    times_s = [k / 24 for k in range(20)]
    assert numbers("hold", times_s) == [9] * 20
    assert numbers("loop", times_s) == [*range(10), *range(10)]
    assert numbers("pingpong", times_s) == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 8]
    black, shown = timeline.again(0.5, "black").frame, timeline.again(0.5, "loop").frame
    assert not black.pixels.any() and black.pixels.shape == shown.pixels.shape and shown.pixels.any()
    assert (black.chunk, black.epoch) == (1, 0) and black.key != timeline.again(0.5, "hold").frame.key
    timeline = Timeline()
    timeline.append(make_chunk(0, 0, num_new=1, num_overlap=0))
    assert timeline.again(3.3, "pingpong").frame.number == 0


def test_a_new_take_dissolves_after_its_start():
    timeline = Timeline()
    timeline.append(make_chunk(0, 0, num_overlap=0))
    timeline.append(make_chunk(1, 12 * FRAME, num_overlap=0), committed=10 * FRAME, crossfade_s=0.25)
    picture = timeline.frame_at(15 * FRAME)
    assert (picture.frame.number, picture.incoming.number) == (15, 3) and picture.mix == pytest.approx(0.5)
    assert timeline.frame_at(18 * FRAME).incoming is None


def test_cut_at_is_the_next_frame_boundary_in_the_chunks_own_frames():
    timeline = Timeline()
    timeline.append(make_chunk(0, 0, num_overlap=0))
    timeline.append(make_chunk(1, timeline.end))
    assert timeline.cut_at(0)[1:] == (1, FRAME), "a frame stays"
    assert timeline.cut_at(1)[1:] == (1, FRAME)
    assert timeline.cut_at(5 * FRAME)[1:] == (5, 5 * FRAME)
    inside = timeline.cut_at(24 * FRAME + 1)
    assert (inside.chunk.index, inside.frame, inside.start) == (1, 10, 25 * FRAME)
    assert timeline.cut_at(99 * FRAME) == timeline.last == (timeline.chunks[1], 33, 48 * FRAME)


def test_a_chunk_is_let_go_only_after_the_callback_has_seen_the_playlist_without_it():
    timeline = Timeline()
    timeline.append(make_chunk(0, 0, num_overlap=0))
    timeline.append(make_chunk(1, timeline.end))
    assert timeline.advance(24 * FRAME - 1, timeline.playlist.generation) == []
    seen = timeline.playlist.generation
    assert timeline.advance(24 * FRAME, seen) == [] and timeline.playlist.generation == seen + 1
    assert [chunk.index for chunk in timeline.chunks] == [1]
    assert timeline.advance(24 * FRAME, seen) == []
    assert [chunk.index for chunk in timeline.advance(24 * FRAME, seen + 1)] == [0]
    assert timeline.advance(24 * FRAME, seen + 1) == []
    assert timeline.advance(999 * FRAME, 999) == [], "the last chunk is held, to go on from"


def test_a_chunk_dropped_by_a_cut_is_let_go_unplayed():
    timeline = Timeline()
    timeline.append(make_chunk(0, 0, num_overlap=0))
    timeline.append(make_chunk(1, timeline.end))
    timeline.append(make_chunk(2, 10 * FRAME), committed=8 * FRAME)
    assert [chunk.index for chunk in timeline.advance(5 * FRAME, timeline.playlist.generation)] == [1]


def test_an_hour_of_chunks_neither_grows_nor_drifts():
    timeline, released = Timeline(), 0
    timeline.append(make_chunk(0, 0, num_overlap=0))
    for index in range(1, 300):
        timeline.append(make_chunk(index, timeline.end), committed=timeline.end - 10_000)
        released += len(timeline.advance(timeline.end - SAMPLE_RATE_HZ, timeline.playlist.generation))
        assert len(timeline.chunks) <= 3 and len(timeline.playlist.segments) <= 6
    assert timeline.end == 300 * SAMPLE_RATE_HZ and released >= 297
    position = timeline.end - SAMPLE_RATE_HZ // 2
    np.testing.assert_array_equal(heard(timeline.playlist, position, 999), sine(position, 999))


def test_a_chunk_without_sound_is_silent_for_its_time():
    timeline = Timeline()
    chunk = make_chunk(0, 0, num_overlap=0)
    silent = Chunk(**{name: getattr(chunk, name) for name in chunk.__slots__} | {"audio": np.zeros((0, 2), np.float32)})
    timeline.append(silent)
    assert timeline.playlist.end == timeline.end == SAMPLE_RATE_HZ
    assert np.abs(heard(timeline.playlist, 0, timeline.end)).max() == 0
