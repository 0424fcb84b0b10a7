"""The queue between control threads and the main thread."""

import queue
import threading
import time

from ltx_live.control.event import Event, Inbox, Origin, drain, guard


def test_drain_takes_what_waits_and_leaves_what_arrives_meanwhile():
    waiting = queue.SimpleQueue()
    first, second, late = ((Event(f"/ltx/{name}", (), Origin("key"), 0.0),) for name in ("a", "b", "c"))
    waiting.put(first)
    waiting.put(second)
    taken = []
    for transaction in drain(waiting):
        waiting.put(late)
        taken.append(transaction)
    assert taken == [first, second] and waiting.qsize() == 2


def test_guard_survives_what_fails_and_says_so():
    assert guard([].append, 1) is True
    assert guard(int, "no number") is False


def test_origins_read_well():
    assert [str(Origin("osc", "10.0.0.2", ("10.0.0.2", 9))), str(Origin("key"))] == ["osc 10.0.0.2", "key"]


def test_an_inbox_wakes_who_sleeps_and_never_sleeps_beside_what_waits():
    inbox, event = Inbox(), (Event("/ltx/a", (), Origin("key"), 0.0),)
    start_s = time.perf_counter()
    inbox.wait(0.05)
    assert 0.045 < time.perf_counter() - start_s < 1.0
    threading.Timer(0.05, inbox.put, [event]).start()
    inbox.wait(10)
    assert time.perf_counter() - start_s < 5 and inbox.get() == event
    inbox.put(event)
    inbox.put(event)
    for _ in range(2):
        inbox.wait(10)
        assert inbox.get() == event
    assert time.perf_counter() - start_s < 5
