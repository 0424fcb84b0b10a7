"""What moves by itself, in a real show without a window: drawn, heard and recorded, but never a gesture or a value."""

import contextlib
import json
import threading
import time
import wave
from dataclasses import replace

import numpy as np
import pytest
from turned_show import Show as TurnedShow
from turned_show import pocket_s

from ltx_live import config
from ltx_live.bench._show import after, tick, watched_show
from ltx_live.chunk import SAMPLE_RATE_HZ
from ltx_live.control.event import Event, Origin
from ltx_live.media.video import read_video
from ltx_live.stage.clock import FramePacer
from ltx_live.stage.look import apply_look

RATE_HZ = 60
BLOCK = 480
HITS_S = (0.4, 1.113, 1.738, 2.25, 2.971, 3.6)


def seen(picture, output):
    """How bright the picture is drawn, and the values that it is drawn with."""
    return float(apply_look(picture.frame.pixels[:8, :8], output).mean()), output


@contextlib.contextmanager
def playing(home, **rows):
    size = {"width": 96, "height": 64, "num_frames": 57}
    values = config.initial_values("testcard", None, size | {name.replace("__", "/"): rows[name] for name in rows})
    made = config.Config(model="testcard", home=home, values=values, osc=("127.0.0.1", 0), midi="none")
    with watched_show(replace(made, headless=True), seen) as show:
        tick(show, FramePacer(RATE_HZ), lambda: show.parts.window.seen)
        yield show


def send(show, *messages):
    now_s = time.perf_counter()
    events = (Event(f"/ltx/{name}", (value,), Origin("app", "test"), now_s) for name, value in messages)
    show.parts.events.put(tuple(events))


def switch_on(show, number, target, shape, depth, **rows):
    rows = {"target": target, "shape": shape, "depth": depth, **rows, "active": 1}
    send(show, *((f"mod/{number}/{name}", value) for name, value in rows.items()))


def test_it_is_drawn_and_heard_while_values_stay(tmp_path):
    with playing(tmp_path, out__contrast=0.0) as show:
        switch_on(show, 1, "out/brightness", "square", 0.25, rate=4.0)
        switch_on(show, 2, "audio/volume", "square", 1.0, rate=4.0)
        tick(show, FramePacer(RATE_HZ), after(0.1))
        window, player, gains = show.parts.window, show.parts.audio.player, []
        window.seen.clear()
        tick(show, FramePacer(RATE_HZ), lambda: gains.append(player.target_gain) or len(gains) > 2 * RATE_HZ)
        values = show.parts.registry.values
        assert values["out/brightness"] == 0 and values["audio/volume"] == pytest.approx(0.251189)
        assert show.parts.registry.output().out_brightness == 0
        lasting = [output.out_brightness for _, (_, output) in window.seen]
        assert set(lasting) == {-0.5, 0.5} and 14 <= np.count_nonzero(np.diff(lasting)) <= 17
        assert set(gains) == {0.0, 1.0}


def test_the_recording_shows_it(tmp_path):
    with playing(tmp_path, out__hue=0.0) as show:
        switch_on(show, 1, "out/opacity", "square", 1.0, rate=4.0)
        send(show, ("rec/name", "lfo"), ("rec/start", 1))
        tick(show, FramePacer(RATE_HZ), after(2.2))
        send(show, ("rec/stop", 1))
        tick(show, FramePacer(RATE_HZ), after(1.0))
    video = read_video(next((tmp_path / "recordings").glob("lfo*.mp4")))
    bright = video.frames[:, :8, :8].mean(axis=(1, 2, 3)) > 60
    assert 10 <= np.count_nonzero(np.diff(bright.astype(int))) <= 18


