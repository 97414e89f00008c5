"""LatentSync: audio-conditioned latent diffusion for lip synchronization."""

from importlib import import_module
from typing import TYPE_CHECKING

from latentsync import quiet_start  # noqa: F401  (first: later imports take seconds, during which Ctrl-C may come)
from latentsync.lean_imports import install_lean_imports
from latentsync.torchvision_ops import install_torchvision_hook

if TYPE_CHECKING:
    from latentsync.pipelines.dub_frames import dub_frames as dub_frames
    from latentsync.pipelines.options import LipsyncOptions as LipsyncOptions
    from latentsync.recipes.load_pipeline import load_pipeline as load_pipeline

__version__ = "0.1.0"

install_torchvision_hook()
install_lean_imports()

_LOADED_ON_USE = {
    "LipsyncOptions": "latentsync.pipelines.options",
    "dub_frames": "latentsync.pipelines.dub_frames",
    "load_pipeline": "latentsync.recipes.load_pipeline",
}
"""Public names and their modules, which import torch."""


def __getattr__(name: str) -> object:
    if name not in _LOADED_ON_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LOADED_ON_USE[name]), name)
