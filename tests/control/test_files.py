"""Mapping files: the shipped ones, and what a faulty one is told."""

from pathlib import Path

import pytest

from ltx_live import params
from ltx_live.control.bank import slot_values
from ltx_live.control.binding import Options, resolved_takeover
from ltx_live.control.clock import Clock
from ltx_live.control.device import SYSTEMS, system_of
from ltx_live.control.event import Event, Origin
from ltx_live.control.files import load_mapping, load_mappings, mapping_folders
from ltx_live.control.mapping import Mapper
from ltx_live.control.midi import unique_names
from ltx_live.control.registry import Registry
from ltx_live.errors import ConfigError

NOWHERE = Path("/nonexistent")
SHIPPED = [path for folder in mapping_folders(NOWHERE) for path in folder.glob("*.toml")]


def by_name(name):
    return next(mapping for mapping in load_mappings("default", NOWHERE) if mapping.name == name)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_mappings_parse_and_bind_built_parameters_once_per_control(path):
    mapping = load_mapping(path, mapping_folders(NOWHERE))
    keys = [(binding.control.key, binding.condition) for binding in mapping.bindings]
    assert keys and len(set(keys)) == len(keys)
    assert all(params.find(binding.to) for binding in mapping.bindings)


def test_nanokontrol2_has_the_numbers_of_the_hardware():
    places = {binding.control.id: binding.control.number for binding in by_name("nanoKONTROL2").bindings}
    expected = {"slider1": 0, "slider8": 7, "knob1": 16, "solo1": 32, "solo8": 39, "rec8": 71, "play": 41, "cycle": 46}
    assert expected.items() <= places.items()
    for binding in by_name("nanoKONTROL2").bindings:
        how = resolved_takeover(binding)
        assert how == ("pickup" if binding.control.id.startswith(("slider", "knob")) else "jump")


def press(mapping, registry, place, value):
    event = Event(f"/midi/x/{place}", (value,), Origin("midi", "nanoKONTROL2"), 0.0)
    return registry.apply(Mapper([mapping]).translate(event, registry.values))


@pytest.mark.parametrize(
    ("place", "value", "name", "result"),
    [
        ("note/10/36", 90, "bank/selected", 1),
        ("note/1/51", 90, "bank/selected", 16),
        ("program/3", 4, "bank/selected", 5),
        ("cc/1/7", 32, "out/master", 0.25),
        ("cc/1/64", 127, "out/freeze", True),
        ("note/1/52", 1, "out/blackout", True),
    ],
)
def test_default_plays_the_bank_and_the_master(place, value, name, result):
    registry = Registry(slot_values([("", f"prompt {i}") for i in range(16)]))
    press(by_name("default"), registry, place, value)
    assert registry.values[name] == result


def test_nanokontrol2_buttons():
    registry = Registry(slot_values([("", f"prompt {i}") for i in range(16)]))
    mapping = by_name("nanoKONTROL2")
    for place, name, result in [
        ("cc/1/66", "bank/selected", 3),
        ("cc/1/32", "bank/selected", 9),
        ("cc/1/41", "pause", True),
        ("cc/1/42", "out/blackout", True),
        ("cc/1/46", "out/freeze", True),
    ]:
        press(mapping, registry, place, 127)
        assert registry.values[name] == result
    assert press(mapping, registry, "cc/1/45", 127).fired[0].name == "rec/toggle"


def test_slider_1_and_solo_1_stay_two_controls():
    registry = Registry(slot_values([("", "a")] * 16))
    press(by_name("nanoKONTROL2"), registry, "cc/1/32", 127)
    assert registry.values["bank/selected"] == 9 and registry.values["out/brightness"] == 0.0


