"""What snapshots hold, and what a recall leaves alone."""

import pytest

from ltx_live import params
from ltx_live.control.snapshots import Snapshots, is_excluded, is_held
from ltx_live.errors import ParameterError


def test_a_snapshot_holds_live_values_and_nothing_of_how_a_show_is_played():
    held = {name for name in params.concrete_names() if is_held(name)}
    assert {"prompt", "bank/selected", "prompts/3/weight", "out/hue", "out/master", "tempo/bpm", "num_steps"} <= held
    others = {
        "width",
        "bank/3/text",
        "snap/3/name",
        "snap/xfade",
        "cue/current",
        "land/prompt",
        "midi/page",
        "reseed",
        "cue/go",
    }
    assert not others & held


@pytest.mark.parametrize(
    ("pattern", "name", "excluded"),
    [
        ("out/master", "out/master", True),
        ("audio", "audio/volume", True),
        ("audio/*", "audio/volume", True),
        ("/ltx/out/hue, x", "out/hue", True),
        ("*", "prompt", True),
        ("prompt", "prompts/morph", False),
        ("out", "output", False),
        ("", "out/hue", False),
    ],
)
def test_patterns(pattern, name, excluded):
    assert is_excluded(name, pattern) is excluded


def test_the_default_leaves_level_sound_beat_and_window_alone():
    names = [name for name in params.concrete_names() if is_held(name)]
    left = {name for name in names if is_excluded(name, params.UNTOUCHED)}
    assert {"out/master", "out/blackout", "audio/volume", "audio/mute", "av/offset", "tempo/bpm", "rec/name"} <= left
    assert left.isdisjoint({"prompt", "out/hue", "out/opacity", "num_steps"}) and "window/screen" in left


def test_recall_gives_what_was_kept_but_what_is_excluded_now():
    values = params.defaults()
    snapshots = Snapshots()
    snapshots.save(3, values | {"out/hue": 30.0, "out/master": 0.2})
    recalled = snapshots.recalled(3, values)
    assert recalled["out/hue"] == 30.0 and "out/master" not in recalled
    assert snapshots.recalled(3, values | {"snap/exclude": "out/hue"})["out/master"] == 0.2


def test_an_empty_snapshot_says_which_there_are():
    with pytest.raises(ParameterError, match=r"snapshot 4 is empty \(saved: 2\); keep one with /ltx/snap/4/save"):
        Snapshots({2: {}}).recalled(4, params.defaults())


def test_between_two_snapshots_numbers_mix_and_the_rest_switches_in_the_middle():
    snapshots = Snapshots(
        {
            1: {"out/hue": 0.0, "prompt": "a", "num_steps": 4, "seed": 1},
            2: {"out/hue": 40.0, "prompt": "b", "num_steps": 8},
        }
    )
    values = params.defaults() | {"snap/a": 1, "snap/b": 2}
    assert snapshots.between(0.25, values) == {"out/hue": 10.0, "prompt": "a", "num_steps": 4}
    assert snapshots.between(0.5, values) == {"out/hue": 20.0, "prompt": "b", "num_steps": 8}
    with pytest.raises(ParameterError, match="snap/b is 0; send the number of a snapshot"):
        snapshots.between(0.5, values | {"snap/b": 0})
