"""LatentSync: makes the lips of a person in a video follow any speech."""

from latentsync.torchvision_ops import import_torchvision

__version__ = "0.1.0"

import_torchvision()
