"""Sources of tensors -> networks: strict, built on the meta device, filled by assignment."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn

from ltx_live.errors import CheckpointError
from ltx_live.model.audio_vae import AudioVAE
from ltx_live.model.bandwidth import VocoderWithBWE
from ltx_live.model.config import TransformerConfig
from ltx_live.model.mel import MelConfig, log_mel
from ltx_live.model.text_connector import TextProjection
from ltx_live.model.transformer import Transformer
from ltx_live.model.video_vae import VideoVAE
from ltx_live.weights.files import Source
from ltx_live.weights.fp8 import FLOAT8, FP8Mode, adopt_fp8, dequantise
from ltx_live.weights.header_json import count
from ltx_live.weights.headers import UNUSABLE, read_tensors
from ltx_live.weights.transfer import to_device

Built = TypeVar("Built")
Network = TypeVar("Network", bound=nn.Module)

LATENT_STRIDES = (8, 32, 32)
"""Frames, rows and columns to a video latent: the prefix of 9 frames and the sizes of the show are built on them."""


@dataclass(frozen=True)
class Storage:
    """Where and how loaded weights are kept.

    `dtype` is that of floating tensors; None keeps the file's (dequantised weights are bfloat16 then). Modulation
    tables and scales are float32 always.
    """

    device: torch.device | str = "cpu"
    dtype: torch.dtype | None = None
    fp8: FP8Mode = "dequantised"


def build_on_meta(build: Callable[[], Built], where: str) -> Built:
    """What `build` builds from a configuration, without memory; CheckpointError for a configuration it cannot use."""
    try:
        with torch.device("meta"):
            return build()
    except KeyError as error:
        raise CheckpointError(f"{where}: the configuration lacks {error}") from error
    except ValueError as error:
        raise CheckpointError(f"{where}: {' '.join(str(error).split())}") from error
    except UNUSABLE as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{where}: the configuration cannot be used ({reason}); get the file again") from error


def load_network(network: Network, state: dict[str, Tensor], where: str, storage: Storage | None = None) -> Network:
    """Fill a network built on the meta device; it comes back in evaluation mode and without gradients.

    `state` is used up, so that a converted tensor does not exist twice. Raises CheckpointError that begins with
    `where` and names tensors that are missing, unknown or misshapen.
    """
    storage = storage or Storage()
    _fit(network, state, where, storage)
    kept = {name: _convert(name, state.pop(name), storage.dtype) for name in list(state)}
    network.load_state_dict(kept, assign=True)
    network.requires_grad_(False).eval()
    left = [name for name, tensor in chain(network.named_parameters(), network.named_buffers()) if tensor.is_meta]
    if left:
        raise CheckpointError(f"{where}: {count(left, 'in no file and never computed')}; this is an error of ltx_live")
    return network


def check_network(network: nn.Module, source: Source) -> None:
    """Hold a network on the meta device against the headers of its files; CheckpointError as of `load_network`.

    Of the tensors only the small texts of quantised formats are read. Float8 layers become such.
    """
    texts = read_tensors({name: entry for name, entry in source.entries.items() if name.endswith(".comfy_quant")})
    shapes = {
        name: torch.empty(entry.shape, dtype=entry.dtype, device="meta") for name, entry in source.entries.items()
    }
    _fit(network, shapes | texts, source.label, Storage(fp8="matmul"))


def is_always_float32(name: str) -> bool:
    """True for the tensors that files hold in float32 and that stay so: modulation tables and scales of float8."""
    return "scale_shift_table" in name or name.endswith((".weight_scale", ".input_scale"))


def load_tensors(source: Source, storage: Storage, on_host: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """The tensors of a source on the storage's device, but those whose names begin with one of `on_host` on the CPU."""
    state = source.tensors()
    return state | to_device({name: state[name] for name in state if not name.startswith(on_host)}, storage.device)


def read_linear(state: dict[str, Tensor], layer: str, is_float8: bool, storage: Storage) -> dict[str, Tensor]:
    """A layer's `weight`, and `weight_scale` () with `is_float8`, from a file's tensors, as `load_network` takes them.

    They are taken out of `state`.
    """
    weight, scale = state.pop(f"{layer}.weight"), state.pop(f"{layer}.weight_scale", None)
    if is_float8:
        return {"weight": weight, "weight_scale": scale.float().reshape(())}
    if weight.dtype == FLOAT8:
        return {"weight": dequantise(weight, scale.float().reshape(()), storage.dtype or torch.bfloat16)}
    return {"weight": _convert(layer, weight, storage.dtype)}


def build_transformer(source: Source) -> Transformer:
    """The transformer with its text connectors on the meta device; CheckpointError for its configuration."""

    def build() -> Transformer:
        config = TransformerConfig.from_metadata(dict(source.config))
        _check_numbers(config)
        return Transformer(config)

    return build_on_meta(build, source.label)


