"""A tiny model with random weights in the split layout, with the latent sizes that the show counts on (8 x 32 x 32)."""

import io
from pathlib import Path

import pytest
import sentencepiece
import torch
from transformers import Gemma3TextModel

from ltx_live.engine.ltx import load
from ltx_live.model.audio_vae import AudioVAE
from ltx_live.model.bandwidth import VocoderWithBWE
from ltx_live.model.config import TransformerConfig
from ltx_live.model.text_connector import TextProjection
from ltx_live.model.transformer import Transformer
from ltx_live.model.video_vae import VideoVAE
from ltx_live.weights.save import network_tensors, save_network, tokenizer_tensor
from ltx_live.weights.text_encoder import GEMMA_3_12B, gemma_config

TRANSFORMER = TransformerConfig(
    num_layers=1,
    num_attention_heads=2,
    attention_head_dim=16,
    in_channels=4,
    out_channels=4,
    cross_attention_dim=32,
    audio_num_attention_heads=2,
    audio_attention_head_dim=8,
    audio_in_channels=32,
    audio_out_channels=32,
    audio_cross_attention_dim=16,
    caption_channels=16,
    connector_num_layers=1,
    connector_num_attention_heads=2,
    connector_attention_head_dim=16,
    audio_connector_num_attention_heads=2,
    audio_connector_attention_head_dim=8,
    connector_num_learnable_registers=4,
    text_length=16,
)
GEMMA = GEMMA_3_12B | {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "query_pre_attn_scalar": 8,
}
STAGES = ("compress_space", "compress_time", "compress_all", "compress_all")
VIDEO_VAE = {
    "latent_channels": 4,
    "encoder_base_channels": 8,
    "encoder_blocks": [[f"{name}_res", {}] for name in STAGES],
    "decoder_base_channels": 8,
    "decoder_blocks": [[name, {}] for name in STAGES],
}
DDCONFIG = {"ch": 8, "ch_mult": [1, 1, 2], "num_res_blocks": 1, "in_channels": 2, "out_ch": 2, "z_channels": 2}
AUDIO_VAE = {"model": {"params": {"ddconfig": DDCONFIG | {"mel_bins": 64}}}}
AMP = {"resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1]], "upsample_initial_channel": 32}
VOCODER = {
    "vocoder": AMP | {"upsample_rates": [5, 4, 4, 2], "upsample_kernel_sizes": [11, 8, 8, 4]},
    "bwe": AMP
    | {
        "upsample_rates": [6, 5, 4, 2],
        "upsample_kernel_sizes": [12, 11, 8, 4],
        "input_sampling_rate": 16000,
        "output_sampling_rate": 48000,
        "n_fft": 256,
        "hop_length": 80,
        "num_mels": 32,
    },
}


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """The files of the tiny model."""
    torch.set_num_threads(1)  # tiny tensors are slower on several threads
    torch.manual_seed(0)
    transformer = Transformer(TRANSFORMER)
    projection = TextProjection(TRANSFORMER, GEMMA["num_hidden_layers"] + 1)
    gemma = Gemma3TextModel(gemma_config(GEMMA))
    words = network_tensors(gemma, "model.") | {"spiece_model": tokenizer_tensor(tokenizer())}
    sounds = network_tensors(AudioVAE.from_config(AUDIO_VAE), "audio_vae.")
    sounds |= network_tensors(VocoderWithBWE.from_config(VOCODER), "vocoder.")
    section = {"transformer": TRANSFORMER.to_metadata()}
    folder = tmp_path_factory.mktemp("tiny")
    files = {
        "dit": (network_tensors(transformer, "model.diffusion_model.", fp8=True), section),
        "projection": (network_tensors(projection, "text_embedding_projection.", fp8=True), {}),
        "gemma": (words, {"text_encoder": GEMMA}),
        "video": (network_tensors(VideoVAE.from_config(VIDEO_VAE), ""), {"vae": VIDEO_VAE}),
        "audio": (sounds, {"audio_vae": AUDIO_VAE, "vocoder": VOCODER}),
    }
    for name, (tensors, config) in files.items():
        save_network(folder / f"{name}.safetensors", tensors, config, {"name": "tiny"})
    return folder


@pytest.fixture
def tiny_engine(tiny_folder):
    """A fresh engine, 64x32."""
    return load(lambda text: None, tiny_folder, 64, 32, "cpu")


def tokenizer() -> bytes:
    """A SentencePiece model file with Gemma's special tokens."""
    words = "slow fast red blue tunnel waves drums bells noise with and".split()
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([f"{a} {b} with {c}" for a in words for b in words for c in words[:6]]),
        model_writer=file,
        vocab_size=GEMMA["vocab_size"],
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        minloglevel=2,
    )
    return file.getvalue()
