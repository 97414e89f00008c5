"""From raw videos to training clips: eight numbered, resumable steps, on one machine or a cluster."""

import latentsync  # noqa: F401  (first: see latentsync/quiet_start.py and torchvision_ops.py)
