"""Judges finished models and results; each file is a command of its own."""

import latentsync  # noqa: F401  (first: see latentsync/quiet_start.py and torchvision_ops.py)
