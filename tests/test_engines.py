"""Which values an engine was not loaded with."""

from dataclasses import replace

from ltx_live import config
from ltx_live.config import Config
from ltx_live.engines import engine_spec, unloaded


def test_values_that_wait_for_a_reload_are_named_until_they_are_loaded():
    values = config.initial_values("pocket", None, {})
    show = Config(model="pocket", values=values)
    spec = engine_spec(show)
    assert unloaded(spec, values) == ()
    changed = {**values, "ffn_chunk_size": 0, "lora_merge_strategy": "permanent_merge", "seed": 7, "num_frames": 33}
    assert unloaded(spec, changed) == ("ffn_chunk_size", "lora_merge_strategy")
    assert unloaded(engine_spec(replace(show, values=changed)), changed) == ()
    assert unloaded(spec, {**values, "height": 320}) == ("height",)


def test_a_test_card_has_a_size_alone():
    values = config.initial_values("testcard", None, {})
    spec = engine_spec(Config(model="testcard", values=values))
    assert unloaded(spec, {**values, "ffn_chunk_size": 0, "width": 512}) == ("width",)
