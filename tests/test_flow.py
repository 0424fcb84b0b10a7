"""Session, tempo, prompts and engine process joined in a show without a window, whose ticks are the test's."""

import contextlib
import socket
import time

import pytest
from ticked_show import Play

from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.control.event import Event, Origin
from ltx_live.control.midi import CLOCK
from ltx_live.control.osc import decode_packet


@pytest.fixture
def play(tmp_path):
    with contextlib.ExitStack() as parts:
        yield lambda **values: Play(tmp_path, parts, **values)


def test_a_prompt_cuts_and_is_measured(play):
    it = play(prompt="one")
    it.until(lambda: len(it.asked) >= 3 and it.session.running is None)
    it.send("/ltx/prompt", "two")
    it.until(lambda: it.show._display.latency.last_s is not None)
    cut = next(request for request in it.asked if request.params.prompt == "two")
    assert cut.prompts == (("two", 1.0),) and cut.num_frames == 33 and cut.continue_from[1] < 57
    assert it.session.statistics.num_cuts == 1
    status = it.show._status()
    assert status.prompt_applied == "two" and status.num_cuts == 1 and status.pending == ""
    assert 0 < status.latency_s < 2 and status.landing_s is None


def test_a_gesture_lands_on_the_beat(play):
    it = play(prompt="one", **{"tempo/quantise": "bar", "tempo/bpm": 150.0})
    it.until(lambda: len(it.asked) >= 3)
    it.send("/ltx/prompt", "two")
    it.until(lambda: it.asked[-1].params.prompt == "two")
    start, tempo = it.asked[-1].start, it.show._flow.tempo
    heard_s = it.show._position_s + (start - it.show._position) / SAMPLE_RATE_HZ
    assert tempo.beat_at(heard_s) % 4 == pytest.approx(0.0, abs=150 / 60 * 0.06) or tempo.beat_at(heard_s) % 4 > 3.9


def test_taps_and_a_midi_clock_set_the_tempo(play):
    it = play()
    now_s = time.perf_counter()
    for k in range(4):
        it.send("/ltx/tempo/tap", time_s=now_s + 0.4 * k)
        it.show.obey()
    assert it.show.parts.registry.values["tempo/bpm"] == it.show._flow.tempo.bpm == 150.0
    it.send("/ltx/tempo/midi_clock", 1)
    times_s = [now_s + 10 + k * 60 / 90 / 24 for k in range(120)]
    for k in range(0, 120, 6):
        it.send(f"{CLOCK}tick", *times_s[k : k + 6])
    while not it.show.parts.events.empty():
        it.show.obey()
    assert it.show.parts.registry.values["tempo/bpm"] == pytest.approx(90, abs=0.2)
    it.send("/ltx/tempo/midi_clock", 0)
    it.send("/ltx/tempo/bpm", 100.0)
    while not it.show.parts.events.empty():
        it.show.obey()
    assert it.show._flow.tempo.bpm == 100.0


def test_what_a_request_continues_is_released_after_it(play):
    it = play()
    it.until(lambda: len(it.asked) >= 2 and it.session.running is None)
    it.send("/ltx/prompt", "new")
    it.until(lambda: it.session.running is not None)
    flow, chunk, advance = it.show._flow, it.session.running.history, it.show._timeline.advance
    it.show._timeline.advance = lambda *at: [other for other in advance(*at) if other is not chunk]
    assert flow.release([chunk]) == [] and chunk.index in it.engine._slot_of
    it.until(lambda: chunk.index not in it.engine._slot_of)
    assert it.session.running is None or it.session.running.history is not chunk


def test_weighted_prompts_morph_from_chunk_to_chunk(play):
    it = play(prompt="one", **{"prompts/morph": 4.0, "prompts/morph_unit": "chunks", "tempo/quantise": "chunk"})
    it.until(lambda: len(it.asked) >= 2)
    it.send("/ltx/prompt", "two")
    it.until(lambda: len(it.asked) >= 5)
    mixtures = [dict(request.prompts).get("two", 0.0) for request in it.asked]
    first = next(index for index, share in enumerate(mixtures) if share)
    assert mixtures[first : first + 3] == pytest.approx([0.25, 0.5, 0.75])
    assert it.session.statistics.num_cuts == 0, "a morph is no gesture"


def test_the_status_is_answered(play):
    it = play()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        client.settimeout(5)
        origin = Origin("osc", "test", client.getsockname())
        it.show.parts.events.put((Event("/ltx/status/state", ("?",), origin, 0.0),))
        it.show.obey()
        ((message,), _) = decode_packet(client.recv(65535))
    assert message == ("/ltx/status/state", ("loading",))
