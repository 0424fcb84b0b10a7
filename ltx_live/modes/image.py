"""Image-to-video: an image is made ready beside the show and leads one chunk, or with `i2v_hold` every chunk."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ltx_live.chunk import ChunkRequest, Inputs
from ltx_live.errors import MediaError
from ltx_live.media.image import as_trained, fitted, read_image, write_png
from ltx_live.media.loader import Loader
from ltx_live.modes.use import Arrival, Setting, Told, Used, asset


class Ready(NamedTuple):
    """An image of the chunk's size (H, W, 3) uint8, as it is and with the compression of training."""

    plain: np.ndarray
    trained: np.ndarray


class ImageMode:
    """`size` is the chunk's (width, height), `folder` the home's media folder, where grabbed frames are kept."""

    def __init__(self, size: tuple[int, int], folder: Path):
        self._size = size
        self._folder = folder
        self._loader = Loader(self._read)
        self._grabbed: dict[str, np.ndarray] = {}  # those whose files are being written
        self._writer = ThreadPoolExecutor(1, "grabs")
        self._faults: deque[str] = deque()
        self._wish = ""
        self._used: Used | None = None
        self._image: Ready | None = None
        self._led: tuple[Used, int] | None = None  # which image led last, and where its chunk starts
        self._strength = 1.0  # that it leads with, before modulators
        self._version = 0

    @property
    def words(self) -> str:
        """What is in use, in a word; "" for nothing."""
        if self._loader.is_reading:
            return "image loading"
        return "" if self._used is None else f"image {Path(self._used.name).name}"

    @property
    def is_loading(self) -> bool:
        """Whether the image is still to be read."""
        return self._loader.is_reading

    def take(self, values: Mapping[str, Any]) -> None:
        """Follow the value `i2v_image`."""
        if values["i2v_image"] == self._wish:
            return
        self._wish = values["i2v_image"]
        if self._wish:
            self._loader.ask(self._wish)
        else:
            self._loader.forget()
            self._used = self._image = None

    def grab(self, pixels: np.ndarray) -> str:
        """Keep a picture (H, W, 3) uint8; the name that `i2v_image` has to be set to for it to lead."""
        moment_s = time.time()
        stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(moment_s))
        name = str(self._folder / f"grab-{stamp}-{moment_s % 1 * 1000:03.0f}.png")
        self._grabbed[name] = pixels.copy()
        self._writer.submit(self._write, name)
        return name

    def again(self) -> bool:
        """Let the image lead once more; False where there is none."""
        if self._used is None:
            return False
        self._use(self._used.name)
        return True

    def tick(self) -> Iterator[Told]:
        """What has happened since the last tick."""
        while self._faults:
            yield self._faults.popleft()
        loaded = self._loader.check()
        if loaded is None:
            return
        if loaded.error is not None:
            self._wish = "" if self._used is None else self._used.name
            yield Setting("i2v_image", self._wish, f"{loaded.error}; the image stays as it was")
            return
        self._image = loaded.content
        self._use(loaded.name)
        yield Arrival("i2v_image")

    def fields(self, params: Any) -> dict[str, Any]:
        """The values of GenerationParams that a chunk is made with: those that change nothing are the table's."""
        holds = params.i2v_hold and self._used is not None
        if holds or (self._used is not None and (self._led is None or self._led[0] != self._used)):
            self._strength = params.i2v_strength
            return {"i2v_image": self._used}
        led = "" if self._led is None else self._led[0]  # it goes on from the image, which is no gesture
        return {"i2v_image": led, "i2v_strength": self._strength, "i2v_hold": False}

    def leads(self, request: ChunkRequest) -> bool:
        """Whether the chunk begins with the image. One whose lead was cut away before it was seen leads again."""
        image, params = request.params.i2v_image, request.params
        if self._image is None or not image or image != self._used or params.i2v_strength <= 0:
            return False
        return params.i2v_hold or self._led is None or self._led[0] != image or request.start <= self._led[1]

    def fill(self, request: ChunkRequest, inputs: Inputs) -> Inputs:
        """The inputs with the image, where it leads the chunk."""
        if not self.leads(request):
            return inputs
        return replace(inputs, image=self._image.trained if request.params.i2v_compress else self._image.plain)

    def made(self, request: ChunkRequest) -> None:
        """The chunk of this request, as it was filled, is in the timeline."""
        if request.inputs.image is not None:
            self._led = request.params.i2v_image, request.start

    def _use(self, name: str) -> None:
        self._version += 1
        self._used = Used(name, self._version)

    def _read(self, name: str) -> Ready:
        """In the loader's thread: the image of a name, which may be one whose file is still being written."""
        pixels = self._grabbed.get(name)
        if pixels is None:
            pixels = read_image(asset(name, self._folder))
        plain = fitted(pixels, *self._size)
        return Ready(plain, as_trained(plain))

    def _write(self, name: str) -> None:
        """In the writer's thread: a grabbed frame becomes a file, whether it is used or not."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_png(name, self._grabbed[name])
        except (MediaError, OSError) as error:
            self._faults.append(f"{error}; the grabbed frame is used, but not kept")
            return
        del self._grabbed[name]
