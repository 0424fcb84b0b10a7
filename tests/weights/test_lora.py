"""LoRA files: every trainer's key format gives the same factors, and what cannot be used is one readable line."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ltx_live.errors import CheckpointError
from ltx_live.model.config import TransformerConfig
from ltx_live.model.transformer import Transformer
from ltx_live.weights.lora import Lora, describe, linear_shapes, read_lora

CONFIG = TransformerConfig(
    num_layers=2,
    num_attention_heads=2,
    attention_head_dim=8,
    in_channels=4,
    out_channels=4,
    cross_attention_dim=16,
    audio_num_attention_heads=2,
    audio_attention_head_dim=4,
    audio_in_channels=4,
    audio_out_channels=4,
    audio_cross_attention_dim=8,
    caption_channels=8,
    connector_num_layers=1,
    connector_num_attention_heads=2,
    connector_attention_head_dim=8,
    audio_connector_num_attention_heads=2,
    audio_connector_attention_head_dim=4,
    connector_num_learnable_registers=4,
    text_length=8,
)

with torch.device("meta"):  # reading needs no weights
    NETWORK = Transformer(CONFIG)
SHAPES = linear_shapes(NETWORK)
QUERY = "transformer_blocks.0.attn1.to_q"

DIFFUSERS = [  # checkpoint name -> diffusers name (reference/model.md 1.8)
    (r"^audio_patchify_proj$", "audio_proj_in"),
    (r"^patchify_proj$", "proj_in"),
    (r"^adaln_single\.", "time_embed."),
    (r"^audio_adaln_single\.", "audio_time_embed."),
    (r"^prompt_adaln_single\.", "prompt_adaln."),
    (r"^audio_prompt_adaln_single\.", "audio_prompt_adaln."),
    (r"^av_ca_(video|audio)_scale_shift_adaln_single\.", r"av_cross_attn_\1_scale_shift."),
    (r"^av_ca_a2v_gate_adaln_single\.", "av_cross_attn_video_a2v_gate."),
    (r"^av_ca_v2a_gate_adaln_single\.", "av_cross_attn_audio_v2a_gate."),
    (r"^(video|audio)_embeddings_connector\.transformer_1d_blocks\.", r"connectors.\1_connector.transformer_blocks."),
]


def diffusers(layer: str) -> str:
    for pattern, replacement in DIFFUSERS:
        layer = re.sub(pattern, replacement, layer)
    return layer if layer.startswith("connectors.") else f"transformer.{layer}"


def musubi(layer: str) -> str:
    connector = re.match("(video|audio)_embeddings_connector", layer)
    name = layer.removeprefix("video_") if connector else f"model.{layer}"
    return "lora_unet_" + name.replace(".", "_")


def bare_out(layer: str) -> str:
    return "diffusion_model." + re.sub(r"to_out\.0$", "to_out", layer)


FORMATS: dict[str, tuple[Callable[[str], str], str, str]] = {  # stem, suffix of A, suffix of B
    "official": (lambda layer: f"diffusion_model.{layer}", ".lora_A.weight", ".lora_B.weight"),
    "single file": (lambda layer: f"model.diffusion_model.{layer}", ".lora_down.weight", ".lora_up.weight"),
    "no prefix": (lambda layer: layer, ".lora_A.weight", ".lora_B.weight"),
    "no .weight": (lambda layer: f"transformer.{layer}", ".lora_A", ".lora_B"),
    "PEFT": (lambda layer: f"base_model.model.{layer}", ".lora_A.weight", ".lora_B.weight"),
    "PEFT, named": (lambda layer: f"base_model.model.{layer}", ".lora_A.default.weight", ".lora_B.default.weight"),
    "kohya": (lambda layer: "lora_unet_" + layer.replace(".", "_"), ".lora_down.weight", ".lora_up.weight"),
    "OneTrainer": (lambda layer: "lora_transformer_" + layer.replace(".", "_"), ".lora_down.weight", ".lora_up.weight"),
    "LyCORIS": (lambda layer: "lycoris_" + layer.replace(".", "_"), ".lora_down.weight", ".lora_up.weight"),
    "musubi": (musubi, ".lora_down.weight", ".lora_up.weight"),
    "diffusers": (diffusers, ".lora_A.weight", ".lora_B.weight"),
    "diffusers, older": (diffusers, ".lora.down.weight", ".lora.up.weight"),
    "to_out without 0": (bare_out, ".lora_A.weight", ".lora_B.weight"),
}


def random_factors(layers: list[str], seed: int = 0) -> dict[str, tuple[Tensor, Tensor]]:
    """Factors of rank 1, 2, 3, 1, ... in multiples of 1/8 up to 3, which every dtype holds exactly."""
    generator = torch.Generator().manual_seed(seed)
    factors = {}
    for index, layer in enumerate(layers):
        (num_out, num_in), rank = SHAPES[layer], 1 + index % 3
        a, b = ((torch.randint(-24, 25, size, generator=generator) / 8) for size in ((rank, num_in), (num_out, rank)))
        factors[layer] = (a, b)
    return factors


FACTORS = random_factors(list(SHAPES))


def tensors(style: str = "official", layers: tuple[str, ...] = tuple(SHAPES), dtype=torch.float32) -> dict[str, Tensor]:
    stem, suffix_a, suffix_b = FORMATS[style]
    written = {}
    for layer in layers:
        a, b = FACTORS[layer]
        written |= {stem(layer) + suffix_a: a.to(dtype), stem(layer) + suffix_b: b.to(dtype)}
    return written


def read(path: Path, state: dict[str, Tensor], metadata: dict[str, str] | None = None, **options) -> Lora:
    save_file(state, path, metadata=metadata)
    return read_lora(path, NETWORK, **options)


def deltas(lora: Lora) -> dict[str, Tensor]:
    return {layer: each.scale * each.b.double() @ each.a.double() for layer, each in lora.factors.items()}


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "style.safetensors"


@pytest.mark.parametrize("style", FORMATS)
def test_every_layer_is_found_in_every_format(path, style):
    lora = read(path, tensors(style))
    assert len(SHAPES) == 2 * 34 + 28 + 2 * 7  # blocks; globals; connectors of one block
    assert lora.factors.keys() == SHAPES.keys() and lora.unmatched == ()
    for layer, delta in deltas(lora).items():
        a, b = FACTORS[layer]
        assert torch.equal(delta, b.double() @ a.double()), layer
    assert {layer: each.rank for layer, each in lora.factors.items()} == {k: len(a) for k, (a, _) in FACTORS.items()}


def test_names_agree_with_the_conversion_in_diffusers(path):
    convert = pytest.importorskip("diffusers.loaders.lora_conversion_utils")
    layers = tuple(layer for layer in SHAPES if "connector" not in layer)
    converted = convert._convert_non_diffusers_ltx2_lora_to_diffusers(tensors(layers=layers))
    lora = read(path, converted)
    assert lora.factors.keys() == set(layers)
    assert all(torch.equal(lora.factors[layer].a, FACTORS[layer][0]) for layer in layers)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_factors_keep_their_dtype(path, dtype):
    lora = read(path, tensors(dtype=dtype))
    assert all(each.a.dtype == each.b.dtype == dtype for each in lora.factors.values())
    assert lora.num_bytes == sum(tensor.nbytes for tensor in tensors(dtype=dtype).values())
    assert lora.num_values == lora.num_bytes / dtype.itemsize
    assert all(torch.equal(each.a.float(), FACTORS[layer][0]) for layer, each in lora.factors.items())


@pytest.mark.parametrize("style", ["official", "kohya"])
@pytest.mark.parametrize("alpha", [torch.tensor(6.0), torch.tensor([6.0]).half()], ids=["()", "(1,)"])
def test_alpha_counts_relative_to_the_layers_rank(path, style, alpha):
    state = tensors(style) | {FORMATS[style][0](layer) + ".alpha": alpha.clone() for layer in SHAPES}
    lora = read(path, state)
    assert {each.scale for each in lora.factors.values()} == {6.0, 3.0, 2.0}
    assert all(each.scale == 6 / each.rank for each in lora.factors.values())


@pytest.mark.parametrize(
    ("config", "scales"),
    [
        ({"transformer.lora_alpha": 4, "transformer.r": 2}, [2.0, 2.0]),
        ({"lora_alpha": 4}, [2.0, 2.0]),
        ({"lora_alpha": 4, "alpha_pattern": {QUERY: 1}}, [0.5, 2.0]),
        ({"lora_alpha": 4, "alpha_pattern": {"attn1.to_q": 1, "proj": 1}}, [0.5, 2.0]),  # whole parts of a name
        ({"lora_alpha": 4, "use_rslora": True}, [4 / 2**0.5, 4 / 2**0.5]),
        ({"r": 2}, [1.0, 1.0]),
    ],
)
def test_alpha_in_the_metadata_of_diffusers(path, config, scales):
    layers = (QUERY, "patchify_proj")
    state = {}
    for layer in layers:
        num_out, num_in = SHAPES[layer]
        state |= {f"{diffusers(layer)}.lora_A.weight": torch.ones(2, num_in)}
        state |= {f"{diffusers(layer)}.lora_B.weight": torch.ones(num_out, 2)}
    lora = read(path, state, {"lora_adapter_metadata": json.dumps(config)})
    assert [lora.factors[layer].scale for layer in layers] == scales


def pair(layer: str, a: tuple[int, ...], b: tuple[int, ...], dtype=torch.float32) -> dict[str, Tensor]:
    return {f"{layer}.lora_A.weight": torch.ones(a).to(dtype), f"{layer}.lora_B.weight": torch.ones(b).to(dtype)}


ONE = tensors(layers=(QUERY,))  # attn1.to_q is 16 x 16
BAD = {
    "DoRA of ComfyUI": (ONE | {f"{QUERY}.dora_scale": torch.ones(16)}, "DoRA is not supported: 1 tensor (transf"),
    "DoRA of PEFT": (ONE | {f"{QUERY}.lora_magnitude_vector.default.weight": torch.ones(16)}, "DoRA is not supported"),
    "LoKr": ({f"lora_unet_x.lokr_w{i}": torch.ones(1) for i in (1, 2)}, "LoKr is not supported: 2 tensors (lora_unet"),
    "LoHa": ({f"lora_unet_x.hada_w1_{i}": torch.ones(1) for i in "ab"}, "LoHa is not supported: 2 tensors"),
    "OFT": ({"lora_unet_x.oft_blocks": torch.ones(1)}, "OFT is not supported"),
    "full difference": (ONE | {"diffusion_model.patchify_proj.diff_b": torch.ones(4)}, "full difference"),
    "Tucker factor": (ONE | {"lora_unet_x.lora_mid.weight": torch.ones(1)}, "Tucker factor"),
    "bias": (ONE | {f"{QUERY}.lora_B.bias": torch.ones(16)}, "a bias in a LoRA is not supported"),
    "no partner": ({**ONE, "patchify_proj.lora_up.weight": torch.ones(16, 1)}, "without partner: 1 tensor (patchify"),
    "alpha alone": ({**ONE, "patchify_proj.alpha": torch.ones(())}, "without partner: 1 tensor (patchify_proj.alpha)"),
    "convolution": (pair(QUERY, (2, 16, 1, 1), (16, 2, 1, 1)), "of a convolution: 2 tensors (transformer_blocks.0"),
    "wrong width": (pair(QUERY, (2, 32), (16, 2)), f"misshapen: 2 tensors ({QUERY}.lora_A.weight is (2, 32), must be "),
    "wrong height": (pair(QUERY, (2, 16), (32, 2)), f"{QUERY}.lora_B.weight is (32, 2), must be (16, rank)"),
    "ranks differ": (pair(QUERY, (2, 16), (16, 3)), "misshapen: 2 tensors"),
    "a vector": (pair(QUERY, (16,), (16, 1)), "misshapen: 2 tensors"),
    "rank 0": (pair(QUERY, (0, 16), (16, 0)), "misshapen"),
    "alpha of two numbers": (ONE | {f"{QUERY}.alpha": torch.ones(2)}, "alpha is (2,), must be one number"),
    "float8": (pair(QUERY, (2, 16), (16, 2), torch.float8_e4m3fn), "of a dtype that is not F32, F16, BF16: 2 tensors"),
    "twice": (ONE | pair(QUERY, (1, 16), (16, 1)), "are the same part of transformer_blocks.0.attn1.to_q"),
    "unmatched": (ONE | pair("caption_projection.linear_1", (1, 8), (8, 1)), "matching no layer: 2 tensors (caption_p"),
    "text encoder": (ONE | pair("lora_te_text_model_q", (1, 8), (8, 1)), "matching no layer: 2 tensors (lora_te_text"),
    "block too many": (ONE | pair("transformer_blocks.9.attn1.to_q", (1, 16), (16, 1)), "matching no layer: 2 tensors"),
    "other model": (pair("lora_unet_down_blocks_0_to_q", (1, 8), (8, 1)), "a LoRA of another model: matching no layer"),
    "not a LoRA": ({"decoder.conv_in.weight": torch.ones(1)}, "not a LoRA: no tensor is named ...lora_A"),
    "empty": ({}, "not a LoRA"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used_is_one_line(path, case):
    state, text = BAD[case]
    with pytest.raises(CheckpointError) as error:
        read(path, state)
    line = str(error.value)
    assert text in line and line.startswith(f"{path}: ")
    assert "\n" not in line and len(line.removeprefix(str(path))) < 420


def test_many_examples_are_cut_short(path):
    state = {f"lora_unet_x{i}.lokr_w1": torch.ones(1) for i in range(9)}
    with pytest.raises(CheckpointError, match=re.escape("9 tensors (lora_unet_x0.lokr_w1, lora_unet_x1.lokr_w1, ")):
        read(path, state)


def test_several_faults_are_told_at_once(path):
    state = pair(QUERY, (2, 32), (32, 2)) | {"patchify_proj.lora_A.weight": torch.ones(1, 4)}
    with pytest.raises(CheckpointError, match="without partner: 1 tensor .*; misshapen: 2 tensors "):
        read(path, state)


@pytest.mark.parametrize("fault", ["missing", "cut short", "something else"])
def test_unreadable_files(path, fault):
    if fault != "missing":
        save_file(ONE, path)
        whole = path.read_bytes()
        path.write_bytes(whole[:-20] if fault == "cut short" else b"PK\x03\x04" + whole)
    with pytest.raises(CheckpointError, match=r"^\S*style\.safetensors: (no such file|not a complete)") as error:
        read_lora(path, NETWORK)
    assert "\n" not in str(error.value)


def test_unmatched_keys_can_be_let_pass(path, caplog):
    strange = pair("caption_projection.linear_1", (1, 8), (8, 1))
    with caplog.at_level(logging.WARNING):
        lora = read(path, ONE | strange, unmatched="warn")
    assert lora.factors.keys() == {QUERY} and set(lora.unmatched) == strange.keys()
    (record,) = caplog.records
    assert "matching no layer and not used: 2 tensors (caption_projection" in record.getMessage()


@pytest.mark.parametrize(
    ("name", "metadata", "expected"),
    [
        ("style", {}, (None, 1, 1)),
        ("magic-lora", {}, (None, 1, 1)),
        ("ltx-2.3-id-lora-talkvid-3k", {}, (None, 1, 1)),
        ("ltx-2.3-22b-ic-lora-hdr", {}, ("by its file name", 1, 1)),
        ("IC_LoRA", {}, ("by its file name", 1, 1)),
        ("x", {"modelspec.title": "Depth IC-LoRA"}, ("by its title", 1, 1)),
        ("x", {"reference_downscale_factor": "2"}, ("reference_downscale_factor in its metadata", 2, 1)),
        ("x", {"reference_downscale_factor": "1"}, ("reference_downscale_factor in its metadata", 1, 1)),
        ("x", {"reference_spatial_scale_factor": "2.0"}, ("reference_spatial_scale_factor in its metadata", 2, 1)),
        ("x", {"reference_temporal_scale_factor": "4"}, ("reference_temporal_scale_factor in its metadata", 1, 4)),
        ("ltx23_anime2real_rank64_v1_4500", {}, ("published as Anime2Real", 1, 1)),
        ("LTX-2.3-22b-ic-lora-Union-Control-ref0.5", {}, ("by its file name", 2, 1)),
        (
            "ltx-2.3-22b-ic-lora-union-control-ref0.5",
            {"reference_downscale_factor": "4"},
            ("reference_downscale_factor in its metadata", 4, 1),
        ),
    ],
)
def test_an_ic_lora_is_known_by_metadata_or_name(tmp_path, name, metadata, expected):
    lora = read(tmp_path / f"{name}.safetensors", ONE, metadata)
    assert (lora.ic_lora_sign, lora.reference_downscale_factor, lora.reference_temporal_scale_factor) == expected
    assert lora.is_ic_lora == (expected[0] is not None) and lora.name == name


@pytest.mark.parametrize("value", ["0", "0.5", "half", "nan", "inf", "-2", ""])
@pytest.mark.parametrize("key", ["reference_downscale_factor", "reference_temporal_scale_factor"])
def test_a_reference_factor_is_a_whole_number(path, key, value):
    with pytest.raises(CheckpointError, match=f"'{key}' in its metadata is '{value}', must be a whole number"):
        read(path, ONE, {key: value})


@pytest.mark.parametrize("blob", ["{", "[]", '{"lora_alpha": "much"}', '{"alpha_pattern": 3}'])
def test_damaged_metadata_of_diffusers(path, blob):
    with pytest.raises(CheckpointError, match="'lora_adapter_metadata' is damaged"):
        read(path, ONE, {"lora_adapter_metadata": blob})


def test_description(path):
    layers = (QUERY, "transformer_blocks.1.attn1.to_k", "audio_adaln_single.linear", "prompt_adaln_single.linear")
    layers += ("video_embeddings_connector.transformer_1d_blocks.0.attn1.to_v",)
    alpha = {f"diffusion_model.{layer}.alpha": torch.tensor(1.5) for layer in layers}
    about = {"reference_downscale_factor": "2", "modelspec.trigger_phrase": "glass\nwaves", "model_version": "2.3.0"}
    state = tensors(layers=layers, dtype=torch.bfloat16) | alpha | pair("strange", (1, 8), (8, 1))
    lora = read(path, state, about, unmatched="warn")
    rows = dict(describe(lora))
    assert lora.touches_text
    assert rows["file"] == f"{path}, {lora.num_bytes / 1e3:.1f} kB, bfloat16"
    assert rows["rank"] == "2 to 3" and rows["alpha"] == "1.5 (times 0.5 to 0.75)"
    assert rows["targets"] == "adaln 2, attn1 2, video_embeddings_connector 1"
    assert rows["matched"] == "5 layers"
    assert rows["unmatched"] == "2 tensors (strange.lora_A.weight, strange.lora_B.weight)"
    assert rows["IC-LoRA"] == "yes (reference_downscale_factor in its metadata)"
    assert rows["reference downscale"] == "2" and rows["reference time scale"] == "1"
    assert rows["trigger"] == "glass waves" and rows["trained on"] == "2.3.0"
    assert "connectors" in rows["text"]


def test_description_of_a_plain_lora(path):
    lora = read(path, ONE)
    rows = dict(describe(lora))
    assert not lora.touches_text
    assert rows["alpha"] == "none, or equal to the rank" and rows["unmatched"] == "none" and rows["IC-LoRA"] == "no"
    assert rows.keys() == {"file", "rank", "alpha", "targets", "matched", "unmatched", "IC-LoRA"}


def test_only_linear_layers_are_targets():
    assert SHAPES == {
        name: tuple(module.weight.shape) for name, module in NETWORK.named_modules() if isinstance(module, nn.Linear)
    }
