"""Transactions for senders without bundles, over a real socket."""

import time

import pytest

from ltx_live.control.event import NOTICE, Event, Origin
from ltx_live.control.hold import HOLD, LONGEST_S, MAX_EVENTS, Holds

ONE, TWO = (Origin("osc", "127.0.0.1", ("127.0.0.1", port)) for port in (1, 2))


def event(address, *args, origin=ONE, time_s=0.0):
    return Event(address, args, origin, time_s)


def addresses(events):
    return [each.address for each in events]


@pytest.mark.parametrize("on", [(1,), (1.0,), (True,), ()])
@pytest.mark.parametrize("off", [0, 0.0, False, None, "0"])
def test_what_comes_between_is_given_at_the_end(on, off):
    holds = Holds()
    assert not holds.keep([event("/before")])
    assert holds.switch(event(HOLD, *on)) == ()
    assert holds.keep([event("/a"), event("/b")]) and holds.keep([event("/c")])
    assert not holds.keep([event("/d", origin=TWO)]), "another sender's"
    holds.switch(event(HOLD, 1))  # a repeated 1 changes nothing
    assert addresses(holds.switch(event(HOLD, off))) == ["/a", "/b", "/c"]
    assert not holds.keep([event("/after")]) and holds.switch(event(HOLD, 0)) == ()


def test_a_lost_zero_does_not_mute_a_sender():
    holds = Holds()
    holds.switch(event(HOLD, 1, time_s=5.0))
    holds.keep([event("/a")])
    assert holds.due(4.9 + LONGEST_S) == []
    ((first, notice),) = holds.due(5.1 + LONGEST_S)
    assert first.address == "/a" and notice.address == NOTICE and "what waited is let go" in notice.args[0]
    assert not holds.keep([event("/b")])


def test_too_much_is_let_go_at_once():
    holds = Holds()
    holds.switch(event(HOLD, 1, time_s=5.0))
    for _ in range(MAX_EVENTS + 1):
        assert holds.keep([event("/a")])
    (released,) = holds.due(5.0)
    assert len(released) == MAX_EVENTS + 2


def test_so_many_senders_can_hold():
    holds = Holds()
    for port in range(100):
        holds.switch(event(HOLD, 1, origin=Origin("osc", "x", ("x", port))))
    kept = [holds.keep([event("/a", origin=Origin("osc", "x", ("x", port)))]) for port in range(100)]
    assert kept == [True] * 64 + [False] * 36


def test_time_is_that_of_the_first_one():
    holds = Holds()
    now_s = time.perf_counter()
    holds.switch(event(HOLD, 1, time_s=now_s))
    holds.switch(event(HOLD, 1, time_s=now_s + 9))
    assert len(holds.due(now_s + LONGEST_S)) == 1
