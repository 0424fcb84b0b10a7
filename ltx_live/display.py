"""What the show tells of itself: to the performer by the head-up display, to programs by `/ltx/status/`."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from ltx_live import params
from ltx_live.chunk import SAMPLE_RATE_HZ, ChunkRequest, WeightedPrompts
from ltx_live.control.registry import Registry
from ltx_live.control.status import Latency, Status, beat_in_bar
from ltx_live.loras import Rack
from ltx_live.session import Session
from ltx_live.stage.hud_state import HudState
from ltx_live.stage.timeline import Picture
from ltx_live.tempo import Tempo
from ltx_live.weights.memory import GIB

UNTOLD = ("pause", "bank/selected")  # the state tells of a pause, and a slot of the bank plays through its prompt
GRIDS = ("beat", "bar", "2 bars", "4 bars")


@dataclass(frozen=True, slots=True)
class Playing:
    """What only the show knows at a tick: `state` in the words of HudState, `position` and `end` in media samples.

    `mode` and `delay_s` are those of Modes, `level` and `error` those of Player and Messages; `unloaded` as
    `ltx_live.engines` tells it; `speed` is how fast the media runs.
    """

    state: str
    detail: str
    position: float
    end: int
    picture: Picture | None
    output_latency_s: float
    now_s: float
    mode: str = ""
    delay_s: float = 0.0
    level: float = 0.0
    is_recording: bool = False
    error: str = ""
    unloaded: tuple[str, ...] = ()
    speed: float = 1.0

    @property
    def buffer_s(self) -> float | None:
        """How long what is made lasts; None while it is held, which is for ever."""
        left_s = max(0.0, self.end - self.position) / SAMPLE_RATE_HZ
        return left_s / self.speed if self.speed else None


class Display:
    """Gathers what is told; `cue` is where the cue list stands, in words.

    `latency` measures gestures by the first new picture that shows them.
    """

    def __init__(self, registry: Registry, session: Session, tempo: Tempo, rack: Rack):
        self.latency = Latency()
        self.cue = ""
        self._registry = registry
        self._session = session
        self._tempo = tempo
        self._rack = rack
        self._prompts: dict[int, str] = {}
        self._seeds: dict[int, int] = {}
        self._rate = FrameRate()

    def asked(self, request: ChunkRequest) -> None:
        """What a chunk will play."""
        self._prompts[request.index] = words(request.played)
        self._seeds[request.index] = request.seed

    def forget(self, index: int) -> None:
        """A chunk is not seen any more."""
        self._prompts.pop(index, None)
        self._seeds.pop(index, None)

    def seen(self, picture: Picture, now_s: float) -> None:
        """A picture is shown: what it was made with is applied."""
        self._rate.seen(picture.newest.key, now_s)
        self._registry.mark_applied(picture.frame.epoch)
        self.latency.shown(picture.frame.epoch, now_s)

    def status(self, playing: Playing) -> Status:
        """The values of `/ltx/status/`."""
        registry, statistics = self._registry, self._session.statistics
        names = registry.pending()
        picture = playing.picture
        return Status(
            state=playing.state,
            detail=playing.detail,
            prompt_applied="" if picture is None else self._prompts.get(picture.frame.chunk, ""),
            prompt_pending=registry.values["prompt"] if "prompt" in names else "",
            pending=", ".join(names),
            landing_s=statistics.landing_s,
            latency_s=self.latency.last_s,
            buffer_s=playing.buffer_s,
            chunk_s=statistics.chunk_time_s or None,
            real_time_factor=statistics.real_time_factor or None,
            output_latency_s=playing.output_latency_s,
            num_cuts=statistics.num_cuts,
            dropped_s=statistics.dropped_s,
            num_underruns=statistics.num_underruns,
            clock_s=playing.position / SAMPLE_RATE_HZ,
            mode=playing.mode,
            delay_s=playing.delay_s,
            fps=self._rate.at(playing.now_s),
            gen_fps=statistics.real_time_factor * registry.values["frame_rate"] or None,
            gpu_mem_gib=None if statistics.gpu_bytes is None else statistics.gpu_bytes / GIB,
            chunk=None if picture is None else picture.frame.chunk,
            level=playing.level,
            seed=None if picture is None else self._seeds.get(picture.frame.chunk),
            recording=playing.is_recording,
            reload=", ".join(playing.unloaded),
            error=playing.error,
            bpm=self._tempo.bpm,
            **beat_in_bar(self._tempo.beat_at(playing.now_s), self._tempo.beats_per_bar),
        )

    def hud(
        self,
        status: Status,
        recording: bool,
        control: str,
        messages: tuple[tuple[str, float], ...],
        learning: str = "",
    ) -> HudState:
        """What the head-up display shows; `learning` is what MIDI learn waits for."""
        values = self._registry.values
        grid = values["tempo/quantise"] if values["tempo/quantise"] in GRIDS else ""
        return HudState(
            prompt=status.prompt_applied,
            pending=self._pending(status),
            landing_s=status.landing_s,
            state=status.state,
            detail=status.detail,
            speed=status.real_time_factor or 0.0,
            latency_s=status.latency_s or 0.0,
            buffer_s=status.buffer_s,
            chunk_s=status.chunk_s or 0.0,
            clock_s=status.clock_s,
            num_underruns=status.num_underruns,
            bpm=status.bpm if grid or values["tempo/midi_clock"] else 0.0,
            beat=int(status.beat),
            bar=status.bar,
            beats_per_bar=self._tempo.beats_per_bar,
            grid=grid,
            mode=status.mode,
            loras=tuple(self._rack.rows()),
            cue=self.cue,
            recording=recording,
            control=control,
            messages=messages,
            learning=learning,
        )

    def _pending(self, status: Status) -> str:
        """What is asked for and not seen yet, a new prompt first: "a red fox, num_steps 4"; a take has no name."""
        registry = self._registry
        if not registry.pending() and status.landing_s is not None and registry.epoch > registry.applied_epoch:
            return "a new take"
        names = [name for name in registry.pending() if name not in UNTOLD and params.find(name).tier != "reload"]
        others = [f"{name} {_short(registry.values[name])}" for name in names if name != "prompt"]
        prompt = [_short(registry.values["prompt"])] if "prompt" in names else []
        return ", ".join(prompt + others)


class FrameRate:
    """How many new pictures were seen within the last second."""

    def __init__(self) -> None:
        self._key: object = None
        self._times_s: deque[float] = deque()

    def seen(self, key: object, now_s: float) -> None:
        """A picture is seen now; equal keys are the same."""
        if key != self._key:
            self._key = key
            self._times_s.append(now_s)

    def at(self, now_s: float) -> float:
        """Pictures per second."""
        while self._times_s and now_s - self._times_s[0] > 1.0:
            self._times_s.popleft()
        return float(len(self._times_s))


def _short(value: Any) -> str:
    """A value as a word of the display."""
    match value:
        case bool():
            return "on" if value else "off"
        case float():
            return f"{value:.3g}"
        case "" | None:
            return "none"
    return str(value)


def words(prompts: WeightedPrompts) -> str:
    """A mixture of prompts in a line, the heaviest first: "a fox 70 % + the sea 30 %"."""
    if len(prompts) == 1:
        return prompts[0][0]
    ordered = sorted(prompts, key=lambda pair: -pair[1])
    return " + ".join(f"{text} {100 * weight:.0f} %" for text, weight in ordered)
