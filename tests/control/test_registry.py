"""Events against the live values: coercion, triggers, transactions, queries, epochs."""

import math
import struct

import pytest

from ltx_live import params
from ltx_live.control import bank
from ltx_live.control.event import NOTICE, Event, Origin
from ltx_live.control.registry import Registry, denormalise, full_range, normalise

PEER = Origin("osc", "127.0.0.1", ("127.0.0.1", 5000))
VALUES = [name for name in params.concrete_names() if params.find(name).kind != "trigger"]
RANGED = [name for name in VALUES if full_range(params.find(name))]


def event(address, *args, origin=PEER, time_s=0.0):
    return Event(address, args, origin, time_s)


def send(registry, address, *args, **more):
    return registry.apply((event(address, *args, **more),))


@pytest.mark.parametrize("name", VALUES)
def test_every_row_survives_every_kind_of_argument(name):
    row = params.find(name)
    odd = [1, 0, -1e9, 1e9, 0.3, True, False, None, "0.5", "1", "true", "word", "", math.nan, math.inf, b"\x00", [1.0]]
    for args in [*((value,) for value in odd), ("+", 1), ("*", "x"), ("-", None), (1, 2), ("1,0.5,0",)]:
        for root in ("/ltx/", "/ltx/norm/"):
            registry = Registry()
            outcome = send(registry, root + name, *args)
            value = registry.values[name]
            assert bool(outcome.errors) != bool(outcome.messages)
            if row.kind in ("int", "float"):
                assert row.minimum <= value <= row.maximum and not math.isnan(value)
            assert row.kind == "floats" or value == row.coerce(value)


@pytest.mark.parametrize("name", RANGED)
def test_norm_maps_onto_the_range_and_back(name):
    row, registry = params.find(name), Registry(bank.slot_values([("", "rings")] * params.NUM_BANK_SLOTS))
    low, high = full_range(row)
    for position, end in ((0.0, low), (1.0, high)):
        send(registry, f"/ltx/norm/{name}", position)
        assert registry.values[name] == row.coerce(end)
        reply = send(registry, f"/ltx/norm/{name}", "?").replies[0]
        assert reply.args[0] == pytest.approx(position)
    assert normalise(row, row.coerce(denormalise(row, 1.0))) == 1.0


def test_types_are_taken_as_they_come():
    registry = Registry()
    for address, sent, name, value in [
        ("/ltx/out/master", 0, "out/master", 0.0),
        ("/ltx/out/master", "0.25", "out/master", 0.25),
        ("/ltx/out/master", 7, "out/master", 1.0),
        ("/ltx/num_frames", 50.2, "num_frames", 49),
        ("/ltx/width", 400, "width", 384),
        ("/ltx/out/blackout", True, "out/blackout", True),
        ("/ltx/out/blackout", 0.0, "out/blackout", False),
        ("/ltx/schedule", "cosine", "schedule", "cosine"),
        ("/ltx/schedule", 1.0, "schedule", "linear"),
        ("/ltx/prompt", "a fox", "prompt", "a fox"),
    ]:
        assert not send(registry, address, sent).errors
        assert registry.values[name] == value


def test_max_sends_a_sentence_as_several_arguments():
    registry = Registry()
    send(registry, "/ltx/prompt", "3", "red", "rings", 2)
    assert registry.values["prompt"] == "3 red rings 2"


def test_sigmas_as_arguments_as_text_and_none():
    registry = Registry()
    send(registry, "/ltx/sigmas", 1.0, 0.5, 0.0)
    assert registry.values["sigmas"] == (1.0, 0.5, 0.0)
    assert send(registry, "/ltx/sigmas").replies[0].args == (1.0, 0.5, 0.0)
    send(registry, "/ltx/sigmas", "none")
    assert send(registry, "/ltx/sigmas", "?").replies[0].args == ("none",)


def test_relative_operators():
    registry = Registry()
    send(registry, "/ltx/out/hue", "+", 30)
    send(registry, "/ltx/out/hue", "-", 10.0)
    send(registry, "/ltx/out/hue", "*", "2")
    assert registry.values["out/hue"] == 40.0
    send(registry, "/ltx/norm/out/hue", "+", 0.25)
    assert registry.values["out/hue"] == pytest.approx(130.0)
    send(registry, "/ltx/schedule", "+", 1)
    assert registry.values["schedule"] == "linear"
    assert "send a number" in send(registry, "/ltx/out/hue", "+", "much").errors[0]