class Input:
    """A virtual sound input that plays, at the pace of a device, silence with hits of 50 ms; `hits_s` is when each
    block with the beginning of one was handed over."""

    def __init__(self, sound):
        self.sound = sound
        self.hits_s = []
        noise = np.random.default_rng(1).standard_normal((2400, 2)).astype(np.float32) * 0.2
        self._samples = np.zeros((round((HITS_S[-1] + 0.5) * SAMPLE_RATE_HZ), 2), np.float32)
        self._starts = [round(hit_s * SAMPLE_RATE_HZ) for hit_s in HITS_S]
        for start in self._starts:
            self._samples[start : start + len(noise)] = noise
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        begin_s = time.perf_counter()
        for start in range(0, len(self._samples) - BLOCK, BLOCK):
            time.sleep(max(0.0, begin_s + (start + BLOCK) / SAMPLE_RATE_HZ - time.perf_counter()))
            self.sound.write(self._samples[start : start + BLOCK], time.perf_counter())
            if any(start <= hit < start + BLOCK for hit in self._starts):
                self.hits_s.append(time.perf_counter())


@pytest.mark.real_time
def test_a_hit_in_the_input_is_drawn_within_two_frames(tmp_path):
    with playing(tmp_path, react__source="input", react__release=0.05) as show:
        switch_on(show, 1, "out/brightness", "onset", 0.3)
        tick(show, FramePacer(RATE_HZ), after(0.3))
        sound = show._flow.modes.sound
        sound.driving.listen(sound.input.sound)
        heard = Input(sound.input.sound)
        show.parts.window.seen.clear()
        heard.thread.start()
        tick(show, FramePacer(RATE_HZ), lambda: not heard.thread.is_alive())
        drawn = show.parts.window.seen
    times = np.array([time_s for time_s, _ in drawn])
    lifted = np.array([output.out_brightness > 0.2 for _, (_, output) in drawn])
    bright = np.array([brightness for _, (brightness, _) in drawn])
    late = []
    for hit_s in heard.hits_s:
        first = int(np.searchsorted(times, hit_s))
        assert not lifted[first - 1], "not before it was heard"
        late.append(int(np.argmax(lifted[first:])) + 1)
        assert lifted[first:].any() and bright[first + late[-1] - 1] > bright[first - 1] + 40
    print("frames until it is drawn:", late)
    assert len(late) == len(HITS_S) and max(late) <= 2


@pytest.mark.real_time
def test_a_driving_file_is_followed_where_its_play_head_is(tmp_path):
    """Two seconds with hits of 50 ms at 0.5 and 1.25 s, round and round."""
    (tmp_path / "media").mkdir()
    hits = np.zeros((2 * SAMPLE_RATE_HZ, 2), np.float32)
    for second in (0.5, 1.25):
        start = round(second * SAMPLE_RATE_HZ)
        hits[start : start + 2400] = np.random.default_rng(2).standard_normal((2400, 2)) * 0.2
    with wave.open(str(tmp_path / "media/hits.wav"), "wb") as file:
        file.setparams((2, 2, SAMPLE_RATE_HZ, 0, "NONE", ""))
        file.writeframes((hits.clip(-1, 1) * 32767).astype("<i2").tobytes())
    with playing(tmp_path, react__source="input", react__release=0.05, num_frames=33) as show:
        switch_on(show, 1, "out/brightness", "onset", 0.3)
        send(show, ("audio_input", "hits.wav"), ("audio/source", "off"))
        driving, lifted = show._flow.modes.sound.driving, []

        def look():
            piece = driving.plan.at(round(show._position))
            if piece is not None and piece.source is not None:
                lifted.append(
                    (piece.head_at(round(show._position)) / SAMPLE_RATE_HZ, show._output.out_brightness > 0.2)
                )
            return len(lifted) > 6 * RATE_HZ

        tick(show, FramePacer(RATE_HZ), look)
    rises = [at for (_, before), (at, now) in zip(lifted, lifted[1:], strict=False) if now and not before]
    assert len(rises) >= 5
    for at in rises:
        assert 0 <= min(at - 0.5, at - 1.25, key=abs) < 0.06, rises


