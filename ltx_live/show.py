"""What one tick of the show does: hear the engine, obey the controls, record, ask for chunks, draw."""

from __future__ import annotations

import dataclasses
import logging
import time

from ltx_live import params
from ltx_live.chunk import SAMPLE_RATE_HZ, Chunk, EngineInfo
from ltx_live.config import Config
from ltx_live.control.status import Status
from ltx_live.desk import DEVICE, Desk, Seen
from ltx_live.display import Display, Playing
from ltx_live.engine.process import Died, Failed, Loading, Message, Ready
from ltx_live.engines import unloaded
from ltx_live.errors import EngineError, LtxLiveError
from ltx_live.flow import Flow
from ltx_live.messages import Messages
from ltx_live.modes.use import Setting
from ltx_live.moment import Moment
from ltx_live.parts import Parts
from ltx_live.recordings import Recordings
from ltx_live.stage.look import limit_strobe
from ltx_live.stage.playlist import EMPTY
from ltx_live.stage.timeline import Picture, Timeline
from ltx_live.travel import texts

log = logging.getLogger(__name__)

FADE_S = 0.05
LONGEST_FADE_S = 0.5
"""The end waits for the sound to fade out: the output latency and FADE_S, and never longer than LONGEST_FADE_S."""


class Show:
    """Call each of `duties` once a tick, in their order; none of them waits. `is_over` says when to end.

    The length that `config.duration_s` asks for is counted from the first picture, and `config.record` begins with it.
    `failure` is what the show ends with when it cannot play: before its first picture every fault of the engine is
    fatal, afterwards none is. `recordings.error` is why `config.record` could not be written; it does not end the show.
    """

    def __init__(self, config: Config, parts: Parts):
        self.failure: LtxLiveError | None = None
        self._messages = Messages()
        self.say = self._messages.say
        self.recordings = Recordings(config, parts.slots.layout, parts.audio.player, self.say)
        self._config = config
        self._started_s = time.perf_counter()
        self.parts = parts
        values = parts.registry.values
        self._flow = Flow(parts.engine, parts.session, parts.rack, values, config.home / "media")
        self._display = Display(parts.registry, parts.session, self._flow.tempo, parts.rack)
        self._timeline = Timeline()
        self._position = 0.0
        self._position_s = self._started_s  # when it was read
        self._beyond_s = 0.0  # how long nothing has been left to play, in seconds of media
        self._is_strobe_limited = False
        self._first_picture_s: float | None = None
        self._engine_info: EngineInfo | None = None
        self._loading = ""
        self._desk = Desk(parts, self._flow, self._display, self.recordings, Seen(self._picture, self._status))
        self._output = self._desk.output
        if config.record is not None:
            self.recordings.start(config.record, values["frame_rate"], config.duration_s)
            self.recordings.current.wait_until_open()

    @property
    def duties(self) -> tuple:
        """Controls are taken between the longer ones, too: what comes meanwhile need not wait for the next tick."""
        return self.watch_sound, self.hear_engine, self.obey, self.record, self.take, self.ask, self.take, self.draw

    @property
    def is_over(self) -> bool:
        window, duration_s = self.parts.window, self._config.duration_s
        if self.failure is not None or self._desk.is_quit or (window is not None and window.closed):
            return True
        if duration_s is None or self._first_picture_s is None:
            return False
        return not self.recordings.is_asked_for and time.perf_counter() - self._first_picture_s >= duration_s

    @property
    def delay_s(self) -> float:
        """How much later than it was there what is live is seen, of the chunk that was asked for last."""
        return self._flow.modes.delay_s

    def watch_sound(self) -> None:
        """Look at the clock, whether the sound device is still there, and what the modes have to tell."""
        audio = self.parts.audio
        lost = audio.check()
        if lost:
            self.say(lost)
        if audio.pattern != self.parts.registry.values[DEVICE]:
            self._desk.hear_modes(Setting(DEVICE, audio.pattern))
        self._messages.tell_count(audio.player.num_errors, "sound callback", "failed")
        before_s, self._position_s = self._position_s, time.perf_counter()
        self._position = audio.position(self._position_s)
        is_over = self._position >= self._timeline.end
        self._beyond_s = self._beyond_s + (self._position_s - before_s) * self._speed if is_over else 0.0
        for told in self._flow.tick(self._position_s, self._position, not audio.is_looking):
            self._desk.hear_modes(told)

    def hear_engine(self) -> None:
        """Take what the engine has made and said."""
        for message in self.parts.engine.poll():
            if isinstance(message, Chunk):
                session, now_s = self.parts.session, time.perf_counter()
                if session.comes_too_late(message, self._position, self._timeline.end, self._speed):
                    self.parts.engine.release(message.index)
                    session.drop(message, now_s)
                    continue
                self._append(message)
            self._note(message)
            self._flow.hear(message, time.perf_counter())

    def obey(self) -> None:
        """Let the controls that have come take effect, and set the level and the speed of the sound."""
        self._desk.obey()
        osc = self.parts.osc
        self._messages.tell_count(osc.num_bad, "bad OSC packet", "ignored")
        foreign = f"ignored, the last from {osc.refused_from} (see --osc-allow)"
        self._messages.tell_count(osc.num_refused, "foreign OSC packet", foreign)
        self._messages.tell_count(self.parts.midi.num_bad, "bad MIDI message", "ignored")
        self._messages.tell_count(self.parts.web.num_bad, "bad WebSocket message", "ignored")
        reaction = self._flow.reaction
        reaction.update(self._position_s, self._position, self.parts.audio.player.playlist)
        output = self._output = self._limited(reaction.apply(self._desk.output))
        silent = output.audio_mute or output.out_blackout
        player = self.parts.audio.player
        player.target_gain = 0.0 if silent else output.audio_volume * output.out_master
        player.target_speed = output.out_speed

    def take(self) -> None:
        """Let the controls that have come take effect, as between two ticks."""
        self._desk.take()

    def record(self) -> None:
        """Record what was seen and heard."""
        self.recordings.update(self._position, self._picture_at, self.parts.composer, self._output)

    def ask(self) -> None:
        """Let go of what is played, and ask the engine for what comes next."""
        parts, player = self.parts, self.parts.audio.player
        seen = min(self._position, self._shown_position)
        for index in self._flow.release(self._timeline.advance(seen, player.published.generation)):
            self._display.forget(index)
        player.playlist = self._timeline.playlist
        moment = Moment(
            now_s=self._position_s,
            position=self._position,
            end=self._timeline.end,
            params=self._desk.generation,
            epoch=parts.registry.epoch,
            num_free_slots=parts.slots.num_free if parts.engine.can_request else 0,  # it may just be dying
            committed=max(player.committed, self._position) + max(0.0, self._shown_position - self._position),
            cut_at=self._timeline.cut_at,
            rules=self._desk.rules,
            speed=self._speed,
        )
        request = self._flow.ask(moment)
        if request is not None:
            self._display.asked(request)
            self._desk.asked()

    def draw(self) -> None:
        """Show the picture of the moment, where there is a window."""
        picture = self._picture()
        if picture is not None:
            self._display.seen(picture, time.perf_counter())
        told, window = self._status(), self.parts.window
        self.parts.web.publish(self.parts.registry.values, told)
        self.parts.feedback.update(time.perf_counter(), lambda: told)
        if window is not None:
            window.pump()
            is_recording = self.recordings.current is not None
            messages, learning = tuple(self._messages.shown), self.parts.controllers.line
            hud = self._display.hud(told, is_recording, self._desk.control, messages, learning)
            window.show(picture, self._output, hud)

    def close(self) -> None:
        """Fade out, complete the recordings and drop every view onto a slot."""
        if self.recordings.current is not None:
            self.recordings.stop()
        self._fade_out()
        self.parts.audio.player.playlist = EMPTY
        self.parts.session.history = None
        self._timeline = Timeline()
        self._flow.close()
        self.recordings.close()

    def _fade_out(self) -> None:
        """Ramp what is playing down to silence, and wait until that was heard."""
        player = self.parts.audio.player
        if not player.playlist.end:
            return
        player.target_gain = 0.0
        now_s = time.perf_counter()
        until_s = now_s + min(LONGEST_FADE_S, player.latency_s(now_s) + FADE_S)
        while not player.is_silent and time.perf_counter() < until_s:
            time.sleep(0.002)
        heard_s = player.published.heard_s + player.largest_block / SAMPLE_RATE_HZ
        time.sleep(max(0.0, min(heard_s, until_s) - time.perf_counter()))

    @property
    def _speed(self) -> float:
        """How fast the media is to run, in its seconds to one second."""
        return self.parts.audio.player.target_speed

    @property
    def _shown_position(self) -> float:
        """The media position of the picture: of the sound that was or will be heard `av/offset` from now."""
        heard, offset_s = self.parts.audio.player.published, self._output.av_offset / 1000
        return self._position + heard.at(self._position_s - offset_s) - heard.at(self._position_s)

    def _picture(self) -> Picture | None:
        """What is shown now."""
        return self._picture_at(self._position, self._position - self._shown_position)

    def _picture_at(self, position: float, delay: float = 0.0) -> Picture | None:
        """What is shown when a media position is heard, `delay` samples late, with the time of that."""
        time_s = self._position_s + (position - self._position) / SAMPLE_RATE_HZ / max(1.0, self._speed)
        way = self._output.out_underrun
        if position < self._timeline.end or way == "hold":
            picture = self._timeline.frame_at(position - delay)
        else:
            picture = self._timeline.again(self._beyond_s, way)
        return picture and dataclasses.replace(picture, time_s=time_s)

    def _limited(self, output: params.OutputParams) -> params.OutputParams:
        """With a strobe that is no faster than the show was started for; that is told once each time."""
        limit_hz = self._config.strobe_limit_hz
        limited = limit_strobe(output, limit_hz)
        is_limited = limited is not output
        if is_limited and not self._is_strobe_limited:
            self.say(f"/ltx/out/strobe: shown at {limit_hz:g} Hz at most; start with --strobe-limit to allow more")
        self._is_strobe_limited = is_limited
        return limited

    def _append(self, chunk: Chunk) -> None:
        player = self.parts.audio.player
        self._timeline.append(chunk, player.committed, self._output.out_crossfade)
        player.playlist = self._timeline.playlist
        if self._first_picture_s is None:
            self._first_picture_s = time.perf_counter()
            log.info("first picture after %.1f s", self._first_picture_s - self._started_s)

    def _note(self, message: Message) -> None:
        match message:
            case Loading(text):
                self._loading = text
                log.info("engine: %s", text)
            case Ready(info):
                self._engine_info = info
                settings = self.parts.engine.spec.arguments.get("settings")
                if settings is not None:
                    self.parts.rack.begin_with(settings.merge_loras)
                log.info("engine: %s, %dx%d, %s %s", info.name, info.width, info.height, info.device, info.detail)
                values = self.parts.registry.values
                bank = [values[f"bank/{slot}/text"] for slot in range(1, params.NUM_BANK_SLOTS + 1)]
                self._flow.encode((*texts(self._desk.generation), *bank))
            case Failed(text, index, fatal):
                self._fail(text, fatal or (index is not None and self._first_picture_s is None))
            case Died(_, text, _, delay_s):
                self._engine_info = None
                self._loading = "starting again"
                self._fail(f"{text}; it starts again in {delay_s:g} s", self._first_picture_s is None)

    def _fail(self, text: str, is_fatal: bool) -> None:
        if is_fatal:
            self.failure = EngineError(text)
        else:
            self.say(f"engine: {text}")

    def _status(self) -> Status:
        self._display.cue = self.parts.playback.words(self.parts.registry.values)
        playing = Playing(
            *self._state(),
            self._position,
            self._timeline.end,
            self._picture(),
            self._output_latency_s,
            self._position_s,
            self._flow.modes.words,
            self.delay_s,
            self.parts.audio.player.level,
            self.recordings.current is not None,
            self._messages.error,
            unloaded(self.parts.engine.spec, self.parts.registry.values),
            self._speed,
        )
        return self._display.status(playing)

    @property
    def _output_latency_s(self) -> float:
        return self.parts.audio.player.latency_s(self._position_s)

    def _state(self) -> tuple[str, str]:
        """The state in the words of HudState, and its detail."""
        session = self.parts.session
        step, num_steps = session.step
        detail = session.notice or (f"step {step}/{num_steps}" if num_steps else "")
        if self._engine_info is None:
            return ("loading" if self._first_picture_s is None else "engine down"), self._loading
        if self._first_picture_s is None:
            return "loading", f"first chunk, {detail}"
        if self._desk.generation.pause:
            return "paused", ""
        if not self._speed:
            return "held", detail
        pace = f"at {self._speed:.2f} of its speed" if self._speed != 1 else ""
        state = "underrun" if self._position >= self._timeline.end else "playing"
        return state, ", ".join(part for part in (pace, detail) if part)
