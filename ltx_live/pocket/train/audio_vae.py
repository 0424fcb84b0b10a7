"""Trains the audio autoencoder on log-mel of rendered sounds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ltx_live.model.audio_vae import AudioVAE
from ltx_live.model.mel import MelConfig, decimate, log_mel
from ltx_live.pocket import configs
from ltx_live.pocket.train.loop import Batch, Loop, Settings
from ltx_live.pocket.train.pools import HELD_OUT, audio_pool, windows

NUM_MEL_FRAMES = 145
POOL_SECONDS = 4.0
_KL_WEIGHT = 1e-4
_TO_UNIT = 3.0  # standard deviation of the world's log-mel, roughly


def build() -> AudioVAE:
    return AudioVAE.from_config(configs.AUDIO_VAE)


def mel_of(sound: Tensor) -> Tensor:
    """Sound (B, 2, S) at 48 kHz -> log-mel (B, 2, T, 64) as the audio encoder takes it."""
    return log_mel(decimate(sound.float(), 3), MelConfig.from_config(configs.AUDIO_VAE))


def mel_pool(sounds: Tensor) -> Tensor:
    """Log-mel of a pool of sounds (N, 2, S) -> (N, 2, T, 64) float16."""
    return torch.cat([mel_of(part).half() for part in sounds.split(256)])


def loss(vae: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Absolute and squared error of the log-mel, and a light KL term."""
    mel = batch["mel"].float()
    mean, log_variance = (x.float() for x in vae.encoder.moments(mel))
    log_variance = log_variance.clamp(-12, 4)
    decoded = vae.decoder(mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)).float()
    error = (decoded - mel) / _TO_UNIT
    absolute = error.abs().mean()
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    return {"loss": absolute + error.square().mean() + _KL_WEIGHT * kl, "mel_error": absolute * _TO_UNIT, "kl": kl}


def train(settings: Settings) -> dict[str, float]:
    """Train or go on training; the latent statistics are measured at the end."""
    torch.manual_seed(settings.seed)
    pool = mel_pool(audio_pool(settings.pool_size, POOL_SECONDS, settings.seed, settings.device))
    loop = Loop("audio_vae", build().to(settings.device), settings, loss)
    loop.run(lambda: {"mel": windows(pool, settings.batch_size, NUM_MEL_FRAMES, dim=2)})
    vae = loop.use_averages()
    sounds = audio_pool(min(64, settings.pool_size), POOL_SECONDS, settings.seed + HELD_OUT, settings.device)
    held_out = mel_pool(sounds)[:, :, :NUM_MEL_FRAMES].float()
    with torch.inference_mode():
        sample = windows(pool, min(2048, len(pool)), NUM_MEL_FRAMES, dim=2)
        latents = torch.cat([vae.encoder(part.float()) for part in sample.split(256)])  # (N, z, T, bins)
        tokens = latents.transpose(1, 2).flatten(2).flatten(0, 1)  # (N T, z bins)
        vae.per_channel_statistics.set(tokens.mean(dim=0), tokens.std(dim=0).clamp(min=1e-3))
        error = (vae.decode(vae.encode(held_out)) - held_out).abs().mean().item()
    print(f"[audio_vae] held-out log-mel error {error:.3f}", flush=True)
    loop.save()
    return {"mel_error": error}
