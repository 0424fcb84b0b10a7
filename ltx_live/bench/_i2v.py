"""Image to video: how near the first frame is to its image by `i2v_strength`, and whether the picture moves on from it.

Images go in as the show gives them, fitted and compressed; they are compared with what was fitted, before that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ltx_live import params
from ltx_live.bench._bars import Bar
from ltx_live.chunk import ChunkRequest, Engine, Inputs
from ltx_live.engine.ltx import LtxEngine
from ltx_live.media.image import as_trained, fitted
from ltx_live.pocket import measure
from ltx_live.pocket.description import Batch, Description
from ltx_live.pocket.scenes import render_frames

STRENGTHS = (1.0, 0.75, 0.5, 0.25, 0.0)
LEAST_FALL_DB = 0.1
SEED = 777_000_101  # far from every training seed

_WORLD = (
    ("tunnel", "red", "moving red tunnel"),
    ("plasma", "purple", "moving purple plasma"),
    ("waves", "cyan", "moving cyan waves"),
    ("kaleidoscope", "gold", "moving gold kaleidoscope"),
)
_OTHERS = (("leaves", "moving blue plasma"), ("cloud", "moving green waves"))


@dataclass(frozen=True)
class Image:
    """A picture (H, W, 3) uint8 of the engine's size, and the prompt that goes with it."""

    name: str
    pixels: np.ndarray
    prompt: str


@dataclass(frozen=True)
class Led:
    """What an image led to: by strength (5,) the first frame's PSNR to it, before and after compression, and the flow.

    `own_db` is the PSNR of the video autoencoder's own reconstruction. `jump` is the difference between the first two
    frames over the median of all later ones, at strength 1.
    """

    image: Image
    psnr_db: np.ndarray
    compressed_db: np.ndarray
    flow: np.ndarray
    own_db: float
    jump: float

    def __str__(self) -> str:
        columns = (
            f"{a:5.1f} {b:5.1f} {flow:.3f}"
            for a, b, flow in zip(self.psnr_db, self.compressed_db, self.flow, strict=True)
        )
        return f"  {self.image.name:<20} {'   '.join(columns)}   {self.own_db:5.1f}  {self.jump:5.2f}"


def bars(engine: Engine, values: Mapping[str, Any], quick: bool) -> Iterator[Bar]:
    """Every strength, on pictures of the pocket's world and on others; few pictures when `quick`."""
    if not isinstance(engine, LtxEngine):
        print(f"i2v: {engine.info.name} has no video autoencoder; left out")
        return
    size = engine.info.width, engine.info.height
    shown = list(images(size))
    shown = [shown[0], shown[-1]] if quick else shown
    each = "   ".join(f"{strength:<17g}" for strength in STRENGTHS)
    print("i2v: PSNR to the image, to the compressed one (dB), flow (heights/s), by i2v_strength; VAE's own PSNR; jump")
    print(f"  {'':<20} {each}   own    jump")
    made = []
    for image in shown:
        made.append(lead(engine, values, image))
        print(made[-1], flush=True)
    yield from verdicts(made)


def verdicts(made: list[Led]) -> Iterator[Bar]:
    """The mean PSNR falls with the strength; single pictures may rise a little where the autoencoder is the limit."""
    falls_db = -np.diff([led.psnr_db for led in made], axis=1)  # (images, 4)
    print(f"  a single picture rises by {max(0.0, -falls_db.min()):.1f} dB at most from a strength to the next")
    yield Bar("i2v: mean PSNR falls by strength, least", float(falls_db.mean(axis=0).min()), LEAST_FALL_DB, "dB")
    worst_db = min(max(float(led.psnr_db[0]) - 25, float(led.psnr_db[0]) - led.own_db + 1) for led in made)
    yield Bar("i2v: PSNR at 1, over 25 dB or the VAE's own - 1 dB", worst_db, 0, "dB")
    flow = min(float(led.flow[: STRENGTHS.index(0.0)].min()) for led in made)
    yield Bar("i2v: flow after the image, slowest", flow, measure.STILL_FLOW, "h/s")


