"""The options of the command line that say what is generated and how it is played, and the Config they make."""

from __future__ import annotations

import argparse
import dataclasses
import ipaddress
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ltx_live import config, params
from ltx_live.config import EMBEDDED, Config, OscOptions
from ltx_live.control.aliases import ALIASES
from ltx_live.errors import ConfigError
from ltx_live.lora_files import folders as lora_folders
from ltx_live.params import NUM_LORAS
from ltx_live.weights import catalogue
from ltx_live.weights.memory import MODES


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, and whose options a show file may give."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see `{self.prog} --help`")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:
        """What a show file says is used where the command line says nothing: it gives the defaults."""
        found, rest = super().parse_known_args(args, namespace)
        if self.get_default("takes_show") and found.show is not None:
            from ltx_live.show_file import load_show

            path = find_show(found.show, home(found))
            file = load_show(path)
            self.set_defaults(**file.options)
            found, rest = super().parse_known_args(args, namespace)
            found.show, found.file = path, file
        return found, rest


def add_generation_options(command: Parser) -> None:
    """The options that `play` and `render` share: what is generated."""
    command.add_argument(
        "--model",
        default="pocket",
        metavar="NAME|PATH",
        help="pocket, testcard, ltx-2.3 or weights of your own (pocket)",
    )
    command.add_argument("--preset", metavar="NAME", help="initial values of presets.toml: live, instrument, stage")
    command.add_argument("--prompt", metavar="TEXT", help="what to start with")
    command.add_argument("--seed", type=int, metavar="N", help="base seed; also stops its changing by itself")
    add_text_encoder_option(command)
    add_lora_option(command, "a LoRA, played as lora/1, the next as lora/2, ...")
    rate: dict[str, Any] = {"type": hertz, "default": config.STROBE_LIMIT_HZ, "metavar": "HZ"}
    command.add_argument("--strobe-limit", **rate, help="fastest out/strobe; above 3 Hz it can set off seizures (3)")
    add_loading_options(command)
    add_home_option(command)


def add_text_encoder_option(command: Parser) -> None:
    command.add_argument("--text-encoder", type=Path, metavar="PATH", help="Gemma 3 12B, where it lies elsewhere")


def add_lora_option(command: argparse._ActionsContainer, what_for: str) -> None:
    command.add_argument(
        "--lora",
        dest="loras",
        type=lora,
        action="append",
        default=[],
        metavar="FILE[:STRENGTH]",
        help=f"{what_for}; may be repeated",
    )
    command.add_argument(
        "--lora-unmatched",
        choices=("error", "warn"),
        default="error",
        help="where a LoRA has keys that match no layer: refuse it, or warn and use the rest (error)",
    )


def add_loading_options(command: argparse._ActionsContainer) -> None:
    """Where a model is computed, and the values that it starts with."""
    command.add_argument("--device", default="auto", metavar="NAME", help="what computes: auto, cpu, cuda, cuda:1")
    command.add_argument("--memory", choices=MODES, default="auto", help="where weights live (auto: what fits)")
    command.add_argument("--max-vram-gb", type=gibibytes, metavar="GIB", help="GPU memory to use at most")
    command.add_argument("--size", type=size, metavar="WxH", help="picture size, snapped to multiples of 32")
    command.add_argument(
        "--set",
        dest="settings",
        type=setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="initial value of any parameter; may be repeated",
    )


def add_show_options(command: Parser) -> None:
    """The options of `play` alone: how it is shown, heard and controlled."""
    command.add_argument("show", nargs="?", type=Path, metavar="SHOW.toml", help="show file, or its name in shows")
    command.set_defaults(takes_show=True, file=None)
    command.add_argument(
        "--restore",
        action=argparse.BooleanOptionalAction,
        help="go on from the last state (by itself only where the same show broke off within the last hour)",
    )
    command.add_argument("--mapping", default="default", metavar="FILE", help="MIDI mapping (default)")
    command.add_argument("--cues", type=Path, metavar="FILE.toml", help="cue list")
    command.add_argument("--osc", default="", metavar="HOST:PORT", help="where OSC is received (127.0.0.1:9130)")
    add_osc_options(command)
    at, form = f"127.0.0.1:{config.HTTP_PORT}", "HOST:PORT|none"
    command.add_argument("--http", default=at, metavar=form, help=f"where the remote page is served ({at})")
    command.add_argument("--midi", default="", metavar="NAME|none", help="MIDI input, part of its name")
    command.add_argument("--audio", default="", metavar="NAME|none", help="sound output, part of its name or its index")
    command.add_argument("--screen", type=int, metavar="N", help="screen number, 1 = first")
    command.add_argument("--fullscreen", action="store_true", help="start in fullscreen, without head-up display")
    command.add_argument("--headless", action="store_true", help="no window and no sound device, in real time")
    command.add_argument("--record", type=mp4_path, metavar="FILE.mp4", help="record the show from its first picture")
    command.add_argument("--duration", type=duration, metavar="S", help="stop after so many seconds of pictures")


