"""What one tick of the show does: hear the engine, obey the controls, record, ask for chunks, draw."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ltx_live import params
from ltx_live.chunk import SAMPLE_RATE_HZ, Chunk, EngineInfo
from ltx_live.config import Config
from ltx_live.control import status
from ltx_live.control.event import NOTICE, Event, Inbox, Origin, Transaction, drain
from ltx_live.control.fade import MASTER, ORIGIN, Fade
from ltx_live.control.feedback import Feedback
from ltx_live.control.mapping import Mapper
from ltx_live.control.midi import CLOCK, MidiReceiver
from ltx_live.control.osc import OscReceiver
from ltx_live.control.registry import ERROR, Change, Fired, Registry, Reply
from ltx_live.display import Display, Playing
from ltx_live.engine.process import Died, EngineProcess, Failed, Loading, Message, Ready
from ltx_live.engine.slots import Slots
from ltx_live.errors import EngineError, LtxLiveError, ParameterError
from ltx_live.flow import Flow
from ltx_live.gestures import landing_rules
from ltx_live.messages import Messages
from ltx_live.moment import Moment
from ltx_live.pocket.reading import Understood, understand
from ltx_live.recordings import Recordings
from ltx_live.session import Session
from ltx_live.stage.audio import AudioOutput
from ltx_live.stage.playlist import EMPTY
from ltx_live.stage.recorder import Composer
from ltx_live.stage.timeline import Picture, Timeline
from ltx_live.stage.window import Window
from ltx_live.travel import texts

log = logging.getLogger(__name__)

UNDERSTOOD = "/ltx/prompt/understood"
CONTROL_S = 0.01
"""What waits of the controls after this time of a tick is left for the next one."""

FADE_S = 0.05
LONGEST_FADE_S = 0.5
"""The end waits for the sound to fade out: the output latency and FADE_S, and never longer than LONGEST_FADE_S."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a show is assembled from; headless has no window, and its composer works without a display."""

    registry: Registry
    mapper: Mapper
    events: Inbox
    osc: OscReceiver
    engine: EngineProcess
    slots: Slots
    session: Session
    audio: AudioOutput
    window: Window | None
    composer: Composer
    midi: MidiReceiver


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
        self.feedback = Feedback(parts.osc, parts.registry, config.osc_options.out)
        self._config = config
        self._started_s = time.perf_counter()
        self.parts = parts
        self._flow = Flow(parts.engine, parts.session, parts.registry.values, self._started_s)
        self._display = Display(parts.registry, parts.session, self._flow.tempo)
        self._timeline = Timeline()
        self._position = 0.0
        self._position_s = self._started_s  # when it was read
        self._first_picture_s: float | None = None
        self._engine_info: EngineInfo | None = None
        self._loading = ""
        self._fade = Fade()
        self._is_quit = False
        self._control = ""
        self._take_values()
        if config.record is not None:
            self.recordings.start(config.record, parts.registry.values["frame_rate"], config.duration_s)
            self.recordings.current.wait_until_open()
        meaning = self._understand(parts.registry.values["prompt"])
        if meaning is not None and meaning.unknown:
            self._tell_understood(meaning)

    @property
    def duties(self) -> tuple:
        return self.watch_sound, self.hear_engine, self.obey, self.record, self.ask, self.draw

    @property
    def is_over(self) -> bool:
        window, duration_s = self.parts.window, self._config.duration_s
        if self.failure is not None or self._is_quit or (window is not None and window.closed):
            return True
        if duration_s is None or self._first_picture_s is None:
            return False
        return not self.recordings.is_asked_for and time.perf_counter() - self._first_picture_s >= duration_s

    def watch_sound(self) -> None:
        """Look at the clock, and whether the sound device is still there."""
        audio = self.parts.audio
        lost = audio.check()
        if lost:
            self.say(lost)
        self._messages.tell_count(audio.player.num_errors, "sound callback", "failed")
        self._position_s = time.perf_counter()
        self._position = audio.position(self._position_s)

    def hear_engine(self) -> None:
        """Take what the engine has made and said."""
        for message in self.parts.engine.poll():
            if isinstance(message, Chunk):
                session, now_s = self.parts.session, time.perf_counter()
                if session.comes_too_late(message, self._position, self._timeline.end):
                    self.parts.engine.release(message.index)
                    session.drop(message, now_s)
                    continue
                self._append(message)
            self._note(message)
            self._flow.hear(message, time.perf_counter())

    def obey(self) -> None:
        """Let the controls that have come take effect, and set the level of the sound."""
        now_s = time.perf_counter()
        until_s = now_s + CONTROL_S
        if fading := self._fade.step(now_s):
            self._apply(fading)
        for transaction in drain(self.parts.events):
            self._apply(transaction)
            if time.perf_counter() > until_s:
                break
        osc = self.parts.osc
        self._messages.tell_count(osc.num_bad, "bad OSC packet", "ignored")
        foreign = f"ignored, the last from {osc.refused_from} (see --osc-allow)"
        self._messages.tell_count(osc.num_refused, "foreign OSC packet", foreign)
        self._messages.tell_count(self.parts.midi.num_bad, "bad MIDI message", "ignored")
        output = self._output
        silent = output.audio_mute or output.out_blackout
        self.parts.audio.player.target_gain = 0.0 if silent else output.audio_volume * output.out_master

    def record(self) -> None:
        """Record what was seen and heard."""
        self.recordings.update(self._position, self._timeline, self.parts.composer, self._output)

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
            params=self._generation,
            epoch=parts.registry.epoch,
            num_free_slots=parts.slots.num_free if parts.engine.can_request else 0,  # it may just be dying
            output_latency_s=self._output_latency_s + max(0.0, -self._output.av_offset / 1000),
            cut_at=self._timeline.cut_at,
            rules=self._rules,
        )
        request = self._flow.ask(moment)
        if request is not None:
            self._display.asked(request)

    def draw(self) -> None:
        """Show the picture of the moment, where there is a window."""
        picture = self._timeline.frame_at(self._shown_position)
        if picture is not None:
            self._display.seen(picture, time.perf_counter())
        window = self.parts.window
        if window is not None:
            window.pump()
            is_recording = self.recordings.current is not None
            hud = self._display.hud(self._status(picture), is_recording, self._control, tuple(self._messages.shown))
            window.show(picture, self._output, hud)
        self.feedback.update(time.perf_counter(), lambda: self._status(picture))

    def close(self) -> None:
        """Fade out, complete the recordings and drop every view onto a slot."""
        if self.recordings.current is not None:
            self.recordings.stop()
        self._fade_out()
        self.feedback.close()
        self.parts.audio.player.playlist = EMPTY
        self.parts.session.history = None
        self._timeline = Timeline()
        self.recordings.close()

    def _fade_out(self) -> None:
        """Ramp what is playing down to silence, and wait until that was heard."""
        player = self.parts.audio.player
        if not player.playlist.end:
            return
        player.target_gain = 0.0
        latency_s = max(0.0, player.committed - self.parts.audio.position()) / SAMPLE_RATE_HZ
        until_s = time.perf_counter() + min(LONGEST_FADE_S, latency_s + FADE_S)
        while not player.is_silent and time.perf_counter() < until_s:
            time.sleep(0.002)
        heard_s = player.published.heard_s + player.largest_block / SAMPLE_RATE_HZ
        time.sleep(max(0.0, min(heard_s, until_s) - time.perf_counter()))

    @property
    def _shown_position(self) -> float:
        return self._position - self._output.av_offset * SAMPLE_RATE_HZ / 1000

    def _take_values(self, changed: Iterable[Change] | None = None) -> None:
        """Read the values anew, or what these changes concern: this happens at every message."""
        tiers = {"frame", "chunk"} if changed is None else {change.tier for change in changed}
        if "frame" in tiers:
            self._output = self.parts.registry.output()
        if tiers - {"frame"}:
            self._generation = self.parts.registry.generation()
        if changed is None or any(change.name.startswith(("land/", "tempo/quantise")) for change in changed):
            self._rules = landing_rules(self.parts.registry.values)

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
                log.info("engine: %s, %dx%d, %s %s", info.name, info.width, info.height, info.device, info.detail)
                values = self.parts.registry.values
                bank = [values[f"bank/{slot}/text"] for slot in range(1, params.NUM_BANK_SLOTS + 1)]
                self._flow.encode((*texts(self._generation), *bank))
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

    def _apply(self, transaction: Transaction) -> None:
        registry = self.parts.registry
        events = []
        for sent in transaction:
            if status.is_status(sent.address):
                self._answer(sent)
            elif sent.address.startswith(CLOCK):
                events += self._flow.keep_beat(sent)
            else:
                events += self.parts.mapper.translate(sent, registry.values)
        epoch = registry.epoch
        outcome = registry.apply(tuple(events))
        self.feedback.take(outcome)
        self.feedback.reply(outcome.replies)
        for error in outcome.errors:
            self.say(error)
        for event in events:
            if event.address == NOTICE:
                self.say(str(event.args[0]), logging.INFO)
        if outcome.messages:
            self._control = outcome.messages[-1]
        self._take_values(outcome.changes)
        if registry.epoch != epoch:
            self._display.latency.asked(registry.epoch, events[0].time_s)
        for change in outcome.changes:
            self._follow(change, events[0])
        for fired in outcome.fired:
            try:
                self._fire(fired, events[0])
            except ParameterError as error:
                self.say(str(error))
                self.feedback.reply((Reply(events[0].origin, ERROR, (f"/ltx/{fired.name}", str(error))),))

    def _follow(self, change: Change, event: Event) -> None:
        """Do what a new value asks for beyond being read."""
        if change.name == "prompt":
            meaning = self._understand(change.new)
            if meaning is not None:
                self._tell_understood(meaning, event.origin)
        if change.name == MASTER and event.origin != ORIGIN:
            self._fade.stop()
        if change.name.startswith("prompt"):
            self._flow.encode(texts(self._generation))
        elif re.fullmatch(r"bank/\d+/text", change.name):
            self._flow.encode((change.new,))
        elif change.name.startswith("tempo/"):
            self._flow.tempo.take(self.parts.registry.values, event.time_s)
        elif change.tier == "reload":
            self.say(f"{change.name} = {change.new} takes effect when the show is started anew")

    def _understand(self, prompt: str) -> Understood | None:
        """How the model reads a prompt; only the pocket's words can be told."""
        return understand(prompt) if self._config.model == "pocket" else None

    def _tell_understood(self, meaning: Understood, origin: Origin | None = None) -> None:
        known, unknown = ", ".join(meaning.known), ", ".join(meaning.unknown)
        text = f"understood: {known or 'nothing'}" + (f"; not understood: {unknown}" if unknown else "")
        self.say(text, logging.INFO)
        if origin is not None:
            self.feedback.reply((Reply(origin, UNDERSTOOD, (known, unknown)),))

    def _fire(self, fired: Fired, event: Event) -> None:
        recordings, values = self.recordings, self.parts.registry.values
        is_recording = recordings.current is not None
        match fired.name:
            case "restart":
                self.parts.session.restart()
            case "tempo/tap" | "tempo/resync" | "tempo/nudge_up" | "tempo/nudge_down":
                self._apply(self._flow.keep_beat(replace(event, address=f"/ltx/{fired.name}")))
            case "rec/start" | "rec/toggle" if not is_recording:
                recordings.start(recordings.new_path(values["rec/name"]), values["frame_rate"])
            case "rec/stop" | "rec/toggle" if is_recording:
                recordings.stop()
            case "rec/still":
                picture = self._timeline.frame_at(self._shown_position)
                recordings.still(values["rec/name"], picture, self.parts.composer, self._output)
            case "out/fade":
                self._fade.start(fired.args, values[MASTER], time.perf_counter())
            case "sys/panic":
                self._fade.stop()
            case "sys/subscribe":
                self.feedback.subscribe(fired.args, event)
            case "sys/unsubscribe":
                self.feedback.unsubscribe(fired.args, event)
            case "sys/quit":
                if not self._config.quit_word or fired.args[:1] != (self._config.quit_word,):
                    raise ParameterError("/ltx/sys/quit: needs the word that the show was started with (--quit-word)")
                self._is_quit = True

    def _answer(self, question: Event) -> None:
        """Answer a question about the status."""
        picture = self._timeline.frame_at(self._shown_position)
        self.feedback.reply(status.answer(question, self._status(picture)))

    def _status(self, picture: Picture | None) -> status.Status:
        playing = Playing(
            *self._state(), self._position, self._timeline.end, picture, self._output_latency_s, self._position_s
        )
        return self._display.status(playing)

    @property
    def _output_latency_s(self) -> float:
        return max(0.0, self.parts.audio.player.committed - self._position) / SAMPLE_RATE_HZ

    def _state(self) -> tuple[str, str]:
        """The state in the words of HudState, and its detail."""
        session = self.parts.session
        step, num_steps = session.step
        detail = session.notice or (f"step {step}/{num_steps}" if num_steps else "")
        if self._engine_info is None:
            return ("loading" if self._first_picture_s is None else "engine down"), self._loading
        if self._first_picture_s is None:
            return "loading", f"first chunk, {detail}"
        if self._generation.pause:
            return "paused", ""
        return ("underrun" if self._position >= self._timeline.end else "playing"), detail
