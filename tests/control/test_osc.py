"""OSC on a real socket, byte by byte."""

import queue
import random
import socket
import struct
import time

import numpy as np
import pytest
from pythonosc.osc_message import OscMessage

from ltx_live.config import OscOptions
from ltx_live.control.event import Event, Origin
from ltx_live.control.osc import OscReceiver, decode_packet, encode_bundles, encode_message, is_allowed
from ltx_live.control.registry import Registry
from ltx_live.errors import DeviceError


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return data + b"\x00" * (4 - len(data) % 4)


def message(address, tags=None, payload=b""):
    return text(address) + (b"" if tags is None else text("," + tags)) + payload


def bundle(*elements, ahead_s=None):
    stamp = 1 if ahead_s is None else int((time.time() + ahead_s + 2_208_988_800) * 2**32)
    return b"#bundle\x00" + struct.pack(">Q", stamp) + b"".join(struct.pack(">i", len(e)) + e for e in elements)


class Peer:
    """A client with its own socket beside a running receiver."""

    def __init__(self, host="127.0.0.1", **options):
        self.events = queue.SimpleQueue()
        self.receiver = OscReceiver(self.events, host, 0, OscOptions(**options))
        self.receiver.start()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(2.0)

    def send(self, data):
        self.socket.sendto(data, ("127.0.0.1", self.receiver.port))

    def reply(self):
        answer = OscMessage(self.socket.recv(65507))
        return answer.address, answer.params

    def ping(self):
        """Everything sent before is in the queue once the answer is here."""
        self.send(message("/ltx/sys/ping", "is", struct.pack(">i", 5) + text("x")))
        assert self.reply() == ("/ltx/sys/pong", [5, "x"])

    def received(self, data):
        self.send(data)
        self.ping()
        return self.waiting()

    def waiting(self):
        return [[(e.address, e.args) for e in self.events.get()] for _ in range(self.events.qsize())]

    def close(self):
        self.receiver.close()
        self.socket.close()


@pytest.fixture(scope="module")
def running():
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture
def peer(running):
    """The running receiver, with nothing waiting and nothing counted."""
    running.waiting()
    running.receiver.num_packets = running.receiver.num_bad = 0
    return running


NUMBERS = struct.pack(">f", 0.5)
CASES = {
    "i": ("i", struct.pack(">i", -3), (-3,)),
    "f": ("f", NUMBERS, (0.5,)),
    "d": ("d", struct.pack(">d", 0.25), (0.25,)),
    "h": ("h", struct.pack(">q", 2**40), (2**40,)),
    "s": ("s", text("a red fox"), ("a red fox",)),
    "S then f": ("Sf", text("symbol") + NUMBERS, ("symbol", 0.5)),
    "c then f": ("cf", struct.pack(">i", ord("A")) + NUMBERS, ("A", 0.5)),
    "T F N I": ("TFNIf", NUMBERS, (True, False, None, 0.5)),
    "b": ("bf", struct.pack(">i", 3) + b"abc\x00" + NUMBERS, (b"abc", 0.5)),
    "m": ("mf", b"\x00\x90\x3c\x7f" + NUMBERS, ((0, 0x90, 0x3C, 0x7F), 0.5)),
    "r": ("rf", b"\x01\x02\x03\x04" + NUMBERS, (0x01020304, 0.5)),
    "array": ("[ff]i", NUMBERS * 2 + struct.pack(">i", 1), (0.5, 0.5, 1)),
    "utf-8": ("s", text("blå vågor"), ("blå vågor",)),
    "latin-1": ("s", text("blå".encode("latin-1")), ("blå",)),
    "no padding": ("s", b"fox", ("fox",)),
    "no arguments": ("", b"", ()),
}


@pytest.mark.parametrize("case", CASES)
def test_type_tags(peer, case):
    tags, payload, args = CASES[case]
    assert peer.received(message("/ltx/prompt", tags, payload)) == [[("/ltx/prompt", args)]]


def test_time_tag_argument(peer):
    (((_, args),),) = peer.received(message("/ltx/prompt", "tf", struct.pack(">Q", 1 << 40) + NUMBERS))
    assert len(args) == 2 and args[1] == 0.5


def test_message_without_type_tags(peer):
    assert peer.received(message("/ltx/reseed")) == [[("/ltx/reseed", ())]]
    assert peer.received(text("/ltx/reseed") + NUMBERS) == [[("/ltx/reseed", ())]]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"hello",
        message("/ltx/out/master", "x", NUMBERS),
        message("/ltx/out/master", "f", b"\x00"),
        message("/ltx/prompt", "b", struct.pack(">i", 2**30)),
        b"#bundle\x00",
        bundle(message("/ltx/restart"))[:-4],
        bundle(message("/ltx/restart"), b"junk"),
        bundle() + struct.pack(">i", -4),
        message("/ltx/*/*/*/*/*"),
        message("/ltx/[z-a]"),
    ],
)
def test_bad_packets_are_counted_and_survived(peer, data):
    assert peer.received(data) == [] and peer.receiver.num_bad == 1


