"""A whole model, tiny and with random weights, and writers of it in every layout that LTX-2.3 is published in.

Facts of the layouts: reference/model.md 0, 1.8, 2, 3.4, 4 and 7, scope-plugin.md 1.2; diffusers and transformers write
their own.
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import sentencepiece
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3TextModel

from ltx_live.model.audio_vae import AudioVAE
from ltx_live.model.bandwidth import VocoderWithBWE
from ltx_live.model.config import TransformerConfig
from ltx_live.model.text_connector import TextProjection
from ltx_live.model.transformer import Transformer
from ltx_live.model.video_vae import VideoVAE
from ltx_live.weights.diffusers_layout import own_names
from ltx_live.weights.fp8 import quantise
from ltx_live.weights.save import network_tensors, tokenizer_tensor
from ltx_live.weights.text_encoder import GEMMA_3_12B, gemma_config

TRANSFORMER = TransformerConfig(
    num_layers=3,
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
NUM_STATES = GEMMA["num_hidden_layers"] + 1
STAGES = ("compress_space", "compress_time", "compress_all", "compress_all")  # 8 frames, 32 rows, 32 columns
ENCODER_LAYERS, DECODER_LAYERS = (1, 2, 1, 1, 1), (1, 1, 1, 1, 2)
DECODER_MULTIPLIERS = (2, 1, 1, 2)


def _blocks(layers: tuple[int, ...], changes: list[list]) -> list[list]:
    stacks = [["res_x", {"num_layers": num}] for num in layers]
    return [block for pair in zip(stacks, changes, strict=False) for block in pair] + stacks[-1:]


VIDEO_VAE = {
    "latent_channels": 8,
    "encoder_base_channels": 8,
    "encoder_blocks": _blocks(ENCODER_LAYERS, [[f"{name}_res", {"multiplier": 1}] for name in STAGES]),
    "decoder_base_channels": 8,
    "decoder_blocks": _blocks(
        DECODER_LAYERS, [[name, {"multiplier": m}] for name, m in zip(STAGES, DECODER_MULTIPLIERS, strict=True)]
    ),
    "spatial_padding_mode": "zeros",
}
DDCONFIG = {"ch": 8, "ch_mult": [1, 2, 4], "num_res_blocks": 1, "in_channels": 2, "out_ch": 2, "z_channels": 2}
AUDIO_VAE = {
    "model": {"params": {"ddconfig": DDCONFIG | {"mel_bins": 16}}},
    "preprocessing": {
        "audio": {"sampling_rate": 16000},
        "mel": {"n_mel_channels": 16, "mel_fmin": 0, "mel_fmax": 8000},
        "stft": {"filter_length": 1024, "hop_length": 160},
    },
}
AMP = {"resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1]], "upsample_initial_channel": 32, "num_mels": 16}
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
    },
}
CONFIG = {
    "transformer": TRANSFORMER.to_metadata(),
    "vae": VIDEO_VAE,
    "audio_vae": AUDIO_VAE,
    "vocoder": VOCODER,
}
PREFIXES = {
    "transformer": "model.diffusion_model.",
    "text_projection": "text_embedding_projection.",
    "video_vae": "vae.",
    "audio_vae": "audio_vae.",
    "vocoder": "vocoder.",
}
DIFFUSERS_SAME = (  # options that have the same name in both
    "num_layers",
    "num_attention_heads",
    "attention_head_dim",
    "in_channels",
    "out_channels",
    "cross_attention_dim",
    "audio_num_attention_heads",
    "audio_attention_head_dim",
    "audio_in_channels",
    "audio_out_channels",
    "audio_cross_attention_dim",
    "caption_channels",
)
DIFFUSERS_RATES = {"factors": "upsample_rates", "kernel_sizes": "upsample_kernel_sizes"}
WORDS = "slow fast red blue green gold tunnel waves rings plasma drums bells drone noise with and a".split()


@dataclass(frozen=True)
class TinyModel:
    """The networks, the tokenizer's bytes, and the folder of `write_split`."""

    folder: Path
    networks: dict[str, nn.Module]
    model_proto: bytes


@dataclass(frozen=True)
class Quantisation:
    """How float8 weights are written: what stands beside them, and in which layers of the transformer they are."""

    input_scale: bool = False
    comfy_quant: bool = False
    in_metadata: bool = False
    blocks: tuple[int, ...] = (1,)  # the first and the last stay bfloat16


def make_tiny_model(folder: Path) -> TinyModel:
    """Random networks, and their split files in `folder`."""
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
    model = TinyModel(folder, networks, train_tokenizer())
    write_split(folder, model)
    return model


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


