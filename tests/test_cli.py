"""The command line as a user meets it: options, exit statuses, one line per error."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ltx_live import __version__, cli, listing, options, params
from ltx_live.config import Config, OscOptions


def ltx_live(*arguments: str, **more) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    return subprocess.run([sys.executable, "-m", "ltx_live", *arguments], capture_output=True, text=True, **more)


def show(*arguments: str) -> Config:
    """The Config that `ltx-live play` would run with these options."""
    return options.show_config(cli.parser().parse_args(["play", *arguments]))


def test_help_is_there_at_once():
    times_s = []
    for _ in range(6):  # the machine may be busy with other things
        start_s = time.perf_counter()
        done = ltx_live("--help")
        times_s.append(time.perf_counter() - start_s)
    for command in ("play", "render", "params", "devices", "doctor", "bench"):
        assert command in done.stdout
    assert min(times_s) < 0.3


def test_nothing_heavy_is_imported_before_it_is_needed():
    heavy = "{'numpy', 'torch', 'rich', 'pyglet', 'av', 'sounddevice', 'mido'}"
    code = f"import sys, ltx_live.cli; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_version():
    assert ltx_live("--version").stdout.strip() == f"ltx-live {__version__}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["dance"], "invalid choice: 'dance'"),
        (["play", "--set", "num_stepz=4"], "/ltx/num_stepz: no such parameter; did you mean /ltx/num_steps?"),
        (["play", "--set", "num_steps"], "'num_steps' is not NAME=VALUE"),
        (["play", "--set", "num_steps=few"], "'few' is not a number"),
        (["play", "--set", "reseed=1"], "is a trigger"),
        (["play", "--size", "large"], "'large' is not WIDTHxHEIGHT"),
        (["play", "--osc", "nowhere"], "write HOST:PORT"),
        (["play", "--osc-out", "nowhere"], "--osc-out nowhere: write HOST:PORT, such as 127.0.0.1:9131"),
        (["play", "--osc-allow", "10.0.0.0/33"], "'10.0.0.0/33' is not an address or network, such as 10.0.0.0/24"),
        (["play", "--osc-reply-port", "0"], "'0' is not a port, 1 to 65535"),
        (["play", "--osc-aliases", "ableton"], "invalid choice: 'ableton'"),
        (["play", "--http", "here"], "--http here: write HOST:PORT, such as 127.0.0.1:9132"),
        (["play", "--duration", "0"], "seconds above 0"),
        (["play", "--preset", "nope"], "choose one of live"),
        (
            ["play", "--model", "/no/such/model"],
            "--model /no/such/model: no such file or folder; give pocket, testcard, ltx-2.3",
        ),
        (["render", "--model", "ltx-2.3", "--out", "a.mp4"], "is not downloaded in"),
        (["play", "--lora", "/no/such.safetensors:0.5"], "LoRA /no/such.safetensors: no such file, nor in"),
        (["play", "--lora", "/"], "LoRA /: a folder; give the .safetensors file in it"),
        (["play", "--lora", f"{__file__}:inf"], "the strength must be a finite number"),
        (["render", "--out", "a.mp4", "--lora", f"{__file__}:nan"], "the strength must be a finite number"),
        (["models", "convert", "pocket", "a", "--lora", f"{__file__}:-inf"], "the strength must be a finite number"),
        (["play", "--lora", f"{__file__}:3"], "test_cli.py:3: a live strength is 0 to 2; give one of these, or merge"),
        (["play", "--lora", f"{__file__}:-0.5"], "a live strength is 0 to 2"),
        (["models", "verify", "pocket", "--play", "--lora", f"{__file__}:3"], "is 0 to 2; the proof plays at one"),
        (["play", "--lora-unmatched", "perhaps"], "invalid choice: 'perhaps'"),
        (["play", *["--lora", __file__] * 9], "9 LoRAs are given, 8 can be played"),
        (["play", "--max-vram-gb", "-1"], "GiB above 0"),
        (["play", "--memory", "cloud"], "invalid choice: 'cloud'"),
        (["play", "--record", "show.avi"], "must end in .mp4"),
        (["render"], "required: --out"),
        (["render", "--out", "a.mp4", "--seconds", "soon"], "seconds above 0"),
        (["bench", "nothing"], "no such benchmark"),
        (["bench", "_bars"], "choose one of control, full_size, "),
        (["bench", "loop", "--nope"], "unrecognized arguments: --nope; see `ltx-live bench loop --help`"),
        (["bench", "pocket", "--prompts", "few"], "invalid int value: 'few'"),
        (["params", "--json", "--markdown"], "not allowed with"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(arguments, words, capsys):
    assert cli.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("ltx-live: ")
    assert printed.err.count("\n") == 1
    assert words in printed.err


def test_the_exit_status_reaches_the_shell():
    done = ltx_live("play", "--size", "large")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_options_of_play_become_the_config(tmp_path):
    made = show(
        *("--model", "testcard", "--prompt", "a tunnel", "--size", "300x170", "--seed", "7", "--home", str(tmp_path)),
        *("--mapping", "my.toml", "--osc", "0.0.0.0:7000", "--midi", "nano", "--audio", "none", "--screen", "2"),
        *("--headless", "--record", str(tmp_path / "a.mp4"), "--duration", "2.5"),
    )
    assert made.model == "testcard"
    assert made.home == tmp_path
    assert (made.mapping, made.osc, made.midi, made.audio) == ("my.toml", ("0.0.0.0", 7000), "nano", "none")
    assert (made.screen, made.fullscreen, made.headless) == (2, False, True)
    assert (made.record, made.duration_s) == (tmp_path / "a.mp4", 2.5)
    assert made.values["prompt"] == "a tunnel"
    assert (made.values["width"], made.values["height"]) == (288, 160)
    assert made.values["window/screen"] == 2
    assert (made.values["seed"], made.values["randomize_seed"]) == (7, False)


def test_without_options_play_is_the_pocket_live():
    made = show()
    assert (made.model, made.values["num_frames"], made.values["randomize_seed"]) == ("pocket", 57, True)
    assert (made.osc, made.http) == (("127.0.0.1", 9130), ("127.0.0.1", 9132))
    assert made.record is None
    assert made.duration_s is None


def test_the_remote_page_is_opened_to_others_or_left_out():
    assert show("--http", "0.0.0.0:8888").http == ("0.0.0.0", 8888)
    assert show("--http", "none").http is None


def test_fullscreen_starts_without_hud_unless_asked_for():
    assert show("--fullscreen").fullscreen
    assert show("--fullscreen").values["window/hud"] == "off"
    assert show("--fullscreen", "--set", "window/hud=min").values["window/hud"] == "min"
    assert show("--set", "window/fullscreen=1").fullscreen
    assert show().values["window/hud"] == "full"


def test_options_of_osc_become_its_options():
    made = show(
        *("--osc-out", "10.0.0.5:9000", "--osc-out", "[fe80::1]:7001/composition/*", "--osc-out", "9131/ltx/norm/*"),
        *("--osc-allow", "10.0.0.7", "--osc-allow", "192.168.1.20/24", "--osc-reply-port", "9001"),
        *("--osc-aliases", "resolume", "--log-osc", "--quit-word", "good night"),
    )
    assert made.osc_options.out == (
        ("10.0.0.5", 9000, "/ltx/*"), ("fe80::1", 7001, "/composition/*"), ("127.0.0.1", 9131, "/ltx/norm/*")
    )  # fmt: skip
    assert made.osc_options.allow == ("10.0.0.7/32", "192.168.1.0/24")
    assert (made.osc_options.reply_port, made.osc_options.aliases, made.osc_options.log) == (9001, "resolume", True)
    assert made.quit_word == "good night"
    assert (made.strobe_limit_hz, show("--strobe-limit", "12").strobe_limit_hz) == (3.0, 12.0)
    assert show().osc_options == OscOptions() and show().quit_word == ""


def test_set_wins_and_takes_osc_addresses():
    made = show("--seed", "7", "--set", "seed=8", "--set", "/ltx/bank/3/text=a red grid = of bells")
    assert made.values["seed"] == 8
    assert made.values["bank/3/text"] == "a red grid = of bells"


def test_where_there_is_no_display_the_show_is_recorded(tmp_path):
    instead = cli.recording_instead(show("--home", str(tmp_path), "--prompt", "a tunnel"))
    assert instead.headless
    assert instead.duration_s == 20
    assert instead.record.parent == tmp_path / "recordings"
    assert instead.record.suffix == ".mp4"
    assert instead.values["prompt"] == "a tunnel"
    asked = cli.recording_instead(show("--record", str(tmp_path / "a.mp4"), "--duration", "3"))
    assert (asked.record, asked.duration_s) == (Path(tmp_path / "a.mp4"), 3)


def test_a_display_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    assert cli.display_problem() == "DISPLAY is not set"
    monkeypatch.setenv("DISPLAY", ":4321")
    assert cli.display_problem() != ""


def test_params_as_json_hold_the_table():
    rows = json.loads(ltx_live("params", "--json").stdout)
    assert [row["name"] for row in rows] == [row.name for row in listing.ROWS]
    by_name = {row["name"]: row for row in rows}
    assert by_name["num_frames"] == {
        "address": "/ltx/num_frames",
        "name": "num_frames",
        "kind": "int",
        "default": 129,
        "tier": "chunk",
        "doc": "frames per chunk, 8K + 1",
        "minimum": 9,
        "maximum": 257,
        "choices": [],
        "unit": "",
        "landing": "chunk",
        "count": 0,
    }


def test_params_as_a_table_name_every_parameter():
    printed = ltx_live("params").stdout
    for row in params.PARAMETERS:
        assert f" {row.name} " in printed


def test_a_reader_that_leaves_early_is_no_error():
    command = f"{sys.executable} -m ltx_live params | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""


def test_devices_are_listed_or_said_to_be_missing():
    done = ltx_live("devices")
    assert done.returncode == 0, done.stderr
    for title in ("sound outputs", "MIDI inputs", "screens"):
        assert title in done.stdout


def test_the_doctor_reports_every_part_without_a_traceback(tmp_path):
    done = ltx_live("doctor", "--home", str(tmp_path / "home"))
    assert done.returncode in (0, 1)
    assert done.stderr == ""
    for part in (
        "Python",
        "PyTorch",
        "video",
        "pocket",
        "LTX-2.3",
        "memory for it",
        "shared memory",
        "home",
        "OSC",
        "remote page",
        "screens",
        "sound",
        "MIDI",
    ):
        assert f"\n {part}" in f"\n{done.stdout}"
    assert "5 files, 26 MB" in done.stdout
    assert "made at first need" in done.stdout
    assert not (tmp_path / "home").exists()


def test_loras_are_found_by_name_and_start_at_their_strengths(tmp_path):
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / "style.safetensors").write_bytes(b"")
    (tmp_path / "C:other").write_bytes(b"")  # a colon that begins no strength
    found = show("--home", str(tmp_path), "--lora", "style:0.25", "--lora", str(tmp_path / "C:other"))
    assert found.loras == ((tmp_path / "loras" / "style.safetensors", 0.25), (tmp_path / "C:other", 1.0))
    assert [found.values[f"lora/{i}/strength"] for i in (1, 2)] == [0.25, 1.0]


def test_every_fader_of_a_lora_may_be_set():
    merge = "--set", "lora_merge_strategy=permanent_merge"
    assert show("--lora", f"{__file__}:-7.5", *merge).loras == ((Path(__file__), -7.5),)  # further than a fader goes
    for more in ((), merge):
        found = show("--lora", f"{__file__}:0.5", "--set", "lora/1/strength=0.7", "--set", "lora/3/strength=0.2", *more)
        assert found.loras == ((Path(__file__), 0.7),)  # as the first chunk asks for it
        assert [found.values[f"lora/{n}/strength"] for n in (1, 2, 3)] == [0.7, 1.0, 0.2]  # ahead of a file


def test_a_rendering_merges_loras_unless_asked_otherwise(tiny, tmp_path, capsys, caplog):
    layer, out = "diffusion_model.transformer_blocks.0.attn1.to_q", tmp_path / "a.mp4"
    factors = {f"{layer}.lora_A.weight": torch.ones(1, 32), f"{layer}.lora_B.weight": torch.ones(32, 1)}
    factors |= {f"diffusion_model.elsewhere.{name}": torch.ones(1, 1) for name in ("lora_A.weight", "lora_B.weight")}
    save_file(factors, tmp_path / "strong.safetensors")
    command = ["render", "--model", str(tiny.folder), "--seconds", "0.2", "--size", "64x32", "--out", str(out)]
    command += ["--device", "cpu", "--set", "num_frames=9", "--set", "num_steps=1", "--set", "schedule=linear"]
    command += ["--lora", f"{tmp_path / 'strong.safetensors'}:5"]
    assert cli.main([*command, "--set", "lora_merge_strategy=runtime"]) == 2  # no fader goes so far
    assert cli.main(command) == 1
    assert "matching no layer: 2 tensors (diffusion_model.elsewhere" in capsys.readouterr().err
    assert cli.main([*command, "--lora-unmatched", "warn"]) == 0 and out.is_file()
    assert "matching no layer and not used: 2 tensors" in caplog.text


def test_benchmarks_are_found_by_name():
    done = ltx_live("bench")
    assert done.returncode == 0
    assert {"full_size", "loop", "pocket"} <= {*done.stdout.split()} and "_bars" not in done.stdout
