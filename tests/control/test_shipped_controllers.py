"""The shipped controllers, as the byte streams that their documentation describes: each control moves what it should.

The numbers are written out here once more, from reference tables, so that a slip in a device file is seen.
"""

import queue
from pathlib import Path

import pytest

from ltx_live.control.bank import slot_values
from ltx_live.control.bind_table import BIND
from ltx_live.control.binding import ACTIONS
from ltx_live.control.device_files import MATCH, load_device
from ltx_live.control.event import NOTICE, Event, Origin
from ltx_live.control.files import CLOCK, OPTIONS, load_mappings, mapping_folders
from ltx_live.control.mapping import Mapper
from ltx_live.control.midi import MidiReceiver
from ltx_live.control.registry import Registry

NOWHERE = Path("/nonexistent")
DEVICES = [path for folder in mapping_folders(NOWHERE) for path in sorted((folder / "devices").glob("*.toml"))]
LOOK = ["out/brightness", "out/contrast", "out/saturation", "out/hue", "out/opacity", "out/crossfade", "audio/volume"]
MAKING = ["num_steps", "num_frames", "refresh", "prefix_noise", "drift_anchor", "loudness_match"]
MAKING += ["prompts/morph", "tempo/bpm"]


def weights(first=1, last=8):
    return [f"prompts/{i}/weight" for i in range(first, last + 1)]


def loras(last=8):
    return [f"lora/{i}/strength" for i in range(1, last + 1)]


def depths(last=8):
    return [f"mod/{i}/depth" for i in range(1, last + 1)]


def snapshots():
    return [f"snap/{i}/recall" for i in range(1, 9)]


def bank(first, last):
    return [f"bank/{i}/connect" for i in range(first, last + 1)]


def faders(channel, numbers, names):
    """A sweep over the whole way of each, up and down, so that it meets its value."""
    ways = (*range(0, 128, 2), 127, *range(126, -1, -2))
    return [
        ([b for v in ways for b in (0xB0 | channel - 1, n, v)], {name}) for n, name in zip(numbers, names, strict=True)
    ]


def notes(channel, numbers, names):
    return [
        ([0x90 | channel - 1, n, 100, 0x80 | channel - 1, n, 64], {name})
        for n, name in zip(numbers, names, strict=True)
    ]


def buttons(channel, numbers, names):
    return [
        ([0xB0 | channel - 1, n, 127, 0xB0 | channel - 1, n, 0], {name}) for n, name in zip(numbers, names, strict=True)
    ]


def shifted(shift, presses):
    """Presses or moves while another control is held."""
    return [([*shift[:3], *data, *shift[3:]], names) for data, names in presses]


def midimix_columns(first):
    return [first + 4 * i for i in range(4)] + [first + 30 + 4 * i for i in range(4)]


