"""Playing chunks and watching them: latents after every step, times, and the same take by the plainest path."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ltx_live.chunk import Chunk, ChunkRequest
from ltx_live.engine.continuity import new_take
from ltx_live.engine.ltx import LtxEngine
from ltx_live.model.av import AV
from ltx_live.model.conditioning import LatentState
from ltx_live.model.latents import (
    VideoGeometry,
    audio_positions,
    unpatchify_audio,
    unpatchify_video,
    video_positions,
)
from ltx_live.model.sampler import Denoiser, Step, draw_noise, sample
from ltx_live.model.schedules import custom, schedule
from ltx_live.params import GenerationParams
from ltx_live.proof.figures import latent_statistics


@dataclass
class Watched:
    """The steps of one chunk: latents (T, C) of picture and sound after each, and a row of statistics for each."""

    device: torch.device
    latents: list[AV[np.ndarray]] = field(default_factory=list)
    rows: list[dict[str, object]] = field(default_factory=list)
    step_s: list[float] = field(default_factory=list)  # of the second step on; the first has no beginning to see
    _since_s: float | None = field(default=None, init=False)

    def __call__(self, step: Step) -> None:
        """Take note of a step that has been made."""
        synchronise(self.device)
        seconds = None if self._since_s is None else time.perf_counter() - self._since_s
        if seconds is not None:
            self.step_s.append(seconds)
        latents = AV(*(state.target[0].float().cpu().numpy() for state in step.states))
        for name, tokens in zip(("picture", "sound"), latents, strict=True):
            row = {"step": step.index + 1, "sigma": step.sigma, "seconds": seconds, "of": name}
            self.rows.append(row | latent_statistics(tokens))
        self.latents.append(latents)
        self._since_s = time.perf_counter()


@dataclass(frozen=True)
class Take:
    """A chunk and what was watched while it was made."""

    frames: np.ndarray  # (F, H, W, 3) uint8
    audio: np.ndarray  # (S, 2) float32
    steps: Watched

    @property
    def is_finite(self) -> bool:
        """Whether every latent of every step is a number, and every sample."""
        return all(row["non_finite"] == 0 for row in self.steps.rows) and bool(np.isfinite(self.audio).all())

    @property
    def digest(self) -> str:
        """sha256 of pictures, sound and the last latents."""
        return sha256(self.frames, self.audio, *self.steps.latents[-1])


@dataclass(frozen=True)
class Player:
    """An engine, and the values that all its chunks are asked with."""

    engine: LtxEngine
    params: GenerationParams
    num_frames: int

    @property
    def device(self) -> torch.device:
        return torch.device(self.engine.info.device)

    def play(self, request: ChunkRequest) -> tuple[Chunk, float]:
        """The chunk and the seconds it took."""
        return self.timed(lambda: list(self.engine.generate(request))[-1])

    def watch(self, request: ChunkRequest) -> tuple[Take, Chunk]:
        """The chunk, watched at every step."""
        unwatched, self.engine.watch = self.engine.watch, Watched(self.device)
        try:
            chunk, _ = self.play(request)
            return Take(chunk.frames, chunk.audio, self.engine.watch), chunk
        finally:
            self.engine.watch = unwatched

    def timed(self, work: Callable[[], object]) -> tuple[object, float]:
        """What the work gives and its seconds, everything on the device included."""
        synchronise(self.device)
        start_s = time.perf_counter()
        result = work()
        synchronise(self.device)
        return result, time.perf_counter() - start_s

    @torch.inference_mode()
    def plain_take(self, request: ChunkRequest, context: AV[Tensor]) -> Take:
        """A new take from any context (1, S, D), with the networks alone: nothing that the engine keeps is used."""
        networks, params, plan = self.engine.networks, request.params, new_take(request)
        config, info = networks.transformer.config, self.engine.info
        geometry = VideoGeometry(request.num_frames, info.width, info.height)
        positions = AV(video_positions(geometry, params.frame_rate), audio_positions(plan.num_audio_latents))
        channels = config.in_channels, config.audio_in_channels
        states = AV(
            *(LatentState.blank(where.to(self.device), num) for where, num in zip(positions, channels, strict=True))
        )
        noise = draw_noise(states, AV(2 * request.seed, 2 * request.seed + 1))
        sigmas = custom(params.sigmas) if params.sigmas else schedule(params.schedule, params.num_steps)
        watched = Watched(self.device)
        for step in sample(Denoiser(networks.transformer, states), states, noise, sigmas, context):
            watched(step)
            states = step.states
        vae, audio_vae = networks.video_vae, networks.audio_vae
        video = unpatchify_video(states.video.target, geometry).to(vae.decoder.conv_in.conv.weight.dtype)
        audio = unpatchify_audio(states.audio.target, audio_vae.latent_bands)
        mel = audio_vae.decode(audio.to(audio_vae.decoder.conv_in.conv.weight.dtype))
        sound = plan.delivered(networks.vocoder(mel.float()))
        return Take(vae.decode_u8(video)[0].cpu().numpy(), sound, watched)


def synchronise(device: torch.device) -> None:
    """Wait for everything that was asked of the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def sha256(*arrays: np.ndarray) -> str:
    """Of the bytes of all arrays, one after the other."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def median(values: Sequence[float]) -> float:
    """0 where there are none."""
    return float(np.median(values)) if len(values) else 0.0
