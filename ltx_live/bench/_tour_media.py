"""The files that `bench tour` plays with, made of the pocket's procedural world; and broken ones."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ltx_live.media.image import write_png
from ltx_live.media.recording import VideoWriter
from ltx_live.pocket.description import Batch, Description
from ltx_live.pocket.scenes import render_frames
from ltx_live.pocket.sounds import render_audio
from ltx_live.weights.save import save_network

SIZE = 400, 224
"""Another aspect than the pocket's 288x160, at another rate."""

RATE = 30.0
SOUND_RATE = 48_000


@dataclass(frozen=True)
class Media:
    """Names in the home's media folder; the LoRA is in the home's loras folder."""

    image: str = "rings.png"
    broken_image: str = "broken.png"
    video: str = "rings.mp4"
    one_frame: str = "one.mp4"
    folder: str = "frames"
    drums: str = "drums.wav"
    mono: str = "mono.wav"
    voice: str = "voice.wav"
    foreign_lora: str = "foreign"


def make(home: Path) -> Media:
    """Write all of them."""
    media, folder = Media(), home / "media"
    (folder / media.folder).mkdir(parents=True, exist_ok=True)
    (home / "loras").mkdir(exist_ok=True)
    frames = pictures(Description("rings", "green", "slow", (), "drums", 120, 5), 72)
    write_png(folder / media.image, frames[0])
    (folder / media.broken_image).write_bytes((folder / media.image).read_bytes()[:200])
    for name, part in ((media.video, frames), (media.one_frame, frames[:1])):
        with VideoWriter(folder / name, *SIZE, RATE) as writer:
            for frame in part:
                writer.write_frame(frame)
    for number, frame in enumerate(frames[::6]):
        write_png(folder / media.folder / f"{number:03}.png", frame)
    drums = sound(Description("rings", "green", "slow", (), "drums", 120, 5), 8.0)
    write_wav(folder / media.drums, drums, SOUND_RATE)
    voice = sound(Description("rings", "green", "slow", (), "arpeggio", 100, 9), 6.0)
    write_wav(folder / media.voice, voice, SOUND_RATE)
    write_wav(folder / media.mono, drums[::6, :1], SOUND_RATE // 6)
    layer = "some.other.layer"
    factors = {f"{layer}.lora_A.weight": torch.ones(2, 8), f"{layer}.lora_B.weight": torch.ones(8, 2)}
    save_network(home / "loras" / f"{media.foreign_lora}.safetensors", factors, {}, {})
    return media


def pictures(description: Description, num_frames: int) -> np.ndarray:
    """(F, H, W, 3) uint8 at RATE."""
    times_s = torch.arange(num_frames).double()[None] / RATE
    return (render_frames(Batch.of([description]), times_s, *SIZE)[0] * 255).byte().numpy()


def sound(description: Description, seconds: float) -> np.ndarray:
    """(S, 2) float32."""
    start_s = torch.zeros(1, dtype=torch.float64)
    return render_audio(Batch.of([description]), start_s, round(seconds * SOUND_RATE))[0].numpy()


def write_wav(path: Path, samples: np.ndarray, rate: int) -> None:
    """Write (S, C) float32 in 16 bits."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
