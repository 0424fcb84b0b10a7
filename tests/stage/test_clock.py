"""The clock of the show: smooth, never backwards, still in an underrun."""

import numpy as np
import pytest

from ltx_live.stage.clock import DacLatency, FramePacer, PlayClock, Published, Run
from ltx_live.stage.player import Player
from ltx_live.stage.playlist import Playlist


def test_bursts_of_callbacks_do_not_shake_the_position():
    """Three blocks of 512 at once every 32 ms, heard 100 ms later: the picture still runs evenly."""
    clock, positions, times = PlayClock(), [], np.arange(0.5, 4, 1 / 60)
    for now in times:
        bursts = int(now / 0.032) + 1
        last_call = (bursts - 1) * 0.032
        published = Published(bursts * 1536, last_call + 0.1 + 512 / 48_000, 1)
        positions.append(clock.position(published, now))
    steps = np.diff(positions)[30:]
    assert steps.min() > 0 and np.abs(steps - 800).max() < 40
    assert abs(positions[-1] / 48_000 - (times[-1] - 0.1)) < 0.04


def test_it_stands_still_where_the_media_ended_and_goes_on_when_the_sound_does():
    clock = PlayClock()
    ended = Published(48_000, 1.1, 1)
    positions = [clock.position(ended, t) for t in np.arange(1.0, 2.0, 0.01)]
    assert positions[0] == pytest.approx(48_000 - 4800) and max(positions) == 48_000
    resumed = [clock.position(Published(48_000 + 1024, 2.0 + 0.1 + 1024 / 48_000, 2), t) for t in (2.0, 2.05, 2.09)]
    assert resumed == [48_000] * 3, "the picture waits until the sound is heard"
    assert clock.position(Published(60_000, 2.1 + 12_000 / 48_000, 3), 2.2) == pytest.approx(48_000 + 4800, abs=600)


def test_no_sound_yet_is_position_zero():
    assert PlayClock().position(Published(), 5.0) == 0


@pytest.mark.parametrize("wrong", [0.0, -3.0, 1.7e9, float("nan")])
def test_stream_times_are_used_only_when_plausible(wrong):
    latency = DacLatency(0.1)
    assert [latency.update(wrong) for _ in range(30)] == [0.1] * 30
    assert [latency.update(0.12) for _ in range(20)] == [0.1] * 15 + [0.12] * 5
    assert latency.update(wrong) == 0.1


def test_the_pacer_keeps_the_beat_and_forgets_what_it_missed():
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    pacer, drawn = FramePacer(50, clock=lambda: now[0], sleep=sleep), []
    for k in range(100):
        pacer.wait()
        drawn.append(now[0])
        now[0] += 0.5 if k == 50 else 0.003
    gaps = np.diff(drawn)
    assert np.allclose(np.delete(gaps, [0, 50]), 0.02) and gaps[50] == pytest.approx(0.5)


def test_a_sleep_that_ends_early_is_told_and_keeps_the_beat():
    now, wakes = [0.0], iter([0.004, 0.0003, 10, 10, 0.005, 10, 10, 10])

    def sleep(seconds):
        now[0] += min(seconds, next(wakes))

    pacer, ticks = FramePacer(50, clock=lambda: now[0], sleep=sleep), []
    assert pacer.wait()
    for _ in range(8):
        is_due = pacer.wait()
        ticks.append((round(now[0], 4), is_due))
    between = [(0.004, False), (0.0043, False), (0.045, False)]
    assert ticks == sorted([*between, *((beat, True) for beat in (0.02, 0.04, 0.06, 0.08, 0.1))])