def test_default_mode_tries_devices_first_and_a_chosen_file_serves_every_port():
    assert [mapping.name for mapping in load_mappings("default", NOWHERE)][-1] == "default"
    (chosen,) = load_mappings("nanokontrol2", NOWHERE)
    assert chosen.fit("anything") and not by_name("nanoKONTROL2").fit("anything")
    assert by_name("nanoKONTROL2").fit("nanoKONTROL2:nanoKONTROL2 nanoKONTROL2 _ CTRL")


def test_the_users_folder_wins(tmp_path):
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "default.toml").write_text('schema = 1\nname = "mine"\n', encoding="utf-8-sig")
    assert load_mappings("default", tmp_path)[-1].name == "mine"
    assert load_mappings("default", NOWHERE)[-1].name == "default"


def own(home, name, text):
    (home / "mappings").mkdir(exist_ok=True)
    path = home / "mappings" / f"{name}.toml"
    path.write_text(f'schema = 1\n{text}\n[[bind]]\ncontrol = "cc:1:9"\nto = "out/contrast"\n')
    return path


def named(home, port):
    return Mapper(load_mappings("default", home)).bound(port).mapping.name


def test_of_equal_ports_each_gets_the_file_with_its_index(tmp_path):
    own(tmp_path, "second", 'match.input = ["Pad"]\nmatch.index = 2')
    own(tmp_path, "third", 'device = "pad"\n[match]\nindex = 3')
    own(tmp_path, "any", 'match.input = ["pad*"]')
    (tmp_path / "mappings" / "devices").mkdir()
    (tmp_path / "mappings" / "devices" / "pad.toml").write_text('schema = 1\n[match]\ninput = ["Pad*"]\n')
    ports = unique_names(["Pad 20:0", "Pad 24:0", "Pad 28:0", "Pad 32:0", "Other 36:0"])
    assert [named(tmp_path, port) for port in ports] == ["any", "second", "third", "any", "default"]
    assert all(mapping.fit("anything") for mapping in load_mappings("second", tmp_path))


def test_what_extends_a_file_has_its_index_but_not_for_ports_of_its_own(tmp_path):
    own(tmp_path, "second", 'match.input = ["Pad"]\nmatch.index = 2')
    own(tmp_path, "more", 'extends = "second"')
    own(tmp_path, "other", 'extends = "second"\nmatch.input = ["Keys"]')
    indices = {mapping.name: mapping.index for mapping in load_mappings("default", tmp_path)}
    assert (indices["second"], indices["more"], indices["other"]) == (2, 2, None)


HERE, ELSEWHERE = system_of(), [system for system in SYSTEMS if system != system_of()]


def test_a_file_for_another_system_is_passed_over(tmp_path):
    own(tmp_path, "here", f'match = {{ input = ["Pad"], os = "{HERE}" }}')
    own(tmp_path, "elsewhere", f'match = {{ input = ["Pad", "Keys"], os = {ELSEWHERE} }}')
    own(tmp_path, "both", f'match = {{ input = ["Both"], os = {[*ELSEWHERE, HERE]} }}')
    path = own(tmp_path, "default", f'name = "mine"\nmatch = {{ os = {ELSEWHERE} }}')
    assert [named(tmp_path, port) for port in ("Pad", "Keys", "Both")] == ["here", "default", "both"]
    own(tmp_path, "extended", 'extends = "elsewhere"')
    assert "extended" not in {mapping.name for mapping in load_mappings("default", tmp_path)}
    with pytest.raises(ConfigError, match=f"{path}: is for .* \\(match.os\\), this is {HERE}; choose another"):
        load_mappings(str(path), tmp_path)


@pytest.mark.parametrize(("platform", "system"), [("linux", "linux"), ("darwin", "macos"), ("win32", "windows")])
def test_systems_have_the_words_that_performers_use(platform, system):
    assert system_of(platform) == system and system in SYSTEMS


