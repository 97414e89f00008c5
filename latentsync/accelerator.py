"""Find out why torch cannot use an NVIDIA card of this machine, and name the remedy."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

Version = tuple[int, int]
"""Major and minor number of a CUDA release, or of a card's compute capability."""

DRIVER_FILE = Path("/proc/driver/nvidia/version")
"""Written by the loaded kernel module. It exists even in a container that was started without GPUs."""
DEVICE_FOLDER = Path("/dev")
TIMEOUT_S = 20.0
"""nvidia-smi answers in about a second, but can hang on a faulty driver."""
DRIVER_RELEASES = {13: 580, 12: 525, 11: 450}
"""First driver release for each CUDA major release; a driver also runs newer minor releases of its major release."""
_ANSWER_CHARS = 200
"""Maximum length of nvidia-smi's output in an error message."""
_HIDDEN = ("", "-1", "NoDevFiles")
"""Values of CUDA_VISIBLE_DEVICES that hide every card."""


@dataclass(frozen=True)
class NvidiaDriver:
    """The NVIDIA driver and its first card.

    Attributes:
        card: name of the first card.
        release: driver release such as ``535.104.05``; None if unknown.
        cuda: newest CUDA release that the driver supports; None if unknown.
        capability: compute capability of the first card; None if the driver is too old to report it.
        fault: reason why nvidia-smi itself cannot use the card; None if it can.
    """

    card: str
    release: str | None = None
    cuda: Version | None = None
    capability: Version | None = None
    fault: str | None = None

    def __str__(self) -> str:
        details = [f"driver {self.release}"] if self.release else []
        details += [f"CUDA {self.cuda[0]}.{self.cuda[1]}"] if self.cuda else []
        return f"{self.card} ({', '.join(details)})" if details else self.card


@dataclass(frozen=True)
class TorchBuild:
    """A build of torch that `setup_env.sh --torch NAME` installs.

    Attributes:
        name: value of the option.
        cuda: major release of CUDA that the driver must support.
        lowest, highest: range of compute capabilities that the build has kernels for.
    """

    name: str
    cuda: int
    lowest: Version
    highest: Version

    def fits(self, capability: Version | None, cuda: Version | None) -> bool:
        """Return True if the build runs on this card with this driver; unknown values count as compatible."""
        covers = capability is None or self.lowest <= capability <= self.highest
        return covers and (cuda is None or cuda[0] >= self.cuda)


BUILDS = (TorchBuild("cuda", 13, (7, 5), (99, 0)), TorchBuild("cu126", 12, (5, 0), (9, 0)))
"""In order of preference. Capabilities: PYTORCH_RELEASES_CODE_CC in torch/cuda/__init__.py of torch 2.13."""


def is_usable(index: int = 0) -> bool:
    """Return True if torch finds the card and has kernels for it."""
    if not torch.cuda.is_available() or index >= torch.cuda.device_count():
        return False
    return torch.version.hip is not None or has_kernels(torch.cuda.get_device_capability(index))


def has_kernels(capability: Version, architectures: Sequence[str] | None = None) -> bool:
    """Return True if a build of torch has code that runs on a card.

    Machine code (``sm_86``) runs on cards of the same major capability and an equal or higher minor one; PTX
    (``compute_86``) is compiled by the driver for every later card. Architecture-specific code (``sm_90a``) runs on
    exactly that capability.

    Args:
        capability: compute capability of the card.
        architectures: names that the build has code for, such as ``sm_86``; default: `torch.cuda.get_arch_list`.
    """
    architectures = torch.cuda.get_arch_list() if architectures is None else architectures
    return not architectures or any(_runs_on(name, capability) for name in architectures)


def explain_unusable_card(index: int = 0) -> str | None:
    """Return one line with the card that torch cannot use, the cause and the remedy; None if there is no such card.

    Args:
        index: index of the card among those that torch finds.
    """
    if is_usable(index):
        return None
    if torch.cuda.is_available():
        return _explain_missing_kernels(index) if index < torch.cuda.device_count() else None
    driver = find_driver()
    return None if driver is None else f"{driver} cannot be used: {_explain_driver(driver)}"


def cards_are_hidden() -> bool:
    """Return True if CUDA_VISIBLE_DEVICES hides every card."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in _HIDDEN


def find_driver() -> NvidiaDriver | None:
    """Find the NVIDIA driver with nvidia-smi, else by its kernel module's files; return None if there is no card."""
    tool = shutil.which("nvidia-smi")
    status, header = _run([tool]) if tool else (None, "")
    if tool and status == 0 and "No devices were found" not in header:
        return _from_tool(tool, header)
    return _from_files(header if tool else None)


def cuda_of_release(release: str) -> Version | None:
    """Return the newest CUDA major release that a driver release supports, as (major, 0); None if it is too old."""
    number = int(release.split(".")[0])
    return next(((cuda, 0) for cuda, first in DRIVER_RELEASES.items() if number >= first), None)


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
    """Return what to install: a build of torch that fits the driver, else a driver that fits a build."""
    for build in BUILDS:
        if build.fits(capability, cuda):
            return f"run `source setup_env.sh --torch {build.name}`"
    for build in reversed(BUILDS):  # the build with the lowest requirements first
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


def _from_tool(tool: str, header: str) -> NvidiaDriver:
    release = _first(r"(?:Driver|KMD) Version:\s*(\d+(?:\.\d+)+)", header)
    cuda = _first(r"CUDA(?: UMD)? Version:\s*(\d+\.\d+)", header)
    status, answer = _run([tool, "--query-gpu=name,compute_cap", "--format=csv,noheader"])
    if status != 0:  # drivers before 510 do not know compute_cap
        status, answer = _run([tool, "--query-gpu=name", "--format=csv,noheader"])
    first = answer.splitlines()[0] if status == 0 and answer.strip() else ""
    name, _, capability = (part.strip() for part in first.partition(","))
    return NvidiaDriver(
        card=name or "an NVIDIA card",
        release=release,
        cuda=_version(cuda) or (cuda_of_release(release) if release else None),
        capability=_version(capability),
    )


def _from_files(tool_output: str | None) -> NvidiaDriver | None:
    has_device = any(DEVICE_FOLDER.glob("nvidia[0-9]*"))
    if not has_device and not DRIVER_FILE.is_file():
        return None
    text = DRIVER_FILE.read_text(errors="replace") if DRIVER_FILE.is_file() else ""
    release = _first(r"Module\b.*?\s(\d+\.\d+(?:\.\d+)*)\s", text)
    fault = None
    if not has_device:
        fault = "its driver is loaded, but this process has no access to it; start the container with --gpus all"
    elif tool_output is not None:
        answer = " ".join(tool_output.split())[:_ANSWER_CHARS] or "no answer"
        fault = f"nvidia-smi fails ({answer}); restart the machine or reinstall the driver"
    return NvidiaDriver("an NVIDIA card", release, cuda_of_release(release) if release else None, fault=fault)


def _run(arguments: list[str]) -> tuple[int | None, str]:
    """Run nvidia-smi; return its exit status (None if it cannot be started or hangs) and its output."""
    try:
        done = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None, ""
    return done.returncode, done.stdout + done.stderr


def _first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found[1] if found else None


def _version(text: str | None) -> Version | None:
    found = re.fullmatch(r"(\d+)\.(\d+)", text or "")
    return (int(found[1]), int(found[2])) if found else None
