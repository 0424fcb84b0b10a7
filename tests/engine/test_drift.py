"""What keeps a scene from wandering: statistics, hold and loudness, by their own arithmetic and in the engine."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from ltx_live.chunk import ChannelStatistics, Chunk, ChunkRequest, Scene
from ltx_live.engine.drift import MAX_GAIN_DB, MAX_GAIN_STEP_DB, Drift, change, loudness_db
from ltx_live.engine.ltx import load
from ltx_live.engine.settings import LtxSettings
from ltx_live.engine.worker import strip
from ltx_live.model.av import AV
from ltx_live.params import GenerationParams

OFF = dict.fromkeys(("drift_anchor", "prefix_noise", "refresh", "loudness_match"), 0.0)
PARAMS = replace(GenerationParams(), **OFF)
RED, BLUE = (("red", 1.0),), (("blue", 1.0),)
OVERLAP = 4800


def tokens(shift: float = 0.0, scale: float = 1.0, seed: int = 0) -> AV:
    """Four latent frames of 25 tokens, and 50 audio latents."""
    generator = torch.Generator().manual_seed(seed)
    return AV(*(torch.randn(1, size, 8, generator=generator) * scale + shift for size in (100, 50)))


def scene(of: AV, loudness: float = -20.0, gain: float = 0.0) -> Scene:
    statistics = (ChannelStatistics(x[0].mean(0).tolist(), x[0].std(0, correction=0).tolist()) for x in of)
    return Scene(RED, *statistics, loudness, gain)


def drift(params, prompts=RED, before: Scene | None = None, tokens_per_frame: int = 25) -> Drift:
    return Drift(params, prompts, before, tokens_per_frame)


def noise(level_db: float, num_samples: int = 48000) -> np.ndarray:
    sound = np.random.default_rng(0).standard_normal((num_samples, 2)).astype(np.float32)
    return sound * np.float32(10 ** ((level_db - loudness_db(sound)) / 20))


@pytest.mark.parametrize(
    ("before", "now", "share"),
    [
        (RED, RED, 0.0),
        (RED, BLUE, 1.0),
        (RED, (("red", 0.9), ("blue", 0.1)), 0.1),
        ((("red", 0.5), ("blue", 0.5)), (("blue", 0.5), ("red", 0.5)), 0.0),
        ((("red", 0.5), ("blue", 0.5)), (("green", 0.5), ("blue", 0.5)), 0.5),
    ],
)
def test_how_much_of_the_prompts_is_new(before, now, share):
    assert change(before, now) == pytest.approx(share)


def test_the_hold_is_loosened_by_noise_always_and_by_refresh_where_prompts_change():
    before = scene(tokens())
    params = replace(PARAMS, continuity=0.8, refresh=0.5, prefix_noise=0.1)
    assert drift(params, RED, before).strength == pytest.approx(0.8 * 0.9)
    assert drift(params, BLUE, before).strength == pytest.approx(0.8 * 0.5 * 0.9)
    assert drift(params, (("red", 0.8), ("blue", 0.2)), before).strength == pytest.approx(0.8 * 0.9 * 0.9)
    assert drift(params, BLUE, None).strength == pytest.approx(0.8 * 0.9)  # what was before is not known
    assert drift(PARAMS, BLUE, before).strength == 1.0


def test_the_anchor_pulls_statistics_more_and_more_from_the_seam_on():
    wanted, wandered = tokens(), tokens(shift=2.0, scale=0.5, seed=1)
    given = AV(25, 10)
    chunk = drift(replace(PARAMS, drift_anchor=0.5), RED, scene(wanted))
    pulled = chunk.anchored(wandered, given)
    for before, after, num_given in zip(wandered, pulled, given, strict=True):
        assert torch.equal(before[:, :num_given], after[:, :num_given]) and before.shape == after.shape
    means = pulled.video.unflatten(1, (4, 25)).mean((0, 2, 3))
    steps = (wandered.video.unflatten(1, (4, 25)).mean((0, 2, 3)) - means)[1:]
    assert steps == pytest.approx(torch.tensor([1, 2, 3]) * 2.0 * 0.5 / 3, abs=0.15)
    again = drift(replace(PARAMS, drift_anchor=1.0), RED, scene(wanted), 100).anchored(wandered, AV(0, 0))
    # A single latent takes the whole share.
    assert torch.allclose(again.video.mean(1), wanted.video.mean(1), atol=1e-5)
    assert torch.allclose(again.video.std(1), wanted.video.std(1), atol=1e-4)


def test_nothing_is_pulled_at_0_nor_in_a_new_scene():
    wandered = tokens(shift=2.0)
    assert drift(PARAMS, RED, scene(tokens())).anchored(wandered, AV(25, 10)) is wandered
    on = replace(PARAMS, drift_anchor=1.0, loudness_match=1.0)
    for before in (scene(tokens()), None):
        chunk = drift(on, BLUE, before)
        assert chunk.anchored(wandered, AV(25, 10)) is wandered
        sound = noise(-20)
        heard, begun = chunk.settle(wandered, AV(25, 10), sound, OVERLAP)
        assert heard is sound and begun.prompts == BLUE and begun.gain_db == 0
        assert begun.loudness_db == pytest.approx(loudness_db(sound[OVERLAP:]))
        assert begun.video.mean == pytest.approx(wandered.video[0, 50:].mean(0).tolist())


def test_a_scene_goes_on_with_what_it_began_with():
    begun = scene(tokens())
    _, kept = drift(PARAMS, RED, begun).settle(tokens(shift=1.0), AV(25, 10), noise(-40), OVERLAP)
    assert kept == begun


@pytest.mark.parametrize("deficit", [6.0, -6.0, 12.0, 45.0])
def test_loudness_comes_back_step_by_step_without_a_step_in_the_sound(deficit):
    sound, gain, steps = noise(-20 - deficit), 0.0, []
    params = replace(PARAMS, loudness_match=1.0)
    for _ in range(8):
        heard, after = drift(params, RED, scene(tokens(), gain=gain)).settle(tokens(), AV(0, 0), sound, OVERLAP)
        gains = heard[:, 0] / sound[:, 0]
        assert gains[0] == pytest.approx(10 ** (gain / 20), rel=1e-3)
        assert np.abs(np.diff(gains)).max() < 1e-3
        assert np.ptp(gains[OVERLAP:]) < 1e-4 and gains[-1] == pytest.approx(10 ** (after.gain_db / 20), rel=1e-3)
        steps.append(after.gain_db - gain)
        gain = after.gain_db
    reached = min(abs(deficit), MAX_GAIN_DB) if deficit < 45 else 0  # 45 dB down is silence
    assert gain == pytest.approx(np.sign(deficit) * reached, abs=0.2)
    assert np.abs(steps).max() <= MAX_GAIN_STEP_DB + 1e-9


def test_a_gain_goes_back_when_the_match_is_turned_off():
    _, after = drift(PARAMS, RED, scene(tokens(), gain=4.0)).settle(tokens(), AV(0, 0), noise(-26), OVERLAP)
    assert after.gain_db == pytest.approx(4.0 - MAX_GAIN_STEP_DB)


# In the engine, on a tiny random model.


def chain(engine, num_chunks: int, prompts=("red",) * 9, **params) -> list[Chunk]:
    """Chunks of 17 frames, each going on from the one before."""
    made: list[Chunk] = []
    generation = replace(PARAMS, num_steps=2, schedule="linear", **params)
    for index in range(num_chunks):
        last = made[-1] if made else None
        request = ChunkRequest(
            index=index,
            params=replace(generation, prompt=prompts[index]),
            seed=index,
            start=last.end if last else 0,
            num_frames=17,
            continue_from=(last.index, 17) if last else None,
        )
        *_, chunk = engine.generate(request)
        made.append(chunk)
    return made


def same(a: Chunk, b: Chunk) -> tuple[bool, bool]:
    return np.array_equal(a.frames, b.frames), np.array_equal(a.audio, b.audio)


@pytest.mark.parametrize("name", ["drift_anchor", "prefix_noise", "loudness_match"])
def test_in_a_scene_each_control_acts_from_the_second_chunk_on(tiny_engine, name):
    plain, turned = chain(tiny_engine, 2), chain(tiny_engine, 2, **{name: 0.5})
    assert same(plain[0], turned[0]) == (True, True)
    assert same(plain[1], turned[1]) == (name == "loudness_match", False)
    assert chain(tiny_engine, 2, **{name: 0.5})[1].frames.tobytes() == turned[1].frames.tobytes()


def test_refresh_acts_where_the_prompt_changes_and_only_there(tiny_engine):
    prompts = ("red", "red", "blue", "blue")
    plain, turned = chain(tiny_engine, 3, prompts), chain(tiny_engine, 3, prompts, refresh=0.7)
    assert [same(*pair) for pair in zip(plain, turned, strict=True)] == [(True, True), (True, True), (False, False)]


def test_the_scene_is_that_of_the_chunk_that_is_continued(tiny_engine):
    """After a cut back into an earlier chunk its scene goes on, whatever was made since."""
    params = {"drift_anchor": 0.5, "refresh": 0.5}
    first, _ = chain(tiny_engine, 2, ("red", "blue"), **params)
    generation = replace(PARAMS, num_steps=2, schedule="linear", prompt="red", **params)
    request = ChunkRequest(1, generation, 1, first.end, 17, (0, 17))
    *_, cut = tiny_engine.generate(request)
    assert same(cut, chain(tiny_engine, 2, **params)[1]) == (True, True)


def test_a_new_engine_goes_on_in_the_scene_that_the_show_holds(tiny_engine, tiny_folder):
    params = {"drift_anchor": 0.5, "refresh": 0.5}
    _, last = chain(tiny_engine, 2, **params)
    assert pickle.loads(pickle.dumps(strip(last))).scene == last.scene  # as it passes between the processes
    generation = replace(PARAMS, num_steps=2, schedule="linear", prompt="red", **params)
    request = ChunkRequest(2, generation, 2, last.end, 17, (1, 17), last)
    *_, kept = tiny_engine.generate(request)

    def restarted(scene: Scene | None) -> Chunk:
        engine = load(lambda text: None, LtxSettings(tiny_folder, 64, 32, device="cpu"))
        *_, chunk = engine.generate(replace(request, history=replace(last, scene=scene)))
        return chunk

    known, unknown = restarted(last.scene), restarted(None)
    assert known.scene == kept.scene == last.scene != unknown.scene
    assert same(known, unknown) == (False, False)
    assert (last.reencoded, kept.reencoded, known.reencoded) == (False, False, True)
    assert restarted(replace(last.scene, gain_db=4.0)).scene.gain_db == 4.0 - MAX_GAIN_STEP_DB
