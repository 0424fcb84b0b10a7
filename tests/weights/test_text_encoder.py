"""Gemma with its own tokenizer, loaded from a file, against Gemma constructed the ordinary way."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import Gemma3TextModel

from ltx_live.errors import CheckpointError
from ltx_live.model.config import TransformerConfig
from ltx_live.weights.checkpoint import Storage, load_text_projection, load_transformer
from ltx_live.weights.files import find_model
from ltx_live.weights.fp8 import FP8Linear
from ltx_live.weights.known import GEMMA_3_12B
from ltx_live.weights.text_encoder import gemma_config, load_text_encoder

FLOAT32 = Storage(dtype=torch.float32)
PROMPT = "a slow blue tunnel with drums and red waves"
GOOGLES_KEYS = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "num_key_value_heads")
GOOGLES_KEYS += ("rope_scaling", "sliding_window")
SWAPPED = ("a red blue with", "a blue red with")


@pytest.fixture(scope="module")
def files(tiny):
    return find_model(tiny.folder)


@pytest.fixture(scope="module")
def encoder(files):
    return load_text_encoder(files.text_encoder, files.tokenizer, 64, FLOAT32)


@pytest.fixture
def load_changed(tiny, layouts, tmp_path):
    """Function (change of the tensors, configuration) -> the text encoder loaded from such a file."""

    def load(change, config=None):
        path = tmp_path / "changed.safetensors"
        tensors = load_file(tiny.folder / "3.safetensors")
        change(tensors)
        layouts.save(path, tensors, {"text_encoder": config or layouts.GEMMA})
        found = find_model(tiny.folder, path)
        return load_text_encoder(found.text_encoder, found.tokenizer, 64, FLOAT32)

    return load


def reference_states(gemma: Gemma3TextModel, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        states = gemma(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
    return torch.stack(states, dim=-1)[0]


def test_hidden_states_equal_those_of_an_ordinary_gemma(tiny, encoder):
    hidden = encoder.encode(PROMPT)
    ids = encoder.tokens(PROMPT)
    assert len(ids) > 2 * tiny.networks["text_encoder"].config.sliding_window  # the window matters
    assert hidden.shape == (len(ids), 64, 7 + 1) and hidden.dtype == torch.float32
    assert torch.equal(hidden, reference_states(tiny.networks["text_encoder"], ids))


def test_first_state_is_the_scaled_embedding_and_the_last_is_normed(tiny, encoder):
    gemma = tiny.networks["text_encoder"]
    hidden = encoder.encode(PROMPT)
    embedding = gemma.embed_tokens.weight.detach()[encoder.tokens(PROMPT)]
    assert torch.allclose(hidden[..., 0], embedding * 64**0.5, rtol=1e-6)
    unweighted = hidden[..., -1] / (1 + gemma.norm.weight.detach())
    assert torch.allclose(unweighted.square().mean(dim=1), torch.ones(len(hidden)), rtol=1e-4)
    assert (hidden[..., -2].square().mean(dim=1) - 1).abs().min() > 0.01  # the others are raw


def test_swapping_two_words_changes_the_last_state_and_the_context(files, encoder):
    """Without rotary frequencies (zeros in daydreamlive/scope-ltx-2) Gemma would not know the order of words."""
    transformer = load_transformer(files.transformer, FLOAT32)
    config = TransformerConfig.from_metadata(files.transformer.config)
    projection = load_text_projection(files.text_projection, config, FLOAT32)
    assert_same_tokens_in_another_order(*(encoder.tokens(prompt) for prompt in SWAPPED))
    first, second = (encoder.encode(prompt) for prompt in SWAPPED)
    assert torch.equal(first[-1, :, 0], second[-1, :, 0])  # the same last token ...
    change = (first[-1] - second[-1]).norm(dim=0) / first[-1].norm(dim=0)  # (L,)
    assert (change[1:] > 1e-3).all()  # ... but every layer sees what order the words before it have
    with torch.no_grad():
        contexts = [transformer.connect_text(projection(hidden[None])) for hidden in (first, second)]
    for one, other in zip(*contexts, strict=True):
        assert one.shape[1] == config.text_length
        assert (one - other).norm() / one.norm() > 1e-3


def test_without_rotary_frequencies_the_first_layer_sees_no_order(encoder):
    """The fault that the test above must be able to see: with zeros its first layer does not tell the prompts apart."""
    broken = Gemma3TextModel(encoder.gemma.config).eval()
    broken.load_state_dict(encoder.gemma.state_dict())
    for buffer in broken.rotary_emb.buffers():
        buffer.zero_()
    last = [reference_states(broken, encoder.tokens(prompt))[-1] for prompt in SWAPPED]  # (D, L) each
    change = (last[0] - last[1]).norm(dim=0) / last[0].norm(dim=0)
    assert change[1] < 1e-5


def assert_same_tokens_in_another_order(one: list[int], other: list[int]) -> None:
    assert one != other and one[-1] == other[-1] and sorted(one) == sorted(other)
    assert len(one) <= 8 + 2  # the swapped words are within the sliding window of the last token


def test_rotary_frequencies_are_those_of_both_kinds_of_layers(tiny, encoder):
    reference = dict(tiny.networks["text_encoder"].rotary_emb.named_buffers())
    buffers = dict(encoder.gemma.rotary_emb.named_buffers())
    assert buffers.keys() == reference.keys() and len(buffers) >= 2
    for name, buffer in buffers.items():
        assert buffer.dtype == torch.float32 and (buffer > 0).all()
        assert torch.equal(buffer, reference[name])
    exponent = torch.arange(0, 16, 2) / 16
    assert torch.allclose(buffers["sliding_attention_inv_freq"], 1e4**-exponent)
    assert torch.allclose(buffers["full_attention_inv_freq"], 1e6**-exponent / 8)


def test_rotary_frequencies_stay_float32_in_a_bfloat16_model(files):
    encoder = load_text_encoder(files.text_encoder, files.tokenizer, 64)
    assert encoder.encode(PROMPT).dtype == torch.bfloat16
    assert {buffer.dtype for buffer in encoder.gemma.rotary_emb.buffers()} == {torch.float32}


def test_tokens_begin_with_bos_are_stripped_cut_and_never_ended(files, encoder):
    ids = encoder.tokens(f"  {PROMPT}\n")
    assert ids == encoder.tokens(PROMPT)
    assert ids[0] == 2 and 1 not in ids and 0 not in ids
    assert encoder.tokenizer.decode(ids[1:]) == PROMPT
    assert encoder.tokens("") == [2] and encoder.encode("").shape == (1, 64, 8)
    short = load_text_encoder(files.text_encoder, files.tokenizer, 5, FLOAT32)
    assert short.tokens(PROMPT) == ids[:5]


def test_the_tokenizer_keeps_its_bytes(tiny):
    stored = load_file(tiny.folder / "3.safetensors")["spiece_model"]
    assert bytes(stored.tolist()) == tiny.model_proto


@pytest.mark.parametrize("fp8", ["dequantised", "storage"])
def test_the_fp8_layout_gives_nearly_the_same_states(tiny, layouts, tmp_path, encoder, fp8):
    found = find_model(layouts.write_split(tmp_path, tiny, layouts.Quantisation()))
    storage = Storage(dtype=torch.float32, fp8=fp8)
    loaded = load_text_encoder(found.text_encoder, found.tokenizer, 64, storage)
    num_fp8 = sum(isinstance(module, FP8Linear) for module in loaded.gemma.modules())
    assert num_fp8 == (7 * 7 if fp8 == "storage" else 0)
    got, want = loaded.encode(PROMPT), encoder.encode(PROMPT)
    assert torch.equal(got[..., 0], want[..., 0])
    assert 0 < (got - want).norm() / want.norm() < 0.1


def test_the_documented_12b_needs_no_configuration():
    config = gemma_config(GEMMA_3_12B)
    with torch.device("meta"):
        gemma = Gemma3TextModel(config)
    assert sum(parameter.numel() for parameter in gemma.parameters()) == 11_766_034_176  # model.md 2
    full = [i for i, kind in enumerate(config.layer_types) if kind == "full_attention"]
    assert full == list(range(5, 48, 6))


@pytest.mark.parametrize("style", ["ours", "transformers 4", "transformers 5", "google's"])
def test_every_style_of_configuration_gives_the_same_layers(layouts, style):
    """Hugging Face's files may leave out what is Gemma 3's default; google/gemma-3-12b-it's does."""
    ours = gemma_config(GEMMA_3_12B)
    sections = {
        "ours": GEMMA_3_12B,
        "transformers 4": GEMMA_3_12B | {"model_type": "gemma3_text", "torch_dtype": "bfloat16", "use_cache": True},
        "transformers 5": ours.to_dict() | {"use_cache": True, "dtype": "bfloat16"},
        "google's": {key: GEMMA_3_12B[key] for key in GOOGLES_KEYS} | {"model_type": "gemma3_text"},
    }
    config = gemma_config(sections[style])
    for key in ("rope_parameters", "layer_types", "vocab_size", "head_dim", "query_pre_attn_scalar", "rms_norm_eps"):
        assert getattr(config, key) == getattr(ours, key), key
    assert config.rope_parameters["full_attention"] == {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}
    assert config.rope_parameters["sliding_attention"] == {"rope_type": "default", "rope_theta": 1e4}
    assert config.use_cache is False


