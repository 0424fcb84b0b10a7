"""The latency benchmark with the test card: what it sends, what it finds, and that its audit can fail."""

import socket
import time

import numpy as np
import pytest

from ltx_live.bench import _audit, latency
from ltx_live.config import Config, initial_values


@pytest.mark.real_time
def test_gestures_are_seen_after_they_were_sent_and_looks_within_two_frames():
    plan = latency.Plan("testcard", "instrument", num_events=2, stream_s=2.0, with_window=False)
    measured = latency.measure(plan, (latency.FRAME, latency.NOW))
    by_rule = {one.rule: one for one in measured}
    for one in measured:
        assert (one.latency_s > 0).all() and (one.latency_s < 5).all(), one
    assert len(by_rule[latency.STREAM].latency_s) == 100
    assert np.median(by_rule[latency.FRAME].latency_s) < 2 / latency.HEADLESS_RATE_HZ
    assert by_rule[latency.NOW].latency_s.mean() > by_rule[latency.NOW].chunk_time_s.min() > 0


def test_every_message_changes_something():
    for rule in (*latency.SINGLE, latency.STREAM):
        packets = rule.packets(200)
        assert all(one != other for one, other in zip(packets, packets[1:], strict=False)), rule
    assert latency.NOW.packets(1) == [("/ltx/bank/2/connect", ())], "slot 1 is played from the start"


def test_a_gesture_is_seen_with_the_first_picture_of_its_epoch_or_a_later_one():
    assert latency.first_at([0, 1, 1, 3, 3], [1, 2, 3, 4]).tolist() == [1, 3, 3, 5]


def test_the_bar_is_missed_where_a_gesture_is_never_seen():
    seen, never = np.full(4, 0.01), np.array([0.1, np.inf])
    measured = [latency.Measured(rule, seen, 0) for rule in (latency.FRAME, latency.CHUNK, latency.BEAT)]
    measured += [latency.Measured(rule, never, 0, np.array([0.5])) for rule in (latency.NOW, latency.STREAM)]
    assert [bar.is_met for bar in latency.bars(measured, 60.0)] == [True, False, False, True, True]


def test_packets_are_sent_at_their_times():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ears:
        ears.bind(("127.0.0.1", 0))
        start_s = time.perf_counter()
        sent_s = latency.send(ears.getsockname()[1], latency.FRAME.packets(3), [0.02, 0.05, 0.01])
        assert len({ears.recv(100) for _ in sent_s}) == 3
    assert np.array(sent_s) - start_s == pytest.approx([0.02, 0.07, 0.08], abs=0.02)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    values = initial_values("testcard", "instrument", {"out/crossfade": 0, "randomize_seed": False})
    return Config("testcard", tmp_path_factory.mktemp("home"), values=values)


def test_the_first_difference_is_the_first_tagged_picture(config):
    plain = _audit.play(config, 0.6, None)
    assert plain == _audit.play(config, 0.6, None), "the clock is turned by hand: every run is the same"
    for gesture in (200, 261):
        verdict = _audit.compare("now", gesture, plain, _audit.play(config, 0.6, gesture))
        assert verdict.passes and 0 < verdict.different * _audit.TICK_S < 2.5, verdict


def test_the_audit_fails_where_the_tag_is_early_late_or_missing(config):
    plain = _audit.play(config, 0.6, None)
    changed = _audit.play(config, 0.6, 200)
    early = [replace_epoch(drawn, k >= 201) for k, drawn in enumerate(changed)]
    different = next(k for k, (one, other) in enumerate(zip(plain, changed, strict=False)) if one != other)
    late = [replace_epoch(drawn, k > different) for k, drawn in enumerate([*changed, changed[-1]])]
    never = [replace_epoch(drawn, False) for drawn in changed]
    assert _audit.compare("now", 200, plain, changed).passes
    assert not any(_audit.compare("now", 200, plain, wrong).passes for wrong in (early, late, never, plain))


def replace_epoch(drawn, is_new):
    return drawn._replace(epoch=int(is_new))
