"""The one table of live parameters: names, types, ranges, tiers and landings.

OSC addresses, MIDI ranges, the HUD, `ltx-live params` and the README's table are derived from `PARAMETERS`;
`GenerationParams` and `OutputParams` are built from it. A new live parameter is one line here plus its use.
Sources: `ltx_live`'s specification for the generation rows (names, defaults, ranges), docs/decisions for the rest.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ltx_live.errors import ParameterError

Kind = Literal["float", "int", "bool", "str", "enum", "floats", "trigger"]
Tier = Literal["frame", "step", "chunk", "reload"]
Landing = Literal["now", "chunk"]

SCHEDULES = ("distilled", "linear", "cosine", "linear_quadratic", "beta")
LANDINGS = ("now", "chunk", "beat", "bar", "2 bars", "4 bars")
"""Where a change can land: at the next possible frame, with the next chunk, or on a grid of the tempo."""

NUM_BANK_SLOTS = 64
NUM_PROMPTS = 8
NUM_LORAS = 8
SEED_MAX = 2**31 - 1


def snap_size(value: float) -> int:
    """Nearest multiple of 32, at least 32; ties go as Python rounds (400 -> 384). Source: scope-ltx-2 `schema.py`."""
    return max(32, round(value / 32) * 32)


def snap_num_frames(value: float) -> int:
    """Nearest 8K + 1 in 9..257. Source: LTX-2.3 specification, frame count; ties go as Python rounds."""
    return min(257, max(1, round((value - 1) / 8)) * 8 + 1)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row of the table: a live value or a trigger, reached as `/ltx/` + name.

    `count` > 0 makes it a row for the indices 1..count, written `N` in the name. `since` marks a row whose effect
    arrives with a later version: it answers "not yet". Triggers have no value and fire on a rising edge.
    """

    name: str
    kind: Kind
    default: Any
    tier: Tier
    doc: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""
    landing: Landing | None = None
    since: str | None = None
    snap: Callable[[float], int] | None = None
    count: int = 0

    @property
    def address(self) -> str:
        return f"/ltx/{self.name}"

    @property
    def range_text(self) -> str:
        """The range in words, for tables and messages."""
        if self.kind == "enum":
            return ", ".join(self.choices)
        if self.kind == "bool":
            return "0 or 1"
        if self.minimum is None and self.maximum is None:
            return {"str": "text", "floats": "descending list to 0", "trigger": "trigger"}.get(self.kind, "any")
        low = "" if self.minimum is None else f"{self.minimum:g}"
        high = "" if self.maximum is None else f"{self.maximum:g}"
        return f"{low} to {high}" if low and high else (f">= {low}" if low else f"<= {high}")

    def coerce(self, value: Any) -> Any:
        """The value this parameter takes for what a performer sent: converted, clamped and snapped.

        Numbers are clamped, never rejected; numeric text counts as a number; an enum is given by name or index.
        Raises ParameterError for what cannot be understood (text for a number, NaN, an unknown choice).
        """
        if self.kind == "str":
            return value if isinstance(value, str) else ("" if value is None else f"{value:g}")
        if self.kind == "floats":
            return self._coerce_floats(value)
        if self.kind == "enum":
            return self._coerce_choice(value)
        if value is None:
            value = 0  # OSC's nil, and "null" of the specification
        number = self._coerce_number(value)
        if self.kind == "bool":
            return number >= 0.5
        if self.minimum is not None:
            number = max(self.minimum, number)
        if self.maximum is not None:
            number = min(self.maximum, number)
        if self.snap is not None:
            return self.snap(number)
        return round(number) if self.kind == "int" else float(number)

    def _coerce_number(self, value: Any) -> float:
        if isinstance(value, str):
            words = {"true": 1.0, "on": 1.0, "yes": 1.0, "false": 0.0, "off": 0.0, "no": 0.0, "none": 0.0, "null": 0.0}
            try:
                value = words.get(value.strip().lower()) if value.strip().lower() in words else float(value)
            except ValueError:
                raise ParameterError(f"{self.address}: '{value}' is not a number; send {self.range_text}") from None
        if not isinstance(value, (int, float)) or math.isnan(value):
            raise ParameterError(f"{self.address}: cannot use {value!r}; send {self.range_text}")
        return float(value)

    def _coerce_choice(self, value: Any) -> str:
        if isinstance(value, str) and value in self.choices:
            return value
        try:
            return self.choices[min(len(self.choices) - 1, max(0, round(self._coerce_number(value))))]
        except (ParameterError, OverflowError):
            raise ParameterError(f"{self.address}: '{value}' is not one of {', '.join(self.choices)}") from None

    def _coerce_floats(self, value: Any) -> tuple[float, ...] | None:
        if isinstance(value, str):
            value = [part for part in re.split(r"[,\s]+", value.strip().strip("[]")) if part]
            if value in ([], ["none"]):
                return None
        if value is None:
            return None
        items = value if isinstance(value, (list, tuple)) else [value]
        numbers = tuple(self._coerce_number(item) for item in items)
        descends = all(a > b for a, b in zip(numbers, numbers[1:], strict=False))
        if len(numbers) < 2 or not descends or numbers[-1] != 0 or numbers[0] > 1:
            raise ParameterError(f"{self.address}: {list(numbers)} must descend to 0 and start at most at 1")
        return numbers


