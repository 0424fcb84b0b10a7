"""Offline rendering: the show's chunks, one after the other, as fast as they come, into a file."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ltx_live import params
from ltx_live.chunk import (
    PREFIX_FRAMES,
    SAMPLE_RATE_HZ,
    Chunk,
    ChunkRequest,
    Engine,
    WeightedPrompts,
    frames_to_samples,
    num_steps,
)
from ltx_live.config import Config
from ltx_live.engine.process import EngineSpec, Ready
from ltx_live.engines import engine_spec
from ltx_live.errors import ConfigError, MediaError
from ltx_live.lora_files import Shelf
from ltx_live.loras import Rack
from ltx_live.media.recording import VideoWriter
from ltx_live.modes.running import Modes
from ltx_live.modes.use import Setting
from ltx_live.moment import Moment
from ltx_live.session import Session
from ltx_live.stage.limiter import LOOKAHEAD_SAMPLES, Limiter
from ltx_live.stage.look import NumpyCompositor, limit_strobe
from ltx_live.stage.playlist import read
from ltx_live.stage.timeline import Timeline
from ltx_live.tempo import Tempo
from ltx_live.travel import Travel

WAIT_S = 0.005
UNSETTLED_S = 0.5
"""At least the end of the timeline that the next chunk may still fade into."""


def run(config: Config, seconds: float, out: Path) -> int:
    """Render `seconds` to the file `out` at full level and return 0; the same seed gives the same frames.

    Values of the picture (`out/...`) apply; volume and speed do not, but the limiter does. Raises LtxLiveError.
    """
    generation = params.snapshot(params.GenerationParams, config.values)
    frame_rate = generation.frame_rate
    num_frames = round(seconds * frame_rate)
    if num_frames < 1:
        raise ConfigError(f"--seconds {seconds:g}: less than one frame at {frame_rate:g} frames a second; give more")
    spec = engine_spec(config)
    columns = TextColumn("{task.description}"), *Progress.get_default_columns()[1:2], TaskProgressColumn()
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("loading", total=num_frames)
        stages: list[str] = []

        def report(text: str) -> None:
            if not stages:  # what was decided, see EngineSpec
                bar.console.print(text, highlight=False, soft_wrap=True, markup=False)
            else:
                bar.update(task, description=text)
            stages.append(text)

        engine = load_engine(spec, report)
        bar.update(task, description="rendering")
        with VideoWriter(out, engine.info.width, engine.info.height, frame_rate) as writer:
            output = limit_strobe(params.snapshot(params.OutputParams, config.values), config.strobe_limit_hz)
            film = Film(writer, output, num_frames, frame_rate)
            with contextlib.closing(modes_of(config)) as modes:
                settle(modes)
                made = chunks(engine, dataclasses.replace(generation, pause=False), config.values["tempo/bpm"], modes)
                while not film.is_complete:
                    film.append(next(made))
                    bar.update(task, completed=writer.num_frames)
    return 0


def load_engine(spec: EngineSpec, report: Callable[[str], None]) -> Engine:
    """The engine of a spec, in this process."""
    return getattr(importlib.import_module(spec.module), spec.function)(report, **spec.arguments)


def modes_of(config: Config) -> Modes:
    """What chunks are given beside their prompts: the files that the values name, the LoRAs as they are loaded."""
    values = config.values
    named = [name for name in params.concrete_names() if name.startswith("lora/") and name.endswith("/name")]
    if wrong := next((name for name in named if values.get(name)), None):
        raise ConfigError(f"--set {wrong}: a film is rendered with the LoRAs of --lora; give {values[wrong]} there")
    paths = [path for path, _ in config.loras]
    shelf = Shelf([], config.lora_unmatched)
    rack = Rack(shelf, lambda slot, path: None, paths, values["lora_merge_strategy"] == "permanent_merge")
    shelf.look()
    modes = Modes((values["width"], values["height"]), config.home / "media", Tempo(values["tempo/bpm"]), rack)
    values = {**values, **{f"lora/{number}/name": path.stem for number, path in enumerate(paths, 1)}}
    modes.take(values, values)
    return modes


def settle(modes: Modes) -> None:
    """Wait until every file is read; raises MediaError for one that cannot be."""
    while True:
        for told in modes.tick(0.0, 0.0):
            if isinstance(told, Setting) and told.text:
                raise MediaError(told.text.rpartition("; the ")[0] or told.text)
        if not modes.is_loading:
            return
        time.sleep(WAIT_S)


def chunks(
    engine: Engine, generation: params.GenerationParams, bpm: float = 120.0, modes: Modes | None = None
) -> Iterator[Chunk]:
    """Chunks without end, asked for as the show asks for them when nothing is left to play."""
    session, travel = Session(), Travel()
    session.handle(Ready(engine.info), 0.0)

    def beats_at(position: int) -> float:
        return position / SAMPLE_RATE_HZ * bpm / 60

    def prompts(values: params.GenerationParams, start: int, index: int) -> WeightedPrompts:
        return travel.prompts(values, start, index, beats_at)

    end = 0
    while True:
        values = generation if modes is None else modes.applied(generation)
        moment = Moment(0.0, position=end, end=end, params=values, epoch=0, num_free_slots=1, prompts=prompts)
        request = session.decide(moment)
        travel.asked(request)
        filled = request if modes is None else _filled(modes, request)
        *_, chunk = engine.generate(filled)
        if modes is not None:
            modes.made(filled, chunk, num_steps(generation), 0.0)
        session.handle(chunk, 0.0)
        end = chunk.end
        yield chunk


def _filled(modes: Modes, request: ChunkRequest) -> ChunkRequest:
    """The request with its inputs, as soon as they are there."""
    while (filled := modes.filled(request)) is None:
        time.sleep(WAIT_S)
    return filled


class Film:
    """Puts chunks on a timeline and writes what no later chunk can change any more, cross-fades as in the show."""

    def __init__(self, writer: VideoWriter, output: params.OutputParams, num_frames: int, frame_rate: float):
        self._writer = writer
        self._output = output
        self._num_frames = num_frames
        self._frame_rate = frame_rate
        self._num_samples = frames_to_samples(num_frames, frame_rate)
        self._unsettled = max(frames_to_samples(PREFIX_FRAMES, frame_rate), round(UNSETTLED_S * SAMPLE_RATE_HZ))
        self._timeline = Timeline()
        self._compositor = NumpyCompositor()
        self._limiter = Limiter()

    @property
    def is_complete(self) -> bool:
        """Whether every frame is written."""
        return self._writer.num_frames == self._num_frames

    def append(self, chunk: Chunk) -> None:
        """Take the next chunk and write what is settled; the last frame and the last sample end together."""
        timeline = self._timeline
        timeline.append(chunk, self._writer.num_samples, self._output.out_crossfade)
        last = timeline.end >= self._num_samples + self._unsettled
        settled = self._num_samples if last else timeline.end - self._unsettled
        while not self.is_complete and (position := self._position) < settled:
            picture = dataclasses.replace(timeline.frame_at(position), time_s=position / SAMPLE_RATE_HZ)
            self._compositor.compose(picture, self._output)
            self._writer.write_frame(self._compositor.grab())
            self._write_sound(min(self._position, settled))
        timeline.advance(self._writer.num_samples, timeline.playlist.generation)

    @property
    def _position(self) -> int:
        """Media position of the next frame to write."""
        return frames_to_samples(self._writer.num_frames, self._frame_rate)

    def _write_sound(self, end: int) -> None:
        """Write the sound up to a media position."""
        start = self._writer.num_samples
        samples = np.empty((end - start + LOOKAHEAD_SAMPLES, 2), np.float32)
        read(self._timeline.playlist.segments, start, samples)
        self._writer.write_audio(self._limiter.process(samples))
