"""What counts as a gesture: which of a chunk's values land `now`."""

from __future__ import annotations

import dataclasses
from typing import Any

from ltx_live import params as table
from ltx_live.travel import target

NOW_FIELDS = tuple(
    table.field_name(row.name)
    for row in table.PARAMETERS
    if row.landing == "now" and row.kind != "trigger" and row.name != "bank/selected"
)
"""Fields of GenerationParams whose change is a gesture; a bank slot plays through its prompt."""

PROMPT_FIELDS = ("prompt", "prompt_visual", "prompt_speech", "prompt_sounds", "prompts_text", "prompts_weight")
"""Those of them that make up the prompts: one counts only as far as it is heard."""

STEP_FIELDS = ("prompts_weight", "lora_strength")
"""Those of them that a chunk can take up while it is being made (late latching)."""


def differ(old: Any, new: Any) -> bool:
    """Whether a gesture leads from the old values to the new ones."""
    others = (name for name in NOW_FIELDS if name not in PROMPT_FIELDS)
    return target(old) != target(new) or any(getattr(old, name) != getattr(new, name) for name in others)


def with_fields(params: Any, source: Any, names: tuple[str, ...]) -> Any:
    """`params` with these fields of `source`."""
    return dataclasses.replace(params, **{name: getattr(source, name) for name in names})