def test_options_and_clock_hold_for_what_extends_a_file(tmp_path):
    more = "[options]\npickup_threshold = 0.5\nrate_hz = 50\n[clock]\ninput = ['Drum*']\nstart_resync = true\n"
    base = own(tmp_path, "base", 'match.input = ["Pad"]\n' + more)
    mine = load_mapping(own(tmp_path, "mine", 'extends = "base"\n[options]\nrate_hz = 60'), [base.parent])
    assert mine.options == Options(0.5, 60) and mine.clock == Clock(True, ("Drum*",), True)
    assert (mine.bindings[0].threshold, mine.bindings[0].rate_hz) == (0.5, 60)
    deaf = load_mapping(own(tmp_path, "deaf", 'extends = "base"\n[clock]\nuse = false'), [base.parent])
    assert deaf.clock == Clock(False, (), True)


def test_a_path_may_be_given(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'schema = 1\n[[bind]]\ncontrol = "pitchbend:1"\nto = "/ltx/out/hue"\nunit = "norm"\nrange = [0.5, 1]\n'
    )
    (mapping,) = load_mappings(str(path), NOWHERE)
    assert mapping.name == "mine" and (mapping.bindings[0].low, mapping.bindings[0].high) == (0, 180)


BIND = 'schema = 1\n\n[[bind]]\ncontrol = "cc:1:7"\nto = "out/master"\n\n[[bind]]\ncontrol = "cc:1:8"\n'
FAULTS = {
    'schema = 1\ncolour = "red"': (2, "unknown key colour; known are"),
    BIND + 'to = "out/hue"\ntakover = "jump"': (10, "unknown key takover; did you mean takeover?"),
    BIND + 'to = "out/hu"': (9, "did you mean /ltx/out/hue?"),
    BIND: (7, "to is missing"),
    BIND + 'to = "out/hue"\ncurve = "cubic"': (10, "curve = 'cubic' is not one of lin, log, exp, s"),
    BIND + 'to = "out/hue"\ninvert = 1': (10, "invert = 1 cannot be used; write true or false"),
    BIND + 'to = "out/hue"\nrange = [1, 1]': (10, "must be two different numbers"),
    BIND + 'to = "out/hue"\naction = "toggle"': (10, "action toggle cannot go to out/hue"),
    BIND + 'to = "prompt"': (9, "action set cannot go to prompt (str, text)"),
    BIND.replace("cc:1:8", "cc:17:8") + 'to = "out/hue"': (8, "unknown control cc:17:8; write an id"),
    BIND.replace("cc:1:8", "note:1:{1..4}") + 'to = "bank/{1..3}/connect"': (9, "4 controls cannot go to 3 parameters"),
    "schema = 2": (1, "schema = 2 is not known; write schema = 1"),
    BIND.replace("cc:1:8", "cc:1:7") + 'to = "out/hue"': (
        8,
        "cc:1:7 is bound already, to out/master; give one of them",
    ),
    BIND + 'to = "out/hue"\nrange = [0, 400]': (10, "range = [0, 400] leaves what out/hue can be, -180 to 180"),
    BIND + 'to = "out/hue"\npage = 17': (10, "page = 17 must be 1..16"),
    BIND + 'to = "out/hue"\nshift = "note:1:200"': (10, "unknown control note:1:200"),
    BIND + 'to = "out/hue"\nlong_ms = 400': (10, "long_ms wants an action that is a press, not set"),
    BIND + 'to = "out/hue"\nvalue = "far"': (10, "'far' is not a number"),
    BIND + 'to = "out/hue"\nwhen = { "out/frezze" = 1 }': (10, "did you mean /ltx/out/freeze?"),
    BIND + 'to = "out/hue"\ncurve = [0, 2]': (10, "curve = [0, 2] must be a word or 2 to 128 numbers"),
    BIND + 'to = "out/hue"\nsmooth_ms = -1': (10, "smooth_ms = -1 must be 1 to 10000"),
    BIND + 'action = "scene"': (9, "action scene wants values"),
    'schema = 1\nrequires = "99.1"': (2, "needs ltx-live 99.1"),
    'schema = 1\nextends = "defualt"': (2, "did you mean default?"),
    'schema = 1\ndevice = "nanokontrol"': (2, "did you mean nanokontrol2?"),
    'schema = 1\n[[control]]\nid = "a"\nkind = "cc"\nnumber = 200': (5, "a: a cc wants 1 numbers 0..127"),
    'schema = 1\ndevice = "nanokontrol2"\n[[feedback]]\ncontrol = "knob1"': (4, "knob1 has no light"),
    'schema = 1\n[init]\nmessages = ["F0 01 80 F7"]': (3, "is no MIDI message"),
    'schema = 1\n[match]\ninput = "x"': (3, "input = 'x' cannot be used; write a list"),
    'schema = 1\n[match]\ninput = ["x"]\nindex = 0': (4, "index = 0 must be 1 or more"),
    "schema = 1\n\nmatch.index = 2": (3, "index is for the ports of input, which is missing"),
    'schema = 1\n[match]\nos = ["linux", "mac"]': (3, "os = 'mac' is not known; did you mean macos?"),
    "schema = 1\n[match]\nos = []": (3, "os names no system; write one or more of linux, macos, windows"),
    "schema = 1\n[match]\nos = [1]": (3, "os = [1] must be a list of texts"),
    'schema = 1\n[clock]\ninput = ""': (3, "input names no port; write its name, * for anything"),
    'schema = 1\n[clock]\nuse = false\ninput = "x"': (3, "use = false follows no clock, but input names one"),
    "schema = 1\n[clock]\nstart_resinc = true": (3, "unknown key start_resinc; did you mean start_resync?"),
    "schema = 1\n[clock]\nstart_resync = 1": (3, "start_resync = 1 cannot be used; write true or false"),
    "schema = 1\n[options]\npickup_threshold = 2": (3, "pickup_threshold = 2 must be 0 to 1"),
    "schema = 1\n[options]\nrate_hz = 0": (3, "rate_hz = 0 must be 1 to 1000"),
    "schema = 1\n[options]\nrate_hz = nan": (3, "rate_hz = nan must be 1 to 1000"),
    'schema = 1\n[options]\nlearn_ignores = ["aftrtouch"]': (3, "'aftrtouch' is not known; did you mean aftertouch?"),
    'schema = 1\n[options]\nlearn_ignores = "cc"': (3, "learn_ignores = 'cc' cannot be used; write a list"),
    'schema = 1\ndevice = "nanokontrol2"\n[[bind]]\ncontrol = "slidr1"\nto = "out/hue"': (4, "did you mean slider"),
}


