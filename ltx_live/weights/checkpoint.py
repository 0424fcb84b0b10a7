"""Checkpoint files -> networks: strict, built on the meta device, filled by assignment.

Layout: split safetensors files, one per part, with the configuration as JSON in the metadata (scope-plugin.md 1.2).
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ltx_live.errors import CheckpointError
from ltx_live.model.audio_vae import AudioVAE
from ltx_live.model.bandwidth import VocoderWithBWE
from ltx_live.model.config import TransformerConfig
from ltx_live.model.text_connector import TextProjection
from ltx_live.model.transformer import Transformer
from ltx_live.model.video_vae import VideoVAE
from ltx_live.weights.fp8 import FLOAT8, FP8Mode, adopt_fp8

NUM_NAMES_SHOWN = 3

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


@dataclass(frozen=True)
class Part:
    """A network's share of a file.

    `section` of the configuration sizes it; of `prefixes` the first that occurs is stripped from the tensors' names;
    names that begin with one of `not_ours` are in the file but not of this network.
    """

    title: str
    section: str
    prefixes: tuple[str, ...]
    not_ours: tuple[str, ...] = ()


TRANSFORMER = Part("transformer", "transformer", ("model.diffusion_model.", ""))
TEXT_PROJECTION = Part("text projection", "transformer", ("text_embedding_projection.",))
TEXT_ENCODER = Part(
    "text encoder", "text_encoder", ("model.",), ("spiece_model", "vision_model.", "multi_modal_projector.")
)
VIDEO_VAE = Part("video VAE", "vae", ("vae.", ""))
AUDIO_VAE = Part("audio VAE", "audio_vae", ("audio_vae.",), ("vocoder.",))
VOCODER = Part("vocoder", "vocoder", ("vocoder.",), ("audio_vae.", "vocoder.resampler."))  # whose filter we compute


@dataclass(frozen=True)
class SplitFiles:
    """The files of one model; `audio` holds audio VAE and vocoder."""

    transformer: Path
    text_projection: Path
    text_encoder: Path
    video_vae: Path
    audio: Path


# What each file holds, and a tensor by which it is known.
SIGNS = {
    "transformer": ("transformer", {prefix + "patchify_proj.weight" for prefix in TRANSFORMER.prefixes}),
    "text_projection": ("text projection", {"text_embedding_projection.video_aggregate_embed.weight"}),
    "text_encoder": ("text encoder", {"model.embed_tokens.weight"}),
    "video_vae": ("video VAE", {prefix + "per_channel_statistics.mean-of-means" for prefix in VIDEO_VAE.prefixes}),
    "audio": ("audio VAE and vocoder", {"audio_vae.per_channel_statistics.mean-of-means"}),
}


def find_split_files(folder: Path) -> SplitFiles:
    """Recognise the files in `folder` and below by their tensors' names; other safetensors files are ignored.

    Raises CheckpointError naming a part that no file holds or that two files hold, or an unreadable file.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder")
    names = {path: read_shapes(path).keys() for path in sorted(folder.rglob("*.safetensors"))}
    found = {field: [path for path in names if signs & names[path]] for field, (_, signs) in SIGNS.items()}
    missing = [SIGNS[field][0] for field, paths in found.items() if not paths]
    if missing:
        raise CheckpointError(f"{folder}: no safetensors file here holds the {', the '.join(missing)}; add it")
    for field, paths in found.items():
        if len(paths) > 1:
            several = ", ".join(str(path.relative_to(folder)) for path in paths)
            raise CheckpointError(f"{folder}: several files hold the {SIGNS[field][0]}: {several}; keep one")
    return SplitFiles(**{field: paths[0] for field, paths in found.items()})


