"""Trains projection, connectors and transformer together, on latents with the positions of a live chunk.

Four kinds of window alternate: new takes and continued ones (docs/decisions: continuity), of 57 and 33 frames.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ltx_live.model.av import AV
from ltx_live.model.config import TransformerConfig
from ltx_live.model.latents import VideoGeometry, audio_positions, video_positions
from ltx_live.model.layers import TokenTimesteps
from ltx_live.model.schedules import schedule
from ltx_live.model.text_connector import TextProjection
from ltx_live.model.transformer import Modality, Transformer
from ltx_live.pocket import configs
from ltx_live.pocket.train.loop import Batch, Loop, Settings
from ltx_live.pocket.train.takes import NUM_PREFIX_LATENTS, WINDOWS, Shards, Window

KINDS = ((WINDOWS["new"], 3), (WINDOWS["continued"], 5), (WINDOWS["new short"], 1), (WINDOWS["continued short"], 2))
_PREFIX_NOISE = 0.1
_AUDIO_WEIGHT = 0.5
_SIGMA_SHARES = (2.0, 1.0, 1.0, 1.0, 2.0, 4.0, 4.0, 4.0)
"""How often each sigma of the distilled list is drawn: its last four steps are long, those before 0.975 short."""


class Sigmas(nn.Module):
    """Draws the sigmas of a batch: half are those of the distilled schedule, half spread over 0..1, mostly high."""

    def __init__(self):
        super().__init__()
        self.register_buffer("listed", torch.tensor(schedule("distilled", 8)[:-1]), persistent=False)
        shares = torch.tensor(_SIGMA_SHARES).cumsum(0) / sum(_SIGMA_SHARES)
        self.register_buffer("shares", shares[:-1], persistent=False)

    def forward(self, count: int) -> Tensor:
        device = self.listed.device
        chosen = self.listed[(torch.rand(count, 1, device=device) > self.shares).sum(1)]
        spread = torch.sigmoid(torch.randn(count, device=device) * 1.2 + 0.8)
        return torch.where(torch.rand(count, device=device) < 0.5, chosen, spread)


class Painter(nn.Module):
    """Everything between the hidden states of the text encoder and the velocities."""

    def __init__(self):
        super().__init__()
        config = TransformerConfig.from_metadata(configs.TRANSFORMER)
        self.projection = TextProjection(config, configs.TEXT_ENCODER["num_hidden_layers"] + 1)
        self.transformer = Transformer(config)
        self.sigmas = Sigmas()
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.7 / module.in_features**0.5)
                nn.init.zeros_(module.bias)
        for end in (self.transformer.proj_out, self.transformer.audio_proj_out):
            nn.init.zeros_(end.weight)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        hidden = batch["hidden"].to(self.transformer.dtype)
        contexts = self.transformer.connect_text(self.projection(hidden), batch["num_tokens"])
        return velocity_error(self.transformer, contexts, self.sigmas(len(hidden)), batch)


def loss(painter: Painter, batch: Batch) -> dict[str, Tensor]:
    """The loss, on a GPU with all weights rounded to bfloat16 as the engine has them; gradients reach the originals."""
    if not batch["video"].is_cuda:
        return painter(batch)
    rounded = {name: parameter.to(torch.bfloat16) for name, parameter in painter.named_parameters()}
    with torch.autocast("cuda", enabled=False):
        return torch.func.functional_call(painter, rounded, (batch,))


def velocity_error(transformer: Transformer, contexts: AV[Tensor], sigma: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Squared error of the velocity at sigma (B,), weighted by the denoise masks.

    Masks (B, T) are 0 for what is given, 1 for what is to be made; between lies one value per row, of references.
    """
    streams = {"video": transformer.video_rope, "audio": transformer.audio_rope}
    modalities, wanted = [], []
    for (name, rope), context in zip(streams.items(), contexts, strict=True):
        clean, mask = batch[name].float(), batch[f"{name}_mask"]  # (B, T, C), (B, T)
        noise = torch.randn_like(clean)
        level = (sigma[:, None] * mask)[..., None]
        given = clean + (1 - mask)[..., None] * batch[f"{name}_given_noise"][:, None, None] * torch.randn_like(clean)
        modalities.append(
            Modality(
                latent=torch.lerp(given, noise, level),
                timesteps=_levels(sigma, mask),
                sigma=sigma * mask.amax(1),
                rope=rope(batch[f"{name}_positions"]),
                context=context,
            )
        )
        wanted.append((noise - clean, mask))
    velocities = transformer(*modalities)
    errors = [
        ((made.float() - velocity).square().mean(-1) * mask).sum() / mask.sum().clamp(min=1)
        for made, (velocity, mask) in zip(velocities, wanted, strict=True)
    ]
    return {"loss": errors[0] + _AUDIO_WEIGHT * errors[1], "video": errors[0], "audio": errors[1]}


