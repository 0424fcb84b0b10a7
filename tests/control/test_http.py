"""OSCQuery as a client sees it: real HTTP requests and WebSockets, against a registry that a thread turns."""

import asyncio
import queue
import socket
import threading
import time
from contextlib import asynccontextmanager

import aiohttp
import pytest

from ltx_live import params
from ltx_live.control.event import Event, Origin, drain
from ltx_live.control.http import MAX_CLIENTS, QUIET_S, Client, WebServer
from ltx_live.control.osc import decode_packet, encode_message
from ltx_live.control.oscquery import Published
from ltx_live.control.registry import Registry, full_range
from ltx_live.control.status import NAMES, Status

OSC = "127.0.0.1", 9130


class Served:
    """A web server and what a show does with it: events are applied, replies are sent, values are published."""

    def __init__(self):
        self.events = queue.SimpleQueue()
        self.registry = Registry()
        self.status = Status(state="playing", bpm=120.0)
        self.server = WebServer(self.events, ("127.0.0.1", 0), OSC)
        self.server.publish(self.registry.values, self.status)
        self.line = self.server.start()
        self.origins = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._turn, daemon=True)
        self._thread.start()

    def _turn(self):
        while not self._is_over.wait(0.005):
            for transaction in drain(self.events):
                self.origins += [event.origin for event in transaction]
                for reply in self.registry.apply(transaction).replies:
                    self.server.send(reply.address, reply.args, reply.origin.reply_to)
            self.server.publish(self.registry.values, self.status)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.port}"

    def get(self, path, **headers):
        """Status and body of a GET, the body read as JSON where it is that."""

        async def ask():
            async with aiohttp.ClientSession() as session, session.get(self.url + path, headers=headers) as answer:
                is_json = answer.content_type == "application/json"
                return answer.status, await (answer.json() if is_json else answer.text())

        return asyncio.run(ask())

    def close(self):
        self._is_over.set()
        self._thread.join()
        self.server.close()


@pytest.fixture(scope="module")
def shared():
    served = Served()
    yield served
    served.close()


@pytest.fixture
def served(shared):
    """The running server, its values as they were at first."""
    shared.registry._values.update(params.defaults())
    shared.status = Status(state="playing", bpm=120.0)
    time.sleep(0.03)
    return shared


class Peer:
    """One WebSocket client."""

    def __init__(self, ws):
        self.ws = ws

    async def command(self, name, path):
        await self.ws.send_json({"COMMAND": name, "DATA": path})

    async def send(self, address, *args):
        await self.ws.send_bytes(encode_message(address, args))

    async def hear(self, timeout_s=3.0):
        """The next message: (address, arguments)."""
        message = await self.ws.receive(timeout_s)
        assert message.type == aiohttp.WSMsgType.BINARY, message
        ((heard,), _) = decode_packet(message.data)
        return heard

    async def hears_nothing(self, for_s=0.6):
        with pytest.raises(TimeoutError):
            raise AssertionError(await self.hear(for_s))


@asynccontextmanager
async def peer(served, **headers):
    async with aiohttp.ClientSession() as session, session.ws_connect(served.url, headers=headers) as ws:
        yield Peer(ws)


def talk(served, conversation, count=1):
    """Run a conversation of so many clients."""

    async def run():
        async with peer(served) as one, peer(served) as two:
            await asyncio.wait_for(conversation(*(one, two)[:count]), 20)

    asyncio.run(run())


def test_host_info_says_where_osc_goes(served):
    status, info = served.get("/?HOST_INFO")
    assert status == 200
    assert (info["OSC_IP"], info["OSC_PORT"], info["OSC_TRANSPORT"]) == (*OSC, "UDP")
    assert info["WS_PORT"] == served.server.port
    assert info["EXTENSIONS"]["LISTEN"] and info["EXTENSIONS"]["RANGE"]


def test_errors_have_the_numbers_of_the_proposal(served):
    assert served.get("/ltx/sys/panic?VALUE") == (204, "")
    assert served.get("/ltx/out?VALUE") == (204, "")
    status, text = served.get("/ltx/out/master?COLOUR")
    assert status == 400 and "COLOUR: no such attribute" in text
    status, text = served.get("/ltx/out/mister")
    assert status == 404 and "no such path" in text
    assert served.get("/ltx/out/mister?VALUE")[0] == 404
    assert served.get("/remote/../http.py")[0] == 404
    assert served.get("/remote/nothing.js")[0] == 404


def methods_below(node):
    if "TYPE" in node:
        yield node
    for name, child in node.get("CONTENTS", {}).items():
        assert child["FULL_PATH"] == f"{node['FULL_PATH'].rstrip('/')}/{name}"
        yield from methods_below(child)


