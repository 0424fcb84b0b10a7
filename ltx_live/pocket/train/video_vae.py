"""Trains the video autoencoder on rendered clips."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltx_live.model.video_vae import VideoVAE
from ltx_live.pocket import configs
from ltx_live.pocket.train.loop import Batch, Loop, Settings
from ltx_live.pocket.train.pools import HELD_OUT, choose, to_signed, video_pool, windows

NUM_FRAMES = 25
_KL_WEIGHT = 1e-4


def build() -> VideoVAE:
    return VideoVAE.from_config(configs.VIDEO_VAE)


def loss(vae: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Reconstruction (squared and absolute error, squared error of gradients) and a light KL term."""
    frames = to_signed(batch["frames"])  # (B, 3, F, H, W)
    mean, log_variance = (x.float() for x in vae.encoder.moments(frames))
    log_variance = log_variance.clamp(-12, 4)
    latents = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
    decoded = vae.decoder(latents).float()
    squared = F.mse_loss(decoded, frames)
    absolute = F.l1_loss(decoded, frames)
    gradients = sum(F.mse_loss(decoded.diff(dim=d), frames.diff(dim=d)) for d in (2, 3, 4))
    kl = 0.5 * (mean.square().mean() + (log_variance.exp() - 1 - log_variance).mean())
    total = squared + 0.1 * absolute + gradients + _KL_WEIGHT * kl
    return {"loss": total, "squared": squared, "kl": kl, "sigma": (0.5 * log_variance).exp().mean()}


def train(settings: Settings) -> dict[str, float]:
    """Train or go on training; the latent statistics are measured at the end."""
    torch.manual_seed(settings.seed)
    pool = video_pool(settings.pool_size, 33, settings.seed, settings.device)
    network = build().to(settings.device)
    if settings.device.startswith("cuda"):
        network = network.to(memory_format=torch.channels_last_3d)
    loop = Loop("video_vae", network, settings, loss)
    loop.run(lambda: {"frames": windows(pool, settings.batch_size, NUM_FRAMES, dim=1)})
    vae = loop.use_averages()
    num_measured = min(32, settings.pool_size)
    held_out = video_pool(num_measured, NUM_FRAMES, settings.seed + HELD_OUT, settings.device)
    with torch.inference_mode():
        latents = torch.cat([vae.encoder(to_signed(choose(pool, 8)[:, :NUM_FRAMES])) for _ in range(num_measured)])
        vae.per_channel_statistics.set(latents.mean(dim=(0, 2, 3, 4)), latents.std(dim=(0, 2, 3, 4)))
        errors = [
            F.mse_loss(vae.decode(vae.encode(frames)).clamp(-1, 1), frames, reduction="none").mean(dim=(1, 2, 3, 4))
            for frames in to_signed(held_out).split(8)
        ]
    psnr_db = (10 * torch.log10(4 / torch.cat(errors))).mean().item()
    print(f"[video_vae] held-out PSNR {psnr_db:.2f} dB", flush=True)
    loop.save()
    return {"psnr_db": psnr_db}
