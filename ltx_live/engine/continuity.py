"""How a chunk goes on from the one before: where it lies on the media clock, and what it is given of the past.

Every position is an integer number of 48 kHz samples, and each chunk is placed from its request alone, so that
nothing accumulates. See docs/decisions: continuity.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from ltx_live.chunk import SAMPLE_RATE_HZ, Chunk, ChunkRequest, Scene, frames_to_samples, num_prefix_frames
from ltx_live.engine.encoders import (
    ANALYSIS_REACH_SAMPLES,
    LATENT_SAMPLES,
    MISSING_SAMPLES,
    Encoders,
    latents_to_samples,
)
from ltx_live.model.av import AV
from ltx_live.model.latents import MAX_AUDIO_PREFIX, ChunkWindow

OVERLAP_SAMPLES = SAMPLE_RATE_HZ // 10
"""Sound before the seam that a continued chunk delivers again, for the cross-fade."""

LEFT_CONTEXT_SAMPLES = SAMPLE_RATE_HZ * 4 // 10
"""Sound that is decoded before the first sample that is delivered, and dropped."""

NUM_KEPT = 8
"""Chunks that can be continued without their history."""


@dataclass(frozen=True)
class Made:
    """What a later chunk needs of one that was made: pictures, clean audio latents, where both lie, and its scene.

    frames (F, H, W, 3) uint8 from media position `video_start` on; audio tokens (1, T, C) from `audio_origin` on.
    """

    frames: np.ndarray
    video_start: int
    frame_rate: float
    audio: Tensor
    audio_origin: int
    scene: Scene | None = None

    def cut(self, frame: int) -> int:
        """Media position of the cut after the first `frame` frames."""
        return self.video_start + frames_to_samples(frame, self.frame_rate)

    def whole_latents(self, position: int) -> int:
        """How many audio latents have ended at a media position."""
        whole = (position - self.audio_origin + MISSING_SAMPLES) // LATENT_SAMPLES
        return min(max(whole, 0), self.audio.shape[1])


@dataclass(frozen=True)
class Plan:
    """Where a chunk lies on the media clock, and what it is given: frames (n, H, W, 3) uint8, audio tokens (1, m, C).

    `start` is the position of the first new frame and sample, `scene` that of the chunk it continues; `reencoded` if
    that had to be made again of its history.
    """

    window: ChunkWindow
    start: int
    frames: np.ndarray | None = None
    audio: Tensor | None = None
    scene: Scene | None = None
    reencoded: bool = False

    @property
    def origin(self) -> int:
        """Media position where the window's own clock starts."""
        return self.start - round(self.window.cut_s * SAMPLE_RATE_HZ)

    @property
    def video_start(self) -> int:
        """Media position of the first frame, overlap included."""
        return self.start - frames_to_samples(self.window.num_prefix_frames, self.window.frame_rate)

    @property
    def end(self) -> int:
        """Media position where the last frame ends, and the sound with it."""
        return self.video_start + frames_to_samples(self.window.num_frames, self.window.frame_rate)

    def num_given(self, tokens_per_frame: int) -> AV[int]:
        """Tokens that are given: the first latent holds one frame, the next 8."""
        num_latents = (self.window.num_prefix_frames + 7) // 8
        return AV(num_latents * tokens_per_frame, self.window.num_audio_prefix)

    @property
    def num_audio_latents(self) -> int:
        """All audio latents, given and new. They reach the end, for which a new take may need one more than trained."""
        return -(-(self.end - self.origin + MISSING_SAMPLES) // LATENT_SAMPLES)

    @property
    def num_overlap_samples(self) -> int:
        """Sound before `start` that the chunk delivers again."""
        return min(OVERLAP_SAMPLES, self.start - self.origin)

    @property
    def audio_start(self) -> int:
        """Media position of the first sample that is delivered."""
        return self.start - self.num_overlap_samples

    @property
    def first_decoded_latent(self) -> int:
        """Audio latents before this one are too far from `audio_start` to be heard in it."""
        return max(0, self.audio_start - LEFT_CONTEXT_SAMPLES - self.origin) // LATENT_SAMPLES

    def delivered(self, sound: Tensor) -> np.ndarray:
        """Of sound (1, 2, S) decoded from `first_decoded_latent` on, what the chunk delivers: (S, 2) float32."""
        decoded_from = self.origin + self.first_decoded_latent * LATENT_SAMPLES
        delivered = sound[0, :, self.audio_start - decoded_from : self.end - decoded_from]
        return delivered.T.float().cpu().contiguous().numpy()


def new_take(request: ChunkRequest) -> Plan:
    """A chunk that continues nothing."""
    return Plan(ChunkWindow(request.num_frames, request.params.frame_rate), request.start)


def continued(request: ChunkRequest, made: Made) -> Plan:
    """A chunk that goes on from `made` at the cut that `request.continue_from` names.

    An image takes the place of the pictures, and begins a scene; the sound flows on.
    """
    frame = request.continue_from[1]
    leads = request.inputs.image is not None and request.params.i2v_strength > 0
    num_prefix = 0 if leads else num_prefix_frames(request.num_frames, frame)
    cut = made.cut(frame)
    whole = made.whole_latents(cut)
    num_audio = min(whole, MAX_AUDIO_PREFIX)
    carry = cut - made.audio_origin - latents_to_samples(whole) if whole else 0
    window = ChunkWindow(
        num_frames=request.num_frames,
        frame_rate=request.params.frame_rate,
        num_prefix_frames=num_prefix,
        num_audio_prefix=num_audio,
        carry_s=carry / SAMPLE_RATE_HZ,
    )
    audio = made.audio[:, whole - num_audio : whole]
    if leads:
        return Plan(window, request.start, None, audio)
    return Plan(window, request.start, made.frames[frame - num_prefix : frame], audio, made.scene)


class Past:
    """The last chunks that were made, and the way back into one that only the show still holds."""

    def __init__(self, encoders: Encoders):
        self._encoders = encoders
        self._made: OrderedDict[int, Made] = OrderedDict()

    def remember(self, index: int, made: Made) -> None:
        """Keep a chunk that was made; the oldest of more than 8 is forgotten."""
        self._made[index] = made
        self._made.move_to_end(index)
        while len(self._made) > NUM_KEPT:
            self._made.popitem(last=False)

    def plan(self, request: ChunkRequest) -> Plan:
        """Where the requested chunk lies; it starts a new take where there is nothing to continue or it must not."""
        if request.continue_from is None or request.params.continuity <= 0:
            return new_take(request)
        index, frame = request.continue_from
        if index in self._made:
            return continued(request, self._made[index])
        if request.history is None:
            return new_take(request)
        return replace(continued(request, self._encoded(request.history, frame)), reencoded=True)

    def _encoded(self, history: Chunk, frame: int) -> Made:
        """A chunk that is not kept, in its scene, with the sound before the cut encoded again.

        The last latent ends so early that its analysis does not look beyond the cut.
        """
        cut = history.video_start + frames_to_samples(frame, history.frame_rate)
        end = cut - ANALYSIS_REACH_SAMPLES
        available = end - history.audio_start - LATENT_SAMPLES
        num_latents = min(max(available + MISSING_SAMPLES, 0) // LATENT_SAMPLES, MAX_AUDIO_PREFIX)
        origin = end - latents_to_samples(num_latents)
        first = max(0, origin - LATENT_SAMPLES - history.audio_start)
        sound = history.audio[first : cut - history.audio_start]
        audio = self._encoders.sound(sound, num_latents, opens_clip=False)
        return Made(history.frames, history.video_start, history.frame_rate, audio, origin, history.scene)
