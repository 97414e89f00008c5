"""Presets: named rows of sampling settings, from the published sampling to the fastest (`--preset`)."""

from dataclasses import asdict, dataclass
from typing import Any

from latentsync.errors import ConfigError


@dataclass(frozen=True)
class Preset:
    """One row: fields of `LipsyncOptions`, and the networks to load.

    Attributes:
        num_inference_steps, timestep_spacing, guidance_interval, scheduler: see `LipsyncOptions`.
        guidance_scale: None: that of the configuration.
        overlap_frames: None: the default of `LipsyncOptions`.
        vae: ``full`` or ``tiny``; see `LipsyncBuild`.
    """

    num_inference_steps: int
    timestep_spacing: str = "trailing"
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    guidance_scale: float | None = None
    scheduler: str = "ddim"
    overlap_frames: int | None = None
    vae: str = "full"

    def options(self) -> dict[str, Any]:
        """Return the fields of `LipsyncOptions` that the preset sets."""
        return {name: value for name, value in asdict(self).items() if name != "vae" and value is not None}


PRESETS = {
    "exact": Preset(20, timestep_spacing="leading"),
    "balanced": Preset(8),
    "fast": Preset(2, guidance_interval=(0.0, 0.5)),
    "fastest": Preset(2, guidance_interval=(0.0, 0.5), overlap_frames=0, vae="tiny"),
}
"""By name, the slowest first. `exact` is the published sampling; the option `exact` also covers everything else."""


def find_preset(name: str) -> Preset:
    """Return a preset by its name.

    Raises:
        ConfigError: no preset has this name.
    """
    if name not in PRESETS:
        raise ConfigError(f"preset is {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
