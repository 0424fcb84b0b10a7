"""The one table of live parameters: names, types, ranges, tiers and landings.

OSC addresses, MIDI ranges, the HUD, `ltx-live params` and the README's table are derived from `PARAMETERS`;
`GenerationParams` and `OutputParams` are built from it. A new live parameter is one line here plus its use.
Sources: `ltx_live`'s specification for the generation rows (names, defaults, ranges), docs/decisions for the rest.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Mapping
from typing import Any

from ltx_live.errors import ParameterError
from ltx_live.parameter import Parameter, Tier

SCHEDULES = ("distilled", "linear", "cosine", "linear_quadratic", "beta")
LANDINGS = ("now", "chunk", "beat", "bar", "2 bars", "4 bars")
"""Where a change can land: at the next possible frame, with the next chunk, or on a grid of the tempo."""

CONTROLS = ("none", "luminance", "canny", "tracks")
"""What a reference can be made into before it guides."""

NUM_BANK_SLOTS = 64
NUM_PROMPTS = 8
NUM_LORAS = 8
NUM_PAGES = 16
NUM_MODULATORS = 8
SIGNALS = ("level", "low", "mid", "high", "onset")
"""What a modulator can follow of a sound."""
SHAPES = ("sine", "triangle", "saw", "square", "random", "envelope", *SIGNALS)
MIRRORS = ("none", "h", "v", "quad")
UNDERRUNS = ("hold", "loop", "pingpong", "black")
"""What can be shown when nothing is left to play."""
NUM_TRACKS = 32
NUM_SNAPSHOTS = 32
SEED_MAX = 2**31 - 1


def snap_size(value: float) -> int:
    """Nearest multiple of 32, at least 32; ties go as Python rounds (400 -> 384). Source: scope-ltx-2 `schema.py`."""
    return max(32, round(value / 32) * 32)


def snap_num_frames(value: float) -> int:
    """Nearest 8K + 1 in 9..257. Source: LTX-2.3 specification, frame count; ties go as Python rounds."""
    return min(257, max(1, round((value - 1) / 8)) * 8 + 1)


_NO_TARGETS = ("mod/", "react/", "tempo/", "window/", "bank/", "audioin/", "snap/", "cue/", "midi/", "beats")
"""What is read elsewhere than from what a chunk is made and a frame is drawn with."""


def modulation_target(text: str) -> str:
    """The name of a number that a modulator can move, "" for none; raises ParameterError for any other text."""
    name = text.strip().removeprefix("/ltx/")
    row = find(name) if name else None
    is_number = row is None or (row.kind in ("float", "int") and row.maximum is not None and row.tier != "reload")
    if not is_number or name.startswith(_NO_TARGETS):
        raise ParameterError(f"/ltx/{name}: cannot be modulated; choose a number, such as out/hue or lora/1/strength")
    return name


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


UNTOUCHED = "out/master, out/blackout, out/freeze, pause, audio, av, tempo, window, rec"
"""What a snapshot does not touch by default: level, sound, beat, window and recording."""

PARAMETERS: tuple[Parameter, ...] = (
    # Generation, with the specification's names, defaults and ranges.
    _int("height", 384, 32, 4096, "reload", "output height", unit="px", snap=snap_size),
    _int("width", 320, 32, 4096, "reload", "output width", unit="px", snap=snap_size),
    _int("num_frames", 129, 9, 257, "chunk", "frames per chunk, 8K + 1", landing="chunk", snap=snap_num_frames),
    _float("beats", 0.0, 0, 32, "chunk", "new frames of a chunk in beats, in place of num_frames; 0 = off",
           landing="chunk"),
    _int("num_steps", 8, 1, 20, "chunk", "Euler denoising steps", landing="chunk"),
    _enum("schedule", "distilled", SCHEDULES, "chunk", "sigma schedule", landing="chunk"),
    _float("frame_rate", 24.0, 1, 120, "chunk", "output frame rate", unit="1/s", landing="chunk"),
    _bool("randomize_seed", True, "chunk", "a new seed for every chunk", landing="chunk"),
    _int("ffn_chunk_size", 4096, 0, 65536, "reload", "tokens per feed-forward piece, 0 = off"),
    _str("i2v_image", "chunk", "first-frame reference image, empty = none", landing="now"),
    _float("i2v_strength", 1.0, 0, 1, "chunk", "first-frame strength, 0 = off", landing="now"),
    _bool("i2v_hold", False, "chunk", "the image leads every chunk, not only the one after it was set", landing="now"),
    _bool("i2v_compress", True, "chunk", "give the image the compression that the model was trained with",
          landing="chunk"),
    _trigger("image/grab", "frame", "the displayed frame becomes i2v_image"),
    _trigger("image/again", "frame", "the image leads the next chunk once more"),
    _trigger("image/clear", "frame", "no image any more"),
    _float("control_strength", 1.0, 0, 1, "chunk", "video mode guide strength, 0 = off", landing="now"),
    _str("ref/source", "chunk", "reference video: a file, a folder of frames, camera, camera:WHICH, test; empty = none",
         landing="now"),
    _enum("ref/control", "none", CONTROLS, "chunk", "control signal that the reference is made into", landing="now"),
    _bool("ref/loop", True, "chunk", "a recorded reference goes round and round", landing="chunk"),
    _float("ref/speed", 1.0, -4, 4, "chunk", "speed of a recorded reference", landing="chunk"),
    _trigger("ref/seek", "frame", "a recorded reference jumps to this time in seconds"),
    _float("ref/low", 0.1, 0, 1, "chunk", "canny: contrast of an edge beside another edge", landing="now"),
    _float("ref/high", 0.2, 0, 1, "chunk", "canny: contrast of an edge by itself", landing="now"),
    _bool("ref/letterbox", False, "chunk", "show the whole reference, black around it (outpaint)", landing="now"),
    _float("ref/aspect", 0.0, 0, 4, "chunk", "letterbox: width by height of what is shown, 0 = all", landing="now"),
    _float("ref/scale", 1.0, 0.1, 1, "chunk", "letterbox: part of the picture that it fills", landing="now"),
    _bool("ref/gamma", False, "chunk", "lift the reference by gamma 2.0 and the output back (outpaint)", landing="now"),
    _str("ref/mask", "chunk", "image whose bright part is made anew (inpaint), empty = none", landing="now"),
    _trigger("track/N", "frame", "motion track N is at x y, 0 to 1 from the top left; without numbers it ends",
             count=NUM_TRACKS),
    _trigger("track/clear", "frame", "forget the motion tracks"),
    _str("audio_input", "chunk", "audio reference or driving track, empty = none", landing="now"),
    _enum("audio_mode", "driving", ("driving", "id_lora"), "chunk", "use of audio_input", landing="now"),
    _enum("audioin/source", "file", ("file", "live"), "chunk", "what drives: audio_input, or a sound input",
          landing="now"),
    _str("audioin/device", "frame", "sound input, part of its name or its index; empty = the system's"),
    _float("audioin/gain", 1.0, 0, 4, "chunk", "level of the driving sound", landing="chunk"),
    _bool("audioin/loop", True, "chunk", "a driving file goes round and round", landing="chunk"),
    _float("audioin/gate", -90.0, -90, 0, "frame",
           "a live input with peaks below this is silence; -90 = off; a file has no gate", unit="dB"),
    _float("audioin/window", 10.0, 1, 10, "chunk", "ID-LoRA: so much of audio_input is the voice, from its start",
           unit="s", landing="now"),
    _trigger("audioin/seek", "frame", "a driving file jumps to this time in seconds"),
    _enum("live_align", "auto", ("auto", "off", "beat", "bar", "through"), "chunk",
          "what the picture of a live input follows; auto = beat where a tempo is known", landing="now"),
    _float("identity_guidance_scale", 3.0, 0, 20, "step", "ID-LoRA amplification", landing="now"),
    _enum("lora_merge_strategy", "permanent_merge", ("permanent_merge", "runtime"), "reload",
          "merge LoRAs at load, or play them beside the weights"),
    _str("lora/N/name", "chunk", "LoRA file in this slot, empty = none", landing="now", count=NUM_LORAS),
    _float("lora/N/strength", 1.0, 0, 2, "step", "strength of the LoRA here; a merged one follows",
           landing="now", count=NUM_LORAS),
    _bool("lora/N/active", True, "step", "whether the slot's LoRA is played", landing="now", count=NUM_LORAS),
    _trigger("lora/drop", "frame", "put this file into the first empty slot"),
    _trigger("lora/list", "frame", "answers with the LoRA files: name, kind, rank, downscale, fits, slots, fault"),
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
    _bool("prompt/hold", False, "frame", "edits of prompts wait for prompt/apply"),
    _trigger("prompt/apply", "frame", "the edits that wait are played, as one gesture"),
    _trigger("bank/N/connect", "chunk", "play this prompt of the bank", landing="now", count=NUM_BANK_SLOTS),
    _str("bank/N/text", "chunk", "the prompt in this slot", count=NUM_BANK_SLOTS),
    _str("bank/N/name", "frame", "the name of this slot", count=NUM_BANK_SLOTS),
    _int("bank/selected", 0, 0, NUM_BANK_SLOTS, "chunk", "slot being played, 0 = free text", landing="now"),
    _trigger("bank/next", "chunk", "play the next filled slot", landing="now"),
    _trigger("bank/prev", "chunk", "play the previous filled slot", landing="now"),
    _trigger("bank/random", "chunk", "play another filled slot", landing="now"),
    _trigger("reseed", "chunk", "draw a new base seed, used while randomize_seed is off", landing="chunk"),
    _bool("pause", False, "chunk", "stop generating; what is made plays out", landing="chunk"),
    _trigger("reload", "frame", "load the engine again, with the values that need it; what is made plays on"),
    _trigger("restart", "chunk", "start a new take that continues nothing", landing="now"),
    # Picture, next displayed frame.
    _float("out/master", 1.0, 0, 1, "frame", "picture and sound level"),
    _trigger("out/fade", "frame", "lead out/master to a level in so many seconds (2); touching it ends that"),
    _float("out/opacity", 1.0, 0, 1, "frame", "picture level"),
    _bool("out/blackout", False, "frame", "black picture, silent sound"),
    _bool("out/freeze", False, "frame", "hold the displayed frame while sound and generation go on"),
    _float("out/speed", 1.0, 0, 2, "frame",
           "speed of picture and sound, pitch too; 0 = held, silent; beats, live and driving sound keep time at 1"),
    _float("out/brightness", 0.0, -1, 1, "frame", "added to every colour"),
    _float("out/contrast", 1.0, 0, 2, "frame", "gain around middle grey"),
    _float("out/gamma", 1.0, 0.2, 5, "frame", "above 1 lifts what is dark"),
    _float("out/saturation", 1.0, 0, 2, "frame", "0 = grey"),
    _float("out/hue", 0.0, -180, 180, "frame", "hue rotation", unit="deg"),
    _float("out/invert", 0.0, 0, 1, "frame", "1 = negative"),
    _enum("out/mirror", "none", MIRRORS, "frame", "left half on the right (h), top half below (v), or both"),
    _float("out/panx", 0.0, -1, 1, "frame", "moves the picture right (+), in parts of its width"),
    _float("out/pany", 0.0, -1, 1, "frame", "moves the picture down (+), in parts of its height"),
    _float("out/zoom", 1.0, 0.25, 4, "frame", "size of the picture, around the middle"),
    _float("out/rotate", 0.0, -180, 180, "frame", "turns the picture clockwise", unit="deg"),
    _float("out/feedback", 0.0, 0, 0.98, "frame", "trails: what stays of the picture before, 60 times a second"),
    _float("out/strobe", 0.0, 0, 20, "frame", "light and dark, 0 = off; as fast as --strobe-limit lets it", unit="Hz"),
    _enum("out/underrun", "hold", UNDERRUNS, "frame", "what is shown when nothing is left to play; sound fades out"),
    _float("out/crossfade", 0.25, 0, 2, "frame", "longest picture fade at a seam", unit="s"),
    _enum("out/fit", "letterbox", ("letterbox", "fill"), "frame", "how the picture meets the window"),
    # Sound.
    _float("audio/volume", 0.251189, 0, 1, "frame", "sound level, linear; starts at -12 dBFS"),
    _bool("audio/mute", False, "frame", "silence"),
    _enum("audio/source", "driving", ("generated", "driving", "off"), "chunk",
          "what is heard while sound drives the picture", landing="now"),
    _bool("audio/monitor", False, "chunk", "a live input that drives is heard", landing="now"),
    _str("audio/device", "frame", "sound output, part of its name or its index; empty = the system's, none = silent"),
    _trigger("audio/restart", "frame", "look for sound devices anew"),
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
    _bool("tempo/link", False, "frame", "share tempo and beat by Ableton Link (an extra)"),
    _trigger("tempo/tap", "frame", "tap tempo"),
    _trigger("tempo/resync", "frame", "beat one is now"),
    _trigger("tempo/nudge", "frame", "beats earlier by so many, later with a minus: -1 to 1"),
    _trigger("tempo/nudge_up", "frame", "beats a little earlier"),
    _trigger("tempo/nudge_down", "frame", "beats a little later"),
    # What follows the sound, and modulators: a value that is added to another's base value, which stays.
    _enum("react/source", "output", ("output", "input"), "frame", "sound that the signals are measured on"),
    *(row for name in SIGNALS for row in (
        _float(f"react/{name}/gain", 1.0, 0, 8, "frame", f"gain of the signal {name}"),
        _float(f"react/{name}/cutoff", 0.0, 0, 1, "frame", "the signal counts from here up; below it is 0"),
    )),
    _float("react/attack", 0.005, 0, 2, "frame", "time in which signals rise", unit="s"),
    _float("react/release", 0.15, 0, 10, "frame", "time in which signals fall", unit="s"),
    _bool("mod/N/active", False, "frame", "switch of a modulator", count=NUM_MODULATORS),
    _str("mod/N/target", "frame", "parameter that it is added to, such as out/hue; empty = none",
         check=modulation_target, count=NUM_MODULATORS),
    _enum("mod/N/shape", "sine", SHAPES, "frame", "wave, a decay from mod/N/trigger, or a signal of the sound",
          count=NUM_MODULATORS),
    _float("mod/N/rate", 1.0, 0.01, 64, "frame", "cycles in a second, or beats in a cycle", count=NUM_MODULATORS),
    _enum("mod/N/unit", "hz", ("hz", "beats"), "frame", "unit of mod/N/rate", count=NUM_MODULATORS),
    _float("mod/N/depth", 0.0, -1, 1, "frame", "how far it goes, in ranges of the target", count=NUM_MODULATORS),
    _float("mod/N/phase", 0.0, 0, 1, "frame", "shift of the wave, in cycles", count=NUM_MODULATORS),
    _trigger("mod/N/trigger", "frame", "begin the decay of an envelope", count=NUM_MODULATORS),
    # Snapshots and cues.
    _trigger("snap/N/save", "frame", "keep the present values in this snapshot", count=NUM_SNAPSHOTS),
    _trigger("snap/N/recall", "frame", "bring the values of this snapshot back", count=NUM_SNAPSHOTS),
    _str("snap/N/name", "frame", "the name of this snapshot", count=NUM_SNAPSHOTS),
    _float("snap/morph", 0.0, 0, 600, "frame", "time in which a recall is reached, 0 = at once", unit="s"),
    _int("snap/a", 0, 0, NUM_SNAPSHOTS, "frame", "snapshot at snap/xfade 0"),
    _int("snap/b", 0, 0, NUM_SNAPSHOTS, "frame", "snapshot at snap/xfade 1"),
    _float("snap/xfade", 0.0, 0, 1, "frame", "mixes snapshots snap/a and snap/b"),
    Parameter("snap/exclude", "str", UNTOUCHED, "frame", "what a recall leaves alone: names, groups, patterns"),
    _trigger("cue/go", "frame", "play the next cue"),
    _trigger("cue/back", "frame", "play the cue before"),
    _trigger("cue/goto", "frame", "play the cue of this number or name"),
    _trigger("cue/stop", "frame", "wait for no follow time, and leave what morphs where it is"),
    _trigger("cue/list", "frame", "send the cue list back"),
    _bool("cue/follow", True, "frame", "cues follow by themselves after their time"),
    _str("cue/current", "frame", "the cue that was played last; setting it plays another"),
    _str("cue/next", "frame", "the cue that cue/go plays; set it to choose another"),
    # Recording.
    _trigger("rec/start", "frame", "start recording"),
    _trigger("rec/stop", "frame", "stop recording"),
    _trigger("rec/toggle", "frame", "start or stop recording"),
    _trigger("rec/still", "frame", "write the picture that is shown to the recordings folder"),
    _str("rec/name", "frame", "file name in the recordings folder; empty = date and time"),
    # MIDI controllers.
    _str("midi/learn", "frame", "parameter that the next control moved is bound to; 1 = touch it, row bank = eight"),
    _enum("midi/learn/answer", "none", ("none", "yes", "no"), "frame", "answer to what learning proposes"),
    _int("midi/page", 1, 1, NUM_PAGES, "frame", "page of the controllers"),
    _str("midi/save", "frame", "save the controllers' mapping under this name"),
    _str("midi/load", "frame", "use the mapping of this name; default = each controller by its own"),
    # System.
    _trigger("sys/panic", "frame", "blackout, mute, and no modulators"),
    _trigger("sys/ping", "frame", "answers /ltx/sys/pong with the same arguments"),
    _trigger("sys/preset", "frame", "set the values of a preset: live, instrument, stage"),
    _trigger("sys/save", "frame", "write values, bank and snapshots into the show file"),
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
    return {row.name: dataclasses.replace(LANDING, name=f"land/{row.name.replace('/N/', '/')}") for row in landed}


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
