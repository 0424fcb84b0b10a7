"""The test card: counters, flash and beep on the media clock, and chunks that join without a seam."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from ltx_live.chunk import Chunk, ChunkRequest, Progress, StepValues, frames_to_samples
from ltx_live.engine.testcard import TestCardEngine, beeps, flashes, load, read_counters
from ltx_live.params import GenerationParams


def make(engine, index=0, start=0, num_frames=33, continue_from=None, **params) -> Chunk:
    request = ChunkRequest(index, GenerationParams(**params), 1, start, num_frames, continue_from, epoch=5)
    *steps, chunk = engine.generate(request)
    assert [step.step for step in steps] == list(range(1, len(steps) + 1))
    assert all(isinstance(step, Progress) and step.num_steps == len(steps) for step in steps)
    return chunk


def test_first_chunk_has_the_size_asked_for_and_counts_its_frames():
    chunk = make(TestCardEngine(96, 64), num_steps=3)
    assert chunk.frames.shape == (33, 64, 96, 3) and chunk.frames.dtype == np.uint8
    assert chunk.audio.shape == (66_000, 2) and chunk.audio.dtype == np.float32
    assert (chunk.video_start, chunk.num_overlap, chunk.audio_start, chunk.num_overlap_samples) == (0, 0, 0, 0)
    assert (chunk.index, chunk.epoch, chunk.cut, chunk.end) == (0, 5, 0, 66_000)
    assert [read_counters(frame) for frame in chunk.frames] == [(0, i) for i in range(33)]


@pytest.mark.parametrize("size", [(32, 32), (288, 160), (512, 288), (1280, 736)])
def test_counters_are_readable_at_every_size(size):
    engine = TestCardEngine(*size)
    start = 123_457 * 2000
    chunk = make(engine, index=700_001, start=start, num_frames=9)
    assert read_counters(chunk.frames[3]) == (700_001, 123_460)


@pytest.mark.parametrize("frame_rate", [24.0, 30.0, 29.97, 7.0, 120.0])
def test_continued_chunk_shows_its_overlap_again_and_goes_on(frame_rate):
    engine = TestCardEngine(320, 64)
    first = make(engine, frame_rate=frame_rate)
    second = make(engine, 1, first.end, 33, (0, 33), frame_rate=frame_rate)
    assert second.num_overlap == 9 and second.cut == first.end
    assert second.num_overlap_samples == 4800 and second.audio_start == first.end - 4800
    assert second.audio_start + len(second.audio) == second.end
    numbers = [read_counters(frame)[1] for frame in [*first.frames, *second.frames[9:]]]
    assert numbers == list(range(57))
    assert [read_counters(f)[1] for f in second.frames[:9]] == numbers[24:33]
    assert np.array_equal(second.audio[:4800], first.audio[-4800:])
    for old, new in zip(first.frames[24:], second.frames[:9], strict=True):
        assert (old[:12] != new[:12]).mean() < 0.02  # positions are rounded: the marker may be a pixel off
        assert (old[:40] != new[:40]).mean() < 0.1  # the chunk index in digits


def test_short_chunks_and_short_histories_have_a_prefix_of_one_frame():
    engine = TestCardEngine(64, 64)
    assert make(engine, 1, 18_000, 9, (0, 9)).num_overlap == 1
    assert make(engine, 1, 10_000, 33, (0, 5)).num_overlap == 1
    assert make(engine, 1, 18_000, 17, (0, 9)).num_overlap == 9


def test_flash_and_beep_begin_together_once_a_second():
    chunk = make(TestCardEngine(64, 64), num_frames=97)
    white = [i for i, frame in enumerate(chunk.frames) if (frame[:8] == 255).all()]
    assert white == [0, 24, 48, 72, 96]
    loud = np.flatnonzero(np.abs(chunk.audio[:, 0]) > 1e-4)
    starts = loud[np.flatnonzero(np.diff(loud, prepend=-24_000) > 24_000 - 1)]
    assert [round((s - 1) / 48_000, 3) for s in starts] == [0, 1, 2, 3, 4]
    assert [frames_to_samples(i, 24) for i in white] == [s - 1 for s in starts]  # sample 0 of a sine is 0
    one = chunk.audio[48_000:96_000, 0]
    assert np.flatnonzero(one).max() < 4800
    assert np.argmax(np.abs(np.fft.rfft(one[:4800]))) == 100  # 1 kHz in 0.1 s


@pytest.mark.parametrize("offset", [0, 1, 777, 1999])
def test_exactly_one_flash_a_second_wherever_frames_stand(offset):
    assert sum(flashes(offset + i * 2000, 24.0) for i in range(48)) == 2


def test_beeps_are_a_function_of_the_media_position():
    assert np.array_equal(beeps(47_000, 60_000), beeps(0, 96_000)[47_000:60_000])


def test_step_values_are_latched_and_closing_cancels():
    request = ChunkRequest(0, GenerationParams(num_steps=4, num_frames=9), 1, 0, 9)
    steps = TestCardEngine(32, 32).generate(request)
    next(steps)
    steps.send(StepValues({"identity_guidance_scale": 2.0}))
    *_, chunk = steps
    assert chunk.latched == ((1, {"identity_guidance_scale": 2.0}),)
    assert chunk.epoch == request.epoch
    steps = TestCardEngine(32, 32).generate(request)
    next(steps)
    steps.close()
    assert list(steps) == []


def test_prompt_changes_the_picture_and_working_takes_the_time_asked_for():
    lines = []
    engine = load(lines.append, width=64, height=64, chunk_time_s=0.1)
    assert lines and engine.info.width == 64
    begin = time.perf_counter()
    red = make(engine, num_frames=9, prompt="red", sigmas=(1.0, 0.5, 0.0))
    assert 0.1 <= time.perf_counter() - begin < 1
    blue = make(engine, num_frames=9, prompt="blue")
    assert (red.frames != blue.frames).any() and replace(red, frames=blue.frames).end == blue.end


def test_weighted_prompts_are_a_mixture_of_their_colours_and_can_be_latched():
    def strip(prompts, sent=None):
        steps = TestCardEngine(64, 64).generate(ChunkRequest(0, GenerationParams(), 1, 0, 9, epoch=5, prompts=prompts))
        next(steps)
        if sent is not None:
            steps.send(StepValues({"prompts": sent}, epoch=6))
        *_, chunk = steps
        return chunk.frames[0, -8, 0].astype(int), chunk.epoch  # the squares are 3 pixels high

    (red, _), (blue, _) = strip((("red", 1.0),)), strip((("blue", 1.0),))
    mixed, epoch = strip((("red", 0.25), ("blue", 0.75)))
    assert (abs(mixed - (0.25 * red + 0.75 * blue)) <= 0.5).all() and (red != blue).any() and epoch == 5
    latched, epoch = strip((("red", 1.0),), (("blue", 1.0),))
    assert (latched == blue).all() and epoch == 6