def test_queries_answer_the_sender_and_change_nothing():
    registry = Registry()
    for args in ((), ("?",)):
        outcome = send(registry, "/ltx/out/crossfade", *args)
        (reply,) = outcome.replies
        assert (reply.origin, reply.address, reply.args) == (PEER, "/ltx/out/crossfade", (0.25,))
        assert not outcome.changes
    assert not send(registry, "/ltx/seed", origin=Origin("key")).replies


def test_equal_values_are_one_change():
    registry = Registry()
    outcomes = [send(registry, "/ltx/out/master", 0.1) for _ in range(5)]
    assert [len(outcome.changes) for outcome in outcomes] == [1, 0, 0, 0, 0]


@pytest.mark.parametrize("name", [name for name in RANGED if full_range(params.find(name))[1] < 2**24])
def test_a_value_that_comes_back_as_float32_is_no_change(name):
    row = params.find(name)
    for value in (row.default, row.coerce(denormalise(row, 0.3)), row.coerce(denormalise(row, 0.7))):
        registry = Registry({**bank.slot_values([("", "rings")] * params.NUM_BANK_SLOTS), name: value})
        for address, sent in ((f"/ltx/{name}", value), (f"/ltx/norm/{name}", normalise(row, value))):
            sent = sent if isinstance(sent, str) else struct.unpack("f", struct.pack("f", sent))[0]
            assert not send(registry, address, sent).changes
    if row.kind == "float":
        assert send(registry, f"/ltx/norm/{name}", 0.699).changes


def test_companion_one_then_zero_fires_once():
    registry = Registry()
    fired = [send(registry, "/ltx/restart", value, time_s=i * 0.05).fired for i, value in enumerate((1, 0, 1, 0))]
    assert [len(items) for items in fired] == [1, 0, 1, 0]


def test_a_held_one_is_one_press_until_it_pauses():
    registry = Registry()
    held = [len(send(registry, "/ltx/restart", 1, time_s=i / 60).fired) for i in range(120)]
    assert sum(held) == 1
    assert send(registry, "/ltx/restart", 1, time_s=3.0).fired
    other = Origin("osc", "127.0.0.1", ("127.0.0.1", 5001))
    assert send(registry, "/ltx/restart", 1, time_s=3.01, origin=other).fired


@pytest.mark.parametrize("bpm", [60, 240, 300])
def test_taps_that_never_send_zero_all_count_and_a_bouncing_one_counts_once(bpm):
    registry = Registry()
    bounces = [(beat * 60 / bpm + late_s, value) for beat in range(8) for late_s, value in ((0, 0.4), (0.01, 1.0))]
    fired = [len(send(registry, "/ltx/tempo/tap", value, time_s=time_s).fired) for time_s, value in bounces]
    assert fired == [1, 0] * 8
    held = [len(send(registry, "/ltx/tempo/tap", 1.0, time_s=20 + i / 30).fired) for i in range(60)]
    assert sum(held) == 1


@pytest.mark.parametrize("args", [(), (True,), (None,), ("1",), (0.7,), ("bang",)])
def test_what_fires_a_trigger(args):
    assert send(Registry(), "/ltx/restart", *args).fired[0].args == args


@pytest.mark.parametrize("args", [(0,), (0.0,), (False,), ("0",)])
def test_what_does_not_fire_a_trigger(args):
    assert not send(Registry(), "/ltx/sys/panic", *args).fired


def test_unknown_addresses_get_a_suggestion():
    registry = Registry()
    for address, guess in [
        ("/ltx/out/mastr", "/ltx/out/master"),
        ("/ltx/bank/3/conect", "/ltx/bank/3/connect"),
        ("/out/master", "/ltx/out/master"),
        ("/prompt", "/ltx/prompt"),
    ]:
        (error,) = send(registry, address, 1).errors
        assert f"did you mean {guess}?" in error
    assert "200 characters" in send(registry, "/ltx/" + "x" * 60_000, 1).errors[0]
    assert registry.epoch == 0


