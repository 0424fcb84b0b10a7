"""The training loop that every component shares: AdamW, warm-up, cool-down, EMA, CUDA graphs, resume.

Whole-step CUDA graphs (forward, backward, optimizer, EMA) follow PyTorch's notes on whole-network capture.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

Batch = dict[str, Tensor]
LossFunction = Callable[[nn.Module, Batch], dict[str, Tensor]]
"""Network and batch -> named scalar losses; the entry `loss` is minimised, the others are only shown."""


@dataclass(frozen=True)
class Settings:
    """How long and how to train. `seconds` and `steps` are limits, whichever comes first.

    `cooldown` is the last share of the run over which the learning rate falls linearly to 2 %.
    """

    folder: Path
    seconds: float = 300.0
    steps: int = 1_000_000
    seed: int = 0
    device: str = "cpu"
    learning_rate: float = 5e-4
    batch_size: int = 8
    warmup_steps: int = 200
    cooldown: float = 0.0
    ema_decay: float = 0.998
    pool_size: int = 64


class Loop:
    """Trains one network. Weights are saved as the EMA, in `folder/<name>.safetensors`, and resumed from there.

    `graphs` off is for networks that ask the device for values while they run.
    """

    def __init__(self, name: str, network: nn.Module, settings: Settings, loss: LossFunction, graphs: bool = True):
        self.path = settings.folder / f"{name}.safetensors"
        self.name, self.settings, self.loss = name, settings, loss
        if self.path.exists():
            network.load_state_dict(load_file(self.path, device=settings.device))
        self.network = network
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.averages = [p.detach().clone() for p in self.parameters]
        on_gpu = settings.device.startswith("cuda")
        self.rate = torch.zeros((), device=settings.device)
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=self.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=on_gpu, capturable=on_gpu
        )
        self.graphs: dict[tuple, tuple[torch.cuda.CUDAGraph, Batch, dict[str, Tensor]]] = {}
        self.on_gpu = on_gpu
        self.use_graphs = on_gpu and graphs
        self.num_steps = 0

    def run(self, next_batch: Callable[[], Batch]) -> dict[str, float]:
        """Train until the limit; returns the last shown losses. Saves every 60 s and at the end."""
        start = shown = saved = time.perf_counter()
        means: dict[str, Tensor] = {}
        losses: dict[str, float] = {}
        while True:
            elapsed = time.perf_counter() - start
            progress = max(elapsed / self.settings.seconds, self.num_steps / self.settings.steps)
            if progress >= 1:
                break
            self._set_rate(progress)
            for name, value in self._step(next_batch()).items():
                means[name] = means[name].lerp(value, 0.05) if name in means else value.clone()
            self.num_steps += 1
            now = time.perf_counter()
            if now - shown > 10 or self.num_steps == 1:
                losses = {name: value.item() for name, value in means.items()}
                text = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
                print(f"[{self.name}] {elapsed:5.0f} s  step {self.num_steps}  {text}", flush=True)
                shown = now
            if now - saved > 60:
                self.save()
                saved = now
        self.save()
        losses = {name: value.item() for name, value in means.items()}
        print(f"[{self.name}] done: {self.num_steps} steps, {losses}", flush=True)
        return losses

    def save(self) -> None:
        """Write the EMA weights (buffers as they are)."""
        state = {name: tensor.detach() for name, tensor in self.network.state_dict().items()}
        trained = {id(p): average for p, average in zip(self.parameters, self.averages, strict=True)}
        for name, parameter in self.network.named_parameters():
            state[name] = trained.get(id(parameter), parameter.detach())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.contiguous().cpu() for name, tensor in state.items()}, self.path)

    def use_averages(self) -> nn.Module:
        """Put the EMA weights into the network and return it."""
        for parameter, average in zip(self.parameters, self.averages, strict=True):
            parameter.data.copy_(average)
        return self.network.eval()

    def _set_rate(self, progress: float) -> None:
        rate = min(1.0, (self.num_steps + 1) / self.settings.warmup_steps)
        if self.settings.cooldown > 0:
            rate *= max(0.02, min(1.0, (1 - progress) / self.settings.cooldown))
        self.rate.fill_(rate * self.settings.learning_rate)

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        if not self.use_graphs:
            return self._train_once(batch)
        key = tuple((name, tuple(tensor.shape)) for name, tensor in batch.items())
        if key not in self.graphs:
            self.graphs[key] = self._capture(batch)
        graph, inputs, losses = self.graphs[key]
        for name, tensor in batch.items():
            inputs[name].copy_(tensor)
        graph.replay()
        return losses

    def _train_once(self, batch: Batch) -> dict[str, Tensor]:
        with torch.autocast(self.rate.device.type, torch.bfloat16, enabled=self.on_gpu, cache_enabled=False):
            losses = self.loss(self.network, batch)
        losses["loss"].backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, 1.0, foreach=self.on_gpu)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        decay = min(self.settings.ema_decay, 1.0)
        torch._foreach_lerp_(self.averages, [p.detach() for p in self.parameters], 1 - decay)
        return {name: value.detach().float() for name, value in losses.items()} | {"gradient": norm.detach()}

    def _capture(self, batch: Batch) -> tuple[torch.cuda.CUDAGraph, Batch, dict[str, Tensor]]:
        inputs = {name: tensor.clone() for name, tensor in batch.items()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._train_once(inputs)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            losses = self._train_once(inputs)
        return graph, inputs, losses
