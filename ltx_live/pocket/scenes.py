"""Draws the pictures of the pocket world: any window of an endless take, as a closed-form function of time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ltx_live.pocket.description import PALETTES, SCENES, Batch, uniform_hash, wrap_angle
from ltx_live.pocket.shapes import SHAPES, View

# A picture shows the light of one frame of 24 fps, so a hit inside it is already seen in it.
EXPOSURE_S = 1.0 / 24.0

# Hue in degrees and saturation of each palette.
_COLOURS = {
    "red": (0.0, 0.96),
    "orange": (25.0, 0.97),
    "gold": (47.0, 0.9),
    "green": (125.0, 0.9),
    "cyan": (182.0, 0.85),
    "blue": (226.0, 0.92),
    "purple": (273.0, 0.85),
    "pink": (328.0, 0.68),
    "white": (215.0, 0.06),
}

# Phase in radians per second at normal speed: chosen so that every scene flows about equally fast on screen.
_RATES = {
    "tunnel": 4.1,
    "rings": 6.9,
    "plasma": 1.6,
    "stripes": 5.6,
    "waves": 5.1,
    "metaballs": 1.45,
    "grid": 8.5,
    "spiral": 3.8,
    "checker": 5.1,
    "kaleidoscope": 4.9,
    "starfield": 9.6,
    "ribbons": 3.5,
}

_UPRIGHT = ("waves", "grid")  # scenes with a horizon
_TURN_RATE = 0.6  # radians per second at normal speed
_ZOOM_RATE = 0.42  # octaves per second at normal speed
_ZOOM_SPAN = 0.7  # octaves before the next layer takes over
_BEAT_DECAY_S = 0.1
_NOTE_DECAY_S = 0.22
_PIXELS_PER_PASS = {"cpu": 1 << 18, "cuda": 1 << 25}


@dataclass(frozen=True)
class _Rows:
    """N pictures to draw, of any clips: what each shows and when."""

    clips: Batch  # N rows
    times_s: Tensor  # (N,) float64

    def __getitem__(self, index: Tensor) -> _Rows:
        return _Rows(self.clips[index], self.times_s[index])


def render_frames(batch: Batch, times_s: Tensor, width: int = 288, height: int = 160) -> Tensor:
    """Pictures of B clips at absolute times. times_s (B, F) float64 -> (B, F, H, W, 3) float32 in 0..1

    Any real time is allowed; windows of the same clip that overlap show the same pictures.
    """
    num_clips, num_frames = times_s.shape
    device = batch.scene.device
    clip = torch.arange(num_clips, device=device).repeat_interleave(num_frames)  # (N,)
    rows = _Rows(batch[clip], times_s.to(device, torch.float64).reshape(-1))
    rows_per_pass = max(1, _PIXELS_PER_PASS.get(device.type, 1 << 22) // (width * height))
    pictures = torch.empty(num_clips * num_frames, height, width, 3, device=device)  # (N, H, W, 3)
    for index, scene in enumerate(SCENES):
        where = torch.nonzero(rows.clips.scene == index)[:, 0]
        for part in where.split(rows_per_pass):
            pictures[part] = _draw(scene, rows[part], width, height)
    return pictures.view(num_clips, num_frames, height, width, 3)


def _draw(scene: str, rows: _Rows, width: int, height: int) -> Tensor:
    """Pictures of one scene. -> (N, H, W, 3); zooming clips are two layers, one of which takes over from the other."""
    octaves = _zoom_octaves(rows)  # (N,)
    steps = torch.floor(octaves / _ZOOM_SPAN)
    within = octaves / _ZOOM_SPAN - steps  # (N,) 0..1
    zoom = (within * _ZOOM_SPAN - 0.25) * (rows.clips.has("zooming in") + rows.clips.has("zooming out"))
    picture = _layer(scene, rows, zoom, (width, height))
    next_weight = ((within - 0.55) / 0.45).clamp(0.0, 1.0) * (zoom != 0.0)
    both = torch.nonzero(next_weight > 0.0)[:, 0]
    if len(both):
        other = _layer(scene, rows[both], zoom[both] - _ZOOM_SPAN, (width, height))
        weight = next_weight[both].float()[:, None, None, None]
        picture[both] += (other - picture[both]) * (weight * weight * (3.0 - 2.0 * weight))
    return picture


def _zoom_octaves(rows: _Rows) -> Tensor:
    """How far each picture has zoomed in, in octaves. (N,) float64"""
    way = rows.clips.has("zooming in") - rows.clips.has("zooming out")
    return way * rows.clips.pace() * _ZOOM_RATE * rows.times_s + rows.clips.vary("zoom", 0.0, _ZOOM_SPAN)


def _layer(scene: str, rows: _Rows, zoom: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures of one scene at a zoom of so many octaves. -> (N, H, W, 3)"""
    clips = rows.clips
    beat, gain = _pulse(rows)
    screen_x, screen_y = _screen(*size, clips.scene.device)  # (W,), (H,)
    forward = 1.0 - 2.0 * torch.maximum(clips.has("reverse"), clips.has("zooming out"))
    moved_s = rows.times_s * clips.pace() * forward  # (N,) float64
    turned = _start_angle(scene, clips) + clips.has("rotating") * moved_s * _TURN_RATE
    turned = wrap_angle(turned)[:, None, None]
    scale = torch.exp2(-zoom).float()[:, None, None] * (1.0 - beat)
    off_x = screen_x - clips.vary("centre_x", -0.3, 0.3).float()[:, None, None]  # (N, 1, W)
    off_y = screen_y[:, None] - clips.vary("centre_y", -0.16, 0.16).float()[:, None, None]  # (N, H, 1)
    cos, sin = torch.cos(turned) * scale, torch.sin(turned) * scale
    rate = _RATES[scene] * clips.vary("frequency", 0.85, 1.15)
    phase = clips.vary("phase", 0.0, 200.0) + rate * moved_s
    view = View(clips, phase, cos * off_x - sin * off_y, sin * off_x + cos * off_y)
    brightness, tone = SHAPES[scene](view)
    return _colour(clips, brightness * gain, tone, _sparkle(rows, screen_x, screen_y))


