"""A small network that tells the twelve scenes apart, trained on the renderer's pictures only; the bench's judge."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ltx_live.pocket.description import SCENES, Batch, sample_descriptions
from ltx_live.pocket.scenes import render_frames

_SIZE = (48, 80)  # height, width that it looks at


class SceneClassifier(nn.Module):
    """Scores of the scenes from the brightness pattern of single pictures; colour and exposure are normalised away."""

    def __init__(self) -> None:
        super().__init__()
        channels = (1, 24, 48, 96, 128)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels[i], channels[i + 1], 3, stride=2, padding=1) for i in range(4)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for width in channels[1:])
        self.head = nn.Linear(2 * channels[-1], len(SCENES))

    def forward(self, pictures: Tensor) -> Tensor:
        """pictures (N, H, W, 3) float in 0..1, any size -> (N, 12) scores"""
        brightness = functional.interpolate(pictures.amax(-1)[:, None], _SIZE, mode="area")  # (N, 1, 48, 80)
        x = (brightness - brightness.mean((2, 3), True)) / (brightness.std((2, 3), keepdim=True) + 0.02)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = functional.silu(norm(convolution(x)))  # (N, C, h, w)
        return self.head(torch.cat((x.mean((2, 3)), x.amax((2, 3))), dim=1))

    @torch.no_grad()
    def scene_of(self, frames: Tensor) -> str:
        """The scene of one clip, by the mean score of eight of its pictures. frames (F, H, W, 3) uint8"""
        pick = torch.linspace(0, len(frames) - 1, 8).round().long().unique()
        device = self.head.weight.device
        scores = self(frames[pick.to(frames.device)].to(device).float() / 255.0).log_softmax(-1).mean(0)
        return SCENES[int(scores.argmax())]


def train_scene_classifier(steps: int = 600, seed: int = 0, device: torch.device | str = "cpu") -> SceneClassifier:
    """A trained SceneClassifier: about 2 minutes for 600 steps on one CPU core. Deterministic on one device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = SceneClassifier().to(device)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        batch = Batch.of(sample_descriptions(64, generator), device)
        times_s = torch.rand(64, 1, generator=generator, dtype=torch.float64) * 60.0
        pictures = render_frames(batch, times_s.to(device), 90, 50)[:, 0]  # (64, 50, 90, 3)
        loss = functional.cross_entropy(classifier(_worn(pictures, generator)), batch.scene)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return classifier.eval()


def _worn(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures blurred and noisy by chance, as a small decoder makes them. (N, H, W, 3)"""
    share = torch.rand(len(pictures), 2, 1, 1, 1, generator=generator).to(pictures)
    coarse = functional.avg_pool2d(pictures.permute(0, 3, 1, 2), 3, 1, 1).permute(0, 2, 3, 1)
    noise = torch.randn(pictures.shape, generator=generator).to(pictures)
    return torch.lerp(pictures, coarse, share[:, 0]) + noise * share[:, 1] * 0.08
