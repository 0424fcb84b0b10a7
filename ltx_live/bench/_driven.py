"""Driving sound from a file: is what is heard the file, sample by sample, and does the picture follow it?"""

from __future__ import annotations

import tempfile
import time
import wave
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ltx_live import params, render
from ltx_live.bench._bars import Bar
from ltx_live.bench._pulses import correlation, depth, place
from ltx_live.chunk import (
    NO_INPUTS,
    SAMPLE_RATE_HZ,
    Chunk,
    ChunkRequest,
    Engine,
    EngineInfo,
    Progress,
    StepValues,
)
from ltx_live.errors import MediaError
from ltx_live.modes.sound import SoundMode
from ltx_live.modes.use import Setting
from ltx_live.pocket.description import Batch, Description
from ltx_live.pocket.measure import onsets
from ltx_live.pocket.sounds import render_audio
from ltx_live.stage.playlist import CUT_SAMPLES
from ltx_live.tempo import Tempo

FILE_RATE_HZ = 44_100
FILE_S, QUICK_S = 60.0, 5.0
FILM_S = 5.8  # three chunks of 57 frames
SEED = 777_000_201  # far from every training seed

TEMPOS_BPM = (72, 97, 121, 143, 168)
NAMED = ("slow purple plasma with drums", "fast red tunnel with drums")
UNNAMED = ("slow purple plasma", "red tunnel", "gold kaleidoscope", "forest at night")
CONTRARY = ("slow blue waves with a soft pad", "moving red tunnel in silence")
"""Prompts that name drums, that name no sound, and that name another one."""


class Driven:
    """An engine that gets the driving sound of each chunk as the show gives it."""

    def __init__(self, engine: Engine, sound: SoundMode):
        self._engine = engine
        self._sound = sound

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    def encode(self, prompts: tuple[str, ...]) -> None:
        self._engine.encode(prompts)

    def generate(self, request: ChunkRequest) -> Generator[Progress | Chunk, StepValues | None, None]:
        """The chunk of the engine; once it is there, what it was filled with counts as made."""
        yield from self._engine.generate(filled(request, self._sound))
        self._sound.made()


def filled(request: ChunkRequest, sound: SoundMode) -> ChunkRequest:
    """The request as the show sends it: it names what drives, and has its stretch."""
    request = replace(request, params=replace(request.params, **sound.fields(request.params)))
    return replace(request, inputs=sound.fill(request, NO_INPUTS))


@dataclass(frozen=True)
class Seen:
    """A film: mean brightness of every frame (F,) in 0..1, and the sound (S, 2) float32."""

    brightness: np.ndarray
    sound: np.ndarray


class _Watch:
    """Takes a film's frames and sound as a VideoWriter does."""

    def __init__(self) -> None:
        self.num_samples = 0
        self.brightness: list[float] = []
        self.sound: list[np.ndarray] = []

    @property
    def num_frames(self) -> int:
        return len(self.brightness)

    def write_frame(self, frame: np.ndarray) -> None:
        self.brightness.append(float(frame.mean()) / 255)

    def write_audio(self, samples: np.ndarray) -> None:
        self.sound.append(samples.copy())
        self.num_samples += len(samples)


def film(engine: Engine, values: Mapping[str, Any], track: Path, seconds: float) -> Seen:
    """A film that a sound file drives from its start on, rendered as `render` renders. Raises MediaError."""
    values = {**values, "audio_input": str(track)}
    sound = SoundMode(track.parent, Tempo())
    sound.take(values)
    while not sound.driving.is_on:
        for told in sound.tick(0.0, 0.0, may_open=False):
            if isinstance(told, Setting):
                raise MediaError(told.text)
        time.sleep(0.01)
    generation = params.snapshot(params.GenerationParams, values)
    rate, watch = generation.frame_rate, _Watch()
    made = render.Film(watch, params.snapshot(params.OutputParams, values), round(seconds * rate), rate)
    for chunk in render.chunks(Driven(engine, sound), generation):
        made.append(chunk)
        if made.is_complete:
            break
    return Seen(np.array(watch.brightness), np.concatenate(watch.sound))