@pytest.mark.parametrize(
    "change, text",
    [
        (lambda t: t.pop("model.norm.weight"), r"1 tensor missing \(norm.weight\)"),
        (lambda t: t.update({"model.layers.7.x": torch.zeros(1)}), "text encoder makes 576 values"),
        (lambda t: t.update({"model.layers.6.x": torch.zeros(1)}), r"1 tensor unknown \(layers.6.x\)"),
        (lambda t: t.update({"stranger.weight": torch.zeros(1)}), r"1 unknown tensor \(stranger.weight\)"),
        (lambda t: t.update({"model.norm.weight": torch.zeros(3)}), r"norm.weight is \(3,\), must be \(64,\)"),
        (lambda t: t.pop("spiece_model"), "no tokenizer"),
        (lambda t: t.update({"spiece_model": t["spiece_model"][:200]}), "tensor spiece_model: not a SentencePiece"),
        (lambda t: t.update({"spiece_model": torch.zeros(0, dtype=torch.uint8)}), "tensor spiece_model"),
    ],
)
def test_faults_are_named(load_changed, change, text):
    with pytest.raises(CheckpointError, match=text):
        load_changed(change)


def test_a_damaged_tokenizer_file_is_named(files, tmp_path):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match="tokenizer.model: not a SentencePiece model"):
        load_text_encoder(files.text_encoder, path, 64)


def test_unknown_and_missing_keys_of_the_configuration_are_named():
    section = dict(GEMMA_3_12B, heads=3)
    del section["head_dim"]
    with pytest.raises(ValueError, match="head_dim, heads"):
        gemma_config(section)
    with pytest.raises(ValueError, match="of Gemma cannot be used .*hidden_size") as error:
        gemma_config({"model_type": "gemma3_text", "hidden_size": "wide"})
    assert "\n" not in str(error.value)


def test_a_tokenizer_larger_than_the_vocabulary_is_refused(files, layouts):
    source = replace(files.text_encoder, config=layouts.GEMMA | {"vocab_size": 20})
    with pytest.raises(CheckpointError, match="do not belong together"):
        load_text_encoder(source, files.tokenizer, 64)
