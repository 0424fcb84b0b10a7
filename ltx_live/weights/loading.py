"""A whole model: its sizes from the files' headers, then its networks loaded where the memory plan says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ltx_live.model.audio_vae import AudioVAE
from ltx_live.model.av import AV
from ltx_live.model.bandwidth import VocoderWithBWE
from ltx_live.model.text_connector import TextProjection
from ltx_live.model.transformer import Transformer
from ltx_live.model.video_vae import VideoVAE
from ltx_live.weights.adapters import merge
from ltx_live.weights.checkpoint import (
    Storage,
    is_always_float32,
    load_audio_vae,
    load_text_projection,
    load_transformer,
    load_video_vae,
    load_vocoder,
)
from ltx_live.weights.files import Entry, ModelFiles, Source
from ltx_live.weights.fp8 import FLOAT8
from ltx_live.weights.lora import Lora
from ltx_live.weights.memory import MemoryPlan, Sizes
from ltx_live.weights.remerge import MergedLoras, Originals
from ltx_live.weights.streaming import Unit, WeightStream, aligned, chain, stream_modules
from ltx_live.weights.text_encoder import EMBEDDING, TextEncoder, load_text_encoder

BLOCKS = "transformer_blocks."
CONNECTORS = ("video_embeddings_connector.transformer_1d_blocks.", "audio_embeddings_connector.transformer_1d_blocks.")
ENCODER_LAYERS = "layers."
PROJECTIONS = ("video_aggregate_embed.weight", "audio_aggregate_embed.weight")
ROWS_AT_A_TIME = 512
"""Of a projection's weight, while it is sorted by layer on the device."""


@dataclass(frozen=True)
class Networks:
    """Everything that computes, on one device; `stream` brings what is not there, where the plan has such.

    `merged` are the LoRAs that were folded into the transformer.
    """

    transformer: Transformer
    video_vae: VideoVAE
    audio_vae: AudioVAE
    vocoder: VocoderWithBWE
    encoder: TextEncoder
    projection: Callable[[Tensor], AV[Tensor]]
    stream: WeightStream | None = None
    merged: MergedLoras | None = None


@dataclass(frozen=True)
class StreamedProjection:
    """TextProjection whose weights come through a stream, one hidden state's share after the other."""

    projection: TextProjection
    stream: WeightStream
    units: Sequence[Unit]

    def __call__(self, hidden_states: Tensor) -> AV[Tensor]:
        weights = (AV(unit["video"], unit["audio"]) for unit in self.stream.passing(self.units))
        return self.projection(hidden_states, weights)


