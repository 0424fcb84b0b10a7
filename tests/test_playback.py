"""Cues, snapshots and morphs as a performer meets them: messages go in, values come out, time is turned by hand."""

import pytest

from ltx_live import params
from ltx_live.control.cues import Cue
from ltx_live.control.event import Event, Origin
from ltx_live.control.glides import Span
from ltx_live.control.registry import Registry
from ltx_live.gestures import landing_rules
from ltx_live.playback import Playback

HAND = Origin("osc", "127.0.0.1", ("127.0.0.1", 9))
TICK_S = 0.02
CUES = (
    Cue(1, "Doors", prompt="waves", values={"out/hue": 40.0, "num_steps": 4}),
    Cue(2, "Song", prompt="rings", morph=Span(2), values={"out/hue": 0.0, "drift_anchor": 0.5}, follow=Span(3)),
    Cue(3, "End", values={"out/hue": -20.0}, follow=Span(4, "beats")),
)


class Show:
    """What `show.Show` does with the playback."""

    def __init__(self, cues=CUES, **values):
        self.playback = Playback(cues)
        start = params.defaults() | {name.replace("__", "/"): value for name, value in values.items()}
        self.registry = Registry(start | self.playback.begin(start), effects=self.playback)
        self.now_s = 0.0
        self.played: list[tuple[float, str]] = []
        self.errors: list[str] = []
        self.tick()

    def __getitem__(self, name):
        return self.registry.values[name]

    def apply(self, *events):
        outcome = self.registry.apply(events)
        self.playback.heard(events, outcome)
        self.errors += outcome.errors
        self.played += [(self.now_s, c.new) for c in outcome.changes if c.name == "cue/current"]
        return outcome

    def send(self, address, *args):
        return self.apply(Event(f"/ltx/{address}", args, HAND, self.now_s))

    def tick(self):
        for transaction in self.playback.due(self.now_s, self.registry.values):
            self.apply(*transaction)

    def play(self, seconds):
        until_s = self.now_s + seconds - TICK_S / 2
        while self.now_s < until_s:
            self.now_s += TICK_S
            self.tick()


def test_go_walks_down_the_list_and_tells_where_it_is():
    show = Show(CUES[:2])
    assert (show["cue/current"], show["cue/next"]) == ("", "1 Doors")
    outcome = show.send("cue/go")
    assert {c.name for c in outcome.changes} == {"prompt", "out/hue", "num_steps", "cue/current", "cue/next"}
    assert (show["prompt"], show["out/hue"], show["num_steps"]) == ("waves", 40.0, 4)
    assert (show["cue/current"], show["cue/next"]) == ("1 Doors", "2 Song")
    assert outcome.landing == "now" and show.registry.epoch == 1  # one gesture
    show.send("cue/go")
    assert (show["cue/current"], show["cue/next"]) == ("2 Song", "")
    assert "the cue list is at its end" in show.send("cue/go").errors[0]


def test_back_goto_and_standby():
    show = Show()
    assert "no cue was played yet" in show.send("cue/back").errors[0]
    show.send("cue/goto", "end")
    assert show["cue/current"] == "3 End"
    show.send("cue/goto", 2)
    show.send("cue/goto", 1.0)  # another one from the same hand, at once
    assert show["cue/current"] == "1 Doors"
    assert "cue 1 Doors is the first" in show.send("cue/back").errors[0]
    show.send("cue/next", "3")
    assert show["cue/next"] == "3 End"
    show.send("cue/go")
    assert show["cue/current"] == "3 End"
    show.send("cue/back")
    assert show["cue/current"] == "2 Song"
    show.send("cue/current", "doors")
    assert (show["cue/current"], show["cue/next"], show["prompt"]) == ("1 Doors", "2 Song", "waves")
    assert "no such cue: 7" in show.send("cue/goto", 7).errors[0] and show["cue/current"] == "1 Doors"
    assert "send the number or the name" in show.send("cue/goto").errors[0]


