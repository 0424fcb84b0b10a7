"""A real show, headless, driven by OSC from another process: through its cue list, killed, and back where it was."""

import shutil
import signal
import time
import tomllib

import pytest
from test_app import Play

from ltx_live import pocket
from ltx_live.control.osc import decode_packet

SHOW = """# tonight
schema = 1

[values]
"out/hue" = 10  # warm

[[bank]]
slot = 1
name = "rings"
text = "fast red rings"

[[cue]]
name = "Doors"
prompt = "slow blue waves"
follow = 1.5

[[cue]]
name = "Song"
bank = 1
morph = 2
follow = "6 beats"  # 3 s at 120 bpm
values = { "out/hue" = 90, drift_anchor = 0.5 }

[[cue]]
name = "End"
prompt = "grid"
"""
LATE_S = 0.5


@pytest.fixture(scope="module")
def show_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("show") / "tonight.toml"
    path.write_text(SHOW)
    return path


@pytest.fixture(scope="module")
def played(show_path):
    """The show until it is killed: (what was asked by when it was answered, s after the first cue; list of cues)."""
    play = Play(show_path.parent / "home", str(show_path))
    play.wait_for("first picture")
    time.sleep(1)
    play.ask("/ltx/sys/ping", 0)
    start_s = time.perf_counter()
    play.send("/ltx/cue/go")
    play.seen = []
    while time.perf_counter() - start_s < 7:
        answers = dict(play.ask(f"/ltx/{name}", "?") for name in ("cue/current", "out/hue", "drift_anchor"))
        play.seen.append((time.perf_counter() - start_s, *(args[0] for args in answers.values())))
        time.sleep(0.05)
    play.cuts = play.ask("/ltx/status/num_cuts", "?")[1][0]
    play.underruns = play.ask("/ltx/status/num_underruns", "?")[1][0]
    play.send("/ltx/cue/list")
    play.listed, _ = decode_packet(play._socket.recv(65535))  # one bundle
    for address, value in (
        ("snap/3/save", 1),
        ("snap/3/name", "finale"),
        ("out/master", 0.75),
        ("bank/2/text", "bells"),
    ):
        play.send(f"/ltx/{address}", value)
    time.sleep(2.5)
    play.process.send_signal(signal.SIGKILL)
    play.process.wait(10)
    return play


def first(played, label):
    return next(time_s for time_s, current, *_ in played.seen if current == label)


def test_cues_follow_by_themselves(played):
    assert first(played, "1 Doors") < LATE_S
    assert 1.4 < first(played, "2 Song") < 1.5 + LATE_S
    assert 4.4 < first(played, "3 End") < 4.5 + LATE_S


def test_a_morph_glides_and_only_the_prompts_cut(played):
    gliding = [(time_s, hue, anchor) for time_s, current, hue, anchor in played.seen if current == "2 Song"]
    hues = [hue for _, hue, _ in gliding]
    assert hues == sorted(hues) and hues[-1] == 90 and len({hue for hue in hues if 10 < hue < 90}) > 8
    assert all(abs((hue - 10) / 80 - anchor / 0.5) < 0.15 for _, hue, anchor in gliding)
    start_s = first(played, "2 Song")
    middle_s = next(time_s for time_s, hue, _ in gliding if hue >= 50)
    assert middle_s - start_s == pytest.approx(1, abs=LATE_S)
    assert played.cuts == 3 and played.underruns == 0


def test_the_list_is_told(played):
    assert [args[2:4] for _, args in played.listed] == [("1", "Doors"), ("2", "Song"), ("3", "End")]


def test_after_a_kill_the_same_command_goes_on_where_it_was(played, show_path):
    table = tomllib.loads(show_path.read_text())
    assert [each["text"] for each in table["bank"]] == ["fast red rings", "bells"]
    assert show_path.read_text().startswith("# tonight\n") and '"out/hue" = 10  # warm\n' in show_path.read_text()
    again = Play(show_path.parent / "home", str(show_path))
    again.wait_for("first picture")
    assert any("the show broke off" in line for line in again.lines)
    names = ("prompt", "out/hue", "drift_anchor", "out/master", "cue/current", "bank/2/text", "snap/3/name")
    found = [again.ask(f"/ltx/{name}", "?")[1][0] for name in names]
    assert found == ["grid", 90.0, 0.5, 0.75, "3 End", "bells", "finale"]
    again.send("/ltx/out/hue", 5.0)
    again.send("/ltx/snap/3/recall")
    assert again.ask("/ltx/out/hue", "?")[1][0] == 90.0
    again.process.send_signal(signal.SIGINT)
    assert again.end() == 130
    state = tomllib.loads((show_path.parent / "home" / "shows" / "last-tonight.toml").read_text())
    assert state["last"]["ended"] is True


def test_a_faulty_cue_list_is_refused_before_anything_opens(tmp_path):
    (tmp_path / "cues.toml").write_text('schema = 1\n\n[[cue]]\nname = "a"\nfolow = 3\n')
    with pytest.raises(AssertionError, match=r"cues.toml:5: unknown key folow; did you mean follow\?"):
        Play(tmp_path, "--cues", str(tmp_path / "cues.toml"))


def test_a_lora_that_a_show_begins_with_is_found_at_once(tmp_path):
    """The test card cannot play it; that it is there is known all the same."""
    (tmp_path / "loras").mkdir()
    shutil.copy(pocket.lora_folder() / "pocket-style-ink.safetensors", tmp_path / "loras" / "ink.safetensors")
    play = Play(tmp_path, "--set", "lora/1/name=ink")
    play.wait_for("first picture")
    play.process.send_signal(signal.SIGINT)
    play.end()
    assert not any("no such file" in line for line in play.lines)
