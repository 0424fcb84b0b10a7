"""Where controls come in: transactions change the live values, and what they ask for beyond that is done here."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ltx_live.control import leds, status
from ltx_live.control.event import NOTICE, Event, Origin, Transaction, drain
from ltx_live.control.fade import MASTER, ORIGIN, Fade
from ltx_live.control.midi import CLOCK
from ltx_live.control.registry import ERROR, Change, Fired, Reply
from ltx_live.display import Display
from ltx_live.engines import engine_spec
from ltx_live.errors import ParameterError
from ltx_live.flow import Flow
from ltx_live.gestures import landing_rules
from ltx_live.modes.running import FOLLOWED
from ltx_live.modes.use import Arrival, Setting, Told
from ltx_live.parts import Parts
from ltx_live.playback import MORPH
from ltx_live.pocket.reading import Understood, understand
from ltx_live.recordings import Recordings
from ltx_live.roots import Roots
from ltx_live.stage.timeline import Picture
from ltx_live.travel import texts

UNDERSTOOD = "/ltx/prompt/understood"
LORA = "/ltx/lora/file"
CONTROL_S = 0.01
"""What waits of the controls after this time of a tick is left for the next one."""

LONGEST_SEEK_S = 1e6
"""Eleven days: a number beyond it, infinity too, is no place in a file."""

TAP_LIGHT_BEATS = 0.25
"""So long a light for tapping the tempo is on at every beat."""

DEVICE = "audio/device"
SIZE = ("width", "height")
MODES = Origin("app", "modes")


@dataclass(frozen=True, slots=True)
class Seen:
    """What only the show knows: the picture that is shown now, and its status."""

    picture: Callable[[], Picture | None]
    status: Callable[[], status.Status]


class Desk:
    """Takes what controls send into the registry; `output`, `generation` and `rules` are the present values.

    `control` is the last message and what it did, for the display; `is_quit`, that the show is to end.
    `say(text, level)` shows a line. `is_pocket` tells that prompts are the pocket's, whose words can be checked.
    """

    def __init__(self, parts: Parts, flow: Flow, display: Display, recordings: Recordings, seen: Seen):
        self.control = ""
        self.is_quit = False
        self._fade = Fade()
        self._parts = parts
        self._flow = flow
        self._display = display
        self._recordings = recordings
        self._seen = seen
        self._say = recordings.say
        self._roots = Roots(recordings.config.home, parts.rack.shelf.has)
        self._is_pocket = recordings.config.model == "pocket"
        self._landing_rules: dict[str, str] | None = None
        meaning = self._understand(parts.registry.values["prompt"])
        if meaning is not None and meaning.unknown:
            self._tell_understood(meaning)

    @property
    def output(self) -> Any:
        """OutputParams as they are now."""
        return self._parts.registry.output()

    @property
    def generation(self) -> Any:
        """GenerationParams as they are now."""
        return self._parts.registry.generation()

    @property
    def rules(self) -> dict[str, str]:
        """Where gestures land, as of `landing_rules`; without what glides."""
        if self._landing_rules is None:
            self._landing_rules = landing_rules(self._parts.registry.values)
        return self._parts.playback.soften(self._landing_rules)

    def obey(self) -> None:
        """Let take effect what happens by itself, and the controls that have come."""
        now_s = time.perf_counter()
        for transaction in self._parts.playback.due(now_s, self._parts.registry.values):
            self.apply(transaction)
        self.apply((*self._parts.keeper.update(now_s), *self._flow.keep_link(), *self._fade.step(now_s)))
        self._parts.controllers.tick(now_s, self._lit(now_s), self._flow.tempo.next)
        self.take()

    def take(self) -> None:
        """Let the controls that have come take effect."""
        until_s = time.perf_counter() + CONTROL_S
        for transaction in drain(self._parts.events):
            self.apply(transaction)
            if time.perf_counter() > until_s:
                break

    def asked(self) -> None:
        """A chunk is made with the present values."""
        self._parts.playback.asked()

    def hear_modes(self, told: Told) -> None:
        """Do what the modes have to tell: show it, set what follows from it, and let what has arrived be pending."""
        match told:
            case Setting(name, value, text):
                event = Event(f"/ltx/{name}", (value,), MODES, time.perf_counter())
                self.apply((event,))
                self._say_line(text)
            case Arrival(name, text):
                self._renew(name)
                self._say_line(text, logging.INFO)
            case str():
                self._say_line(told)

    def apply(self, transaction: Transaction) -> None:
        """Let the events of a transaction take effect together."""
        registry = self._parts.registry
        events = []
        for sent in transaction:
            refusal = self._roots.refusal(sent)
            if refusal is not None:
                self._say_line(refusal)
                self._parts.reply(sent.origin, ERROR, (sent.address, refusal))
            elif status.is_status(sent.address):
                self._answer(sent)
            elif sent.address.startswith(CLOCK):
                for heard in self._parts.controllers.clock(sent):
                    events += self._flow.keep_beat(heard)
            else:
                events += self._parts.controllers.translate(sent, registry.values)
        epoch = registry.epoch
        outcome = registry.apply(tuple(events))
        self._parts.controllers.applied(outcome, tuple(events))
        self._parts.playback.heard(tuple(events), outcome)
        self._parts.keeper.heard(tuple(events), outcome, time.perf_counter())
        is_morph = any(event.origin == MORPH for event in events)
        self._parts.feedback.take(outcome)
        self._parts.reply_all(outcome.replies)
        for error in outcome.errors:
            self._say_line(error)
        for event in events:
            if event.address == NOTICE:
                self._say_line(str(event.args[0]), logging.INFO)
        if outcome.messages and not is_morph:
            self.control = outcome.messages[-1]
        self._hand_on([change.name for change in outcome.changes])
        if registry.epoch != epoch and not is_morph:
            self._display.latency.asked(registry.epoch, events[0].time_s)
        for change in outcome.changes:
            self._follow(change, events[0])
        for fired in outcome.fired:
            event = next((event for event in events if event.address.endswith(fired.name)), events[0])
            try:
                self._fire(fired, event)
            except ParameterError as error:
                self._say_line(str(error))
                self._parts.reply(event.origin, ERROR, (f"/ltx/{fired.name}", str(error)))

    def _lit(self, now_s: float) -> leds.Seen:
        """What the lights of controllers show."""
        registry, is_recording = self._parts.registry, self._recordings.current is not None
        states = {"rec/toggle": is_recording, "rec/start": is_recording}
        states["tempo/tap"] = self._flow.tempo.beat_at(now_s) % 1 < TAP_LIGHT_BEATS
        return leds.Seen(registry.values, registry.pending(), states)

    def _hand_on(self, names: Sequence[str]) -> None:
        """Let those follow these values whom they concern: this happens at every message, so it must be cheap."""
        values = self._parts.registry.values
        if any(name.startswith(("land/", "tempo/quantise")) for name in names):
            self._landing_rules = None
        if any(FOLLOWED.fullmatch(name) for name in names):
            self._flow.modes.take(values, names)
        self._flow.reaction.take(values, names)

    def _say_line(self, text: str, level: int = logging.WARNING) -> None:
        if text:
            self._say(text, level)

    def _renew(self, name: str) -> None:
        """What a value asks for can be done from now on: it is pending until it is seen."""
        if name:
            self._parts.registry.renew(name)
            self._display.latency.asked(self._parts.registry.epoch, time.perf_counter())

    def _follow(self, change: Change, event: Event) -> None:
        """Do what a new value asks for beyond being read."""
        if change.name == "prompt":
            meaning = self._understand(change.new)
            if meaning is not None:
                self._tell_understood(meaning, event.origin)
        if change.name == MASTER and event.origin != ORIGIN:
            self._fade.stop()
        if change.name.startswith("prompt") and isinstance(change.new, str):  # weights bring no new text
            self._flow.encode(texts(self._parts.registry.edited()))
        elif re.fullmatch(r"bank/\d+/text", change.name):
            self._flow.encode((change.new,))
        elif change.name.startswith("tempo/"):
            self._flow.take_tempo(self._parts.registry.values, event.time_s)
        elif change.name == DEVICE:
            self._parts.audio.change(change.new)
        elif change.tier == "reload":
            when = "when the show is started anew" if change.name in SIZE else "with /ltx/reload"
            self._say_line(f"{change.name} = {change.new} takes effect {when}")

    def _understand(self, prompt: str) -> Understood | None:
        """How the model reads a prompt; only the pocket's words can be told."""
        return understand(prompt) if self._is_pocket else None

    def _tell_understood(self, meaning: Understood, origin: Origin | None = None) -> None:
        known, unknown = ", ".join(meaning.known), ", ".join(meaning.unknown)
        text = f"understood: {known or 'nothing'}" + (f"; not understood: {unknown}" if unknown else "")
        self._say_line(text, logging.INFO)
        if origin is not None:
            self._parts.reply(origin, UNDERSTOOD, (known, unknown))

    def _fire(self, fired: Fired, event: Event) -> None:
        """Do what a trigger asks for."""
        group = fired.name.split("/")[0]
        match group:
            case "restart":
                self._parts.session.restart()
            case "reload":
                self._reload()
            case "tempo":
                self.apply(self._flow.keep_beat(replace(event, address=f"/ltx/{fired.name}")))
            case "mod":
                self._flow.reaction.fire(fired.name)
            case "rec":
                self._record(fired.name)
            case "image":
                self._lead(fired.name)
            case "audio":
                self._say_line(self._parts.audio.restart(), logging.INFO)
            case "ref" | "audioin":
                self._seek(fired)
            case "track":
                self._track(fired, event)
            case "lora":
                self._lora(fired, event)
            case "cue":
                self._parts.reply_all(tuple(self._parts.playback.answer(fired, event)))
            case "out":
                self._fade.start(fired.args, self._parts.registry.values[MASTER], time.perf_counter())
            case "sys":
                self._system(fired, event)

    def _reload(self) -> None:
        """Load the engine again, with what needs that but the size, which the slots have. Raises ParameterError."""
        config, parts = self._recordings.config, self._parts
        values = dict(parts.registry.values) | {name: config.values[name] for name in SIZE}
        settings = parts.engine.spec.arguments.get("settings")
        merges = values["lora_merge_strategy"] == "permanent_merge"
        if settings is not None and settings.merge_loras != merges and not parts.rack.may_begin_anew():
            raise ParameterError("/ltx/reload: put the LoRAs of the start back into their slots first")
        if not parts.engine.reload(engine_spec(replace(config, values=values))):
            raise ParameterError("/ltx/reload: the engine is still loading; send it again when it plays")
        if any(values[name] != parts.registry.values[name] for name in SIZE):
            self._say_line("/ltx/reload: another width or height needs the show started anew; the rest is loaded")

    def _record(self, name: str) -> None:
        recordings, values = self._recordings, self._parts.registry.values
        is_recording = recordings.current is not None
        match name:
            case "rec/start" | "rec/toggle" if not is_recording:
                recordings.start(recordings.new_path(values["rec/name"]), values["frame_rate"])
            case "rec/stop" | "rec/toggle" if is_recording:
                recordings.stop()
            case "rec/still":
                recordings.still(
                    values["rec/name"],
                    self._seen.picture(),
                    self._parts.composer,
                    self._flow.reaction.apply(self.output),
                )

    def _system(self, fired: Fired, event: Event) -> None:
        """Triggers that concern the show as a whole, and who is told of it."""
        match fired.name:
            case "sys/panic":
                self._fade.stop()
            case "sys/subscribe":
                self._parts.feedback.subscribe(fired.args, event)
            case "sys/unsubscribe":
                self._parts.feedback.unsubscribe(fired.args, event)
            case "sys/quit":
                word = self._recordings.config.quit_word
                if not word or fired.args[:1] != (word,):
                    raise ParameterError("/ltx/sys/quit: needs the word that the show was started with (--quit-word)")
                self.is_quit = True

    def _lead(self, name: str) -> None:
        """Triggers of the image that leads."""
        image = self._flow.modes.image
        match name:
            case "image/grab":
                picture = self._seen.picture()
                if picture is None:
                    self._say_line("image/grab: there is no picture yet")
                else:
                    self.hear_modes(Setting("i2v_image", image.grab(picture.newest.pixels)))
            case "image/clear":
                self.hear_modes(Setting("i2v_image", ""))
            case "image/again":
                if image.again():
                    self._renew("i2v_image")
                else:
                    self._say_line("image/again: there is no image; set i2v_image")

    def _seek(self, fired: Fired) -> None:
        """A play-head jumps."""
        is_reference = fired.name == "ref/seek"
        mode = self._flow.modes.guide if is_reference else self._flow.modes.sound
        try:
            seconds = max(0.0, float(fired.args[0]))
        except (IndexError, TypeError, ValueError):
            seconds = math.inf
        if not seconds <= LONGEST_SEEK_S:
            self._say_line(f"/ltx/{fired.name}: send the time in seconds")
        elif mode.seek(seconds):
            self._renew("ref/source" if is_reference else "audio_input")
        else:
            self._say_line(f"/ltx/{fired.name}: there is no file to jump in")

    def _track(self, fired: Fired, event: Event) -> None:
        guide = self._flow.modes.guide
        if fired.name == "track/clear":
            guide.clear_tracks()
        else:
            self._say_line(guide.track(int(fired.name.split("/")[1]), fired.args, event.time_s) or "")

    def _lora(self, fired: Fired, event: Event) -> None:
        """List the LoRA files, or put one into the first empty slot."""
        loras = self._flow.modes.loras
        if fired.name == "lora/list":
            self._parts.reply_all([Reply(event.origin, LORA, tuple(row)) for row in loras.rack.rows()])
            return
        number = loras.free_slot()
        if not fired.args or not isinstance(fired.args[0], str):
            self._say_line("/ltx/lora/drop: send the path of a LoRA file")
        elif number is None:
            self._say_line("/ltx/lora/drop: every slot is taken; empty one with /ltx/lora/N/name ''")
        else:
            self.hear_modes(Setting(f"lora/{number}/name", fired.args[0]))

    def _answer(self, question: Event) -> None:
        """Answer a question about the status."""
        self._parts.reply_all(status.answer(question, self._seen.status()))
