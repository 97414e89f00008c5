"""Synthetic talking heads, and the training of the demo networks on them."""

import latentsync  # noqa: F401  (first: it lets torchvision load beside any PyTorch)
