"""Reading beside the show: the newest wish is answered, once, and a failure is an answer."""

import os
import threading
import time

import pytest

from ltx_live.errors import MediaError
from ltx_live.media.audio import read_audio
from ltx_live.media.frames import Opening, VideoFile
from ltx_live.media.image import read_image
from ltx_live.media.loader import Loader

OPENING = Opening(64, 32, 24.0, time.perf_counter, print)


def wait_for(loader, timeout_s=10.0):
    end = time.monotonic() + timeout_s
    while (loaded := loader.check()) is None:
        assert time.monotonic() < end
        time.sleep(0.002)
    return loaded


def read(name: str) -> str:
    if name == "odd":
        raise ValueError("no one has thought of this")
    if name == "bug":
        raise ZeroDivisionError
    if name == "broken":
        raise MediaError(f"cannot read {name}: it is broken")
    return name.upper()


def test_the_newest_of_several_wishes_is_answered_once():
    reading, may_end = threading.Event(), threading.Event()

    def slowly(name: str) -> str:
        reading.set()
        may_end.wait(10)
        return read(name)

    loader = Loader(slowly)
    assert loader.check() is None and not loader.is_reading
    loader.ask("a")
    assert loader.check() is None and reading.wait(10)
    loader.ask("b")
    loader.ask("c")
    may_end.set()
    assert wait_for(loader) == ("c", "C", None) and not loader.is_reading
    assert [loader.check() for _ in range(3)] == [None] * 3


def test_a_failure_is_an_answer_and_the_next_wish_is_read():
    loader = Loader(read)
    loader.ask("broken")
    loaded = wait_for(loader)
    assert loaded.content is None and str(loaded.error) == "cannot read broken: it is broken"
    loader.ask("a")
    assert wait_for(loader).content == "A"


def test_what_is_forgotten_is_not_given():
    loader = Loader(read)
    loader.ask("a")
    loader.check()
    loader.forget()
    time.sleep(0.05)
    assert loader.check() is None and not loader.is_reading


@pytest.mark.parametrize("read", [read_image, read_audio, lambda path: VideoFile(path, OPENING)])
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_what_has_no_end_is_refused_at_once(read, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(MediaError, match=r"cannot read .*pipe.png: it is a device or a pipe; choose a file"):
        read(tmp_path / "pipe.png")


def test_what_nobody_has_thought_of_is_a_failure_too():
    loader = Loader(read)
    loader.ask("odd")
    assert str(wait_for(loader).error) == "cannot read odd: no one has thought of this; choose another file"
    loader.ask("fine")
    assert wait_for(loader).content == "FINE"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_reading_is_answered_and_what_comes_after_it_is_read():
    loader = Loader(read)
    loader.ask("bug")
    assert str(wait_for(loader).error) == "cannot read bug; choose another file"
    loader.ask("fine")
    assert wait_for(loader).content == "FINE"
