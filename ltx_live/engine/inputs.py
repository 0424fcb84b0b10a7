"""What a chunk is conditioned on beside its prompts and its past: an image, a reference video, sound, a speaker."""

from __future__ import annotations

import numpy as np

from ltx_live.chunk import ChunkRequest
from ltx_live.engine.continuity import Plan
from ltx_live.engine.encoders import (
    ANALYSIS_REACH_SAMPLES,
    LATENT_SAMPLES,
    MISSING_SAMPLES,
    Encoders,
    latents_to_samples,
)
from ltx_live.errors import EngineError
from ltx_live.model.av import AV
from ltx_live.model.conditioning import DrivingAudio, FirstFrame, LatentState, ReferenceAudio, ReferenceVideo
from ltx_live.model.latents import VideoGeometry, reference_video_positions


def conditioned(
    states: AV[LatentState], plan: Plan, request: ChunkRequest, encoders: Encoders, width: int
) -> AV[LatentState]:
    """The states with the request's inputs in them; `width` is the chunk's, in pixels.

    A strength of 0 is as if there were no input. Raises EngineError for a guide that does not fit the chunk.
    """
    inputs, params = request.inputs, request.params
    video, audio = states
    if inputs.image is not None and params.i2v_strength > 0:
        video = FirstFrame(encoders.frames(inputs.image[None]), params.i2v_strength).apply(video)
    if inputs.guide is not None and params.control_strength > 0:
        video = _reference_video(inputs.guide, plan, params.control_strength, encoders, width).apply(video)
    if inputs.driving is not None:
        audio = _driving_audio(request, plan, encoders).apply(audio)
    if inputs.speaker is not None:
        num_latents = (len(inputs.speaker) + MISSING_SAMPLES) // LATENT_SAMPLES
        audio = ReferenceAudio(encoders.sound(inputs.speaker, num_latents)).apply(audio)
    return AV(video, audio)


def _driving_audio(request: ChunkRequest, plan: Plan, encoders: Encoders) -> DrivingAudio:
    """The driving sound of the chunk's whole window, which opens a clip where there is no sound of the past."""
    num_latents, opens_clip = plan.num_audio_latents, plan.window.num_audio_prefix == 0
    start = plan.origin if opens_clip else plan.origin - LATENT_SAMPLES
    end = plan.origin + latents_to_samples(num_latents) + ANALYSIS_REACH_SAMPLES
    return DrivingAudio(encoders.sound(request.inputs.driving_sound(start, end), num_latents, opens_clip))


def _reference_video(guide: np.ndarray, plan: Plan, strength: float, encoders: Encoders, width: int) -> ReferenceVideo:
    """The guide laid over the whole picture, in time with the chunk's own frames."""
    window = plan.window
    num_frames, height, guide_width = guide.shape[:3]
    if num_frames != window.num_frames or width % guide_width or guide_width % 32 or height % 32:
        raise EngineError(
            f"guide: {num_frames} frames of {guide_width}x{height} do not fit a chunk of {window.num_frames} frames "
            f"{width} pixels wide; its sides must be the chunk's divided by a whole number, and multiples of 32"
        )
    positions = reference_video_positions(
        VideoGeometry(num_frames, guide_width, height),
        window.frame_rate,
        width // guide_width,
        window.video_start_s,
    )
    return ReferenceVideo(encoders.frames(guide), positions, strength)