def _screen(width: int, height: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pixel centres: x (W,) in -W/H..W/H and y (H,) in -1..1."""
    x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) * (2.0 / height) - width / height
    y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) * (2.0 / height) - 1.0
    return x, y


def _start_angle(scene: str, clips: Batch) -> Tensor:
    """The angle a clip starts at. (N,) float64"""
    if scene in _UPRIGHT:
        return clips.vary("angle", -0.12, 0.12)
    return clips.vary("angle", 0.0, 2.0 * math.pi)


def _pulse(rows: _Rows) -> tuple[Tensor, Tensor]:
    """What the beat does: how much the picture grows and its brightness gain. (N, 1, 1) each"""
    clips = rows.clips
    pulsing, drums = clips.has("pulsing"), clips.sounds_like("drums").double()
    beats = clips.beats((rows.times_s + EXPOSURE_S)[:, None])[:, 0]
    age_s = (beats - torch.floor(beats)) * 60.0 / clips.tempo_bpm
    hit = torch.exp(-age_s / _BEAT_DECAY_S)  # (N,)
    grow = hit * torch.maximum(pulsing * 0.07, drums * 0.05)
    strength = torch.maximum(pulsing * 0.5, drums * 0.35)
    gain = 1.0 - strength * 0.85 * (1.0 - hit) + strength * 0.2 * hit
    return grow.float()[:, None, None], gain.float()[:, None, None]


def _sparkle(rows: _Rows, screen_x: Tensor, screen_y: Tensor) -> Tensor:
    """Soft points of light where a bell, a plucked note or a hi-hat sounds. -> (N, H, W)"""
    clips = rows.clips
    strength = (
        clips.sounds_like("bells") * 0.75 + clips.sounds_like("arpeggio") * 0.55 + clips.sounds_like("hi-hats") * 0.3
    )
    notes_per_beat = clips.notes_per_beat().clamp(min=0.5)
    notes = clips.beats((rows.times_s + EXPOSURE_S)[:, None])[:, 0] * notes_per_beat
    back = torch.arange(2, device=notes.device)  # the last two notes
    number = torch.floor(notes)[:, None] - back  # (N, 2)
    age_s = (notes[:, None] - number) * (60.0 / (clips.tempo_bpm * notes_per_beat))[:, None]
    light = strength[:, None] * torch.exp(-age_s / _NOTE_DECAY_S)  # (N, 2)
    at = uniform_hash(number.long()[..., None] * 2 + back, clips.seed[:, None, None])  # (N, 2, 2) 0..1
    away_x = screen_x - ((at[..., 0] * 1.6 - 0.8) * screen_x[-1]).float()[..., None]  # (N, 2, W)
    away_y = screen_y - (at[..., 1] * 1.5 - 0.75).float()[..., None]  # (N, 2, H)
    wide = torch.exp(-((away_x / 0.16) ** 2)) * light.float()[..., None]
    tall = torch.exp(-((away_y / 0.16) ** 2))
    return torch.bmm(tall.transpose(1, 2), wide)


def _colour(clips: Batch, brightness: Tensor, tone: Tensor, sparkle: Tensor) -> Tensor:
    """Brightness, tone and light in the clip's palette. (N, H, W) each -> (N, H, W, 3)"""
    deep, light = _palette_pair(clips)  # (N, 3) each
    glare = (brightness - 0.8).clamp(min=0.0) * 0.9 + 0.45 * sparkle  # (N, H, W) towards white
    bright = brightness + 0.8 * sparkle
    pairs = zip(deep.unbind(1), light.unbind(1), strict=True)
    channels = [glare + bright * torch.lerp(d[:, None, None], c[:, None, None], tone) for d, c in pairs]
    return torch.stack(channels, dim=-1).clamp_(0.0, 1.0)


def painted(batch: Batch, light: Tensor) -> Tensor:
    """Light (B, F, H, W) in 0..1 in the palettes of B clips, from deep to light, as scenes are. -> (B, F, H, W, 3)"""
    clip = torch.arange(len(batch), device=light.device).repeat_interleave(light.shape[1])
    flat = light.flatten(0, 1)
    return _colour(batch[clip], flat, flat, torch.zeros_like(flat)).view(*light.shape, 3)


def _palette_pair(clips: Batch) -> tuple[Tensor, Tensor]:
    """The deep and the light colour of each clip. (N, 3) float32 each"""
    table = torch.tensor([_COLOURS[name] for name in PALETTES], dtype=torch.float64, device=clips.palette.device)
    hue, saturation = table[clips.palette].unbind(-1)
    hue = hue + clips.vary("hue", -4.0, 4.0)
    return _hsv_to_rgb(hue - 3.0, saturation, 0.78), _hsv_to_rgb(hue + 3.0, saturation * 0.85, 1.0)


def _hsv_to_rgb(hue_degrees: Tensor, saturation: Tensor, value: float) -> Tensor:
    """(N,) hue and saturation -> (N, 3) float32."""
    turn = torch.tensor([5.0, 3.0, 1.0], dtype=torch.float64, device=hue_degrees.device)
    k = torch.remainder(turn + hue_degrees[:, None] / 60.0, 6.0)  # (N, 3)
    return (value * (1.0 - saturation[:, None] * torch.minimum(k, 4.0 - k).clamp(0.0, 1.0))).float()
