"""The embedded pocket model: its weights, its procedural world and its training."""

from pathlib import Path


def weights_folder() -> Path:
    """Where the pocket's checkpoint lies, in the package itself."""
    return Path(__file__).parent / "weights"


def lora_folder() -> Path:
    """Where the pocket's LoRAs lie: a style, an IC-LoRA for structure and an ID-LoRA for voices."""
    return Path(__file__).parent / "loras"
