"""The outcome of a metric that cannot judge a sample."""

from latentsync.errors import LatentSyncError


class NotMeasured(LatentSyncError):
    """This sample cannot be judged by this metric; the message is the reason (no reference, too short, no face)."""
