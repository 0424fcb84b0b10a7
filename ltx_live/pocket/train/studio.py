"""What adapters are trained on: windows of takes through the exported networks, with their prompts' contexts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ltx_live.model.av import AV
from ltx_live.model.latents import ChunkWindow, patchify_audio, patchify_video
from ltx_live.model.transformer import Transformer
from ltx_live.pocket import weights_folder
from ltx_live.pocket.configs import FRAME_RATE, HEIGHT_PX, WIDTH_PX
from ltx_live.pocket.description import Batch as Clips
from ltx_live.pocket.description import Description, sample_descriptions
from ltx_live.pocket.scenes import render_frames
from ltx_live.pocket.sounds import render_audio
from ltx_live.pocket.train.audio_vae import mel_of
from ltx_live.pocket.train.loop import Batch
from ltx_live.pocket.train.pools import SOUND_RATE_HZ, frame_times, random_starts, to_bytes, to_signed
from ltx_live.pocket.train.takes import NUM_AUDIO_PREFIX, PREFIX_FRAMES, WINDOWS
from ltx_live.pocket.transition import Transition
from ltx_live.weights.checkpoint import (
    Storage,
    load_audio_vae,
    load_text_projection,
    load_transformer,
    load_video_vae,
)
from ltx_live.weights.files import find_model
from ltx_live.weights.text_encoder import load_text_encoder

_MAX_TOKENS = 48
_CHANGES = 0.5
"""Share of the windows whose prompt changes at the cut."""


@dataclass(frozen=True)
class Moments:
    """When B windows play, in absolute seconds, (B,) float64 each; continued ones have their cut after the prefix."""

    continued: bool
    cut_s: Tensor
    carry_s: Tensor
    fade_s: Tensor  # how long what was before the cut takes to go

    @classmethod
    def draw(cls, continued: bool, count: int, generator: torch.Generator, device: str) -> Moments:
        """Random ones, as the component `takes` has them."""
        chance = torch.rand(2, count, generator=generator).double().to(device)
        cut_s = random_starts(count, generator).to(device) + 10
        return cls(continued, cut_s, chance[0] * 0.04 * continued, 0.15 + 0.35 * chance[1])

    @property
    def chunk(self) -> ChunkWindow:
        """The longest window, without carry."""
        window = WINDOWS["continued" if self.continued else "new"]
        prefix = (PREFIX_FRAMES, NUM_AUDIO_PREFIX) if self.continued else (0, 0)
        return ChunkWindow(window.num_frames, FRAME_RATE, *prefix)

    @property
    def frames_s(self) -> Tensor:
        """Of all frames, (B, F)."""
        return frame_times(self.cut_s - self.chunk.num_prefix_frames / FRAME_RATE, self.chunk.num_frames)

    @property
    def frames_before_s(self) -> Tensor:
        """Of as many frames before the cut, (B, F)."""
        return frame_times(self.cut_s - self.chunk.num_frames / FRAME_RATE, self.chunk.num_frames)

    @property
    def video_start_s(self) -> Tensor:
        """Where the frames begin on the window's own clock."""
        return self.chunk.video_start_s + self.carry_s

    @property
    def sound_start_s(self) -> Tensor:
        """One latent early for continued windows: the first one is dropped, because it is short."""
        return self.cut_s - self.chunk.cut_s - self.carry_s - 0.04 * self.continued

    @property
    def num_samples(self) -> int:
        """At 48 kHz; the analysis looks 32 ms ahead."""
        return int((self._num_latents * 0.04 + 0.04) * SOUND_RATE_HZ)

    @property
    def _num_latents(self) -> int:
        return WINDOWS["continued" if self.continued else "new"].num_audio + self.continued

    def old_share(self, times_s: Tensor) -> Tensor:
        """How much there still is at (B, N) of what was before the cut, 1..0."""
        share = ((times_s - self.cut_s[:, None]) / self.fade_s[:, None]).clamp(0.0, 1.0)
        return (1.0 - share * share * (3.0 - 2.0 * share)).float()


