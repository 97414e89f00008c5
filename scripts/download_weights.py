"""Downloads the published weights into checkpoints/: `python -m scripts.download_weights [--training]`.

What is there already is kept. Where the hub cannot be reached it says so and succeeds: the demo weights remain.
"""

import argparse
import sys
from pathlib import Path

from latentsync.errors import InputError, LatentSyncError
from latentsync.hub import HubUnreachableError, download, hub_answers
from latentsync.weights import (
    CHECKPOINTS,
    DEFAULT_VERSION,
    UNET,
    VERSIONS,
    WeightFile,
    files_for,
    record_version,
    recorded_version,
)

OFFLINE = """{reason}: the published weights are not here yet; to try again: python -m scripts.download_weights
Until then the demo weights in checkpoints/demo are used, which know only synthetic people."""


def main() -> int:
    """Runs the command; the exit status is 0 also where the hub is out of reach, and 2 on other errors."""
    parser = argparse.ArgumentParser(
        prog="scripts.download_weights", description="Downloads the published weights into checkpoints/."
    )
    parser.add_argument("--training", action="store_true", help="also the SyncNet and the auxiliary networks")
    parser.add_argument("--version", choices=list(VERSIONS), help=f"release of the U-Net (default {DEFAULT_VERSION})")
    parser.add_argument("--checkpoints_dir", type=Path, default=CHECKPOINTS, help="folder (default: checkpoints/)")
    options = parser.parse_args()
    try:
        download_missing(options.checkpoints_dir, options.training, options.version)
    except HubUnreachableError as error:
        print(OFFLINE.format(reason=error))
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def download_missing(checkpoints: Path, training: bool, version: str | None) -> None:
    """Downloads what the purpose wants and the folder lacks.

    Raises:
        HubUnreachableError: the hub did not answer, or broke off.
        InputError: another release's U-Net is in the way, or a file cannot be written.
    """
    present, version = choose_version(checkpoints, version)
    files = files_for(["inference", "training"] if training else ["inference"], version)
    missing = [file for file in files if not file.is_here(checkpoints)]
    if not missing:
        print(f"The published weights are here (version {version}).")
        return
    if not hub_answers(missing[0].repository):
        raise HubUnreachableError("The model hub does not answer")
    if not present:
        write_version(version, checkpoints)
    fetch_all(missing, checkpoints)


def choose_version(checkpoints: Path, wanted: str | None) -> tuple[bool, str]:
    """Whether a U-Net is here, and the release that it is (or will be) of."""
    present = (checkpoints / UNET).is_file()
    recorded = recorded_version(checkpoints) if present else None
    if recorded and wanted and recorded != wanted:
        raise InputError(f"{checkpoints / UNET} is of version {recorded}: move it away to download {wanted}")
    if present and wanted and not recorded:
        write_version(wanted, checkpoints)
        print(f"Noted that {checkpoints / UNET} is of version {wanted}.")
    return present, wanted or recorded or DEFAULT_VERSION


def write_version(version: str, checkpoints: Path) -> None:
    """Records the release beside where its U-Net goes."""
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
        record_version(version, checkpoints)
    except OSError as error:
        raise InputError(f"cannot write into {checkpoints}: {error.strerror}") from error


def fetch_all(files: list[WeightFile], checkpoints: Path) -> None:
    """Downloads files one after the other, naming each."""
    for number, file in enumerate(files, 1):
        print(f"[{number}/{len(files)}] {file.path} from {file.repository}", flush=True)
        download(file, checkpoints)


if __name__ == "__main__":
    sys.exit(main())
