"""A model of any size with random weights, written in the split FP8 layout without ever being whole in memory."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ltx_live.model.audio_vae import AudioVAE
from ltx_live.model.bandwidth import VocoderWithBWE
from ltx_live.model.config import TransformerConfig
from ltx_live.model.text_connector import TextProjection
from ltx_live.model.transformer import Transformer
from ltx_live.model.video_vae import VideoVAE
from ltx_live.pocket import weights_folder
from ltx_live.weights import known
from ltx_live.weights.checkpoint import is_always_float32
from ltx_live.weights.files import find_model
from ltx_live.weights.fp8 import FLOAT8, quantise
from ltx_live.weights.headers import read_tensors
from ltx_live.weights.save import Promise, save_promises
from ltx_live.weights.text_encoder import GEMMA_3_12B, build_gemma

NUM_BFLOAT16_BLOCKS = 2
"""The first and the last so many blocks are bfloat16, as in the published files (reference/model.md 7)."""


@dataclass(frozen=True)
class Configurations:
    """The configuration of every network; LTX-2.3 22B unless said otherwise."""

    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    gemma: dict[str, Any] = field(default_factory=lambda: GEMMA_3_12B)
    video_vae: dict[str, Any] = field(default_factory=lambda: known.VIDEO_VAE)
    audio_vae: dict[str, Any] = field(default_factory=lambda: known.AUDIO_VAE)
    vocoder: dict[str, Any] = field(default_factory=lambda: known.VOCODER)


def write_random_model(folder: Path, configs: Configurations, device: torch.device, seed: int) -> None:
    """Write the five files; the same seed on the same kind of device gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.device("meta"):
        transformer = Transformer(configs.transformer)
        projection = TextProjection(configs.transformer, configs.gemma["num_hidden_layers"] + 1)
        gemma = build_gemma(configs.gemma)
        video_vae = VideoVAE.from_config(configs.video_vae)
        audio_vae = AudioVAE.from_config(configs.audio_vae)
        vocoder = VocoderWithBWE.from_config(configs.vocoder)
    draw = Draw(device, seed)
    tokenizer = pocket_tokenizer()
    spiece = Promise("spiece_model", torch.uint8, (len(tokenizer),), lambda: tokenizer)
    audio = {"audio_vae": configs.audio_vae, "vocoder": configs.vocoder}
    files = {
        "transformer_fp8_scaled": (
            promises(transformer, "model.diffusion_model.", draw, float8_in_transformer(configs.transformer)),
            {"transformer": configs.transformer.to_metadata()},
        ),
        "text_projection_bf16": (promises(projection, "text_embedding_projection.", draw), {}),
        "gemma_fp8_scaled": (
            [spiece, *promises(gemma, "model.", draw, lambda name: name.startswith("layers."))],
            {"text_encoder": configs.gemma},
        ),
        "video_vae_bf16": (promises(video_vae, "", draw), {"vae": configs.video_vae}),
        "audio_vae_bf16": (
            [*promises(audio_vae, "audio_vae.", draw), *promises(vocoder, "vocoder.", draw)],
            audio,
        ),
    }
    for name, (tensors, config) in files.items():
        metadata = {"config": json.dumps(config), "name": f"random weights, seed {seed}"} if config else {}
        save_promises(folder / f"{name}.safetensors", tensors, metadata)


def float8_in_transformer(config: TransformerConfig) -> Callable[[str], bool]:
    """Whether the published FP8 files hold a tensor of this name as float8, if it is a Linear weight."""
    blocks = range(NUM_BFLOAT16_BLOCKS, config.num_layers - NUM_BFLOAT16_BLOCKS)
    return lambda name: name.startswith("transformer_blocks.") and int(name.split(".")[1]) in blocks


def promises(
    network: nn.Module, prefix: str, draw: Draw, is_float8: Callable[[str], bool] = lambda name: False
) -> Iterator[Promise]:
    """The tensors of a network on the meta device, under their names in the file."""
    linear = {f"{name}.weight" for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    for name, tensor in network.state_dict().items():
        shape = tuple(tensor.shape)
        if name in linear and is_float8(name):
            yield Promise(prefix + name, FLOAT8, shape, lambda n=name, s=shape: draw.float8(n, s)[0])
            yield Promise(f"{prefix}{name}_scale", torch.float32, (), lambda n=name, s=shape: draw.float8(n, s)[1])
        else:
            dtype = torch.float32 if is_always_float32(name) else torch.bfloat16
            yield Promise(prefix + name, dtype, shape, lambda n=name, s=shape, d=dtype: draw.plain(n, s).to(d))


@dataclass
class Draw:
    """Random values for a name, always the same ones: matrices N(0, 1 / fan_in), gains 1 + 0.1 N, the rest 0.3 N."""

    device: torch.device
    seed: int

    def plain(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Float32 values on the device."""
        generator = torch.Generator(self.device).manual_seed(self.seed * 2**32 + zlib.crc32(name.encode()))
        values = torch.randn(shape, generator=generator, device=self.device)
        if len(shape) > 1 and "table" not in name and "registers" not in name:
            return values.mul_(values[0].numel() ** -0.5)
        if name.endswith(("norm.weight", "std-of-means")) and "layernorm" not in name:
            return values.mul_(0.1).add_(1)
        return values.mul_(0.3)

    def float8(self, name: str, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """The same as float8 with its scale."""
        return quantise(self.plain(name, shape))


def pocket_tokenizer() -> Tensor:
    """The tokenizer in the pocket's files: any will do for random weights."""
    return read_tensors({"spiece_model": find_model(weights_folder()).tokenizer})["spiece_model"]


def write_random_lora(path: Path, config: TransformerConfig, rank: int, device: torch.device, seed: int) -> None:
    """A LoRA on every Linear of every block, of about a tenth of the weights' size."""
    with torch.device("meta"):
        network = Transformer(config)
    draw = Draw(device, seed)
    tensors = []
    for name, module in network.transformer_blocks.named_modules():
        if isinstance(module, nn.Linear):
            key = f"diffusion_model.transformer_blocks.{name}"
            shapes = {"lora_A": (rank, module.in_features), "lora_B": (module.out_features, rank)}
            for factor, shape in shapes.items():
                gain = 1.0 if factor == "lora_A" else 0.1
                tensors.append(
                    Promise(
                        f"{key}.{factor}.weight",
                        torch.bfloat16,
                        shape,
                        lambda n=f"{name}.{factor}", s=shape, g=gain: (draw.plain(n, s) * g).bfloat16(),
                    )
                )
    save_promises(path, tensors, {})
