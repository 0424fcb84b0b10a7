"""OSCQuery: the parameter table and the status as a JSON namespace, and the announcement on the network.

Source: the OSCQuery proposal (github.com/Vidvox/OSCQueryProposal): attributes, HOST_INFO and the service type. Ours
are LTX_TIER and LTX_LANDING (when a value takes effect), and LTX_DEFAULT.
The tree is the table's: during a show nothing is added, removed, renamed or changed, so no PATH_... is ever sent.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import socket
import typing
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ltx_live import params
from ltx_live.control.status import NAMES, STATUS, Status
from ltx_live.params import Parameter

log = logging.getLogger(__name__)

NAME = "ltx_live"
SERVICE = "_oscjson._tcp.local."
READ, WRITE = 1, 2
EVERY_ADDRESS = "0.0.0.0", "::", ""
"""Hosts that stand for every address of this machine."""

ATTRIBUTES = ("FULL_PATH", "CONTENTS", "TYPE", "ACCESS", "VALUE", "RANGE", "CLIPMODE", "UNIT", "DESCRIPTION")
ATTRIBUTES += ("LTX_TIER", "LTX_LANDING", "LTX_DEFAULT")

_TYPES = {"float": "f", "int": "i", "bool": "i", "trigger": "I"}  # the other kinds are text
_STATUS_UNITS = {"_s": "s", "_db": "dB", "_hz": "Hz", "_gib": "GiB"}

Node = dict[str, Any]


class NoSuchPath(LookupError):
    """404: nothing has this address."""


class NoSuchAttribute(LookupError):
    """400: an attribute that OSCQuery and we do not know."""


class NoContent(LookupError):
    """204: an attribute that this node does not have, such as the value of a trigger."""


@dataclass(frozen=True, slots=True)
class Published:
    """What clients may see: the live values by name, and the status.

    The main thread makes a new one when something has changed; nobody changes one.
    """

    values: Mapping[str, Any] = field(default_factory=params.defaults)
    status: Status = Status()

    def value(self, address: str) -> Any:
        """The value at an address as OSC and JSON carry it; None where there is none, as for a trigger."""
        name = address.removeprefix(STATUS + "/")
        if name != address:
            return _plain(getattr(self.status, name))
        name = address.removeprefix("/ltx/")
        if params.find(name).kind == "floats" and self.values[name] is None:
            return "none"
        return _plain(self.values.get(name))


def _plain(value: Any) -> Any:
    match value:
        case bool():
            return int(value)
        case float() if not math.isfinite(value):
            return None
        case tuple() | list():
            return ", ".join(f"{number:g}" for number in value)
    return value


@functools.cache
def methods() -> dict[str, Node]:
    """What does not change of every method, by address: all of it but VALUE and ACCESS."""
    rows = {row_address(name): _method(name, params.find(name)) for name in params.concrete_names()}
    types = typing.get_type_hints(Status)
    return rows | {f"{STATUS}/{name}": _status_method(name, types[name]) for name in NAMES}


def has_value(address: str) -> bool:
    """Whether the method at an address has a value; a trigger has none."""
    return methods()[address]["TYPE"] != _TYPES["trigger"]


def row_address(name: str) -> str:
    """The address of a concrete name."""
    return f"/ltx/{name}"


def _method(name: str, row: Parameter) -> Node:
    node: Node = {"FULL_PATH": row_address(name), "TYPE": _TYPES.get(row.kind, "s"), "DESCRIPTION": row.doc}
    limits = {"MIN": row.minimum, "MAX": row.maximum}
    if row.kind == "bool":
        limits = {"MIN": 0, "MAX": 1}
    limits = {key: limit for key, limit in limits.items() if limit is not None}
    if row.choices:
        limits = {"VALS": list(row.choices)}
    if limits:
        node["RANGE"] = [limits]
    if "MIN" in limits and "MAX" in limits:
        node["CLIPMODE"] = ["both"]
    if row.unit:
        node["UNIT"] = [row.unit]
    node["LTX_TIER"] = row.tier
    if row.landing:
        node["LTX_LANDING"] = row.landing
    if row.kind != "trigger":
        node["LTX_DEFAULT"] = [_plain(row.default)]
    return node


def _status_method(name: str, kind: Any) -> Node:
    kinds = {kind, *typing.get_args(kind)}
    tag = "f" if float in kinds else "i" if int in kinds or bool in kinds else "s"
    node: Node = {"FULL_PATH": f"{STATUS}/{name}", "TYPE": tag, "DESCRIPTION": name.replace("_", " ")}
    for suffix, unit in _STATUS_UNITS.items():
        if name.endswith(suffix):
            node |= {"DESCRIPTION": name.removesuffix(suffix).replace("_", " "), "UNIT": [unit]}
    return node


@functools.cache
def tree() -> dict[str, dict[str, str]]:
    """The children of every container: its address -> name of a child -> the child's address."""
    children: dict[str, dict[str, str]] = {}
    for address in methods():
        while address != "/":
            parent, _, name = address.rpartition("/")
            children.setdefault(parent or "/", {})[name] = address
            address = parent or "/"
    return children


