"""Sound that drives the picture, from a file or a live input, and the voice of a speaker (ID-LoRA)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ltx_live import params as table
from ltx_live.chunk import (
    DRIVING_CONTEXT_S,
    SAMPLE_RATE_HZ,
    ChunkRequest,
    Inputs,
    frames_to_samples,
    num_prefix_frames,
)
from ltx_live.media.audio import Sound, read_sound
from ltx_live.media.driving import Driving, delay_step_s, heard
from ltx_live.media.loader import Loader
from ltx_live.media.signals import Stream
from ltx_live.modes.use import Arrival, Setting, Told, Used, asset
from ltx_live.stage.audio_input import AudioInput
from ltx_live.tempo import Tempo

IN_USE = ("audio_mode", "audioin/source", "audioin/gain", "audioin/loop", "live_align", "audio/source", "audio/monitor")
"""Values that change nothing while no sound is given."""

UNUSED = {table.field_name(name): table.find(name).default for name in IN_USE}
OF_A_VOICE = ("identity_guidance_scale", "audioin/window")
"""Values that change nothing while there is no speaker."""

NO_VOICE = {table.field_name(name): table.find(name).default for name in OF_A_VOICE}
REACH_SAMPLES = SAMPLE_RATE_HZ // 10
"""Driving sound beyond a chunk's end, which the analysis of its last latents looks at; it needs 1,056."""


