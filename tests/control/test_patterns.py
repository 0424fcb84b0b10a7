"""OSC address patterns against the parameter table."""

import pytest

from ltx_live import params
from ltx_live.control.patterns import compile_pattern, expand_pattern


@pytest.mark.parametrize(
    ("pattern", "addresses"),
    [
        ("/ltx/out/b*", ["/ltx/out/blackout", "/ltx/out/brightness"]),
        ("/ltx/bank/?/name", [f"/ltx/bank/{i}/name" for i in range(1, 10)]),
        ("/ltx/bank/[2-4]/text", [f"/ltx/bank/{i}/text" for i in (2, 3, 4)]),
        ("/ltx/bank/[!2-9]/text", ["/ltx/bank/1/text"]),
        ("/ltx/bank/[-a--2]/text", ["/ltx/bank/2/text"]),
        ("/ltx/{seed,reseed}", ["/ltx/reseed", "/ltx/seed"]),
        ("/ltx/norm/out/{hue,contrast}", ["/ltx/norm/out/contrast", "/ltx/norm/out/hue"]),
        ("/ltx/out/master", ["/ltx/out/master"]),
        ("/ltx/nothing*", ["/ltx/nothing*"]),
    ],
)
def test_patterns(pattern, addresses):
    assert sorted(expand_pattern(pattern)) == sorted(addresses)


def test_a_pattern_across_levels_reaches_every_row():
    everything = compile_pattern("/ltx/*", across=True)
    assert all(everything.fullmatch(f"/ltx/{name}") for name in params.concrete_names())
    assert not compile_pattern("/ltx/*").fullmatch("/ltx/out/hue")


@pytest.mark.parametrize("pattern", ["/ltx/[z-a]", "/ltx/*/*/*/*/*", "/ltx/?" + "x" * 200])
def test_a_pattern_that_cannot_be_is_refused(pattern):
    with pytest.raises(ValueError, match="pattern"):
        expand_pattern(pattern)
