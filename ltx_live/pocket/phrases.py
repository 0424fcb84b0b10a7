"""Writes prompts for the pocket world in many ways; `reading` reads them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ltx_live.pocket.description import Description, sample_descriptions
from ltx_live.pocket.reading import BANK, Understood, understand
from ltx_live.pocket.words import (
    FILLER_WORDS,
    MODIFIER_WORDS,
    PALETTE_WORDS,
    SCENE_WORDS,
    SOUND_WORDS,
    SPEED_WORDS,
    STRANGE_WORDS,
    TEMPO_RANGES_BPM,
    TEMPO_WORDS,
)

__all__ = ["BANK", "Understood", "corpus", "understand", "write_prompt"]


class _Dice:
    """Random choices from a torch generator."""

    def __init__(self, generator: torch.Generator):
        self._generator = generator

    def chance(self, probability: float) -> bool:
        return float(torch.rand((), generator=self._generator)) < probability

    def choose(self, options: Sequence[str]) -> str:
        return options[int(torch.randint(len(options), (), generator=self._generator))]

    def word(self, options: Sequence[str], plain: float) -> str:
        """The first (plain) of the options with this chance, else any."""
        return options[0] if self.chance(plain) else self.choose(options)

    def shuffle(self, items: list[str]) -> list[str]:
        return [items[i] for i in torch.randperm(len(items), generator=self._generator).tolist()]


@dataclass(frozen=True)
class _Spoken:
    """The words chosen for each field; empty where the prompt leaves it open."""

    scene: str
    palette: str
    speed: str
    modifiers: tuple[str, ...]
    sound: str
    tempo: str


def write_prompt(description: Description, generator: torch.Generator) -> str:
    """A prompt for this description in one of many forms; fields it leaves out are free to be anything."""
    dice = _Dice(generator)
    spoken = _speak(description, dice)
    form = (_noun_phrase, _tag_list, _sentence, _of_phrase)[int(torch.randint(4, (), generator=generator))]
    prompt = form(spoken, dice)
    if dice.chance(0.12):
        strange = dice.choose(STRANGE_WORDS)
        prompt = f"{strange}, {prompt}" if dice.chance(0.4) else f"{prompt}, {strange} {dice.choose(STRANGE_WORDS)}"
    if dice.chance(0.2):
        prompt = prompt[:1].upper() + prompt[1:]
    elif dice.chance(0.05):
        prompt = prompt.upper()
    return prompt + dice.choose((".", "!", "...")) if dice.chance(0.15) else prompt


def _speak(description: Description, dice: _Dice) -> _Spoken:
    """Which fields are named, and with which words. "normal" speed is mostly left unsaid, modifiers hardly ever."""
    said_speed = 0.35 if description.speed == "normal" else 0.9
    modifiers = tuple(dice.word(MODIFIER_WORDS[m], 0.7) for m in description.modifiers if dice.chance(0.95))
    return _Spoken(
        scene=dice.word(SCENE_WORDS[description.scene], 0.75) if dice.chance(0.95) else "",
        palette=dice.word(PALETTE_WORDS[description.palette], 0.85) if dice.chance(0.92) else "",
        speed=dice.word(SPEED_WORDS[description.speed], 0.6) if dice.chance(said_speed) else "",
        modifiers=modifiers,
        sound=dice.word(SOUND_WORDS[description.sound], 0.65) if dice.chance(0.92) else "",
        tempo=_speak_tempo(description, dice),
    )


def _speak_tempo(description: Description, dice: _Dice) -> str:
    """The tempo as a number or a word; mostly said where something beats."""
    beats = description.sound in ("arpeggio", "bells", "drums", "hi-hats") or "pulsing" in description.modifiers
    if not dice.chance(0.6 if beats else 0.08):
        return ""
    for name, (low, high) in TEMPO_RANGES_BPM.items():
        if low <= description.tempo_bpm <= high and dice.chance(0.5):
            return dice.choose(TEMPO_WORDS[name])
    return dice.choose(("at {} bpm", "{} bpm", "{}bpm", "{} BPM", "at {} bpm")).format(description.tempo_bpm)


_SCENELESS = ("visuals", "shapes", "patterns", "abstract shapes", "light")
_SINGULAR = ("tunnel", "grid", "spiral", "kaleidoscope", "starfield", "vortex", "mandala", "checkerboard", "corridor")


def _noun_phrase(spoken: _Spoken, dice: _Dice) -> str:
    """ "a slow blue rotating tunnel with drums at 120 bpm" """
    adjectives = [
        word for word in (spoken.speed, spoken.palette) if word and not word.endswith("ly") and " " not in word
    ]
    late = [word for word in (spoken.speed, spoken.palette) if word and word not in adjectives]
    if spoken.modifiers and " " not in spoken.modifiers[0] and dice.chance(0.5):
        adjectives.append(spoken.modifiers[0])
        late.extend(spoken.modifiers[1:])
    else:
        late.extend(spoken.modifiers)
    noun = spoken.scene or dice.choose(_SCENELESS)
    phrase = " ".join([*dice.shuffle(adjectives), noun])
    if noun in _SINGULAR and dice.chance(0.7):
        phrase = f"a {phrase}"
    return _joined(phrase, late, spoken, dice)


def _of_phrase(spoken: _Spoken, dice: _Dice) -> str:
    """ "tunnel of blue light, slow, drum beat at 120 bpm" """
    phrase = spoken.scene or dice.choose(_SCENELESS)
    if spoken.palette:
        joint = dice.choose(("of {} light", "in {}", "in {} light", "of {}", "made of {} light", "in bright {}"))
        phrase = f"{phrase} {joint.format(spoken.palette)}"
    late = dice.shuffle([word for word in (spoken.speed, *spoken.modifiers) if word])
    return _joined(phrase, late, spoken, dice)


def _joined(phrase: str, late: list[str], spoken: _Spoken, dice: _Dice) -> str:
    """Picture, then what is said late about it, then the sound and the tempo."""
    for word in late:
        phrase += (", " if " " in word or dice.chance(0.7) else " ") + word
    if spoken.sound and spoken.sound in ("silent", "no sound", "without sound", "mute", "no music"):
        phrase += f", {spoken.sound}"
    elif spoken.sound:
        phrase += dice.choose((" with {}", ", {}", " and {}", ", with {}", " to the sound of {}")).format(spoken.sound)
    if spoken.tempo:
        phrase += (" " if spoken.tempo.startswith("at") else ", ") + spoken.tempo
    return phrase


def _tag_list(spoken: _Spoken, dice: _Dice) -> str:
    """ "drums; tunnel, blue, slowly" """
    tags = [w for w in (spoken.scene, spoken.palette, spoken.speed, *spoken.modifiers, spoken.sound, spoken.tempo) if w]
    if not tags:
        return dice.choose(_SCENELESS)
    return dice.choose((", ", ", ", "; ", " / ", " | ")).join(dice.shuffle(tags))


def _sentence(spoken: _Spoken, dice: _Dice) -> str:
    """ "Please show me a blue tunnel, it is slow and rotating. We hear drums at 120 bpm" """
    opening = dice.choose(
        ("show me", "please show", "I want to see", "give me", "let me see", "there is", "we see", "play")
    )
    colour = f"{dice.choose(('', '', 'deep ', 'bright ', 'glowing '))}{spoken.palette} " if spoken.palette else ""
    picture = f"{opening} {colour}{spoken.scene or dice.choose(_SCENELESS)}"
    motion = " and ".join(dice.shuffle([word for word in (spoken.speed, *spoken.modifiers) if word]))
    if motion:
        picture += dice.choose((", {}", ", it is {}", " that is {}", " and it is {}")).format(motion)
    parts = [picture]
    if spoken.sound:
        parts.append(
            dice.choose(("we hear {}", "{} playing", "the sound is {}", "{}", "sound of {}")).format(spoken.sound)
        )
    if spoken.tempo:
        parts.append(dice.choose(("the tempo is {}", "{}", "all {}")).format(spoken.tempo))
    return dice.choose((". ", ", ", "; ")).join(parts)


def corpus(count: int, generator: torch.Generator) -> list[str]:
    """`count` prompts and sentences of fillers and plain words, to train a small SentencePiece vocabulary on."""
    dice = _Dice(generator)
    fillers = sorted(FILLER_WORDS)
    texts = []
    for description in sample_descriptions(count, generator):
        if dice.chance(0.3):
            length = 4 + int(torch.randint(7, (), generator=generator))
            words = [dice.choose(STRANGE_WORDS if dice.chance(0.6) else fillers) for _ in range(length)]
            texts.append(" ".join(words))
        else:
            texts.append(write_prompt(description, generator))
    return texts
