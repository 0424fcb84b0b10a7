"""What a chunk is given beside its prompts: image, guide, driving sound and speaker, on the tiny model."""

from dataclasses import replace

import numpy as np
import pytest

from ltx_live.chunk import DRIVING_CONTEXT_S, SAMPLE_RATE_HZ, Chunk, ChunkRequest, Inputs, StepValues, guide_size
from ltx_live.engine.testcard import TestCardEngine
from ltx_live.errors import EngineError
from ltx_live.media.guide import restored
from ltx_live.params import GenerationParams

WIDTH, HEIGHT, NUM_FRAMES = 64, 32, 17
PARAMS = GenerationParams(width=WIDTH, height=HEIGHT, prompt="a fox", num_steps=2, schedule="linear")


def picture(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def noise(seed: int, seconds: float) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (round(seconds * SAMPLE_RATE_HZ), 2)).astype(np.float32)


def request(index: int = 0, before=None, inputs: Inputs | None = None, **values) -> ChunkRequest:
    return ChunkRequest(
        index=index,
        params=replace(PARAMS, **values),
        seed=7,
        start=0 if before is None else before.end,
        num_frames=NUM_FRAMES,
        continue_from=None if before is None else (before.index, before.num_frames),
        inputs=inputs or Inputs(),
    )


def make(engine, wanted: ChunkRequest):
    """The chunk, and the states after its last step."""
    steps = []
    engine.watch = steps.append
    *_, chunk = engine.generate(wanted)
    return chunk, steps[-1].states


def test_image_is_the_first_frame_as_far_as_its_strength_says(tiny_engine):
    image = picture(1, HEIGHT, WIDTH)
    tokens = tiny_engine._encoders.frames(image[None]).float()
    distances = []
    for strength in (1.0, 0.75, 0.5, 0.25):
        _, states = make(tiny_engine, request(inputs=Inputs(image=image), i2v_strength=strength))
        distances.append((states.video.latent[:, : tokens.shape[1]] - tokens).abs().mean().item())
    assert distances[0] == 0 and sorted(distances) == distances and len(set(distances)) == 4
    without, _ = make(tiny_engine, request())
    zero, _ = make(tiny_engine, request(inputs=Inputs(image=image), i2v_strength=0.0))
    assert (zero.frames == without.frames).all() and (zero.audio == without.audio).all()


def test_image_takes_the_place_of_the_past_pictures_while_the_sound_flows_on(tiny_engine):
    first, _ = make(tiny_engine, request())
    led, states = make(tiny_engine, request(1, first, Inputs(image=picture(1, HEIGHT, WIDTH))))
    assert led.num_overlap == 0 and led.num_frames == NUM_FRAMES and led.cut == first.end
    assert led.num_overlap_samples > 0 and (states.audio.denoise_mask[:, :10] < 0.2).all()
    after, _ = make(tiny_engine, request(2, led))
    assert after.num_overlap == 9 and after.cut == led.end


def test_guide_is_followed_by_its_strength_and_cut_off(tiny_engine):
    guide = picture(2, NUM_FRAMES, HEIGHT, 32)
    guide = np.concatenate((guide, guide[:, :, ::-1]), axis=2)  # as large as the picture
    without, _ = make(tiny_engine, request())
    guided, states = make(tiny_engine, request(inputs=Inputs(guide=guide)))
    assert guided.frames.shape == without.frames.shape and (guided.frames != without.frames).any()
    assert states.video.latent.shape[1] == 2 * states.video.num_target
    none, _ = make(tiny_engine, request(inputs=Inputs(guide=guide), control_strength=0.0))
    assert (none.frames == without.frames).all() and (none.audio == without.audio).all()


def test_small_guide_lies_over_the_picture_whatever_the_size(tiny_engine):
    assert guide_size((WIDTH, HEIGHT), 2) == ((32, 16), (32, 32))
    assert guide_size((288, 160), 2) == ((144, 80), (160, 96))
    guide = picture(2, NUM_FRAMES, 32, 32)
    _, states = make(tiny_engine, request(inputs=Inputs(guide=guide, guide_factor=2)))
    video = states.video
    of_guide = video.positions[0, 1:, video.num_target :]
    assert of_guide.shape[1] == video.num_target // 2  # one token a latent, where the picture has two
    assert of_guide[0].max() == 64 and of_guide[1].max() == 64  # rows reach below the picture, which ends at 32


@pytest.mark.parametrize("shape", [(9, 32, 64), (NUM_FRAMES, 16, 32), (NUM_FRAMES, 32, 48)])
def test_guide_that_does_not_fit_is_told(tiny_engine, shape):
    with pytest.raises(EngineError, match="guide: .* do not fit a chunk of 17 frames 64x32"):
        make(tiny_engine, request(inputs=Inputs(guide=picture(2, *shape))))


