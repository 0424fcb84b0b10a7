"""The beat: tempo and phase from taps, nudges and a MIDI clock, and when the next beat or bar is. Times are given."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.errors import ParameterError

MIN_BPM, MAX_BPM = 20.0, 300.0
TICKS_PER_BEAT = 24
"""MIDI clocks (F8) of a quarter note. Source: MIDI 1.0, system real time messages."""

NUDGE_BEATS = 1 / 16
LOST_S = 1.0
"""A clock that is silent for this long has gone; the beat runs on at its last tempo."""

MIN_TAPS = 3
MAX_TAPS = 8
TAP_PAUSE_S = 2.0
TAP_BOUNCE_S = 0.15  # a second contact of the same press; the fastest tempo taps every 0.2 s
_TAP_TOLERANCE = 1 / 3  # of the usual interval; beyond it a beat was left out, or another tempo begins

_GRID_BARS = {"bar": 1, "2 bars": 2, "4 bars": 4}
_CLOSE_BEATS = 1e-6  # a grid point this little ago is the present one: times are rounded
_WORTH_TELLING_BPM = 0.1

_MAX_TICKS = 8 * TICKS_PER_BEAT
_NUM_RECENT = TICKS_PER_BEAT // 2
_LEAST_JITTER_S = 0.0005
_SURE = 5.0  # standard errors: about one false alarm in six hours of a clock at 120 bpm


class Tempo:
    """A line from time to beats: `bpm` is its slope, `beat_at` its value. All times are `time.perf_counter` seconds.

    Beats count from 0 at the last resync or MIDI start. While a clock is heard, it alone sets the tempo. `tap` and
    `midi` return what the value `tempo/bpm` is to be set to, None if it need not change. `is_known` once somebody has
    set, tapped or clocked it.
    """

    def __init__(self, bpm: float = 120.0, beats_per_bar: int = 4, now_s: float = 0.0):
        self.bpm = self._value = bpm
        self.beats_per_bar = beats_per_bar
        self.is_known = False
        self._line = now_s, 0.0  # a time and the beat at it
        self._taps: list[float] = []
        self._ticks = ClockTicks()
        self._tick_beat = 0.0
        self._next_tick_beat: float | None = None
        self._stopped_beat: float | None = None
        self._follows_midi = False
        self._port = ""

    def beat_at(self, now_s: float) -> float:
        """Beats since the last resync or start."""
        time_s, beat = self._line
        return beat + (now_s - time_s) * self.bpm / 60

    def next(self, grid: str, after_s: float) -> float:
        """Time of the first grid point at or after a time; `grid` is beat, bar, 2 bars or 4 bars."""
        spacing = 1 if grid == "beat" else _GRID_BARS[grid] * self.beats_per_bar
        beat = spacing * math.ceil((self.beat_at(after_s) - _CLOSE_BEATS) / spacing)
        return after_s + max(0.0, (beat - self.beat_at(after_s)) * 60 / self.bpm)

    def take(self, values: Mapping[str, Any], now_s: float) -> None:
        """Follow the values `tempo/bpm`, `tempo/beats_per_bar` and `tempo/midi_clock`."""
        self.beats_per_bar = values["tempo/beats_per_bar"]
        self._follows_midi = values["tempo/midi_clock"]
        if not self._follows_midi:
            self._ticks.clear()
        if values["tempo/bpm"] != self._value:
            self._value = values["tempo/bpm"]
            self.set_bpm(self._value, now_s)

    def fire(self, name: str, now_s: float, args: tuple[Any, ...] = ()) -> float | None:
        """Do what a trigger of the group `tempo/` says, at the time of its event. Raises ParameterError."""
        match name:
            case "tempo/tap":
                return self.tap(now_s)
            case "tempo/resync":
                self.resync(now_s)
            case "tempo/nudge":
                self.nudge(_beats(args))
            case "tempo/nudge_up":
                self.nudge(NUDGE_BEATS)
            case "tempo/nudge_down":
                self.nudge(-NUDGE_BEATS)
        return None

    def set_bpm(self, bpm: float, now_s: float) -> None:
        """Go on from the present beat at another tempo, 20..300; without effect while a clock leads."""
        if not self.is_clocked(now_s):
            self._set_line(min(MAX_BPM, max(MIN_BPM, bpm)), now_s, self.beat_at(now_s))

    def tap(self, now_s: float) -> float | None:
        """A beat is now. Three taps or more set the tempo (the median of up to 8) and shift the nearest beat to them.

        A pause, or an interval unlike the ones before, begins a new series.
        """
        if self._taps and now_s - self._taps[-1] < TAP_BOUNCE_S:
            return None
        self._taps = _tap_series(self._taps, now_s)
        if len(self._taps) < MIN_TAPS or self.is_clocked(now_s):
            return None
        period_s = float(np.median(np.diff(self._taps)))
        last = len(self._taps) - 1
        beat_s = fmean(time_s + (last - index) * period_s for index, time_s in enumerate(self._taps))
        bpm = round(min(MAX_BPM, max(MIN_BPM, 60 / period_s)), 1)
        self._set_line(bpm, beat_s, round(self.beat_at(beat_s)))
        return self._tell()

    def nudge(self, beats: float) -> None:
        """Beats come earlier (+) or later (-) by a part of a beat."""
        self._shift(beats)

    def resync(self, now_s: float) -> None:
        """Beat one of bar one is now."""
        self._stopped_beat = None
        self._shift(-self.beat_at(now_s))

    def midi(self, word: str, times_s: tuple[float, ...], port: str) -> float | None:
        """Take a MIDI clock's tick, start, stop or continue; another port is heard when this one has been silent."""
        is_other = port != self._port and self.is_clocked(times_s[0])
        if not self._follows_midi or is_other:
            return None
        self._port = port
        match word:
            case "start":
                self.start(times_s[0])
            case "stop":
                self.stop()
            case "continue":
                self.continue_(times_s[0])
            case "tick":
                beat = math.floor(self._tick_beat)
                for time_s in times_s:
                    self.clock(time_s)
                if math.floor(self._tick_beat) != beat and self._ticks.num >= TICKS_PER_BEAT:
                    return self._tell()
        return None

    def follow(self, bpm: float, beat: float, now_s: float) -> float | None:
        """Lie on a beat that is shared (Ableton Link), unless a clock leads; what `tempo/bpm` is to be set to."""
        if self.is_clocked(now_s):
            return None
        self._set_line(min(MAX_BPM, max(MIN_BPM, bpm)), now_s, beat)
        return self._tell()

    def is_clocked(self, now_s: float) -> bool:
        """Whether a clock leads."""
        return self._ticks.num > 0 and now_s - self._ticks.last_s <= LOST_S

    def clock(self, now_s: float) -> None:
        """A tick of the clock has come. One after a silence is taken for the tick nearest to the beat that ran on."""
        if self.is_clocked(now_s):
            beat = self._tick_beat + 1 / TICKS_PER_BEAT
        else:
            self._ticks.clear()
            beat = round(self.beat_at(now_s) * TICKS_PER_BEAT) / TICKS_PER_BEAT
        if self._next_tick_beat is not None:
            beat, self._next_tick_beat = self._next_tick_beat, None
        self._tick_beat = beat
        period_s, tick_s = self._ticks.add(now_s, 60 / self.bpm / TICKS_PER_BEAT)
        bpm = 60 / TICKS_PER_BEAT / max(1e-6, period_s)
        self._set_line(min(MAX_BPM, max(MIN_BPM, bpm)), tick_s, beat)

    def start(self, now_s: float) -> None:
        """The next tick is beat one; until it comes, now is."""
        self._begin(now_s, 0.0)

    def stop(self) -> None:
        """Remember where to continue; the beat runs on, because changes that wait for it must land."""
        if self._ticks.num:
            self._stopped_beat = self._tick_beat

    def continue_(self, now_s: float) -> None:
        """The next tick is the one after the stop. Song position is not read."""
        if self._stopped_beat is not None:
            self._begin(now_s, self._stopped_beat + 1 / TICKS_PER_BEAT)

    def _begin(self, now_s: float, beat: float) -> None:
        """The next tick is this beat; ticks from before a pause tell nothing of when it comes."""
        if self._ticks.num and now_s - self._ticks.last_s > 2 * 60 / self.bpm / TICKS_PER_BEAT:
            self._ticks.clear()
        self._next_tick_beat, self._stopped_beat = beat, None
        self._set_line(self.bpm, now_s, beat)

    def _shift(self, beats: float) -> None:
        time_s, beat = self._line
        self._line = time_s, beat + beats
        self._tick_beat += beats

    def _set_line(self, bpm: float, time_s: float, beat: float) -> None:
        self.is_known = True
        self.bpm, self._line = bpm, (time_s, beat)

    def _tell(self) -> float | None:
        """The tempo for `tempo/bpm`, to a tenth, once it differs by that much."""
        if abs(self.bpm - self._value) < _WORTH_TELLING_BPM - 1e-9:
            return None
        self._value = round(self.bpm, 1)
        return self._value


