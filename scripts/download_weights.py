"""Downloads the published weights into checkpoints/: `python -m scripts.download_weights [--training]`.

What is there already is kept, and a download that broke off resumes. Where the hub cannot be reached, or lacks a file,
it says so and succeeds: the demo weights remain. A file that arrives damaged is an error, and so is one that `--verify`
finds to differ from the published one.
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

DEMO_FALLBACK = "the demo weights in checkpoints/demo are used, which know only synthetic people"


def main() -> int:
    """Runs the command; the exit status is 0 also where the hub lacks files or is out of reach, and 2 on errors."""
    parser = OneLineParser(
        prog="scripts.download_weights", description="Downloads the published weights into checkpoints/."
    )
    parser.add_argument("--training", action="store_true", help="also the SyncNet and the auxiliary networks")
    parser.add_argument("--version", choices=list(VERSIONS), help=f"release of the U-Net (default {DEFAULT_VERSION})")
    parser.add_argument(
        "--verify", action="store_true", help="compare the files that are here with the hub's, and stop"
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
    """Downloads what the purpose requires and the folder lacks, and says what could not be had.

    Returns:
        Whether every file that arrived was the right one.

    Raises:
        InputError: another release's U-Net is in the way, or a file cannot be written.
    """
    known_version = choose_version(checkpoints, version)
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
        print(f"Not here yet: {names}; to try again: python -m scripts.download_weights{option}")
        print(f"Until then {consequence(still_missing)}.")
    return not damaged


def choose_version(checkpoints: Path, wanted: str | None) -> str | None:
    """The release that the U-Net here is of, or that is to be downloaded; None for a U-Net of an unknown release."""
    if not (checkpoints / UNET).is_file():
        return wanted or DEFAULT_VERSION
    recorded = recorded_version(checkpoints)
    if recorded and wanted and recorded != wanted:
        raise InputError(f"{checkpoints / UNET} is of version {recorded}: move it away to download {wanted}")
    if recorded is None and wanted is None:
        print(unknown_release(checkpoints))
    if recorded is None and wanted is not None:
        write_version(wanted, checkpoints)
        print(f"Noted that {checkpoints / UNET} is of version {wanted}.")
    return wanted or recorded


def write_version(version: str, checkpoints: Path) -> None:
    """Records the release beside its U-Net."""
    try:
        record_version(version, checkpoints)
    except OSError as error:
        raise InputError(f"cannot write into {checkpoints}: {error.strerror}") from error


def fetch_all(files: list[WeightFile], checkpoints: Path, version: str) -> list[LatentSyncError]:
    """Downloads files one after the other, naming each, and gives the failures; a broken connection is the last one."""
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
    """What happens while these files are missing."""
    for_inference = [file for file in missing if file.need == "inference"]
    if any(file.fallback is None for file in for_inference):
        return DEMO_FALLBACK
    fallbacks = sorted({file.fallback for file in for_inference if file.fallback})
    return "; ".join(fallbacks) or "what needs them is refused, by name"


def all_verified(checkpoints: Path, version: str | None) -> bool:
    """Compares every published file that is here with the hub's, and prints how each does.

    Raises:
        HubUnreachableError: the hub cannot be asked.
        InputError: the U-Net here is of another release than asked for, or of an unknown one.
    """
    if (checkpoints / UNET).is_file() and version is None and recorded_version(checkpoints) is None:
        raise InputError(unknown_release(checkpoints))
    known_version = choose_version(checkpoints, version) or DEFAULT_VERSION
    if not hub_answers(AUXILIARY_REPOSITORY):
        raise HubUnreachableError("the model hub does not answer: the files here cannot be compared with it")
    are_right = True
    for file in published_files(known_version):
        path = file.find(checkpoints)
        if path is None:
            continue
        fault = difference(path, find_on_hub(file))
        are_right = are_right and fault is None
        remedy = f"{fault}: move it away and run python -m scripts.download_weights"
        print(f"{file.path}: {'as published' if fault is None else remedy}", flush=True)
    return are_right


if __name__ == "__main__":
    sys.exit(main())
