"""Trains the vocoder and its bandwidth extension with spectral losses at several resolutions."""

from __future__ import annotations

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from ltx_live.model.bandwidth import VocoderWithBWE
from ltx_live.model.mel import decimate
from ltx_live.pocket import configs
from ltx_live.pocket.train.audio_vae import POOL_SECONDS, mel_of
from ltx_live.pocket.train.audio_vae import build as build_audio_vae
from ltx_live.pocket.train.loop import Batch, Loop, Settings
from ltx_live.pocket.train.pools import HELD_OUT, audio_pool

NUM_MEL_FRAMES = 81
_SAMPLES_PER_MEL = 480
_WINDOWS = (64, 128, 256, 512, 1024, 2048)
_FLOOR = 1e-4


def build() -> VocoderWithBWE:
    network = VocoderWithBWE.from_config(configs.VOCODER)
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            nn.init.normal_(module.weight, std=0.5 / (module.weight[0].numel() ** 0.5))
    nn.init.normal_(network.bwe_generator.conv_post.weight, std=0.01)
    return network


def spectral_distance(made: Tensor, wanted: Tensor) -> Tensor:
    """Mean over window sizes of log-magnitude error plus spectral convergence (Yamamoto et al., arXiv 1910.11480)."""
    made, wanted = made.float().flatten(0, 1), wanted.float().flatten(0, 1)
    total = made.new_zeros(())
    for size in _WINDOWS:
        window = torch.hann_window(size, device=made.device)
        options = dict(n_fft=size, hop_length=size // 4, window=window, return_complex=True)
        a, b = (torch.stft(x, **options).abs() / (window.sum() / 2) for x in (made, wanted))
        logs = (torch.log(a + _FLOOR) - torch.log(b + _FLOOR)).abs().mean()
        convergence = (a - b).square().sum().sqrt() / (b.square().sum().sqrt() + 1e-3)
        total = total + logs + convergence
    return total / len(_WINDOWS)


def loss(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Distances of the 16 kHz core and of the extended sound; the extension also learns on the true core sound."""
    sound, mel = batch["sound"].float(), batch["mel"].float()
    with torch.autocast(sound.device.type, enabled=False):
        wanted_core = decimate(sound, 3)
        core = network.core(mel)
        full = network.extend(core)
        core_distance = spectral_distance(core, wanted_core)
        full_distance = spectral_distance(full, sound)
        level = F.l1_loss(core.abs().mean(-1), wanted_core.abs().mean(-1))
    return {"loss": core_distance + full_distance + level, "core": core_distance, "full": full_distance}


def train(settings: Settings) -> dict[str, float]:
    """Train or go on training: half of the mels come from the audio autoencoder where that is trained already."""
    torch.manual_seed(settings.seed)
    sounds = audio_pool(settings.pool_size, POOL_SECONDS, settings.seed, settings.device)
    mels = torch.cat([_mels(part, settings) for part in sounds.split(256)])
    loop = Loop("vocoder", build().to(settings.device), settings, loss)
    loop.run(lambda: _windows(sounds, mels, settings.batch_size))
    network = loop.use_averages()
    held_out = audio_pool(min(32, settings.pool_size), 2.0, settings.seed + HELD_OUT, settings.device).float()
    with torch.inference_mode():
        mel = mel_of(held_out)
        made = network(mel[:, :, : held_out.shape[-1] // _SAMPLES_PER_MEL])
        floor = torch.log(torch.tensor(1e-3, device=mel.device))
        error = (
            mel_of(made)[:, :, 8:-8].clamp(min=floor) - mel[:, :, 8 : made.shape[-1] // 480 - 7].clamp(min=floor)
        ).abs()
    print(f"[vocoder] held-out log-mel error (floor 1e-3) {error.mean().item():.3f}", flush=True)
    return {"mel_error": error.mean().item()}


def _mels(sounds: Tensor, settings: Settings) -> Tensor:
    """True mels (N, 2, T, 64), every second one through the trained autoencoder."""
    mel = mel_of(sounds)
    path = settings.folder / "audio_vae.safetensors"
    if path.exists():
        vae = build_audio_vae().to(settings.device)
        vae.load_state_dict(load_file(path, device=settings.device))
        with torch.inference_mode():
            usable = (mel.shape[2] - 1) // 4 * 4 + 1
            mel[::2, :, :usable] = vae.decode(vae.encode(mel[::2, :, :usable]))
    return mel.half()


def _windows(sounds: Tensor, mels: Tensor, count: int) -> Batch:
    """Random windows; a mel frame is centred on the first of its samples."""
    first = int(torch.randint(mels.shape[2] - NUM_MEL_FRAMES - 2, ()))
    rows = torch.randint(len(sounds), (count,), device=sounds.device)
    start = first * _SAMPLES_PER_MEL
    sound = sounds[rows, :, start : start + NUM_MEL_FRAMES * _SAMPLES_PER_MEL]
    return {"sound": sound, "mel": mels[rows, :, first : first + NUM_MEL_FRAMES]}