def test_the_whole_table_is_there_and_ranges_are_the_registrys(served):
    _, root = served.get("/")
    found = {node["FULL_PATH"]: node for node in methods_below(root)}
    assert set(found) == {f"/ltx/{name}" for name in params.concrete_names()} | {
        f"/ltx/status/{name}" for name in NAMES
    }
    for name in params.concrete_names():
        row, node = params.find(name), found[f"/ltx/{name}"]
        assert (node["DESCRIPTION"], node["LTX_TIER"], node.get("LTX_LANDING")) == (row.doc, row.tier, row.landing)
        if row.kind == "trigger":
            assert "VALUE" not in node and node["TYPE"] == "I"
            continue
        limits = node.get("RANGE", [{}])[0]
        if row.kind == "enum":
            assert node["TYPE"] == "s" and limits == {"VALS": list(row.choices)}
        elif full_range(row) is not None:
            assert (limits["MIN"], limits["MAX"]) == full_range(row)
        (value,) = node["VALUE"]
        kind = {"f": (int, float), "i": int, "s": str}[node["TYPE"]]
        assert isinstance(value, kind) and not isinstance(value, bool), name
        assert row.coerce(value) == served.registry.values[name]  # what is read may be sent back


def test_access_says_what_can_be_read_and_set(served):
    assert served.get("/ltx/out/master?ACCESS")[1] == {"ACCESS": 3}
    assert served.get("/ltx/status/bpm?ACCESS")[1] == {"ACCESS": 1}
    assert served.get("/ltx/sys/panic?ACCESS")[1] == {"ACCESS": 2}


def test_a_value_goes_in_and_comes_out(served):
    async def conversation(one, two):
        await one.command("LISTEN", "/ltx/out/hue")
        assert await one.hear() == ("/ltx/out/hue", (0.0,))
        await two.send("/ltx/out/hue", 45)
        assert await one.hear() == ("/ltx/out/hue", (45.0,))
        await one.command("IGNORE", "/ltx/out/hue")
        await two.send("/ltx/out/hue", 90)
        await one.hears_nothing()

    talk(served, conversation, count=2)
    assert served.registry.values["out/hue"] == 90.0
    assert served.origins[-1].kind == "web"
    assert served.get("/ltx/out/hue?VALUE") == (200, {"VALUE": [90.0]})


def test_every_kind_of_value_is_heard_as_its_type(served):
    async def conversation(one):
        sent = {
            "prompt": "blå vågor",
            "tempo/quantise": "2 bars",
            "num_steps": 5,
            "out/freeze": 1,
            "sigmas": "1, 0.5, 0",
        }
        for name, value in sent.items():
            await one.command("LISTEN", f"/ltx/{name}")
            await one.hear()
            served.registry._values[name] = params.find(name).coerce(value)
            assert await one.hear() == (f"/ltx/{name}", (value,))

    talk(served, conversation)


def test_who_moves_a_fader_is_not_argued_with(served):
    async def conversation(one, two):
        for each in (one, two):
            await each.command("LISTEN", "/ltx/out/master")
            await each.hear()
        for value in (0.25, 0.5, 0.75):
            await one.send("/ltx/out/master", value)
            assert await two.hear() == ("/ltx/out/master", (value,))
        await one.hears_nothing()
        await one.send("/ltx/out/master", 7)  # clamped, so it is told what became of it
        assert await one.hear() == ("/ltx/out/master", (1.0,))
        await two.send("/ltx/out/master", 0.75)
        assert await one.hear() == ("/ltx/out/master", (0.75,))

    talk(served, conversation, count=2)


def test_what_a_client_set_is_not_told_back_before_it_is_done():
    client = Client(None, Origin("web"))
    before, after = (Published(params.defaults() | {"out/master": value}) for value in (0.2, 1.0))

    def news(published, now_s):
        return [decode_packet(packet)[0][0] for packet in client.news(published, now_s)]

    client.command({"COMMAND": "LISTEN", "DATA": "/ltx/out/master"}, before)
    assert news(before, 0.0) == [("/ltx/out/master", (pytest.approx(0.2),))]
    client.heard(Event("/ltx/out/master", (7,), client.origin, 1.0), 1.0)
    assert news(before, 1.01) == []  # the tick that takes it up has not come yet
    assert news(after, 1.0 + QUIET_S / 2) == []
    assert news(after, 1.01 + QUIET_S) == [("/ltx/out/master", (1.0,))]
    assert news(after, 2.0) == []
    client.heard(Event("/ltx/out/master", (1.0,), client.origin, 3.0), 3.0)
    assert news(after, 4.0) == []  # it became what was sent


def test_status_is_listened_to_and_triggers_have_no_value(served):
    async def conversation(one):
        await one.command("LISTEN", "/ltx/sys/panic")
        await one.command("LISTEN", "/ltx/status/landing_s")
        assert await one.hear() == ("/ltx/status/landing_s", ("none",))
        served.status = Status(landing_s=0.5)
        assert await one.hear() == ("/ltx/status/landing_s", (0.5,))

    talk(served, conversation)
    assert served.get("/ltx/status/latency_s?VALUE") == (200, {"VALUE": [None]})


