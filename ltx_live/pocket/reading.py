"""The prompt bank of the pocket, and how a prompt is read back for HUD and replies; no torch, the show imports it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ltx_live.pocket.words import (
    FILLER_WORDS,
    MODIFIER_WORDS,
    PALETTE_WORDS,
    SCENE_WORDS,
    SOUND_WORDS,
    SPEED_WORDS,
    TEMPO_RANGE_BPM,
    TEMPO_RANGES_BPM,
    TEMPO_WORDS,
)

BANK: tuple[tuple[str, str], ...] = (
    ("warm-up", "slow blue waves, low drone"),
    ("red tunnel", "a fast red tunnel with drums, 128 bpm"),
    ("ripples", "gold rings, slowly, with bells"),
    ("clouds", "slow purple plasma and a soft pad"),
    ("drive", "a fast cyan grid with an arpeggio, 124 bpm"),
    ("lava", "slow orange metaballs, low drone"),
    ("club", "pulsing white stripes with drums at 126 bpm"),
    ("mandala", "a pink kaleidoscope, rotating, with a pad"),
    ("warp", "a fast blue starfield, zooming in, with noise"),
    ("silk", "slow green ribbons with an arpeggio"),
    ("vortex", "a fast purple spiral, rotating, with hi-hats at 130 bpm"),
    ("chess", "a red checkerboard with drums, 120 bpm"),
    ("deep", "slow cyan tunnel, reverse, with a low drone"),
    ("rave", "fast pink rings, pulsing, with drums at 140 bpm"),
    ("night sky", "a still white starfield with bells"),
    ("pause", "still blue plasma, silence"),
)


@dataclass(frozen=True)
class Understood:
    """What a prompt says: the fields it names (None or empty where it is silent), and its words by what they did."""

    scene: str | None
    palette: str | None
    speed: str | None
    modifiers: tuple[str, ...]
    sound: str | None
    tempo_bpm: int | None  # the number, or the middle of a tempo word's range
    known: tuple[str, ...]  # words and phrases that mean something, in their order
    unknown: tuple[str, ...]  # words that mean nothing here; fillers are in neither


_TABLES = {
    "scene": SCENE_WORDS,
    "palette": PALETTE_WORDS,
    "speed": SPEED_WORDS,
    "modifier": MODIFIER_WORDS,
    "sound": SOUND_WORDS,
    "tempo": TEMPO_WORDS,
}
_MEANINGS = {
    tuple(phrase.split()): (field, name)
    for field, table in _TABLES.items()
    for name, phrases in table.items()
    for phrase in phrases
}
_LONGEST = max(len(words) for words in _MEANINGS)
_WORD = re.compile(r"\d+(?=bpm\b)|[^\W_]+(?:'[^\W_]+)?|[,.;:!?|/()\n]")


def understand(prompt: str) -> Understood:
    """Reads a prompt: case, punctuation and order do not matter; of two words for one field the last counts."""
    words = _WORD.findall(prompt.lower())
    found: dict[str, str] = {}
    modifiers: list[str] = []
    known: list[str] = []
    unknown: list[str] = []
    tempo_bpm = None
    at = 0
    while at < len(words):
        length = next((n for n in range(_LONGEST, 0, -1) if tuple(words[at : at + n]) in _MEANINGS), 0)
        if length:
            field, name = _MEANINGS[tuple(words[at : at + length])]
            known.append(" ".join(words[at : at + length]))
            if field == "tempo":
                tempo_bpm = sum(TEMPO_RANGES_BPM[name]) // 2
            elif field == "modifier":
                modifiers.append(name)
            else:
                found[field] = name
        elif words[at].isdecimal() and TEMPO_RANGE_BPM[0] <= int(words[at]) <= TEMPO_RANGE_BPM[1]:
            tempo_bpm = int(words[at])
            known.append(words[at])
        elif words[at].isalnum() and words[at] not in FILLER_WORDS or "'" in words[at]:
            unknown.append(words[at])
        at += max(1, length)
    return Understood(
        scene=found.get("scene"),
        palette=found.get("palette"),
        speed=found.get("speed"),
        modifiers=tuple(m for m in MODIFIER_WORDS if m in modifiers),
        sound=found.get("sound"),
        tempo_bpm=tempo_bpm,
        known=tuple(known),
        unknown=tuple(unknown),
    )
