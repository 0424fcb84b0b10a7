"""Initial values by layer, addresses, presets and the home."""

import pytest

from ltx_live import config, params
from ltx_live.config import Config
from ltx_live.errors import ConfigError, ParameterError


def test_the_pocket_starts_small_and_everything_else_as_the_table_says():
    values = config.initial_values("pocket", None, {})
    assert (values["width"], values["height"], values["num_frames"]) == (288, 160, 57)
    assert values["lora_merge_strategy"] == "runtime"
    untouched = params.defaults()
    for name in ("width", "height", "num_frames", "lora_merge_strategy"):
        del untouched[name]
    assert {name: values[name] for name in untouched} == untouched


def test_each_layer_wins_over_the_one_before():
    assert config.initial_values("elsewhere.safetensors", None, {})["width"] == 320  # no values of its own: the table's
    assert config.initial_values("pocket", "stage", {})["width"] == 512  # a preset over the model
    assert config.initial_values("pocket", "instrument", {})["num_frames"] == 33
    assert config.initial_values("pocket", "stage", {"width": "640"})["width"] == 640  # a setting over the preset


def test_every_preset_can_be_used_and_keeps_loras_live():
    names = [name for name in config.load_presets() if name != "model"]
    assert {"live", "instrument", "stage"} <= set(names)
    for name in names:
        assert config.initial_values("pocket", name, {})["lora_merge_strategy"] == "runtime"


def test_what_cannot_be_set_says_so():
    with pytest.raises(ConfigError, match="--preset nope: no such preset; choose one of live, instrument, stage"):
        config.initial_values("pocket", "nope", {})
    with pytest.raises(ParameterError, match="did you mean /ltx/num_steps"):
        config.initial_values("pocket", None, {"num_stepz": 3})
    with pytest.raises(ParameterError, match="'few' is not a number"):
        config.initial_values("pocket", None, {"num_steps": "few"})
    with pytest.raises(ConfigError, match="is a trigger"):
        config.initial_values("pocket", None, {"sys/panic": "1"})


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9130", ("127.0.0.1", 9130)),
        ("0.0.0.0:7000", ("0.0.0.0", 7000)),
        (":8000", ("127.0.0.1", 8000)),
        ("8000", ("127.0.0.1", 8000)),
        ("[::1]:9000", ("::1", 9000)),
    ],
)
def test_addresses(text, address):
    assert config.parse_address(text) == address


@pytest.mark.parametrize("text", ["localhost", "host:", "127.0.0.1:70000", "127.0.0.1:-1", "127.0.0.1:port"])
def test_what_is_no_address(text):
    with pytest.raises(ConfigError, match="write HOST:PORT"):
        config.parse_address(text)


def test_folders_of_the_home_are_made_at_first_need(tmp_path):
    show = Config(home=tmp_path / "home")
    assert not show.home.exists()
    assert show.folder("recordings") == tmp_path / "home" / "recordings"
    assert (tmp_path / "home" / "recordings").is_dir()
    assert show.folder("recordings").is_dir()


def test_a_home_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot make .*choose another folder with --home"):
        Config(home=tmp_path / "file").folder("models")


def test_the_home_is_in_the_users_folder_or_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("LTX_LIVE_HOME", str(tmp_path))
    assert config.default_home() == tmp_path
    monkeypatch.delenv("LTX_LIVE_HOME")
    assert config.default_home().name == "ltx-live"