def driven(track: np.ndarray, before=None, index: int = 0) -> ChunkRequest:
    wanted = request(index, before)
    start = max(0, wanted.start - round(DRIVING_CONTEXT_S * SAMPLE_RATE_HZ))
    return replace(wanted, inputs=Inputs(driving=track[start:], driving_start=start))


def test_driving_sound_is_what_is_heard_sample_by_sample(tiny_engine):
    track = noise(3, 6)
    before, parts = None, []
    for index in range(4):
        chunk, states = make(tiny_engine, driven(track, before, index))
        assert (states.audio.denoise_mask == 0).all() and (states.audio.latent == states.audio.clean).all()
        assert (chunk.audio == track[chunk.audio_start : chunk.end]).all()
        parts.append(chunk.audio[chunk.num_overlap_samples :])
        before = chunk
    assert (np.concatenate(parts) == track[: before.end]).all()


def test_a_new_take_goes_on_in_the_driving_sound_and_off_and_generated_are_heard_instead(tiny_engine):
    track = noise(3, 6)
    first, _ = make(tiny_engine, driven(track))
    take = replace(driven(track, first, 1), continue_from=None)
    chunk, _ = make(tiny_engine, take)
    assert chunk.num_overlap == 0 and chunk.num_overlap_samples > 0
    assert (chunk.audio == track[chunk.audio_start : chunk.end]).all()
    silent, _ = make(tiny_engine, replace(take, inputs=replace(take.inputs, heard="off")))
    assert silent.audio.shape == chunk.audio.shape and not silent.audio.any()
    made, _ = make(tiny_engine, replace(take, inputs=replace(take.inputs, heard="generated")))
    assert made.audio.any() and (made.audio[-2000:] != chunk.audio[-2000:]).any()
    assert (made.frames == chunk.frames).all()


def test_the_gamma_of_a_guide_is_taken_back(tiny_engine):
    guide = picture(2, NUM_FRAMES, HEIGHT, WIDTH)
    plain, _ = make(tiny_engine, request(inputs=Inputs(guide=guide)))
    lowered, _ = make(tiny_engine, request(inputs=Inputs(guide=guide, restores_gamma=True)))
    assert (lowered.frames == restored(plain.frames)).all() and (lowered.frames != plain.frames).any()
    after = [make(tiny_engine, request(1, chunk))[0].frames for chunk in (plain, lowered)]
    assert (after[0] == after[1]).all(), "the next chunk continues what was made, not what was shown"


def test_driving_sound_moves_the_picture_and_a_late_one_is_silent_where_it_ends(tiny_engine):
    one, _ = make(tiny_engine, driven(noise(3, 6)))
    other, _ = make(tiny_engine, driven(noise(4, 6)))
    assert (one.frames != other.frames).any()
    short, _ = make(tiny_engine, driven(noise(3, 0.3)))
    assert (short.audio[round(0.3 * SAMPLE_RATE_HZ) :] == 0).all()


def test_speaker_changes_the_sound_and_guidance_more(tiny_engine):
    speaker = noise(6, 1.0)
    without, _ = make(tiny_engine, request())
    plain, states = make(tiny_engine, request(inputs=Inputs(speaker=speaker), identity_guidance_scale=0.0))
    guided, _ = make(tiny_engine, request(inputs=Inputs(speaker=speaker), identity_guidance_scale=3.0))
    assert states.audio.latent.shape[1] > states.audio.num_target
    assert plain.audio.shape == guided.audio.shape == without.audio.shape
    assert (plain.audio != without.audio).any() and (guided.audio != plain.audio).any()


def test_guidance_can_be_latched_while_the_noise_is_high(tiny_engine):
    wanted = request(
        inputs=Inputs(speaker=noise(6, 1.0)), late_latch=True, num_steps=4, sigmas=(1.0, 0.97, 0.95, 0.5, 0.0)
    )
    heard = []
    for sent in ({}, {"identity_guidance_scale": 6.0}):
        steps = tiny_engine.generate(wanted)
        next(steps)
        made = steps.send(StepValues(sent))
        while not isinstance(made, Chunk):
            made = next(steps)
        heard.append(made)
    assert (heard[0].audio != heard[1].audio).any() and heard[1].latched == ((1, {"identity_guidance_scale": 6.0}),)


def test_test_card_plays_the_driving_sound():
    track = noise(7, 6)
    engine = TestCardEngine(32, 32)
    *_, chunk = engine.generate(driven(track))
    assert (chunk.audio == track[: chunk.end]).all()