@dataclass(frozen=True, slots=True)
class MediaBeats:
    """The tempo on the media clock: `position` is heard at `now_s`, and the media runs at `speed`."""

    tempo: Tempo
    now_s: float
    position: float
    speed: float = 1.0

    def beat_at(self, position: float) -> float:
        """Beats at a media position, as if the speed was 1: what is made in time is heard in time at that speed."""
        return self.tempo.beat_at(self.now_s + (position - self.position) / SAMPLE_RATE_HZ)

    def land(self, rule: str, earliest: int) -> float | None:
        """Where a gesture lands that could land at this media position; None for the end of what there is.

        On a grid that is infinitely far while the media is held: no beat comes.
        """
        if rule in ("now", "chunk"):
            return earliest if rule == "now" else None
        if not self.speed:
            return math.inf
        rate_hz = SAMPLE_RATE_HZ * self.speed
        ahead_s = self.tempo.next(rule, self.now_s + (earliest - self.position) / rate_hz) - self.now_s
        return max(earliest, round(self.position + ahead_s * rate_hz))


class ClockTicks:
    """The last 8 beats of a clock's ticks and the straight line through them: least squares takes the jitter out.

    When the newest ticks lie on another line, the tempo has changed, and the ticks before them are dropped.
    """

    def __init__(self):
        self._times: deque[float] = deque(maxlen=_MAX_TICKS)

    @property
    def num(self) -> int:
        return len(self._times)

    @property
    def last_s(self) -> float:
        return self._times[-1]

    def clear(self) -> None:
        self._times.clear()

    def add(self, time_s: float, period_s: float) -> tuple[float, float]:
        """(time between ticks, time of this tick) on the line; of the first ticks the given period is believed."""
        self._times.append(time_s)
        times = np.array(self._times)
        if len(times) < _NUM_RECENT:
            return period_s, fmean(times - period_s * np.arange(1 - len(times), 1))
        if len(times) >= 2 * _NUM_RECENT and _has_changed(times[:-_NUM_RECENT], times[-_NUM_RECENT:]):
            times = times[-_NUM_RECENT:]
            self._times = deque(times.tolist(), _MAX_TICKS)
        return _line(times)[:2]


