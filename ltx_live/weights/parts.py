"""Which networks a bundle of safetensors files holds, known by the names of their tensors, and what is wrong with them.

Names: reference/model.md 1.8, 3.4, 4 and 7; other layouts are renamed to those of the official single file.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ltx_live.errors import CheckpointError
from ltx_live.weights import diffusers_layout, known
from ltx_live.weights.header_json import summary
from ltx_live.weights.headers import UNSUPPORTED, UNUSABLE, Bundle, Entry, read_tensors

WEIGHT_DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float8_e4m3fn)
UNUSED = (  # beginnings of names that are in files of the parts and that we do not need
    "vision_model.",
    "vision_tower.",
    "multi_modal_projector.",
    "model.vision_tower.",
    "model.multi_modal_projector.",
    "lm_head.",
    "language_model.lm_head.",
    "spiece_model",
    "tokenizer_json",
    "hf_asset__",
    "vocoder.resampler.",  # whose filter we compute
    "vae.per_channel_statistics.channel",
    "vae.per_channel_statistics.mean-of-stds",
    "per_channel_statistics.channel",
    "per_channel_statistics.mean-of-stds",
)


@dataclass(frozen=True)
class Part:
    """A network as files hold it.

    `signs` are tensors by which it is known (none: any that begins with the prefix), `own` others that LTX-2.3's has
    and its relatives' lack, `alien` tensors of relatives. `advice` says which file has it. `section` of the
    configuration sizes it; some parts are sized by their tensors, or together with others, and do not need it.
    """

    field: str
    title: str
    advice: str
    section: str
    prefixes: tuple[str, ...]
    signs: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    alien: tuple[str, ...] = ()
    needs_config: bool = True


TRANSFORMER = Part(
    field="transformer",
    title="transformer",
    advice="a file such as ltx-2.3-22b-distilled-1.1_transformer_only_fp8_scaled.safetensors has it",
    section="transformer",
    prefixes=("model.diffusion_model.", ""),
    signs=("patchify_proj.weight",),
    own=(
        "audio_patchify_proj.weight",
        "prompt_adaln_single.linear.weight",
        "transformer_blocks.0.attn1.to_gate_logits.weight",
        "transformer_blocks.0.ff.net.0.proj.bias",
    ),
    alien=("keyframes_abs_pos_embedding", "caption_projection.linear_1.weight"),
)
CONNECTORS = Part(
    field="connectors",
    title="text connectors",
    advice="they are in the transformer's file or, in the layout of diffusers, in connectors/",
    section="transformer",
    prefixes=("model.diffusion_model.", ""),
    signs=("video_embeddings_connector.learnable_registers", "audio_embeddings_connector.learnable_registers"),
    own=("video_embeddings_connector.transformer_1d_blocks.0.attn1.to_gate_logits.weight",),
    needs_config=False,
)
TEXT_PROJECTION = Part(
    field="text_projection",
    title="text projection",
    advice="a file such as ltx-2.3_text_projection_bf16.safetensors has it",
    section="transformer",
    prefixes=("text_embedding_projection.",),
    own=("video_aggregate_embed.weight", "audio_aggregate_embed.weight"),
    alien=("aggregate_embed.weight",),
    needs_config=False,
)
TEXT_ENCODER = Part(
    field="text_encoder",
    title="text encoder",
    advice="a file such as gemma_3_12B_it_fp8_scaled.safetensors or the folder of google/gemma-3-12b-it has it",
    section="text_encoder",
    prefixes=("language_model.model.", "model.language_model.", "model."),
    signs=("embed_tokens.weight", "layers.0.self_attn.q_norm.weight", "layers.0.pre_feedforward_layernorm.weight"),
)
VIDEO_VAE = Part(
    field="video_vae",
    title="video VAE",
    advice="a file such as LTX23_video_vae_bf16.safetensors has it",
    section="vae",
    prefixes=("vae.", ""),
    signs=("per_channel_statistics.mean-of-means", "decoder.conv_in.conv.weight"),
)
AUDIO_VAE = Part(
    field="audio_vae",
    title="audio VAE",
    advice="a file such as LTX23_audio_vae_bf16.safetensors has it",
    section="audio_vae",
    prefixes=("audio_vae.",),
    signs=("per_channel_statistics.mean-of-means", "decoder.conv_in.conv.weight"),
)
VOCODER = Part(
    field="vocoder",
    title="vocoder",
    advice="the audio VAE's file has it",
    section="vocoder",
    prefixes=("vocoder.",),
    own=("vocoder.conv_pre.weight", "bwe_generator.conv_pre.weight", "mel_stft.mel_basis"),
)
PARTS = (TRANSFORMER, CONNECTORS, TEXT_PROJECTION, TEXT_ENCODER, VIDEO_VAE, AUDIO_VAE, VOCODER)


@dataclass(frozen=True)
class Source:
    """One network's tensors by its own names, wherever they lie; scales and `.comfy_quant` are among them.

    `config` is the configuration section that sizes the network, by the keys of the official metadata; the text
    encoder's may be Hugging Face's `text_config` instead.
    """

    title: str
    where: Path
    entries: Mapping[str, Entry]
    config: Mapping[str, Any]

    @property
    def label(self) -> str:
        """The file and the network in it, as messages begin."""
        return f"{self.where}: {self.title}"

    def tensors(self) -> dict[str, Tensor]:
        """CPU tensors by own name, views of the mapped files; CheckpointError where a file has changed."""
        return read_tensors(self.entries)


@dataclass(frozen=True)
class Found:
    """A part that a bundle holds, or the fault for which the bundle's cannot be used."""

    part: Part
    bundle: Bundle
    source: Source | CheckpointError

    @property
    def is_documented(self) -> bool:
        """Whether it is usable and its shapes are those of LTX-2.3 22B."""
        return isinstance(self.source, Source) and _is_documented(self.part, self.source.entries)


