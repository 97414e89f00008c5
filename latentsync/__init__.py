"""LatentSync: audio-conditioned latent diffusion for lip synchronization."""

from latentsync import quiet_start  # noqa: F401  (first: later imports take seconds, during which Ctrl-C may come)
from latentsync.lean_imports import install_lean_imports
from latentsync.torchvision_ops import install_torchvision_hook

__version__ = "0.1.0"

install_torchvision_hook()
install_lean_imports()
