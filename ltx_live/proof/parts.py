"""The parts of a proof: each plays something, writes what can be seen and heard, and notes figures and checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ltx_live.chunk import Chunk, ChunkRequest
from ltx_live.engine.prompts import Prompts
from ltx_live.media.image import write_png
from ltx_live.model.av import AV
from ltx_live.params import NUM_LORAS
from ltx_live.proof.figures import Joined, changes, contact_sheet, level_db, psnr_db, relative_difference
from ltx_live.proof.folder import Proof, write_film, write_steps, write_take
from ltx_live.proof.takes import Player, Take, median
from ltx_live.weights.fp8 import FP8Linear

COLUMNS, ROWS = 4, 3
"""Of a contact sheet."""


@dataclass(frozen=True)
class Prompt:
    """What is played, always with the same seed; `name` is its folder's."""

    name: str
    text: str
    seed: int


PROMPTS = (  # they differ in motion and sound, and the pocket knows the words of the second and third
    Prompt("flower", "A time-lapse of a flower blooming in a sunlit meadow, birds chirping in the background.", 1),
    Prompt("tunnel", "A fast drive through a red tunnel with drums.", 2),
    Prompt("waves", "Slow blue ocean waves seen from above, wind noise.", 3),
    Prompt("speech", 'A close-up of a woman in a park. She looks into the camera and says: "Hello world."', 4),
)


def request_for(player: Player, prompt: Prompt) -> ChunkRequest:
    """A new take of the prompt."""
    params = replace(player.params, prompt=prompt.text, randomize_seed=False)
    return ChunkRequest(index=0, params=params, seed=prompt.seed, start=0, num_frames=player.num_frames)


def play_prompt(player: Player, proof: Proof, prompt: Prompt) -> Take:
    """Play a prompt that is new to the engine; its own folder holds the film, a contact sheet and every step."""
    folder = proof.folder / f"prompt-{prompt.name}"
    folder.mkdir(exist_ok=True)
    _, new_prompt_s = player.timed(lambda: player.engine.encode((prompt.text,)))
    take, chunk = player.watch(request_for(player, prompt))
    write_steps(folder / "steps.csv", take.steps.rows)
    write_png(folder / "contact.png", contact_sheet(take.frames, COLUMNS, ROWS))
    write_take(folder / "chunk.mp4", take, player.params.frame_rate)
    proof.figures.setdefault("prompts", {})[prompt.name] = {
        "seed": prompt.seed,
        "new_prompt_s": new_prompt_s,
        "step_s": median(take.steps.step_s),
        **{f"{part}_s": seconds for part, seconds in chunk.timings_s.items()},
        "picture_mean": float(take.frames.mean()),
        "picture_std": float(take.frames.std()),
        "picture_change": float(changes(take.frames).mean()),
        "sound_db": level_db(take.audio),
        "sound_peak": float(np.abs(take.audio).max()),
        "sha256": take.digest,
        "text": prompt.text,
    }
    proof.check(f"prompt {prompt.name}: every latent and every sample is a number", take.is_finite)
    return take


def repeat(player: Player, proof: Proof, reference: Take, prompt: Prompt) -> None:
    """Play a prompt a second time: nothing is encoded, and everything is the same."""
    num_runs = 0

    def count(*_: object) -> None:
        nonlocal num_runs
        num_runs += 1

    hook = player.engine.networks.encoder.gemma.register_forward_hook(count)
    try:
        _, kept_prompt_s = player.timed(lambda: player.engine.encode((prompt.text,)))
        take, _ = player.watch(request_for(player, prompt))
    finally:
        hook.remove()
    proof.figures["repeat"] = {"kept_prompt_s": kept_prompt_s, "sha256": take.digest}
    proof.check("a prompt that was played before is not encoded again", num_runs == 0)
    proof.check("the same request gives the same chunk", take.digest == reference.digest)


def seams(player: Player, proof: Proof, prompt: Prompt) -> None:
    """Go on from a chunk with its end as prefix, and without; films of both, cut hard where the show cross-fades."""
    first, _ = player.play(request_for(player, prompt))
    request = replace(
        request_for(player, prompt),
        index=1,
        seed=prompt.seed + 1,
        start=first.end,
        continue_from=(first.index, first.num_frames),
    )
    free = replace(request, params=replace(request.params, continuity=0.0))
    held, _ = player.play(request)
    again, seconds = player.play(request)  # the one before has warmed it up
    _, watched = player.watch(request)  # waits at every step, so that its parts are told apart
    figures = {}
    for name, second in (("with prefix", held), ("without prefix", player.play(free)[0])):
        joined = join(first, second)
        write_film(proof.folder / f"seam-{name.replace(' ', '-')}.mp4", joined.frames, joined.audio, first.frame_rate)
        figures[name] = joined.figures()
    proof.figures["seams"] = figures
    given = held.num_overlap
    new_s = (held.num_frames - given) / held.frame_rate
    proof.figures["continued chunk"] = {
        "frames_given": given,
        "given_frames_psnr_db": psnr_db(first.frames[-given:], held.frames[:given]),
        "seconds": seconds,
        "new_seconds": new_s,
        "real_time_factor": new_s / seconds,
        **{f"{part}_s": each for part, each in watched.timings_s.items()},
    }
    same = np.array_equal(held.frames, again.frames) and np.array_equal(held.audio, again.audio)
    proof.check("the same request to continue gives the same chunk", same)


