"""OSC that nobody would send, made by hypothesis: every packet is read or refused, and the registry takes anything.

`FUZZ` asks for more cases: see `fuzzing.py`.
"""

import math
import queue
import socket
import struct

import numpy as np
import pytest
from fuzzing import some
from hypothesis import given
from hypothesis import strategies as st
from pythonosc.osc_message import OscMessage
from pythonosc.parsing.osc_types import ParseError

from ltx_live import params
from ltx_live.control.aliases import resolume_to_ours
from ltx_live.control.event import Event, Origin
from ltx_live.control.feedback import Subscription
from ltx_live.control.osc import OscReceiver, decode_packet, encode_bundles, encode_message
from ltx_live.control.patterns import expand_pattern
from ltx_live.control.registry import Registry, full_range

PEER = Origin("osc", "127.0.0.1", ("127.0.0.1", 5000))
NAMES = params.concrete_names()

texts = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00"), max_size=30)
floats = st.floats(width=32, allow_nan=False)
plain = st.one_of(st.integers(-(2**31), 2**31 - 1), floats, texts, st.binary(max_size=9))
odd = st.one_of(
    plain, st.none(), st.booleans(), st.floats(), st.integers(), st.text(), st.sampled_from(["?", "+", "-", "*", "on"]),
    st.tuples(st.integers(0, 255)), st.lists(floats),
)  # fmt: skip
names = st.one_of(st.sampled_from(NAMES), st.text(alphabet="abN/0123*?[]{},!- \x00é", max_size=20))
roots = st.sampled_from(["/ltx/", "/ltx/norm/", "/composition/", "/", "/ltx/sys/", "/ltx/status/", "/ltx/land/"])
addresses = st.builds(str.__add__, roots, names)


@st.composite
def messages(draw):
    """A message of any type tags, whose arguments need not be there."""
    address = draw(addresses).encode() + draw(st.binary(max_size=3))
    tags = draw(st.text(alphabet="ifsbhdtrmScTFNI[]x,", max_size=6)).encode()
    payload = draw(st.binary(max_size=40))
    pads = [b"\x00" * (4 - len(part) % 4) for part in (address, b"," + tags)]
    return address + pads[0] + b"," + tags + pads[1] + payload


def bundles(elements):
    """A bundle with any time tag, whose sizes may lie."""
    sized = st.tuples(elements, st.one_of(st.just(0), st.integers(-4, 8)))
    return st.builds(
        lambda tag, parts: b"#bundle\x00" + struct.pack(">Q", tag)
        + b"".join(struct.pack(">i", len(part) + lie) + part for part, lie in parts),
        st.integers(0, 2**64 - 1), st.lists(sized, max_size=4),
    )  # fmt: skip


nested = st.recursive(messages(), bundles, max_leaves=5)
packets = st.one_of(
    st.binary(max_size=80),
    messages(),
    nested,
    st.builds(lambda data, cut: data[:cut], st.one_of(messages(), bundles(nested)), st.integers(0, 60)),
)


def read(data):
    """The messages of a packet, none if it is refused; any other fault is one."""
    try:
        return decode_packet(data)[0]
    except (ValueError, ParseError):
        return []


@some(250)
@given(addresses.filter(lambda address: "\x00" not in address), st.lists(plain, max_size=5))
def test_what_we_send_is_what_is_read_by_us_and_by_python_osc(address, args):
    data = encode_message(address, args)
    assert decode_packet(data) == ([(address, tuple(args))], None)
    message = OscMessage(data)
    assert (message.address, message.params) == (address, args)
    assert decode_packet(next(encode_bundles([data])))[0] == [(address, tuple(args))]


@some(250)
@given(packets)
def test_a_packet_is_read_or_refused(data):
    for address, args in read(data):
        assert address.startswith("/")
        encode_message(address, args)


@some(250)
@given(packets)
def test_what_is_read_can_be_applied(data):
    events = []
    for address, args in read(data):
        try:
            events += [Event(each, args, PEER, 0.0) for each in expand_pattern(address)]
        except ValueError:
            continue
    check(Registry(), events)


@some(250)
@given(st.lists(st.tuples(addresses, st.lists(odd, max_size=4)), max_size=4))
def test_the_registry_takes_anything(sent):
    check(Registry(), [Event(address, tuple(args), PEER, 0.0) for address, args in sent])


def check(registry, events):
    """Apply; the values stay what they may be, and what is told of them can be sent."""
    outcome = registry.apply(tuple(events))
    for reply in outcome.replies:
        encode_message(reply.address, reply.args)
    for name in {change.name for change in outcome.changes} | set(outcome.bent):
        row, value = params.find(name), registry.values[name]
        if row.kind in ("int", "float"):
            assert row.minimum <= value <= row.maximum and not math.isnan(value)
        elif row.kind == "enum":
            assert value in row.choices
        for pattern in ("/ltx/*", "/ltx/norm/*", "/composition/*"):
            shown = Subscription(PEER.reply_to, pattern).shown(name, value)
            assert shown or pattern != "/ltx/*"
            if shown and pattern == "/ltx/norm/*":
                assert full_range(row) and -1e-9 <= shown[1] <= 1 + 1e-9
            encode_message(*shown[:1], [shown[1]]) if shown else None


@some(250)
@given(st.text(alphabet="/ltxnorm*?[]{},!-^\\.()+$ab", max_size=60))
def test_a_pattern_is_expanded_or_refused(text):
    try:
        found = expand_pattern(f"/{text}")
    except ValueError:
        return
    assert found


@some(250)
@given(addresses, st.lists(odd, max_size=3))
def test_an_alias_is_translated_or_left(address, args):
    translated = resolume_to_ours(address, tuple(args))
    if translated is not None:
        check(Registry({"bank/1/text": "rings"}), [Event(*translated, PEER, 0.0)])


@pytest.fixture(scope="module")
def receiver():
    receiver = OscReceiver(queue.SimpleQueue(), port=0)
    receiver.start()
    yield receiver
    receiver.close()


@some(150)
@given(st.lists(packets, min_size=1, max_size=5))
def test_a_receiver_answers_after_anything(receiver, data):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        client.settimeout(2.0)
        for each in data:
            client.sendto(each, ("127.0.0.1", receiver.port))
        client.sendto(encode_message("/ltx/sys/ping", (np.int64(7),)), ("127.0.0.1", receiver.port))
        while decode_packet(answer := client.recv(65535))[0][0] != ("/ltx/sys/pong", (7,)):
            assert b"/ltx/sys/pong" in answer