def measure(files: ModelFiles, storage: Storage) -> Sizes:
    """Bytes of the parts of a model as they are once loaded, from the headers alone."""
    transformer, encoder = files.transformer, files.text_encoder
    blocks = _by_index(transformer, BLOCKS, storage)
    connectors = [size for prefix in CONNECTORS for size in _by_index(transformer, prefix, storage)]
    layers = _by_index(encoder, ENCODER_LAYERS, storage)
    plain = replace(storage, fp8="dequantised")
    projection = [_loaded_bytes(name, files.text_projection.entries[name], plain) for name in PROJECTIONS]
    num_states = len(layers) + 1
    sound = Storage(storage.device, torch.float32)
    embedding = _total(encoder, storage, lambda name: name.startswith(EMBEDDING))
    return Sizes(
        blocks=tuple(blocks),
        scaffold=_total(transformer, storage) - sum(blocks) - sum(connectors),
        decoders=_total(files.video_vae, storage) + _total(files.audio_vae, storage) + _total(files.vocoder, sound),
        text_units=(*layers, *[sum(projection) // num_states] * num_states, *connectors),
        text_rest=_total(encoder, storage) - embedding - sum(layers) + _total(files.text_projection, plain)
        - sum(projection),
        embedding=embedding,
    )  # fmt: skip


def load_networks(
    files: ModelFiles,
    plan: MemoryPlan,
    storage: Storage,
    merged: Sequence[tuple[Lora, float]] = (),
    report: Callable[[str], None] = lambda text: None,
) -> Networks:
    """Load everything; `merged` LoRAs are folded into the transformer. Raises CheckpointError."""
    is_streaming = bool(plan.buffer_bytes)
    on_host = (*(f"{BLOCKS}{index}." for index in plan.streamed), *(CONNECTORS if is_streaming else ()))
    report("loading the transformer")
    originals = Originals(files.transformer, storage, [lora for lora, _ in merged])
    transformer = load_transformer(files.transformer, storage, on_host)
    if merged:
        report("merging LoRAs")
        merge(transformer, merged, storage.device)
    report("loading the text encoder")
    encoder = load_text_encoder(
        files.text_encoder,
        files.tokenizer,
        transformer.config.text_length,
        storage,
        on_host=(ENCODER_LAYERS,) if is_streaming else (),
    )
    projection = load_text_projection(
        files.text_projection, transformer.config, storage, on_host=PROJECTIONS if is_streaming else ()
    )
    stream = None
    if is_streaming:
        report("pinning what does not stay on the GPU")
        stream = WeightStream(storage.device, plan.buffer_bytes)
        projection = _stream_all(stream, plan, transformer, encoder, projection)
    report("loading picture and sound")
    return Networks(
        transformer=transformer,
        video_vae=load_video_vae(files.video_vae, storage),
        audio_vae=load_audio_vae(files.audio_vae, storage),
        vocoder=load_vocoder(files.vocoder, Storage(storage.device, torch.float32)),
        encoder=encoder,
        projection=projection,
        stream=stream,
        merged=MergedLoras(transformer, merged, originals, storage.device, stream) if merged else None,
    )


def _stream_all(
    stream: WeightStream, plan: MemoryPlan, transformer: Transformer, encoder: TextEncoder, projection: TextProjection
) -> StreamedProjection:
    """Put what the plan says onto the stream, in the order in which it is needed."""
    blocks = stream_modules(stream, [transformer.transformer_blocks[index] for index in plan.streamed])
    layers = stream_modules(stream, encoder.gemma.layers)
    parts = by_layer(projection, stream)
    connectors = stream_modules(
        stream,
        [
            *transformer.video_embeddings_connector.transformer_1d_blocks,
            *transformer.audio_embeddings_connector.transformer_1d_blocks,
        ],
    )
    chain(blocks, blocks[0])
    chain([*layers, *parts, *connectors], blocks[0])
    return StreamedProjection(projection, stream, parts)


def by_layer(projection: TextProjection, stream: WeightStream) -> list[Unit]:
    """One unit per hidden state with its share of both weights, which leave the projection.

    In the files the layer is the fastest index; the weights are sorted on the device, which does that quickly.
    """
    embeds = AV(projection.video_aggregate_embed, projection.audio_aggregate_embed)
    num_states = embeds.video.in_features // projection.hidden_dim
    share = {
        name: torch.empty(embed.out_features, projection.hidden_dim, dtype=embed.weight.dtype, device="meta")
        for name, embed in zip(("video", "audio"), embeds, strict=True)
    }
    units = [Unit(share, stream.pins) for _ in range(num_states)]
    targets = [unit.views(unit.host) for unit in units]
    for name, embed in zip(("video", "audio"), embeds, strict=True):
        for start in range(0, embed.out_features, ROWS_AT_A_TIME):
            rows = embed.weight[start : start + ROWS_AT_A_TIME].to(stream.device)
            rows = rows.unflatten(1, (projection.hidden_dim, num_states)).permute(2, 0, 1).contiguous()  # (L, rows, D)
            for target, share in zip(targets, rows, strict=True):
                target[name][start : start + ROWS_AT_A_TIME] = share
        embed.weight = nn.Parameter(embed.weight.detach().to("meta"), requires_grad=False)
    return units


def _by_index(source: Source, prefix: str, storage: Storage) -> list[int]:
    """Bytes of what lies under `prefix` and a number, in the order of the numbers."""
    sizes: dict[int, int] = {}
    for name, entry in source.entries.items():
        if name.startswith(prefix):
            index = int(name.removeprefix(prefix).partition(".")[0])
            sizes[index] = sizes.get(index, 0) + _loaded_bytes(name, entry, storage)
    return [sizes[index] for index in sorted(sizes)]


def _total(source: Source, storage: Storage, chosen: Callable[[str], bool] = lambda name: True) -> int:
    return sum(_loaded_bytes(name, entry, storage) for name, entry in source.entries.items() if chosen(name))


def _loaded_bytes(name: str, entry: Entry, storage: Storage) -> int:
    """Bytes that a tensor takes once loaded, aligned as in memory."""
    num = entry.num_bytes // entry.dtype.itemsize
    if name.endswith(".comfy_quant"):
        return 0
    if is_always_float32(name):
        return aligned(num * 4)
    if entry.dtype == FLOAT8:
        stays = storage.fp8 != "dequantised" and len(entry.shape) == 2 and not name.startswith(EMBEDDING)
        return aligned(num if stays else num * (storage.dtype or torch.bfloat16).itemsize)
    is_converted = storage.dtype is not None and entry.dtype.is_floating_point
    return aligned(num * (storage.dtype if is_converted else entry.dtype).itemsize)
