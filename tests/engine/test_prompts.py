"""Prompts are encoded once, and right."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ltx_live.engine.prompts import MAX_TEXT_ENTRIES, NUM_CONTEXTS, Prompts, linear, spherical
from ltx_live.engine.settings import LtxSettings
from ltx_live.engine.setup import prepare
from ltx_live.model.av import AV
from ltx_live.model.config import TransformerConfig
from ltx_live.model.transformer import Transformer
from ltx_live.weights.adapters import RuntimeAdapter
from ltx_live.weights.loading import Networks, load_networks
from ltx_live.weights.lora import Factors, Lora


@pytest.fixture
def networks(tiny_folder) -> Networks:
    setup = prepare(LtxSettings(tiny_folder, 64, 32, device="cpu"))
    return load_networks(setup.files, setup.plan, setup.storage)


@pytest.fixture
def prompts(networks) -> Prompts:
    return Prompts(networks)


def test_a_context_is_made_of_the_prompt(prompts):
    context = prompts.context("slow red tunnel")
    assert [tuple(x.shape) for x in context] == [(1, 16, 32), (1, 16, 16)]
    assert all(x.isfinite().all() for x in context)
    assert not torch.equal(context.video, prompts.context("red slow tunnel").video)


def test_a_context_is_kept_as_the_same_object(prompts):
    first = prompts.context("blue waves")
    assert prompts.context("blue waves") is first
    for number in range(NUM_CONTEXTS - 1):
        prompts.context(f"prompt {number}")
    assert prompts.context("blue waves") is first  # and used last now
    for number in range(NUM_CONTEXTS):
        prompts.context(f"other {number}")
    again = prompts.context("blue waves")
    assert again is not first and torch.equal(again.video, first.video)


def test_keys_and_values_are_kept_only_where_they_are_small(prompts, networks):
    assert prompts.text_cache.max_entries == MAX_TEXT_ENTRIES
    with torch.device("meta"):
        large = Transformer(TransformerConfig()).to(torch.bfloat16)
    full = Prompts(replace(networks, transformer=large))
    assert full.text_cache is None and full.num_played == 1


def test_connectors_that_changed_are_run_anew_and_the_text_encoder_is_not(networks, monkeypatch):
    """A LoRA on the connectors: its strength changes contexts, and what is in the bank stays encoded."""
    layer = "video_embeddings_connector.transformer_1d_blocks.0.attn1.to_q"
    draw = torch.Generator().manual_seed(0)
    width = networks.transformer.get_submodule(layer).in_features
    factors = Factors(torch.randn(2, width, generator=draw), torch.randn(width, 2, generator=draw), 1.0)
    adapter = RuntimeAdapter(networks.transformer, Lora(Path("x"), {layer: factors}, {}, (), 1, 1)).attach()
    prompts, fresh = Prompts(networks), Prompts(networks)
    before = [prompts.context(f"prompt {number}") for number in range(NUM_CONTEXTS)]
    adapter.strength = 1.0
    expected = fresh.context("prompt 0")
    monkeypatch.setattr(networks.encoder, "encode", None)  # to call it is an error from here on
    prompts.forget(contexts=True)
    after = [prompts.context(f"prompt {number}") for number in range(NUM_CONTEXTS)]
    assert torch.equal(after[0].video, expected.video)
    for old, new in zip(before, after, strict=True):
        assert not torch.equal(old.video, new.video) and torch.equal(old.audio, new.audio)
    assert prompts.context("prompt 0") is after[0]


@pytest.mark.parametrize("interpolation", ["linear", "spherical"])
def test_weighted_prompts_are_mixed(prompts, interpolation):
    waves, tunnel = prompts.context("blue waves"), prompts.context("slow red tunnel")
    mixed = prompts.mixture((("blue waves", 0.25), ("slow red tunnel", 0.75)), interpolation)
    between = {"linear": linear, "spherical": spherical}[interpolation]
    for a, b, mix in zip(waves, tunnel, mixed, strict=True):
        assert mix.shape == a.shape and mix.dtype == a.dtype and mix.isfinite().all()
        assert torch.equal(mix, between(a, b, 0.75))
    alone = prompts.mixture((("blue waves", 1.0),), interpolation)
    assert all(torch.equal(a, b) for a, b in zip(alone, waves, strict=True))


def test_three_prompts_have_the_weights_they_were_given(prompts):
    texts, weights = ("blue waves", "slow red tunnel", "bells"), (0.2, 0.3, 0.5)
    mixed = prompts.mixture(tuple(zip(texts, weights, strict=True)), "linear")
    contexts = [prompts.context(text) for text in texts]
    for modality, mix in enumerate(mixed):
        expected = sum(weight * context[modality].double() for weight, context in zip(weights, contexts, strict=True))
        assert torch.allclose(mix.double(), expected, atol=0.04)  # rounded to bfloat16 twice; entries reach 4


def test_the_same_mixture_is_the_same_object_and_costs_no_encoding(prompts, networks, monkeypatch):
    shares = torch.linspace(0.1, 0.5, prompts.num_played + 1).tolist()
    mixtures = [(("blue waves", share), ("bells", 1 - share)) for share in shares]
    first = prompts.mixture(mixtures[0], "linear")
    monkeypatch.setattr(networks.encoder, "encode", None)  # to call it is an error from here on
    assert prompts.mixture(mixtures[0], "linear") is first
    assert prompts.mixture(mixtures[0], "spherical") is not first
    for mixture in mixtures[1:]:
        prompts.mixture(mixture, "linear")
    again = prompts.mixture(mixtures[0], "linear")
    assert again is not first and torch.equal(again.video, first.video)
    prompts.forget(contexts=True)
    assert prompts.mixture(mixtures[0], "linear") is not again


def test_keys_and_values_are_found_again_where_contexts_come_from_host_memory(prompts, monkeypatch):
    """As on a GPU: what goes to the device is another tensor every time."""
    monkeypatch.setattr(prompts, "_on_device", lambda host: AV(*(x.clone() for x in host)))
    played = [(("blue waves", 1.0),), (("bells", 1.0),), (("blue waves", 0.5), ("bells", 0.5))]

    def entries() -> list[dict]:
        return [prompts.text_cache.entry(prompts.mixture(each, "linear").video, (1.0,)) for each in played]

    first, again = entries(), entries()
    assert all(a is b for a, b in zip(first, again, strict=True)) and len({id(each) for each in first}) == 3
    prompts.forget(contexts=True)
    assert not any(a is b for a, b in zip(first, entries(), strict=True))


def test_where_there_is_no_room_one_context_stays_on_the_device(prompts):
    prompts.num_played = 1
    kept, mixture = [], (("blue waves", 0.5), ("bells", 0.5))
    for _ in range(2):
        kept += [prompts.mixture(mixture, "spherical"), prompts.mixture((("bells", 1.0),), "spherical")]
    assert kept[0] is not kept[2] and torch.equal(kept[0].video, kept[2].video)
    assert prompts.mixture((("bells", 1.0),), "linear") is kept[3] and len(prompts._played) == 1


def test_a_spherical_way_keeps_the_length_and_turns_evenly():
    a, b = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 5.0]])
    for share, degrees in ((0.0, 0.0), (0.25, 22.5), (0.5, 45.0), (1.0, 90.0)):
        x, y = spherical(a, b, share)[0].tolist()
        assert (x**2 + y**2) ** 0.5 == pytest.approx(3 + 2 * share)
        assert torch.rad2deg(torch.atan2(torch.tensor(y), torch.tensor(x))).item() == pytest.approx(degrees, abs=1e-3)
    assert linear(a, b, 0.5).tolist() == [[1.5, 2.5]]
    assert spherical(a, torch.zeros(1, 2), 0.5).isfinite().all()
    for end in (a, -a):  # no arc, or any: a straight line
        assert torch.allclose(spherical(a, end, 0.25), linear(a, end, 0.25))
