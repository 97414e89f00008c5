"""LatentSync: makes the lips of a person in a video follow any speech."""

from latentsync.torchvision_ops import declare_missing_operators

__version__ = "0.1.0"

declare_missing_operators()
