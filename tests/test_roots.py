"""Which files may be named from another computer, and that this one may name any."""

import pytest

from ltx_live.control.event import Event, Origin
from ltx_live.roots import Roots

FAR = Origin("osc", "10.0.0.7", ("10.0.0.7", 5000))
PAGE = Origin("web", "10.0.0.7", (3,))
NEAR = [
    Origin("osc", "127.0.0.1", ("127.0.0.1", 5000)),
    Origin("osc", "::1", ("::1", 5000, 0, 0)),
    Origin("web", "127.0.0.1", (1,)),
    Origin("key"),
    Origin("midi", "nanoKONTROL2"),
    Origin("app", "modes"),
]


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "home"
    for folder in ("media/sub", "loras", "shows"):
        (home / folder).mkdir(parents=True)
    for name in ("media/fox.png", "media/sub/song.wav", "loras/ink.safetensors", "shows/show.toml"):
        (home / name).write_bytes(b"")
    (tmp_path / "secret.png").write_bytes(b"")
    (tmp_path / "secret.safetensors").write_bytes(b"")
    (home / "media/out.png").symlink_to(tmp_path / "secret.png")
    return home


@pytest.fixture
def roots(home):
    return Roots(home, lambda name: name.removesuffix(".safetensors") in ("ink", "elsewhere"))


def refused(roots, address, *args, origin=FAR):
    return roots.refusal(Event(f"/ltx/{address}", args, origin, 0.0))


def test_what_lies_in_the_folders_may_be_named(roots, home):
    for address, text in (
        ("i2v_image", "fox.png"),
        ("i2v_image", str(home / "media/fox.png")),
        ("norm/i2v_image", "fox.png"),
        ("audio_input", "sub/song.wav"),
        ("ref/source", "sub"),
        ("ref/source", "camera"),
        ("ref/source", "camera:/dev/video2"),
        ("ref/source", "camera:1"),
        ("ref/source", "test"),
        ("lora/1/name", "ink"),
        ("lora/2/name", "elsewhere.safetensors"),
        ("lora/drop", str(home / "loras/ink.safetensors")),
        ("i2v_image", ""),
        ("midi/load", "my pads"),
        ("prompt", "/etc/passwd"),
        ("rec/name", "../out"),  # which the recordings folder takes care of
    ):
        assert refused(roots, address, text) is None, (address, text)
    assert refused(roots, "i2v_image") is None and refused(roots, "i2v_image", "?") is None


def test_nothing_else_may(roots, home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for address, text in (
        ("i2v_image", "/etc/passwd"),
        ("i2v_image", str(tmp_path / "secret.png")),
        ("i2v_image", "secret.png"),  # there is one where the show was started
        ("i2v_image", "../../secret.png"),
        ("i2v_image", "out.png"),  # a link
        ("i2v_image", "../shows/show.toml"),
        ("norm/audio_input", "~/song.wav"),
        ("ref/mask", "x\x00y"),
        ("ref/source", "http://10.0.0.1/video"),
        ("ref/source", "camera:/etc/passwd"),
        ("lora/3/name", "secret"),
        ("lora/3/name", str(tmp_path / "secret")),
        ("lora/drop", str(tmp_path / "secret.safetensors")),
        ("midi/load", "../../secret.toml"),
    ):
        line = refused(roots, address, text)
        assert line and "only what lies in" in line and "\n" not in line, (address, text)
        assert refused(roots, address, text, origin=PAGE) == line
        for origin in NEAR:
            assert refused(roots, address, text, origin=origin) is None
    assert refused(roots, "i2v_image", "/etc/pass", "wd") and refused(roots, "ref/mask", None, "/etc/passwd")
    assert refused(roots, "i2v_image", "/etc/passwd", origin=Origin("web", "", (2,)))
