"""Sounds of the pocket world: window-independent, at musical levels, and the same at both sample rates."""

import dataclasses

import pytest
import torch

from ltx_live.pocket.description import SOUNDS, SPEEDS, Batch, Description, sample_descriptions
from ltx_live.pocket.scenes import render_frames
from ltx_live.pocket.sounds import render_audio
from ltx_live.pocket.transition import Transition

CLIP = Description("tunnel", "green", "normal", (), "drums", 110, seed=8)


pytestmark = pytest.mark.usefixtures("one_thread")


def starts(batch: Batch, start_s: float) -> torch.Tensor:
    return torch.full((len(batch),), start_s, dtype=torch.float64)


def one_of_each(**words) -> Batch:
    return Batch.of([dataclasses.replace(CLIP, sound=sound, **words) for sound in SOUNDS])


def level_db(audio: torch.Tensor) -> torch.Tensor:
    return 10.0 * torch.log10(audio.square().mean((1, 2)) + 1e-12)


def test_levels_are_musical_and_silence_is_exactly_zero():
    clips = sample_descriptions(48, torch.Generator().manual_seed(2))
    batch = Batch.of(clips)
    audio = render_audio(batch, starts(batch, 12.3), 16000 * 2, 16000)
    assert audio.shape == (48, 32000, 2) and audio.dtype == torch.float32
    assert 0.45 < audio.abs().max() <= 0.5
    silent = batch.sound == SOUNDS.index("silence")
    assert audio[silent].abs().max() == 0.0
    levels = level_db(audio[~silent])
    assert -27.0 < levels.min() and levels.max() < -13.0
    assert -19.5 < levels.mean() < -16.5


@pytest.mark.parametrize("start_s", [0.0, 36000.0])
def test_overlapping_windows_are_the_same_signal(start_s):
    batch = one_of_each()
    early = render_audio(batch, starts(batch, start_s), 4800)
    late = render_audio(batch, starts(batch, start_s + 0.05), 2400)
    assert torch.allclose(early[:, 2400:], late, atol=1e-4)
    assert torch.equal(early, render_audio(batch, starts(batch, start_s), 4800))


def test_a_clip_does_not_depend_on_its_batch():
    batch = one_of_each()
    together = render_audio(batch, starts(batch, 3.0), 2400)
    for i in range(len(batch)):
        assert torch.allclose(render_audio(batch[i : i + 1], starts(batch, 3.0)[:1], 2400)[0], together[i], atol=1e-5)


def test_16_khz_is_the_same_sound_as_48_khz():
    """Tones agree sample by sample; noise keeps its strength below 7 kHz, as hi-hats and snares are cut off there."""
    batch = one_of_each()
    full, core = render_audio(batch, starts(batch, 1.0), 48000), render_audio(batch, starts(batch, 1.0), 16000, 16000)
    for sound in ("low drone", "pad", "arpeggio", "bells"):
        assert torch.allclose(full[SOUNDS.index(sound), ::3], core[SOUNDS.index(sound)], atol=1e-4)
    assert (level_db(full) - level_db(core)).abs().max() < 1.5
    with pytest.raises(ValueError, match="48000"):
        render_audio(batch, starts(batch, 1.0), 10, 44100)


def test_nothing_clicks():
    """Where a hit starts or its tail ends, the wave has no step: tones never jump from one sample to the next."""
    for sound in ("low drone", "pad", "arpeggio", "bells"):
        batch = Batch.of([dataclasses.replace(CLIP, sound=sound, tempo_bpm=180, seed=seed) for seed in range(4)])
        audio = render_audio(batch, starts(batch, 0.0), 96000)
        bend = (audio[:, 2:] - 2.0 * audio[:, 1:-1] + audio[:, :-2]).abs()
        assert bend.max() < 0.12, sound


def test_stereo_has_some_width_but_holds_together():
    batch = one_of_each()[1:]
    left, right = render_audio(batch, starts(batch, 0.0), 48000).unbind(-1)
    likeness = (left * right).sum(1) / (left.norm(dim=1) * right.norm(dim=1))
    assert likeness.min() > 0.3
    assert (left - right).abs().amax(1).min() > 1e-4


def test_a_kick_sounds_in_the_frame_that_pulses():
    batch = Batch.of([dataclasses.replace(CLIP, speed="still", tempo_bpm=bpm, seed=bpm) for bpm in (63, 97, 150)])
    num_frames = 48
    times_s = (torch.arange(num_frames, dtype=torch.float64) / 24).repeat(3, 1)
    bright = render_frames(batch, times_s, 72, 40).mean((2, 3, 4))
    flashes = bright[:, 1:] > bright[:, :-1] * 1.05
    audio = render_audio(batch, starts(batch, 0.0), num_frames * 2000).mean(-1)
    loud = audio.view(3, num_frames, 2000).abs().amax(-1)
    for clip in range(3):
        for frame in (torch.nonzero(flashes[clip])[:, 0] + 1).tolist():
            quiet_before = audio[clip, frame * 2000 - 240 : frame * 2000].abs().max()
            start = batch.beats(torch.tensor([[frame / 24, (frame + 1) / 24]] * 3, dtype=torch.float64))[clip].floor()
            assert start[1] == start[0] + 1  # the beat is inside this frame
            assert loud[clip, frame : frame + 2].max() > 3.0 * quiet_before


def test_pitch_and_note_rate_rise_with_the_motion():
    def crossings(sound: str, speed: str) -> int:
        audio = render_audio(Batch.of([dataclasses.replace(CLIP, sound=sound, speed=speed)]), torch.zeros(1), 48000)
        return int((audio[0, 1:, 0] * audio[0, :-1, 0] < 0.0).sum())

    for sound in ("pad", "arpeggio"):
        assert crossings(sound, "fast") > 1.2 * crossings(sound, "slow")
    arpeggios = Batch.of([dataclasses.replace(CLIP, sound="arpeggio", speed=speed) for speed in SPEEDS])
    assert arpeggios.notes_per_beat().tolist() == [2.0, 2.0, 2.0, 4.0]


def test_a_transition_fades_with_equal_power():
    drone = Batch.of([dataclasses.replace(CLIP, sound="low drone")])
    noise = Batch.of([dataclasses.replace(CLIP, sound="noise")])
    change = Transition(drone, noise, torch.tensor([1.0]), torch.tensor([0.4]))
    audio = change.audio(torch.zeros(1), 96000)
    assert torch.equal(audio[:, :48000], render_audio(drone, torch.zeros(1), 48000))
    after = render_audio(noise, torch.zeros(1), 96000)[:, 67300:]
    assert torch.allclose(audio[:, 67300:], after, atol=1e-6)
    assert -21.0 < level_db(audio[:, 48000:67200]) < -14.0