class SoundMode:
    """`folder` is the home's media folder; `tempo` is what a live input can be aligned to."""

    def __init__(self, folder: Path, tempo: Tempo):
        self.driving = Driving()
        self.input = AudioInput()
        self._folder = folder
        self._tempo = tempo
        self._loader: Loader[Sound] = Loader(lambda name: read_sound(asset(name, folder)))
        self._sound: Sound | None = None
        self._wish = self._name = ""
        self._values: Mapping[str, Any] = table.defaults()
        self._device: str | None = None  # the pattern that is listened to
        self._driven_by: object | None = None
        self._version = 0
        self._position = 0.0

    @property
    def has_speaker(self) -> bool:
        """Whether chunks are given a voice."""
        return self._sound is not None and self._values["audio_mode"] == "id_lora"

    @property
    def is_loading(self) -> bool:
        """Whether the file is still to be read."""
        return self._loader.is_reading

    @property
    def delay_s(self) -> float:
        """How much later than it was heard a live input is in the picture."""
        return self.driving.delay_s

    @property
    def words(self) -> str:
        """What is in use, in words; "" for nothing."""
        if self.driving.is_live:
            return f"driving live, delay {self.delay_s:.1f} s"
        if self.driving.is_on:
            piece = self.driving.plan.at(round(self._position))
            at_s = piece.head_at(round(self._position)) / SAMPLE_RATE_HZ if piece and piece.source else 0.0
            return f"driving {self._sound.name} {int(at_s) // 60}:{int(at_s) % 60:02}"
        if self.has_speaker:
            return f"voice {self._sound.name}"
        return "sound loading" if self._loader.is_reading else ""

    def take(self, values: Mapping[str, Any]) -> None:
        """Follow the values `audio_input`, `audio_mode`, `audioin/...`, `live_align`, `audio/...`, `react/source`."""
        self._values = dict(values)
        self.driving.loops, self.driving.gain = values["audioin/loop"], values["audioin/gain"]
        self.input.gate.threshold_db = values["audioin/gate"]
        if values["audio_input"] != self._wish:
            self._wish = values["audio_input"]
            if self._wish:
                self._loader.ask(self._wish)
            else:
                self._loader.forget()
                self._sound, self._name = None, ""
        follows = values["react/source"] == "input" and not values["audio_input"]
        device = values["audioin/device"] if values["audioin/source"] == "live" or follows else None
        if device != self._device:
            self._device = device
            if device is None:
                self.input.close()
            else:
                self.input.open(device)
        self._drive()

    def seek(self, seconds: float) -> bool:
        """A driving file jumps to a time; False where there is none."""
        if not self.driving.is_on or self.driving.is_live:
            return False
        self.driving.seek(seconds)
        self._version += 1
        return True

    def tick(self, now_s: float, position: float, may_open: bool) -> Iterator[Told]:
        """What has happened since the last tick; `position` is heard now, `may_open` as `AudioInput.check` wants it."""
        self._position = position
        line = self.input.check(may_open)
        if line:
            yield line
        loaded = self._loader.check()
        if loaded is not None and loaded.error is not None:
            self._wish = self._name
            yield Setting("audio_input", self._name, f"{loaded.error}; the sound stays as it was")
        elif loaded is not None:
            self._sound, self._name = loaded.content, loaded.name
            length_s = len(self._sound.samples) / SAMPLE_RATE_HZ
            yield Arrival("audio_input", f"sound: {self._sound.name}, {length_s:.1f} s")
        was = self._driven_by
        self._drive()
        if self._driven_by is not was and self.driving.is_live:
            yield Arrival("audioin/source")
        self.driving.delay_step_s = delay_step_s(self._align, self._tempo.bpm, self._tempo.beats_per_bar)
        self.driving.follow(now_s, position)

    def fields(self, params: Any) -> dict[str, Any]:
        """The values of GenerationParams that a chunk is made with: those that change nothing are the table's."""
        voice = {} if self.has_speaker else NO_VOICE
        if not self.driving.is_on and not self.has_speaker:
            return UNUSED | voice | {"audio_input": ""}
        return voice | {"audio_input": Used(self._in_use, self._version), "live_align": self._align}

    def fill(self, request: ChunkRequest, inputs: Inputs) -> Inputs:
        """The inputs with the chunk's stretch of the driving sound, or with the speaker's voice.

        A request that does not name what is in use, because its values were given up, gets neither.
        """
        num_before = 0
        if request.continue_from is not None and inputs.image is None:
            num_before = num_prefix_frames(request.num_frames, request.continue_from[1])
        end = request.start + frames_to_samples(request.num_frames - num_before, request.params.frame_rate)
        plan, used = self.driving.ask(request.start, end), request.params.audio_input
        if not isinstance(used, Used) or used.name != self._in_use:
            return inputs
        if self.driving.is_on:
            start = max(0, request.start - round(DRIVING_CONTEXT_S * SAMPLE_RATE_HZ))
            source = heard(request.params.audio_source, self.driving, self._align, request.params.audio_monitor)
            sound = plan.stretch(start, end + REACH_SAMPLES - start)
            return replace(inputs, driving=sound, driving_start=start, heard=source)
        speaks = self.has_speaker and request.params.audio_mode == "id_lora"
        return replace(inputs, speaker=self._sound.voice(request.params.audioin_window)) if speaks else inputs

    def made(self) -> None:
        """The chunk that was filled last is in the timeline."""
        self.driving.made()

    def hear(self, position: int) -> Stream | None:
        """The input for a look that follows it: a driving file as it is heard at a media position, else a live input as
        it comes, without the delay of the picture; None where there is neither."""
        if self.driving.is_on and not self.driving.is_live:
            return Stream(self.driving.plan.stretch, position)
        live = self.input.sound
        is_there = self.driving.is_live or self.input.device is not None
        return Stream(live.read, live.num_samples) if is_there else None

    def close(self) -> None:
        """Listen no more."""
        self.input.close()

    @property
    def _in_use(self) -> str:
        return "live" if self.driving.is_live else self._name

    @property
    def _align(self) -> str:
        align = self._values["live_align"]
        if align != "auto":
            return align
        return "beat" if self._tempo.is_known else "off"

    def _drive(self) -> None:
        """Let drive what is wished and there; a live input drives from when it is open."""
        is_there = self._driven_by is self.input.sound or self.input.device is not None
        if self._values["audioin/source"] != "live":
            wanted: object | None = self._sound if self._values["audio_mode"] == "driving" else None
        elif is_there:
            wanted = self.input.sound
        else:  # until then what drives goes on, unless it was taken away
            wanted = self._sound if self._driven_by is self._sound else None
        if wanted is self._driven_by:
            return
        self._driven_by = wanted
        self._version += 1
        if wanted is None:
            self.driving.play(None)
        elif wanted is self.input.sound:
            self.driving.listen(self.input.sound)
        else:
            self.driving.play(self._sound.samples)
