"""Check before an adaptation that everything it reads is present."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.util import find_spec

from latentsync.adaptation.mouth_readers import check_mouth_reader
from latentsync.errors import CheckpointError, ConfigError
from latentsync.recipes.adaptation_run import AdaptationRun
from latentsync.weights import (
    CHECKPOINTS,
    REPOSITORY_ROOT,
    UNET,
    VERSIONS,
    find_vae,
    locate,
    locate_initial,
    recorded_version,
)


def check_weights(run: AdaptationRun) -> None:
    """Check that all weights and recordings are present and that the published weights fit the resolution.

    Raises:
        CheckpointError: files are missing; one line names them all.
        ConfigError: the weights are a release for another resolution, or a package is missing.
    """
    missing = list(dict.fromkeys(filter(None, map(_error, _checks(run)))))
    if len(missing) > 1:
        files, remedies = zip(*(message.partition(": ")[::2] for message in missing), strict=True)
        raise CheckpointError(f"{'; '.join(files)}: {'; '.join(_joined(remedies))}")
    if missing:
        raise CheckpointError(missing[0])
    _check_release(run)
    check_packages(run)


def check_packages(run: AdaptationRun) -> None:
    """Check that the packages which only some adaptations require are installed. Raises ConfigError."""
    if find_spec("decord") is None:
        raise ConfigError(
            "decord is needed to read the clips that are cut: pip install decord (on a Mac: pip install eva-decord)"
        )
    if run.adaptation.lora.rank is not None and find_spec("peft") is None:
        raise ConfigError("adaptation.lora requires the package peft: repeat source setup_env.sh, or pip install peft")


def _checks(run: AdaptationRun) -> Iterator[Callable[[], object]]:
    yield partial(_locate_base, run)
    yield partial(locate, run.audio.whisper)
    yield partial(find_vae, run.vae)
    yield partial(check_mouth_reader, run.adaptation.mouth_reader)
    yield from (partial(locate, name) for name in (*run.adaptation.speech, *run.adaptation.check_speech))


def _error(check: Callable[[], object]) -> str | None:
    try:
        check()
    except CheckpointError as error:
        return str(error)
    return None


def _joined(remedies: Iterable[str]) -> list[str]:
    """Return different remedies; one that only begins another is left out."""
    short = list(dict.fromkeys(remedy.partition(" (it comes from ")[0] for remedy in remedies))
    return [one for one in short if not any(other != one and other.startswith(one) for other in short)]


def _locate_base(run: AdaptationRun) -> None:
    """Find the base weights; the remedy for missing published ones names the release for the resolution."""
    try:
        locate_initial(str(run.initial))
    except CheckpointError:
        fitting = _fitting_release(run)
        if REPOSITORY_ROOT / str(run.initial) != CHECKPOINTS / UNET or fitting is None:
            raise
        raise CheckpointError(
            f"{CHECKPOINTS / UNET} is missing: run python -m scripts.download_weights --version {fitting}"
        ) from None


def _fitting_release(run: AdaptationRun) -> str | None:
    releases = (name for name, release in VERSIONS.items() if release.resolution == run.data.resolution)
    return next(releases, None)


def _check_release(run: AdaptationRun) -> None:
    """Raise ConfigError if the published U-Net is of a release for another resolution."""
    if locate_initial(str(run.initial)).resolve() != (CHECKPOINTS / UNET).resolve():
        return
    version = recorded_version(CHECKPOINTS)
    resolution = run.data.resolution
    if version is not None and VERSIONS[version].resolution != resolution:
        fitting = _fitting_release(run)
        other = "" if fitting is None else f", or run python -m scripts.download_weights --version {fitting}"
        raise ConfigError(
            f"{CHECKPOINTS / UNET} is release {version} for {VERSIONS[version].resolution} px, the configuration has "
            f"data.resolution {resolution}: set data.resolution={VERSIONS[version].resolution}{other}"
        )
