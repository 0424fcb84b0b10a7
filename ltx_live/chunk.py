"""What the show asks the engine for and what comes back; every type here can be pickled."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from ltx_live import params

SAMPLE_RATE_HZ = 48_000
"""The media clock: every start position is an integer number of these samples since the show began."""

LONGEST_CHUNK = params.find("num_frames").maximum
"""Frames; an engine may have memory for fewer."""

PREFIX_FRAMES = 9
"""Frames of the previous chunk that a continued chunk begins with (two video latents)."""


LATCH_SIGMA = 0.9
"""A step that starts with less noise than this takes no new values: what there is of the picture is settled."""

DRIVING_CONTEXT_S = 1.25
"""Driving sound before a chunk's start, which its first latents hear: a second of them, and the reach of a latent."""

LORA_WORK = 0.35
"""What a live LoRA adds to a step: 0.31 s became 0.42 s with one of rank 64 on the full model (docs/LOG.md)."""

WeightedPrompts = tuple[tuple[str, float], ...]
"""Texts with weights that sum to 1."""


def frames_to_samples(num_frames: float, frame_rate: float) -> int:
    """Duration of frames on the media clock, in samples, rounded to the nearest."""
    return round(num_frames * SAMPLE_RATE_HZ / frame_rate)


def num_prefix_frames(num_frames: int, num_available: int) -> int:
    """Frames a chunk of `num_frames` begins with of the one it continues, of which `num_available` stand: 9, else 1."""
    return PREFIX_FRAMES if num_frames > PREFIX_FRAMES <= num_available else 1


