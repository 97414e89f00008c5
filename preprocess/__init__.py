"""Data pipeline: raw videos to training clips in eight resumable steps, on one machine or a Ray cluster."""

import latentsync  # noqa: F401  (first: see latentsync/quiet_start.py and torchvision_ops.py)