def test_a_bundle_is_one_transaction_and_a_time_tag_is_kept(served):
    elements = [encode_message("/ltx/out/master", (0.5,)), encode_message("/ltx/out/hue", (10,))]

    def bundle(stamp):
        body = b"".join(len(each).to_bytes(4, "big") + each for each in elements)
        return b"#bundle\x00" + stamp.to_bytes(8, "big") + body

    async def conversation(one, two):
        await one.command("LISTEN", "/ltx/out/hue")
        await one.hear()
        start_s = time.perf_counter()
        await two.ws.send_bytes(bundle(int((time.time() + 0.5 + 2_208_988_800) * 2**32)))
        assert await one.hear() == ("/ltx/out/hue", (10.0,))
        assert 0.4 < time.perf_counter() - start_s < 2.0

    talk(served, conversation, count=2)
    assert served.registry.values["out/master"] == 0.5


def test_nonsense_is_counted_told_and_does_no_harm(served):
    before = served.server.num_bad
    bad = [b"", b"nonsense", b"/ltx/out/hue\0\0\0\0,f\0\0", "no JSON", "[]", '{"COMMAND": "LISTEN", "DATA": 7}']

    async def conversation(one):
        for message in bad:
            await (one.ws.send_str if isinstance(message, str) else one.ws.send_bytes)(message)
        await one.command("LISTEN", "/ltx/nothing")
        heard = [await one.hear() for _ in range(3)]
        assert {address for address, _ in heard} == {"/ltx/error"}
        assert "no such method" in heard[-1][1][1]
        await one.send("/ltx/out/mister", 1)
        address, (path, text) = await one.hear()
        assert (address, path) == ("/ltx/error", "/ltx/out/mister") and "did you mean" in text
        await one.send("/ltx/sys/ping", 7)
        assert await one.hear() == ("/ltx/sys/pong", (7,))

    talk(served, conversation)
    assert served.server.num_bad - before == len(bad) + 1


STRANGERS = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Host": "evil.example:{port}"},  # a name that was made to lead here
    {"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"},
]


@pytest.mark.parametrize("headers", STRANGERS)
def test_a_foreign_page_can_neither_read_nor_drive(served, headers):
    headers = {name: value.format(port=served.server.port) for name, value in headers.items()}
    assert served.get("/", **headers)[0] == 403

    async def open_one():
        async with peer(served, **headers):
            pass

    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        asyncio.run(open_one())
    assert refused.value.status == 403


@pytest.mark.parametrize("host", ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", socket.gethostname()])
def test_its_own_names_and_its_own_page_are_let_in(served, host):
    host = host.format(port=served.server.port)
    assert served.get("/?HOST_INFO", Host=host)[0] == 200

    async def open_one():
        async with peer(served, Host=host, Origin=f"http://{host}") as one:
            await one.send("/ltx/sys/ping", 1)
            assert await one.hear() == ("/ltx/sys/pong", (1,))

    asyncio.run(open_one())


def test_the_page_is_for_who_wants_to_read(served):
    assert "<title>ltx_live</title>" in served.get("/", Accept="text/html,*/*")[1]
    assert "<title>ltx_live</title>" in served.get("/remote")[1]
    assert served.get("/?HOST_INFO", Accept="text/html,*/*")[1]["NAME"] == "ltx_live"
    assert served.get("/favicon.ico")[1].startswith("<svg")


def test_there_is_an_end_to_clients_and_they_make_room(served):
    async def crowd():
        async with aiohttp.ClientSession() as session:
            some = [await session.ws_connect(served.url) for _ in range(MAX_CLIENTS)]
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(served.url)
            assert refused.value.status == 503
            for ws in some:
                await ws.close()
            async with session.ws_connect(served.url) as ws:
                await ws.send_bytes(encode_message("/ltx/sys/ping", (1,)))
                assert (await ws.receive(3)).type == aiohttp.WSMsgType.BINARY

    asyncio.run(crowd())


def test_a_taken_port_is_one_line_and_the_rest_goes_on():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = WebServer(queue.SimpleQueue(), ("127.0.0.1", port), OSC)
        line = server.start()
        assert f"cannot listen on 127.0.0.1:{port}" in line and f"--http 127.0.0.1:{port + 1}" in line
        server.publish(params.defaults(), Status())
        server.close()


def test_off_is_off():
    server = WebServer(queue.SimpleQueue(), None, OSC)
    assert server.start() == "remote page: off"
    server.publish(params.defaults(), Status())
    server.close()


def test_the_end_says_goodbye_and_frees_the_port():
    served = Served()
    port = served.server.port

    async def stay():
        async with peer(served) as one:
            await one.send("/ltx/sys/ping", 1)
            await one.hear()
            closing = asyncio.get_running_loop().run_in_executor(None, served.close)
            message = await one.ws.receive(3)
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
            await closing

    asyncio.run(stay())
    with socket.create_server(("127.0.0.1", port)):
        pass
