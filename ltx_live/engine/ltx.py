"""The engine that runs LTX-2.3, the pocket or the full model: prompts and the past in, pictures and sound out."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ltx_live.chunk import LATCH_SIGMA, Chunk, ChunkRequest, EngineInfo, Progress, StepValues
from ltx_live.engine.continuity import OVERLAP_SAMPLES, Made, Past, Plan
from ltx_live.engine.device import cap, memory_guard, used_bytes
from ltx_live.engine.drift import Drift
from ltx_live.engine.encoders import Encoders
from ltx_live.engine.inputs import conditioned
from ltx_live.engine.loras import Loras, Room
from ltx_live.engine.prompts import Prompts
from ltx_live.engine.settings import LtxSettings
from ltx_live.engine.setup import Setup, prepare
from ltx_live.errors import EngineError
from ltx_live.media.guide import restored
from ltx_live.model.av import AV
from ltx_live.model.conditioning import LatentState, Prefix
from ltx_live.model.guidance import IdentityGuidance
from ltx_live.model.latents import (
    VideoGeometry,
    audio_positions,
    unpatchify_audio,
    unpatchify_video,
    video_positions,
)
from ltx_live.model.layers import FeedForward
from ltx_live.model.sampler import Denoiser, States, Step, VelocityModel, draw_noise, sample
from ltx_live.model.schedules import custom, schedule
from ltx_live.weights.adapters import RuntimeAdapter
from ltx_live.weights.checkpoint import mel_config
from ltx_live.weights.loading import Networks, load_networks


def load(report: Callable[[str], None], settings: LtxSettings) -> LtxEngine:
    """What an EngineSpec names: the engine with the networks of a model; the memory plan is the first thing reported.

    Raises CheckpointError for its files, DeviceError and EngineError where memory does not suffice.
    """
    return build(prepare(settings), report)


def build(setup: Setup, report: Callable[[str], None]) -> LtxEngine:
    """The engine that was prepared; see `load`."""
    report(setup.plan.describe())
    settings, device = setup.settings, setup.storage.device
    cap(device, settings.max_vram_gb)
    merged, live = (setup.loras, ()) if settings.merge_loras else ((), setup.loras)
    with memory_guard():
        networks = load_networks(setup.files, setup.plan, setup.storage, merged, report)
        adapters = [RuntimeAdapter(networks.transformer, lora, strength) for lora, strength in live]
    for module in networks.transformer.modules():
        if isinstance(module, FeedForward):
            module.chunk_size = settings.ffn_chunk_size or None
    info = EngineInfo(
        setup.files.name, settings.width, settings.height, str(device), setup.detail, setup.max_num_frames
    )
    engine = LtxEngine(info, setup, networks)
    for slot, adapter in enumerate(adapters, start=1):
        engine.loras.put(slot, adapter)
    return engine


class LtxEngine:
    """Makes chunks with the networks; see the protocol `Engine`.

    `watch` is called after every denoising step with that Step; it may look, not touch. `loras` are exchanged between
    two chunks.
    """

    def __init__(self, info: EngineInfo, setup: Setup, networks: Networks):
        self.info = info
        self.networks = networks
        self.watch: Callable[[Step], None] = lambda step: None
        self._prompts = Prompts(networks)
        room = Room(setup.lora_bytes, setup.settings.lora_unmatched)
        self.loras = Loras(networks.transformer, self._prompts.forget, room, networks.merged)
        self._encoders = Encoders(networks.video_vae, networks.audio_vae, mel_config(setup.files.audio_vae))
        self._past = Past(self._encoders)

    def encode(self, prompts: tuple[str, ...]) -> None:
        """Encode prompts ahead of use, so that playing one later costs nothing."""
        with memory_guard():
            for prompt in prompts:
                self._prompts.context(prompt)

    def generate(self, request: ChunkRequest) -> Generator[Progress | Chunk, StepValues | None, None]:
        """Yield Progress after every step, at last the Chunk. The same request gives the same chunk.

        Raises EngineError for more frames than memory was planned for, and where memory runs out all the same.
        """
        with memory_guard():
            yield from self._generate(request)

    @torch.inference_mode()
    def _generate(self, request: ChunkRequest) -> Generator[Progress | Chunk, StepValues | None, None]:
        params, stopwatch = request.params, Stopwatch()
        if request.num_frames > self.info.max_num_frames:
            raise EngineError(
                f"num_frames {request.num_frames}: GPU memory was planned for {self.info.max_num_frames}; "
                f"start with --set num_frames={request.num_frames}"
            )
        self.loras.set_strengths(params.lora_strength)
        sigmas = custom(params.sigmas) if params.sigmas else schedule(params.schedule, params.num_steps)
        context = self._prompts.mixture(request.played, params.prompts_interpolation)
        stopwatch.lap("text")
        plan = self._past.plan(request)
        geometry = self._geometry(plan)
        drift = Drift(params, request.played, plan.scene, geometry.tokens_per_frame)
        size = self.info.width, self.info.height
        states = conditioned(self._states(plan, drift.strength), plan, request, self._encoders, size)
        noise = draw_noise(states, AV(2 * request.seed, 2 * request.seed + 1))
        denoiser = self._denoiser(states, params.identity_guidance_scale)
        stopwatch.lap("encode")
        latching = Latching(request)
        states = yield from self._denoise(latching, denoiser, sample(denoiser, states, noise, sigmas, context))
        stopwatch.lap("denoise")
        drift = replace(drift, prompts=latching.prompts)
        num_given = plan.num_given(geometry.tokens_per_frame)
        is_driven = request.inputs.driving is not None
        tokens = drift.anchored(AV(states.video.target, states.audio.target), num_given)
        if is_driven:
            tokens = AV(tokens.video, states.audio.target)
        latents = unpatchify_video(tokens.video, geometry)
        vae = self.networks.video_vae
        frames = vae.decode_u8(latents.to(vae.decoder.conv_in.conv.weight.dtype))[0].cpu().numpy()  # (F, H, W, 3)
        stopwatch.lap("decode")
        num_overlap_samples, sound = self._sound(request, plan, tokens.audio)
        audio, scene = drift.settle(tokens, num_given, sound, num_overlap_samples)
        audio = sound if is_driven else audio
        stopwatch.lap("vocode")
        made = Made(frames, plan.video_start, params.frame_rate, tokens.audio, plan.origin, scene)
        self._past.remember(request.index, made)
        yield Chunk(
            index=request.index,
            frames=restored(frames) if request.inputs.restores_gamma else frames,
            video_start=plan.video_start,
            num_overlap=plan.window.num_prefix_frames,
            audio=audio,
            audio_start=request.start - num_overlap_samples,
            num_overlap_samples=num_overlap_samples,
            frame_rate=params.frame_rate,
            epoch=latching.epoch,
            latched=tuple(latching.latched),
            timings_s=stopwatch.laps_s,
            scene=scene,
            reencoded=plan.reencoded,
            gpu_bytes=used_bytes(torch.device(self.info.device)),
        )

    def _denoise(
        self, latching: Latching, denoiser: VelocityModel, steps: Generator[Step, AV[Tensor] | None, States]
    ) -> Generator[Progress, StepValues | None, States]:
        """Make the steps; the states at their end. Step values that are taken count for the steps that follow."""
        request, context = latching.request, None
        while True:
            try:
                step = steps.send(context)
            except StopIteration as end:
                return end.value
            self.watch(step)
            sent = yield Progress(request.index, step.index + 1, step.num_steps, step.sigma)
            context = None
            if sent is not None and latching.take(step, sent):
                self.loras.set_strengths(latching.lora_strength)
                if isinstance(denoiser, IdentityGuidance):  # a chunk that was begun without stays so
                    denoiser.scale = latching.guidance_scale
                context = self._prompts.mixture(latching.prompts, request.params.prompts_interpolation)

    def _geometry(self, plan: Plan) -> VideoGeometry:
        return VideoGeometry(plan.window.num_frames, self.info.width, self.info.height)

    def _states(self, plan: Plan, strength: float) -> AV[LatentState]:
        """Both modalities with the chunk's positions, and the prefix that it is given."""
        config, window = self.networks.transformer.config, plan.window
        positions = AV(
            video_positions(self._geometry(plan), window.frame_rate, window.video_start_s),
            audio_positions(plan.num_audio_latents),
        )
        channels = config.in_channels, config.audio_in_channels
        video, audio = (
            LatentState.blank(where.to(self.info.device), num) for where, num in zip(positions, channels, strict=True)
        )
        if plan.frames is not None:
            video = Prefix(self._encoders.frames(plan.frames), strength).apply(video)
        if plan.audio is not None:
            audio = Prefix(plan.audio, strength).apply(audio)
        return AV(video, audio)

    def _denoiser(self, states: States, guidance_scale: float) -> VelocityModel:
        """The transformer for these states; with the sound of a speaker in them it makes two passes a step."""
        transformer, audio = self.networks.transformer, states.audio
        denoiser = Denoiser(transformer, states, self._prompts.text_cache)
        if guidance_scale <= 0 or audio.num_target == audio.latent.shape[1]:
            return denoiser
        plain = Denoiser(transformer, AV(states.video, audio.without_references()), self._prompts.text_cache)
        return IdentityGuidance(denoiser, plain, audio.num_target, guidance_scale)

    def _sound(self, request: ChunkRequest, plan: Plan, tokens: Tensor) -> tuple[int, np.ndarray]:
        """What is heard of audio tokens (1, T, C): samples of overlap before the start, and the sound (S, 2) float32.

        Where sound drives, it is what the request says; it overlaps also where the pictures continue nothing.
        """
        if request.inputs.driving is not None and request.inputs.heard != "generated":
            num_overlap = min(OVERLAP_SAMPLES, request.start)
            sound = request.inputs.driving_sound(request.start - num_overlap, plan.end)
            return num_overlap, sound if request.inputs.heard == "driving" else np.zeros_like(sound)
        vae, vocoder = self.networks.audio_vae, self.networks.vocoder
        latents = unpatchify_audio(tokens[:, plan.first_decoded_latent :], vae.latent_bands)
        weight = vae.decoder.conv_in.conv.weight
        return plan.num_overlap_samples, plan.delivered(vocoder(vae.decode(latents.to(weight.dtype)).float()))


