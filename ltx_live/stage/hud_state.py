"""What the head-up display shows, as plain data and as lines of text."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ltx_live.stage.picker import LoraRow

_GRID_WORDS = {"beat": "on the beat", "bar": "on the bar"}
_GRID_BARS = {"2 bars": 2, "4 bars": 4}
_SAME_BEATS = 0.05  # a prediction that wavers by this little keeps its beat


@dataclass(frozen=True, slots=True)
class HudState:
    """What the display shows; the show makes a new one every tick.

    `prompt` is what is seen now, `pending` what has been asked for and is not seen yet; it is expected to be heard in
    `landing_s`, None when it comes with the next chunk. The last change took `latency_s`, a chunk takes `chunk_s`
    (0 = not known). What is made lasts `buffer_s`, None while it is held. `state` is loading, playing, held,
    paused, underrun or engine down; `detail` goes with it. `speed` is generation speed in times real time, 0 = not
    known. `bpm` is 0 when nothing keeps to the beat; `grid` is the value of `tempo/quantise` when it is one of
    beats or bars, else "". `cue` is where the cue list stands. `mode` says in a few words what leads the model
    beside its prompt ("image-to-video"). `loras` are the rows of the list of LoRA files. `control` is the last
    control message and what it did. `messages` are (text, time it goes at), by the clock that `Hud.draw` is given.
    `learning` is what MIDI learn waits for, and is shown even where the display is off.
    """

    prompt: str = ""
    pending: str = ""
    landing_s: float | None = None
    state: str = "loading"
    detail: str = ""
    speed: float = 0.0
    latency_s: float = 0.0
    buffer_s: float | None = 0.0
    chunk_s: float = 0.0
    clock_s: float = 0.0
    num_underruns: int = 0
    bpm: float = 0.0
    beat: int = 1
    bar: int = 1
    beats_per_bar: int = 4
    grid: str = ""
    cue: str = ""
    mode: str = ""
    loras: tuple[LoraRow, ...] = ()
    recording: bool = False
    control: str = ""
    messages: tuple[tuple[str, float], ...] = ()
    learning: str = ""


def status_line(state: HudState) -> str:
    """State, cue, beat, buffer, latency, chunk time, speed, underruns, clock, detail: what matters most is first."""
    clock = int(state.clock_s)
    parts = [state.state, state.cue, tempo_words(state)]
    parts += [f"buffer {state.buffer_s:.1f} s"] if state.buffer_s is not None else []
    parts += [f"latency {state.latency_s:.1f} s"] if state.latency_s else []
    parts += [f"chunk {state.chunk_s:.1f} s"] if state.chunk_s else []
    parts += [f"{state.speed:.1f}x real time"] if state.speed else []
    parts += [f"{state.num_underruns} underrun{'s' * (state.num_underruns != 1)}"] if state.num_underruns else []
    parts += [f"{clock // 3600}:{clock // 60 % 60:02}:{clock % 60:02}", state.detail]
    return "   ".join(part for part in parts if part)


def tempo_words(state: HudState) -> str:
    """Tempo, place in the bar and where changes land: "120.0 bpm, beat 3/4, on the bar"; "" without a beat.

    On a grid of several bars, the place among them: "120.0 bpm, bar 2/4 beat 3/4".
    """
    if not state.bpm:
        return ""
    num_bars = _GRID_BARS.get(state.grid)
    bar = f"bar {(state.bar - 1) % num_bars + 1}/{num_bars} " if num_bars else ""
    parts = (f"{state.bpm:.1f} bpm", f"{bar}beat {state.beat}/{state.beats_per_bar}", _GRID_WORDS.get(state.grid))
    return ", ".join(part for part in parts if part)


def pending_line(state: HudState) -> str:
    """When the next change comes, counted down, and what it is; "" when nothing is pending."""
    return f"{_when(state)}: {state.pending}" if state.pending else ""


def _when(state: HudState) -> str:
    if state.state != "playing":
        return "next"
    if state.landing_s is None:
        return "with the next chunk"
    if not state.grid:
        return f"in {state.landing_s:.1f} s"
    num_beats = max(1, math.ceil(state.landing_s * state.bpm / 60 - _SAME_BEATS))
    return f"in {num_beats} beat{'s' * (num_beats != 1)}"
