"""The proof kit on the tiny model and on the pocket: what is in the folder, and that its checks can fail."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ltx_live import cli, config
from ltx_live.chunk import EngineInfo
from ltx_live.config import Config
from ltx_live.engine.ltx import LtxEngine
from ltx_live.engine.settings import LtxSettings
from ltx_live.engine.setup import prepare
from ltx_live.media.video import read_video
from ltx_live.params import GenerationParams
from ltx_live.pocket import weights_folder
from ltx_live.proof import parts, play
from ltx_live.proof.figures import Joined, contact_sheet, latent_statistics, psnr_db, relative_difference
from ltx_live.proof.folder import Proof
from ltx_live.proof.parts import PROMPTS
from ltx_live.proof.takes import Player
from ltx_live.weights.checkpoint import Storage
from ltx_live.weights.fp8 import FP8Linear
from ltx_live.weights.loading import load_networks

QUERY = "transformer_blocks.0.attn1.to_q"
FILMS = {"seam-with-prefix.mp4", "seam-without-prefix.mp4", "between.mp4"}


@pytest.fixture(scope="session")
def lora_file(tiny, tmp_path_factory) -> Path:
    """A LoRA for one layer of the tiny model."""
    rows, columns = tiny.networks["transformer"].get_submodule(QUERY).weight.shape
    draw = torch.Generator().manual_seed(1)
    factors = {"lora_A": torch.randn(4, columns, generator=draw), "lora_B": torch.randn(rows, 4, generator=draw)}
    path = tmp_path_factory.mktemp("lora") / "one.safetensors"
    save_file({f"diffusion_model.{QUERY}.{name}.weight": tensor for name, tensor in factors.items()}, path)
    return path


def tiny_config(tiny, **more) -> Config:
    values = {"width": 64, "height": 32, "num_frames": 33, "num_steps": 2, "schedule": "linear"}
    return Config(model=str(tiny.folder), device="cpu", values=config.initial_values("", None, values), **more)


def numbers(value) -> list[float]:
    """Every number in a summary."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for each in value for number in numbers(each)]
    return [value] if isinstance(value, (int, float)) else []


