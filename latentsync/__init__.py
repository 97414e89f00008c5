"""LatentSync: makes the lips of a person in a video follow any speech."""

from latentsync import quiet_start  # noqa: F401  (first: the next import takes seconds, in which Ctrl-C may come)
from latentsync.torchvision_ops import import_torchvision

__version__ = "0.1.0"

import_torchvision()
