"""The lights of controllers: what each is to show, and the bytes for those that show something else."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ltx_live import params
from ltx_live.control.binding import Binding
from ltx_live.control.device import Feedback, Led, look_of
from ltx_live.control.mapping import PAGE, Mapper
from ltx_live.control.registry import as_number, full_range

RATE_HZ = 30
BLINK_HZ, ERROR_BLINK_HZ = 2, 5
ERROR_S = 1.0
_BANK = ("bank/selected", "prompt")  # what a slot's connect sets


@dataclass(frozen=True, slots=True)
class Seen:
    """What lights show: the values, the names of those not seen yet, and what goes on (`rec/toggle`, `tempo/tap`)."""

    values: Mapping[str, Any]
    pending: Collection[str] = ()
    states: Mapping[str, bool] = field(default_factory=dict)


@dataclass(slots=True)
class _Light:
    """A light, what is bound to its control, and the bytes sent last."""

    led: Led
    bindings: list[Binding]
    feedback: Feedback | None
    sent: bytes = b""
    failed_until_s: float = 0.0


class Leds:
    """Keeps the lights of all ports up to date through `send(port, messages)`."""

    def __init__(self, mapper: Mapper, send: Callable[[str, list[bytes]], None]):
        self._mapper = mapper
        self._send = send
        self._ports: dict[str, list[_Light]] = {}
        self._page: Any = None
        self._next_s = 0.0

    def connect(self, port: str) -> None:
        """A port's lights can be reached, or its mapping is another: send everything."""
        bound = self._mapper.bound(port)
        mapping = bound.mapping
        feedback = {each.control: each for each in reversed(mapping.feedback)} if mapping else {}
        leds = mapping.device.leds if mapping and mapping.device else ()
        self._ports[port] = [_Light(led, bound.at(*led.control.key), feedback.get(led.control)) for led in leds]
        self._next_s = 0.0

    def disconnect(self, port: str) -> None:
        """A port is gone."""
        self._ports.pop(port, None)

    def failed(self, port: str, names: Collection[str], now_s: float) -> None:
        """What the controls of these parameters asked for could not be done: their lights say so for a while."""
        for light in self._ports.get(port, ()):
            if any(binding.to in names for binding in light.bindings):
                light.failed_until_s = now_s + ERROR_S

    def update(self, now_s: float, seen: Seen) -> None:
        """Send what has changed, at most 30 times a second; all of it on another page."""
        if now_s < self._next_s and seen.values[PAGE] == self._page:
            return
        self._next_s = now_s + 1 / RATE_HZ
        if seen.values[PAGE] != self._page:
            self._page = seen.values[PAGE]
            for light in (light for lights in self._ports.values() for light in lights):
                light.sent = b""
        for port, lights in self._ports.items():
            messages = []
            for light in lights:
                data = self._message(port, light, now_s, seen)
                if data != light.sent:
                    light.sent = data
                    messages.append(data)
            if messages:
                self._send(port, messages)

    def _message(self, port: str, light: _Light, now_s: float, seen: Seen) -> bytes:
        led = light.led
        active = self._mapper.chosen(port, light.bindings, seen.values)
        binding = active[0] if active else None
        if led.level is not None:
            return led.level_message(_place(binding, seen))
        look = "error" if now_s < light.failed_until_s else look_at(binding, light.feedback, seen)
        if look in ("pending", "error") and look not in led.values:  # the hardware cannot: blink from here
            rate_hz = BLINK_HZ if look == "pending" else ERROR_BLINK_HZ
            look = "on" if int(now_s * 2 * rate_hz) % 2 else "off"
        return led.message(look)


def _place(binding: Binding | None, seen: Seen) -> float:
    if binding is None or full_range(params.find(binding.to)) is None:
        return 0.0
    return binding.place_of(as_number(params.find(binding.to), seen.values[binding.to]))


def look_at(binding: Binding | None, feedback: Feedback | None, seen: Seen) -> str:
    """The state or colour of a light: `pending` while its value is asked for and not seen, else how its value is."""
    name = feedback.source if feedback is not None and feedback.source else binding.to if binding is not None else ""
    if not name:
        return "off"
    if name in seen.states:
        return "on" if seen.states[name] else "off"
    group, _, rest = name.partition("/")
    slot, _, verb = rest.partition("/")
    if group == "bank" and verb == "connect":
        return _bank_look(int(slot), seen)
    if name not in seen.values:
        return "off"
    value = seen.values[name]
    aimed = binding is None or binding.action != "goto" or value == dict(binding.targets).get(name)
    if name in seen.pending and aimed:
        return "pending"
    if feedback is not None and (look := look_of(value, feedback.looks)) is not None:
        return look
    if binding is None or binding.to != name:
        return "on" if value else "off"
    return "on" if aimed and _is_lit(binding, value) else "off"


def _bank_look(slot: int, seen: Seen) -> str:
    if not seen.values[f"bank/{slot}/text"]:
        return "off"
    if seen.values["bank/selected"] != slot:
        return "dim"
    return "pending" if any(name in seen.pending for name in _BANK) else "on"


def _is_lit(binding: Binding, value: Any) -> bool:
    """Whether a value is at the high end of what a button switches, or above the low end of anything else."""
    row = params.find(binding.to)
    if binding.action == "goto":
        return True
    if full_range(row) is None:
        return bool(value)
    number = as_number(row, value)
    if binding.action in ("toggle", "solo", "momentary", "gate"):
        return abs(number - binding.high) < abs(number - binding.low)
    return number != binding.low
