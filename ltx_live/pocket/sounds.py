"""Plays the sounds of the pocket world: any window of an endless take, as a closed-form function of time.

Letters: B clips, S samples, 2 channels. Time runs on a lattice of 48,000 samples a second; 16 kHz takes every third.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ltx_live.pocket.description import SOUNDS, Batch, uniform_hash, wrap_angle
from ltx_live.pocket.voices import Voices

LATTICE_HZ = 48000
_TAU = 2.0 * math.pi
_NUM_TAPS = 193  # of the noise filters, on the 48 kHz lattice
_CEILING = 0.5  # of the soft limiter

# Semitones of two scales over an octave and a half, minor and major, without notes that clash with the pad.
_SCALES = ((0, 3, 5, 7, 10, 12, 15), (0, 2, 4, 7, 9, 12, 16))
_ARPEGGIO_STEPS = (0, 2, 3, 5, 6, 4, 3, 1)

# Frequency ratio, level and decay in seconds of the partials of a bell.
_BELL_PARTIALS = ((1.0, 1.0, 1.1), (2.0, 0.6, 0.8), (2.76, 0.5, 0.5), (4.07, 0.3, 0.3), (5.42, 0.15, 0.2))


@dataclass(frozen=True)
class Window:
    """B clips of one sound and the moments to play: everything a sound is made from."""

    clips: Batch  # B rows
    index: Tensor  # (B, S) int64, sample number on the 48 kHz lattice
    sample_rate: int
    voices: Voices | None = None  # B timbres for what is tonal, instead of its own

    @property
    def times_s(self) -> Tensor:
        """(B, S) float64"""
        return self.index.double() / LATTICE_HZ

    def vary(self, name: str, low: float, high: float) -> Tensor:
        """The clip's own number for `name`. (B, 1) float64"""
        return self.clips.vary(name, low, high)[:, None]

    def by_speed(self, still: float, slow: float, normal: float, fast: float) -> Tensor:
        """A number that depends on how fast the clip moves. (B, 1) float64"""
        table = torch.tensor((still, slow, normal, fast), dtype=torch.float64, device=self.index.device)
        return table[self.clips.speed][:, None]

    def tone(self, hz: Tensor | float, vibrato: Tensor | float = 0.0, rate_hz: Tensor | float = 1.0) -> Tensor:
        """Phase of a tone whose pitch sways by the fraction `vibrato`, `rate_hz` times a second. (B, S) float32"""
        sway = torch.sin(_TAU * torch.remainder(rate_hz * self.times_s, 1.0)) * vibrato / (_TAU * rate_hz)
        return wrap_angle(_TAU * torch.remainder(hz * (self.times_s + sway), 1.0))

    def hits(self, per_beat: Tensor, back: int, offset_beats: float = 0.0) -> tuple[Tensor, Tensor]:
        """The hit `back` hits ago: its number (B, S) int64 and its age in seconds (B, S) float32."""
        notes = (self.clips.beats(self.times_s) - offset_beats) * per_beat[:, None]
        number = torch.floor(notes) - back
        seconds = 60.0 / (self.clips.tempo_bpm * per_beat)
        return number.long(), ((notes - number) * seconds[:, None]).float()

    def hit_seconds(self, per_beat: Tensor) -> Tensor:
        """Seconds between hits. (B, 1) float32"""
        return (60.0 / (self.clips.tempo_bpm * per_beat)).float()[:, None]

    def noise(self, low_hz: float, high_hz: float) -> Tensor:
        """Noise between two frequencies, RMS 1 before the limit of the sample rate. (B, S, 2), correlated 0.5

        White noise is a hash of the lattice sample number, filtered on the lattice, so every window hears the same.
        """
        step = LATTICE_HZ // self.sample_rate
        start, half = self.index[:, :1], _NUM_TAPS // 2
        span = torch.arange(-half, (self.index.shape[1] - 1) * step + half + 1, device=start.device)
        salt = self.clips.seed[:, None, None] * 2 + torch.arange(2, device=start.device)[None, :, None]
        white = uniform_hash((start + span)[:, None, :], salt).float() * 2.0 - 1.0  # (B, 2, S')
        taps = _band_pass(low_hz, min(high_hz, 0.46 * self.sample_rate)).to(white.device)
        band = functional.conv1d(white.flatten(0, 1)[:, None], taps, stride=step).view(len(white), 2, -1)
        left, right = band[:, 0], band[:, 1]
        return torch.stack((left * 0.97 + right * 0.26, left * 0.26 + right * 0.97), dim=-1)


