"""Feedback over real sockets: who hears of which change, when, and as what; leases, patterns, aliases, dumps."""

import socket
import time

import pytest

from ltx_live import __version__, params
from ltx_live.config import OscOptions
from ltx_live.control.event import Event, Inbox, Origin, drain
from ltx_live.control.feedback import LEASE_S, MAX_SUBSCRIPTIONS, RATE_HZ, Feedback, Subscription
from ltx_live.control.osc import OscReceiver, decode_packet, encode_message
from ltx_live.control.registry import ERROR, Registry, Reply, full_range, normalise
from ltx_live.control.status import NAMES, Status
from ltx_live.errors import ConfigError, ParameterError

NAMES_OF_VALUES = [name for name, _ in Registry().readable()]


class Client:
    """A program with one socket."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def packets(self, timeout_s=0.15):
        """What has come: a list of messages for each datagram."""
        self.socket.settimeout(timeout_s)
        found = []
        try:
            while True:
                found.append(decode_packet(self.socket.recv(65535))[0])
        except TimeoutError:
            return found

    def messages(self, timeout_s=0.15):
        return [message for packet in self.packets(timeout_s) for message in packet]


class Rig:
    """Receiver, registry and feedback, with a main thread that is turned by hand."""

    def __init__(self, *targets, **options):
        self.events = Inbox()
        self.osc = OscReceiver(self.events, port=0, options=OscOptions(**options))
        self.registry = Registry()
        self.feedback = Feedback(self.osc, self.registry, targets)
        self.status = Status()
        self.now_s = time.perf_counter()
        self.clients = []
        self.errors = []

    def client(self):
        self.clients.append(Client())
        return self.clients[-1]

    def send(self, client, address, *args):
        """Send from a client, and let it take effect."""
        client.socket.sendto(encode_message(address, args), ("127.0.0.1", self.osc.port))
        self.events.wait(1.0)
        self.apply()

    def apply(self):
        for transaction in drain(self.events):
            outcome = self.registry.apply(transaction)
            self.feedback.take(outcome)
            self.feedback.reply(outcome.replies)
            for fired in outcome.fired:
                verbs = {"sys/subscribe": self.feedback.subscribe, "sys/unsubscribe": self.feedback.unsubscribe}
                if fired.name in verbs:
                    try:
                        verbs[fired.name](fired.args, transaction[0])
                    except ParameterError as error:
                        self.errors.append(str(error))

    def tick(self, after_s=1.0):
        self.now_s += after_s
        self.feedback.update(self.now_s, lambda: self.status)

    def subscribed(self, *args):
        """A client that has subscribed, and has read what it got at once."""
        client = self.client()
        self.send(client, "/ltx/sys/subscribe", *args)
        client.packets()
        self.tick()
        client.packets()
        return client


@pytest.fixture
def make_rig():
    rigs = []

    def make(*targets, **options):
        rigs.append(Rig(*targets, **options))
        rigs[-1].osc.start()
        rigs[-1].feedback.start()
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.feedback.close()
        rig.osc.close()
        for client in rig.clients:
            client.socket.close()


@pytest.fixture
def rig(make_rig):
    return make_rig()


def another(row, value):
    """A value of a row that is not this one, as a sender gives it."""
    match row.kind:
        case "bool":
            return (int(not value),)
        case "enum":
            return (row.choices[row.choices.index(value) - 1],)
        case "str":
            return ("out/hue" if row.name == "mod/N/target" else f"{value} anew",)
        case "floats":
            return (1.0, 0.5, 0.0)
    return (row.coerce(row.maximum if value != row.maximum else row.minimum),)


def test_every_change_of_every_row_is_told_to_others_and_never_to_its_origin(rig):
    origin, plain, norm = rig.subscribed(), rig.subscribed(), rig.subscribed("/ltx/norm/*")
    echoing = rig.subscribed(0, "/ltx/*", 1)
    sent = {}
    for name in NAMES_OF_VALUES:
        sent[name] = another(params.find(name), rig.registry.values[name])
        rig.send(origin, f"/ltx/{name}", *sent[name])
    rig.tick()
    told = {address: args for address, args in plain.messages() if not address.startswith("/ltx/status/")}
    values = rig.registry.values
    assert len(sent) > 200 and {name for name in sent if f"/ltx/{name}" not in told} == set()
    for name, args in sent.items():
        assert told[f"/ltx/{name}"] == pytest.approx(args), name
    ranged = {name: params.find(name) for name in sent if full_range(params.find(name))}
    assert dict(norm.messages()) == {
        f"/ltx/norm/{name}": (pytest.approx(normalise(row, values[name]), abs=1e-6),) for name, row in ranged.items()
    }
    assert origin.messages() == []
    assert {address for address, _ in echoing.messages()} >= set(told)


def test_what_the_origin_does_not_know_is_told_to_it_too(rig):
    client = rig.subscribed("/ltx/{num_frames,bank/selected,prompt,out/hue,out/master,tempo/quantise}")
    rig.registry.apply((Event("/ltx/bank/2/text", ("a fox",), Origin("app"), 0.0),))
    for address, args, told in [
        ("/ltx/num_frames", (50,), {"/ltx/num_frames": (49,)}),  # snapped
        ("/ltx/num_frames", (51,), {"/ltx/num_frames": (49,)}),  # snapped to what it was
        ("/ltx/num_frames", (57,), {}),
        ("/ltx/out/master", (-1.0,), {"/ltx/out/master": (0.0,)}),  # clamped
        ("/ltx/out/hue", ("+", 30.0), {"/ltx/out/hue": (30.0,)}),  # relative
        ("/ltx/norm/out/hue", (0.75,), {}),
        ("/ltx/norm/out/hue", (1.5,), {"/ltx/out/hue": (180.0,)}),
        ("/ltx/tempo/quantise", (3.0,), {}),  # by its index
        ("/ltx/bank/2/connect", (), {"/ltx/bank/selected": (2,), "/ltx/prompt": ("a fox",)}),  # an effect
    ]:
        rig.send(client, address, *args)
        rig.tick()
        assert dict(client.messages(0.05)) == told, (address, args)


def test_two_performers_hear_each_other(rig):
    one, two = rig.subscribed("/ltx/out/*"), rig.subscribed("/ltx/out/*")
    rig.send(one, "/ltx/out/hue", 10.0)
    rig.send(two, "/ltx/out/hue", 20.0)
    rig.tick()
    assert one.messages() == [("/ltx/out/hue", (20.0,))] and two.messages() == []


def test_a_fader_is_told_by_its_newest_value_thirty_times_a_second(rig):
    """A second of 600 changes, in ticks of 100 Hz: one bundle each 33 ms, and the last value comes."""
    listener, mover = rig.subscribed("/ltx/out/*"), rig.client()
    for k in range(100):
        for i in range(6):
            rig.send(mover, "/ltx/out/hue", (6 * k + i) / 10)
        rig.send(mover, "/ltx/out/contrast", k / 100)
        rig.tick(0.01)
    rig.tick(0.05)
    packets = listener.packets()
    assert RATE_HZ - 6 <= len(packets) <= RATE_HZ + 1
    hues = [args[0] for packet in packets for address, args in packet if address == "/ltx/out/hue"]
    assert len(hues) == len(packets) and hues == sorted(hues) and hues[-1] == pytest.approx(59.9)
    assert [sorted(address for address, _ in packet) for packet in packets][5] == ["/ltx/out/contrast", "/ltx/out/hue"]


def test_a_new_subscriber_gets_every_value_in_packets_that_fit_a_network(rig):
    client = rig.client()
    rig.send(client, "/ltx/sys/subscribe")
    client.socket.settimeout(1.0)
    datagrams = [client.socket.recv(65535)]
    client.socket.settimeout(0.2)
    try:
        while True:
            datagrams.append(client.socket.recv(65535))
    except TimeoutError:
        pass
    assert max(len(datagram) for datagram in datagrams) <= 1400
    told = dict(message for datagram in datagrams for message in decode_packet(datagram)[0])
    assert {address.removeprefix("/ltx/") for address in told} == set(NAMES_OF_VALUES)
    assert told["/ltx/num_frames"] == (129,) and told["/ltx/sigmas"] == ("none",)


def test_status_is_told_when_it_changes(rig):
    client = rig.subscribed("/ltx/status/*")
    rig.tick()
    assert client.messages() == []
    rig.status = Status(state="playing", beat=2.5)
    rig.tick()
    assert dict(client.messages()) == {"/ltx/status/state": ("playing",), "/ltx/status/beat": (2.5,)}
    late = rig.client()
    rig.send(late, "/ltx/sys/subscribe", "/ltx/status/*")
    assert {address.removeprefix("/ltx/status/") for address, _ in late.messages()} == set(NAMES)


def test_a_lease_ends_unless_anything_comes_from_who_asked(rig):
    silent, pinging, other = rig.subscribed("/ltx/out/*"), rig.subscribed("/ltx/out/*"), rig.client()
    now_s = time.perf_counter()
    rig.osc.heard[("127.0.0.1", silent.port)] = now_s - LEASE_S - 1
    rig.osc.heard[("127.0.0.1", pinging.port)] = now_s - LEASE_S - 1
    for key, (each, _) in list(rig.feedback._leased.items()):
        rig.feedback._leased[key] = each, now_s - LEASE_S - 1
    pinging.socket.sendto(encode_message("/ltx/sys/ping", ()), ("127.0.0.1", rig.osc.port))
    assert pinging.messages() == [("/ltx/sys/pong", ())]
    rig.now_s = now_s
    rig.send(other, "/ltx/out/hue", 10.0)
    rig.tick()
    assert pinging.messages() == [("/ltx/out/hue", (10.0,))] and silent.messages() == []
    assert list(rig.osc.heard) == [("127.0.0.1", pinging.port)]


def test_subscribing_for_another_port_with_floats_as_pd_sends_them(rig):
    listener, sender = rig.client(), rig.client()
    rig.send(sender, "/ltx/sys/subscribe", float(listener.port), "out/*", 0.0)
    assert ("/ltx/out/master", (1.0,)) in listener.messages() and sender.messages() == []
    rig.send(sender, "/ltx/out/hue", 10.0)
    rig.tick()
    assert listener.messages() == []  # the program that sent it has two sockets, and knows
    rig.send(rig.client(), "/ltx/out/hue", 20.0)
    rig.tick()
    assert listener.messages() == [("/ltx/out/hue", (20.0,))]
    rig.send(sender, "/ltx/sys/unsubscribe", float(listener.port))
    rig.send(rig.client(), "/ltx/out/hue", 30.0)
    rig.tick()
    assert listener.messages() == [] and rig.feedback.subscriptions == ()


def test_unsubscribing_one_pattern_keeps_the_others(rig):
    client = rig.subscribed("/ltx/out/*")
    rig.send(client, "/ltx/sys/subscribe", "/ltx/tempo/*")
    rig.send(client, "/ltx/sys/unsubscribe", "/ltx/out/*")
    assert [each.pattern for each in rig.feedback.subscriptions] == ["/ltx/tempo/*"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((70000,), "there is no port 70000"),
        (("/ltx/[z-a]",), "bad character range"),
        (("*" * 5 + "a*" * 5,), "too many"),
    ],
)
def test_a_subscription_that_cannot_be_is_one_line(rig, args, words):
    rig.send(rig.client(), "/ltx/sys/subscribe", *args)
    assert words in rig.errors[0] and rig.feedback.subscriptions == ()


def test_only_so_many_subscribe_and_only_by_osc(rig):
    client = rig.client()
    for port in range(1, MAX_SUBSCRIPTIONS + 2):
        rig.send(client, "/ltx/sys/subscribe", port, "/ltx/nothing")
    assert len(rig.feedback.subscriptions) == MAX_SUBSCRIPTIONS and "64 subscribe already" in rig.errors[0]
    rig.events.put((Event("/ltx/sys/subscribe", (9,), Origin("midi", "pad"), 0.0),))
    rig.apply()
    assert "only what comes by OSC" in rig.errors[1]


def test_targets_of_the_command_line_are_greeted_and_told_for_ever(make_rig):
    client = Client()
    rig = make_rig(("localhost", client.port, "/ltx/out/*"))
    rig.clients.append(client)
    first, *others = client.messages()
    assert first == ("/ltx/sys/startup", (__version__,)) and ("/ltx/out/master", (1.0,)) in others
    rig.tick(10 * LEASE_S)
    rig.send(rig.client(), "/ltx/out/hue", 10.0)
    rig.tick()
    assert client.messages() == [("/ltx/out/hue", (10.0,))]
    rig.send(client, "/ltx/out/hue", 20.0)
    rig.tick()
    assert client.messages() == []
    with pytest.raises(ConfigError, match=r"--osc-out no.such.host.invalid:9131: no such host"):
        make_rig(("no.such.host.invalid", 9131, "/ltx/*"))


def test_another_computer_is_known_by_its_address_alone():
    """A tablet sends from one port and listens on another."""
    tablet = Subscription(("10.0.0.7", 9000))
    assert tablet.knows(Origin("osc", "10.0.0.7", ("10.0.0.7", 53412)))
    assert not tablet.knows(Origin("osc", "10.0.0.8", ("10.0.0.8", 9000)))
    here = Subscription(("127.0.0.1", 9000))
    assert not here.knows(Origin("osc", "127.0.0.1", ("127.0.0.1", 53412)))
    assert not tablet.knows(Origin("midi", "pad")) and not tablet.knows(None)
    assert not tablet.knows(Origin("web", "10.0.0.7", ("10.0.0.7", 9000))), "the page is another program"


def test_resolume_controllers_are_told_in_their_words(make_rig):
    rig = make_rig(aliases="resolume")
    client, mover = rig.subscribed("/composition/*"), rig.client()
    rig.send(mover, "/ltx/out/master", 0.5)
    rig.send(mover, "/ltx/tempo/bpm", 140.0)
    rig.send(mover, "/ltx/bank/4/name", "waves")
    rig.send(mover, "/ltx/num_steps", 4)
    rig.tick()
    assert dict(client.messages()) == {
        "/composition/master": (0.5,),
        "/composition/tempocontroller/tempo": (0.25,),
        "/composition/columns/4/name": ("waves",),
    }


def test_who_asks_by_an_alias_is_answered_by_it(make_rig):
    rig = make_rig(aliases="resolume")
    client = rig.client()
    rig.send(client, "/ltx/tempo/bpm", 140.0)
    for asked, told in (
        ("/composition/tempocontroller/tempo", 0.25),
        ("/composition/layers/1/master", 1.0),
        ("/ltx/layers/1/clips/2/name", ""),
        ("/ltx/tempo/bpm", 140.0),
    ):
        for args in ((), ("?",)):
            rig.send(client, asked, *args)
            assert client.messages() == [(asked, (told,))]
    rig.send(client, "/composition/master", "loud")
    (error,) = client.messages()
    assert error[0] == "/ltx/error" and error[1][0] == "/composition/master"


def test_answers_go_to_the_reply_port(make_rig):
    client = Client()
    rig = make_rig(reply_port=client.port)
    rig.clients.append(client)
    asker = rig.client()
    rig.send(asker, "/ltx/num_frames", "?")
    assert client.messages() == [("/ltx/num_frames", (129,))] and asker.messages() == []


def test_many_answers_go_as_bundles_and_one_as_a_message(rig):
    client = rig.client()
    rig.send(client, "/ltx/sys/dump", "/ltx/out/*")
    packets = client.packets()
    assert len(packets) == 1 and len(packets[0]) > 5
    origin = Origin("osc", "127.0.0.1", ("127.0.0.1", client.port))
    replies = [Reply(origin, ERROR, ("/ltx/x", "no")) for _ in range(50)] + [Reply(origin, "/ltx/seed", (1,))]
    rig.feedback.reply(replies)
    messages = client.messages()
    assert len(messages) == 11 and messages[-1] == ("/ltx/seed", (1,))


def test_a_target_that_is_gone_does_not_stop_the_others(make_rig):
    gone, client = Client(), Client()
    rig = make_rig(("127.0.0.1", gone.port, "/ltx/*"), ("127.0.0.1", client.port, "/ltx/out/hue"))
    gone.socket.close()
    rig.clients.append(client)
    client.messages()
    for hue in (1.0, 2.0, 3.0):
        rig.send(rig.client(), "/ltx/out/hue", hue)
        rig.tick()
    assert client.messages() == [("/ltx/out/hue", (hue,)) for hue in (1.0, 2.0, 3.0)]


def test_nothing_is_kept_for_nobody(rig):
    rig.send(rig.client(), "/ltx/out/hue", 10.0)
    rig.tick()
    assert rig.feedback._waiting == {}
