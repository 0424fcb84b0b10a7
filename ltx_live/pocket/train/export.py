"""Writes the trained networks as the checkpoint that ships in the package: split files of `weights/save.py`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ltx_live.model.av import AV
from ltx_live.model.latents import ChunkWindow, VideoGeometry, audio_positions, video_positions
from ltx_live.model.layers import TokenTimesteps
from ltx_live.model.text_connector import TextProjection
from ltx_live.model.transformer import Modality, Transformer
from ltx_live.pocket import configs, weights_folder
from ltx_live.pocket.train import audio_vae, text, transformer, video_vae, vocoder
from ltx_live.pocket.train.loop import Settings
from ltx_live.weights.checkpoint import Storage, load_text_projection, load_transformer
from ltx_live.weights.files import find_model
from ltx_live.weights.fp8 import quantise
from ltx_live.weights.save import network_tensors, save_network, tokenizer_tensor

MAX_FILE_BYTES, MAX_TOTAL_BYTES = 16_000_000, 26_000_000
_REPOSITORY = Path(__file__).parents[3]
_PARTS: dict[str, Callable[[], nn.Module]] = {
    "video_vae": video_vae.build,
    "audio_vae": audio_vae.build,
    "vocoder": vocoder.build,
    "text": text.Reader,
    "transformer": transformer.Painter,
}


def train(settings: Settings) -> dict[str, float]:
    """Export `settings.folder`'s networks into the package; SystemExit says what is missing or too big."""
    return export(settings.folder, weights_folder(), settings.seed)


def export(source: Path, target: Path, seed: int = 0) -> dict[str, float]:
    """Write `source`'s trained networks to `target` and measure what float8 costs."""
    networks = {name: _load(source / f"{name}.safetensors", build()) for name, build in _PARTS.items()}
    tokenizer = source / "tokenizer.model"
    _require(tokenizer)
    target.mkdir(parents=True, exist_ok=True)
    metadata = {"name": "pocket", "training_commit": commit(), "seed": str(seed), "licence": "Apache-2.0"}
    for name, (tensors, config) in _files(networks, tokenizer.read_bytes()).items():
        save_network(target / f"{name}.safetensors", tensors, config, metadata)
    _check_sizes(target)
    painter = networks["transformer"]
    damage = velocity_damage(painter.projection, painter.transformer, target)
    print(f"relative error of the velocities from float8: video {damage.video:.2%}, audio {damage.audio:.2%}")
    return {"video_damage": damage.video, "audio_damage": damage.audio}


def _files(networks: dict[str, nn.Module], tokenizer: bytes) -> dict[str, tuple[dict[str, Tensor], dict]]:
    """Tensors and configuration of every file."""
    painter = networks["transformer"]
    config = {"transformer": configs.TRANSFORMER}
    words = network_tensors(networks["text"].model, "model.", fp8=True) | {"spiece_model": tokenizer_tensor(tokenizer)}
    sounds = _float8_encoder(network_tensors(networks["audio_vae"], "audio_vae."), "audio_vae.encoder.")
    sounds |= network_tensors(networks["vocoder"], "vocoder.")
    pictures = _float8_encoder(network_tensors(networks["video_vae"], ""), "encoder.")
    return {
        "transformer": (network_tensors(painter.transformer, "model.diffusion_model.", fp8=True), config),
        "text_projection": (network_tensors(painter.projection, "text_embedding_projection.", fp8=True), config),
        "text_encoder": (words, {"text_encoder": configs.TEXT_ENCODER}),
        "video_vae": (pictures, {"vae": configs.VIDEO_VAE}),
        "audio": (sounds, {"audio_vae": configs.AUDIO_VAE, "vocoder": configs.VOCODER}),
    }


def _float8_encoder(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The same with the convolutions under `prefix` in float8; encoders only make prefixes, which bear some noise."""
    made = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix) and name.endswith(".weight") and tensor.ndim >= 4:
            made[name], made[f"{name}_scale"] = quantise(tensor)
        else:
            made[name] = tensor
    return made


@torch.inference_mode()
def velocity_damage(projection: TextProjection, network: Transformer, folder: Path) -> AV[float]:
    """Relative error of the velocities of the exported text projection and transformer, on random inputs."""
    storage, files = Storage(dtype=torch.float32), find_model(folder)
    exported = load_transformer(files.transformer, storage)
    exported_projection = load_text_projection(files.text_projection, exported.config, storage)
    wanted = _velocities(projection, network)
    made = _velocities(exported_projection, exported)
    return AV(*(((a - b).norm() / b.norm().clamp(min=1e-9)).item() for a, b in zip(made, wanted, strict=True)))


def _velocities(projection: TextProjection, network: Transformer) -> AV[Tensor]:
    generator = torch.Generator().manual_seed(0)
    num_states = configs.TEXT_ENCODER["num_hidden_layers"] + 1
    hidden = torch.randn(1, 12, configs.TEXT_ENCODER["hidden_size"], num_states, generator=generator)
    context = network.connect_text(projection(hidden))
    window = ChunkWindow(33, configs.FRAME_RATE)
    geometry = VideoGeometry(window.num_frames, configs.WIDTH_PX, configs.HEIGHT_PX)
    ropes = (
        network.video_rope(video_positions(geometry, window.frame_rate)),
        network.audio_rope(audio_positions(window.num_audio_latents)),
    )
    sizes = (
        (geometry.num_tokens, configs.LATENT_CHANNELS),
        (window.num_audio_latents, configs.AUDIO_CHANNELS * configs.AUDIO_BINS),
    )
    sigma = torch.tensor([0.7])
    modalities = (
        Modality(torch.randn(1, *size, generator=generator), TokenTimesteps.common(sigma), sigma, rope, words)
        for size, rope, words in zip(sizes, ropes, context, strict=True)
    )
    return network(*modalities)


def _load(path: Path, network: nn.Module) -> nn.Module:
    _require(path)
    network.load_state_dict(load_file(path))
    return network.eval()


def _require(path: Path) -> None:
    if not path.exists():
        component = path.stem.replace("tokenizer", "text")
        raise SystemExit(f"{path}: not there; make it first with `python -m ltx_live.pocket.train {component}`")


def commit() -> str:
    """The commit that the training code stands at, or `unknown`."""
    command = ["git", "-C", str(_REPOSITORY), "rev-parse", "--verify", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _check_sizes(folder: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in sorted(folder.glob("*.safetensors"))}
    for name, size in sizes.items():
        print(f"{name:32}{size / 1e6:8.2f} MB")
    total = sum(sizes.values())
    print(f"{'together':32}{total / 1e6:8.2f} MB")
    for name, size in sizes.items():
        if size >= MAX_FILE_BYTES:
            raise SystemExit(f"{folder / name}: {size} bytes, must be under {MAX_FILE_BYTES}; make the network smaller")
    if total > MAX_TOTAL_BYTES:
        raise SystemExit(f"{folder}: {total} bytes, must be at most {MAX_TOTAL_BYTES}; make a network smaller")
