"""What the show tells of itself: to the performer by the head-up display, to programs by `/ltx/status/`."""

from __future__ import annotations

from dataclasses import dataclass

from ltx_live.chunk import SAMPLE_RATE_HZ, ChunkRequest, WeightedPrompts
from ltx_live.control.registry import Registry
from ltx_live.control.status import Latency, Status, beat_in_bar
from ltx_live.session import Session
from ltx_live.stage.hud_state import HudState
from ltx_live.stage.timeline import Picture
from ltx_live.tempo import Tempo


@dataclass(frozen=True, slots=True)
class Playing:
    """What only the show knows at a tick: `state` in the words of HudState, `position` and `end` in media samples."""

    state: str
    detail: str
    position: float
    end: int
    picture: Picture | None
    output_latency_s: float
    now_s: float


class Display:
    """Gathers what is told; `latency` measures gestures by the first new picture that shows them."""

    def __init__(self, registry: Registry, session: Session, tempo: Tempo):
        self.latency = Latency()
        self._registry = registry
        self._session = session
        self._tempo = tempo
        self._prompts: dict[int, str] = {}

    def asked(self, request: ChunkRequest) -> None:
        """What a chunk will play."""
        self._prompts[request.index] = words(request.played)

    def forget(self, index: int) -> None:
        """A chunk is not seen any more."""
        self._prompts.pop(index, None)

    def seen(self, picture: Picture, now_s: float) -> None:
        """A picture is shown: what it was made with is applied."""
        self._registry.mark_applied(picture.newest.epoch)
        self.latency.shown(picture.frame.epoch, now_s)

    def status(self, playing: Playing) -> Status:
        """The values of `/ltx/status/`."""
        registry, statistics = self._registry, self._session.statistics
        names = registry.pending()
        picture = playing.picture
        return Status(
            state=playing.state,
            detail=playing.detail,
            prompt_applied="" if picture is None else self._prompts.get(picture.newest.chunk, ""),
            prompt_pending=registry.values["prompt"] if "prompt" in names else "",
            pending=", ".join(names),
            landing_s=statistics.landing_s,
            latency_s=self.latency.last_s,
            buffer_s=max(0.0, playing.end - playing.position) / SAMPLE_RATE_HZ,
            chunk_s=statistics.chunk_time_s or None,
            real_time_factor=statistics.real_time_factor or None,
            output_latency_s=playing.output_latency_s,
            num_cuts=statistics.num_cuts,
            dropped_s=statistics.dropped_s,
            num_underruns=statistics.num_underruns,
            clock_s=playing.position / SAMPLE_RATE_HZ,
            bpm=self._tempo.bpm,
            **beat_in_bar(self._tempo.beat_at(playing.now_s), self._tempo.beats_per_bar),
        )

    def hud(self, status: Status, recording: bool, control: str, messages: tuple[tuple[str, float], ...]) -> HudState:
        """What the head-up display shows."""
        return HudState(
            prompt=status.prompt_applied,
            pending=status.prompt_pending or status.pending,
            landing_s=status.landing_s,
            state=status.state,
            detail=status.detail,
            speed=status.real_time_factor or 0.0,
            latency_s=status.latency_s or 0.0,
            buffer_s=status.buffer_s,
            clock_s=status.clock_s,
            num_underruns=status.num_underruns,
            recording=recording,
            control=control,
            messages=messages,
        )


def words(prompts: WeightedPrompts) -> str:
    """A mixture of prompts in a line, the heaviest first: "a fox 70 % + the sea 30 %"."""
    if len(prompts) == 1:
        return prompts[0][0]
    ordered = sorted(prompts, key=lambda pair: -pair[1])
    return " + ".join(f"{text} {100 * weight:.0f} %" for text, weight in ordered)
