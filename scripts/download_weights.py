"""Download the published weights into checkpoints/: `python -m scripts.download_weights [--training]`.

Existing files are kept, and an interrupted download resumes. If the hub is unreachable or lacks a file, the command
prints a message and exits with status 0, because the demo weights are available. A damaged download is an error, and so
is a file that differs from the published one under `--verify`.
"""

import argparse
import sys
from pathlib import Path

from latentsync.cli import EXIT_BAD_INPUT, OneLineParser, run_command
from latentsync.errors import InputError, LatentSyncError
from latentsync.hub import (
    DamagedDownloadError,
    HubUnreachableError,
    MissingOnHubError,
    MissingRepositoryError,
    difference,
    download,
    find_on_hub,
    hub_answers,
)
from latentsync.weights import (
    AUXILIARY_REPOSITORY,
    CHECKPOINTS,
    DEFAULT_VERSION,
    UNET,
    VERSIONS,
    WeightFile,
    files_for,
    published_files,
    record_version,
    recorded_version,
    unknown_release,
)

DEMO_FALLBACK = "the demo weights in checkpoints/demo are used, which are trained on synthetic people only"


def main() -> int:
    """Run the command; return 0, also if the hub is unreachable or lacks files, or 2 after an error."""
    parser = OneLineParser(
        prog="scripts.download_weights", description="Download the published weights into checkpoints/."
    )
    parser.add_argument("--training", action="store_true", help="also download the SyncNet and the auxiliary networks")
    parser.add_argument("--version", choices=list(VERSIONS), help=f"release of the U-Net (default {DEFAULT_VERSION})")
    parser.add_argument(
        "--verify", action="store_true", help="compare existing files with the hub's, without a download"
    )
    parser.add_argument("--checkpoints_dir", type=Path, default=CHECKPOINTS, help="folder (default: checkpoints/)")
    options = parser.parse_args()
    return run_command(lambda: _main(options), when_stopped="the same command resumes")


def _main(options: argparse.Namespace) -> int:
    if options.verify:
        succeeded = all_verified(options.checkpoints_dir, options.version)
    else:
        succeeded = download_missing(options.checkpoints_dir, options.training, options.version)
    return 0 if succeeded else EXIT_BAD_INPUT


def download_missing(checkpoints: Path, training: bool, version: str | None) -> bool:
    """Download the files that are required and missing; print which could not be downloaded.

    Args:
        checkpoints: folder of the weights.
        training: also download the files that training requires.
        version: release of the U-Net; None for the recorded or the default one.

    Returns:
        False if a downloaded file was damaged.

    Raises:
        InputError: the folder has the U-Net of another release, or a file cannot be written.
    """
    known_version = choose_version(checkpoints, version)
    if version is not None and recorded_version(checkpoints) is None and (checkpoints / UNET).is_file():
        write_version(version, checkpoints)
        print(f"Recorded that {checkpoints / UNET} is of version {version}.")
    files = files_for(["inference", "training"] if training else ["inference"], known_version or DEFAULT_VERSION)
    missing = [file for file in files if not file.is_here(checkpoints)]
    if not missing:
        print(f"The published weights are here (version {known_version or 'unknown'}).")
        return True
    if hub_answers(missing[0].repository):
        failures = fetch_all(missing, checkpoints, known_version or DEFAULT_VERSION)
    else:
        failures = [HubUnreachableError("The model hub does not answer")]
    damaged = [error for error in failures if isinstance(error, DamagedDownloadError)]
    for error in failures:
        print(f"error: {error}" if error in damaged else error, file=sys.stderr if error in damaged else sys.stdout)
    still_missing = [file for file in missing if not file.is_here(checkpoints)]
    if still_missing:
        names, option = ", ".join(file.path for file in still_missing), " --training" if training else ""
        print(f"Still missing: {names}; to try again: python -m scripts.download_weights{option}")
        print(f"Until then {consequence(still_missing)}.")
    return not damaged


def choose_version(checkpoints: Path, wanted: str | None) -> str | None:
    """Return the release of the existing U-Net or of the one to download; None for a U-Net of unknown release."""
    if not (checkpoints / UNET).is_file():
        return wanted or DEFAULT_VERSION
    recorded = recorded_version(checkpoints)
    if recorded and wanted and recorded != wanted:
        raise InputError(f"{checkpoints / UNET} is of version {recorded}: move it away to download {wanted}")
    if recorded is None and wanted is None:
        print(unknown_release(checkpoints))
    return wanted or recorded


def write_version(version: str, checkpoints: Path) -> None:
    """Record the release beside its U-Net."""
    try:
        record_version(version, checkpoints)
    except OSError as error:
        raise InputError(f"cannot write into {checkpoints}: {error.strerror}") from error


def fetch_all(files: list[WeightFile], checkpoints: Path, version: str) -> list[LatentSyncError]:
    """Download files one after the other; return the failures. Stop after the first broken connection."""
    failures: list[LatentSyncError] = []
    absent: set[str] = set()
    for number, file in enumerate(files, 1):
        if file.repository in absent:
            continue
        print(f"[{number}/{len(files)}] {file.path} from {file.repository}", flush=True)
        try:
            download(file, checkpoints)
        except (HubUnreachableError, MissingOnHubError, DamagedDownloadError) as error:
            failures.append(error)
            if isinstance(error, HubUnreachableError):
                break
            if isinstance(error, MissingRepositoryError):
                absent.add(file.repository)
            continue
        if file.path == UNET:
            write_version(version, checkpoints)
    return failures


def consequence(missing: list[WeightFile]) -> str:
    """Return a sentence that states what happens while these files are missing."""
    for_inference = [file for file in missing if file.need == "inference"]
    if any(file.fallback is None for file in for_inference):
        return DEMO_FALLBACK
    fallbacks = sorted({file.fallback for file in for_inference if file.fallback})
    return "; ".join(fallbacks) or "commands that need them stop with an error that names the file"


def all_verified(checkpoints: Path, version: str | None) -> bool:
    """Compare every existing published file with the hub's; print one line per file.

    Returns:
        True if all of them are equal.

    Raises:
        HubUnreachableError: the hub does not answer.
        InputError: the existing U-Net is of another or an unknown release.
    """
    if (checkpoints / UNET).is_file() and version is None and recorded_version(checkpoints) is None:
        raise InputError(unknown_release(checkpoints))
    known_version = choose_version(checkpoints, version) or DEFAULT_VERSION
    if not hub_answers(AUXILIARY_REPOSITORY):
        raise HubUnreachableError("the model hub does not answer: existing files cannot be compared with it")
    are_equal = True
    for file in published_files(known_version):
        path = file.find(checkpoints)
        if path is None:
            continue
        fault = difference(path, find_on_hub(file))
        are_equal = are_equal and fault is None
        remedy = f"{fault}: move it away and run python -m scripts.download_weights"
        print(f"{file.path}: {'as published' if fault is None else remedy}", flush=True)
    return are_equal


if __name__ == "__main__":
    sys.exit(main())