def join(first: Chunk, second: Chunk) -> Joined:
    """Two chunks without what the second shows again of the first."""
    return Joined(
        np.concatenate((first.frames, second.frames[second.num_overlap :])),
        np.concatenate((first.audio, second.audio[second.num_overlap_samples :])),
        len(first.frames),
        len(first.audio),
    )


def between(player: Player, proof: Proof, reference: Take, prompts: Sequence[Prompt]) -> None:
    """Play two prompts' contexts and their mean with one seed, by the plainest path; the first is `reference`."""
    networks = player.engine.networks
    contexts = Prompts(networks)
    one, other = (contexts.mixture(request_for(player, prompt).played, "linear") for prompt in prompts)
    mean = AV(*(a.lerp(b, 0.5) for a, b in zip(one, other, strict=True)))
    request = request_for(player, prompts[0])
    takes = [player.plain_take(request, context) for context in (one, mean, other)]
    rate = player.params.frame_rate
    sheets = [contact_sheet(take.frames, COLUMNS, 1) for take in takes]
    write_png(proof.folder / "between.png", np.concatenate(sheets))
    write_take(proof.folder / "between.mp4", takes[1], rate)
    write_steps(proof.folder / "between.csv", takes[1].steps.rows)
    ends = [take.steps.latents[-1] for take in takes]
    proof.figures["between prompts"] = {
        "prompts": " and ".join(prompt.name for prompt in prompts),
        "mean_to_first": relative_difference(ends[0], ends[1]),
        "mean_to_second": relative_difference(ends[2], ends[1]),
        "first_to_second": relative_difference(ends[0], ends[2]),
        "picture_std": [float(take.frames.std()) for take in takes],
        "sound_db": [level_db(take.audio) for take in takes],
    }
    proof.check("the mean of two prompts: every latent and every sample is a number", takes[1].is_finite)
    proof.check("what the engine keeps of a text changes nothing", takes[0].digest == reference.digest)


def float8(player: Player, proof: Proof, reference: Take, prompt: Prompt) -> None:
    """Play a prompt with the transformer's float8 weights multiplied exactly, and compare; nothing where they are."""
    networks = player.engine.networks
    layers = [each for each in networks.transformer.modules() if isinstance(each, FP8Linear) and each.matmul]
    if not layers:
        proof.figures["float8"] = {"layers that round what they are given": 0}
        return
    request = request_for(player, prompt)
    context = Prompts(networks).mixture(request.played, "linear")
    try:
        for layer in layers:
            layer.matmul = False
        exact = player.plain_take(request, context)
    finally:
        for layer in layers:
            layer.matmul = True
    pairs = [*zip(exact.steps.latents, reference.steps.latents, strict=True)]
    write_take(proof.folder / "float8-exact.mp4", exact, player.params.frame_rate)
    proof.figures["float8"] = {
        "layers that round what they are given": len(layers),
        "difference_after_step": [relative_difference(a, b) for a, b in pairs],
        "picture_psnr_db": psnr_db(exact.frames, reference.frames),
        "exact_step_s": median(exact.steps.step_s),
        "step_s": median(reference.steps.step_s),
    }


def lora(player: Player, proof: Proof, reference: Take, prompt: Prompt) -> None:
    """Play a prompt at LoRA strength 0, which is the model without, and at the strengths that were asked for."""
    request = request_for(player, prompt)
    silent = replace(request, params=replace(request.params, lora_strength=(0.0,) * NUM_LORAS))
    (off, _), (on, _) = player.watch(silent), player.watch(request)
    write_take(proof.folder / "lora.mp4", on, player.params.frame_rate)
    write_png(proof.folder / "lora.png", contact_sheet(on.frames, COLUMNS, ROWS))
    pairs = [*zip(off.steps.latents, on.steps.latents, strict=True)]
    proof.figures["lora"] |= {
        "difference_after_step": [relative_difference(a, b) for a, b in pairs],
        "step_without_s": median(off.steps.step_s),
        "step_s": median(on.steps.step_s),
    }
    proof.check("a LoRA at strength 0 is the model without it", off.digest == reference.digest)
    proof.check("a LoRA changes the latents and they stay numbers", off.digest != on.digest and on.is_finite)