def _float(name: str, default: float, low: float | None, high: float | None, tier: Tier, doc: str, **more: Any):
    return Parameter(name, "float", default, tier, doc, minimum=low, maximum=high, **more)


def _int(name: str, default: int, low: int | None, high: int | None, tier: Tier, doc: str, **more: Any):
    return Parameter(name, "int", default, tier, doc, minimum=low, maximum=high, **more)


def _bool(name: str, default: bool, tier: Tier, doc: str, **more: Any):
    return Parameter(name, "bool", default, tier, doc, **more)


def _str(name: str, tier: Tier, doc: str, **more: Any):
    return Parameter(name, "str", "", tier, doc, **more)


def _enum(name: str, default: str, choices: tuple[str, ...], tier: Tier, doc: str, **more: Any):
    return Parameter(name, "enum", default, tier, doc, choices=choices, **more)


def _trigger(name: str, tier: Tier, doc: str, **more: Any):
    return Parameter(name, "trigger", None, tier, doc, **more)


MODES = "0.4"
"""The version that brings the rows marked with it."""

PARAMETERS: tuple[Parameter, ...] = (
    # Generation, with the specification's names, defaults and ranges.
    _int("height", 384, 32, 4096, "reload", "output height", unit="px", snap=snap_size),
    _int("width", 320, 32, 4096, "reload", "output width", unit="px", snap=snap_size),
    _int("num_frames", 129, 9, 257, "chunk", "frames per chunk, 8K + 1", landing="chunk", snap=snap_num_frames),
    _int("num_steps", 8, 1, 20, "chunk", "Euler denoising steps", landing="chunk"),
    _enum("schedule", "distilled", SCHEDULES, "chunk", "sigma schedule", landing="chunk"),
    _float("frame_rate", 24.0, 1, 120, "chunk", "output frame rate", unit="1/s", landing="chunk"),
    _bool("randomize_seed", True, "chunk", "a new seed for every chunk", landing="chunk"),
    _int("ffn_chunk_size", 4096, 0, 65536, "reload", "tokens per feed-forward piece, 0 = off"),
    _str("i2v_image", "chunk", "first-frame reference image, empty = none", landing="now", since=MODES),
    _float("i2v_strength", 1.0, 0, 1, "chunk", "first-frame strength, 0 = off", landing="now", since=MODES),
    _float("control_strength", 1.0, 0, 1, "chunk", "video mode guide strength", landing="now", since=MODES),
    _str("audio_input", "chunk", "audio reference or driving track, empty = none", landing="now", since=MODES),
    _enum("audio_mode", "driving", ("driving", "id_lora"), "chunk", "use of audio_input", landing="now", since=MODES),
    _float("identity_guidance_scale", 3.0, 0, 20, "step", "ID-LoRA amplification", landing="now", since=MODES),
    _enum("lora_merge_strategy", "permanent_merge", ("permanent_merge", "runtime"), "reload",
          "merge LoRAs at load, or keep their strengths live"),
    _float("lora/N/strength", 1.0, 0, 2, "step", "strength of a LoRA kept live (runtime)", landing="now",
           count=NUM_LORAS),
    Parameter("sigmas", "floats", None, "chunk", "own sigma list instead of num_steps and schedule", landing="chunk"),
    _float("realtime_pacing_slack", 0.0, 0, 10, "chunk", "chunks to make ahead; slots set at start", landing="chunk"),
    _int("seed", 42, 0, SEED_MAX, "chunk", "base seed; a chunk's own derives from it and its index", landing="chunk"),
    _float("continuity", 1.0, 0, 1, "chunk", "hold on the previous chunk, 0 = independent chunks", landing="chunk"),
    _float("drift_anchor", 0.0, 0, 1, "chunk", "pull of each chunk's statistics to its scene's first", landing="chunk"),
    _float("prefix_noise", 0.1, 0, 1, "chunk", "noise on what a chunk continues from", landing="chunk"),
    _float("refresh", 0.7, 0, 1, "chunk", "how far a new prompt lets go of the old picture", landing="chunk"),
    _float("loudness_match", 0.0, 0, 1, "chunk", "pull of each chunk's loudness to its scene's first", landing="chunk"),
    _int("cut_frames", 33, 9, 257, "chunk", "longest chunk that answers a gesture, 8K + 1", landing="chunk",
         snap=snap_num_frames),
    _bool("late_latch", False, "chunk", "step values enter the chunk being made, while its noise is high",
          landing="chunk"),
    # Prompts.
    _str("prompt", "chunk", "what is played", landing="now"),
    _str("prompt/visual", "chunk", "what is seen; with speech and sounds it replaces `prompt`", landing="now"),
    _str("prompt/speech", "chunk", "what is said", landing="now"),
    _str("prompt/sounds", "chunk", "what is heard", landing="now"),
    _str("prompts/N/text", "chunk", "text of a weighted prompt", landing="now", count=NUM_PROMPTS),
    _float("prompts/N/weight", 0.0, 0, 1, "step", "its weight; all 0 = `prompt` is played", landing="now",
           count=NUM_PROMPTS),
    _enum("prompts/interpolation", "linear", ("linear", "spherical"), "chunk", "how contexts are mixed",
          landing="now"),
    _float("prompts/morph", 0.0, 0, 600, "chunk", "time from an old prompt to a new one, 0 = at once",
           landing="chunk"),
    _enum("prompts/morph_unit", "seconds", ("seconds", "beats", "chunks"), "chunk", "unit of prompts/morph",
          landing="chunk"),
    _trigger("bank/N/connect", "chunk", "play this prompt of the bank", landing="now", count=NUM_BANK_SLOTS),
    _str("bank/N/text", "chunk", "the prompt in this slot", count=NUM_BANK_SLOTS),
    _str("bank/N/name", "frame", "the name of this slot", count=NUM_BANK_SLOTS),
    _int("bank/selected", 0, 0, NUM_BANK_SLOTS, "chunk", "slot being played, 0 = free text", landing="now"),
    _trigger("bank/next", "chunk", "play the next filled slot", landing="now"),
    _trigger("bank/prev", "chunk", "play the previous filled slot", landing="now"),
    _trigger("bank/random", "chunk", "play another filled slot", landing="now"),
    _trigger("reseed", "chunk", "draw a new base seed, used while randomize_seed is off", landing="chunk"),
    _bool("pause", False, "chunk", "stop generating; what is made plays out", landing="chunk"),
    _trigger("restart", "chunk", "start a new take that continues nothing", landing="now"),
    # Picture, next displayed frame.
    _float("out/master", 1.0, 0, 1, "frame", "picture and sound level"),
    _trigger("out/fade", "frame", "lead out/master to a level in so many seconds (2); touching it ends that"),
    _float("out/opacity", 1.0, 0, 1, "frame", "picture level"),
    _bool("out/blackout", False, "frame", "black picture, silent sound"),
    _bool("out/freeze", False, "frame", "hold the displayed frame while sound and generation go on"),
    _float("out/brightness", 0.0, -1, 1, "frame", "added to every colour"),
    _float("out/contrast", 1.0, 0, 2, "frame", "gain around middle grey"),
    _float("out/saturation", 1.0, 0, 2, "frame", "0 = grey"),
    _float("out/hue", 0.0, -180, 180, "frame", "hue rotation", unit="deg"),
    _float("out/crossfade", 0.25, 0, 2, "frame", "longest picture fade at a seam", unit="s"),
    _enum("out/fit", "letterbox", ("letterbox", "fill"), "frame", "how the picture meets the window"),
    # Sound.
    _float("audio/volume", 0.251189, 0, 1, "frame", "sound level, linear; starts at -12 dBFS"),
    _bool("audio/mute", False, "frame", "silence"),
    _float("av/offset", 0.0, -500, 500, "frame", "picture later (+) or earlier (-) than sound", unit="ms"),
    # Window.
    _bool("window/fullscreen", False, "frame", "fullscreen on the chosen screen"),
    _int("window/screen", 1, 1, 16, "frame", "screen number, 1 = first"),
    _enum("window/hud", "full", ("off", "min", "full"), "frame", "head-up display"),
    _bool("window/cursor", True, "frame", "show the mouse pointer when it moves"),
    # Tempo.
    _float("tempo/bpm", 120.0, 20, 300, "frame", "tempo", unit="bpm"),
    _int("tempo/beats_per_bar", 4, 1, 16, "frame", "beats of a bar"),
    _enum("tempo/quantise", "now", LANDINGS, "frame", "where a change that lands `now` lands instead"),
    _bool("tempo/midi_clock", False, "frame", "follow the clock of a MIDI input"),
    _trigger("tempo/tap", "frame", "tap tempo"),
    _trigger("tempo/resync", "frame", "beat one is now"),
    _trigger("tempo/nudge_up", "frame", "beats a little earlier"),
    _trigger("tempo/nudge_down", "frame", "beats a little later"),
    # Recording.
    _trigger("rec/start", "frame", "start recording"),
    _trigger("rec/stop", "frame", "stop recording"),
    _trigger("rec/toggle", "frame", "start or stop recording"),
    _trigger("rec/still", "frame", "write the picture that is shown to the recordings folder"),
    _str("rec/name", "frame", "file name in the recordings folder; empty = date and time"),
    # System.
    _trigger("sys/panic", "frame", "blackout and mute"),
    _trigger("sys/ping", "frame", "answers /ltx/sys/pong with the same arguments"),
    _trigger("sys/dump", "frame", "send every value back, or those that match a pattern"),
    _trigger("sys/subscribe", "frame",
             "send changes to a port: port, pattern, echo; for 60 s, renewed by any message"),
    _trigger("sys/unsubscribe", "frame", "end that: port, pattern"),
    _trigger("sys/hold", "frame", "1: what this OSC sender says next waits; 0: it takes effect together"),
    _trigger("sys/quit", "frame", "end the show, by the word of --quit-word"),
)  # fmt: skip