def train_tokenizer() -> bytes:
    """A SentencePiece model file with Gemma's special tokens: pad 0, end 1, begin 2, unknown 3."""
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([f"a {a} {b} with {c}" for a in WORDS for b in WORDS for c in WORDS[:6]]),
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


# --- tensors by their names in the official single file


def official_tensors(model: TinyModel, part: str, quantisation: Quantisation | None = None) -> dict[str, Tensor]:
    """A part's tensors; Linear weights of the transformer's middle blocks are float8 where that is asked for."""
    tensors = network_tensors(model.networks[part], PREFIXES[part])
    if quantisation is not None and part == "transformer":
        inside = tuple(f"{PREFIXES[part]}transformer_blocks.{block}." for block in quantisation.blocks)
        return to_fp8(tensors, inside, quantisation)
    return tensors


def to_fp8(tensors: dict[str, Tensor], inside: tuple[str, ...], quantisation: Quantisation) -> dict[str, Tensor]:
    """The matrices of the layers below `inside` as float8, with what the published files have beside them."""
    made = {}
    for name, tensor in tensors.items():
        layer = name.removesuffix(".weight")
        if not (name.startswith(inside) and name.endswith(".weight") and tensor.ndim == 2):
            made[name] = tensor
            continue
        made[name], made[f"{layer}.weight_scale"] = quantise(tensor)
        if quantisation.input_scale:
            made[f"{layer}.input_scale"] = torch.tensor(8 / 448)
        if quantisation.comfy_quant:
            made[f"{layer}.comfy_quant"] = json_tensor({"format": "float8_e4m3fn"})
    return made


def json_tensor(value: dict) -> Tensor:
    """A JSON object as a uint8 tensor."""
    return torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8)


def gemma_tensors(model: TinyModel, prefix: str) -> dict[str, Tensor]:
    """Gemma's tensors, and some of the vision model that published files have beside them."""
    vision = {
        "model.": ("vision_model.", "multi_modal_projector."),
        "language_model.model.": ("vision_tower.vision_model.", "multi_modal_projector."),
        "model.language_model.": ("model.vision_tower.", "model.multi_modal_projector."),
    }[prefix]
    tensors = network_tensors(model.networks["text_encoder"], prefix)
    return tensors | {f"{name}x.weight": torch.zeros(2, 2, dtype=torch.bfloat16) for name in vision}


# --- files


def save(path: Path, tensors: dict[str, Tensor], config: dict | None = None, **metadata: str) -> Path:
    """A safetensors file; `config` goes into its metadata as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {} if config is None else {"config": json.dumps(config)}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, about | metadata)
    return path


def write_split(folder: Path, model: TinyModel, quantisation: Quantisation | None = None, vae_prefix: str = "") -> Path:
    """ComfyUI's split files; Gemma's has the tokenizer in it, and one file holds audio VAE and vocoder."""
    words = gemma_tensors(model, "model.")
    if quantisation is not None:
        words = to_fp8(words, ("model.layers.",), Quantisation(comfy_quant=quantisation.comfy_quant))
    words["spiece_model"] = tokenizer_tensor(model.model_proto)
    audio = official_tensors(model, "audio_vae") | official_tensors(model, "vocoder")
    section = {"transformer": CONFIG["transformer"]}
    save(folder / "1.safetensors", official_tensors(model, "transformer", quantisation), section, name="tiny")
    save(folder / "2.safetensors", official_tensors(model, "text_projection"))
    save(folder / "3.safetensors", words, {"text_encoder": GEMMA})
    save(folder / "4.safetensors", network_tensors(model.networks["video_vae"], vae_prefix), {"vae": VIDEO_VAE})
    save(folder / "5.safetensors", audio, {"audio_vae": AUDIO_VAE, "vocoder": VOCODER})
    return folder


def write_single(path: Path, model: TinyModel, quantisation: Quantisation | None = None) -> Path:
    """The official single file: everything but Gemma."""
    tensors: dict[str, Tensor] = {}
    for part in PREFIXES:
        tensors |= official_tensors(model, part, quantisation)
    about = {}
    if quantisation is not None and quantisation.in_metadata:
        layers = [name.removesuffix(".weight_scale") for name in tensors if name.endswith(".weight_scale")]
        quant = {"format_version": "1.0", "layers": {layer: {"format": "float8_e4m3fn"} for layer in layers}}
        about["_quantization_metadata"] = json.dumps(quant)
    return save(path, tensors, CONFIG, model_version="2.3.0", **about)


def write_gemma(
    folder: Path, model: TinyModel, prefix: str, new_keys: bool, tokenizer: str = "tokenizer.model"
) -> Path:
    """Hugging Face's folder of Gemma in three shards, its configuration in the keys of transformers 5 or 4."""
    names = sorted(tensors := gemma_tensors(model, prefix))
    shards = {f"model-{i + 1:05}-of-00003.safetensors": names[i::3] for i in range(3)}
    for shard, held in shards.items():
        save(folder / shard, {name: tensors[name] for name in held}, format="pt")
    index = {name: shard for shard, held in shards.items() for name in held}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    if new_keys:
        text = json.loads(gemma_config(GEMMA).to_json_string(use_diff=False))
    else:
        text = GEMMA | {"model_type": "gemma3_text", "torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": text}))
    target = folder / tokenizer
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(model.model_proto)
    return folder


