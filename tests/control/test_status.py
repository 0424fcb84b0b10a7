"""Status queries as real OSC, answered to their sender; latency by epochs."""

import queue
import socket

import pytest
from pythonosc.osc_message import OscMessage

from ltx_live.control.event import Event, Origin
from ltx_live.control.osc import OscReceiver, encode_message
from ltx_live.control.status import NAMES, Latency, Status, answer, beat_in_bar, is_status

HERE = Origin("osc", "127.0.0.1", ("127.0.0.1", 9))
STATE = Status(
    state="playing", prompt_pending="a fox", pending="prompt", landing_s=0.75, latency_s=0.625, num_underruns=2
)


def asked(address, *args, origin=HERE):
    return [(reply.address, *reply.args) for reply in answer(Event(address, args, origin, 0.0), STATE)]


@pytest.mark.parametrize("args", [("?",), ()])
def test_one_value_is_answered_at_its_address(args):
    assert asked("/ltx/status/landing_s", *args) == [("/ltx/status/landing_s", 0.75)]
    assert asked("/ltx/status/num_underruns", *args) == [("/ltx/status/num_underruns", 2)]


def test_all_values_and_patterns():
    everything = asked("/ltx/status", "?")
    assert [address for address, _ in everything] == [f"/ltx/status/{name}" for name in NAMES]
    assert asked("/ltx/status/*", "?") == everything
    assert asked("/ltx/status/prompt_*") == [
        ("/ltx/status/prompt_applied", ""),
        ("/ltx/status/prompt_pending", "a fox"),
    ]


def test_what_cannot_be_answered_is_an_error():
    ((address, culprit, text),) = asked("/ltx/status/latency", "?")
    assert (address, culprit) == ("/ltx/error", "/ltx/status/latency") and "did you mean /ltx/status/latency_s" in text
    ((_, _, text),) = asked("/ltx/status/nothing/like/it")
    assert "/ltx/status ? sends them all" in text
    ((_, _, text),) = asked("/ltx/status/bpm", 120.0)
    assert "read-only" in text


def test_who_cannot_be_reached_gets_nothing():
    assert asked("/ltx/status", "?", origin=Origin("midi", "pad")) == []


def test_which_addresses_are_status():
    assert [is_status(f"/ltx/{name}") for name in ("status", "status/bpm", "statuses", "tempo/bpm")] == [1, 1, 0, 0]


def test_over_a_real_socket_everything_can_be_sent_and_read():
    """None goes as the word none; a pattern of the address reaches the show as it is."""
    events = queue.SimpleQueue()
    receiver = OscReceiver(events, port=0)
    receiver.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        client.settimeout(2.0)
        client.sendto(encode_message("/ltx/status/*", ("?",)), ("127.0.0.1", receiver.port))
        (event,) = events.get(timeout=2.0)
        for reply in answer(event, Status(state="underrun")):
            receiver.send(reply.address, reply.args, reply.origin.reply_to)
        answers = [OscMessage(client.recv(65507)) for _ in NAMES]
    receiver.close()
    got = {message.address.removeprefix("/ltx/status/"): message.params for message in answers}
    assert tuple(got) == NAMES
    assert got["state"] == ["underrun"] and got["landing_s"] == ["none"] and got["bpm"] == [120.0]


def test_beats_and_bars_count_from_one():
    assert beat_in_bar(0.0, 4) == {"beat": 1.0, "bar": 1}
    assert beat_in_bar(10.5, 4) == {"beat": 3.5, "bar": 3}
    assert beat_in_bar(-0.5, 3) == {"beat": 3.5, "bar": 0}


def test_latency_is_of_the_newest_change_that_is_seen():
    latency = Latency()
    latency.shown(0, 1.0)
    assert latency.last_s is None
    latency.asked(1, 10.0)
    latency.asked(1, 10.2)  # what else belongs to the epoch came later
    latency.asked(2, 10.3)
    latency.asked(4, 11.0)
    latency.shown(0, 10.5)
    assert latency.last_s is None
    latency.shown(2, 10.9)
    assert latency.last_s == pytest.approx(0.6)
    latency.shown(2, 12.0)
    assert latency.last_s == pytest.approx(0.6)
    latency.shown(4, 11.5)
    assert latency.last_s == pytest.approx(0.5)


def test_a_stream_without_an_engine_does_not_fill_the_memory():
    latency = Latency()
    for epoch in range(100_000):
        latency.asked(epoch, float(epoch))
    latency.shown(50_000, 100_001.0)
    assert latency.last_s is None  # that old a change is forgotten
    latency.shown(99_999, 100_001.0)
    assert latency.last_s == 2.0