LANDING = _enum("land/NAME", "default", ("default", *LANDINGS), "frame",
                "where this parameter lands, instead of what is said in its row and `tempo/quantise`")  # fmt: skip
"""One row for each that lands: `land/prompt`, `land/lora/strength`, `land/restart`."""

_LAND_BY_ANOTHER = "reseed", "pause", "bank/"
"""What these do is landed as the seed or the prompt; a pause is none."""


@functools.cache
def landing_rows() -> dict[str, Parameter]:
    """The rows `land/NAME` by the name of the row they are for."""
    landed = (row for row in PARAMETERS if row.landing and not row.name.startswith(_LAND_BY_ANOTHER))
    return {
        row.name: dataclasses.replace(LANDING, name=f"land/{row.name.replace('/N/', '/')}", since=row.since)
        for row in landed
    }


@functools.cache
def _by_name() -> dict[str, Parameter]:
    rows: dict[str, Parameter] = {}
    for row in (*PARAMETERS, *landing_rows().values()):
        names = [row.name.replace("N", str(i)) for i in range(1, row.count + 1)] if row.count else [row.name]
        rows.update({name: row for name in names})
    return rows


def concrete_names() -> tuple[str, ...]:
    """Every settable name, with the indices written out (`bank/3/connect`), in the table's order."""
    return tuple(_by_name())


