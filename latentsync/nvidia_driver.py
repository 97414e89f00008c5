"""The NVIDIA card and driver of this machine, found without torch."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

Version = tuple[int, int]
"""Major and minor number of a CUDA release, or of a card's compute capability."""

DRIVER_FILE = Path("/proc/driver/nvidia/version")
"""Written by the loaded kernel module; a container sees it even where it was started without GPUs."""
DEVICE_FOLDER = Path("/dev")
TIMEOUT_S = 20.0
"""nvidia-smi answers in about a second, but can hang on a faulty driver."""
DRIVER_RELEASES = {13: 580, 12: 525, 11: 450}
"""The first driver release of each CUDA major release; within a major release a driver runs newer minor ones too."""
_ANSWER_CHARS = 200
"""Of a failing nvidia-smi, in the message."""


@dataclass(frozen=True)
class NvidiaDriver:
    """What the driver reports.

    Attributes:
        card: name of the first card.
        release: of the driver, such as ``535.104.05``; None where it is not known.
        cuda: newest CUDA release that the driver supports; None where it is not known.
        capability: compute capability of the first card; None where the driver is too old to report it.
        fault: why not even the driver's own tool can use the card; None where it can.
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


def find_driver() -> NvidiaDriver | None:
    """Find the NVIDIA driver with nvidia-smi, else by its kernel module's files; return None if there is no card."""
    tool = shutil.which("nvidia-smi")
    status, header = _run([tool]) if tool else (None, "")
    if tool and status == 0 and "No devices were found" not in header:
        return _from_tool(tool, header)
    return _from_files(header if tool else None)


def cuda_of_release(release: str) -> Version | None:
    """The CUDA major release that a driver release supports, as (major, 0)."""
    number = int(release.split(".")[0])
    return next(((cuda, 0) for cuda, first in DRIVER_RELEASES.items() if number >= first), None)


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
    """Exit status and output of nvidia-smi; the status is None where it cannot be run or hangs."""
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
