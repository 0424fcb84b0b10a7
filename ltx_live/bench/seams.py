"""`ltx-live bench seams`: do picture and sound flow over the seams, does a scene stay itself, do new prompts arrive?

Films are rendered offline, as `render` makes them, and measured; independent chunks (`continuity` 0) stand beside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ltx_live import params, render
from ltx_live.bench import _arrival
from ltx_live.bench._bars import Bar, print_bars
from ltx_live.bench._measures import (
    LEAST_DIFFERENCE,
    LEAST_MOTION_PX,
    SAMPLE_RATE_HZ,
    AtSeams,
    Measured,
    Meter,
    breathing_db,
    distance_apart,
    loudness_db,
    motion_jump,
    rms,
    sound_steps,
    speed,
)
from ltx_live.chunk import Chunk, Engine
from ltx_live.config import Config, initial_values
from ltx_live.engines import engine_spec
from ltx_live.options import Parser, setting

FAST_PROMPTS = (
    "fast red tunnel with drums",
    "fast blue waves with an arpeggio",
    "fast gold stripes with bells",
    "fast cyan starfield with hi-hats",
    "fast purple plasma with a soft pad",
    "fast green rings with noise",
)
LONG_PROMPT = "slow purple plasma and a soft pad"
SEAM_FILM_S = 36.0  # of each fast prompt
INDEPENDENT_S = 66.0  # of independent chunks beside the long film: frames 60 s apart must be there
APART_S = 60.0
PARTS = ("seams", "long", "arrival")


@dataclass(frozen=True)
class Film:
    """What a film measured, and its seams: the first new frame of each later chunk, and the same in samples."""

    measured: Measured
    seams: np.ndarray
    seam_samples: np.ndarray
    chunk_s: float


def main(argv: list[str]) -> int:
    """Print the figures beside their bars; the exit status is 1 where one is missed."""
    parser = Parser(prog="ltx-live bench seams", description=__doc__)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--minutes", type=float, default=2.0, help="length of the long film (2; the bars mean 10)")
    parser.add_argument("--prompt", default=LONG_PROMPT, help="of the long film")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone; may be repeated")
    parser.add_argument("--set", dest="settings", type=setting, action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args(argv)
    values = initial_values(options.model, None, {"seed": 1, **dict(options.settings), "randomize_seed": False})
    engine = render.load_engine(engine_spec(Config(model=options.model, values=values)), lambda text: None)
    bars: list[Bar] = []
    for part in options.only or PARTS:
        if part == "seams":
            bars += seam_bars(engine, values)
        elif part == "long":
            bars += long_bars(engine, {**values, "prompt": options.prompt}, options.minutes)
        elif options.model == "pocket":
            bars += _arrival.bars(engine, values)
        else:
            print("arrival: only the pocket's pictures can be judged; left out")
    return print_bars(f"seams --model {options.model}", bars)


def film(engine: Engine, values: Mapping[str, Any], seconds: float) -> Film:
    """Render a film of these values and measure it."""
    generation = params.snapshot(params.GenerationParams, values)
    rate = generation.frame_rate
    meter = Meter()
    made = render.Film(meter, params.snapshot(params.OutputParams, values), round(seconds * rate), rate)
    chunks: list[Chunk] = []
    for chunk in render.chunks(engine, generation):
        made.append(chunk)
        chunks.append(
            replace(chunk, frames=chunk.frames[:0], audio=chunk.audio[:0], num_overlap=0, video_start=chunk.cut)
        )
        if made.is_complete:
            break
    samples = np.array([chunk.video_start for chunk in chunks[1:]])
    new_s = float(np.diff(samples).mean()) / SAMPLE_RATE_HZ
    return Film(meter.film(), np.round(samples * rate / SAMPLE_RATE_HZ).astype(int), samples, new_s)


# --- Seams -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SeamFigures:
    """What the films of some prompts showed at their seams, against elsewhere."""

    difference: np.ndarray  # median over the seams, per pair of frames
    sharpness: np.ndarray
    jump: np.ndarray
    speed: np.ndarray
    brightness_db: float
    loudness_db: float
    sample_step: float
    rms_step: float


def seam_bars(engine: Engine, values: Mapping[str, Any]) -> Iterator[Bar]:
    """Films of fast prompts, continued and independent."""
    whole, apart = (seam_figures(engine, {**values, **more}) for more in ({}, {"continuity": 0.0}))

    def bar(title: str, figure, least_or_most: float, unit: str = "", is_most: bool = True) -> Bar:
        return Bar(f"{title} (independent {figure(apart):.2f})", figure(whole), least_or_most, unit, is_most)

    yield bar("picture at seams / elsewhere, lowest pair", lambda f: f.difference.min(), 0.75, is_most=False)
    yield bar("picture at seams / elsewhere, highest pair", lambda f: f.difference.max(), 1.3)
    yield bar("sharpness dip", lambda f: 100 * (1 - f.sharpness.min()), 15, "%")
    yield bar("motion jump / elsewhere", lambda f: f.jump.max(), 1.5)
    yield bar("speed / elsewhere", lambda f: f.speed.max(), 1.5)
    yield bar("breathing of brightness", lambda f: f.brightness_db, 3, "dB")
    yield bar("breathing of loudness", lambda f: f.loudness_db, 3, "dB")
    yield bar("sound, sample step at seams / elsewhere", lambda f: f.sample_step, 1.5)
    yield bar("sound, 10 ms RMS step at seams / elsewhere", lambda f: f.rms_step, 1.5)


def seam_figures(engine: Engine, values: Mapping[str, Any]) -> SeamFigures:
    """Of the fast prompts together."""
    fade = round(values["out/crossfade"] * values["frame_rate"])
    reach = (fade, 1) if values["continuity"] else (0, fade)  # a new take is faded in after its start
    films = [film(engine, {**values, "prompt": prompt}, SEAM_FILM_S) for prompt in FAST_PROMPTS]

    def places(of: Sequence[np.ndarray], least: float) -> np.ndarray:
        pairs = zip(of, films, strict=True)
        return np.median(np.concatenate([AtSeams.of(x, f.seams, reach).ratios(least) for x, f in pairs]), axis=0)

    steps = [sound_steps(each.measured.sound, each.seam_samples) for each in films]
    rate = values["frame_rate"]
    piece = round(SAMPLE_RATE_HZ / rate)
    return SeamFigures(
        difference=places([each.measured.difference for each in films], LEAST_DIFFERENCE),
        sharpness=places([each.measured.sharpness for each in films], LEAST_DIFFERENCE),
        jump=places([motion_jump(each.measured.motion) for each in films], LEAST_MOTION_PX),
        speed=places([speed(each.measured.motion) for each in films], LEAST_MOTION_PX),
        brightness_db=_mean(breathing_db(each.measured.brightness, 1 / each.chunk_s, rate) for each in films),
        loudness_db=_mean(breathing_db(rms(each.measured.sound, piece), 1 / each.chunk_s, rate) for each in films),
        sample_step=_mean(step[0] for step in steps),
        rms_step=_mean(step[1] for step in steps),
    )


def _mean(values) -> float:
    return float(np.mean(list(values)))


# --- The long film ---------------------------------------------------------------------------------------------------


def long_bars(engine: Engine, values: Mapping[str, Any], minutes: float) -> Iterator[Bar]:
    """One prompt for minutes: every minute beside the first, and beside independent chunks."""
    rate = values["frame_rate"]
    whole = film(engine, values, 60 * minutes).measured
    apart = film(engine, {**values, "continuity": 0.0}, INDEPENDENT_S).measured
    length = min(round(60 * rate), len(whole.difference) // 2)
    parts = [whole.part(start, start + length, rate) for start in range(0, len(whole.difference) - length + 1, length)]
    print(f"{values['prompt']!r}: colour (R G B), contrast, sharpness, loudness, motion; last line: independent chunks")
    for name, part in [*((f"{k + 1:>3}", part) for k, part in enumerate(parts)), ("ind", apart)]:
        colour = " ".join(f"{x:.3f}" for x in part.colour.mean(axis=0))
        figures = f"{part.contrast.mean():.3f}  {part.sharpness.mean():.4f}  {loudness_db(part.sound):6.1f} dB"
        print(f"  {name}  {colour}  {figures}  {part.difference[1:].mean():.4f}")
    first, later = parts[0], parts[1:]

    def most(figure) -> float:
        return max(float(np.abs(figure(part) - figure(first)).max()) for part in later)

    yield Bar("mean colour, furthest minute from the first", most(lambda p: p.colour.mean(axis=0)), 0.05, "", True)
    yield Bar("contrast, furthest", most(lambda p: p.contrast.mean()), 0.05, "", True)
    yield Bar("sharpness, furthest", 100 * most(lambda p: p.sharpness.mean()) / first.sharpness.mean(), 20, "%", True)
    yield Bar("loudness, furthest", most(lambda p: loudness_db(p.sound)), 1.5, "dB", True)
    motion = [float(part.difference[1:].mean()) for part in (*parts, apart)]
    yield Bar("motion energy, stillest minute / independent", 100 * min(motion[:-1]) / motion[-1], 70, "%")
    far = round(APART_S * rate)
    distances = [distance_apart(each.thumbnail, min(far, len(each.thumbnail) // 2)) for each in (whole, apart)]
    yield Bar("distance of frames 60 s apart / independent", 100 * distances[0] / distances[1], 70, "%")