def find(name: str) -> Parameter:
    """The row of a concrete name such as `seed` or `bank/3/connect`; raises ParameterError with a suggestion."""
    row = _by_name().get(name)
    if row is None:
        near = difflib.get_close_matches(name, _by_name(), n=1, cutoff=0.5)
        hint = f"; did you mean /ltx/{near[0]}?" if near else "; `ltx-live params` lists them all"
        raise ParameterError(f"/ltx/{name}: no such parameter{hint}")
    return row


def defaults() -> dict[str, Any]:
    """The table's default of every concrete name that has a value."""
    return {name: row.default for name, row in _by_name().items() if row.kind != "trigger"}


def field_name(name: str) -> str:
    """The attribute of GenerationParams or OutputParams for a parameter name: `out/master` -> `out_master`.

    A row with indices is one attribute, a tuple: `lora/N/strength` -> `lora_strength`.
    """
    return name.replace("/N/", "/").replace("/", "_")


def _snapshot_class(title: str, tiers: tuple[str, ...], doc: str) -> type:
    rows = [row for row in PARAMETERS if row.tier in tiers and row.kind != "trigger" and (row.landing or not row.count)]
    defaults = [(row.default,) * row.count if row.count else row.default for row in rows]
    fields = [
        (field_name(row.name), Any, dataclasses.field(default=default))
        for row, default in zip(rows, defaults, strict=True)
    ]
    new_class = dataclasses.make_dataclass(title, fields, frozen=True, slots=True)
    new_class.__module__ = __name__  # make_dataclass takes it itself only from Python 3.12 on
    new_class.__doc__ = doc
    return new_class


GenerationParams = _snapshot_class(
    "GenerationParams",
    ("step", "chunk", "reload"),
    "What a chunk is made from: one field per step, chunk or reload row.",
)
OutputParams = _snapshot_class(
    "OutputParams", ("frame",), "What every drawn frame is shown with: one field per frame row."
)


@functools.cache
def _sources(cls: type) -> tuple[tuple[tuple[str, ...], bool, Any], ...]:
    """For each field of a snapshot the concrete names, in their order, whether they make a tuple, and the default."""
    names: dict[str, list[str]] = {}
    rows = {field_name(row.name): row for row in PARAMETERS}
    for name, row in _by_name().items():
        names.setdefault(field_name(row.name), []).append(name)
    fields = [field.name for field in dataclasses.fields(cls)]
    return tuple((tuple(names[field]), rows[field].count > 0, rows[field].default) for field in fields)


def snapshot(cls: type, values: Mapping[str, Any]) -> Any:
    """An instance of GenerationParams or OutputParams from concrete names and their values."""
    get = values.get
    return cls(
        *[
            tuple([get(name, default) for name in names]) if is_tuple else get(names[0], default)
            for names, is_tuple, default in _sources(cls)
        ]
    )