def render_audio(
    batch: Batch, start_s: Tensor, num_samples: int, sample_rate: int = LATTICE_HZ, voices: Voices | None = None
) -> Tensor:
    """Sound of B clips from absolute times. start_s (B,) float64 -> (B, num_samples, 2) float32 in -1..1

    Starts are rounded to 1/48000 s; overlapping windows of a clip are the same signal. Drone, pad and arpeggio have
    the timbre of `voices` (B), where there are any. ValueError if `sample_rate` does not divide 48000.
    """
    if LATTICE_HZ % sample_rate:
        raise ValueError(f"sample_rate {sample_rate} must divide {LATTICE_HZ}; use 48000 or 16000")
    device = batch.scene.device
    start = torch.round(start_s.to(device, torch.float64) * LATTICE_HZ).long()  # (B,)
    index = start[:, None] + torch.arange(num_samples, device=device) * (LATTICE_HZ // sample_rate)  # (B, S)
    audio = torch.zeros(len(batch), num_samples, 2, device=device)
    for number, sound in enumerate(SOUNDS):
        where = torch.nonzero(batch.sound == number)[:, 0]
        if sound in _PLAYERS and len(where):
            timbres = None if voices is None else voices[where]
            played = _PLAYERS[sound](Window(batch[where], index[where], sample_rate, timbres))
            loudness = batch[where].vary("level", 0.85, 1.15).float()[:, None, None]
            audio[where] = _CEILING * torch.tanh(played * loudness / _CEILING)
    return audio


def _low_drone(window: Window) -> Tensor:
    """A low tone and its overtones; a detuned voice on each side beats slowly and the pitch sways with the motion."""
    hz = window.vary("key", 50.0, 78.0) * window.by_speed(1.0, 1.0, 1.18, 1.4)
    vibrato, rate_hz = window.by_speed(0.0, 0.02, 0.035, 0.05), window.by_speed(1.0, 0.12, 0.35, 1.0)
    beating_hz = window.vary("density", 0.3, 0.7)

    def voice(detune_hz: Tensor | float) -> Tensor:
        phase = window.tone(hz + detune_hz, vibrato, rate_hz)
        if window.voices is not None:
            return 1.2 * window.voices.sing(phase, hz.float(), 40)
        return sum(torch.sin(phase * overtone) / overtone for overtone in range(1, 7))

    middle = voice(0.0)
    return torch.stack((middle + 0.5 * voice(-beating_hz), middle + 0.5 * voice(beating_hz)), dim=-1) * 0.135


def _pad(window: Window) -> Tensor:
    """A soft chord of four notes that swells slowly; higher and swaying faster with the motion."""
    root_hz = window.vary("key", 150.0, 200.0) * window.by_speed(1.0, 1.0, 1.12, 1.5)
    third = torch.where(window.vary("mode", 0.0, 1.0) < 0.5, 2.0 ** (3 / 12), 2.0 ** (4 / 12))
    vibrato, rate_hz = window.by_speed(0.0, 0.004, 0.008, 0.014), window.by_speed(1.0, 0.4, 1.2, 4.0)

    def chord(detune_hz: float) -> Tensor:
        notes = torch.zeros(window.index.shape, device=window.index.device)
        for number, ratio in enumerate((1.0, third, 1.5, 2.0)):
            phase = window.tone(root_hz * ratio + detune_hz * (number + 1.0), vibrato, rate_hz)
            if window.voices is not None:
                notes = notes + window.voices.sing(phase, (root_hz * ratio).float(), 24)
                continue
            notes = notes + torch.sin(phase) + 0.3 * torch.sin(2.0 * phase) + 0.12 * torch.sin(3.0 * phase)
        return notes

    swell_turn = torch.remainder(window.times_s * window.vary("density", 0.15, 0.3), 1.0)
    swell = (0.8 + 0.2 * torch.sin(wrap_angle(_TAU * swell_turn))) * 0.1
    middle = chord(0.0)
    return torch.stack((middle + 0.4 * chord(-0.2), middle + 0.4 * chord(0.2)), dim=-1) * swell[..., None]


def _arpeggio(window: Window) -> Tensor:
    """Plucked notes of a scale, up and down; faster and higher with the motion."""
    per_beat = window.clips.notes_per_beat()
    root_hz = window.vary("key", 196.0, 262.0) * window.by_speed(1.0, 1.0, 1.335, 2.0)
    device = window.index.device
    scale = torch.tensor(_SCALES, device=device)[(window.vary("mode", 0.0, 2.0)).long()[:, 0]]  # (B, 7)
    order = torch.tensor(_ARPEGGIO_STEPS, device=device)
    mono = torch.zeros(window.index.shape, device=device)
    for back in range(3):
        number, age_s = window.hits(per_beat, back)
        step = order[torch.remainder(number, len(_ARPEGGIO_STEPS))]  # (B, S)
        hz = (root_hz * 2.0 ** (torch.gather(scale, 1, step) / 12.0)).float()
        phase = _TAU * hz * age_s
        if window.voices is not None:
            pluck = window.voices.sing(phase, hz, 24)
        else:
            pluck = torch.sin(phase) + 0.45 * torch.sin(2.0 * phase) * torch.exp(-age_s * 6.0)
            pluck = pluck + 0.25 * torch.sin(3.0 * phase) * torch.exp(-age_s * 12.0)
        mono = mono + pluck * _strike(age_s, 0.004, 0.18, 3.0 * window.hit_seconds(per_beat))
    return _panned(window, mono * 0.52 * torch.sqrt(window.hit_seconds(per_beat)))


def _bells(window: Window) -> Tensor:
    """Bells with inharmonic partials, struck every beat or every other beat."""
    per_beat = window.clips.notes_per_beat()
    device = window.index.device
    scale = torch.tensor(_SCALES, device=device)[(window.vary("mode", 0.0, 2.0)).long()[:, 0]]
    root_hz = window.vary("key", 420.0, 560.0) * window.by_speed(1.0, 1.0, 1.12, 1.335)
    mono = torch.zeros(window.index.shape, device=device)
    for back in range(5):
        number, age_s = window.hits(per_beat, back)
        choice = (uniform_hash(number, window.clips.seed[:, None]) * 5.0).long()  # (B, S) 0..4
        phase = _TAU * (root_hz * 2.0 ** (torch.gather(scale, 1, choice) / 12.0)).float() * age_s
        struck = torch.zeros_like(mono)
        for ratio, level, decay_s in _BELL_PARTIALS:
            struck = struck + level * torch.sin(phase * ratio) * torch.exp(-age_s / decay_s)
        mono = mono + struck * _strike(age_s, 0.002, 1.0, 5.0 * window.hit_seconds(per_beat))
    return _panned(window, mono * 0.3)


def _drums(window: Window) -> Tensor:
    """A kick on every beat, a snare on the second and fourth, for some clips a ghost note before the next bar."""
    per_beat = torch.ones_like(window.clips.tempo_bpm)
    _, age_s = window.hits(per_beat, 0)
    sweep = _TAU * (46.0 * age_s + 130.0 * 0.03 * (1.0 - torch.exp(-age_s / 0.03)))
    kick = torch.sin(sweep) * _strike(age_s, 0.0015, 0.15, window.hit_seconds(per_beat)) * 0.6
    snare_level, snare_age_s = _snare(window, 1.0, 0.5)
    ghost_level, ghost_age_s = _snare(window, 3.75, 0.25)
    ghost_level = ghost_level * torch.where(window.vary("density", 0.0, 1.0) < 0.5, 0.35, 0.0).float()
    body = torch.sin(_TAU * 185.0 * snare_age_s) * snare_level * 0.22
    rattle = window.noise(900.0, 6500.0) * (snare_level + ghost_level)[..., None] * 0.28
    return (kick + body)[..., None] + rattle


def _snare(window: Window, offset_beats: float, per_beat: float) -> tuple[Tensor, Tensor]:
    """Envelope and age of a snare that falls `offset_beats` into the bar. (B, S) float32 each"""
    per_beats = torch.full_like(window.clips.tempo_bpm, per_beat)
    _, age_s = window.hits(per_beats, 0, offset_beats)
    return _strike(age_s, 0.0015, 0.08, window.hit_seconds(per_beats)), age_s


def _hi_hats(window: Window) -> Tensor:
    """Short bursts of high noise, every other one softer."""
    per_beat = window.clips.notes_per_beat()
    number, age_s = window.hits(per_beat, 0)
    accent = torch.where(torch.remainder(number, 2) == 0, 1.0, 0.65)
    decay_s = window.vary("key", 0.03, 0.06).float()
    burst = _strike(age_s, 0.001, decay_s, window.hit_seconds(per_beat)) * accent
    return window.noise(5000.0, 11000.0) * burst[..., None] * 0.45


def _noise(window: Window) -> Tensor:
    """Wind: broad noise whose colour and strength wander, faster with the motion."""
    rate_hz = window.by_speed(0.15, 0.2, 0.35, 0.8)
    turn = _TAU * torch.remainder(rate_hz * window.times_s + window.vary("key", 0.0, 1.0), 1.0)
    gust = (0.5 + 0.5 * torch.sin(turn)).float()[..., None]
    low, high = window.noise(150.0, 1200.0), window.noise(800.0, 5000.0)
    return (low * (0.16 - 0.05 * gust) + high * (0.035 + 0.09 * gust)) * 0.85


_PLAYERS: dict[str, Callable[[Window], Tensor]] = {
    "low drone": _low_drone,
    "pad": _pad,
    "arpeggio": _arpeggio,
    "bells": _bells,
    "drums": _drums,
    "hi-hats": _hi_hats,
    "noise": _noise,
}


def _strike(age_s: Tensor, attack_s: float, decay_s: Tensor | float, last_s: Tensor) -> Tensor:
    """Envelope of a hit: quick attack, exponential decay, exactly zero at `last_s`. (B, S) float32"""
    left = (1.0 - age_s / last_s).clamp(0.0, 1.0)
    return (1.0 - torch.exp(-age_s / attack_s)) * torch.exp(-age_s / decay_s) * (1.0 - (1.0 - left) ** 4)


def _panned(window: Window, mono: Tensor) -> Tensor:
    """A mono signal a little left or right of the middle. (B, S) -> (B, S, 2)"""
    pan = window.vary("pan", -0.2, 0.2).float()
    return torch.stack((mono * (1.0 - pan), mono * (1.0 + pan)), dim=-1)


@functools.lru_cache(maxsize=16)
def _band_pass(low_hz: float, high_hz: float) -> Tensor:
    """Windowed-sinc band-pass on the lattice, scaled so that uniform white noise leaves it with RMS 1. (1, 1, taps)"""
    n = torch.arange(_NUM_TAPS, dtype=torch.float64) - _NUM_TAPS // 2

    def low_pass(hz: float) -> Tensor:
        return torch.sinc(2.0 * hz / LATTICE_HZ * n) * (2.0 * hz / LATTICE_HZ)

    taps = (low_pass(high_hz) - low_pass(low_hz)) * torch.hann_window(_NUM_TAPS, periodic=False, dtype=torch.float64)
    return (taps * math.sqrt(3.0) / taps.square().sum().sqrt()).float()[None, None]
