"""Prompts are encoded once, and right."""

from dataclasses import replace

import pytest
import torch

from ltx_live.engine.prompts import MAX_TEXT_ENTRIES, NUM_CONTEXTS, Prompts
from ltx_live.engine.settings import LtxSettings
from ltx_live.engine.setup import prepare
from ltx_live.model.config import TransformerConfig
from ltx_live.model.transformer import Transformer
from ltx_live.weights.loading import Networks, load_networks


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
    assert Prompts(replace(networks, transformer=large)).text_cache is None
