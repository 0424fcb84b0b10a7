"""Whether the files of a model are whole and fit each other, found out from their headers before a weight is read."""

import torch
from torch import Tensor

from ltx_live.errors import CheckpointError
from ltx_live.model.audio_vae import AudioVAE
from ltx_live.model.bandwidth import VocoderWithBWE
from ltx_live.model.config import TransformerConfig
from ltx_live.model.latents import unpatchify_audio
from ltx_live.model.mel import MelConfig, log_mel
from ltx_live.model.transformer import Transformer
from ltx_live.model.video_vae import VideoVAE
from ltx_live.weights.checkpoint import (
    build_audio_vae,
    build_on_meta,
    build_text_projection,
    build_transformer,
    build_video_vae,
    build_vocoder,
    check_network,
    mel_config,
)
from ltx_live.weights.files import ModelFiles
from ltx_live.weights.headers import open_checkpoint
from ltx_live.weights.text_encoder import build_text_encoder

SOUND_RATE_HZ = 48_000
SPECTRA_HZ = 100  # (reference/model.md 4.1)


def check_model(files: ModelFiles) -> Transformer:
    """Build all networks without memory and hold them against the headers; the transformer, for what LoRAs may change.

    Raises CheckpointError for a configuration that cannot be used, for tensors that are missing, unknown or misshapen,
    for a damaged tokenizer, and for parts that do not belong together. Of the weights nothing is read.
    """
    transformer = build_transformer(files.transformer)
    config = transformer.config
    gemma, _ = build_text_encoder(files.text_encoder, files.tokenizer)
    video_vae, audio_vae = build_video_vae(files.video_vae), build_audio_vae(files.audio_vae)
    vocoder, mel = build_vocoder(files.vocoder), mel_config(files.audio_vae)
    for source, network in (
        (files.transformer, transformer),
        (files.text_projection, build_text_projection(files.text_projection, config)),
        (files.text_encoder, gemma),
        (files.video_vae, video_vae),
        (files.audio_vae, audio_vae),
        (files.vocoder, vocoder),
    ):
        check_network(network, source)
        for path in {entry.path for entry in source.entries.values()}:
            with open_checkpoint(path):  # safetensors' own checks of the header
                pass
    label = files.text_encoder.label
    _agree(label, "a token's hidden state", (gemma.config.hidden_size,), (config.caption_channels,))
    rehearse_picture(files.video_vae.label, video_vae, config)
    rehearse_sound(files, audio_vae, vocoder, mel, config)
    return transformer


def rehearse_picture(label: str, vae: VideoVAE, config: TransformerConfig) -> None:
    """Latents -> frames -> latents, without memory; CheckpointError for settings that layers cannot compute with."""

    def decode_and_encode() -> tuple[Tensor, Tensor]:
        frames = vae.decode(torch.empty(1, vae.encoder.latent_channels, 2, 2, 2))
        return frames, vae.encode(frames)

    frames, latents = build_on_meta(decode_and_encode, label)
    _agree(label, "two latents decoded", frames.shape, (1, 3, 9, 64, 64))
    _agree(label, "9 frames encoded", latents.shape, (1, config.in_channels, 2, 2, 2))


def rehearse_sound(
    files: ModelFiles, vae: AudioVAE, vocoder: VocoderWithBWE, mel: MelConfig, config: TransformerConfig
) -> None:
    """Sound -> latents -> spectrum, as `rehearse_picture`, and whether the vocoder takes that spectrum."""
    label = files.audio_vae.label
    heard = build_on_meta(lambda: vae.encode(log_mel(torch.empty(1, 2, mel.sample_rate_hz), mel)), label)
    _agree(label, "a latent of sound", (heard.shape[1] * heard.shape[3],), (config.audio_in_channels,))
    tokens = torch.empty(1, 3, config.audio_in_channels, device="meta")
    spectrum = build_on_meta(lambda: vae.decode(unpatchify_audio(tokens, vae.latent_bands)), label)
    label = files.vocoder.label
    _agree(label, "a spectrum", (vocoder.vocoder.conv_pre.in_channels,), (spectrum.shape[1] * spectrum.shape[3],))
    _agree(label, "a second of sound", (vocoder.output_rate_hz,), (SOUND_RATE_HZ,))
    _agree(label, "a second before it is extended", (vocoder.vocoder.hop * SPECTRA_HZ,), (vocoder.input_rate_hz,))


def _agree(label: str, what: str, made: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if tuple(made) != tuple(wanted):
        raise CheckpointError(
            f"{label}: {what}: {_times(made)} values, the rest of the model needs {_times(wanted)}; use parts that "
            "belong together"
        )


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