class Latching:
    """The step values of a chunk being made, and what it has taken when: `latched` is ((steps done, values), ...)."""

    def __init__(self, request: ChunkRequest):
        self.request = request
        self.prompts = request.played
        self.lora_strength = request.params.lora_strength
        self.guidance_scale = request.params.identity_guidance_scale
        self.epoch = request.epoch
        self.latched: list[tuple[int, Mapping[str, Any]]] = []

    def take(self, step: Step, sent: StepValues) -> bool:
        """Whether the values count for the steps that follow: with `late_latch`, as long as the noise is high."""
        if not self.request.params.late_latch or step.sigma < LATCH_SIGMA:
            return False
        self.prompts = tuple((text, weight) for text, weight in sent.values.get("prompts", self.prompts))
        self.lora_strength = tuple(sent.values.get("lora_strength", self.lora_strength))
        self.guidance_scale = sent.values.get("identity_guidance_scale", self.guidance_scale)
        self.epoch = self.epoch if sent.epoch is None else sent.epoch
        self.latched.append((step.index + 1, dict(sent.values)))
        return True


class Stopwatch:
    """Seconds of the parts of a chunk, by name."""

    def __init__(self):
        self.laps_s: dict[str, float] = {}
        self._since_s = time.perf_counter()

    def lap(self, name: str) -> None:
        """The part `name` ends here."""
        now_s = time.perf_counter()
        self.laps_s[name] = now_s - self._since_s
        self._since_s = now_s
