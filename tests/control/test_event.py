"""The queue between control threads and the main thread."""

import queue

from ltx_live.control.event import Event, Origin, drain, guard


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