def test_a_morph_glides_numbers_and_takes_the_prompt_by_its_own_way():
    show = Show()
    show.send("cue/go")
    show.send("cue/go")
    assert (show["prompt"], show["prompts/morph"], show["prompts/morph_unit"]) == ("rings", 2.0, "seconds")
    assert show["out/hue"] == 40.0
    show.play(1)
    assert show["out/hue"] == pytest.approx(20, abs=0.5) and show["drift_anchor"] == pytest.approx(0.25, abs=0.01)
    show.play(1.1)
    assert (show["out/hue"], show["drift_anchor"]) == (0.0, 0.5)


def test_a_morph_is_no_gesture_until_a_chunk_has_its_end():
    show = Show(drift_anchor=0.0, land__drift_anchor="now")
    rules = landing_rules(show.registry.values)
    assert rules["drift_anchor"] == "now"
    show.send("cue/goto", 2)
    show.play(1)
    assert "drift_anchor" not in show.playback.soften(rules) and "prompt" in show.playback.soften(rules)
    show.playback.asked()
    show.play(1.1)
    assert "drift_anchor" not in show.playback.soften(rules)
    show.playback.asked()
    assert show.playback.soften(rules) == rules


def test_what_is_touched_stays_where_it_was_put():
    show = Show()
    show.send("cue/go")
    show.send("cue/go")
    show.play(1)
    show.send("out/hue", 7)
    show.play(1.5)
    assert (show["out/hue"], show["drift_anchor"]) == (7.0, 0.5)


def test_cues_follow_in_seconds_and_beats_without_drift():
    show = Show()
    show.send("cue/goto", 2)
    show.play(2.9)
    assert show["cue/current"] == "2 Song"
    show.play(0.2)
    assert show["cue/current"] == "3 End" and show["cue/next"] == ""
    show.play(10)
    assert [label for _, label in show.played] == ["2 Song", "3 End"] and show.errors == []


def test_a_list_that_loops_keeps_its_time():
    loop = (Cue(1, follow=Span(1)), Cue(2, follow=Span(3, "beats"), next="1"))  # 1 s + 1.5 s
    show = Show(loop)
    show.send("cue/go")
    show.play(100)
    times = [time_s for time_s, label in show.played if label == "1"]
    assert len(times) in (40, 41)
    assert max(abs(time_s - 2.5 * n) for n, time_s in enumerate(times)) <= TICK_S + 1e-6


def test_follow_stop_and_pause():
    show = Show()
    show.send("cue/follow", 0)
    show.send("cue/goto", 2)
    show.play(5)
    assert show["cue/current"] == "2 Song"
    show.send("cue/follow", 1)
    show.play(3.1)
    assert show["cue/current"] == "3 End"
    show.send("cue/goto", 2)
    show.play(1)
    show.send("cue/stop")
    hue = show["out/hue"]
    show.play(5)
    assert (show["cue/current"], show["out/hue"]) == ("2 Song", hue)


def test_snapshots_are_saved_named_and_recalled_in_one_transaction():
    show = Show((), **{"prompt": "a fox", "out/hue": 12.0, "out/master": 0.5})
    assert show.send("snap/3/save").errors == ()
    show.send("snap/3/name", "dusk")
    for address, value in (("prompt", "a cat"), ("out/hue", -5), ("out/master", 1), ("out/fit", "fill")):
        show.send(address, value)
    epoch = show.registry.epoch
    outcome = show.send("snap/3/recall")
    assert (show["prompt"], show["out/hue"], show["out/fit"]) == ("a fox", 12.0, "letterbox")
    assert show["out/master"] == 1.0  # excluded
    assert outcome.landing == "now" and show.registry.epoch == epoch + 1
    assert "snapshot 4 is empty (saved: 3)" in show.send("snap/4/recall").errors[0]


def test_a_save_in_a_bundle_keeps_what_was_before_it():
    show = Show(())
    save, change = Event("/ltx/snap/1/save", (), HAND, 0), Event("/ltx/out/hue", (9,), HAND, 0)
    show.apply(save, change)
    assert show.playback.snapshots.kept[1]["out/hue"] == 0.0


