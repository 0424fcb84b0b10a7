"""What a chunk is conditioned on beside its prompts and its past: an image, a reference video, sound, a speaker."""

from __future__ import annotations

from ltx_live.chunk import ChunkRequest, Inputs, guide_size
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
    states: AV[LatentState], plan: Plan, request: ChunkRequest, encoders: Encoders, size: tuple[int, int]
) -> AV[LatentState]:
    """The states with the request's inputs in them; `size` is the chunk's (width, height) in pixels.

    A strength of 0 is as if there were no input. Raises EngineError for a guide that does not fit the chunk.
    """
    inputs, params = request.inputs, request.params
    video, audio = states
    if inputs.image is not None and params.i2v_strength > 0:
        video = FirstFrame(encoders.frames(inputs.image[None]), params.i2v_strength).apply(video)
    if inputs.guide is not None and params.control_strength > 0:
        video = _reference_video(inputs, plan, params.control_strength, encoders, size).apply(video)
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


def _reference_video(
    inputs: Inputs, plan: Plan, strength: float, encoders: Encoders, size: tuple[int, int]
) -> ReferenceVideo:
    """The guide laid over the whole picture, in time with the chunk's own frames."""
    window, factor = plan.window, inputs.guide_factor
    num_frames, height, width = inputs.guide.shape[:3]
    _, wanted = guide_size(size, factor)
    if (num_frames, (width, height)) != (window.num_frames, wanted):
        raise EngineError(
            f"guide: {num_frames} frames of {width}x{height} do not fit a chunk of {window.num_frames} frames "
            f"{size[0]}x{size[1]}; by {factor} they must be {wanted[0]}x{wanted[1]}"
        )
    geometry = VideoGeometry(num_frames, width, height)
    positions = reference_video_positions(geometry, window.frame_rate, factor, window.video_start_s)
    return ReferenceVideo(encoders.frames(inputs.guide), positions, strength)
