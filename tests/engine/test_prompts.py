"""Prompts are encoded once, and right."""

import pytest
import torch

from ltx_live.engine.prompts import NUM_CONTEXTS, Prompts
from ltx_live.model.config import TransformerConfig
from ltx_live.model.transformer import Transformer
from ltx_live.weights.checkpoint import find_split_files, load_text_projection, load_transformer
from ltx_live.weights.text_encoder import load_text_encoder


@pytest.fixture
def prompts(tiny_folder) -> Prompts:
    files = find_split_files(tiny_folder)
    transformer = load_transformer(files.transformer)
    projection = load_text_projection(files.text_projection, transformer.config)
    return Prompts(load_text_encoder(files.text_encoder, transformer.config.text_length), projection, transformer)


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


def test_keys_and_values_are_kept_only_where_they_are_small(prompts):
    assert prompts.text_cache.max_entries == NUM_CONTEXTS * 16
    with torch.device("meta"):
        large = Transformer(TransformerConfig()).to(torch.bfloat16)
    assert Prompts(None, None, large).text_cache is None