def test_a_change_says_who_sent_just_this_value_and_what_was_bent_is_named():
    for address, args, known, bent in [
        ("/ltx/num_frames", (57,), True, ()),
        ("/ltx/num_frames", (50,), False, ("num_frames",)),
        ("/ltx/out/hue", (-300,), False, ("out/hue",)),
        ("/ltx/out/hue", ("+", 30), False, ("out/hue",)),
        ("/ltx/norm/out/hue", (0.75,), True, ()),
        ("/ltx/norm/out/hue", (2,), False, ("out/hue",)),
        ("/ltx/norm/num_steps", (0.5,), False, ("num_steps",)),
        ("/ltx/schedule", ("cosine",), True, ()),
        ("/ltx/schedule", (2.0,), True, ()),
        ("/ltx/schedule", (2.2,), False, ("schedule",)),
        ("/ltx/out/blackout", (True,), True, ()),
        ("/ltx/out/blackout", ("on",), False, ("out/blackout",)),
        ("/ltx/prompt", ("3", "red", "rings"), True, ()),
        ("/ltx/sigmas", (1.0, 0.5, 0.0), True, ()),
    ]:
        outcome = send(Registry(), address, *args)
        assert ([change.known_to for change in outcome.changes], outcome.bent) == ([PEER if known else None], bent)
    registry = Registry({"bank/2/text": "rings"})
    changes = {change.name: change.known_to for change in send(registry, "/ltx/bank/selected", 2).changes}
    assert changes == {"bank/selected": PEER, "prompt": None}
    assert send(registry, "/ltx/num_frames", 126).bent == ("num_frames",)  # which it is already
    both = registry.apply((event("/ltx/out/blackout", 1), event("/ltx/out/blackout", 0), event("/ltx/sys/panic")))
    assert {change.name: change.known_to for change in both.changes} == {"out/blackout": None, "audio/mute": None}


def test_a_bundle_is_one_transaction_and_a_bad_message_does_not_stop_it():
    registry = Registry()
    outcome = registry.apply(
        (event("/ltx/num_steps", 4), event("/ltx/nothing", 1), event("/ltx/seed", 7), event("/ltx/prompt", "waves"))
    )
    assert {change.name: change.new for change in outcome.changes} == {"num_steps": 4, "seed": 7, "prompt": "waves"}
    assert len(outcome.errors) == 1 and registry.epoch == 1 and outcome.landing == "now"
    back = registry.apply((event("/ltx/out/freeze", 1), event("/ltx/out/freeze", 0)))
    assert not back.changes


def test_epoch_counts_what_concerns_the_generation():
    registry = Registry()
    for address, arg, epoch, landing in [
        ("/ltx/out/master", 0.5, 0, None),
        ("/ltx/num_steps", 4, 1, "chunk"),
        ("/ltx/num_steps", 4, 1, None),
        ("/ltx/bank/2/text", "rings", 1, None),
        ("/ltx/width", 512, 2, None),
        ("/ltx/restart", True, 3, "now"),
        ("/ltx/prompt", "waves", 4, "now"),
    ]:
        outcome = send(registry, address, arg)
        assert (registry.epoch, outcome.landing) == (epoch, landing), address
    assert registry.pending() == ("num_steps", "width", "prompt")
    registry.mark_applied(2)
    assert registry.pending() == ("prompt",)
    registry.mark_applied(4)
    assert registry.pending() == ()


def test_snapshots_hold_the_values_of_their_moment():
    registry = Registry({"width": 288})
    before = registry.generation()
    send(registry, "/ltx/num_steps", 3)
    send(registry, "/ltx/out/hue", 90)
    assert (before.num_steps, before.width) == (8, 288)
    assert registry.generation().num_steps == 3 and registry.output().out_hue == 90.0


def test_reseed_panic_ping_and_dump():
    registry = Registry()
    assert send(registry, "/ltx/reseed").changes[0].name == "seed"
    send(registry, "/ltx/mod/3/active", 1)
    stopped = {change.name for change in send(registry, "/ltx/sys/panic").changes}
    assert stopped == {"out/blackout", "audio/mute", "mod/3/active"} and not registry.values["mod/3/active"]
    pong = send(registry, "/ltx/sys/ping", 0, "a").replies[0]
    assert (pong.address, pong.args) == ("/ltx/sys/pong", (0, "a"))
    dump = send(registry, "/ltx/sys/dump").replies
    assert [reply.address for reply in dump] == [f"/ltx/{name}" for name in VALUES]
    assert {reply.address for reply in send(registry, "/ltx/sys/dump", "out/*").replies} == {
        f"/ltx/{name}" for name in VALUES if name.startswith("out/")
    }


def test_messages_say_what_arrived_and_what_it_did():
    registry = Registry()
    (line,) = send(registry, "/ltx/out/master", 0.5).messages
    assert line == "/ltx/out/master 0.5 (osc 127.0.0.1): out/master 1 -> 0.5"
    assert send(registry, "/ltx/num_steps", 4).messages[0].endswith("num_steps 8 -> 4 (next chunk)")
    assert send(registry, "/ltx/width", 512).messages[0].endswith("(needs a reload)")
    assert send(registry, NOTICE, "MIDI: listening to X").messages == ("MIDI: listening to X",)


def test_too_long_a_prompt_is_refused_by_name():
    (error,) = send(Registry(), "/ltx/prompt", "a" * 60_000).errors
    assert error.startswith("/ltx/prompt: 60000 characters are too many")