def add_osc_options(command: Parser) -> None:
    """The options of OSC beyond the port."""
    command.add_argument(
        "--osc-out",
        type=osc_target,
        action="append",
        default=[],
        metavar="HOST:PORT[/PATTERN]",
        help="tell this program every change, or those like 10.0.0.5:9131/ltx/norm/*; may be repeated",
    )
    command.add_argument(
        "--osc-allow",
        type=network,
        action="append",
        default=[],
        metavar="CIDR",
        help="take OSC only from here and from this computer, such as 10.0.0.0/24; may be repeated (from everywhere)",
    )
    command.add_argument("--osc-reply-port", type=port, metavar="PORT", help="where answers go (the sender's own port)")
    command.add_argument("--osc-aliases", choices=ALIASES, default="", help="understand another program's addresses")
    command.add_argument("--log-osc", action="store_true", help="print every OSC message that comes and goes")
    command.add_argument("--quit-word", default="", metavar="WORD", help="let /ltx/sys/quit WORD end the show")


def add_home_option(command: Parser) -> None:
    command.add_argument("--home", type=Path, metavar="FOLDER", help="home of models, recordings and shows")


def size(text: str) -> tuple[int, int]:
    """`WxH` as (width, height)."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"'{text}' is not WIDTHxHEIGHT, such as 288x160")
    return int(width), int(height)


def port(text: str) -> int:
    """A UDP port."""
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port, 1 to 65535")
    return int(text)


def osc_target(text: str) -> tuple[str, int, str]:
    """`HOST:PORT` or `HOST:PORT/PATTERN` as (host, port, pattern)."""
    place, slash, pattern = text.partition("/")
    host, number = config.parse_address(place, "--osc-out", config.OSC_FEEDBACK_PORT)
    return host, number, slash + pattern or "/ltx/*"


def network(text: str) -> str:
    """An IP address or network, such as 10.0.0.0/24, as itself."""
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not an address or network, such as 10.0.0.0/24") from None


def setting(text: str) -> tuple[str, str]:
    """`NAME=VALUE` as (name, value); the OSC form of a name, `/ltx/NAME`, is taken too."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=VALUE, such as num_steps=4")
    return name.strip().removeprefix("/ltx/"), value


def duration(text: str) -> float:
    """Seconds, more than 0."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds above 0")
    return seconds


def lora(text: str) -> tuple[Path, float]:
    """`FILE:STRENGTH` or `FILE` as (path, strength), a finite number; it is 1 where none is given."""
    name, colon, number = text.rpartition(":")
    try:
        path, strength = (name, float(number)) if name and colon else (text, 1.0)
    except ValueError:  # the colon belongs to the path, such as C:\\lora.safetensors
        path, strength = text, 1.0
    if not math.isfinite(strength):
        raise argparse.ArgumentTypeError(f"'{text}': the strength must be a finite number, such as 0.8")
    return Path(path).expanduser(), strength


def gibibytes(text: str) -> float:
    """GiB, more than 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of GiB above 0")
    return number


def hertz(text: str) -> float:
    """A rate that `out/strobe` can have."""
    row = params.find("out/strobe")
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not row.minimum <= number <= row.maximum:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of Hz, {row.range_text}")
    return number


def mp4_path(text: str) -> Path:
    """The path of a file to write, which is always MP4."""
    path = Path(text).expanduser()
    if path.suffix.lower() != ".mp4":
        raise argparse.ArgumentTypeError(f"'{text}' must end in .mp4")
    return path


@dataclasses.dataclass(frozen=True)
class Layers:
    """Values and LoRAs of a show file, under the options; values that are newer than any option, over them."""

    loras: tuple[tuple[Path, float], ...] = ()
    under: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    over: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def generation_config(args: argparse.Namespace, layers: Layers = Layers(), **settings: Any) -> Config:
    """The Config of the shared options; `settings` are values that only --set and what is newer override."""
    known = (*EMBEDDED, *catalogue.SETS)
    if args.model not in known and not Path(args.model).expanduser().exists():
        raise ConfigError(
            f"--model {args.model}: no such file or folder; give {', '.join(known)}, or a path to LTX-2.3's weights "
            "(`ltx-live models list` says which)"
        )
    loras = [*layers.loras, *args.loras]
    if len(loras) > NUM_LORAS:
        raise ConfigError(f"--lora: {len(loras)} LoRAs are given, {NUM_LORAS} can be played; leave some out")
    if args.prompt is not None:
        settings["prompt"] = args.prompt
    if args.size is not None:
        settings["width"], settings["height"] = args.size
    if args.seed is not None:
        settings |= {"seed": args.seed, "randomize_seed": False}
    strengths = {f"lora/{i}/strength": strength for i, (_, strength) in enumerate(loras, 1)}
    settings |= {name: strengths[name] for name in list(strengths)[len(layers.loras) :]}
    settings = strengths | layers.under | settings | dict(args.settings) | layers.over
    values = config.initial_values(args.model, args.preset, settings)
    if values["lora_merge_strategy"] == "runtime":
        merge = "or merge the LoRA at load with --set lora_merge_strategy=permanent_merge"
        require_live_strengths(loras, f"give one of these, {merge}")
    explicit = {**layers.under, **dict(args.settings), **layers.over}
    found = [
        (find_lora(path, home(args)), values[name] if (name := f"lora/{i}/strength") in explicit else strength)
        for i, (path, strength) in enumerate(loras, 1)
    ]
    return Config(
        model=args.model,
        home=home(args),
        device=args.device,
        text_encoder=args.text_encoder and args.text_encoder.expanduser(),
        memory=args.memory,
        max_vram_gb=args.max_vram_gb,
        loras=tuple(found),
        lora_unmatched=args.lora_unmatched,
        values=values,
        base=config.initial_values(args.model, args.preset, {}),
        strobe_limit_hz=args.strobe_limit,
    )


