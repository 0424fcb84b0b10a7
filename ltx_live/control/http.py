"""The web server: OSCQuery by HTTP and WebSocket, and the remote page, in a thread of its own.

It never touches the registry: what clients send goes into the queue of events, as from OSC, and what they may see is
the newest `Published`, which the main thread exchanges by one reference assignment.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import ipaddress
import itertools
import json
import logging
import mimetypes
import queue
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

from aiohttp import WSMsgType, hdrs, web

from ltx_live.control import oscquery
from ltx_live.control.event import Event, Origin, Transaction, guard
from ltx_live.control.osc import ERROR, MAX_AHEAD_S, MAX_DATAGRAM, decode_packet, encode_message
from ltx_live.control.oscquery import Published
from ltx_live.control.patterns import expand_pattern
from ltx_live.control.status import Status

log = logging.getLogger(__name__)

PAGE = "/remote"
TELL_RATE_HZ = 30.0
QUIET_S = 0.3
"""What a client has just set itself is not told to it for so long: nobody argues with a fader in a hand."""

MAX_CLIENTS = 64
_MAX_REPLIES = 256
_HEARTBEAT_S = 15.0
_CLOSE_S = 3.0
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; connect-src 'self' ws: wss:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


class WebServer:
    """Serves at `address` (host, port), None = not at all; `osc` is where OSC is received, for HOST_INFO.

    Call `publish` once a tick. `num_bad` counts the messages of clients that could not be read.
    """

    def __init__(self, target: queue.SimpleQueue[Transaction], address: tuple[str, int] | None, osc: tuple[str, int]):
        self._target = target
        self._address = address
        self._osc = osc
        self._published = Published()
        self._clients: dict[int, Client] = {}
        self._ids = itertools.count(1)
        self._thread: threading.Thread | None = None
        self.port = 0
        self.num_bad = 0

    def start(self) -> str:
        """Begin to serve; the line that says where, or why not. A port that is taken does not stop the show."""
        if self._address is None:
            return "remote page: off"
        host, port = self._address
        try:
            listener = _listen(host, port)
        except OSError as error:
            return (
                f"no remote page: cannot listen on {host}:{port}: {error.strerror or error}; "
                f"close the other program, or choose another port with --http {host}:{port + 1}"
            )
        self.port = listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._serving = self._loop.create_task(self._serve(listener, host))
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._thread.start()
        shown = oscquery.lan_address() if host in oscquery.EVERY_ADDRESS else host
        return f"remote page and OSCQuery: http://{f'[{shown}]' if ':' in shown else shown}:{self.port}{PAGE}"

    def close(self) -> None:
        """Take leave of the clients and free the port."""
        if self._thread is not None:
            with contextlib.suppress(RuntimeError):  # its loop has ended by itself
                self._loop.call_soon_threadsafe(self._serving.cancel)
            self._thread.join(_CLOSE_S)
            self._thread = None

    @property
    def is_serving(self) -> bool:
        """Whether it serves."""
        return self._thread is not None and self._thread.is_alive()

    def publish(self, values: Mapping[str, Any], status: Status) -> None:
        """What clients may see from now on: live values by name, and the status."""
        if self._address is None:
            return
        before = self._published
        if before.values != values:
            values = dict(values)
        elif before.status == status:
            return
        else:
            values = before.values
        self._published = Published(values, status)

    def send(self, address: str, args: Iterable[Any], to: tuple[Any, ...]) -> None:
        """Send a message to the client that an event's origin names in `reply_to`; one that has left gets nothing."""
        client = self._clients.get(to[0])
        if client is not None:
            client.replies.append(encode_message(address, args))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        with contextlib.closing(self._loop), contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._serving)

    async def _serve(self, listener: socket.socket, host: str) -> None:
        app = web.Application(middlewares=[_refuse_strangers])
        app.router.add_get("/{path:.*}", self._get)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            await web.SockSite(runner, listener).start()
            async with oscquery.announced(host, self.port):
                await asyncio.Event().wait()
        finally:
            for client in list(self._clients.values()):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(client.socket.close(code=1001, message=b"the show has ended"), 0.5)
            await runner.cleanup()

    async def _get(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
            return await self._converse(request)
        path, is_for_reading = request.path, "text/html" in request.headers.get(hdrs.ACCEPT, "")
        if path == PAGE or (path == "/" and is_for_reading and not request.query_string):
            return _page_file("index.html")
        if path == "/favicon.ico":
            return _page_file("icon.svg")
        if path.startswith(PAGE + "/"):
            return _page_file(path.removeprefix(PAGE + "/"))
        return self._query(path, request.query_string)

    def _query(self, path: str, name: str) -> web.Response:
        """The answer to an OSCQuery question: 204 unreadable, 400 unknown attribute, 404 unknown path."""
        name = name.removesuffix("=")
        try:
            if name == "HOST_INFO":
                return _json(oscquery.host_info(self._osc, self.port))
            if name:
                return _json(oscquery.attribute(path, name, self._published))
            return _json(oscquery.read(path, self._published))
        except oscquery.NoContent:
            return web.Response(status=204)
        except oscquery.NoSuchAttribute as error:
            return web.Response(status=400, text=f"{error}\n")
        except oscquery.NoSuchPath as error:
            return web.Response(status=404, text=f"{error}\n")

    async def _converse(self, request: web.Request) -> web.StreamResponse:
        if len(self._clients) >= MAX_CLIENTS:
            raise web.HTTPServiceUnavailable(text=f"{MAX_CLIENTS} clients are connected; close one\n")
        ws = web.WebSocketResponse(heartbeat=_HEARTBEAT_S, max_msg_size=MAX_DATAGRAM, compress=False)
        await ws.prepare(request)
        number = next(self._ids)
        client = Client(ws, Origin("web", request.remote or "", (number,)))
        self._clients[number] = client
        telling = asyncio.create_task(self._tell(client))
        try:
            async for message in ws:
                if not guard(self._receive, client, message.type, message.data):
                    self.num_bad += 1
        finally:
            del self._clients[number]
            telling.cancel()
        return ws

    def _receive(self, client: Client, kind: WSMsgType, data: str | bytes) -> None:
        if kind == WSMsgType.TEXT:
            client.command(json.loads(data), self._published)
            return
        messages, at_s = decode_packet(data)
        now_s = time.perf_counter()
        expanded = [(concrete, args) for address, args in messages for concrete in expand_pattern(address)]
        events = tuple(Event(address, args, client.origin, now_s) for address, args in expanded)
        ahead_s = 0.0 if at_s is None else at_s - time.time()
        if 0 < ahead_s <= MAX_AHEAD_S:
            self._loop.call_later(ahead_s, self._pass_on, client, events)
        elif events:
            self._pass_on(client, events)

    def _pass_on(self, client: Client, events: Transaction) -> None:
        now_s = time.perf_counter()
        for event in events:
            client.heard(event, now_s)
        self._target.put(events)

    async def _tell(self, client: Client) -> None:
        """Tell a client what is new, TELL_RATE_HZ times a second; one that reads slowly gets the newest only."""
        with contextlib.suppress(ConnectionError):
            while True:
                for packet in client.news(self._published, time.perf_counter()):
                    await client.socket.send_bytes(packet)
                await asyncio.sleep(1 / TELL_RATE_HZ)


class Client:
    """One WebSocket: what it listens to, what it has been told, and the replies that wait for it."""

    def __init__(self, ws: web.WebSocketResponse, origin: Origin):
        self.socket = ws
        self.origin = origin
        self.replies: collections.deque[bytes] = collections.deque(maxlen=_MAX_REPLIES)
        self._shown: dict[str, Any] = {}  # what it listens to, and the arguments that it knows
        self._quiet_until_s: dict[str, float] = {}
        self._seen: Published | None = None
        self._is_stale = False

    def command(self, command: Any, published: Published) -> None:
        """Obey a JSON command: LISTEN and IGNORE, on one address. Raises ValueError for what it is not."""
        name, path = (command.get("COMMAND"), command.get("DATA")) if isinstance(command, dict) else (None, None)
        if name not in ("LISTEN", "IGNORE") or not isinstance(path, str):
            self._refuse(str(name), 'send {"COMMAND": "LISTEN" or "IGNORE", "DATA": "/ltx/..."}')
        if name == "IGNORE":
            self._shown.pop(path, None)
        elif path not in oscquery.methods():
            self._refuse(path, f"{path[:80]}: no such method to listen to; GET / tells them all")
        elif path not in self._shown and oscquery.has_value(path):
            self._shown[path] = None  # so it is told the present value at once
            self._is_stale = True

    def _refuse(self, what: str, text: str) -> None:
        self.replies.append(encode_message(ERROR, (what[:200], text)))
        raise ValueError(text)

    def heard(self, event: Event, now_s: float) -> None:
        """It has sent this itself, so it knows."""
        if event.address in self._shown:
            self._shown[event.address] = event.args
            self._quiet_until_s[event.address] = now_s + QUIET_S
            self._is_stale = True

    def news(self, published: Published, now_s: float) -> list[bytes]:
        """The replies that wait, and what differs from what the client knows, as OSC."""
        packets = [self.replies.popleft() for _ in range(len(self.replies))]
        if self._seen is published and not self._is_stale:
            return packets
        self._seen = published
        self._quiet_until_s = {path: until for path, until in self._quiet_until_s.items() if until > now_s}
        self._is_stale = bool(self._quiet_until_s)
        for address, shown in self._shown.items():
            args = (published.value(address),)
            if args != shown and address not in self._quiet_until_s:
                self._shown[address] = args
                packets.append(encode_message(address, args))
        return packets


@web.middleware
async def _refuse_strangers(request: web.Request, handler: Any) -> web.StreamResponse:
    """Refuse what a foreign web page makes a browser ask: by a name that leads here, or from another page's script."""
    host = request.headers.get(hdrs.HOST, "")
    if host and not _is_own_name(_host_name(host)):
        return web.Response(status=403, text=f"{host}: not a name of this machine; use its IP address\n")
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None and origin.partition("://")[2] != host:
        return web.Response(status=403, text=f"{origin}: another page may not drive this show\n")
    return await handler(request)


def _host_name(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.rpartition(":")[0] or host


def _is_own_name(name: str) -> bool:
    own = socket.gethostname().lower()
    if name.lower() in ("localhost", own, own.split(".")[0], f"{own.split('.')[0]}.local"):
        return True
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(name))
    return False


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=64)


def _json(node: Mapping[str, Any]) -> web.Response:
    return web.Response(text=json.dumps(node), content_type="application/json", headers={"Cache-Control": "no-cache"})


def _page_file(name: str) -> web.Response:
    """A file of the remote page, out of the package."""
    files = {file.name: file for file in resources.files("ltx_live.control").joinpath("page").iterdir()}
    if name not in files:
        return web.Response(status=404, text=f"{PAGE}/{name[:60]}: no such file\n")
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    kind = "text/javascript" if name.endswith(".js") else kind  # Windows may know it by another name
    return web.Response(body=files[name].read_bytes(), content_type=kind, charset="utf-8", headers=_HEADERS)