def parts_of(bundle: Bundle) -> list[Found]:
    """The parts that a bundle holds; LoRAs and files of other kinds hold none."""
    if is_lora(bundle):
        return []
    component = diffusers_layout.component(bundle.entries)
    renamed = {name: name for name in bundle.entries}
    if component is not None:
        renamed = diffusers_layout.official_names(component, bundle.entries)
    entries = {renamed[name]: entry for name, entry in bundle.entries.items()}
    held = {part: prefix for part in PARTS if (prefix := _prefix(part, entries)) is not None}
    if TRANSFORMER in held:
        held.pop(CONNECTORS, None)  # it has them
    try:
        _check_formats(bundle)
        sections = _sections(bundle, component, TEXT_ENCODER in held)
        shares = _shares(held, entries, bundle.where)
    except CheckpointError as fault:
        return [Found(part, bundle, fault) for part in held]
    return [Found(part, bundle, _source(part, bundle, shares[part], sections)) for part in held]


def is_lora(bundle: Bundle) -> bool:
    """Whether the tensors are those of a LoRA."""
    return any("lora_" in name or ".lora." in name for name in bundle.entries)


def is_diffusers(bundle: Bundle) -> bool:
    """Whether the tensors are named as diffusers names them."""
    return diffusers_layout.component(bundle.entries) is not None


def _prefix(part: Part, names: Mapping[str, Entry]) -> str | None:
    """What stands before the names of a part's tensors; None where the part is not there."""
    for prefix in part.prefixes:
        if all(prefix + sign in names for sign in part.signs) and any(name.startswith(prefix) for name in names):
            return prefix
    return None


