"""Which changes are gestures, and where the rules for their landing come from."""

from dataclasses import asdict, replace

import pytest

from ltx_live import params
from ltx_live.gestures import RESTART, landing_rules, waiting, with_fields
from ltx_live.params import GenerationParams

DEFAULTS = params.defaults()


def rules(**values):
    return landing_rules(DEFAULTS | {name.replace("__", "/"): value for name, value in values.items()})


def test_what_the_table_lands_now_follows_quantise():
    assert set(rules().values()) == {"now"} and set(rules(tempo__quantise="bar").values()) == {"bar"}
    assert {"prompt", "lora_strength", "prompts_weight", RESTART} <= set(rules())
    assert not {"num_frames", "seed", "bank_selected", "pause"} & set(rules())
    assert set(rules()) - {RESTART} <= set(asdict(GenerationParams()))


@pytest.mark.parametrize(("name", "field"), [("prompt", "prompt"), ("num_frames", "num_frames"),
                                             ("lora/strength", "lora_strength"), ("restart", RESTART)])  # fmt: skip
def test_a_parameter_lands_by_a_rule_of_its_own(name, field):
    ruled = landing_rules(DEFAULTS | {"tempo/quantise": "bar", f"land/{name}": "beat"})
    assert ruled[field] == "beat"
    assert {rule for other, rule in ruled.items() if other != field} == {"bar"}


def test_every_row_that_lands_has_a_rule_of_its_own():
    landed = {row.name for row in params.PARAMETERS if row.landing and row.kind != "trigger"}
    assert landed - set(params.landing_rows()) == {"pause", "bank/selected"}
    for row in params.landing_rows().values():
        assert params.find(row.name) is row and DEFAULTS[row.name] == "default"


def test_only_what_is_heard_is_waiting():
    old, now = GenerationParams(prompt="a"), rules()
    assert waiting(old, replace(old, num_frames=33), now, False) == {}
    assert waiting(old, replace(old, prompt="b"), now, False) == {"prompt": "now"}
    covered = replace(old, prompts_text=("x",) * 8, prompts_weight=(1.0,) + (0.0,) * 7)
    assert waiting(covered, replace(covered, prompt="b"), now, False) == {}
    faded_in = replace(old, prompts_text=("x",) * 8, prompts_weight=(0.5,) * 8)
    assert waiting(old, faded_in, now, False) == {"prompts_weight": "now"}, "its text was not heard before"
    assert set(waiting(faded_in, replace(faded_in, prompts_text=("y",) * 8), now, False)) == {"prompts_text"}
    assert waiting(old, old, now, True) == {RESTART: "now"}
    assert with_fields(old, replace(old, prompt="b", seed=3), {"prompt", RESTART}) == replace(old, prompt="b")