NANO_SET = [0xB0, 60, 127, 0xB0, 60, 0]
STREAMS = {
    "nanoKONTROL2:nanoKONTROL2 nanoKONTROL2 _ CTRL": [
        *faders(1, range(0, 8), [*LOOK, "out/master"]),
        *faders(1, range(16, 20), ["continuity", "num_steps", "num_frames", "realtime_pacing_slack"]),
        *buttons(1, range(64, 72), bank(1, 8)),
        *buttons(1, range(32, 40), bank(9, 16)),
        *buttons(1, (48, 49), ["audio/mute", "randomize_seed"]),
        *buttons(1, (41, 42, 45, 46), ["pause", "out/blackout", "rec/toggle", "out/freeze"]),
        *buttons(1, (43, 44, 58, 59), ["restart", "bank/random", "cue/back", "cue/go"]),
        *[(d, n | {"tempo/tap"}) for d, n in shifted(NANO_SET, buttons(1, (58, 59), ["bank/prev", "bank/next"]))],
        (NANO_SET, {"tempo/tap"}),
        *[(d, n | {"tempo/tap"}) for d, n in shifted(NANO_SET, buttons(1, range(64, 72), bank(17, 24)))],
        ([0xB0, 62, 127, 0xB0, 62, 0], {"midi/page"}),
        *faders(1, range(0, 7), weights(1, 7)),
        *buttons(1, range(48, 56), weights()),
        ([0xB0, 62, 127, 0xB0, 62, 0], {"midi/page"}),
        *faders(1, range(0, 7), loras(7)),
        *buttons(1, range(48, 56), [f"lora/{i}/active" for i in range(1, 9)]),
        ([0xB0, 62, 127, 0xB0, 62, 0], {"midi/page"}),
        *faders(1, range(0, 7), depths(7)),
        *buttons(1, range(48, 56), [f"mod/{i}/active" for i in range(1, 9)]),
        ([0xB0, 61, 127, 0xB0, 61, 0], {"midi/page"}),
    ],
    "MIDI Mix:MIDI Mix MIDI 1": [
        *faders(1, midimix_columns(19), weights()),
        *faders(1, [62], ["out/master"]),
        *faders(1, midimix_columns(16), [*LOOK, "continuity"]),
        *faders(1, midimix_columns(17), loras()),
        *faders(1, midimix_columns(18), depths()),
        *shifted([0x90, 27, 127, 0x80, 27, 0], faders(1, midimix_columns(18), MAKING)),
        *notes(1, range(3, 25, 3), bank(1, 8)),
        *notes(1, range(1, 23, 3), weights()),
        *notes(1, [26], ["midi/page"]),
        *notes(1, range(3, 25, 3), bank(9, 16)),
        *notes(1, [25], ["midi/page"]),
        *shifted([0x90, 27, 127, 0x80, 27, 0], notes(1, range(3, 25, 3), snapshots())),
    ],
    "APC mini mk2:APC mini mk2 Control": [
        *[
            press
            for row in range(8)
            for press in notes(1, range(56 - 8 * row, 64 - 8 * row), bank(8 * row + 1, 8 * row + 8))
        ],
        *faders(1, range(48, 57), [*weights(), "out/master"]),
        *shifted([0x90, 122, 127, 0x80, 122, 0], faders(1, range(48, 56), loras())),
        *notes(1, range(100, 104), ["out/blackout", "out/freeze", "pause", "audio/mute"]),
        *notes(1, range(104, 108), ["rec/toggle", "tempo/tap", "restart", "bank/random"]),
        *notes(1, range(113, 118), ["tempo/quantise"] * 5),
        *notes(1, (118, 119), ["cue/back", "cue/go"]),
        *shifted([0x90, 122, 127, 0x80, 122, 0], notes(1, range(100, 108), snapshots())),
        *shifted([0x90, 122, 127, 0x80, 122, 0], notes(1, (118, 119), ["bank/prev", "bank/next"])),
    ],
    "APC MINI:APC MINI MIDI 1": [
        *[
            press
            for row in range(8)
            for press in notes(1, range(56 - 8 * row, 64 - 8 * row), bank(8 * row + 1, 8 * row + 8))
        ],
        *faders(1, range(48, 57), [*weights(), "out/master"]),
        *shifted([0x90, 98, 127, 0x80, 98, 0], faders(1, range(48, 56), loras())),
        *notes(1, range(64, 68), ["out/blackout", "out/freeze", "pause", "audio/mute"]),
        *notes(1, range(83, 88), ["tempo/quantise"] * 5),
    ],
    "Launch Control XL:Launch Control XL MIDI 1": [
        *faders(9, range(77, 85), [*weights(1, 7), "out/master"]),
        *faders(9, range(13, 21), [*LOOK, "continuity"]),
        *faders(9, range(29, 37), loras()),
        *faders(9, range(49, 57), depths()),
        *shifted([0x98, 107, 127, 0x88, 107, 0], faders(9, range(49, 57), MAKING)),
        *notes(9, [*range(41, 45), *range(57, 61)], bank(1, 8)),
        *notes(9, [*range(73, 77), *range(89, 93)], weights()),
        *notes(9, (105, 106, 108), ["out/freeze", "audio/mute", "rec/toggle"]),
        *buttons(9, (104, 105, 106, 107), ["midi/page", "midi/page", "cue/back", "cue/go"]),
        *shifted([0x98, 107, 127, 0x88, 107, 0], notes(9, [*range(41, 45), *range(57, 61)], snapshots())),
        *shifted([0x98, 107, 127, 0x88, 107, 0], buttons(9, (106, 107), ["bank/prev", "bank/next"])),
    ],
    "Launchpad Mini MK3:Launchpad Mini MK3 LPMiniMK3 MI": [
        *[
            press
            for row in range(8)
            for press in notes(1, range(81 - 10 * row, 89 - 10 * row), bank(8 * row + 1, 8 * row + 8))
        ],
        *buttons(1, range(91, 95), ["out/blackout", "out/freeze", "pause", "audio/mute"]),
        *buttons(1, range(95, 99), ["rec/toggle", "tempo/tap", "cue/back", "cue/go"]),
        *buttons(1, range(79, 29, -10), ["tempo/quantise"] * 5),
        *buttons(1, (29, 19), ["restart", "bank/random"]),
    ],
    "X-TOUCH MINI:X-TOUCH MINI MIDI 1": [
        *faders(11, range(1, 9), weights()),
        *faders(11, range(11, 19), loras()),
        *faders(11, (9, 10), ["out/master"] * 2),
        *notes(11, range(0, 8), weights()),
        *notes(11, range(8, 24), bank(1, 16)),
        *notes(11, range(24, 32), [f"lora/{i}/active" for i in range(1, 9)]),
        *notes(11, range(32, 48), bank(17, 32)),
    ],
    "generic8": [
        *faders(5, range(20, 28), [*weights(1, 7), "out/master"]),
        *faders(2, range(102, 110), [*LOOK, "continuity"]),
        *notes(10, range(36, 44), bank(1, 8)),
    ],
}
"""By port name: (bytes, the names of all that they change or fire), in the order of a performance."""