@pytest.mark.real_time
def test_the_output_is_followed_as_it_is_heard(tmp_path):
    """The test card beeps at each whole second of the media clock, before the faders."""
    with playing(tmp_path, audio__volume=0.0, react__release=0.02) as show:
        switch_on(show, 1, "out/hue", "mid", 0.5)
        moved = []

        def look():
            moved.append((show._position / SAMPLE_RATE_HZ, show._output.out_hue))
            return moved[-1][0] > 4.5

        tick(show, FramePacer(RATE_HZ), look)
        assert show.parts.registry.values["out/hue"] == 0
    into = np.array([position % 1 for position, _ in moved if position > 1.5])
    hue = np.array([hue for position, hue in moved if position > 1.5])
    assert hue[(into > 0.05) & (into < 0.09)].min() > 120
    assert hue[into > 0.5].max() < 20


def test_an_lfo_on_generation_values_never_cuts_and_the_log_holds_what_was_made(tmp_path):
    with playing(tmp_path, num_frames=33, num_steps=8, audio__volume=0.0) as show:
        switch_on(show, 1, "num_steps", "random", 0.5, rate=20.0)
        switch_on(show, 2, "prompts/1/weight", "random", 0.4, rate=20.0)
        for number, text in ((1, "red"), (2, "blue")):
            send(show, (f"prompts/{number}/text", text), (f"prompts/{number}/weight", 0.5))
        tick(show, FramePacer(RATE_HZ), after(3.0))  # until the texts have landed
        statistics, epoch = show.parts.session.statistics, show.parts.registry.epoch
        num_cuts, num_cancelled = statistics.num_cuts, statistics.num_cancelled
        tick(show, FramePacer(RATE_HZ), after(6.0))
        assert (statistics.num_cuts, statistics.num_cancelled) == (num_cuts, num_cancelled)
        assert statistics.num_underruns == 0 and show.parts.registry.epoch == epoch
        assert show.parts.registry.pending() == () and show.parts.registry.values["num_steps"] == 8
    lines = [json.loads(line) for line in (tmp_path / "shows/last.jsonl").read_text().splitlines()][-5:]
    assert len({line["params"]["num_steps"] for line in lines}) > 1
    assert len({tuple(map(tuple, line["prompts"])) for line in lines}) > 1
    for line in lines:
        weights = line["params"]["prompts_weight"]
        assert dict(line["prompts"]).get("red", 0) == pytest.approx(weights[0] / (weights[0] + 0.5))


class Wavering(TurnedShow):
    """A show whose modulators move its LoRA's strength and the weight of a prompt at every tick."""

    def __init__(self, **values):
        super().__init__(prompts_text=("0", "1") + ("",) * 6, prompts_weight=(0.5,) + (0.0,) * 7, **values)

    @property
    def moment(self):
        return replace(super().moment, sample=self.sample)

    def sample(self, params):
        moved = 0.25 + 0.2 * np.sin(40 * self.now_s)
        return replace(params, lora_strength=(moved,) * 8, prompts_weight=(moved, *params.prompts_weight[1:]))


def test_no_tick_of_a_modulator_is_a_gesture_and_gestures_land_as_ever():
    show = Wavering()
    show.play(30)
    assert not show.cancelled and show.session.statistics.num_cuts == 0
    assert len({request.params.lora_strength for request in show.asked}) > 10
    gesture = show.gesture(prompts_text=("2", "1") + ("",) * 6)
    show.until(lambda: gesture in show.heard)
    assert show.heard[gesture] < pocket_s(33) + 0.5
    show.play(10)
    assert show.session.statistics.num_cuts == 1
    show.assert_fluent()


def test_late_latching_takes_up_a_gesture_with_what_is_added_to_it():
    show = Wavering(late_latch=True)
    show.play(8)
    show.until(lambda: show.session.running is not None)
    moment = show.moment
    assert show.session.step_values(moment) is None, "a modulator alone is told by the next chunk"
    changed = replace(moment.params, prompts_weight=(0.5, 0.5) + (0.0,) * 6)
    moment = replace(moment, params=changed, epoch=9, rules={"prompts_weight": "now", "lora_strength": "now"})
    values = show.session.step_values(moment)
    assert values.values["lora_strength"] == show.sample(changed).lora_strength != changed.lora_strength