@dataclass(frozen=True)
class Take:
    """B windows of the pocket world whose prompt may change at the cut; new ones show `second` alone."""

    first: list[Description]
    second: list[Description]
    moments: Moments

    @classmethod
    def draw(cls, continued: bool, count: int, generator: torch.Generator, device: str) -> Take:
        """Random descriptions; of continued windows half change."""
        first, second = (sample_descriptions(count, generator) for _ in range(2))
        changes = torch.rand(count, generator=generator) < _CHANGES
        second = [b if changed else a for a, b, changed in zip(first, second, changes.tolist(), strict=True)]
        return cls(first, second, Moments.draw(continued, count, generator, device))

    @property
    def device(self) -> torch.device:
        return self.moments.cut_s.device

    @property
    def transition(self) -> Transition:
        """From what was before the cut to what comes after it."""
        clips = (Clips.of(each, self.device) for each in (self.first, self.second))
        return Transition(*clips, self.moments.cut_s, self.moments.fade_s)

    def frames(self) -> Tensor:
        """(B, F, H, W, 3)"""
        if self.moments.continued:
            return self.transition.frames(self.moments.frames_s, WIDTH_PX, HEIGHT_PX)
        return render_frames(Clips.of(self.second, self.device), self.moments.frames_s, WIDTH_PX, HEIGHT_PX)

    def frames_before(self) -> Tensor:
        """As many frames before the cut, (B, F, H, W, 3)."""
        return render_frames(Clips.of(self.first, self.device), self.moments.frames_before_s, WIDTH_PX, HEIGHT_PX)

    def sound(self) -> Tensor:
        """(B, S, 2) at 48 kHz."""
        start_s, num_samples = self.moments.sound_start_s, self.moments.num_samples
        if self.moments.continued:
            return self.transition.audio(start_s, num_samples)
        return render_audio(Clips.of(self.second, self.device), start_s, num_samples)


class Studio:
    """The exported networks, frozen: what is played later is what is trained on."""

    def __init__(self, device: str):
        files, self.device = find_model(weights_folder()), device
        dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
        storage = Storage(torch.device(device), dtype)
        self.transformer: Transformer = load_transformer(files.transformer, storage)
        config = self.transformer.config
        self._projection = load_text_projection(files.text_projection, config, storage)
        self._vae, self._audio_vae = load_video_vae(files.video_vae, storage), load_audio_vae(files.audio_vae, storage)
        self._words = load_text_encoder(files.text_encoder, files.tokenizer, config.text_length, storage)
        self._dtype = dtype

    @torch.no_grad()
    def video(self, frames: Tensor) -> Tensor:
        """Tokens (B, T, C) float16 of frames (B, F, H, W, 3) in 0..1."""
        return patchify_video(self._vae.encode(to_signed(to_bytes(frames)).to(self._dtype))).half()

    @torch.no_grad()
    def prefix(self, frames: Tensor) -> Tensor:
        """Tokens of the last frames of a take, decoded and encoded again as a live chunk gets them."""
        decoded = self._vae.decode_u8(self._vae.encode(to_signed(to_bytes(frames)).to(self._dtype)))
        return patchify_video(self._vae.encode(to_signed(decoded[:, -PREFIX_FRAMES:]).to(self._dtype))).half()

    @torch.no_grad()
    def audio(self, sound: Tensor, num_latents: int, drop: int = 0) -> Tensor:
        """Tokens (B, num_latents, C) float16 of sound (B, S, 2) at 48 kHz, without the first `drop` of them."""
        tokens = patchify_audio(self._audio_vae.encode(mel_of(sound.transpose(1, 2)).to(self._dtype)))
        return tokens[:, drop : drop + num_latents].half()

    def windows(
        self, take: Take, pictures: tuple[Tensor, Tensor | None], sound: Tensor, prompts: Sequence[str]
    ) -> Batch:
        """All that a window without reference is: `pictures` are its frames and those before its cut, if it has one."""
        frames, before = pictures
        moments = take.moments
        num_latents = WINDOWS["continued" if moments.continued else "new"].num_audio
        batch = {
            "video": self.video(frames),
            "audio": self.audio(sound, num_latents, drop=int(moments.continued)),
            "video_start_s": moments.video_start_s,
        }
        if before is not None:
            batch["prefix"] = self.prefix(before)
        return batch | self.contexts(prompts)

    @torch.no_grad()
    def contexts(self, prompts: Sequence[str]) -> Batch:
        """Contexts of both modalities (B, S, D), float16."""
        rows = [self._words.tokens(prompt)[:_MAX_TOKENS] for prompt in prompts]
        num_tokens = torch.tensor([len(row) for row in rows], device=self.device)
        ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        for padded, row in zip(ids, rows, strict=True):
            padded[: len(row)] = torch.tensor(row)
        gemma = self._words.gemma
        embedded = gemma.embed_tokens(ids).to(gemma.norm.weight.device)
        output = gemma(inputs_embeds=embedded, output_hidden_states=True)
        states = torch.stack((*output.hidden_states[:-1], output.last_hidden_state), dim=-1)  # (B, S, D, L)
        made: AV[Tensor] = self.transformer.connect_text(self._projection(states.to(self._dtype)), num_tokens)
        return {"video_context": made.video.half(), "audio_context": made.audio.half()}