def _line(times: np.ndarray) -> tuple[float, float, float]:
    """Least squares through equally spaced ticks: period, time of the last tick, spread (standard deviation), in s."""
    num = len(times)
    index = np.arange(num) - (num - 1) / 2
    since = times - times[-1]
    period_s = float(index @ since) / (num * (num * num - 1) / 12)
    middle_s = float(since.mean())
    error = since - (middle_s + period_s * index)
    return period_s, float(times[-1]) + middle_s + period_s * (num - 1) / 2, math.sqrt(error @ error / (num - 2))


def _has_changed(old: np.ndarray, new: np.ndarray) -> bool:
    """Whether the new ticks lie on a line (late ones do not) but surely, in their mean, not on that of the old."""
    period_s, last_s, spread_s = _line(old)
    spread_s = max(_LEAST_JITTER_S, spread_s)
    ahead = (len(new) + 1) / 2
    error_s = float(new.mean()) - (last_s + period_s * ahead)
    far = (len(old) - 1) / 2 + ahead
    variance = 1 / len(new) + 1 / len(old) + far**2 * 12 / len(old) ** 3
    return _line(new)[2] <= 2 * spread_s and abs(error_s) > _SURE * spread_s * math.sqrt(variance)


def _beats(args: tuple[Any, ...]) -> float:
    """By how many beats a nudge goes, -1 to 1."""
    try:
        beats = float(args[0])
    except (IndexError, TypeError, ValueError):
        beats = math.nan
    if math.isnan(beats):
        raise ParameterError("/ltx/tempo/nudge: send beats, such as 0.1, or -0.1 for later")
    return min(1.0, max(-1.0, beats))


def _tap_series(taps: list[float], now_s: float) -> list[float]:
    """The taps that belong together, with the new one."""
    if not taps or now_s - taps[-1] > TAP_PAUSE_S:
        return [now_s]
    if len(taps) > 1:
        usual_s = float(np.median(np.diff(taps)))
        if abs(now_s - taps[-1] - usual_s) > _TAP_TOLERANCE * usual_s:
            return [taps[-1], now_s]
    return [*taps[1 - MAX_TAPS :], now_s]
