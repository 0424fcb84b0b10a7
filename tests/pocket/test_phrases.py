"""Prompts of the pocket world: many forms, all understood, whatever the case, punctuation or order."""

import pytest
import torch

from ltx_live.pocket.description import PALETTES, SCENES, SOUNDS, SPEEDS, Description, sample_descriptions
from ltx_live.pocket.phrases import BANK, corpus, understand, write_prompt
from ltx_live.pocket.words import FILLER_WORDS, STRANGE_WORDS, TEMPO_RANGES_BPM


def test_every_prompt_is_understood_as_it_was_meant():
    generator = torch.Generator().manual_seed(1)
    named = dict.fromkeys(("scene", "palette", "speed", "sound", "tempo"), 0)
    clips = sample_descriptions(2000, generator)
    for clip in clips:
        prompt = write_prompt(clip, generator)
        meant = understand(prompt)
        for field in ("scene", "palette", "speed", "sound"):
            said = getattr(meant, field)
            assert said in (None, getattr(clip, field)), (prompt, field)
            named[field] += said is not None
        assert set(meant.modifiers) <= set(clip.modifiers), prompt
        if meant.tempo_bpm is not None:
            named["tempo"] += 1
            ranges = [(low, high) for low, high in TEMPO_RANGES_BPM.values() if low <= meant.tempo_bpm <= high]
            assert meant.tempo_bpm == clip.tempo_bpm or any(low <= clip.tempo_bpm <= high for low, high in ranges)
        assert set(meant.unknown) <= set(STRANGE_WORDS), prompt
    assert named["scene"] > 1800 and named["palette"] > 1700 and named["sound"] > 1700
    assert 1100 < named["speed"] < 1800 and 400 < named["tempo"] < 1500


def test_prompts_vary_and_come_from_the_generator():
    clip = Description("tunnel", "blue", "slow", (), "drums", 120, seed=0)
    prompts = [write_prompt(clip, torch.Generator().manual_seed(seed)) for seed in range(200)]
    assert prompts == [write_prompt(clip, torch.Generator().manual_seed(seed)) for seed in range(200)]
    assert len(set(prompts)) > 150


@pytest.mark.parametrize(
    "prompt",
    [
        "a slow blue tunnel with drums",
        "drums; tunnel, blue, slowly",
        "TUNNEL of blue light -- slow, drum beat!",
        "Please show me a deep blue tunnel, it is slow. We hear drums.",
    ],
)
def test_the_same_meaning_in_other_words(prompt):
    meant = understand(prompt)
    assert (meant.scene, meant.palette, meant.speed, meant.sound) == ("tunnel", "blue", "slow", "drums")
    assert meant.unknown == ()


def test_longer_phrases_win_and_punctuation_separates():
    assert understand("white noise").palette is None
    assert understand("white, noise").palette == "white"
    assert understand("red rings at a slow beat").tempo_bpm == 80
    assert understand("red rings at a slow beat").speed is None
    assert understand("Hi-Hats at 128BPM").tempo_bpm == 128
    assert understand("rings, zooming in, pulsing").modifiers == ("pulsing", "zooming in")


def test_unknown_words_are_named_and_the_rest_still_counts():
    meant = understand("a dancing cat's fast red grid, 999 bpm, ünknown")
    assert (meant.scene, meant.palette, meant.speed) == ("grid", "red", "fast")
    assert meant.known == ("fast", "red", "grid")
    assert meant.unknown == ("dancing", "cat's", "999", "ünknown")
    assert understand("").known == understand("?!").unknown == ()


def test_the_bank_is_a_set_of_sixteen_across_the_whole_world():
    meant = [understand(prompt) for _, prompt in BANK]
    assert len({name for name, _ in BANK}) == len(BANK) == 16
    assert {m.scene for m in meant} == set(SCENES)
    assert {m.palette for m in meant} == set(PALETTES)
    assert {m.sound for m in meant} == set(SOUNDS)
    assert {m.speed for m in meant} >= set(SPEEDS) - {"normal"}
    assert not any(m.unknown for m in meant)


def test_the_corpus_holds_prompts_and_plain_words():
    texts = corpus(3000, torch.Generator().manual_seed(0))
    words = {word for text in texts for word in text.lower().split()}
    assert len(texts) == 3000
    assert len(words & set(STRANGE_WORDS)) > 0.95 * len(STRANGE_WORDS)
    assert len(words & FILLER_WORDS) > 0.95 * len(FILLER_WORDS)
