"""Sources of tensors -> networks: strict, built on the meta device, filled by assignment."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ltx_live.errors import CheckpointError
from ltx_live.model.audio_vae import AudioVAE
from ltx_live.model.bandwidth import VocoderWithBWE
from ltx_live.model.config import TransformerConfig
from ltx_live.model.text_connector import TextProjection
from ltx_live.model.transformer import Transformer
from ltx_live.model.video_vae import VideoVAE
from ltx_live.weights.files import Source
from ltx_live.weights.fp8 import FLOAT8, FP8Mode, adopt_fp8
from ltx_live.weights.headers import summary
from ltx_live.weights.transfer import to_device

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Storage:
    """Where and how loaded weights are kept.

    `dtype` is that of floating tensors; None keeps the file's (dequantised weights are bfloat16 then). Modulation
    tables and scales are float32 always.
    """

    device: torch.device | str = "cpu"
    dtype: torch.dtype | None = None
    fp8: FP8Mode = "dequantised"


def build_on_meta(build: Callable[[], Network], where: str) -> Network:
    """What `build` builds from a configuration, without memory; CheckpointError for a configuration it cannot use."""
    try:
        with torch.device("meta"):
            return build()
    except KeyError as error:
        raise CheckpointError(f"{where}: the configuration lacks {error}") from error
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{where}: {error}") from error


def load_network(network: Network, state: dict[str, Tensor], where: str, storage: Storage | None = None) -> Network:
    """Fill a network built on the meta device; it comes back in evaluation mode and without gradients.

    `state` is used up, so that a converted tensor does not exist twice. Raises CheckpointError that begins with
    `where` and names tensors that are missing, unknown or misshapen.
    """
    storage = storage or Storage()
    adopt_fp8(network, state, where, storage.fp8, storage.dtype or torch.bfloat16)
    _check_names_and_shapes(network, state, where)
    kept = {name: _convert(name, state.pop(name), storage.dtype) for name in list(state)}
    network.load_state_dict(kept, assign=True)
    network.requires_grad_(False).eval()
    left = [name for name, tensor in chain(network.named_parameters(), network.named_buffers()) if tensor.is_meta]
    if left:
        raise CheckpointError(f"{where}: {_count('in no file and never computed', left)}; this is an error of ltx_live")
    return network


def is_always_float32(name: str) -> bool:
    """True for the tensors that files hold in float32 and that stay so: modulation tables and scales of float8."""
    return "scale_shift_table" in name or name.endswith((".weight_scale", ".input_scale"))


def load_tensors(source: Source, storage: Storage, on_host: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """The tensors of a source on the storage's device, but those whose names begin with one of `on_host` on the CPU."""
    state = source.tensors()
    return state | to_device({name: state[name] for name in state if not name.startswith(on_host)}, storage.device)


def load_transformer(source: Source, storage: Storage | None = None, on_host: tuple[str, ...] = ()) -> Transformer:
    """The transformer with its text connectors; tensors whose names begin with one of `on_host` stay on the CPU."""

    def build(section: Mapping[str, Any]) -> Transformer:
        return Transformer(TransformerConfig.from_metadata(dict(section)))

    return _load(source, build, storage, on_host)


def load_text_projection(
    source: Source, config: TransformerConfig, storage: Storage | None = None, on_host: tuple[str, ...] = ()
) -> TextProjection:
    """The projection of the text encoder's hidden states; how many those are is read from the tensors' shape.

    `config` is the transformer's: this part needs none of its own. `on_host` as in `load_transformer`.
    """
    weight = source.entries.get("video_aggregate_embed.weight")
    num_states = 1 if weight is None else weight.shape[-1] // config.caption_channels
    storage = replace(storage or Storage(), fp8="dequantised")  # its weight is used layer by layer
    return _load(source, lambda section: TextProjection(config, num_states), storage, on_host)


def load_video_vae(source: Source, storage: Storage | None = None) -> VideoVAE:
    """Encoder, decoder and statistics of the video VAE."""
    return _load(source, VideoVAE.from_config, storage)


def load_audio_vae(source: Source, storage: Storage | None = None) -> AudioVAE:
    """Encoder, decoder and statistics of the audio VAE."""
    return _load(source, AudioVAE.from_config, storage)


def load_vocoder(source: Source, storage: Storage | None = None) -> VocoderWithBWE:
    """The vocoder with its bandwidth extension."""
    return _load(source, VocoderWithBWE.from_config, storage)


def _load(
    source: Source,
    build: Callable[[Mapping[str, Any]], Network],
    storage: Storage | None,
    on_host: tuple[str, ...] = (),
) -> Network:
    storage = storage or Storage()
    where = f"{source.where}: {source.title}"
    network = build_on_meta(lambda: build(source.config), where)
    return load_network(network, load_tensors(source, storage, on_host), where, storage)


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
    text = "; ".join(_count(fault, names) for fault, names in faults.items() if names)
    if text:
        raise CheckpointError(f"{where}: {text}. The file is damaged or of another model: use another one")


def _convert(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    if is_always_float32(name):
        return tensor.float()
    if dtype is None or tensor.dtype == FLOAT8 or not tensor.is_floating_point():
        return tensor
    return tensor.to(dtype)


def _count(fault: str, names: list[str]) -> str:
    """'5 tensors missing (a, b, c, ...)'."""
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''} {fault} ({summary(names)})"