def test_deep_nesting_is_refused(peer):
    data = message("/ltx/restart")
    for _ in range(2000):
        data = bundle(data)
    assert peer.received(data) == [] and peer.receiver.num_bad == 1


def test_60_kb_packet(peer):
    long = "a" * 60_000
    assert peer.received(message("/ltx/prompt", "s", text(long))) == [[("/ltx/prompt", (long,))]]


def test_nested_bundle_is_one_transaction(peer):
    one, two, three = (message(f"/ltx/{name}", "i", struct.pack(">i", 4)) for name in ("seed", "num_steps", "width"))
    (transaction,) = peer.received(bundle(one, bundle(two, bundle(three))))
    assert [address for address, _ in transaction] == ["/ltx/seed", "/ltx/num_steps", "/ltx/width"]
    assert peer.received(bundle()) == []


@pytest.mark.parametrize("ahead_s", [None, -5.0, -1e9, 3600.0])
def test_immediate_past_and_far_time_tags_act_at_once(peer, ahead_s):
    assert len(peer.received(bundle(message("/ltx/restart"), ahead_s=ahead_s))) == 1


def test_near_time_tags_wait_and_keep_their_order(peer):
    assert peer.received(bundle(message("/ltx/restart"), ahead_s=0.3)) == []
    start = time.perf_counter()
    assert peer.received(bundle(message("/ltx/reseed"), ahead_s=0.15)) == []
    first, second = peer.events.get(timeout=2.0), peer.events.get(timeout=2.0)
    assert [first[0].address, second[0].address] == ["/ltx/reseed", "/ltx/restart"]
    assert 0.1 < time.perf_counter() - start < 0.8


def test_ping_inside_a_bundle_is_answered(peer):
    peer.send(bundle(message("/ltx/sys/ping", "i", struct.pack(">i", 9))))
    assert peer.reply() == ("/ltx/sys/pong", [9])


def test_a_costly_pattern_does_not_take_the_thread(peer):
    start = time.perf_counter()
    for pattern in ("/ltx/*a*a*a*z", "/ltx/{,,,}{,,}{,}{,,,,}x", "/" + "{a,aa,aaa}" * 4, "/ltx/" + "[a-z]" * 30):
        peer.received(message(pattern, "i", struct.pack(">i", 1)))
    assert time.perf_counter() - start < 2.0


