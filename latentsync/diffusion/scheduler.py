"""The noise schedule of the published weights, and the samplers that may follow it."""

from typing import Any, Protocol

from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

from latentsync.errors import ConfigError


class Scheduler(Protocol):
    """The part of a diffusers scheduler that sampling and training use."""

    timesteps: Any
    alphas_cumprod: Any
    init_noise_sigma: float

    def set_timesteps(self, num_inference_steps: Any, device: Any = None) -> None:
        """Chooses the timesteps of a run and forgets the last run."""
        ...

    def scale_model_input(self, sample: Any, timestep: Any) -> Any:
        """What the network is shown of the current latents."""
        ...

    def step(self, model_output: Any, timestep: Any, sample: Any, *, return_dict: bool = True) -> Any:
        """One step; with `return_dict` False a tuple that begins with the next latents."""
        ...

    def add_noise(self, original_samples: Any, noise: Any, timesteps: Any) -> Any:
        """Clean latents (b, ...) noised to timesteps (b,)."""
        ...


NUM_TRAIN_TIMESTEPS = 1000
BETA_START = 0.00085
BETA_END = 0.012
SCHEDULERS = ("ddim", "dpmsolver++", "unipc")


def build_scheduler(name: str = "ddim") -> Scheduler:
    """A sampler over the published schedule: 1000 steps, scaled-linear betas, epsilon prediction.

    Args:
        name: "ddim" (the published one), "dpmsolver++" or "unipc" (second order, good with about half the steps).

    Raises:
        ConfigError: the name is none of these.
    """
    if name == "ddim":
        return DDIMScheduler(
            num_train_timesteps=NUM_TRAIN_TIMESTEPS,
            beta_start=BETA_START,
            beta_end=BETA_END,
            beta_schedule="scaled_linear",
            steps_offset=1,
            clip_sample=False,
            set_alpha_to_one=False,
            prediction_type="epsilon",
        )
    kinds = {"dpmsolver++": DPMSolverMultistepScheduler, "unipc": UniPCMultistepScheduler}
    if name not in kinds:
        raise ConfigError(f"unknown scheduler {name!r}: use {', '.join(SCHEDULERS)}")
    return kinds[name](
        num_train_timesteps=NUM_TRAIN_TIMESTEPS,
        beta_start=BETA_START,
        beta_end=BETA_END,
        beta_schedule="scaled_linear",
        steps_offset=1,
        timestep_spacing="leading",
        prediction_type="epsilon",
    )
