"""What can end a training that began well."""

from latentsync.errors import LatentSyncError


class NonFiniteLossError(LatentSyncError):
    """The loss or a gradient is not a number any more."""


class CheckpointSaveError(LatentSyncError):
    """A checkpoint could not be written; no half of it is left behind."""