def test_a_recall_with_a_morph_glides():
    show = Show((), **{"prompt": "a fox", "out/hue": 40.0})
    show.send("snap/1/save")
    show.send("prompt", "a cat")
    show.send("out/hue", 0)
    show.send("snap/morph", 4)
    show.send("snap/1/recall")
    assert (show["prompt"], show["prompts/morph"], show["out/hue"]) == ("a fox", 4.0, 0.0)
    show.play(2)
    assert show["out/hue"] == pytest.approx(20, abs=0.5)
    show.send("snap/1/recall")
    show.play(4.1)
    assert show["out/hue"] == 40.0


def test_a_fader_between_two_snapshots():
    show = Show((), **{"prompt": "a fox"})
    show.send("snap/1/save")
    show.send("prompt", "a cat")
    show.send("out/hue", 80)
    show.send("snap/2/save")
    assert "snap/a is 0" in show.send("snap/xfade", 0.5).errors[0] and show["snap/xfade"] == 0.0
    show.send("snap/a", 1)
    show.send("snap/b", 2)
    show.send("snap/xfade", 0.25)
    assert (show["out/hue"], show["prompt"]) == (20.0, "a fox")
    show.send("snap/xfade", 1)
    assert (show["out/hue"], show["prompt"]) == (80.0, "a cat")


def test_the_list_is_sent_back():
    show = Show()
    outcome = show.send("cue/list")
    replies = [reply for fired in outcome.fired for reply in show.playback.answer(fired, Event("", (), HAND, 0))]
    assert [reply.args for reply in replies] == [
        (1, 3, "1", "Doors", ""), (2, 3, "2", "Song", ""), (3, 3, "3", "End", "")
    ]  # fmt: skip


def test_a_new_list_keeps_the_place_and_the_follow_time():
    show = Show()
    show.send("cue/goto", 2)
    show.play(2)
    renamed = (CUES[0], Cue(2, "Anthem", follow=Span(3)), Cue(2.5, "Bridge"), CUES[2])
    assert show.playback.replace(renamed, show.registry.values) == {"cue/current": "2 Anthem", "cue/next": "3 End"}
    show.play(1.1)
    assert show["cue/current"] == "3 End"
    show.send("cue/stop")
    assert show.playback.replace((), show.registry.values) == {"cue/current": "", "cue/next": ""}
    assert "there are no cues" in show.send("cue/go").errors[0]


def test_a_show_that_is_restored_stands_at_its_cue_and_waits_anew():
    show = Show(cue__current="2 Song", cue__next="3 End", out__hue=5.0)
    assert (show["cue/current"], show["out/hue"]) == ("2 Song", 5.0)
    show.play(3.1)
    assert show["cue/current"] == "3 End"


def test_words_for_the_display():
    assert Show(()).playback.words({}) == ""
    show = Show()
    assert show.playback.words(show.registry.values) == "cue -, next 1 Doors"
    show.send("cue/goto", 2)
    show.play(1)
    assert show.playback.words(show.registry.values) == "cue 2 Song, next 3 End in 2 s"


@pytest.mark.parametrize("is_there", [True, False])
def test_link_can_only_be_turned_on_where_it_is_installed(is_there, monkeypatch):
    monkeypatch.setattr("ltx_live.control.tempo_link.is_there", lambda: is_there)
    show = Show(())
    errors = show.send("tempo/link", 1).errors
    assert show["tempo/link"] is is_there and bool(errors) is not is_there
    assert is_there or "pip install 'ltx-live[link]'" in errors[0]


def test_a_preset_is_one_transaction_and_an_unknown_one_a_line_with_the_names():
    show = Show(num_steps=4)
    epoch = show.registry.epoch
    outcome = show.send("sys/preset", "instrument")
    assert (show["num_frames"], show["lora_merge_strategy"], show["num_steps"]) == (33, "runtime", 4)
    assert show.registry.epoch == epoch + 1 and {change.name for change in outcome.changes} == {
        "num_frames",
        "lora_merge_strategy",
    }
    show.send("sys/preset", "stage")
    assert (show["width"], show["height"], show["num_frames"]) == (512, 288, 57), "over those of live"
    assert not show.errors
    for args in (("stag",), ("model",), ()):
        show.send("sys/preset", *args)
        assert "live, instrument, stage" in show.errors.pop() and show["num_frames"] == 57
