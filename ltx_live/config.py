"""Everything that is fixed when the show starts, checked once."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from ltx_live import params
from ltx_live.errors import ConfigError, ParameterError

OSC_PORT = 9130
HTTP_PORT = 9132
EMBEDDED = ("pocket", "testcard")
"""Models that are always there and load within seconds."""

OSC_FEEDBACK_PORT = 9131
STROBE_LIMIT_HZ = 3.0
"""Three flashes in a second are taken for safe with photosensitive epilepsy. Source: WCAG 2.2, criterion 2.3.1."""

HOME_FOLDERS = ("models", "loras", "media", "recordings", "shows")


@dataclass(frozen=True, slots=True)
class OscOptions:
    """How OSC is taken and answered.

    `out` are targets that always hear of changes, (host, port, pattern of the addresses); packets are taken only from
    the networks of `allow` and from this computer, from everywhere if it is empty; answers go to `reply_port` of the
    sender, None = to the port it sent from; `aliases` is `resolume` or nothing; `log` tells every message.
    """

    out: tuple[tuple[str, int, str], ...] = ()
    allow: tuple[str, ...] = ()
    reply_port: int | None = None
    aliases: str = ""
    log: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """How the show runs. `values` are initial live values by name, already coerced.

    `model` is `pocket`, `testcard`, the name of a downloaded set or a path; `text_encoder` is a file or folder for that
    part alone; `memory` and `max_vram_gb` as in `ltx_live.weights.memory`; `loras` are (file, strength), played
    by their place as `lora/N`; `lora_unmatched` says what keys of theirs that match no layer are: an `error`, or a
    reason to `warn`; `osc` and `http` are (host, port), `http` None = off; `quit_word` is what `/ltx/sys/quit` must say
    to end the show, "" = it cannot; `midi` and `audio` are name patterns, "" = choose, "none" = off; `screen` counts
    from 1; `window_px` is the window's size while it is not fullscreen; `duration_s` None = until quit;
    `strobe_limit_hz` is the fastest that `out/strobe` is shown.

    `show` is the show file and `state` where the last state is kept, None = nowhere; `cues` come from `cues_file`,
    `snapshots` are values by number, `own_bank` leaves empty slots of the bank empty; `base` are the values that there
    would be without show file and options; `told` is a line to say at the start.
    """

    model: str = "pocket"
    home: Path = field(default_factory=lambda: Path.home() / "ltx-live")
    device: str = "auto"
    text_encoder: Path | None = None
    memory: str = "auto"
    max_vram_gb: float | None = None
    loras: tuple[tuple[Path, float], ...] = ()
    lora_unmatched: str = "error"
    values: Mapping[str, Any] = field(default_factory=dict)
    mapping: str = "default"
    show: Path | None = None
    cues: tuple[Any, ...] = ()
    cues_file: Path | None = None
    snapshots: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    own_bank: bool = False
    base: Mapping[str, Any] = field(default_factory=params.defaults)
    state: Path | None = None
    told: str = ""
    osc: tuple[str, int] = ("127.0.0.1", OSC_PORT)
    osc_options: OscOptions = OscOptions()
    quit_word: str = ""
    http: tuple[str, int] | None = None
    midi: str = ""
    audio: str = ""
    screen: int = 1
    fullscreen: bool = False
    headless: bool = False
    window_px: tuple[int, int] = (1024, 576)
    record: Path | None = None
    duration_s: float | None = None
    strobe_limit_hz: float = STROBE_LIMIT_HZ

    def folder(self, name: str) -> Path:
        """A folder of the home (`models`, `loras`, `media`, `recordings`, `shows`), made at first need."""
        path = self.home / name
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot make {path}: {error.strerror}; choose another folder with --home") from None
        return path


def load_presets() -> dict[str, Any]:
    """The contents of presets.toml."""
    text = resources.files("ltx_live").joinpath("presets.toml").read_text(encoding="utf-8-sig")
    return tomllib.loads(text)


def preset(name: str) -> dict[str, Any]:
    """The values of a preset, those of [live] under them; ParameterError with the names for one that is not there."""
    presets = load_presets()
    del presets["model"]
    if name not in presets:
        raise ParameterError(f"/ltx/sys/preset {name[:60]}: no such preset; send one of {', '.join(presets)}")
    return {key: params.find(key).coerce(value) for key, value in {**presets["live"], **presets[name]}.items()}


def initial_values(model: str, preset: str | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Table defaults, then [live], then the model's, then the named preset's, then explicit settings, coerced.

    Raises ConfigError for an unknown preset and ParameterError for a
    setting that does not exist or cannot take its value.
    """
    presets = load_presets()
    by_model = presets.pop("model", {}).get(model, {})
    if preset is not None and preset not in presets:
        raise ConfigError(f"--preset {preset}: no such preset; choose one of {', '.join(presets)}")
    layers = [presets["live"], by_model, presets.get(preset or "", {}), settings]
    values = params.defaults()
    for layer in layers:
        for name, value in layer.items():
            row = params.find(name)
            if row.kind == "trigger":
                raise ConfigError(f"{name} is a trigger and has no value to set; send /ltx/{name} while it plays")
            values[name] = row.coerce(value)
    return values


def parse_address(text: str, option: str = "--osc", port: int = OSC_PORT) -> tuple[str, int]:
    """`HOST:PORT`, `:PORT` or `PORT` as (host, port); the host defaults to 127.0.0.1. Raises ConfigError."""
    host, _, digits = text.rpartition(":")
    try:
        number = int(digits)
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise ConfigError(f"{option} {text}: write HOST:PORT, such as 127.0.0.1:{port}")
    return host.strip("[]") or "127.0.0.1", number


def default_home() -> Path:
    """`~/ltx-live`, or the folder that LTX_LIVE_HOME names."""
    return Path(os.environ.get("LTX_LIVE_HOME") or Path.home() / "ltx-live")
