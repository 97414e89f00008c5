"""Commands, run from the checkout as `python -m scripts.NAME`."""

import latentsync  # noqa: F401  (first: see latentsync/quiet_start.py and torchvision_ops.py)