def read(path: str, published: Published) -> Node:
    """The node at a path with all that is below it. Raises NoSuchPath."""
    path = "/" + path.strip("/")
    contents = tree().get(path)
    if path not in methods() and contents is None:
        raise NoSuchPath(f"{path}: no such path; GET / tells them all")
    node = _complete(path, published) if path in methods() else {"FULL_PATH": path, "ACCESS": 0}
    if contents is not None:
        node["CONTENTS"] = {name: read(child, published) for name, child in contents.items()}
    return node


def _complete(address: str, published: Published) -> Node:
    node = dict(methods()[address])
    if address.startswith(STATUS + "/"):
        return node | {"ACCESS": READ, "VALUE": [published.value(address)]}
    name = address.removeprefix("/ltx/")
    row = params.find(name)
    node["ACCESS"] = WRITE if row.kind == "trigger" else READ | WRITE
    if row.kind != "trigger":
        node["VALUE"] = [published.value(address)]
    return node


def attribute(path: str, name: str, published: Published) -> Node:
    """One attribute of the node at a path. Raises NoSuchPath, NoSuchAttribute or NoContent."""
    if name not in ATTRIBUTES:
        raise NoSuchAttribute(f"{name[:60]}: no such attribute; there are {', '.join(ATTRIBUTES)} and HOST_INFO")
    node = read(path, published)
    if name not in node:
        raise NoContent
    return {name: node[name]}


def host_info(osc: tuple[str, int], port: int) -> Node:
    """The answer to ?HOST_INFO: OSC is received at `osc` (host, port), WebSockets are opened at `port`.

    An OSC_IP that is left out means the address under which this was asked, as the proposal says.
    """
    host, osc_port = osc
    attributes = (name for name in ATTRIBUTES if name not in ("FULL_PATH", "CONTENTS", "TYPE"))
    info = {"NAME": NAME, "EXTENSIONS": dict.fromkeys((*attributes, "LISTEN"), True)}
    info |= {"OSC_PORT": osc_port, "OSC_TRANSPORT": "UDP", "WS_PORT": port}
    return info if host in EVERY_ADDRESS else info | {"OSC_IP": host}


@contextlib.asynccontextmanager
async def announced(host: str, port: int) -> AsyncIterator[None]:
    """Announces the server by zeroconf as long as it lasts: on its own interface, or on all of them.

    A network that has no multicast costs the announcement, not the server.
    """
    from zeroconf import Error, InterfaceChoice, IPVersion
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

    everywhere = host in EVERY_ADDRESS
    async with contextlib.AsyncExitStack() as closing:
        try:
            address = lan_address() if everywhere else socket.gethostbyname(host)
            interfaces = InterfaceChoice.All if everywhere else [address]
            zeroconf = AsyncZeroconf(interfaces=interfaces, ip_version=IPVersion.V4Only)
            closing.push_async_callback(zeroconf.async_close)  # takes back what is announced
            name = f"{NAME} on {socket.gethostname().split('.')[0][:40]}, {port}.{SERVICE}"
            info = AsyncServiceInfo(SERVICE, name, port, addresses=[socket.inet_aton(address)])
            await (await zeroconf.async_register_service(info, allow_name_change=True))
            log.info("OSCQuery: announced as %s", info.name.removesuffix(f".{SERVICE}"))
        except (Error, OSError, RuntimeError, ValueError) as error:  # RuntimeError: there is no network at all
            log.warning("OSCQuery is not announced: %s", error or type(error).__name__)
        yield


def lan_address() -> str:
    """This machine's address on its network, 127.0.0.1 without one; nothing is sent: it asks for a route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1, RFC 5737
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"