def build_text_projection(source: Source, config: TransformerConfig) -> TextProjection:
    """The text projection on the meta device; how many hidden states it takes is read from its tensor's shape.

    `config` is the transformer's: this part needs none of its own.
    """
    weight = source.entries["video_aggregate_embed.weight"]
    return build_on_meta(lambda: TextProjection(config, weight.shape[-1] // config.caption_channels), source.label)


def build_video_vae(source: Source) -> VideoVAE:
    """The video VAE on the meta device; CheckpointError for its configuration."""
    vae = build_on_meta(lambda: VideoVAE.from_config(source.config), source.label)
    if vae.encoder.strides != LATENT_STRIDES:
        raise CheckpointError(
            f"{source.label}: a latent is {vae.encoder.strides} frames, rows and columns; it must be {LATENT_STRIDES}"
        )
    return vae


def build_audio_vae(source: Source) -> AudioVAE:
    """The audio VAE on the meta device; CheckpointError for its configuration."""
    return build_on_meta(lambda: AudioVAE.from_config(source.config), source.label)


def build_vocoder(source: Source) -> VocoderWithBWE:
    """The vocoder with its bandwidth extension on the meta device; CheckpointError for its configuration."""
    return build_on_meta(lambda: VocoderWithBWE.from_config(source.config), source.label)


def mel_config(source: Source) -> MelConfig:
    """How the audio VAE hears; LTX-2.3's where its configuration does not say. Raises CheckpointError."""
    if "preprocessing" not in source.config:
        return MelConfig()

    def build() -> MelConfig:
        config = MelConfig.from_config(dict(source.config))
        log_mel(torch.zeros(1, 2, 2 * config.window), config)  # fails here, if at all
        return config

    return build_on_meta(build, source.label)


def load_transformer(source: Source, storage: Storage | None = None, on_host: tuple[str, ...] = ()) -> Transformer:
    """The transformer with its text connectors; tensors whose names begin with one of `on_host` stay on the CPU."""
    return _load(build_transformer(source), source, storage, on_host)


def load_text_projection(
    source: Source, config: TransformerConfig, storage: Storage | None = None, on_host: tuple[str, ...] = ()
) -> TextProjection:
    """The projection of the text encoder's hidden states, as `build_text_projection`; `on_host` as above."""
    storage = replace(storage or Storage(), fp8="dequantised")  # its weight is used layer by layer
    return _load(build_text_projection(source, config), source, storage, on_host)


def load_video_vae(source: Source, storage: Storage | None = None) -> VideoVAE:
    """Encoder, decoder and statistics of the video VAE."""
    return _load(build_video_vae(source), source, storage)


def load_audio_vae(source: Source, storage: Storage | None = None) -> AudioVAE:
    """Encoder, decoder and statistics of the audio VAE."""
    return _load(build_audio_vae(source), source, storage)


def load_vocoder(source: Source, storage: Storage | None = None) -> VocoderWithBWE:
    """The vocoder with its bandwidth extension."""
    return _load(build_vocoder(source), source, storage)


def _load(network: Network, source: Source, storage: Storage | None, on_host: tuple[str, ...] = ()) -> Network:
    storage = storage or Storage()
    return load_network(network, load_tensors(source, storage, on_host), source.label, storage)


def _check_numbers(config: TransformerConfig) -> None:
    """Raises ValueError for a size that is not what its default is: a positive whole number, a number, or several."""
    for name, default in asdict(TransformerConfig()).items():
        value = getattr(config, name)
        kind = int if isinstance(default, int) else int | float
        numbers, like = ((each if isinstance(each, tuple) else (each,)) for each in (value, default))
        fits = isinstance(value, tuple) == isinstance(default, tuple) and len(numbers) == len(like)
        if not fits or not all(isinstance(number, kind) and number > 0 for number in numbers):
            raise ValueError(f"transformer config: {name} is {value!r}, LTX-2.3 has {default!r}; get the file again")


def _fit(network: nn.Module, state: dict[str, Tensor], where: str, storage: Storage) -> None:
    """Bring network and tensors into agreement about float8; CheckpointError where names or shapes do not fit."""
    adopt_fp8(network, state, where, storage.fp8, storage.dtype or torch.bfloat16)
    _check_names_and_shapes(network, state, where)


def _check_names_and_shapes(network: nn.Module, state: dict[str, Tensor], where: str) -> None:
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    misshapen = [
        f"{name} is {tuple(state[name].shape)}, must be {tuple(shape)}"
        for name, shape in expected.items()
        if name in state and state[name].shape != shape
    ]
    faults = {
        "missing": [name for name in expected if name not in state],
        "unknown": [name for name in state if name not in expected],
        "misshapen": misshapen,
    }
    text = "; ".join(count(names, fault) for fault, names in faults.items() if names)
    if text:
        raise CheckpointError(f"{where}: {text}. The file is damaged or of another model: use another one")


def _convert(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    if is_always_float32(name):
        return tensor.float()
    if dtype is None or tensor.dtype == FLOAT8 or not tensor.is_floating_point():
        return tensor
    return tensor.to(dtype)