def lead(engine: LtxEngine, values: Mapping[str, Any], image: Image) -> Led:
    """A new take from the image, at every strength."""
    compressed = as_trained(image.pixels)
    films = [first_chunk(engine, {**values, "i2v_strength": s, "prompt": image.prompt}, compressed) for s in STRENGTHS]
    steps = np.abs(np.diff(films[0].astype(np.float32), axis=0)).mean((1, 2, 3))
    return Led(
        image,
        np.array([psnr_db(film[0], image.pixels) for film in films]),
        np.array([psnr_db(film[0], compressed) for film in films]),
        np.array([measure.flow_of(film[1:], values["frame_rate"]) for film in films]),
        psnr_db(reconstruction(engine, compressed), image.pixels),
        float(steps[0] / max(np.median(steps[1:]), 1e-3)),
    )


def first_chunk(engine: Engine, values: Mapping[str, Any], image: np.ndarray) -> np.ndarray:
    """Frames (F, H, W, 3) uint8 of the chunk that begins a take with an image."""
    generation = params.snapshot(params.GenerationParams, values)
    request = ChunkRequest(0, generation, generation.seed, 0, generation.num_frames, inputs=Inputs(image=image))
    *_, chunk = engine.generate(request)
    return chunk.frames


@torch.inference_mode()
def reconstruction(engine: LtxEngine, picture: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 through the video autoencoder alone."""
    vae = engine.networks.video_vae
    weight = vae.encoder.conv_in.conv.weight
    pixels = torch.from_numpy(picture).to(weight.device).movedim(-1, 0)[None, :, None]  # (1, 3, 1, H, W)
    latents = vae.encode(pixels.float().div(127.5).sub(1).to(weight.dtype))
    return vae.decode_u8(latents.to(vae.decoder.conv_in.conv.weight.dtype))[0, 0].cpu().numpy()


def psnr_db(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal to noise ratio of two pictures uint8; 99 where they are equal."""
    error = np.square(one.astype(np.float64) - other).mean()
    return float(10 * np.log10(255**2 / error)) if error else 99.0


# --- Images ----------------------------------------------------------------------------------------------------------


def images(size: tuple[int, int]) -> Iterator[Image]:
    """Of the pocket's world, as it would have drawn them; and of none: discs over discs, and clouds."""
    for number, (scene, palette, prompt) in enumerate(_WORLD):
        clips = Batch.of([Description(scene, palette, "normal", (), "pad", 100, SEED + number)])
        drawn = render_frames(clips, torch.full((1, 1), 3.3, dtype=torch.float64), *size)[0, 0]
        yield Image(f"{palette} {scene}", np.rint(255 * drawn.numpy()).astype(np.uint8), prompt)
    for name, prompt in _OTHERS:
        for number in range(2):
            draw = {"leaves": leaves, "cloud": cloud}[name]
            yield Image(f"{name} {number + 1}", fitted(draw(number), *size), prompt)


def leaves(seed: int, width: int = 400, height: int = 300) -> np.ndarray:
    """A photograph's statistics of edges: discs over discs, radii by 1/r^3 (Lee, Mumford and Huang 2001)."""
    random = np.random.default_rng(seed)
    down, right = np.mgrid[:height, :width]
    picture = np.zeros((height, width, 3), np.uint8)
    for _ in range(800):
        radius = 5 / np.sqrt(random.uniform(0.004, 1))
        inside = np.hypot(right - random.uniform(0, width), down - random.uniform(0, height)) < radius
        picture[inside] = random.integers(20, 235, 3)
    return picture


def cloud(seed: int, width: int = 400, height: int = 300) -> np.ndarray:
    """A photograph's spectrum: noise with amplitude 1/f (Field 1987), its colours close together."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf
    spectra = np.fft.rfft2(random.standard_normal((4, height, width))) / frequency
    grey, *colours = (noise / noise.std() for noise in np.fft.irfft2(spectra, s=(height, width)))
    return np.clip(128 + 45 * grey[..., None] + 18 * np.stack(colours, axis=-1), 0, 255).astype(np.uint8)
