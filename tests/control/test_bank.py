"""The prompt bank, through the registry."""

import random

import pytest

from ltx_live.control import bank
from ltx_live.control.event import Event, Origin
from ltx_live.control.registry import Registry
from ltx_live.params import NUM_BANK_SLOTS

SLOTS = [("tunnel", "a red tunnel"), ("", ""), ("waves", "blue waves"), ("grid", "a green grid")]


@pytest.fixture
def registry():
    return Registry(bank.slot_values(SLOTS), random.Random(1))


def send(registry, address, *args):
    return registry.apply((Event(address, args, Origin("key"), 0.0),))


def playing(registry):
    return registry.values["bank/selected"], registry.values["prompt"]


def test_connect_plays_a_slot(registry):
    outcome = send(registry, "/ltx/bank/3/connect")
    assert playing(registry) == (3, "blue waves") and outcome.landing == "now" and registry.epoch == 1


def test_connecting_again_is_a_new_take_of_the_same_prompt(registry):
    send(registry, "/ltx/bank/3/connect")
    assert not send(registry, "/ltx/bank/3/connect").changes and registry.epoch == 2


def test_an_empty_slot_says_so_and_plays_on(registry):
    send(registry, "/ltx/bank/1/connect")
    for address, args in (("/ltx/bank/2/connect", ()), ("/ltx/bank/selected", (2,))):
        outcome = send(registry, address, *args)
        assert outcome.errors == ("bank slot 2 is empty; give it a prompt with /ltx/bank/2/text",)
    assert playing(registry) == (1, "a red tunnel") and registry.epoch == 1


def test_free_text_leaves_the_bank(registry):
    send(registry, "/ltx/bank/1/connect")
    send(registry, "/ltx/prompt", "gold rings")
    assert playing(registry) == (0, "gold rings")


def test_selecting_by_number_plays(registry):
    send(registry, "/ltx/bank/selected", 4)
    assert playing(registry) == (4, "a green grid")


def test_next_and_prev_walk_the_filled_slots_round(registry):
    assert [send(registry, "/ltx/bank/next") and playing(registry)[0] for _ in range(4)] == [1, 3, 4, 1]
    assert [send(registry, "/ltx/bank/prev") and playing(registry)[0] for _ in range(3)] == [4, 3, 1]


def test_random_always_plays_another(registry):
    seen = [send(registry, "/ltx/bank/random") and playing(registry)[0] for _ in range(30)]
    assert set(seen) == {1, 3, 4} and all(a != b for a, b in zip(seen, seen[1:], strict=False))


def test_an_edited_slot_is_heard_when_it_is_played(registry):
    send(registry, "/ltx/bank/1/connect")
    send(registry, "/ltx/bank/1/text", "a cyan tunnel")
    send(registry, "/ltx/bank/1/name", "cyan")
    assert playing(registry) == (1, "a red tunnel")
    send(registry, "/ltx/bank/1/connect")
    assert playing(registry) == (1, "a cyan tunnel") and registry.values["bank/1/name"] == "cyan"


def test_an_empty_bank_says_so():
    assert "the bank is empty" in send(Registry(), "/ltx/bank/next").errors[0]


def test_slot_values_stop_at_the_end_of_the_bank():
    values = bank.slot_values([("n", f"text {i}") for i in range(NUM_BANK_SLOTS + 4)])
    assert len(values) == 2 * 64 and values["bank/64/text"] == "text 63"


def test_the_whole_bank_can_be_played():
    registry = Registry(bank.slot_values([("n", f"text {i}") for i in range(1, NUM_BANK_SLOTS + 1)]))
    send(registry, "/ltx/bank/64/connect")
    assert playing(registry) == (64, "text 64")
    send(registry, "/ltx/bank/next")
    assert playing(registry) == (1, "text 1")
    send(registry, "/ltx/bank/selected", 63)
    assert playing(registry) == (63, "text 63")
    assert "no such parameter" in send(registry, "/ltx/bank/65/connect").errors[0]