def require_live_strengths(loras: Sequence[tuple[Path, float]], advice: str) -> None:
    """Raise ConfigError for a strength that the fader of a live LoRA does not reach."""
    row = params.find("lora/1/strength")
    for path, strength in loras:
        if not row.minimum <= strength <= row.maximum:
            raise ConfigError(f"--lora {path}:{strength:g}: a live strength is {row.range_text}; {advice}")


def find_loras(args: argparse.Namespace) -> tuple[tuple[Path, float], ...]:
    """The LoRAs of `--lora` with their strengths. Raises ConfigError for one that is not there."""
    return tuple((find_lora(path, home(args)), strength) for path, strength in args.loras)


def find_lora(path: Path, home: Path) -> Path:
    """The LoRA file: as given, or by its name in the folders that hold LoRAs. Raises ConfigError."""
    folders = (Path(), *lora_folders(home))
    for folder in folders:
        for name in (path, Path(f"{path}.safetensors")):
            if (folder / name).is_file():
                return (folder / name).absolute()
    if path.is_dir():
        raise ConfigError(f"LoRA {path}: a folder; give the .safetensors file in it")
    raise ConfigError(f"LoRA {path}: no such file, nor in {folders[1]} or {folders[2]}")


def home(args: argparse.Namespace) -> Path:
    """The home folder that was asked for, or the usual one."""
    return (args.home or config.default_home()).expanduser().absolute()


def http_address(text: str) -> tuple[str, int] | None:
    """`HOST:PORT` as (host, port), None for `none`. Raises ConfigError."""
    return None if text == "none" else config.parse_address(text, "--http", config.HTTP_PORT)


def find_show(path: Path, home: Path) -> Path:
    """The show file: as given, or by its name in the folder of shows. Raises ConfigError."""
    for each in (path.expanduser(), home / "shows" / path, home / "shows" / f"{path}.toml"):
        if each.is_file():
            return each.absolute()
    raise ConfigError(f"show {path}: no such file, nor in {home / 'shows'}")


def show_config(args: argparse.Namespace) -> Config:
    """The Config of `play`."""
    from ltx_live.keeping import find_state, state_path

    settings: dict[str, Any] = {}
    if args.screen is not None:
        settings["window/screen"] = args.screen
    if args.fullscreen:
        settings |= {"window/fullscreen": True, "window/hud": "off"}
    file = args.file
    kept_at = state_path(home(args) / "shows", args.show)
    state, told = find_state(kept_at, args.show, args.model, args.restore)
    restored = {} if state is None else state.values
    below = {} if file is None else file.values
    newer = state is not None and state.broke_off
    layers = Layers(
        loras=() if file is None else file.loras,
        under=below if newer else {**below, **restored},
        over=restored if newer else {},
    )
    made = generation_config(args, layers, **settings)
    with_bank = [each for each in (file, state and state.file) if each is not None and each.has_bank]
    snapshots = {} if file is None else file.snapshots
    return dataclasses.replace(
        made,
        mapping=args.mapping,
        show=args.show,
        cues=_cues(args),
        cues_file=args.cues.expanduser().absolute() if args.cues else args.show,
        snapshots=state.file.snapshots if state is not None and file is None else snapshots,
        own_bank=bool(with_bank),
        state=kept_at,
        told=told,
        osc=config.parse_address(args.osc) if args.osc else made.osc,
        osc_options=OscOptions(
            tuple(args.osc_out), tuple(args.osc_allow), args.osc_reply_port, args.osc_aliases, args.log_osc
        ),
        quit_word=args.quit_word,
        http=http_address(args.http),
        midi=args.midi,
        audio=args.audio,
        screen=made.values["window/screen"],
        fullscreen=made.values["window/fullscreen"],
        headless=args.headless,
        record=args.record,
        duration_s=args.duration,
    )


def _cues(args: argparse.Namespace) -> tuple[Any, ...]:
    """The cues of `--cues`, else those of the show file."""
    from ltx_live.control.cues import load_cues

    if args.cues:
        return load_cues(args.cues.expanduser())
    return () if args.file is None else args.file.cues