@pytest.mark.parametrize("skew_ppm", [-500, 500])
def test_an_hour_on_a_device_whose_clock_is_off_ends_in_sync(skew_ppm):
    """Blocks of 1024 in bursts of two, called up to 10 ms late; what is heard left the callback 100 ms before."""
    rate_hz, rng = 48_000 * (1 + skew_ppm * 1e-6), np.random.default_rng(1)
    clock, published, num_blocks, errors_s = PlayClock(), Published(), 0, []
    for now in np.arange(0.2, 3600, 1 / 60):
        while (num_blocks + 2) * 1024 / rate_hz + rng.uniform(0, 0.01) <= now:
            num_blocks += 2
            called = num_blocks * 1024 / rate_hz
            published = Published(num_blocks * 1024, called + 0.1 + rng.uniform(-0.003, 0.003), 1)
        position = clock.position(published, now)
        heard = (now - 0.1) * rate_hz  # the sample that leaves the speaker
        errors_s.append((position - heard) / 48_000)
    settled = np.abs(errors_s[300:])
    assert settled.max() < 1 / 24
    assert np.mean(errors_s[-3600:]) == pytest.approx(np.mean(errors_s[300:3900]), abs=0.001), "it drifts"


class Device:
    """A player whose blocks of 512 are called when they are due and heard `latency_s` later; time is the test's."""

    def __init__(self, latency_s=0.1):
        self.player, self.clock, self.latency_s = Player(), PlayClock(), latency_s
        self.player.playlist = Playlist(1, ((0, np.zeros((600_000, 2), np.float32)),), 600_000)
        self.num_blocks = 0
        self.heard = [(latency_s, 0)]  # when, and which media sample leaves the speaker then

    def positions(self, begin_s, end_s, speed):
        """(time, position) at every tick meanwhile."""
        self.player.target_speed = speed
        out, told = np.empty((512, 2), np.float32), []
        for now_s in np.arange(begin_s, end_s, 1 / 60):
            while (due_s := self.num_blocks * 512 / 48_000) <= now_s:
                self.player.render(out, due_s + self.latency_s)
                self.num_blocks += 1
                self.heard.append((due_s + self.latency_s + 512 / 48_000, self.player.published.samples))
            told.append((now_s, self.clock.position(self.player.published, now_s)))
        return np.array(told)

    def truth(self, times_s):
        return np.interp(times_s, *np.array(self.heard).T)


def test_the_position_is_what_is_heard_at_any_speed_and_while_it_changes():
    device = Device()
    times_s = np.arange(0.5, 6, 0.5)
    speeds = [1, 0.5, 0.5, 2, 2, 0, 0, 0.1, 1, 1, 0.3]
    told = np.concatenate([device.positions(t, t + 0.5, s) for t, s in zip(times_s, speeds, strict=True)])
    assert np.abs(told[:, 1] - device.truth(told[:, 0])).max() < 48, "a millisecond"
    assert np.diff(told[:, 1]).min() >= 0


def test_what_is_held_stands_at_the_last_sample_as_soon_as_that_is_heard():
    device = Device()
    device.positions(0.0, 1.0, 1.0)
    told = device.positions(1.0, 2.0, 0.0)
    assert told[3, 1] < device.player.published.samples, "what was handed out before is still to be heard"
    assert set(told[12:, 1]) == {device.player.published.samples}
    clock = PlayClock()
    clock.position(Published(48_000, 1.1, 1), 1.0)
    clock.position(Published(48_480, 1.105, 1), 1.01)  # told 5 ms too early: the clock follows slowly
    held = Published(48_480, 1.2, 1, 0.0, (Run(48_480, 1.105, 1.0),))
    assert clock.position(held, 1.1) < 48_100 and clock.position(held, 1.11) == 48_480


def test_av_offset_is_looked_up_in_what_was_and_will_be_heard():
    device = Device(latency_s=0.2)
    device.positions(0.0, 1.0, 1.0)
    now_s = device.positions(1.0, 1.25, 0.5)[-1, 0]
    published = device.player.published
    for offset_s in (-0.15, -0.05, 0.05, 0.3):
        assert published.at(now_s - offset_s) == pytest.approx(device.truth(now_s - offset_s), abs=48)


def test_how_it_ran_is_told_for_a_second_and_no_longer():
    device = Device()
    for k in range(100):
        device.positions(k / 50, (k + 1) / 50, 0.5 + k % 2)
    published = device.player.published
    assert published.earlier[0].heard_s == pytest.approx(published.heard_s - 1, abs=0.05)
