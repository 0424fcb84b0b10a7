"""The command line: `ltx-live play`, `render`, `models`, `learn`, `params`, `devices`, `doctor` and `bench`."""

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

from ltx_live import __version__, params
from ltx_live.config import STROBE_LIMIT_HZ, Config
from ltx_live.control.learn import ROWS
from ltx_live.errors import ConfigError, LtxLiveError, ParameterError
from ltx_live.options import (
    Parser,
    add_generation_options,
    add_home_option,
    add_loading_options,
    add_lora_option,
    add_show_options,
    add_text_encoder_option,
    duration,
    find_lora,
    find_loras,
    generation_config,
    home,
    mp4_path,
    require_live_strengths,
    show_config,
)

RECORD_INSTEAD_S = 20.0
"""Length of what `play` records where there is no display to play on."""


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

    command = commands.add_parser("models", help="list, download, check and convert model files")
    add_models_actions(command)

    command = commands.add_parser("learn", help="bind MIDI controls: name a parameter, move a control")
    add_learn_options(command)
    command.set_defaults(run=learn)

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


def add_models_actions(command: Parser) -> None:
    """The actions of `models`, each with its options."""
    actions = command.add_subparsers(title="actions", metavar="ACTION", required=True)
    action = actions.add_parser("list", help="the models that can be downloaded, and which are here")
    action.add_argument("--loras", action="store_true", help="the published IC-LoRAs: what each is for and needs")
    action.set_defaults(run=list_models)
    add_home_option(action)

    action = actions.add_parser("download", help="fetch a model; run it again to go on after an interruption")
    action.add_argument("name", metavar="NAME", help="which one: `ltx-live models list` names them")
    action.add_argument("--dry-run", action="store_true", help="print files, sizes and target paths, fetch nothing")
    action.add_argument("--offline", action="store_true", help="use what is here, say what is missing")
    action.set_defaults(run=download_model)
    add_home_option(action)

    action = actions.add_parser("verify", help="check a model's files: sizes, sha256, every tensor's name and shape")
    action.add_argument("model", metavar="NAME|PATH", help="a model of the list, pocket, a folder or a file")
    add_text_encoder_option(action)
    action.add_argument("--play", action="store_true", help="also play stored prompts and write what they gave")
    proof = action.add_argument_group("options of --play")
    proof.add_argument("--out", type=Path, metavar="FOLDER", help="where to write (a new folder in recordings)")
    add_lora_option(proof, "a LoRA to play at strength 0 and at its own")
    add_loading_options(proof)
    action.set_defaults(preset=None, prompt=None, seed=None, strobe_limit=STROBE_LIMIT_HZ)
    action.set_defaults(run=verify_model)
    add_home_option(action)

    action = actions.add_parser("convert", help="make a float8 or bf16 copy of a model, with LoRAs folded in")
    action.add_argument("source", metavar="NAME|PATH", help="a model of the list, a folder or the transformer's file")
    action.add_argument("out", type=Path, metavar="FOLDER", help="where to write: a new or empty folder")
    action.add_argument(
        "--dtype", choices=("fp8", "bf16"), default="fp8", help="of the large weights (fp8: 24 GB cards)"
    )
    add_text_encoder_option(action)
    add_lora_option(action, "a LoRA to fold into the transformer for good")
    action.add_argument(
        "--only",
        choices=("transformer", "text-projection", "text-encoder", "video-vae", "audio-vae"),
        action="append",
        default=[],
        help="make only this file; may be repeated",
    )
    action.set_defaults(run=convert_model)
    add_home_option(action)

    action = actions.add_parser("lora", help="what a LoRA file is: rank, targets, IC-LoRA or not")
    action.add_argument("path", type=Path, metavar="FILE", help="a .safetensors file, or its name in a LoRA folder")
    action.add_argument(
        "--model", metavar="NAME|PATH", help="the model it is for (LTX-2.3 22B, which need not be here)"
    )
    add_text_encoder_option(action)
    action.set_defaults(run=describe_lora)
    add_home_option(action)


def add_learn_options(command: Parser) -> None:
    """What `learn` binds, and where it is written."""
    command.add_argument("names", nargs="*", metavar="PARAMETER", help="which ones; without a name you are asked")
    command.add_argument("--row", choices=tuple(ROWS), help="eight controls, one touch each")
    command.add_argument("--page", type=int, default=1, choices=range(1, params.NUM_PAGES + 1), metavar="N")
    command.add_argument("--midi", default="", metavar="NAME", help="MIDI input, part of its name")
    command.add_argument(
        "--mapping", default="default", metavar="FILE", help="mapping to write in (the controller's own)"
    )
    add_home_option(command)


def learn(args: argparse.Namespace) -> int:
    """Bind controls in the terminal."""
    from ltx_live import learning

    return learning.run(learning.Course(args.names, args.row or "", args.page, args.midi, args.mapping), home(args))


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
    rendered = generation_config(args, randomize_seed=False, lora_merge_strategy="permanent_merge")
    from ltx_live import render as offline

    status = offline.run(rendered, args.seconds, args.out)
    if status == 0:
        print(args.out.absolute())
    return status


def list_models(args: argparse.Namespace) -> int:
    from ltx_live import models

    return models.print_loras(home(args)) if args.loras else models.print_list(home(args))


def download_model(args: argparse.Namespace) -> int:
    from ltx_live import models

    return models.download(args.name, home(args), args.dry_run, args.offline)


def verify_model(args: argparse.Namespace) -> int:
    """Check files, then play them where that is asked for; the folder of the proof is the last line."""
    from ltx_live import models

    text_encoder = args.text_encoder and args.text_encoder.expanduser()
    if not args.play:
        return models.verify(args.model, home(args), text_encoder)
    require_live_strengths(args.loras, "the proof plays at one of these")
    longest = {} if args.model == "pocket" else {"num_frames": params.find("num_frames").default}
    config = generation_config(args, **longest)
    status = models.verify(args.model, home(args), text_encoder)
    from ltx_live.proof import play as proof

    return max(status, proof.run(config, args.out and args.out.expanduser()))


def convert_model(args: argparse.Namespace) -> int:
    """Write a model anew; the folder's path is the last line."""
    from ltx_live import models
    from ltx_live.engines import model_path
    from ltx_live.weights.convert import Recipe

    source = model_path(args.source, home(args))
    text_encoder = args.text_encoder and args.text_encoder.expanduser()
    loras = find_loras(args)
    recipe = Recipe(args.dtype, loras, tuple(args.only), args.lora_unmatched)
    return models.convert(source, args.out.expanduser().absolute(), recipe, text_encoder)


def describe_lora(args: argparse.Namespace) -> int:
    from ltx_live import models
    from ltx_live.engines import model_path

    path = find_lora(args.path.expanduser(), home(args))
    model = args.model and model_path(args.model, home(args))
    text_encoder = args.text_encoder and args.text_encoder.expanduser()
    return models.print_lora(path, model, text_encoder)


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
