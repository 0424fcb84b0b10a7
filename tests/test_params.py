"""The parameter table: the specification's rows, and what each kind of parameter makes of what it is sent."""

import dataclasses
import pickle

import pytest

from ltx_live import params
from ltx_live.errors import ParameterError
from ltx_live.params import GenerationParams, OutputParams, find

SPECIFICATION = {  # parameter: (default, minimum, maximum), as the specification's table has them
    "height": (384, 32, None),
    "width": (320, 32, None),
    "num_frames": (129, 9, 257),
    "num_steps": (8, 1, 20),
    "schedule": ("distilled", None, None),
    "frame_rate": (24.0, 1, 120),
    "randomize_seed": (True, None, None),
    "ffn_chunk_size": (4096, 0, None),
    "i2v_image": ("", None, None),
    "i2v_strength": (1.0, 0, 1),
    "control_strength": (1.0, 0, 1),
    "audio_input": ("", None, None),
    "audio_mode": ("driving", None, None),
    "identity_guidance_scale": (3.0, 0, 20),
    "lora_merge_strategy": ("permanent_merge", None, None),
    "sigmas": (None, None, None),
    "realtime_pacing_slack": (0.0, 0, None),
}


@pytest.mark.parametrize("name", SPECIFICATION)
def test_every_row_of_the_specification_is_there(name):
    default, minimum, maximum = SPECIFICATION[name]
    row = find(name)
    assert row.default == default
    assert row.minimum == minimum
    assert maximum is None or row.maximum == maximum


def test_choices_of_the_specification():
    assert find("schedule").choices == ("distilled", "linear", "cosine", "linear_quadratic", "beta")
    assert find("audio_mode").choices == ("driving", "id_lora")


def test_names_are_unique_and_fields_too():
    names = [row.name for row in params.PARAMETERS]
    assert len(set(names)) == len(names)
    fields = [params.field_name(name) for name in params.concrete_names()]
    assert len(set(fields)) == len(fields)


def test_every_default_is_a_value_of_its_own_parameter():
    for name, default in params.defaults().items():
        assert find(name).coerce(default) == default, name


def test_only_generation_rows_have_a_landing_and_frame_rows_none():
    for row in params.PARAMETERS:
        if row.tier in ("frame", "reload"):
            assert row.landing is None, row.name


@pytest.mark.parametrize(
    ("sent", "snapped"), [(384, 384), (400, 384), (401, 416), (300.4, 288), (-5, 32), ("161", 160), (1e9, 4096)]
)
def test_sizes_snap_to_multiples_of_32(sent, snapped):
    assert find("width").coerce(sent) == snapped


@pytest.mark.parametrize(("sent", "snapped"), [(129, 129), (57, 57), (1, 9), (15, 17), (300, 257), (13, 17), (21, 17)])
def test_frame_counts_snap_to_8k_plus_1(sent, snapped):
    assert find("num_frames").coerce(sent) == snapped


@pytest.mark.parametrize(
    ("name", "sent", "value"),
    [
        ("num_steps", 3.6, 4),
        ("num_steps", "12", 12),
        ("num_steps", 99, 20),
        ("num_steps", True, 1),
        ("out/master", 2, 1.0),
        ("out/master", -0.5, 0.0),
        ("out/master", float("inf"), 1.0),
        ("out/blackout", 1, True),
        ("out/blackout", 0.2, False),
        ("out/blackout", "off", False),
        ("schedule", "beta", "beta"),
        ("schedule", 1.0, "linear"),
        ("schedule", 99, "beta"),
        ("prompt", 7, "7"),
        ("prompt", None, ""),
        ("sigmas", "1, 0.5 0", (1.0, 0.5, 0.0)),
        ("sigmas", [1, 0.25, 0], (1.0, 0.25, 0.0)),
        ("sigmas", "none", None),
        ("sigmas", None, None),
        ("ffn_chunk_size", "null", 0),
    ],
)
def test_what_is_sent_becomes_a_value(name, sent, value):
    coerced = find(name).coerce(sent)
    assert coerced == value
    assert type(coerced) is type(value)


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("num_steps", "many"),
        ("out/master", float("nan")),
        ("out/hue", [1, 2]),
        ("schedule", "steep"),
        ("schedule", float("inf")),
        ("sigmas", [0, 1]),
        ("sigmas", "1 0.5"),
        ("sigmas", "2 0"),
    ],
)
def test_what_cannot_be_understood_names_the_address(name, sent):
    with pytest.raises(ParameterError, match=f"^/ltx/{name}: "):
        find(name).coerce(sent)


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(ParameterError, match="did you mean /ltx/num_frames?"):
        find("num_frame")
    with pytest.raises(ParameterError, match="ltx-live params"):
        find("qqqqqqqq")


def test_indexed_rows():
    assert find("bank/64/connect") is find("bank/1/connect")
    assert find("bank/1/connect").kind == "trigger"
    with pytest.raises(ParameterError):
        find("bank/65/connect")
    with pytest.raises(ParameterError):
        find("bank/N/connect")


def test_snapshots_hold_the_values_of_their_tiers():
    values = params.defaults() | {"num_steps": 4, "out/master": 0.5}
    made = params.snapshot(GenerationParams, values)
    shown = params.snapshot(OutputParams, values)
    assert made.num_steps == 4
    assert made.prompt == ""
    assert shown.out_master == 0.5
    assert not hasattr(made, "out_master")
    assert not hasattr(shown, "num_steps")
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.num_steps = 5


def test_snapshots_travel_between_processes():
    made = params.snapshot(GenerationParams, params.defaults() | {"seed": 7})
    assert pickle.loads(pickle.dumps(made)) == made
