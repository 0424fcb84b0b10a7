"""The engine that runs LTX-2.3, the pocket or the full model: prompts and the past in, pictures and sound out."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ltx_live.chunk import Chunk, ChunkRequest, EngineInfo, Progress, StepValues
from ltx_live.engine.continuity import Made, Past, Plan
from ltx_live.engine.prompts import Prompts
from ltx_live.errors import CheckpointError
from ltx_live.model.audio_vae import AudioVAE
from ltx_live.model.av import AV
from ltx_live.model.bandwidth import VocoderWithBWE
from ltx_live.model.conditioning import LatentState, Prefix
from ltx_live.model.latents import (
    VideoGeometry,
    audio_positions,
    patchify_video,
    unpatchify_audio,
    unpatchify_video,
    video_positions,
)
from ltx_live.model.mel import MelConfig
from ltx_live.model.sampler import Denoiser, draw_noise, sample
from ltx_live.model.schedules import custom, schedule
from ltx_live.model.transformer import Transformer
from ltx_live.model.video_vae import VideoVAE
from ltx_live.weights.checkpoint import (
    Storage,
    find_split_files,
    load_audio_vae,
    load_text_projection,
    load_transformer,
    load_video_vae,
    load_vocoder,
    read_config,
    read_metadata,
)
from ltx_live.weights.text_encoder import load_text_encoder

STRIDES = (8, 32, 32)
"""Frames, rows and columns to a video latent: the prefix of 9 frames and the sizes of the show are built on them."""


@dataclass(frozen=True)
class Networks:
    """Everything that computes, on one device."""

    transformer: Transformer
    video_vae: VideoVAE
    audio_vae: AudioVAE
    vocoder: VocoderWithBWE


def load(report: Callable[[str], None], folder: Path, width: int, height: int, device: str = "auto") -> LtxEngine:
    """What an EngineSpec names: the engine with the networks of the split files in `folder`.

    `device` is torch's name of one, or `auto`. Raises CheckpointError.
    """
    device = choose_device(device)
    dtype = compute_dtype(device)
    files = find_split_files(Path(folder))
    storage = Storage(device, dtype)
    report("loading the text encoder")
    transformer = load_transformer(files.transformer, storage)
    projection = load_text_projection(files.text_projection, transformer.config, storage)
    encoder = load_text_encoder(files.text_encoder, transformer.config.text_length, storage)
    report("loading picture and sound")
    networks = Networks(
        transformer=transformer,
        video_vae=load_video_vae(files.video_vae, storage),
        audio_vae=load_audio_vae(files.audio, storage),
        vocoder=load_vocoder(files.audio, Storage(device, torch.float32)),
    )
    strides = networks.video_vae.encoder.strides
    if strides != STRIDES:
        raise CheckpointError(
            f"{files.video_vae}: a latent is {strides} frames, rows and columns; it must be {STRIDES}"
        )
    section = read_config(files.audio)["audio_vae"]
    mel = MelConfig.from_config(section) if "preprocessing" in section else MelConfig()
    name = read_metadata(files.transformer).get("name", Path(folder).name)
    detail = f"{str(dtype).removeprefix('torch.')}, {torch.get_num_threads()} threads"
    info = EngineInfo(name, width, height, str(device), detail)
    return LtxEngine(info, networks, Prompts(encoder, projection, transformer), mel)


class LtxEngine:
    """Makes chunks with the networks; see the protocol `Engine`. Step values are taken but change nothing yet."""

    def __init__(self, info: EngineInfo, networks: Networks, prompts: Prompts, mel: MelConfig):
        self.info = info
        self.networks = networks
        self._prompts = prompts
        self._past = Past(networks.audio_vae, mel)

    def encode(self, prompts: tuple[str, ...]) -> None:
        """Encode prompts ahead of use, so that playing one later costs nothing."""
        for prompt in prompts:
            self._prompts.context(prompt)

    @torch.inference_mode()
    def generate(self, request: ChunkRequest) -> Generator[Progress | Chunk, StepValues | None, None]:
        """Yield Progress after every step, at last the Chunk. The same request gives the same chunk."""
        params, watch = request.params, Stopwatch()
        sigmas = custom(params.sigmas) if params.sigmas else schedule(params.schedule, params.num_steps)
        context = self._prompts.context(params.prompt)
        plan = self._past.plan(request)
        states = self._states(plan, params.continuity)
        noise = draw_noise(states, AV(2 * request.seed, 2 * request.seed + 1))
        denoiser = Denoiser(self.networks.transformer, states, self._prompts.text_cache)
        watch.lap("encode")
        for step in sample(denoiser, states, noise, sigmas, context):
            yield Progress(request.index, step.index + 1, step.num_steps, step.sigma)
            states = step.states
        watch.lap("denoise")
        latents = unpatchify_video(states.video.target, self._geometry(plan))
        vae = self.networks.video_vae
        frames = vae.decode_u8(latents.to(vae.decoder.conv_in.conv.weight.dtype))[0].cpu().numpy()  # (F, H, W, 3)
        watch.lap("decode")
        audio = plan.delivered(self._sound(plan, states.audio.target))
        watch.lap("vocode")
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
            timings_s=watch.laps_s,
        )

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


def choose_device(name: str) -> torch.device:
    """The device of a name; `auto` is a CUDA GPU where there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def compute_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it itself (GPUs, CPUs with AMX or AVX512-BF16), else float32."""
    if device.type == "cuda":
        return torch.bfloat16
    capabilities = torch.cpu.get_capabilities()
    native = capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")
    return torch.bfloat16 if native else torch.float32