IMPLIED = {"prompt", "bank/selected", "bank/next", "bank/prev"}
"""What a slot of the bank sets besides its own trigger."""


@pytest.mark.parametrize("port", STREAMS)
def test_every_control_moves_exactly_what_it_is_documented_to(port):
    chosen = port if port == "generic8" else "default"
    events, mapper = queue.SimpleQueue(), Mapper(load_mappings(chosen, NOWHERE))
    receiver = MidiReceiver(events)
    registry = Registry(slot_values([("", f"prompt {i}") for i in range(64)]))
    for data, names in STREAMS[port]:
        touched, notices = set(), []
        receiver.inject(bytes(data), port)
        for event in [each for _ in range(events.qsize()) for each in events.get()]:
            translated = mapper.translate(event, registry.values)
            notices += [each.args[0] for each in translated if each.address == NOTICE]
            outcome = registry.apply(translated)
            assert not outcome.errors
            fired = {item.name for item in outcome.fired}
            touched |= fired or {change.name for change in outcome.changes}
        assert touched == names, (data[:6], notices[:2])
        assert not [text for text in notices if "not mapped" in text]


def test_all_shipped_devices_are_played_here():
    names = {load_device(path).name for path in DEVICES}
    played = {Mapper(load_mappings("default", NOWHERE)).bound(port).mapping.device.name for port in STREAMS} - {
        "default"
    }
    assert names - played == {"Generic 8 faders"}  # which is chosen by its name


@pytest.mark.parametrize("path", DEVICES, ids=lambda path: path.stem)
def test_no_two_controls_of_a_device_share_a_place(path):
    """Duplicates are refused at reading; this counts what was read. The file says what is not verified."""
    device = load_device(path)
    places = [control.key for control in device.controls]
    assert len(places) == len(set(places)) > 20
    lights = [(led.send, led.channel, led.number, led.template) for led in device.leds]
    assert len(lights) == len(set(lights))
    text = path.read_text()
    assert "Source" in text and "ltx-live learn" in text
    assert "ot verified" in text or path.stem == "generic8"


