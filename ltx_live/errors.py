"""Errors of ltx_live, drawn as a tree. Every text says what is wrong, where, and what to do.

LtxLiveError
├── ConfigError       a command-line option, preset or settings file cannot be used
├── ParameterError    a live parameter was sent a value it cannot take
├── CheckpointError   a weights file misses, adds or misshapes a tensor, or lacks its configuration
├── MediaError        an image, video or sound file cannot be read or written
├── DeviceError       a window, audio, MIDI or network device cannot be opened
└── EngineError       the engine process failed or does not answer
"""


class LtxLiveError(Exception):
    """Base of every error that ltx_live raises on purpose; its text is shown to the performer as one line."""


class ConfigError(LtxLiveError):
    """An option, preset or settings file that cannot be used."""


class ParameterError(LtxLiveError):
    """A value that a live parameter cannot take, or a parameter that does not exist."""


class CheckpointError(LtxLiveError):
    """A weights file with a missing, unknown or misshapen tensor, or without its configuration."""


class MediaError(LtxLiveError):
    """An image, video or sound file that cannot be read or written."""


class DeviceError(LtxLiveError):
    """A window, audio, MIDI or network device that cannot be opened."""


class EngineError(LtxLiveError):
    """The engine process failed, or does not answer."""
