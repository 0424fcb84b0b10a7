"""What a file does that is dropped on the window."""

from __future__ import annotations

from pathlib import Path

from ltx_live.errors import MediaError
from ltx_live.media.frames import IMAGE_SUFFIXES
from ltx_live.stage.keys import Message

SOUND_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus", ".oga", ".aif", ".aiff", ".wma"})
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".ogv", ".gif"}
)

ADDRESSES: tuple[tuple[frozenset[str], str], ...] = (
    (IMAGE_SUFFIXES, "/ltx/i2v_image"),
    (frozenset({".safetensors"}), "/ltx/lora/drop"),
    (SOUND_SUFFIXES, "/ltx/audio_input"),
    (VIDEO_SUFFIXES, "/ltx/ref/source"),
)


def message(path: str, is_folder: bool) -> Message:
    """The control message of a dropped file or folder, by its suffix.

    Raises MediaError, one line, for what is of no use here.
    """
    name, suffix = Path(path).name, Path(path).suffix.lower()
    if is_folder:
        return "/ltx/ref/source", (path,)
    for suffixes, address in ADDRESSES:
        if suffix in suffixes:
            return address, (path,)
    if suffix == ".toml":
        raise MediaError(f"{name}: mappings are loaded at the start: use --mapping FILE")
    raise MediaError(f"{name}: drop an image, a sound, a video, a folder of frames, or a LoRA (.safetensors)")
