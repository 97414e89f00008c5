"""Errors that a user can act on. Their message is one line that names the input and the remedy."""


class LatentSyncError(Exception):
    """Base of all errors that this package raises deliberately. Commands print the message without a traceback."""


class InputError(LatentSyncError):
    """A file, folder or option that the user named cannot be used."""


class FileError(InputError):
    """A file cannot be used.

    Attributes:
        reason: why, in a few words without the path, such as "is empty"; used to count and list files by reason.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)  # the only positional argument: DataLoader re-raises errors of workers by message
        self.reason = reason

    @classmethod
    def create(cls, path: object, reason: str, remedy: str) -> "FileError":
        """Build the error whose message is "<path> <reason>: <remedy>"."""
        return cls(f"{path} {reason}: {remedy}", reason)


class ConfigError(InputError):
    """A configuration file or override has an unknown key, a wrong type or a value out of range."""


class CheckpointError(InputError):
    """A weights file is missing, unreadable, unsafe, or does not fit the configuration."""


class ToolError(LatentSyncError):
    """An external program (ffmpeg, ffprobe) is missing or failed; the message ends with its own message."""


class DeviceMemoryError(LatentSyncError):
    """A device has too little memory; the message names the part of the program that ran out of it."""


class NonFiniteError(LatentSyncError):
    """The output of a network contains NaN or infinity."""


class NotMeasured(LatentSyncError):
    """A metric cannot measure this video; the message is the reason (no reference, too short, no face)."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, else the name of its type."""
    return str(error).strip().partition("\n")[0].strip() or type(error).__name__