def _shares(held: Mapping[Part, str], entries: Mapping[str, Entry], where: Path) -> dict[Part, dict[str, Entry]]:
    """Every tensor to the part with the longest prefix that it has; CheckpointError for one that no part has."""
    shares: dict[Part, dict[str, Entry]] = {part: {} for part in held}
    by_length = sorted(held.items(), key=lambda item: -len(item[1]))
    strangers = []
    for name, entry in entries.items():
        if name.startswith(UNUSED):
            continue
        owner = next(((part, prefix) for part, prefix in by_length if name.startswith(prefix)), None)
        if owner is None:
            strangers.append(name)
        else:
            shares[owner[0]][name.removeprefix(owner[1])] = entry
    if strangers:
        titles = " and the ".join(part.title for part in held)
        count = f"{len(strangers)} unknown tensor{'s' if len(strangers) > 1 else ''}"
        raise CheckpointError(f"{where}: {count} ({summary(strangers)}) beside the {titles}; use the published file")
    return shares


def _source(
    part: Part, bundle: Bundle, entries: dict[str, Entry], sections: Mapping[str, Any]
) -> Source | CheckpointError:
    missing = [name for name in part.own if name not in entries]
    alien = [name for name in part.alien if name in entries]
    if missing or alien:
        faults = [f"{fault} {summary(names)}" for fault, names in (("no", missing), ("has", alien)) if names]
        return CheckpointError(
            f"{bundle.where}: the {part.title} is not that of LTX-2.3 ({'; '.join(faults)}); use one of LTX-2.3 22B"
        )
    for name, entry in entries.items():
        if entry.dtype not in WEIGHT_DTYPES and not name.endswith(".comfy_quant"):
            kind = str(entry.dtype).removeprefix("torch.")
            return CheckpointError(f"{bundle.where}: tensor {entry.name} ({part.title}) is {kind}, {UNSUPPORTED}")
    config = sections.get(part.section)
    if config is not None and not isinstance(config, Mapping):
        return CheckpointError(
            f"{bundle.where}: section '{part.section}' of the configuration is not a JSON object; get the file again"
        )
    if config is None and _is_documented(part, entries):
        config = known.CONFIG[part.section]
    if config is None and part.needs_config:
        return CheckpointError(
            f"{bundle.where}: no 'config' with a section '{part.section}' in its metadata, so the sizes of the "
            f"{part.title} are not known (only those of LTX-2.3 22B are, without one); use a file that has it"
        )
    return Source(part.title, bundle.where, entries, config or {})


def _sections(bundle: Bundle, component: str | None, is_text_encoder: bool) -> dict[str, Any]:
    """The configuration, as sections of the official metadata; Hugging Face's of Gemma as it is."""
    if component is None:
        about = bundle.config_file() if is_text_encoder else {}
        gemma = about.get("text_config", about)
        if not isinstance(gemma, dict):
            raise CheckpointError(f"{bundle.folder / 'config.json'}: text_config is no JSON object; get the file again")
        return ({"text_encoder": gemma} if gemma.get("model_type") == "gemma3_text" else {}) | bundle.config()
    path, config = bundle.folder / "config.json", bundle.config_file()
    try:
        return diffusers_layout.sections(component, config) if config else {}
    except KeyError as error:
        raise CheckpointError(f"{path}: {error} is missing; get the file again") from error
    except UNUSABLE as error:
        raise CheckpointError(f"{path}: {error}; use the one of LTX-2.3") from error


def _is_documented(part: Part, entries: Mapping[str, Entry]) -> bool:
    shapes = known.SHAPES[part.field]
    return all(name in entries and entries[name].shape == shape for name, shape in shapes.items())


def _check_formats(bundle: Bundle) -> None:
    """Raises CheckpointError where the metadata names a quantised format that we do not compute (ComfyUI's)."""
    text = bundle.metadata.get("_quantization_metadata", "{}")
    try:
        layers = json.loads(text).get("layers", {})
        formats = sorted({layer["format"] for layer in layers.values()} - {"float8_e4m3fn"})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{bundle.where}: its _quantization_metadata is damaged; get the file again") from error
    if formats:
        raise CheckpointError(f"{bundle.where}: its weights are {', '.join(formats)}, {UNSUPPORTED}")