def guide_size(size: tuple[int, int], factor: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """(width, height) of the picture in a guide for chunks of this size, and of the guide itself.

    The guide is filled up to multiples of 32 at the right and at the bottom, so that its picture lies over the chunk's
    at exactly `factor` whatever the size: 288x160 by 2 is a picture of 144x80 in a guide of 160x96.
    """
    picture = tuple(-(-side // factor) for side in size)
    return picture, tuple(-(-side // 32) * 32 for side in picture)


def num_steps(params: Any) -> int:
    """Denoising steps of a chunk with these values."""
    return len(params.sigmas) - 1 if params.sigmas else params.num_steps


def work(params: Any) -> float:
    """What denoising a chunk costs, in steps of a chunk of the same length without inputs.

    A speaker whose identity is amplified takes two passes a step; a reference adds its tokens to the picture's, and
    every LoRA that is played beside the weights its branches.
    """
    num_loras = sum(
        bool(name) and strength > 0 for name, strength in zip(params.lora_name, params.lora_strength, strict=True)
    )
    passes = 2 if params.audio_mode == "id_lora" and params.audio_input and params.identity_guidance_scale > 0 else 1
    reference = params.ref_source if params.control_strength > 0 else None
    tokens = 1 + 1 / getattr(reference, "factor", 1) ** 2 if reference else 1
    return num_steps(params) * passes * tokens * (1 + LORA_WORK * num_loras)


def chunk_seed(seed: int, index: int) -> int:
    """The seed of chunk `index` of a show with this base seed: a hash of both, 0..2^31 - 1."""
    digest = hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") & params.SEED_MAX


class ChannelStatistics(NamedTuple):
    """Mean and standard deviation of each channel of latents."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """What a scene was when it began: its prompts, the settled end of its first chunk, and how loud that was.

    `gain_db` is the gain that the newest chunk's sound ends with.
    """

    prompts: WeightedPrompts
    video: ChannelStatistics
    audio: ChannelStatistics
    loudness_db: float
    gain_db: float = 0.0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of the show.

    frames (F, H, W, 3) uint8; audio (S, 2) float32 in -1..1 at 48 kHz. `video_start` and `audio_start` are the media
    clock positions of the first frame and the first sample, overlap included: the first `num_overlap` frames and
    `num_overlap_samples` samples show again what the chunk it continues has, decoded anew, for the cross-fade.
    `epoch` is the control epoch of the parameters it was made with, `latched` the step values it took while being made.
    `scene` is the one it leaves behind, for the chunk that continues it. `reencoded` tells that what it continues was
    encoded again, from the request's `history`, which differs from what an engine keeps: a replay must do the same.
    `gpu_bytes` of GPU memory were in use when it was done; None where no GPU made it.
    """

    index: int
    frames: np.ndarray
    video_start: int
    num_overlap: int
    audio: np.ndarray
    audio_start: int
    num_overlap_samples: int
    frame_rate: float
    epoch: int
    latched: tuple[tuple[int, Mapping[str, Any]], ...] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)
    scene: Scene | None = None
    reencoded: bool = False
    gpu_bytes: int | None = None

    @property
    def num_frames(self) -> int:
        return len(self.frames)

    @property
    def cut(self) -> int:
        """Media clock position of the first new frame."""
        return self.video_start + frames_to_samples(self.num_overlap, self.frame_rate)

    @property
    def end(self) -> int:
        """Media clock position just after the last frame."""
        return self.video_start + frames_to_samples(self.num_frames, self.frame_rate)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a chunk is given beside its prompts; None where it is not given.

    image (H, W, 3) uint8 of the chunk's size: its first frame, no picture of the past is then continued. guide
    (F, h, w, 3) uint8: a reference frame for each of its frames, overlap included, smaller by the whole number
    `guide_factor` and as large as `guide_size` says. driving (S, 2) float32 at 48 kHz from media position
    `driving_start` on; it begins DRIVING_CONTEXT_S before the chunk's start, and `heard` says what the chunk sounds of
    then: "driving", "generated" (the same through the autoencoder) or "off". speaker (S, 2) float32 at 48 kHz: whose
    voice is to be heard. `restores_gamma`: the guide was lifted by a gamma, the chunk's frames are given without it.
    """

    image: np.ndarray | None = None
    guide: np.ndarray | None = None
    guide_factor: int = 1
    driving: np.ndarray | None = None
    driving_start: int = 0
    heard: str = "driving"
    restores_gamma: bool = False
    speaker: np.ndarray | None = None

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Those that are given, by name."""
        named = {"image": self.image, "guide": self.guide, "driving": self.driving, "speaker": self.speaker}
        return {name: array for name, array in named.items() if array is not None}

    def driving_sound(self, start: int, end: int) -> np.ndarray:
        """The driving sound between two media positions, (end - start, 2) float32; silence where there is none."""
        wanted = np.zeros((end - start, 2), np.float32)
        first, last = max(start, self.driving_start), min(end, self.driving_start + len(self.driving))
        if first < last:
            wanted[first - start : last - start] = self.driving[first - self.driving_start : last - self.driving_start]
        return wanted


NO_INPUTS = Inputs()


@dataclass(frozen=True, slots=True)
class ChunkRequest:
    """What the session asks for.

    The new chunk's first new frame stands at media position `start`. `continue_from` = (chunk index, frame) is the cut:
    the first `frame` frames of that chunk (overlap included) stay, the new chunk goes on after them; None starts a new
    take. `history` is the chunk that `continue_from` names, as the show holds it, for an engine that has it no
    longer. `num_frames` (8K + 1, overlap included) may be shorter than the parameter so that the chunk is in time.
    `prompts` is what is played, whatever `params` say of prompts and weights; empty = `params.prompt` alone.
    `inputs` are its arrays, prepared.
    """

    index: int
    params: Any
    seed: int
    start: int
    num_frames: int
    continue_from: tuple[int, int] | None = None
    history: Chunk | None = None
    epoch: int = 0
    prompts: WeightedPrompts = ()
    inputs: Inputs = NO_INPUTS

    @property
    def played(self) -> WeightedPrompts:
        """The prompts that the chunk starts with."""
        return self.prompts or ((self.params.prompt, 1.0),)


@dataclass(frozen=True, slots=True)
class Progress:
    """One denoising step of a request is done."""

    index: int
    step: int
    num_steps: int
    sigma: float


@dataclass(frozen=True, slots=True)
class StepValues:
    """Newest values for the chunk being made: `prompts` as in ChunkRequest, `lora_strength` and
    `identity_guidance_scale` as in its parameters.

    They are taken for the steps that follow if the chunk's `late_latch` is on and its noise is still LATCH_SIGMA or
    more; the chunk is then of this `epoch`, if one is given, and has them in `latched`.
    """

    values: Mapping[str, Any]
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a ready engine says of itself: the name to show, its picture size, where it runs, its longest chunk."""

    name: str
    width: int
    height: int
    device: str
    detail: str = ""
    max_num_frames: int = LONGEST_CHUNK


class Engine(Protocol):
    """Makes chunks. Closing the generator cancels the chunk. The test double ships beside it: TestCardEngine."""

    @property
    def info(self) -> EngineInfo: ...

    def encode(self, prompts: tuple[str, ...]) -> None:
        """Encode prompts ahead of use, so that playing one later costs nothing."""

    def generate(self, request: ChunkRequest) -> Generator[Progress | Chunk, StepValues | None, None]:
        """Yield Progress after every step, at last the Chunk; raises LtxLiveError when it cannot be made."""
