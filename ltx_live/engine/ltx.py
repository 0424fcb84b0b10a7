"""The engine that runs LTX-2.3, the pocket or the full model: prompts and the past in, pictures and sound out."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence

import torch
from torch import Tensor

from ltx_live.chunk import Chunk, ChunkRequest, EngineInfo, Progress, StepValues
from ltx_live.engine.continuity import Made, Past, Plan
from ltx_live.engine.prompts import Prompts
from ltx_live.engine.settings import LtxSettings
from ltx_live.engine.setup import Setup, cap, prepare
from ltx_live.errors import CheckpointError, EngineError
from ltx_live.model.av import AV
from ltx_live.model.conditioning import LatentState, Prefix
from ltx_live.model.latents import (
    VideoGeometry,
    audio_positions,
    patchify_video,
    unpatchify_audio,
    unpatchify_video,
    video_positions,
)
from ltx_live.model.layers import FeedForward
from ltx_live.model.mel import MelConfig
from ltx_live.model.sampler import Denoiser, Step, draw_noise, sample
from ltx_live.model.schedules import custom, schedule
from ltx_live.weights.adapters import RuntimeAdapter
from ltx_live.weights.loading import Networks, load_networks

STRIDES = (8, 32, 32)
"""Frames, rows and columns to a video latent: the prefix of 9 frames and the sizes of the show are built on them."""


def load(report: Callable[[str], None], settings: LtxSettings) -> LtxEngine:
    """What an EngineSpec names: the engine with the networks of a model; the memory plan is the first thing reported.

    Raises CheckpointError for its files, DeviceError where memory does not suffice.
    """
    setup = prepare(settings)
    report(setup.plan.describe())
    cap(setup.storage.device, settings.max_vram_gb)
    merged = setup.loras if settings.merge_loras else ()
    networks = load_networks(setup.files, setup.plan, setup.storage, merged, report)
    for module in networks.transformer.modules():
        if isinstance(module, FeedForward):
            module.chunk_size = settings.ffn_chunk_size or None
    strides = networks.video_vae.encoder.strides
    if strides != STRIDES:
        raise CheckpointError(
            f"{setup.files.video_vae.where}: a latent is {strides} frames, rows and columns; it must be {STRIDES}"
        )
    live = () if settings.merge_loras else setup.loras
    adapters = [RuntimeAdapter(networks.transformer, lora, strength).attach() for lora, strength in live]
    info = EngineInfo(setup.files.name, settings.width, settings.height, str(setup.storage.device), setup.detail)
    return LtxEngine(info, setup, networks, adapters)


class LtxEngine:
    """Makes chunks with the networks; see the protocol `Engine`. Step values are taken but change nothing yet.

    `watch` is called after every denoising step with that Step; it may look, not touch.
    """

    def __init__(self, info: EngineInfo, setup: Setup, networks: Networks, adapters: Sequence[RuntimeAdapter] = ()):
        self.info = info
        self.networks = networks
        self.watch: Callable[[Step], None] = lambda step: None
        self._max_num_frames = setup.max_num_frames
        self._adapters = adapters
        self._prompts = Prompts(networks, on_host=networks.stream is not None)
        section = setup.files.audio_vae.config
        mel = MelConfig.from_config(section) if "preprocessing" in section else MelConfig()
        self._past = Past(networks.audio_vae, mel)

    def encode(self, prompts: tuple[str, ...]) -> None:
        """Encode prompts ahead of use, so that playing one later costs nothing."""
        for prompt in prompts:
            self._prompts.context(prompt)

    @torch.inference_mode()
    def generate(self, request: ChunkRequest) -> Generator[Progress | Chunk, StepValues | None, None]:
        """Yield Progress after every step, at last the Chunk. The same request gives the same chunk.

        Raises EngineError for more frames than memory was planned for.
        """
        params, stopwatch = request.params, Stopwatch()
        if request.num_frames > self._max_num_frames:
            raise EngineError(
                f"num_frames {request.num_frames}: GPU memory was planned for {self._max_num_frames}; "
                f"start with --set num_frames={request.num_frames}"
            )
        self._set_strengths(params.lora_strength)
        sigmas = custom(params.sigmas) if params.sigmas else schedule(params.schedule, params.num_steps)
        context = self._prompts.context(params.prompt)
        plan = self._past.plan(request)
        states = self._states(plan, params.continuity)
        noise = draw_noise(states, AV(2 * request.seed, 2 * request.seed + 1))
        denoiser = Denoiser(self.networks.transformer, states, self._prompts.text_cache)
        stopwatch.lap("encode")
        for step in sample(denoiser, states, noise, sigmas, context):
            self.watch(step)
            yield Progress(request.index, step.index + 1, step.num_steps, step.sigma)
            states = step.states
        stopwatch.lap("denoise")
        latents = unpatchify_video(states.video.target, self._geometry(plan))
        vae = self.networks.video_vae
        frames = vae.decode_u8(latents.to(vae.decoder.conv_in.conv.weight.dtype))[0].cpu().numpy()  # (F, H, W, 3)
        stopwatch.lap("decode")
        audio = plan.delivered(self._sound(plan, states.audio.target))
        stopwatch.lap("vocode")
        made = Made(frames, plan.video_start, params.frame_rate, states.audio.target, plan.origin)
        self._past.remember(request.index, made)
        yield Chunk(
            index=request.index,
            frames=frames,
            video_start=plan.video_start,
            num_overlap=plan.window.num_prefix_frames,
            audio=audio,
            audio_start=plan.audio_start,
            num_overlap_samples=plan.num_overlap_samples,
            frame_rate=params.frame_rate,
            epoch=request.epoch,
            timings_s=stopwatch.laps_s,
        )

    def _set_strengths(self, strengths: Sequence[float]) -> None:
        """Play the LoRAs at these strengths; what was computed from the text with others is forgotten."""
        for adapter, strength in zip(self._adapters, strengths, strict=False):
            if adapter.strength != strength:
                adapter.strength = strength
                self._prompts.forget(contexts=adapter.touches_text)

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
            video = Prefix(self._encoded(plan), strength).apply(video)
            audio = Prefix(plan.audio, strength).apply(audio)
        return AV(video, audio)

    def _encoded(self, plan: Plan) -> Tensor:
        """Tokens (1, T, C) of the frames that are given."""
        weight = self.networks.video_vae.encoder.conv_in.conv.weight
        frames = torch.from_numpy(plan.frames).to(weight.device).movedim(-1, 0)[None]  # (1, 3, F, H, W)
        pixels = frames.float().div(127.5).sub(1).to(weight.dtype)
        return patchify_video(self.networks.video_vae.encode(pixels))

    def _sound(self, plan: Plan, tokens: Tensor) -> Tensor:
        """Audio tokens (1, T, C) -> sound (1, 2, S) from the plan's first decoded latent on."""
        vae, vocoder = self.networks.audio_vae, self.networks.vocoder
        latents = unpatchify_audio(tokens[:, plan.first_decoded_latent :], vae.latent_bands)
        weight = vae.decoder.conv_in.conv.weight
        return vocoder(vae.decode(latents.to(weight.dtype)).float())


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