def led_bytes(stem, control, look):
    device = next(load_device(path) for path in DEVICES if path.stem == stem)
    return next(led for led in device.leds if led.control.id == control).message(look).hex(" ")


@pytest.mark.parametrize(
    ("stem", "control", "look", "expected"),
    [
        ("nanokontrol2", "solo1", "on", "b0 20 7f"),
        ("nanokontrol2", "cycle", "off", "b0 2e 00"),
        ("midimix", "rec8", "on", "90 18 7f"),
        ("midimix", "mute1", "off", "90 01 00"),
        ("apc_mini_mk2", "pad8_1", "on", "96 00 15"),  # bottom left, 100 %, green
        ("apc_mini_mk2", "pad1_8", "pending", "98 3f 09"),  # top right, pulsing, orange
        ("apc_mini_mk2", "pad1_1", "error", "9c 38 05"),
        ("apc_mini_mk2", "track1", "pending", "90 64 02"),
        ("apc_mini", "pad8_1", "on", "90 00 01"),
        ("apc_mini", "pad8_1", "pending", "90 00 02"),
        ("launch_control_xl", "focus1", "on", "f0 00 20 29 02 11 78 08 18 3c f7"),
        ("launch_control_xl", "control8", "off", "f0 00 20 29 02 11 78 08 27 0c f7"),
        ("launchpad_mini_mk3", "pad8_1", "pending", "92 0b 09"),
    ],
)
def test_lights_have_the_documented_bytes(stem, control, look, expected):
    assert led_bytes(stem, control, look) == expected


def test_clock_and_active_sensing_are_no_controls():
    events = queue.SimpleQueue()
    MidiReceiver(events).inject(bytes([0xFE, 0xF8, 0xFE]), "nanoKONTROL2")
    assert events.empty()
    assert Mapper(()).translate(Event("/clock/tick", (1.0,), Origin("midi", "x"), 0.0), {})[0].address == "/clock/tick"


def test_a_mapping_written_from_the_readme_does_what_its_writer_meant(tmp_path):
    """The ten lines of the README, and what each line of its list offers."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    text = readme.split("```toml\n")[1].split("```")[0]
    assert len([line for line in text.splitlines() if line.strip()]) <= 10
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "mine.toml").write_text(text)
    bound = Mapper(load_mappings("default", tmp_path)).bound("USB My Pad MIDI 1")
    assert [bound.at("cc", 1, i)[0].to for i in range(1, 9)] == weights()
    assert [(b.to, b.action) for b in bound.at("note", 10, 36)] == [("out/blackout", "toggle")]
    section = readme.split("## MIDI\n")[1].split("\n## ")[0]
    offered = [
        'control = "cc:1:20:rel_2c"\nto = "out/hue"\nstep = 2',
        'control = "cc:1:0:14"\nto = "out/master"\nrange = [0.2, 0.8]\ncurve = [0, 0.5, 1]\nsteps = 5\nsmooth_ms = 200',
        'control = "note:1:40"\naction = "scene"\nvalues = { "out/hue" = 30, prompt = "a red fox" }\nalso = true',
        'control = "note:1:41"\nto = "tempo/quantise"\nvalue = "bar"\nshift = "note:1:98"\nwhen = { pause = 1 }',
        'control = "note:1:42"\nto = "restart"\nlong_ms = 500\nquantise = "bar"\npage = 2',
    ]
    more = "\n".join(f"[[bind]]\n{each}" for each in offered) + "\n[clock]\nuse = false\n"
    (tmp_path / "mappings" / "mine.toml").write_text('extends = "default"\n' + text + more)
    bound = Mapper(load_mappings("default", tmp_path)).bound("USB My Pad MIDI 1")
    assert len(bound.mapping.bindings) > 14 and not bound.mapping.clock.use
    words = [*ACTIONS, "takeover", "pickup", "scale", "jump", *(key for key in BIND.types if key != "unit")]
    words += [*CLOCK.types, *OPTIONS.types, *(f"match.{key}" for key in MATCH.types if key != "output")]
    for word in words:
        assert f"`{word}" in section or f"{word} = " in section, word
