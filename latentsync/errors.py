"""Errors that a user can act on: one line that names the input and the remedy, shown without a traceback."""


class LatentSyncError(Exception):
    """Base of every error this package raises on purpose; its message is one line for a person to read."""


class InputError(LatentSyncError):
    """A file, folder or option the user gave cannot be used."""


class ConfigError(InputError):
    """A configuration file or override has an unknown key, a wrong type or a value out of range."""


class CheckpointError(InputError):
    """A weights file is missing, unreadable, unsafe, or does not fit the configuration."""


class ToolError(LatentSyncError):
    """An external program (ffmpeg, ffprobe) is missing or failed; the message ends with what it said."""


class DeviceMemoryError(LatentSyncError):
    """A device has too little memory for what was asked; the message names the part that ran out of it."""


class NonFiniteError(LatentSyncError):
    """A network gave NaN or infinity, from which no image can be made."""
