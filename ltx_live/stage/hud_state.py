"""What the head-up display shows, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HudState:
    """What the display shows; the show makes a new one every tick.

    `prompt` is what is seen now, `pending` what has been asked for and is not seen yet; it is expected to be heard in
    `landing_s`, the last change took `latency_s` (0 = not known). `state` is loading, playing, paused, underrun or
    engine down; `detail` goes with it. `speed` is generation speed in times real time, 0 = not known. `control` is the
    last control message and what it did. `messages` are (text, time it goes at), by the clock that `Hud.draw` is given.
    """

    prompt: str = ""
    pending: str = ""
    landing_s: float | None = None
    state: str = "loading"
    detail: str = ""
    speed: float = 0.0
    latency_s: float = 0.0
    buffer_s: float = 0.0
    clock_s: float = 0.0
    num_underruns: int = 0
    recording: bool = False
    control: str = ""
    messages: tuple[tuple[str, float], ...] = ()


def status_line(state: HudState) -> str:
    """State, detail, speed, buffer, clock and underruns in one line."""
    clock = int(state.clock_s)
    parts = [state.state, state.detail]
    parts += [f"{state.speed:.1f}x real time"] if state.speed else []
    parts += [f"latency {state.latency_s:.1f} s"] if state.latency_s else []
    parts += [f"buffer {state.buffer_s:.1f} s", f"{clock // 3600}:{clock // 60 % 60:02}:{clock % 60:02}"]
    parts += [f"{state.num_underruns} underrun{'s' * (state.num_underruns != 1)}"] if state.num_underruns else []
    return "   ".join(part for part in parts if part)


def pending_line(state: HudState) -> str:
    """What comes next, and when; "" when nothing is pending."""
    when = "" if state.landing_s is None else f" in {state.landing_s:.1f} s"
    return f"next: {state.pending}{when}" if state.pending else ""
