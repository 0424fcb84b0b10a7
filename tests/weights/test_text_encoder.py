"""Gemma with its own tokenizer, loaded from a split file, against Gemma constructed the ordinary way."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma3TextModel

from ltx_live.errors import CheckpointError
from ltx_live.model.config import TransformerConfig
from ltx_live.weights.checkpoint import (
    Storage,
    load_text_projection,
    load_transformer,
    read_config,
    read_metadata,
)
from ltx_live.weights.fp8 import FP8Linear
from ltx_live.weights.save import network_tensors, save_network, tokenizer_tensor
from ltx_live.weights.text_encoder import GEMMA_3_12B, gemma_config, load_text_encoder

FLOAT32 = Storage(dtype=torch.float32)
PROMPT = "a slow blue tunnel with drums and red waves"
SWAPPED = ("a red blue with", "a blue red with")


@pytest.fixture(scope="module")
def encoder(tiny):
    return load_text_encoder(tiny.folder / "3.safetensors", 64, FLOAT32)


@pytest.fixture
def changed(tiny, tmp_path):
    """A function that writes the text encoder's file with `change` applied to its tensors."""

    def write(change, metadata=None):
        path = tmp_path / "changed.safetensors"
        tensors = load_file(tiny.folder / "3.safetensors")
        change(tensors)
        save_file(tensors, path, read_metadata(tiny.folder / "3.safetensors") if metadata is None else metadata)
        return path

    return write


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


def test_swapping_two_words_changes_the_last_state_and_the_context(tiny, encoder):
    """Without rotary frequencies (zeros in daydreamlive/scope-ltx-2) Gemma would not know the order of words."""
    path = tiny.folder / "1.safetensors"
    transformer = load_transformer(path, FLOAT32)
    config = TransformerConfig.from_metadata(read_config(path)["transformer"])
    projection = load_text_projection(tiny.folder / "2.safetensors", config, FLOAT32)
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


def test_rotary_frequencies_stay_float32_in_a_bfloat16_model(tiny):
    encoder = load_text_encoder(tiny.folder / "3.safetensors", 64)
    assert encoder.encode(PROMPT).dtype == torch.bfloat16
    assert {buffer.dtype for buffer in encoder.gemma.rotary_emb.buffers()} == {torch.float32}


def test_tokens_begin_with_bos_are_stripped_cut_and_never_ended(tiny, encoder):
    ids = encoder.tokens(f"  {PROMPT}\n")
    assert ids == encoder.tokens(PROMPT)
    assert ids[0] == 2 and 1 not in ids and 0 not in ids
    assert encoder.tokenizer.decode(ids[1:]) == PROMPT
    assert encoder.tokens("") == [2] and encoder.encode("").shape == (1, 64, 8)
    short = load_text_encoder(tiny.folder / "3.safetensors", 5, FLOAT32)
    assert short.tokens(PROMPT) == ids[:5]


def test_the_tokenizer_keeps_its_bytes(tiny):
    stored = load_file(tiny.folder / "3.safetensors")["spiece_model"]
    assert bytes(stored.tolist()) == tiny.model_proto


def test_vision_tensors_are_skipped(changed, encoder):
    more = {"vision_model.embeddings.weight": torch.zeros(2), "multi_modal_projector.weight": torch.zeros(2)}
    loaded = load_text_encoder(changed(lambda tensors: tensors.update(more)), 64, FLOAT32)
    assert torch.equal(loaded.encode(PROMPT), encoder.encode(PROMPT))


@pytest.mark.parametrize("fp8", ["dequantised", "storage"])
def test_the_fp8_layout_gives_nearly_the_same_states(tiny, tmp_path, encoder, fp8):
    path = tmp_path / "fp8.safetensors"
    tensors = network_tensors(tiny.networks["text_encoder"], "model.", fp8=True)
    tensors["spiece_model"] = tokenizer_tensor(tiny.model_proto)
    save_network(path, tensors, read_config(tiny.folder / "3.safetensors"), {})
    loaded = load_text_encoder(path, 64, Storage(dtype=torch.float32, fp8=fp8))
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


@pytest.mark.parametrize(
    "change, text",
    [
        (lambda t: t.pop("model.norm.weight"), r"1 tensor missing \(norm.weight\)"),
        (lambda t: t.update({"model.layers.7.x": torch.zeros(1)}), r"1 tensor unknown \(layers.7.x\)"),
        (lambda t: t.update({"lm_head.weight": torch.zeros(1)}), r"1 tensor unknown \(lm_head.weight\)"),
        (lambda t: t.update({"model.norm.weight": torch.zeros(3)}), r"norm.weight is \(3,\), must be \(64,\)"),
        (lambda t: t.pop("spiece_model"), "tensor spiece_model .* is missing"),
        (lambda t: t.update({"spiece_model": t["spiece_model"][:200]}), "spiece_model"),
        (lambda t: t.update({"spiece_model": torch.zeros(0, dtype=torch.uint8)}), "spiece_model"),
    ],
)
def test_faults_are_named(changed, change, text):
    with pytest.raises(CheckpointError, match=text):
        load_text_encoder(changed(change), 64)


def test_a_small_file_without_configuration_is_refused(changed):
    with pytest.raises(CheckpointError, match="no 'config' in its metadata"):
        load_text_encoder(changed(lambda tensors: None, metadata={}), 64)


def test_unknown_and_missing_keys_of_the_configuration_are_named(tiny):
    section = dict(GEMMA_3_12B, heads=3)
    del section["head_dim"]
    with pytest.raises(ValueError, match="head_dim, heads"):
        gemma_config(section)


def test_a_tokenizer_larger_than_the_vocabulary_is_refused(tiny, tmp_path):
    config = read_config(tiny.folder / "3.safetensors")
    config["text_encoder"]["vocab_size"] = 20
    path = tmp_path / "a.safetensors"
    shutil.copy(tiny.folder / "3.safetensors", path)
    save_network(path, load_file(path), config, {})
    with pytest.raises(CheckpointError, match="do not belong together"):
        load_text_encoder(path, 64)
