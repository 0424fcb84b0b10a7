"""The tiny model in the split FP8 layout, and an engine that plays it."""

from pathlib import Path

import pytest

from ltx_live.engine.ltx import load
from ltx_live.engine.settings import LtxSettings


@pytest.fixture(scope="session")
def tiny_folder(tiny, layouts, tmp_path_factory) -> Path:
    """The files of the tiny model, float8 in the middle block and in the text encoder."""
    return layouts.write_split(tmp_path_factory.mktemp("tiny"), tiny, layouts.Quantisation())


@pytest.fixture
def tiny_engine(tiny_folder):
    """A fresh engine, 64x32."""
    return load(lambda text: None, LtxSettings(tiny_folder, 64, 32, device="cpu"))


@pytest.fixture(scope="session")
def write_lora():
    """write_lora(path, shapes, rank, seed, **metadata): a LoRA on layers of these shapes, (out, in) by name."""
    import torch
    from safetensors.torch import save_file

    def write(path: Path, shapes: dict[str, tuple[int, int]], rank: int = 2, seed: int = 0, **metadata: str) -> Path:
        draw = torch.Generator().manual_seed(seed)
        factors = {}
        for layer, (num_out, num_in) in shapes.items():
            factors[f"diffusion_model.{layer}.lora_A.weight"] = torch.randn(rank, num_in, generator=draw)
            factors[f"diffusion_model.{layer}.lora_B.weight"] = 4 * torch.randn(num_out, rank, generator=draw) / rank
        save_file(factors, path, metadata or None)
        return path

    return write
