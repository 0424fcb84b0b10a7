"""A whole model of the split-file layout, tiny and with random weights, written by `ltx_live.weights.save`."""

import io
from dataclasses import dataclass
from pathlib import Path

import pytest
import sentencepiece
import torch
from torch import nn
from transformers import Gemma3TextModel

from ltx_live.model.audio_vae import AudioVAE
from ltx_live.model.bandwidth import VocoderWithBWE
from ltx_live.model.config import TransformerConfig
from ltx_live.model.text_connector import TextProjection
from ltx_live.model.transformer import Transformer
from ltx_live.model.video_vae import VideoVAE
from ltx_live.weights.save import network_tensors, save_network, tokenizer_tensor
from ltx_live.weights.text_encoder import GEMMA_3_12B, gemma_config

TRANSFORMER = TransformerConfig(
    num_layers=2,
    num_attention_heads=2,
    attention_head_dim=16,
    in_channels=8,
    out_channels=8,
    cross_attention_dim=32,
    audio_num_attention_heads=2,
    audio_attention_head_dim=8,
    audio_in_channels=8,
    audio_out_channels=8,
    audio_cross_attention_dim=16,
    caption_channels=64,
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
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 7,  # six with a sliding window, one (the sixth) that attends to everything
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "query_pre_attn_scalar": 16,
    "sliding_window": 8,
}
VIDEO_VAE = {
    "latent_channels": 8,
    "encoder_blocks": [["res_x", {"num_layers": 1}], ["compress_all_res", {"multiplier": 2}]],
    "decoder_base_channels": 8,
    "decoder_blocks": [["res_x", {"num_layers": 1}], ["compress_all", {"multiplier": 2}]],
}
AUDIO_VAE = {
    "model": {
        "params": {
            "ddconfig": {
                "ch": 8,
                "ch_mult": [1, 2, 4],
                "num_res_blocks": 1,
                "in_channels": 2,
                "out_ch": 2,
                "z_channels": 2,
                "mel_bins": 64,
            }
        }
    }
}
AMP = {"resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1]], "upsample_initial_channel": 32}
VOCODER = {
    "vocoder": AMP | {"upsample_rates": [5, 2, 2], "upsample_kernel_sizes": [11, 4, 4]},
    "bwe": AMP
    | {
        "upsample_rates": [6, 5, 2, 2, 2],
        "upsample_kernel_sizes": [12, 11, 4, 4, 4],
        "input_sampling_rate": 16000,
        "output_sampling_rate": 48000,
        "n_fft": 512,
        "hop_length": 80,
        "num_mels": 64,
    },
}
NUM_STATES = GEMMA["num_hidden_layers"] + 1


@dataclass(frozen=True)
class TinyModel:
    """The networks as they were saved, their files, and the tokenizer's bytes."""

    folder: Path
    networks: dict[str, nn.Module]
    model_proto: bytes


@pytest.fixture(scope="session")
def model_proto() -> bytes:
    """A SentencePiece model file with Gemma's special tokens: pad 0, end 1, begin 2, unknown 3."""
    words = "slow fast red blue green gold tunnel waves rings plasma drums bells drone noise with and a".split()
    lines = [f"a {a} {b} with {c}" for a in words for b in words for c in words[:6]]
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=file,
        vocab_size=GEMMA["vocab_size"],
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        add_dummy_prefix=False,
        minloglevel=2,
    )
    return file.getvalue()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, model_proto) -> TinyModel:
    """All parts of a tiny model, saved as the pocket is; file names say nothing on purpose."""
    torch.set_num_threads(1)  # tiny tensors are slower on several threads
    networks = {
        "transformer": Transformer(TRANSFORMER),
        "text_projection": TextProjection(TRANSFORMER, NUM_STATES),
        "text_encoder": Gemma3TextModel(gemma_config(GEMMA)),
        "video_vae": VideoVAE.from_config(VIDEO_VAE),
        "audio_vae": AudioVAE.from_config(AUDIO_VAE),
        "vocoder": VocoderWithBWE.from_config(VOCODER),
    }
    for seed, network in enumerate(networks.values()):
        randomise(network, seed)
    folder = tmp_path_factory.mktemp("model")
    save_all(folder, networks, model_proto)
    return TinyModel(folder, networks, model_proto)


def save_all(folder: Path, networks: dict[str, nn.Module], model_proto: bytes) -> None:
    def tensors(part: str, prefix: str) -> dict:
        return network_tensors(networks[part], prefix)

    about = {"commit": "0123abc", "seed": "7"}
    transformer = {"transformer": TRANSFORMER.to_metadata()}
    spiece = {"spiece_model": tokenizer_tensor(model_proto)}
    audio = tensors("audio_vae", "audio_vae.") | tensors("vocoder", "vocoder.")
    sounds = {"audio_vae": AUDIO_VAE, "vocoder": VOCODER}
    save_network(folder / "1.safetensors", tensors("transformer", "model.diffusion_model."), transformer, about)
    save_network(folder / "2.safetensors", tensors("text_projection", "text_embedding_projection."), {}, about)
    save_network(folder / "3.safetensors", tensors("text_encoder", "model.") | spiece, {"text_encoder": GEMMA}, about)
    save_network(folder / "4.safetensors", tensors("video_vae", ""), {"vae": VIDEO_VAE}, about)
    save_network(folder / "5.safetensors", audio, sounds, about)


def randomise(network: nn.Module, seed: int) -> None:
    """Matrices N(0, 1 / fan_in), the rest 0.3 N, all rounded to bfloat16 as a file holds them: no default survives."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {id(tensor): (name, tensor) for name, tensor in network.state_dict(keep_vars=True).items()}
    with torch.no_grad():
        for name, tensor in tensors.values():
            matrix = tensor.ndim > 1 and "table" not in name
            scale = tensor[0].numel() ** -0.5 if matrix else 0.3
            value = torch.randn(tensor.shape, generator=generator) * scale
            tensor.copy_(value if "scale_shift_table" in name else value.bfloat16())
    network.eval()