def film_to(engine: Engine, values: Mapping[str, Any], track: np.ndarray, seconds: float) -> Seen:
    """A film that a track (S, 2) float32 at 48 kHz drives; see `film`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "track.wav"
        write_wave(path, track, SAMPLE_RATE_HZ)
        return film(engine, values, path, seconds)


# --- The sound -------------------------------------------------------------------------------------------------------


def sound_bars(engine: Engine, values: Mapping[str, Any], quick: bool) -> Iterator[Bar]:
    """A file at 44.1 kHz through reader, plan, engine, timeline and limiter, against the same wave drawn at 48 kHz."""
    seconds = QUICK_S if quick else FILE_S
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "track.wav"
        write_wave(path, sweeps(seconds + 3, FILE_RATE_HZ), FILE_RATE_HZ)
        heard = film(engine, values, path, seconds).sound
    wanted = sweeps(seconds + 3, SAMPLE_RATE_HZ)[: len(heard)]
    error = float(np.abs(heard - wanted)[CUT_SAMPLES:].max())  # a take is faded in
    margin = SAMPLE_RATE_HZ // 10
    starts = range(margin, len(heard) - SAMPLE_RATE_HZ - margin, SAMPLE_RATE_HZ)
    around = [wanted[at - margin : at + SAMPLE_RATE_HZ + margin, 0] for at in starts]
    shifts = [margin - place(heard[at : at + SAMPLE_RATE_HZ, 0], x) for at, x in zip(starts, around, strict=True)]
    print(
        f"driving sound: {seconds:g} s of a 44.1 kHz file, shifted by {sorted(set(shifts))}, largest error {error:.1e}"
    )
    yield Bar(f"driving: error of the sound over {seconds:g} s", error, 1e-3, is_most=True)
    yield Bar("driving: shift of the sound in samples", max(map(abs, shifts)), 0, is_most=True)


def sweeps(seconds: float, rate_hz: int) -> np.ndarray:
    """Five sweeps up to 12 kHz at once, in each channel another way round; the same wave at any rate. (S, 2) float32"""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    sound = np.zeros((len(time_s), 2))
    for number, (low_hz, high_hz) in enumerate(((60, 400), (300, 1500), (900, 4000), (2500, 9000), (5000, 12000))):
        for channel, (first_hz, last_hz) in enumerate(((low_hz, high_hz), (high_hz, low_hz))):
            cycles = first_hz * time_s + (last_hz - first_hz) * time_s**2 / (2 * seconds)
            sound[:, channel] += 0.07 * np.sin(2 * np.pi * cycles + number)
    return sound.astype(np.float32)


def write_wave(path: Path, sound: np.ndarray, rate_hz: int) -> None:
    """A 16-bit WAV file of sound (S, 2) in -1..1."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.rint(32767 * sound).astype("<i2").tobytes())


# --- The picture -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Followed:
    """How films of one prompt followed their tracks (T,): correlation, how much brighter a hit is, and other tracks.

    `brighter` is a share; `others` is the mean correlation with the onsets of the tracks that did not drive.
    """

    prompt: str
    correlations: np.ndarray
    brighter: np.ndarray
    others: np.ndarray

    def __str__(self) -> str:
        each = " ".join(f"{x:+.2f}" for x in self.correlations)
        figures = f"mean {self.correlations.mean():+.2f}   others {self.others.mean():+.2f}"
        return f"  {self.prompt:<34} {each}   {figures}   {100 * self.brighter.mean():4.0f} % brighter at a hit"


def picture_bars(engine: Engine, values: Mapping[str, Any], quick: bool) -> Iterator[Bar]:
    """Held-out drum tracks under prompts that name drums, no sound, and another sound; then drums of other kits."""
    tempos, groups = (
        (TEMPOS_BPM[2:4], (NAMED[:1], UNNAMED[:1], ())) if quick else (TEMPOS_BPM, (NAMED, UNNAMED, CONTRARY))
    )
    tracks = [drums(bpm, SEED + bpm, FILM_S + 4) for bpm in tempos]
    print(f"driving picture: correlation with the onsets of held-out drums at {' '.join(map(str, tempos))} bpm")
    named, unnamed, contrary = (_followed(engine, values, group, tracks) for group in groups)
    if not quick:
        print("  drums of another kit, syncopated:")
        _followed(engine, values, (NAMED[0], UNNAMED[0]), [other_drums(seed, FILM_S + 4) for seed in range(3)])
    yield from verdicts(named, unnamed, [*named, *unnamed, *contrary])


