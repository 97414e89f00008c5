"""Measurements and stress tests; each top-level module is a command."""

import latentsync  # noqa: F401  (first: see latentsync/quiet_start.py and torchvision_ops.py)
