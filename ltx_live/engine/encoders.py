"""From what is seen and heard to tokens: pictures and sound through the autoencoders, as in training."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.model.audio_vae import AudioVAE
from ltx_live.model.latents import AUDIO_LATENTS_PER_SECOND, patchify_audio, patchify_video
from ltx_live.model.mel import MelConfig, decimate, log_mel
from ltx_live.model.video_vae import VideoVAE

LATENT_SAMPLES = SAMPLE_RATE_HZ // AUDIO_LATENTS_PER_SECOND
MISSING_SAMPLES = LATENT_SAMPLES * 3 // 4
"""The first audio latent lasts 10 ms instead of 40: n latents end after n * LATENT_SAMPLES - MISSING_SAMPLES."""

ANALYSIS_REACH_SAMPLES = 1056
"""22 ms: how far the analysis of an audio latent looks beyond its end (mel windows of 64 ms, centred)."""


def latents_to_samples(num_latents: int) -> int:
    """Where audio latent `num_latents` starts and those before it end, in samples from the first one's start."""
    return max(0, num_latents * LATENT_SAMPLES - MISSING_SAMPLES)


class Encoders:
    """The encoders of both autoencoders."""

    def __init__(self, video_vae: VideoVAE, audio_vae: AudioVAE, mel: MelConfig):
        self._video_vae = video_vae
        self._audio_vae = audio_vae
        self._mel = mel

    def frames(self, frames: np.ndarray) -> Tensor:
        """Tokens (1, T, C) of frames (8K + 1, H, W, 3) uint8; the first latent is one frame."""
        weight = self._video_vae.encoder.conv_in.conv.weight
        pictures = torch.from_numpy(frames).to(weight.device).movedim(-1, 0)[None]  # (1, 3, F, H, W)
        pixels = pictures.float().div(127.5).sub(1).to(weight.dtype)
        return patchify_video(self._video_vae.encode(pixels))

    def sound(self, sound: np.ndarray, num_latents: int, opens_clip: bool = True) -> Tensor:
        """Tokens (1, num_latents, C) float32 of sound (S, 2) float32 at 48 kHz, from its first sample on.

        In the midst of a clip the sound begins one latent earlier: as in training that one is made and dropped,
        because the latent that opens a clip is short.
        """
        statistics = self._audio_vae.per_channel_statistics.get_buffer("mean-of-means")
        if not num_latents:
            return statistics.new_zeros(1, 0, len(statistics)).float()
        num_frames = 4 * num_latents - 3 if opens_clip else 4 * num_latents + 1
        wave = torch.from_numpy(np.ascontiguousarray(sound.T))[None].to(statistics.device)  # (1, 2, S)
        mel = log_mel(decimate(wave, SAMPLE_RATE_HZ // self._mel.sample_rate_hz), self._mel)
        tokens = patchify_audio(self._audio_vae.encode(mel[:, :, :num_frames].to(statistics.dtype)))
        return (tokens if opens_clip else tokens[:, 1:]).float()
