"""prompt/hold and prompt/apply: edits wait, what was played goes on, and they land as one gesture."""

from ltx_live.control import bank
from ltx_live.control.event import Event, Origin
from ltx_live.control.registry import Registry

PEER = Origin("osc", "127.0.0.1", ("127.0.0.1", 5000))


def send(registry, *messages):
    return registry.apply(tuple(Event(f"/ltx/{name}", args, PEER, 0.0) for name, *args in messages))


def held(**values):
    registry = Registry({"prompt": "a fox", **bank.slot_values([("", "the sea"), ("", "rings")]), **values})
    send(registry, ("prompt/hold", 1))
    return registry


def test_edits_wait_are_pending_and_land_together():
    registry = held()
    epoch = registry.epoch
    send(registry, ("prompt", "a bear"))
    send(registry, ("prompts/2/text", "snow"), ("prompts/2/weight", 0.5))
    assert registry.epoch == epoch, "a change that waits asks for no chunk"
    now = registry.generation()
    assert (now.prompt, now.prompts_text[1], now.prompts_weight[1]) == ("a fox", "", 0.0)
    assert registry.edited().prompt == "a bear" and registry.values["prompt"] == "a bear"
    send(registry, ("num_steps", 4))
    registry.mark_applied(registry.epoch)
    assert set(registry.pending()) == {"prompt", "prompts/2/text", "prompts/2/weight"}
    assert registry.generation().num_steps == 4 and registry.generation().prompt == "a fox"
    epoch = registry.epoch
    send(registry, ("prompt/apply",))
    now = registry.generation()
    assert (now.prompt, now.prompts_text[1], now.prompts_weight[1]) == ("a bear", "snow", 0.5)
    assert registry.epoch == epoch + 1 and set(registry.pending()) >= {"prompt", "prompts/2/text"}
    registry.mark_applied(registry.epoch)
    assert registry.pending() == ()


def test_a_slot_of_the_bank_waits_and_the_end_of_the_hold_lets_go():
    registry = held()
    send(registry, ("bank/2/connect",))
    assert (registry.generation().prompt, registry.generation().bank_selected) == ("a fox", 0)
    send(registry, ("prompt/hold", 0))
    assert (registry.generation().prompt, registry.generation().bank_selected) == ("rings", 2)
    send(registry, ("prompt", "snow"))
    assert registry.generation().prompt == "snow"


def test_what_is_taken_back_waits_no_longer():
    registry = held()
    send(registry, ("prompt", "a bear"))
    send(registry, ("prompt", "a fox"))
    registry.mark_applied(registry.epoch)
    assert registry.pending() == () and registry.generation() == registry.edited()


def test_apply_with_its_edits_in_one_bundle_and_without_any():
    registry = held()
    send(registry, ("prompt", "a bear"), ("prompt/apply",))
    assert registry.generation().prompt == "a bear"
    epoch = registry.epoch
    send(registry, ("prompt/apply",))
    assert registry.epoch == epoch