def write_diffusers(folder: Path, model: TinyModel, decoder_padding: str = "zeros") -> Path:
    """The folder that diffusers and transformers themselves write, every component in several shards."""
    for name, (twin, state) in diffusers_twins(model, decoder_padding).items():
        theirs = {key: state[own] for key, own in own_names(name, twin.state_dict()).items()}
        twin.load_state_dict(theirs, strict=True)
        twin.save_pretrained(folder / name, max_shard_size=sum(tensor.nbytes for tensor in theirs.values()) // 3)
    text = gemma_config(GEMMA).to_dict()
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    gemma = Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=vision))
    gemma.model.language_model.load_state_dict(model.networks["text_encoder"].state_dict())
    gemma.save_pretrained(folder / "text_encoder", max_shard_size="200KB")
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "tokenizer.model").write_bytes(model.model_proto)
    return folder


def diffusers_twins(model: TinyModel, decoder_padding: str) -> dict[str, tuple[nn.Module, dict[str, Tensor]]]:
    """Diffusers' components of the tiny model's sizes, and our tensors for them by our names."""
    import diffusers
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
    from diffusers.pipelines.ltx2.vocoder import LTX2VocoderWithBWE

    states = {part: network.state_dict() for part, network in model.networks.items()}
    connectors = {name: tensor for name, tensor in states["transformer"].items() if "embeddings_connector" in name}
    config, sizes = TRANSFORMER, {"num_attention_heads": 2, "num_layers": 1, "num_learnable_registers": 4}
    streams = {"video": config.connector_attention_head_dim, "audio": config.audio_connector_attention_head_dim}
    transformer = diffusers.LTX2VideoTransformer3DModel(
        **{key: getattr(config, key) for key in DIFFUSERS_SAME},
        **dict.fromkeys(("gated_attn", "cross_attn_mod", "audio_gated_attn", "audio_cross_attn_mod"), True),
        rope_type="split",
        use_prompt_embeddings=False,
    )
    text = LTX2TextConnectors(
        caption_channels=config.caption_channels,
        text_proj_in_factor=NUM_STATES,
        **{f"{stream}_connector_{key}": value for stream in streams for key, value in sizes.items()},
        **{f"{stream}_connector_attention_head_dim": value for stream, value in streams.items()},
        video_gated_attn=True,
        audio_gated_attn=True,
        rope_type="split",
        per_modality_projections=True,
        video_hidden_dim=config.cross_attention_dim,
        audio_hidden_dim=config.audio_cross_attention_dim,
        proj_bias=True,
    )
    video_vae = diffusers.AutoencoderKLLTX2Video(
        latent_channels=8,
        block_out_channels=(8,) * 4,
        decoder_block_out_channels=(16, 16, 16, 32),
        layers_per_block=ENCODER_LAYERS,
        decoder_layers_per_block=DECODER_LAYERS,
        decoder_spatio_temporal_scaling=(True,) * 4,
        decoder_inject_noise=(False,) * 5,
        upsample_type=("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
        upsample_residual=(False,) * 4,
        upsample_factor=DECODER_MULTIPLIERS,
        decoder_causal=False,
        decoder_spatial_padding_mode=decoder_padding,
    )
    audio_vae = diffusers.AutoencoderKLLTX2Audio(base_channels=8, num_res_blocks=1, latent_channels=2, mel_bins=16)
    generator = {"hidden_channels": 32, "in_channels": 32, "resnet_kernel_sizes": [3], "resnet_dilations": [[1]]}
    vocoder = LTX2VocoderWithBWE(
        **generator,
        **{f"bwe_{key}": value for key, value in generator.items()},
        **{f"upsample_{key}": VOCODER["vocoder"][ours] for key, ours in DIFFUSERS_RATES.items()},
        **{f"bwe_upsample_{key}": VOCODER["bwe"][ours] for key, ours in DIFFUSERS_RATES.items()},
        filter_length=256,
        window_length=256,
        num_mel_channels=16,
    )
    return {
        "transformer": (transformer, states["transformer"]),
        "connectors": (text, connectors | states["text_projection"]),
        "vae": (video_vae, states["video_vae"]),
        "audio_vae": (audio_vae, states["audio_vae"]),
        "vocoder": (vocoder, states["vocoder"]),
    }
