"""Why torch cannot use an NVIDIA card that is here, and what to do about it."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from latentsync.nvidia_driver import DRIVER_RELEASES, NvidiaDriver, Version, find_driver

_HIDDEN = ("", "-1", "NoDevFiles")
"""Values of CUDA_VISIBLE_DEVICES that hide every card."""


@dataclass(frozen=True)
class TorchBuild:
    """A build of torch that `setup_env.sh --torch NAME` installs.

    Attributes:
        name: the option's value.
        cuda: major release of CUDA; the driver must support it.
        lowest, highest: compute capabilities of the cards it has kernels for.
    """

    name: str
    cuda: int
    lowest: Version
    highest: Version

    def fits(self, capability: Version | None, cuda: Version | None) -> bool:
        """Whether it runs on a card with a driver; what is not known about them is taken to fit."""
        covers = capability is None or self.lowest <= capability <= self.highest
        return covers and (cuda is None or cuda[0] >= self.cuda)


BUILDS = (TorchBuild("cuda", 13, (7, 5), (99, 0)), TorchBuild("cu126", 12, (5, 0), (9, 0)))
"""The build of PyPI first. Capabilities: PYTORCH_RELEASES_CODE_CC in torch/cuda/__init__.py of torch 2.13."""


def is_usable(index: int = 0) -> bool:
    """Whether torch can compute on a card: it sees the card and has kernels for it."""
    if not torch.cuda.is_available() or index >= torch.cuda.device_count():
        return False
    return torch.version.hip is not None or has_kernels(torch.cuda.get_device_capability(index))


def has_kernels(capability: Version, architectures: Sequence[str] | None = None) -> bool:
    """Whether code of a build runs on a card.

    Machine code (``sm_86``) runs on cards of the same major capability and an equal or higher minor one; PTX
    (``compute_86``) is compiled by the driver for every later card. Architecture-specific code (``sm_90a``) runs on
    exactly that capability.

    Args:
        capability: of the card.
        architectures: what the build has code for; by default what `torch.cuda.get_arch_list` says.
    """
    architectures = torch.cuda.get_arch_list() if architectures is None else architectures
    return not architectures or any(_runs_on(name, capability) for name in architectures)


def explain_unusable_card(index: int = 0) -> str | None:
    """Return one line with the card that torch cannot use, the cause and the remedy, or None if there is no such card.

    Args:
        index: of the card among those that torch sees.
    """
    if is_usable(index):
        return None
    if torch.cuda.is_available():
        return _explain_missing_kernels(index) if index < torch.cuda.device_count() else None
    driver = find_driver()
    return None if driver is None else f"{driver} cannot be used: {_explain_driver(driver)}"


def cards_are_hidden() -> bool:
    """Whether the user keeps CUDA programs from every card by CUDA_VISIBLE_DEVICES."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in _HIDDEN


def _explain_driver(driver: NvidiaDriver) -> str:
    if cards_are_hidden():
        return "the environment variable CUDA_VISIBLE_DEVICES hides it; unset it"
    if driver.fault:
        return driver.fault
    if torch.version.hip is not None:
        cause = f"torch {torch.__version__} is a ROCm build, for AMD cards"
    elif torch.version.cuda is None:
        cause = f"torch {torch.__version__} is a CPU build"
    else:
        built_for = int(torch.version.cuda.split(".")[0])
        if driver.cuda is None or driver.cuda[0] >= built_for:
            return (
                f"torch {torch.__version__} (CUDA {torch.version.cuda}) does not see it, though the driver is new "
                "enough; run `python -c 'import torch; torch.zeros(1).cuda()'` for torch's reason"
            )
        cause = f"the driver is too old for torch {torch.__version__}, a build for CUDA {torch.version.cuda}"
        other = _remedy(driver.capability, driver.cuda)
        if other.startswith("run "):
            return f"{cause}; {other}, or update the driver to {DRIVER_RELEASES.get(built_for, 580)} or newer"
    return f"{cause}; {_remedy(driver.capability, driver.cuda)}"


def _explain_missing_kernels(index: int) -> str:
    capability = torch.cuda.get_device_capability(index)
    driver = find_driver()
    name, number = torch.cuda.get_device_name(index), ".".join(map(str, capability))
    cause = f"torch {torch.__version__} has no kernels for its compute capability {number}"
    return f"{name} cannot be used: {cause}; {_remedy(capability, driver.cuda if driver else None)}"


def _remedy(capability: Version | None, cuda: Version | None) -> str:
    """What to install so that a card can be used: a build that fits the driver, else a driver that fits a build."""
    for build in BUILDS:
        if build.fits(capability, cuda):
            return f"run `source setup_env.sh --torch {build.name}`"
    for build in reversed(BUILDS):  # the one with the least demands
        if build.fits(capability, None):
            driver = f"update the NVIDIA driver to {DRIVER_RELEASES[build.cuda]} or newer"
            return f"{driver}, then run `source setup_env.sh --torch {build.name}`"
    return "no current build of torch has kernels for it"


def _runs_on(architecture: str, capability: Version) -> bool:
    found = re.fullmatch(r"(sm|compute)_(\d+)([af]?)", architecture)
    if found is None:
        return False
    built = divmod(int(found[2]), 10)
    if found[3] == "a":
        return built == capability
    if found[1] == "compute" and not found[3]:
        return built <= capability
    return built[0] == capability[0] and built[1] <= capability[1]
