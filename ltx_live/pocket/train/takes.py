"""Latents of rendered takes: what the transformer learns from, rendered and encoded anew for every run."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ltx_live.model.latents import ChunkWindow, patchify_audio, patchify_video
from ltx_live.pocket.configs import FRAME_RATE, HEIGHT_PX, WIDTH_PX
from ltx_live.pocket.description import Batch as Clips
from ltx_live.pocket.description import sample_descriptions
from ltx_live.pocket.phrases import write_prompt
from ltx_live.pocket.scenes import render_frames
from ltx_live.pocket.sounds import render_audio
from ltx_live.pocket.train import audio_vae, video_vae
from ltx_live.pocket.train.loop import Batch, Settings
from ltx_live.pocket.train.pools import SOUND_RATE_HZ, frame_times, random_starts, to_bytes, to_signed
from ltx_live.pocket.train.text import Reader, tokenize, tokenizer
from ltx_live.pocket.transition import Transition

PREFIX_FRAMES, NUM_PREFIX_LATENTS, NUM_AUDIO_PREFIX = 9, 2, 25
_CHANGES = 0.5  # share of continued windows whose prompt has changed at the cut
_MOST_SHARDS = 200


@dataclass(frozen=True)
class Window:
    """A kind of training window: its frames and audio latents, prefix included."""

    num_frames: int
    num_audio: int
    continued: bool

    @property
    def num_audio_prefix(self) -> int:
        return NUM_AUDIO_PREFIX if self.continued else 0


def _window(num_frames: int, continued: bool) -> Window:
    """Sound long enough for every carry of less than 40 ms."""
    prefix = (PREFIX_FRAMES, NUM_AUDIO_PREFIX, 0.039) if continued else (0, 0, 0.0)
    return Window(num_frames, ChunkWindow(num_frames, FRAME_RATE, *prefix).num_audio_latents, continued)


WINDOWS = {
    "new": _window(57, False),
    "continued": _window(57, True),
    "new short": _window(33, False),
    "continued short": _window(33, True),
}


class Shards:
    """The windows on the device: shards that `takes` writes are read as they appear, the oldest give way."""

    def __init__(self, folder: Path, device: str):
        self.folder, self.device = folder, device
        self.pools: dict[bool, dict[str, Batch]] = {False: {}, True: {}}
        self.looked = 0.0
        self.tokens_per_latent = (WIDTH_PX // 32) * (HEIGHT_PX // 32)
        while not all(self.pools.values()):
            self._look()
            time.sleep(0.5)

    def draw(self, window: Window, count: int) -> Batch:
        """Random rows of one kind: latents, hidden states, and where the video starts."""
        if time.perf_counter() - self.looked > 5:
            self._look()
        shard = random.choice(list(self.pools[window.continued].values()))
        rows = torch.randint(len(shard["video"]), (count,), device=self.device)
        batch = {name: column[rows] for name, column in shard.items()}
        num_tokens = ((window.num_frames - 1) // 8 + 1) * self.tokens_per_latent
        batch["video"] = batch["video"][:, :num_tokens]
        batch["audio"] = batch["audio"][:, : window.num_audio]
        if window.continued:
            prefix = batch.pop("prefix")  # decoded and encoded again, as a live chunk gets it
            again = torch.rand(count, 1, 1, device=self.device) < 0.5
            given = torch.where(again, prefix, batch["video"][:, : prefix.shape[1]])
            batch["video"] = torch.cat((given, batch["video"][:, given.shape[1] :]), dim=1)
        return batch

    def _look(self) -> None:
        self.looked = time.perf_counter()
        for path in sorted(self.folder.glob("*.safetensors")):
            pool = self.pools[path.name.startswith("continued")]
            if path.name not in pool:
                pool[path.name] = load_file(path, device=self.device)
            if len(pool) > _MOST_SHARDS:
                pool.pop(min(pool))


def train(settings: Settings) -> dict[str, float]:
    """Render and encode shards of `pool_size` windows of each kind into `folder/takes` until the limit."""
    takes, began = Takes(settings), time.perf_counter()
    folder = settings.folder / "takes"
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    while number < settings.steps and time.perf_counter() - began < settings.seconds:
        for continued in (False, True):
            parts = []
            for first in range(0, settings.pool_size, settings.batch_size):
                parts.append(takes.windows(continued, min(settings.batch_size, settings.pool_size - first)))
            shard = {name: torch.cat([part[name] for part in parts]).cpu().contiguous() for name in parts[0]}
            name = f"{'continued' if continued else 'new'}-{settings.seed:06d}-{number:05d}.safetensors"
            save_file(shard, folder / f"{name}.part")
            (folder / f"{name}.part").rename(folder / name)
        number += 1
        if number % 8 == 1:
            print(f"[takes] {number * settings.pool_size} of each in {time.perf_counter() - began:.0f} s", flush=True)
    return {"windows": 2.0 * number * settings.pool_size}


class Takes:
    """Makes windows with the trained autoencoders and text encoder."""

    def __init__(self, settings: Settings):
        self.device = settings.device
        self.vae, self.audio_vae, self.reader = _trained(settings)
        self.words = tokenizer(settings.folder)
        self.generator = torch.Generator().manual_seed(settings.seed + 17)

    @torch.inference_mode()
    def windows(self, continued: bool, count: int) -> Batch:
        """Random windows of one kind, with their prompts' hidden states."""
        first, second = (sample_descriptions(count, self.generator) for _ in range(2))
        if continued:
            changes = torch.rand(count, generator=self.generator) < _CHANGES
            second = [b if changed else a for a, b, changed in zip(first, second, changes.tolist(), strict=True)]
        batch = self._continued(first, second) if continued else self._new(second)
        prompts = [write_prompt(description, self.generator) for description in second]
        tokens, num_tokens = (x.to(self.device) for x in tokenize(self.words, prompts))
        hidden = self.reader.hidden_states(tokens).half()
        return batch | {"hidden": hidden, "num_tokens": num_tokens}

    def _new(self, descriptions: list) -> Batch:
        window, clips = WINDOWS["new"], Clips.of(descriptions, self.device)
        start = random_starts(len(descriptions), self.generator).to(self.device)
        frames = render_frames(clips, frame_times(start, window.num_frames), WIDTH_PX, HEIGHT_PX)
        num_samples = _sound_length(window.num_audio)
        sound = render_audio(clips, start, num_samples)
        return {
            "video": self._video(frames),
            "audio": self._audio(sound)[:, : window.num_audio],
            "video_start_s": torch.zeros_like(start),
        }

    def _continued(self, first: list, second: list) -> Batch:
        """Windows whose prompt may change at the cut; the take before it gives the prefix that was decoded once."""
        window, count = WINDOWS["continued"], len(first)
        cut = random_starts(count, self.generator).to(self.device) + 10
        carry = torch.rand(count, generator=self.generator).double().to(self.device) * 0.04
        fade = 0.25 + 0.5 * torch.rand(count, generator=self.generator).double().to(self.device)
        take = Transition(Clips.of(first, self.device), Clips.of(second, self.device), cut, fade)
        frames = take.frames(frame_times(cut - PREFIX_FRAMES / FRAME_RATE, window.num_frames), WIDTH_PX, HEIGHT_PX)
        before = take.frames(frame_times(cut - window.num_frames / FRAME_RATE, window.num_frames), WIDTH_PX, HEIGHT_PX)
        decoded = self.vae.decode_u8(self.vae.encode(to_signed(to_bytes(before))))[:, -PREFIX_FRAMES:]
        prefix = patchify_video(self.vae.encode(to_signed(decoded)))
        # One latent more in front, so that the first one kept is not the short latent that opens a clip.
        chunk = ChunkWindow(window.num_frames, FRAME_RATE, PREFIX_FRAMES, NUM_AUDIO_PREFIX)
        sound_start = cut - chunk.cut_s - carry - 0.04
        sound = take.audio(sound_start, _sound_length(window.num_audio + 1))
        return {
            "video": self._video(frames),
            "prefix": prefix.half(),
            "audio": self._audio(sound)[:, 1 : window.num_audio + 1],
            "video_start_s": chunk.video_start_s + carry,
        }

    def _video(self, frames: Tensor) -> Tensor:
        return patchify_video(self.vae.encode(to_signed(to_bytes(frames)))).half()  # (B, T, C)

    def _audio(self, sound: Tensor) -> Tensor:
        return patchify_audio(self.audio_vae.encode(audio_vae.mel_of(sound.transpose(1, 2)))).half()


def _sound_length(num_latents: int) -> int:
    """Samples at 48 kHz for so many latents; the analysis looks 32 ms ahead."""
    return int((num_latents * 0.04 + 0.04) * SOUND_RATE_HZ)


def _trained(settings: Settings) -> tuple:
    networks = []
    for name, build in (("video_vae", video_vae.build), ("audio_vae", audio_vae.build), ("text", Reader)):
        network = build()
        network.load_state_dict(load_file(settings.folder / f"{name}.safetensors"))
        networks.append(network.to(settings.device).eval())
    return tuple(networks)
