"""Which changes of a chunk's values are gestures, and by which rule each lands."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from ltx_live import params as table
from ltx_live.travel import target

RESTART = "restart"
"""Stands beside the fields of GenerationParams: a new take is asked for."""

PROMPT_FIELDS = ("prompt", "prompt_visual", "prompt_speech", "prompt_sounds", "prompts_text", "prompts_weight")
"""Those that make up the prompts: one counts only as far as it is heard."""

STEP_FIELDS = ("prompts_weight", "lora_strength", "identity_guidance_scale")
"""Those that a chunk can take up while it is being made (late latching)."""


def landing_rules(values: Mapping[str, Any]) -> dict[str, str]:
    """The rule, one of `LANDINGS`, of every field whose change is a gesture; values by concrete name.

    `land/NAME` rules where it is set, else `tempo/quantise` what lands `now`. The others come with any chunk.
    """
    rules = {}
    for name, row in table.landing_rows().items():
        rule = values[row.name]
        if rule == "default" and table.find(name.replace("/N/", "/1/")).landing == "now":
            rule = values["tempo/quantise"]
        if rule != "default":
            rules[table.field_name(name)] = rule
    return rules


def waiting(made: Any, params: Any, rules: Mapping[str, str], restarts: bool) -> dict[str, str]:
    """The rules of those fields that differ in a way that is heard, RESTART among them; empty without a gesture.

    The text of a prompt whose weight was 0 is not heard: it comes with any chunk, that of its weight at the latest.
    """
    silent = PROMPT_FIELDS if target(made) == target(params) else ()
    texts = zip(made.prompts_weight, made.prompts_text, params.prompts_text, strict=True)
    if all(weight <= 0 or old == new for weight, old, new in texts):
        silent = *silent, "prompts_text"
    differing = {
        field: rule
        for field, rule in rules.items()
        if field != RESTART and field not in silent and getattr(made, field) != getattr(params, field)
    }
    return differing | ({RESTART: rules[RESTART]} if restarts else {})


def with_fields(params: Any, source: Any, names: Collection[str]) -> Any:
    """`params` with these fields of `source`; RESTART is none."""
    return dataclasses.replace(params, **{name: getattr(source, name) for name in names if name != RESTART})