@pytest.mark.parametrize("text", FAULTS, ids=[fault[1][:30] for fault in FAULTS.values()])
def test_faults_name_file_and_line_and_what_to_do(tmp_path, text):
    line, words = FAULTS[text]
    path = tmp_path / "faulty.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_mapping(path, mapping_folders(NOWHERE))
    assert str(caught.value).startswith(f"{path}:{line}: ") and words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unreadable_and_missing_files_are_one_line(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("schema = = 1")
    with pytest.raises(ConfigError, match=r"broken.toml:1: cannot be read as TOML: .*line 1"):
        load_mapping(path, [])
    with pytest.raises(ConfigError, match="mapping nonesuch: no such file; there are apc_mini, .*nanokontrol2"):
        load_mappings("nonesuch", NOWHERE)


def test_a_device_with_the_same_control_twice_is_refused(tmp_path):
    (tmp_path / "devices").mkdir()
    control = '[[control]]\nid = "{}"\nkind = "cc"\nnumber = 3\n'
    device = "schema = 1\n" + control.format("a") + control.format("b")
    (tmp_path / "devices" / "twice.toml").write_text(device)
    (tmp_path / "m.toml").write_text('schema = 1\ndevice = "twice"\n')
    with pytest.raises(ConfigError, match="twice.toml:7: b is the same control as a"):
        load_mapping(tmp_path / "m.toml", [tmp_path])
