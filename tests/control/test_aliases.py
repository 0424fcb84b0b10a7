"""Resolume's addresses: each reaches a row of the table, and what is told is what it would be told."""

import pytest

from ltx_live import params
from ltx_live.control.aliases import _FIXED, ours_to_resolume, resolume_to_ours
from ltx_live.control.event import Event, Origin
from ltx_live.control.registry import Registry


@pytest.mark.parametrize(
    ("address", "args", "ours"),
    [
        ("/composition/master", (0.5,), ("/ltx/out/master", (0.5,))),
        ("/composition/master", ("a", 0.5), ("/ltx/out/master", (0.5,))),
        ("/composition/master", ("+", 0.1), ("/ltx/out/master", ("+", 0.1))),
        ("/composition/master", ("?",), ("/ltx/out/master", ("?",))),
        ("/composition/bypassed", (1,), ("/ltx/out/blackout", (1,))),
        ("/composition/columns/12/connect", (1,), ("/ltx/bank/12/connect", (1,))),
        ("/composition/layers/1/clips/3/connect", (0,), ("/ltx/bank/3/connect", (0,))),
        ("/ltx/layers/1/clips/3/connect", (1,), ("/ltx/bank/3/connect", (1,))),
        ("/composition/columns/2/name", ("waves",), ("/ltx/bank/2/name", ("waves",))),
        ("/composition/connectnextcolumn", (1,), ("/ltx/bank/next", (1,))),
        ("/composition/tempocontroller/tempo", (0.25,), ("/ltx/tempo/bpm", (140.0,))),
        ("/composition/tempocontroller/tempo", ("-", 0.125), ("/ltx/tempo/bpm", ("-", 60.0))),
        ("/composition/tempocontroller/tempo", ("*", 2), ("/ltx/tempo/bpm", ("*", 2))),
        ("/composition/tempocontroller/tempo", (), ("/ltx/tempo/bpm", ())),
        ("/composition/tempocontroller/tempoinc", (1,), ("/ltx/tempo/bpm", ("+", 1.0))),
        ("/composition/tempocontroller/tempodec", (), ("/ltx/tempo/bpm", ("-", 1.0))),
        ("/composition/tempocontroller/tempotap", (1,), ("/ltx/tempo/tap", (1,))),
        ("/composition/layers/2/clips/3/connect", (1,), ("/composition/layers/2/clips/3/connect", (1,))),
        ("/ltx/out/hue", (3.0,), ("/ltx/out/hue", (3.0,))),
        ("/master", (0.5,), ("/master", (0.5,))),
    ],
)
def test_an_alias_becomes_our_message(address, args, ours):
    assert resolume_to_ours(address, args) == ours


def test_a_released_step_asks_for_nothing():
    assert resolume_to_ours("/composition/tempocontroller/tempoinc", (0,)) is None


@pytest.mark.parametrize("alias", _FIXED)
def test_every_alias_is_of_a_row_that_takes_it(alias):
    address, args = resolume_to_ours(f"/composition/{alias}", (1,))
    outcome = Registry({"bank/1/text": "rings"}).apply((Event(address, args, Origin("osc"), 0.0),))
    assert not outcome.errors and params.find(address.removeprefix("/ltx/"))


def test_values_come_back_under_the_address_that_sets_them():
    for name, value in [("out/master", 0.5), ("audio/volume", 0.25), ("tempo/bpm", 80.0), ("bank/7/name", "waves")]:
        alias, shown = ours_to_resolume(name, value)
        assert resolume_to_ours(alias, (shown,)) == (f"/ltx/{name}", (pytest.approx(value),))
    assert ours_to_resolume("out/master", 1)[0] == "/composition/master"  # and not the layer's
    assert ours_to_resolume("out/hue", 3.0) is None