@contextmanager
def open_checkpoint(path: Path, device: torch.device | str = "cpu") -> Iterator[Any]:
    """The safetensors file, open; CheckpointError where it is missing, cut short or something else."""
    try:
        file = safe_open(path, framework="pt", device=str(device))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a complete safetensors file ({error}); get it again") from error
    with file:
        yield file


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors, from the header alone."""
    with open_checkpoint(path) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (not a dict)


def read_metadata(path: Path) -> dict[str, str]:
    """All metadata of the file; empty where it has none."""
    with open_checkpoint(path) as file:
        return file.metadata() or {}


def read_config(path: Path) -> dict[str, Any]:
    """The configuration that the file carries as JSON under `config` in its metadata; CheckpointError without it."""
    text = read_metadata(path).get("config")
    if text is None:
        raise CheckpointError(
            f"{path}: no 'config' in its metadata, so its sizes are not known; use a file that has it"
        )
    try:
        config = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"{path}: 'config' in its metadata is not JSON ({error})") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: 'config' in its metadata is not a JSON object")
    return config


def load_state(path: Path, part: Part, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """The tensors of `part` under the network's own names; CheckpointError where the file holds none or strangers."""
    with open_checkpoint(path, device) as file:
        names = [name for name in file.keys() if not name.startswith(part.not_ours)]  # noqa: SIM118 (not a dict)
        prefix = next((p for p in part.prefixes if any(name.startswith(p) for name in names)), None)
        if prefix is None:
            raise CheckpointError(f"{path}: holds no {part.title} (no tensor named {part.prefixes[0]}...)")
        strangers = [name for name in names if not name.startswith(prefix)]
        if strangers:
            raise CheckpointError(f"{path}: {_count('unknown', strangers)} beside the {part.title}")
        return {name.removeprefix(prefix): file.get_tensor(name) for name in names}


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


def load_transformer(path: Path, storage: Storage | None = None) -> Transformer:
    """The transformer with its text connectors."""
    return _load(path, TRANSFORMER, lambda section: Transformer(TransformerConfig.from_metadata(section)), storage)


def load_text_projection(path: Path, config: TransformerConfig, storage: Storage | None = None) -> TextProjection:
    """The projection of the text encoder's hidden states; how many those are is read from the tensors' shape.

    `config` is the transformer's: this file needs none of its own.
    """
    storage = storage or Storage()
    where = f"{path}: {TEXT_PROJECTION.title}"
    state = load_state(path, TEXT_PROJECTION, storage.device)
    weight = state.get("video_aggregate_embed.weight")
    num_states = 1 if weight is None else weight.shape[-1] // config.caption_channels
    return load_network(build_on_meta(lambda: TextProjection(config, num_states), where), state, where, storage)


def load_video_vae(path: Path, storage: Storage | None = None) -> VideoVAE:
    """Encoder, decoder and statistics of the video VAE."""
    return _load(path, VIDEO_VAE, VideoVAE.from_config, storage)


def load_audio_vae(path: Path, storage: Storage | None = None) -> AudioVAE:
    """Encoder, decoder and statistics of the audio VAE."""
    return _load(path, AUDIO_VAE, AudioVAE.from_config, storage)


def load_vocoder(path: Path, storage: Storage | None = None) -> VocoderWithBWE:
    """The vocoder with its bandwidth extension."""
    return _load(path, VOCODER, VocoderWithBWE.from_config, storage)


def _load(path: Path, part: Part, build: Callable[[dict], Network], storage: Storage | None) -> Network:
    storage = storage or Storage()
    config = read_config(path)
    if part.section not in config:
        raise CheckpointError(
            f"{path}: its configuration has no section '{part.section}', which the {part.title} needs"
        )
    where = f"{path}: {part.title}"
    network = build_on_meta(lambda: build(config[part.section]), where)
    return load_network(network, load_state(path, part, storage.device), where, storage)


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
    shown = ", ".join(names[:NUM_NAMES_SHOWN]) + (", ..." if len(names) > NUM_NAMES_SHOWN else "")
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''} {fault} ({shown})"
