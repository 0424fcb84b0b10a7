"""When the session asks and for what, with time turned by hand and chunks of the test card."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from ltx_live.chunk import SAMPLE_RATE_HZ, Chunk, ChunkRequest, EngineInfo, Progress
from ltx_live.engine.process import Cancelled, Died, Failed, Ready
from ltx_live.engine.slots import SlotLayout
from ltx_live.engine.testcard import TestCardEngine, read_counters
from ltx_live.moment import Moment
from ltx_live.params import SEED_MAX, GenerationParams
from ltx_live.session import CancelRequest, Session, chunk_seed

TICK_S = 0.01


class Show:
    """A show on a hand-turned clock: an engine that takes `chunk_time_s`, and media that plays while there is some."""

    def __init__(self, chunk_time_s=0.5, num_free_slots=6, latency_s=0.05, **values):
        self.lines = []
        self.session = Session(write_log=self.lines.append, draw_seed=lambda: 7)
        self.engine = TestCardEngine(32, 32)
        self.params = GenerationParams(**{"num_frames": 57, "randomize_seed": False, **values})
        self.chunk_time_s = chunk_time_s
        self.num_free_slots = num_free_slots
        self.latency_s = latency_s
        self.now_s = 0.0
        self.position = self.end = 0
        self.chunks, self.asked, self.cancelled = [], [], []
        self.done_at_s = None
        self.session.handle(Ready(self.engine.info), 0.0)

    @property
    def moment(self):
        committed = self.position + self.latency_s * SAMPLE_RATE_HZ
        return Moment(self.now_s, self.position, self.end, self.params, 3, self.num_free_slots, committed)

    def tick(self):
        self.now_s += TICK_S
        self.position = min(self.end, self.position + round(TICK_S * SAMPLE_RATE_HZ))
        running = self.session.running
        if running is not None and self.done_at_s is not None:
            steps_done = int(8 * (1 - max(0.0, self.done_at_s - self.now_s) / self.chunk_time_s))
            if self.now_s >= self.done_at_s:
                *_, chunk = self.engine.generate(running)
                self.append(chunk)
            elif steps_done > self.session.step[0]:
                self.session.handle(Progress(running.index, steps_done, 8, 0.5), self.now_s)
        action = self.session.decide(self.moment)
        if isinstance(action, ChunkRequest):
            self.asked.append((self.now_s, self.moment.unplayed_s, action))
            self.done_at_s = self.now_s + self.chunk_time_s
        elif isinstance(action, CancelRequest):
            self.cancelled.append((self.now_s, self.moment.unplayed_s))
            self.done_at_s = None
            self.session.handle(Cancelled(action.index), self.now_s)
        return action

    def append(self, chunk):
        self.chunks.append(chunk)
        self.end = chunk.end
        self.session.handle(chunk, self.now_s)

    def play(self, duration_s):
        for _ in range(round(duration_s / TICK_S)):
            self.tick()

    def frame_numbers(self):
        return [read_counters(frame)[1] for chunk in self.chunks for frame in chunk.frames[chunk.num_overlap :]]


def test_the_show_flows_on_without_gap_or_repetition():
    show = Show()
    show.play(20)
    assert show.frame_numbers() == list(range(len(show.frame_numbers())))
    assert show.session.statistics.num_underruns == 0
    assert show.position == pytest.approx((20 - 0.52) * SAMPLE_RATE_HZ, abs=1000)
    first, *others = [request for _, _, request in show.asked]
    assert (first.index, first.start, first.continue_from, first.history) == (0, 0, None, None)
    for before, request in zip(show.chunks, others, strict=False):
        assert request.continue_from == (before.index, 57) and request.history is before
        assert request.start == before.end and request.index == before.index + 1


def test_asks_just_in_time_with_room_for_one_restart():
    show = Show(chunk_time_s=0.5)
    show.play(20)
    wanted = 0.5 + 0.5 + 0.05 + 0.1
    assert [unplayed for _, unplayed, _ in show.asked[2:]] == pytest.approx(
        [wanted] * len(show.asked[2:]), abs=2 * TICK_S
    )
    fast = Show(chunk_time_s=0.2)
    fast.play(20)
    wanted = 0.2 + 9 / 24 + 0.05 + 0.1  # the overlap is longer than the work
    assert [unplayed for _, unplayed, _ in fast.asked[2:]] == pytest.approx(
        [wanted] * len(fast.asked[2:]), abs=2 * TICK_S
    )


def test_slack_generates_ahead_by_chunks():
    show = Show(chunk_time_s=0.5, realtime_pacing_slack=1.5)
    show.play(20)
    wanted = 0.5 + 0.5 + 0.15 + 1.5 * 2.0
    assert show.asked[-1][1] == pytest.approx(wanted, abs=2 * TICK_S)


def test_never_two_requests_and_none_without_slot_engine_or_while_paused():
    show = Show(num_free_slots=0)
    show.play(1)
    assert show.asked == []
    show.num_free_slots = 1
    show.tick()
    show.done_at_s = 1e9
    show.play(2)
    assert len(show.asked) == 1

    show = Show(pause=True)
    show.play(1)
    assert show.asked == []
    show.params = replace(show.params, pause=False)
    show.play(3)
    num_chunks = len(show.chunks)
    show.params = replace(show.params, pause=True)
    show.play(6)
    assert len(show.chunks) <= num_chunks + 1 and show.position == show.end
    show.params = replace(show.params, pause=False)
    show.play(3)
    assert show.frame_numbers() == list(range(len(show.frame_numbers())))
    assert show.session.statistics.num_underruns == 0

    show = Show()
    show.session.handle(Died(1, "gone", None, 0.5), 0.0)
    show.play(1)
    assert show.asked == []


def test_engine_slower_than_real_time_makes_whole_chunks_and_every_pause_is_counted():
    show = Show(chunk_time_s=2.5)
    show.play(26)
    assert {request.num_frames for _, _, request in show.asked} == {57}
    assert show.frame_numbers() == list(range(len(show.frame_numbers())))
    assert show.session.statistics.num_underruns == len(show.chunks) - 1
    assert 0.75 < show.session.statistics.real_time_factor < 0.85
    assert len(show.chunks) == 10


def test_one_late_chunk_is_an_underrun_and_then_it_flows_again():
    show = Show(chunk_time_s=0.5)
    show.play(6)
    show.chunk_time_s = 3.0
    show.play(5)
    show.chunk_time_s = 0.5
    show.play(10)
    assert show.session.statistics.num_underruns >= 1
    before = show.session.statistics.num_underruns
    show.play(10)
    assert show.session.statistics.num_underruns == before
    assert show.frame_numbers() == list(range(len(show.frame_numbers())))


def test_late_request_is_as_long_as_can_be_ready():
    show = Show(chunk_time_s=0.8)
    show.play(8)
    while not 0.75 < show.moment.unplayed_s < 0.8 or show.session.running is not None:
        show.num_free_slots = 0
        show.tick()
    show.num_free_slots = 1
    request = show.tick()
    assert request.num_frames == 33  # 1.1 x 0.8 s x (0.2 + 0.8 x 33 / 57) + 0.15 s = 0.73 s, and 41 would take 0.83 s
    show.chunk_time_s = 0.8 * (0.2 + 0.8 * 33 / 57)
    show.done_at_s = show.now_s + show.chunk_time_s
    show.play(0.7)
    assert show.chunks[-1].num_frames == 33 and show.session.statistics.num_underruns == 0


def test_when_nothing_can_be_ready_the_chunk_is_whole():
    show = Show(chunk_time_s=0.8)
    show.play(8)
    show.num_free_slots = 0
    show.play(4)
    show.num_free_slots = 1
    assert show.tick().num_frames == 57
    assert show.session.statistics.num_underruns == 1


def test_requests_fit_the_slot():
    show = Show()
    show.session = Session(longest=SlotLayout(32, 32, 33).longest)
    show.session.handle(Ready(show.engine.info), 0.0)
    show.play(4)
    assert {request.num_frames for _, _, request in show.asked} == {33}
    assert show.session.statistics.num_underruns == 0


def test_requests_are_no_longer_than_the_engine_has_memory_for():
    show = Show()
    show.session.handle(Ready(replace(show.engine.info, max_num_frames=41)), show.now_s)
    show.play(4)
    assert {request.num_frames for _, _, request in show.asked} == {41}
    assert show.session.statistics.num_underruns == 0


def test_failure_is_tried_again_with_growing_delay_and_the_index_comes_back():
    show = Show()
    show.play(1)
    delays, failed_at_s = [], None
    while len(delays) < 7:
        if isinstance(show.tick(), ChunkRequest):
            if failed_at_s is not None:
                delays.append(round(show.now_s - failed_at_s, 1))
            failed_at_s = show.now_s
            show.done_at_s = None
            show.session.handle(Failed("out of memory", 1), show.now_s)
    assert delays == [0.5, 1, 2, 4, 8, 10, 10]
    assert "out of memory (again in 10 s)" in show.session.notice
    assert {request.index for _, _, request in show.asked[1:]} == {1}
    show.play(12)
    assert show.session.notice == "" and show.session.statistics.num_failed == 8
    assert show.frame_numbers() == list(range(len(show.frame_numbers())))


def test_values_that_fail_twice_give_way_to_those_of_the_last_chunk_until_they_change():
    show = Show(prompt="good")
    show.play(1)
    show.params = replace(show.params, prompt="bad")
    while len(show.asked) < 3:
        if isinstance(show.tick(), ChunkRequest) and show.params.prompt == "bad":
            show.done_at_s = None
            show.session.handle(Failed("bad is not there", 1), show.now_s)
    assert [request.params.prompt for _, _, request in show.asked] == ["good", "bad", "bad"]
    assert show.session.notice == "bad is not there; the values before go on until one is changed"
    show.play(8)
    assert len(show.chunks) > 3 and {request.params.prompt for _, _, request in show.asked[3:]} == {"good"}
    assert "bad is not there" in show.session.notice
    assert show.frame_numbers() == list(range(len(show.frame_numbers())))
    show.params = replace(show.params, prompt="better")
    show.play(4)
    assert show.asked[-1][2].params.prompt == "better" and show.session.notice == ""
    show.params = replace(show.params, prompt="bad")
    show.play(4)
    assert show.asked[-1][2].params.prompt == "bad"


def test_chunk_time_is_the_longest_of_the_last_times_of_the_shape():
    show = Show(chunk_time_s=0.5)
    show.play(5)
    show.chunk_time_s = 0.9
    show.play(2.1)
    show.chunk_time_s = 0.5
    show.play(4)
    assert show.session.statistics.chunk_time_s == pytest.approx(0.9, abs=2 * TICK_S)


def test_failed_encoding_or_loading_leaves_the_request_under_way():
    show = Show()
    show.tick()
    show.session.handle(Failed("cannot encode"), show.now_s)
    assert show.session.running is not None and show.session.notice == "cannot encode"
    show.play(1)
    assert len(show.chunks) == 1


def test_death_waits_for_ready_and_goes_on_from_history():
    show = Show()
    show.play(1)
    while show.session.running is None:
        show.tick()
    show.done_at_s = None
    show.session.handle(Died(-9, "the engine process ended (killed by signal 9)", 1, 0.5), show.now_s)
    assert "starts again" in show.session.notice
    show.play(3)
    assert show.session.running is None and len(show.chunks) == 1
    show.session.handle(Ready(show.engine.info), show.now_s)
    request = show.tick()
    assert (request.index, request.continue_from, request.start) == (1, (0, 57), show.chunks[0].end)
    assert request.history is show.chunks[0]
    show.play(5)
    assert show.frame_numbers() == list(range(len(show.frame_numbers())))
    assert show.session.statistics.num_deaths == 1 and show.session.statistics.num_underruns == 1


def test_seeds_derive_from_seed_and_index_or_are_fresh():
    one, same, other, fresh = Show(seed=1), Show(seed=1), Show(seed=2), Show(randomize_seed=True)
    for show in (one, same, other, fresh):
        show.play(10)
    seeds = [[request.seed for _, _, request in show.asked] for show in (one, same, other, fresh)]
    assert seeds[0] == seeds[1] == [chunk_seed(1, index) for index in range(len(seeds[0]))]
    assert len(set(seeds[0])) == len(seeds[0]) and not set(seeds[0]) & set(seeds[2])
    assert set(seeds[3]) == {7}
    assert chunk_seed(42, 0) == 1059219968  # recorded shows depend on it
    assert all(0 <= chunk_seed(42, index) <= SEED_MAX for index in range(100))


@pytest.mark.parametrize("change", ["continuity", "frame_rate", "restart", "size"])
def test_what_starts_a_new_take(change):
    show = Show()
    show.play(1)
    if change == "continuity":
        show.params = replace(show.params, continuity=0.0)
    elif change == "frame_rate":
        show.params = replace(show.params, frame_rate=30.0)
    elif change == "restart":
        show.session.restart()
    else:
        show.session.handle(Ready(EngineInfo("other", 64, 32, "cpu")), show.now_s)
    while not isinstance(request := show.tick(), ChunkRequest):
        pass
    assert request.continue_from is None and request.history is None and request.start == show.end
    if change == "restart":
        show.play(3)
        assert show.asked[2][2].continue_from == (1, 57)


def test_prompt_change_replaces_the_running_request_while_there_is_time():
    show = Show(chunk_time_s=0.5, prompt="red")
    show.play(8)
    while show.session.running is None:
        show.tick()
    show.play(0.1)
    show.params = replace(show.params, prompt="blue")
    show.play(1)
    assert len(show.cancelled) == 1 and show.cancelled[0][1] >= 0.5 + 0.15
    assert show.asked[-1][2].params.prompt == "blue"
    show.play(10)
    assert show.session.statistics.num_underruns == 0
    assert show.frame_numbers() == list(range(len(show.frame_numbers())))
    assert show.session.statistics.num_prompts == 2 and show.session.statistics.num_cancelled == 1


@pytest.mark.parametrize("why", ["late", "last step", "lands with the next chunk"])
def test_running_request_is_kept(why):
    show = Show(chunk_time_s=0.5)
    show.play(8)
    while show.session.running is None:
        show.tick()
    if why == "late":
        show.position = show.end - round(0.6 * SAMPLE_RATE_HZ)
    elif why == "last step":
        show.session.handle(Progress(show.session.running.index, 7, 8, 0.1), show.now_s)
    index = show.session.running.index
    if why == "lands with the next chunk":
        show.params = replace(show.params, num_frames=33, seed=5)
    else:
        show.params = replace(show.params, prompt="blue")
    show.play(0.55)
    assert show.cancelled == [] and show.chunks[-1].index == index
    show.play(2)
    assert show.asked[-1][2].params is show.params


def test_log_holds_what_a_replay_needs():
    show = Show(prompt="waves", sigmas=(1.0, 0.5, 0.0), seed=9)
    show.play(5)
    records = [json.loads(line) for line in show.lines]
    assert len(records) == len(show.chunks) >= 2
    for record, (_, _, request) in zip(records, show.asked, strict=False):
        fields = {name: tuple(v) if isinstance(v, list) else v for name, v in record["params"].items()}
        params = GenerationParams(**fields)
        assert params == request.params
        again = ChunkRequest(
            record["index"], params, record["seed"], record["start"], record["num_frames"],
            record["continue_from"] and tuple(record["continue_from"]), epoch=record["epoch"],
            prompts=tuple(map(tuple, record["prompts"])),
        )  # fmt: skip
        assert again == replace(request, history=None)


def test_log_tells_what_was_encoded_again():
    show = Show()
    *_, chunk = show.engine.generate(show.session.decide(show.moment))
    show.append(replace(chunk, reencoded=True))
    assert json.loads(show.lines[0])["reencoded"] is True


def test_offline_every_tick_at_the_end_asks_for_the_next_whole_chunk():
    """How `render` uses it: nothing is ever unplayed, so lengths and seeds do not depend on speed."""
    show = Show(num_frames=33, latency_s=0.0)
    for took_s in (3.0, 0.1, 0.5, 9.0):
        show.position = show.end
        request = show.session.decide(show.moment)
        assert request.num_frames == 33
        *_, chunk = show.engine.generate(request)
        show.now_s += took_s
        show.append(chunk)
    assert show.frame_numbers() == list(np.arange(33 + 3 * 24))
    assert isinstance(show.session.history, Chunk)
