"""What the desk does with transactions, in a whole show without a window."""

import contextlib
import time

import pytest
from ticked_show import Play

from ltx_live import params
from ltx_live.control.event import Event, Origin

PEER = Origin("osc", "127.0.0.1", ("127.0.0.1", 5000))


@pytest.fixture
def play(tmp_path):
    with contextlib.ExitStack() as parts:
        yield Play(tmp_path, parts)


def test_a_message_makes_no_snapshot_of_all_values(play, monkeypatch):
    """2,000 messages a second: what is made of all values is made when it is read, once a tick."""
    made = []
    snapshot = params.snapshot
    monkeypatch.setattr(params, "snapshot", lambda cls, values: made.append(cls) or snapshot(cls, values))
    desk, values = play.show._desk, play.show.parts.registry.values
    for number in range(100):
        for name in ("react/attack", "mod/2/depth", "snap/morph", "prompts/1/weight", "drift_anchor"):
            desk.apply((Event(f"/ltx/{name}", (number / 100,), PEER, time.perf_counter()),))
    assert values["mod/2/depth"] == 0.99 and made == []
    assert desk.output.react_attack == 0.99 and desk.generation.drift_anchor == 0.99
    assert len(made) == 2
    assert desk.output is desk.output and desk.generation is desk.generation


def test_a_modulator_that_is_switched_off_and_on_within_a_tick_begins_anew(play):
    play.send("/ltx/mod/1/rate", 0.01)
    play.send("/ltx/mod/1/active", 1)
    play.tick()
    wave = play.show._flow.reaction._modulators._modulators[0]
    wave.cycles = 0.5
    play.send("/ltx/mod/1/active", 0)
    play.send("/ltx/mod/1/active", 1)
    play.show.take()
    assert wave.cycles == 0.0


def test_held_prompts_are_not_played_until_they_are_applied(play):
    play.send("/ltx/prompt", "a")
    play.until(lambda: any(request.played[0][0] == "a" for request in play.asked))
    play.send("/ltx/prompt/hold", 1)
    play.send("/ltx/prompt", "b")
    play.tick()
    assert play.show._status().prompt_pending == "b"
    num = len(play.asked)
    play.until(lambda: len(play.asked) > num + 1)
    assert {request.played[0][0] for request in play.asked[num:]} == {"a"}
    assert play.show._status().prompt_pending == "b"
    play.send("/ltx/prompt/apply")
    play.until(lambda: play.show._status().prompt_applied == "b")


def test_a_chunk_is_as_long_as_beats(play):
    play.send("/ltx/beats", 2)
    play.until(lambda: play.asked and play.asked[-1].params.num_frames == 33)
    assert play.show.parts.registry.values["num_frames"] == 57
    play.send("/ltx/beats", 0)
    play.until(lambda: play.asked[-1].params.num_frames == 57)


def test_the_status_tells_of_pictures_sound_seed_recording_and_faults(play):
    play.send("/ltx/seed", 77)
    play.until(lambda: play.show._status().seed is not None and play.show._status().fps > 10)
    play.until(lambda: play.show._status().level > 0.01)
    seen = play.show._status()
    assert seen.seed in {request.seed for request in play.asked} and not seen.recording and seen.level < 1
    play.send("/ltx/rec/start")
    play.send("/ltx/out/hue", "blue")
    play.until(lambda: play.show._status().recording)
    assert play.show._status().error.startswith("/ltx/out/hue")
    play.send("/ltx/rec/stop")
    play.until(lambda: not play.show._status().recording)


def test_a_sound_device_that_is_not_there_is_one_line_and_the_value_comes_back(play):
    values = play.show.parts.registry.values
    assert values["audio/device"] == "none"
    play.send("/ltx/audio/device", "no such thing")
    play.told("/ltx/audio/device no such thing: no such output")
    play.tick()
    assert values["audio/device"] == "none" and play.show.parts.audio.pattern == "none"
    play.send("/ltx/audio/restart")
    play.told("looking for sound devices anew")
    state = play.show.parts.keeper._stand(lambda name: True)
    assert "device" not in str(state), "it belongs to this computer"


def test_a_file_that_another_computer_may_not_name_is_one_line_and_the_rest_of_the_bundle_counts(play):
    far = Origin("osc", "10.0.0.7")
    for origin, expected in ((far, ""), (PEER, "/etc/passwd")):
        pair = ("i2v_image", "/etc/passwd"), ("out/hue", 20.0)
        play.show._desk.apply(tuple(Event(f"/ltx/{name}", (value,), origin, 0.0) for name, value in pair))
        assert play.show.parts.registry.values["i2v_image"] == expected
    assert play.show.parts.registry.values["out/hue"] == 20.0
    play.told("/ltx/i2v_image /etc/passwd: from another computer only what lies in")


def test_a_reload_starts_the_engine_anew_while_the_show_goes_on(play):
    engine, values = play.engine, play.show.parts.registry.values
    play.send("/ltx/reload")
    play.told("/ltx/reload: the engine is still loading")
    play.until(lambda: play.session.statistics.num_chunks)
    before, num = engine.pid, play.session.statistics.num_chunks
    play.send("/ltx/width", 512)
    play.send("/ltx/ffn_chunk_size", 0)
    play.told("width = 512 takes effect when the show is started anew")
    play.told("ffn_chunk_size = 0 takes effect with /ltx/reload")
    assert play.show._status().reload == "width", "a test card has no ffn_chunk_size"
    play.send("/ltx/reload")
    play.told("another width or height needs the show started anew")
    play.until(lambda: engine.pid not in (None, before) and play.session.statistics.num_chunks > num)
    assert play.show.failure is None and values["width"] == 512
    assert play.show._engine_info.width == 96, "the slots have the size of the start"
