"""The command line: `ltx-live play`, `render`, `params`, `devices`, `doctor` and `bench`."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import logging
import os
import pkgutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from ltx_live import __version__, config
from ltx_live.config import Config
from ltx_live.errors import ConfigError, LtxLiveError, ParameterError

RECORD_INSTEAD_S = 20.0
"""Length of what `play` records where there is no display to play on."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see `{self.prog} --help`")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 used wrongly, 130 interrupted."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        args = parser().parse_args(argv)
        return args.run(args)
    except (ConfigError, ParameterError) as error:
        return complain(error, 2)
    except BrokenPipeError:  # the reader of our output (head, less) has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (LtxLiveError, OSError) as error:
        return complain(error, 1)
    except KeyboardInterrupt:
        return 130


def complain(error: Exception, status: int) -> int:
    """Print an error as one line and return the exit status."""
    print(f"ltx-live: {' '.join(str(error).split())}", file=sys.stderr)
    return status


def parser() -> Parser:
    """The whole command line."""
    top = Parser(prog="ltx-live", description="Play LTX-2.3, a diffusion transformer for video and sound, live.")
    top.add_argument("--version", action="version", version=f"ltx-live {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    command = commands.add_parser("play", help="play live, with window, sound, OSC and MIDI")
    add_generation_options(command)
    add_show_options(command)
    command.set_defaults(run=play)

    command = commands.add_parser("render", help="render a prompt to a file; the same command gives the same frames")
    add_generation_options(command)
    command.add_argument("--seconds", type=duration, default=8.0, metavar="S", help="length of the file (8)")
    command.add_argument("--out", type=mp4_path, required=True, metavar="FILE.mp4", help="the file to write")
    command.set_defaults(run=render)

    command = commands.add_parser("params", help="list every live parameter")
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", help="as JSON")
    form.add_argument("--markdown", dest="form", action="store_const", const="markdown", help="as the README's table")
    command.set_defaults(run=list_params)

    command = commands.add_parser("devices", help="list sound outputs, MIDI inputs and screens")
    command.set_defaults(run=list_devices)

    command = commands.add_parser("doctor", help="what is found, what is missing, how to get it")
    add_home_option(command)
    command.set_defaults(run=doctor)

    command = commands.add_parser("bench", help="run a benchmark")
    command.add_argument("name", nargs="?", help="which one; without a name they are listed")
    command.add_argument("arguments", nargs=argparse.REMAINDER, help="the benchmark's own options")
    command.set_defaults(run=bench)
    return top


def add_generation_options(command: Parser) -> None:
    """The options that `play` and `render` share: what is generated."""
    command.add_argument("--model", default="pocket", metavar="pocket|testcard|PATH", help="what generates (pocket)")
    command.add_argument("--preset", metavar="NAME", help="initial values of presets.toml: live, instrument, stage")
    command.add_argument("--prompt", metavar="TEXT", help="what to start with")
    command.add_argument("--size", type=size, metavar="WxH", help="picture size, snapped to multiples of 32")
    command.add_argument("--seed", type=int, metavar="N", help="base seed; also stops its changing by itself")
    command.add_argument(
        "--set",
        dest="settings",
        type=setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="initial value of any parameter; may be repeated",
    )
    add_home_option(command)


def add_show_options(command: Parser) -> None:
    """The options of `play` alone: how it is shown, heard and controlled."""
    command.add_argument("--mapping", default="default", metavar="FILE", help="MIDI mapping (default)")
    command.add_argument("--osc", default="", metavar="HOST:PORT", help="where OSC is received (127.0.0.1:9130)")
    command.add_argument("--midi", default="", metavar="NAME|none", help="MIDI input, part of its name")
    command.add_argument("--audio", default="", metavar="NAME|none", help="sound output, part of its name or its index")
    command.add_argument("--screen", type=int, metavar="N", help="screen number, 1 = first")
    command.add_argument("--fullscreen", action="store_true", help="start in fullscreen, without head-up display")
    command.add_argument("--headless", action="store_true", help="no window and no sound device, in real time")
    command.add_argument("--record", type=mp4_path, metavar="FILE.mp4", help="record the show from its first picture")
    command.add_argument("--duration", type=duration, metavar="S", help="stop after so many seconds of pictures")


def add_home_option(command: Parser) -> None:
    command.add_argument("--home", type=Path, metavar="FOLDER", help="home of models, recordings and shows")


def size(text: str) -> tuple[int, int]:
    """`WxH` as (width, height)."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"'{text}' is not WIDTHxHEIGHT, such as 288x160")
    return int(width), int(height)


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


def mp4_path(text: str) -> Path:
    """The path of a file to write, which is always MP4."""
    path = Path(text).expanduser()
    if path.suffix.lower() != ".mp4":
        raise argparse.ArgumentTypeError(f"'{text}' must end in .mp4")
    return path


def generation_config(args: argparse.Namespace, **settings: Any) -> Config:
    """The Config of the shared options; `settings` are values that only --set overrides."""
    if args.model not in ("pocket", "testcard") and not Path(args.model).expanduser().exists():
        raise ConfigError(
            f"--model {args.model}: no such folder; give pocket, testcard, or a folder with LTX-2.3's weights that you "
            "have: .safetensors files of transformer, text projection, text encoder, video VAE, audio VAE with vocoder"
        )
    if args.prompt is not None:
        settings["prompt"] = args.prompt
    if args.size is not None:
        settings["width"], settings["height"] = args.size
    if args.seed is not None:
        settings |= {"seed": args.seed, "randomize_seed": False}
    values = config.initial_values(args.model, args.preset, settings | dict(args.settings))
    return Config(model=args.model, home=home(args), values=values)


def home(args: argparse.Namespace) -> Path:
    """The home folder that was asked for, or the usual one."""
    return (args.home or config.default_home()).expanduser().absolute()


def show_config(args: argparse.Namespace) -> Config:
    """The Config of `play`."""
    settings: dict[str, Any] = {}
    if args.screen is not None:
        settings["window/screen"] = args.screen
    if args.fullscreen:
        settings |= {"window/fullscreen": True, "window/hud": "off"}
    made = generation_config(args, **settings)
    return dataclasses.replace(
        made,
        mapping=args.mapping,
        osc=config.parse_address(args.osc) if args.osc else made.osc,
        midi=args.midi,
        audio=args.audio,
        screen=made.values["window/screen"],
        fullscreen=made.values["window/fullscreen"],
        headless=args.headless,
        record=args.record,
        duration_s=args.duration,
    )


def recording_instead(show: Config) -> Config:
    """The same show without a window, recorded for a while: what `play` does where there is no display."""
    name = time.strftime("ltx-live-%Y%m%d-%H%M%S.mp4")
    return dataclasses.replace(
        show,
        headless=True,
        record=show.record or show.folder("recordings") / name,
        duration_s=show.duration_s or RECORD_INSTEAD_S,
    )


def play(args: argparse.Namespace) -> int:
    """Play live; without a display, record the same show to a file. The file's path is the last line."""
    show = show_config(args)
    if not show.headless:
        problem = display_problem()
        if problem:
            show = recording_instead(show)
            print(f"no display ({problem}): recording {show.duration_s:g} s to a file instead", flush=True)
    from ltx_live import app

    status = app.run(show)
    if status == 0 and show.record is not None:
        print(show.record.absolute())
    return status


def display_problem() -> str:
    """Why no window can be opened, or nothing. Tried in another process: pyglet that has looked cannot go headless."""
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        return "DISPLAY is not set"
    from ltx_live.doctor import trial

    worked, text = trial("from ltx_live import listing; listing.screens()")
    return "" if worked else text


def render(args: argparse.Namespace) -> int:
    """Render to a file; its path is the last line."""
    rendered = generation_config(args, randomize_seed=False)
    from ltx_live import render as offline

    status = offline.run(rendered, args.seconds, args.out)
    if status == 0:
        print(args.out.absolute())
    return status


def list_params(args: argparse.Namespace) -> int:
    from ltx_live import listing

    listing.print_params(args.form)
    return 0


def list_devices(args: argparse.Namespace) -> int:
    from ltx_live import listing

    listing.print_devices()
    return 0


def doctor(args: argparse.Namespace) -> int:
    from ltx_live import doctor as examination

    return examination.run(home(args))


def bench(args: argparse.Namespace) -> int:
    """Run `ltx_live.bench.NAME.main(arguments)`, or list the benchmarks: the modules without a leading underscore."""
    from ltx_live import bench as benches

    found = (module.name for module in pkgutil.iter_modules(benches.__path__))
    names = sorted(name for name in found if not name.startswith("_"))
    if args.name is None:
        print("\n".join(names))
        return 0
    if args.name not in names:
        raise ConfigError(f"bench {args.name}: no such benchmark; choose one of {', '.join(names) or 'none yet'}")
    return importlib.import_module(f"ltx_live.bench.{args.name}").main(args.arguments)
