"""Pictures of the pocket world: deterministic, continuous over windows, still when still, pulsing with the drums."""

import dataclasses

import pytest
import torch

from ltx_live.pocket.description import MODIFIERS, SCENES, Batch, Description, sample_descriptions
from ltx_live.pocket.scenes import render_frames
from ltx_live.pocket.transition import Transition

FRAME_RATE = 24
SMALL = (72, 40)
PLAIN = Description("rings", "blue", "normal", (), "pad", 120, seed=3)


pytestmark = pytest.mark.usefixtures("one_thread")


def times(first_frame: int, num_frames: int, num_clips: int = 1) -> torch.Tensor:
    return ((torch.arange(num_frames, dtype=torch.float64) + first_frame) / FRAME_RATE).repeat(num_clips, 1)


def changed(clip: Description, **words) -> Description:
    return dataclasses.replace(clip, **words)


def sampled(count: int, seed: int = 0) -> list[Description]:
    return sample_descriptions(count, torch.Generator().manual_seed(seed))


def test_descriptions_come_from_the_seed_and_cover_the_world():
    clips = sampled(400, seed=1)
    assert clips == sampled(400, seed=1) != sampled(400, seed=2)
    assert {c.scene for c in clips} == set(SCENES)
    assert {m for c in clips for m in c.modifiers} == set(MODIFIERS)
    assert all(set(c.modifiers) <= {"pulsing"} for c in clips if c.speed == "still")
    assert not any({"zooming in", "zooming out"} <= set(c.modifiers) for c in clips)


def test_pictures_are_deterministic_bounded_and_of_the_asked_size():
    batch = Batch.of(sampled(24))
    pictures = render_frames(batch, times(7, 2, 24), *SMALL)
    assert pictures.shape == (24, 2, 40, 72, 3)
    assert pictures.dtype == torch.float32
    assert 0.0 <= pictures.min() and pictures.max() <= 1.0
    assert torch.equal(pictures, render_frames(batch, times(7, 2, 24), *SMALL))


def test_a_clip_does_not_depend_on_its_batch():
    clips = sampled(12)
    together = render_frames(Batch.of(clips), times(30, 2, 12), *SMALL)
    for i, clip in enumerate(clips):
        assert torch.allclose(render_frames(Batch.of([clip]), times(30, 2), *SMALL)[0], together[i], atol=1e-5)


@pytest.mark.parametrize("first_frame", [0, 24 * 3600 * 10])
def test_overlapping_windows_show_the_same_pictures(first_frame):
    batch = Batch.of(sampled(12, seed=4))
    early = render_frames(batch, times(first_frame, 4, 12), *SMALL)
    late = render_frames(batch, times(first_frame + 2, 4, 12), *SMALL)
    assert torch.allclose(early[:, 2:], late[:, :2], atol=1e-5)


def test_motion_is_continuous():
    """A picture a thousandth of a second later is nearly the same, where no beat falls between: no jumps anywhere."""
    clips = [changed(c, speed="fast", sound="pad", modifiers=c.modifiers[:1]) for c in sampled(48, seed=5)]
    clips = [c for c in clips if "pulsing" not in c.modifiers]
    moments = torch.rand(len(clips), 1, dtype=torch.float64, generator=torch.Generator().manual_seed(6)) * 60.0
    pictures = render_frames(Batch.of(clips), torch.cat((moments, moments + 1e-3), dim=1), *SMALL)
    assert (pictures[:, 0] - pictures[:, 1]).abs().mean((1, 2, 3)).max() < 0.012


def test_still_is_exactly_static_and_the_others_move_faster_and_faster():
    for scene in SCENES:
        clips = [changed(PLAIN, scene=scene, speed=speed) for speed in ("still", "slow", "normal", "fast")]
        pictures = render_frames(Batch.of(clips), times(0, 3, 4), *SMALL)
        moved = (pictures[:, 1:] - pictures[:, :-1]).abs().mean((1, 2, 3, 4)).tolist()
        assert moved[0] == 0.0
        assert 0.0 < moved[1] < moved[2] < moved[3], scene


def test_reverse_plays_the_same_pictures_backwards():
    clips = [changed(PLAIN, scene=scene) for scene in SCENES]
    forward = render_frames(Batch.of(clips), times(-5, 1, 12), *SMALL)
    backward = render_frames(Batch.of([changed(c, modifiers=("reverse",)) for c in clips]), times(5, 1, 12), *SMALL)
    assert torch.allclose(forward, backward, atol=1e-4)


@pytest.mark.parametrize("modifier", ["pulsing", "zooming in", "zooming out", "rotating"])
def test_every_modifier_changes_every_scene(modifier):
    plain = [changed(PLAIN, scene=scene) for scene in SCENES]
    moving = [changed(clip, modifiers=(modifier,)) for clip in plain]
    difference = render_frames(Batch.of(plain), times(45, 1, 12), *SMALL)
    difference = difference - render_frames(Batch.of(moving), times(45, 1, 12), *SMALL)
    assert difference.abs().mean((1, 2, 3, 4)).min() > 0.01


def test_the_twelve_scenes_differ():
    clips = [changed(PLAIN, scene=scene, palette="white") for scene in SCENES]
    pictures = render_frames(Batch.of(clips), times(0, 1, 12), *SMALL)[:, 0].flatten(1)
    pictures = (pictures - pictures.mean(1, keepdim=True)) / pictures.std(1, keepdim=True)
    alike = pictures @ pictures.T / pictures.shape[1] - torch.eye(12)
    assert alike.max() < 0.6


def test_a_beat_brightens_the_frame_it_falls_into():
    for sound, modifiers in (("drums", ()), ("pad", ("pulsing",))):
        clip = changed(PLAIN, speed="still", sound=sound, modifiers=modifiers, tempo_bpm=97)
        batch = Batch.of([clip])
        level = render_frames(batch, times(0, 60), *SMALL)[0].mean((1, 2, 3))
        rises = torch.nonzero(level[1:] > level[:-1] * 1.05)[:, 0] + 1
        beats = batch.beats(times(0, 61))[0].floor()
        assert rises.tolist() == [k for k in range(1, 60) if beats[k + 1] > beats[k]]


def test_bells_sparkle_and_silence_does_not():
    for sound, sparkles in (("bells", True), ("arpeggio", True), ("hi-hats", True), ("silence", False)):
        level = render_frames(Batch.of([changed(PLAIN, speed="still", sound=sound)]), times(0, 48), *SMALL)[0]
        assert bool((level[1:] - level[:-1]).abs().max() > 0.05) is sparkles


def test_a_transition_goes_from_one_clip_to_the_other_while_time_goes_on():
    first, second = Batch.of([PLAIN]), Batch.of([changed(PLAIN, scene="grid", palette="red", sound="drums")])
    change = Transition(first, second, torch.tensor([9 / 24]), torch.tensor([0.5]))
    pictures = change.frames(times(0, 24), *SMALL)
    assert torch.equal(pictures[:, :10], render_frames(first, times(0, 10), *SMALL))
    assert torch.allclose(pictures[:, 21:], render_frames(second, times(21, 3), *SMALL), atol=1e-6)
    middle = pictures[:, 15] - render_frames(second, times(15, 1), *SMALL)[:, 0]
    assert middle.abs().mean() > 0.02