@pytest.fixture(scope="module")
def proof(tiny, lora_file, tmp_path_factory) -> Path:
    """The folder of a proof of the tiny model with a LoRA."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("proof") / "of tiny"
    assert play.run(tiny_config(tiny, loras=((lora_file, 1.0),)), folder, PROMPTS[:2]) == 0
    return folder


def test_the_summary_has_every_figure_and_every_check_holds(proof):
    summary = json.loads((proof / "summary.json").read_text())
    figures = summary["figures"]
    assert summary["is_finished"] and summary["faults"] == {} and len(summary["checks"]) == 9
    assert all(summary["checks"].values())
    assert "a LoRA at strength 0 is the model without it" in summary["checks"]
    assert {"versions", "machine", "model", "files", "memory", "prompts", "repeat", "seams"} < set(figures)
    assert {"continued chunk", "between prompts", "float8", "lora"} < set(figures)
    assert all(math.isfinite(number) for number in numbers(figures)) and "null" not in json.dumps(figures)
    assert figures["versions"]["torch"] == torch.__version__ and figures["model"]["layout"] == "split files"
    assert len(figures["files"]) >= 5 and all(file["bytes"] > 0 for file in figures["files"].values())
    assert all(len(file["sha256"]) == 64 for file in figures["files"].values())
    assert figures["memory"]["measured_host_gib"] > 0.1 and figures["continued chunk"]["real_time_factor"] > 0
    assert figures["repeat"]["kept_prompt_s"] < figures["prompts"]["flower"]["new_prompt_s"]
    assert len(figures["lora"]["difference_after_step"]) == 2 and min(figures["lora"]["difference_after_step"]) > 0
    text = (proof / "summary.md").read_text()
    assert "FAILED" not in text and "Not finished" not in text and "| with prefix |" in text


def test_the_folder_holds_what_can_be_seen_and_heard(proof):
    names = {path.name for path in proof.iterdir()}
    assert names == FILMS | {
        "summary.json", "summary.md", "between.png", "between.csv", "lora.mp4", "lora.png", "prompt-flower",
        "prompt-tunnel",
    }  # fmt: skip
    film = read_video(proof / "prompt-flower" / "chunk.mp4")
    assert film.frames.shape == (33, 32, 64, 3) and len(film.audio) >= 33 * 2000
    assert read_video(proof / "prompt-flower" / "contact.png").frames.shape == (1, 3 * 32, 4 * 64, 3)
    held, free = (read_video(proof / f"seam-{name}.mp4").frames for name in ("with-prefix", "without-prefix"))
    assert len(held) == 33 + 24 and len(free) == 33 + 33
    with (proof / "prompt-flower" / "steps.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["of"]) for row in rows] == [(s, of) for s in "12" for of in ("picture", "sound")]
    assert float(rows[-1]["sigma"]) == 0 and all(float(row["non_finite"]) == 0 for row in rows)
    assert all(float(row["min"]) < float(row["mean"]) < float(row["max"]) for row in rows)


def test_a_fault_is_noted_and_the_rest_goes_on(tiny, tmp_path, lora_file, capsys):
    other = tmp_path / "other.safetensors"
    save_file({f"diffusion_model.{QUERY}.lora_A.weight": torch.ones(2, 3)}, other)
    (tmp_path / "seam-with-prefix.mp4").mkdir()  # where a file must go
    assert play.run(tiny_config(tiny, loras=((other, 1.0),)), tmp_path, PROMPTS[:2]) == 1
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary["faults"]) == {"seams", "the LoRA"} and summary["is_finished"]
    assert "seam-with-prefix.mp4" in summary["faults"]["seams"] and "other.safetensors" in summary["faults"]["the LoRA"]
    assert (tmp_path / "between.mp4").is_file() and "**FAULT** in seams" in (tmp_path / "summary.md").read_text()
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path)


def test_a_model_that_does_not_load_leaves_a_summary_too(tmp_path, lora_file):
    (tmp_path / "empty").mkdir()
    values = config.initial_values("", None, {})
    broken = Config(model=str(tmp_path / "empty"), device="cpu", values=values, loras=((lora_file, 1.0),))
    assert play.run(broken, tmp_path / "out", PROMPTS[:2]) == 1
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert "nothing of LTX-2.3 here" in summary["faults"]["the model"] and "the LoRA" in summary["faults"]
    assert summary["figures"]["versions"]["torch"] == torch.__version__


def test_what_breaks_off_leaves_a_summary_that_says_so(tmp_path):
    proof = Proof(tmp_path, {"a": {"number": math.inf}})
    with pytest.raises(ZeroDivisionError), proof.part("division"):
        proof.check("this holds", False)
        proof.figures["a"]["more"] = 1 / 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert not summary["is_finished"] and summary["checks"] == {"this holds": False}
    assert summary["figures"] == {"a": {"number": None}}
    assert "**FAILED**: this holds" in (tmp_path / "summary.md").read_text()


def test_float8_is_compared_with_exact_products_and_left_as_it_was(tiny, layouts, tmp_path):
    folder = layouts.write_split(tmp_path / "model", tiny, layouts.Quantisation())
    setup = prepare(LtxSettings(folder, 64, 32, device="cpu"))
    networks = load_networks(setup.files, setup.plan, Storage("cpu", torch.float32, "matmul"))
    engine = LtxEngine(EngineInfo("tiny", 64, 32, "cpu"), setup, networks)
    player = Player(engine, GenerationParams(num_steps=2, schedule="linear"), 9)
    reference, _ = player.watch(parts.request_for(player, PROMPTS[0]))
    proof = Proof(tmp_path)
    layers = [each for each in networks.transformer.modules() if isinstance(each, FP8Linear)]
    rounding = [layer.matmul for layer in layers]
    parts.float8(player, proof, reference, PROMPTS[0])
    figures = proof.figures["float8"]
    assert figures["layers that round what they are given"] == sum(rounding) > 0
    assert [layer.matmul for layer in layers] == rounding
    assert figures["difference_after_step"] == [0.0, 0.0]  # the CPU multiplies exactly either way
    assert figures["picture_psnr_db"] == 99 and (tmp_path / "float8-exact.mp4").is_file()


def test_statistics_count_what_is_not_finite_and_leave_it_out():
    tokens = np.array([[1.0, 5.0], [3.0, np.nan]], np.float32)
    figures = latent_statistics(tokens)
    assert figures["non_finite"] == 0.25 and (figures["mean"], figures["min"], figures["max"]) == (3.0, 1.0, 5.0)
    assert (figures["channel_std_min"], figures["channel_std_max"]) == (0.0, 1.0)
    nothing = latent_statistics(np.full((2, 2), np.inf, np.float32))
    assert nothing["non_finite"] == 1 and math.isnan(nothing["mean"])


def test_a_seam_stands_out_only_where_there_is_one():
    ramp = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    hum = np.sin(np.arange(48000) / 50)[:, None] * np.ones((1, 2)) * 0.5
    smooth = Joined(ramp, hum.astype(np.float32), 10, 24000).figures()
    assert smooth["picture_ratio"] == 1 and abs(smooth["sound_before_db"] - smooth["sound_after_db"]) < 0.1
    assert smooth["largest_sample_step_at_seam"] <= smooth["largest_sample_step_elsewhere"]
    jump = ramp + 100 * (np.arange(20) >= 10).astype(np.uint8)[:, None, None, None]
    hum[24000:] -= 0.4
    cut = Joined(jump, hum.astype(np.float32), 10, 24000).figures()
    assert cut["picture_ratio"] == 101 and cut["picture_change_elsewhere"] == 1
    assert cut["largest_sample_step_at_seam"] > 10 * cut["largest_sample_step_elsewhere"]


def test_comparisons_and_sheets():
    one, other = [np.ones((2, 2)), np.ones(4)], [np.ones((2, 2)), np.array([1.0, 1, 1, 3])]
    assert relative_difference(one, one) == 0 and relative_difference(one, other) == 1.0
    frames = np.arange(24, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 4, 3), np.uint8)
    assert psnr_db(frames, frames) == 99 and psnr_db(frames, frames + 1) == pytest.approx(48.13, abs=0.01)
    sheet = contact_sheet(frames, columns=3, rows=2)
    assert sheet.shape == (4, 12, 3)
    assert sheet[::2, ::4, 0].tolist() == [[0, 5, 9], [14, 18, 23]]


@pytest.mark.skipif(not any(weights_folder().glob("*.safetensors")), reason="the pocket has no weights yet")
def test_the_pocket_is_proved_into_a_folder_of_its_own(tmp_path, capsys):
    values = config.initial_values("pocket", None, {"num_frames": 33, "num_steps": 4})
    assert play.run(Config(home=tmp_path, device="cpu", values=values), prompts=PROMPTS[1:3]) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    assert folder.parent == tmp_path / "recordings" and folder.name.startswith("proof-pocket-")
    figures = json.loads((folder / "summary.json").read_text())["figures"]
    assert (figures["model"]["size"], figures["model"]["num_frames"]) == ("288x160", 33)
    held, free = figures["seams"]["with prefix"], figures["seams"]["without prefix"]
    assert held["picture_ratio"] < 0.5 * free["picture_ratio"]
    assert figures["continued chunk"]["given_frames_psnr_db"] > 30


def test_the_command_verifies_first_and_plays_full_models_at_the_specifications_size(monkeypatch, tiny, capsys):
    asked = []
    monkeypatch.setattr(play, "run", lambda config, out: asked.append((config, out)) or 0)
    assert cli.main(["models", "verify", str(tiny.folder), "--play", "--out", "here", "--max-vram-gb", "22.5"]) == 0
    assert "all tensors of all networks are there" in capsys.readouterr().out
    assert cli.main(["models", "verify", "pocket", "--play", "--size", "64x64"]) == 0
    assert cli.main(["models", "verify", str(tiny.folder), "--play", "--set", "num_frames=9"]) == 0
    assert cli.main(["models", "verify", "pocket", "--play", "--lora", "no-such-file"]) == 2
    sizes = [[config.values[name] for name in ("width", "height", "num_frames")] for config, _ in asked]
    assert sizes == [[320, 384, 129], [64, 64, 57], [320, 384, 9]]
    assert asked[0][0].max_vram_gb == 22.5 and asked[0][1] == Path("here") and asked[1][1] is None
    assert asked[0][0].values["lora_merge_strategy"] == "runtime"