def test_two_thousand_random_packets(peer):
    rng = random.Random(3)
    registry = Registry()
    good = [
        message("/ltx/prompt", "Sf", text("x") + NUMBERS),
        bundle(message("/ltx/seed", "i", NUMBERS)),
        b"#bundle\x00",
    ]
    for i in range(2000):
        data = bytearray(rng.choice(good) + rng.randbytes(rng.randrange(40)))
        for _ in range(rng.randrange(6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        peer.send(bytes(data) if i % 2 else rng.randbytes(rng.randrange(100)))
        if i % 50 == 49:
            peer.ping()
    peer.ping()
    assert peer.receiver.num_packets > 2000 and 0 < peer.receiver.num_bad < 2000
    while peer.events.qsize():
        registry.apply(peer.events.get())


def test_replies_reach_the_sender_and_errors_are_limited(peer):
    peer.send(message("/ltx/seed"))
    peer.ping()
    ((event,),) = [peer.events.get()]
    for _ in range(50):
        peer.receiver.send("/ltx/error", ("/ltx/x", "no such parameter"), event.origin.reply_to)
    peer.receiver.send("/ltx/seed", (42,), event.origin.reply_to)
    answers = [peer.reply() for _ in range(11)]
    assert answers[0] == ("/ltx/error", ["/ltx/x", "no such parameter"]) and answers[10] == ("/ltx/seed", [42])


def test_what_is_sent_is_int_float_or_text():
    data = encode_message("/x", (True, np.float32(0.5), np.int64(7), np.bool_(False), None, "å", 2**40, (1, 2), b"z"))
    (((_, args),), _) = decode_packet(data)
    assert args == (1, 0.5, 7, 0, "none", "å", float(2**40), "(1, 2)", b"z")
    assert OscMessage(data).params == list(args), "as python-osc reads it"
    (((_, args),), _) = decode_packet(encode_message("/x", (1e300, -1e300, "a\x00b", 3)))
    assert args == (np.inf, -np.inf, "a b", 3)


def test_taken_port_is_one_clear_line(peer):
    with pytest.raises(DeviceError, match=r"close the other program, or choose another port with --osc 127.0.0.1:"):
        OscReceiver(queue.SimpleQueue(), port=peer.receiver.port)


def test_a_closed_port_is_free_again():
    receiver = OscReceiver(queue.SimpleQueue(), port=0)
    receiver.start()
    receiver.close()
    OscReceiver(queue.SimpleQueue(), port=receiver.port).close()


def test_a_hold_makes_one_transaction_of_what_comes_between(peer):
    one, zero = (message("/ltx/sys/hold", "f", struct.pack(">f", value)) for value in (1, 0))
    seed, steps = (message(f"/ltx/{name}", "i", struct.pack(">i", 4)) for name in ("seed", "num_steps"))
    assert peer.received(one) == peer.received(seed) == peer.received(steps) == []
    ((first, second),) = peer.received(zero)
    assert (first[0], second[0]) == ("/ltx/seed", "/ltx/num_steps")
    assert peer.received(seed) == [[("/ltx/seed", (4,))]]
    assert peer.received(bundle(one, seed, zero, steps)) == [[("/ltx/seed", (4,)), ("/ltx/num_steps", (4,))]]
    assert peer.received(zero) == []


def test_bundles_hold_as_many_messages_as_fit():
    messages = [encode_message("/ltx/prompt", ("x" * length,)) for length in (100, 600, 550, 3000, 10)]
    packets = list(encode_bundles(messages))
    assert [len(decode_packet(packet)[0]) for packet in packets] == [3, 1, 1]
    assert [len(packet) <= 1400 for packet in packets] == [True, False, True]
    assert [args for packet in packets for _, args in decode_packet(packet)[0]] == [
        ("x" * length,) for length in (100, 600, 550, 3000, 10)
    ]
    assert list(encode_bundles([])) == []


@pytest.mark.parametrize(
    ("host", "networks", "allowed"),
    [
        ("10.0.0.7", (), True),
        ("10.0.0.7", ("10.0.0.0/24",), True),
        ("10.0.1.7", ("10.0.0.0/24",), False),
        ("10.0.1.7", ("10.0.0.0/24", "10.0.1.7/32"), True),
        ("::ffff:10.0.0.7", ("10.0.0.0/24",), True),
        ("fe80::1", ("10.0.0.0/24",), False),
        ("fe80::1", ("fe80::/10",), True),
        ("127.0.0.1", ("10.0.0.0/24",), True),
        ("::1", ("10.0.0.0/24",), True),
    ],
)
def test_where_packets_may_come_from(host, networks, allowed):
    assert is_allowed(host, networks) is allowed


def own_address():
    """An address of this computer that is not its loopback; None without a network. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return probe.getsockname()[0]


@pytest.mark.skipif(own_address() is None, reason="this computer has no network")
def test_what_is_not_allowed_is_counted_and_ignored():
    host = own_address()
    peer = Peer("0.0.0.0", allow=("198.51.100.0/24",))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as foreign:
        foreign.bind((host, 0))
        for _ in range(3):
            foreign.sendto(message("/ltx/sys/panic"), (host, peer.receiver.port))
        foreign.sendto(message("/ltx/sys/ping"), (host, peer.receiver.port))
        end_s = time.monotonic() + 2
        while peer.receiver.num_refused < 4 and time.monotonic() < end_s:
            time.sleep(0.01)
        assert (peer.receiver.num_refused, peer.receiver.refused_from) == (4, host)
        foreign.settimeout(0.1)
        with pytest.raises(TimeoutError):
            foreign.recv(100)
    assert len(peer.received(message("/ltx/reseed"))) == 1
    peer.close()


def test_every_message_is_logged_when_asked_for(caplog):
    peer = Peer(log=True)
    with caplog.at_level("INFO", logger="ltx_live.control.osc"):
        peer.received(message("/ltx/prompt", "sf", text("a fox") + NUMBERS))
    peer.close()
    lines = [record.message.split(": ", 1) for record in caplog.records]
    assert [line[1] for line in lines] == ["/ltx/prompt 'a fox' 0.5", "/ltx/sys/ping 5 'x'", "/ltx/sys/pong 5 'x'"]
    assert lines[0][0].startswith("OSC from 127.0.0.1:") and lines[2][0].startswith("OSC to 127.0.0.1:")


def test_aliases_are_understood_only_when_asked_for(peer):
    sent = message("/composition/columns/3/connect", "i", struct.pack(">i", 1))
    assert peer.received(sent) == [[("/composition/columns/3/connect", (1,))]]
    resolume = Peer(aliases="resolume")
    assert resolume.received(sent) == [[("/ltx/bank/3/connect", (1,))]]
    assert resolume.received(message("/composition/tempocontroller/tempoinc", "i", struct.pack(">i", 0))) == []
    resolume.close()


def test_a_receiver_of_this_computer_alone_can_tell_others():
    """A socket bound to the loopback cannot send elsewhere."""
    host = own_address()
    if host is None:
        pytest.skip("this computer has no network")
    peer = Peer()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((host, 0))
        other.settimeout(2.0)
        peer.receiver.send("/ltx/out/hue", (1.0,), other.getsockname())
        assert decode_packet(other.recv(100))[0] == [("/ltx/out/hue", (1.0,))]
    peer.close()


def test_lone_surrogates_are_refused_or_replaced():
    """No tokenizer reads them."""
    with pytest.raises(ValueError, match="surrogate"):
        decode_packet(message("/ltx/prompt", "c", struct.pack(">i", 0xD800)))
    events, _ = decode_packet(message("/ltx/prompt", "s", text(b"a\xed\xa0\x80b")))
    events[0][1][0].encode()
    registry = Registry()
    registry.apply((Event("/ltx/prompt", ("a\udc80b",), Origin("test", "here"), 0.0),))
    assert registry.values["prompt"] == "a?b"