def train(settings: Settings) -> dict[str, float]:
    """Train or go on training on the shards of the component `takes`, which may still be running."""
    torch.manual_seed(settings.seed)
    pick = random.Random(settings.seed)
    random.seed(settings.seed)
    takes = Shards(settings.folder / "takes", settings.device)
    loop = Loop("transformer", Painter().to(settings.device), settings, loss)
    kinds, weights = zip(*KINDS, strict=True)
    positions = {window: positions_of(window, settings.device) for window in kinds}

    def next_batch() -> Batch:
        window = pick.choices(kinds, weights)[0]
        rows = takes.draw(window, settings.batch_size)
        return masked(rows, window) | positions[window](rows)

    return loop.run(next_batch)


def _levels(sigma: Tensor, mask: Tensor) -> TokenTimesteps:
    """Timesteps of tokens that are given (0), to be made (sigma) or between, without asking the device."""
    is_between = (mask > 0) & (mask < 1)
    between = (mask * is_between).amax(1)
    values = torch.stack((torch.zeros_like(sigma), sigma, sigma * between), dim=1)  # (B, 3)
    first = torch.arange(len(sigma), device=sigma.device)[:, None] * 3  # (B, 1)
    return TokenTimesteps(values, (mask > 0).long() + is_between.long() + first)


def positions_of(window: Window, device: str) -> Callable[[Batch], Batch]:
    """A function from drawn rows to position tensors; continued windows carry up to 40 ms."""
    geometry = VideoGeometry(window.num_frames, configs.WIDTH_PX, configs.HEIGHT_PX)
    video = video_positions(geometry, configs.FRAME_RATE).to(device)
    audio = audio_positions(window.num_audio).to(device)

    def of(rows: Batch) -> Batch:
        count = len(rows["video"])
        shifted = video.repeat(count, 1, 1, 1)
        shifted[:, 0] += rows.pop("video_start_s")[:, None, None].float()
        return {"video_positions": shifted, "audio_positions": audio.repeat(count, 1, 1, 1)}

    return of


def masked(rows: Batch, window: Window) -> Batch:
    """What of each row is given: prefixes, now and then a first frame, or all the sound (frozen)."""
    count, device = len(rows["video"]), rows["video"].device
    per_frame = rows["video"].shape[1] // ((window.num_frames - 1) // 8 + 1)
    chance = torch.rand(count, device=device)
    video_mask = torch.ones(rows["video"].shape[:2], device=device)
    audio_mask = torch.ones(rows["audio"].shape[:2], device=device)
    frozen = (torch.rand(count, device=device) < 0.1)[:, None]
    if window.continued:
        short = (chance < 0.1)[:, None]  # only one frame is given
        video_mask[:, :per_frame] = 0
        video_mask[:, per_frame : NUM_PREFIX_LATENTS * per_frame] = short.float()
        audio_mask[:, : window.num_audio_prefix] = 0
    else:
        video_mask[:, :per_frame] = (chance >= 0.15)[:, None].float()
    audio_mask = torch.where(frozen, torch.zeros_like(audio_mask), audio_mask)
    noise = torch.rand(2, count, device=device) * _PREFIX_NOISE * (torch.rand(2, count, device=device) < 0.5)
    noise[1] *= 1 - frozen[:, 0].float()
    given = {"video_given_noise": noise[0], "audio_given_noise": noise[1]}
    return rows | {"video_mask": video_mask, "audio_mask": audio_mask} | given