def verdicts(named: Sequence[Followed], unnamed: Sequence[Followed], every: Sequence[Followed]) -> Iterator[Bar]:
    """Of each group the mean of the prompt that follows worst; and the strongest tie to a track that did not drive."""
    yield Bar("driving: onsets, prompts with drums, worst", min(x.correlations.mean() for x in named), 0.5)
    yield Bar("driving: onsets, prompts without sound, worst", min(x.correlations.mean() for x in unnamed), 0.5)
    yield Bar("driving: onsets of another track, highest", max(abs(x.others.mean()) for x in every), 0.2, is_most=True)


def _followed(
    engine: Engine, values: Mapping[str, Any], prompts: Sequence[str], tracks: Sequence[np.ndarray]
) -> list[Followed]:
    made = []
    for prompt in prompts:
        films = [film_to(engine, {**values, "prompt": prompt}, track, FILM_S).brightness for track in tracks]
        made.append(follow(prompt, films, [onsets(track) for track in tracks], values["frame_rate"]))
        print(made[-1], flush=True)
    return made


def follow(prompt: str, films: Sequence[np.ndarray], hits_s: Sequence[np.ndarray], frame_rate: float) -> Followed:
    """How films' brightness (F,) follows the onsets of the tracks that drove them, and of those that did not."""
    times_s = [np.arange(len(brightness)) / frame_rate for brightness in films]
    ties = np.array([[correlation(*pair, hits) for hits in hits_s] for pair in zip(films, times_s, strict=True)])
    own = np.eye(len(films), dtype=bool)
    brighter = [depth(*film, hits) for film, hits in zip(zip(films, times_s, strict=True), hits_s, strict=True)]
    return Followed(prompt, ties[own], np.array(brighter), ties[~own])


def drums(bpm: int, seed: int, seconds: float) -> np.ndarray:
    """A drum track of the pocket's world, (S, 2) float32 at 48 kHz."""
    clips = _drummer(bpm, seed)
    return render_audio(clips, torch.zeros(1, dtype=torch.float64), round(seconds * SAMPLE_RATE_HZ))[0].numpy()


def beat_times_s(bpm: int, seed: int, seconds: float) -> np.ndarray:
    """When its beats fall, in seconds (K,)."""
    first = float(_drummer(bpm, seed).vary("beat", 0.0, 1.0))
    return (np.arange(int(seconds * bpm / 60)) + first) * 60 / bpm


def _drummer(bpm: int, seed: int) -> Batch:
    return Batch.of([Description("plasma", "blue", "normal", (), "drums", bpm, seed)])


def other_drums(seed: int, seconds: float) -> np.ndarray:
    """Drums that the pocket never heard: a longer kick, claps, and a random pattern of eighths. (S, 2) float32"""
    random = np.random.default_rng(seed)
    length, age_s = round(seconds * SAMPLE_RATE_HZ), np.arange(SAMPLE_RATE_HZ // 2) / SAMPLE_RATE_HZ
    kick = 0.7 * np.sin(2 * np.pi * (50 * age_s + 8 * (1 - np.exp(-age_s / 0.02)))) * np.exp(-age_s / 0.2)
    pattern = random.random(16) < np.tile((1, 0.1, 0.3, 0.2, 0.9, 0.1, 0.3, 0.3), 2)
    eighth_s = 30 / random.uniform(85, 150)
    sound = np.zeros(length + len(age_s))
    for number in range(int(seconds / eighth_s)):
        at = round(number * eighth_s * SAMPLE_RATE_HZ)
        if pattern[number % 16]:
            sound[at : at + len(age_s)] += kick
        if number % 4 == 2:
            sound[at : at + len(age_s)] += 0.25 * random.standard_normal(len(age_s)) * np.exp(-age_s / 0.06)
    return np.repeat(np.tanh(sound[:length, None]), 2, axis=1).astype(np.float32)
