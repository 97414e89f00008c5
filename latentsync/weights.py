"""Registry of weight files: their repositories on the hub, their local paths, and functions that find them."""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import try_to_load_from_cache

from latentsync.errors import CheckpointError, InputError
from latentsync.storage.atomic import atomic_write

logger = logging.getLogger(__name__)

REPOSITORY_ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS = REPOSITORY_ROOT / "checkpoints"
AUXILIARY = CHECKPOINTS / "auxiliary"

Need = Literal["inference", "training", "optional"]


@dataclass(frozen=True)
class PublishedVersion:
    """One release of the published U-Net. All releases have the same tensor shapes: a file does not reveal its own."""

    repository: str
    resolution: int
    unet_config: str


VERSIONS = {
    "1.6": PublishedVersion("ByteDance/LatentSync-1.6", 512, "configs/unet/stage2_512.yaml"),
    "1.5": PublishedVersion("ByteDance/LatentSync-1.5", 256, "configs/unet/stage2.yaml"),
}
DEFAULT_VERSION = "1.6"
AUXILIARY_REPOSITORY = "ByteDance/LatentSync-1.5"
VAE_REPOSITORY = "stabilityai/sd-vae-ft-mse"
TINY_VAE_REPOSITORY = "madebyollin/taesd"
"""AutoencoderTiny for the latents of Stable Diffusion 1, which are those of the published VAE."""

UNET = "latentsync_unet.pt"
WHISPER_TINY = "whisper/tiny.pt"
VAE_CONFIG = "vae/config.json"
VAE_WEIGHTS = "vae/diffusion_pytorch_model.safetensors"
TINY_VAE_CONFIG = "vae_tiny/config.json"
TINY_VAE_WEIGHTS = "vae_tiny/diffusion_pytorch_model.safetensors"
FACE_ALIGNMENT = ("auxiliary/s3fd-619a316812.pth", "auxiliary/2DFAN4-cd938726ad.zip")
FACE_EMBEDDING = "auxiliary/20180402-114759-vggface2.pt"
COPIED_BY_HAND = {FACE_EMBEDDING: "release page of facenet-pytorch"}
"""Published files that are not on the hub, and where they are: no command downloads them."""
MTCNN_FALLBACK = "faces are aligned by MTCNN's points, not by face-alignment's landmarks as published"
DEMO_UNET = "demo/latentsync_unet.pt"
DEMO_UNET_CONFIG = "configs/demo/unet.yaml"
VERSION_RECORD = "latentsync_unet.json"

_LFS_POINTER = b"version https://git-lfs"
_FINGERPRINT_BYTES = 1 << 20


@dataclass(frozen=True)
class WeightFile:
    """One published file.

    Attributes:
        path: local path, relative to the checkpoints folder.
        repository: repository on the hub.
        need: purpose that requires it; "optional" files are downloaded only on request.
        older_path: name of the file in earlier releases, both locally and in the repository.
        hub_name: name in the repository if it differs from `path`; always the end of `path`.
        fallback: sentence that states what replaces the file while it is missing; None if nothing does.
    """

    path: str
    repository: str
    need: Need
    older_path: str | None = None
    hub_name: str | None = None
    fallback: str | None = None

    def find(self, checkpoints: Path = CHECKPOINTS) -> Path | None:
        """Return the local path of the file under either of its names, or None if it is missing.

        Empty files and the pointers that git writes for LFS files without the LFS extension count as missing.
        """
        names = [name for name in (self.path, self.older_path) if name]
        return next((checkpoints / name for name in names if has_content(checkpoints / name)), None)

    def is_here(self, checkpoints: Path = CHECKPOINTS) -> bool:
        """Return True if the file is in the checkpoints folder."""
        return self.find(checkpoints) is not None


def published_files(version: str = DEFAULT_VERSION) -> tuple[WeightFile, ...]:
    """Return all published files of a release ("1.6" or "1.5").

    Raises:
        InputError: the release does not exist.
    """
    repository = _published(version).repository
    auxiliary = (
        "vit_g_hybrid_pt_1200e_ssv2_ft.pth",
        "syncnet_v2.model",
        "i3d_torchscript.pt",
        "koniq_pretrained.pkl",
        "vgg16-397923af.pth",
    )
    return (
        WeightFile(UNET, repository, "inference"),
        WeightFile(WHISPER_TINY, repository, "inference"),
        WeightFile(VAE_CONFIG, VAE_REPOSITORY, "inference", hub_name="config.json"),
        WeightFile(VAE_WEIGHTS, VAE_REPOSITORY, "inference", hub_name="diffusion_pytorch_model.safetensors"),
        *(WeightFile(name, AUXILIARY_REPOSITORY, "inference", fallback=MTCNN_FALLBACK) for name in FACE_ALIGNMENT),
        WeightFile("whisper/small.pt", repository, "optional"),
        WeightFile(TINY_VAE_CONFIG, TINY_VAE_REPOSITORY, "optional", hub_name="config.json"),
        WeightFile(TINY_VAE_WEIGHTS, TINY_VAE_REPOSITORY, "optional", hub_name="diffusion_pytorch_model.safetensors"),
        WeightFile("stable_syncnet.pt", repository, "training", older_path="latentsync_syncnet.pt"),
        *(WeightFile(f"auxiliary/{name}", AUXILIARY_REPOSITORY, "training") for name in auxiliary),
    )


def files_for(needs: Sequence[Need], version: str = DEFAULT_VERSION) -> list[WeightFile]:
    """Return the published files that the given purposes require."""
    return [file for file in published_files(version) if file.need in needs]


def locate(path: str | Path, root: Path = REPOSITORY_ROOT) -> Path:
    """Find a file, mostly of weights, that a configuration names relative to the repository, or by its absolute path.

    A published file is also found under its older name.

    Raises:
        CheckpointError: the file is missing; the message states how to get it.
    """
    wanted = root / path
    if wanted.is_file():
        return wanted
    for file in published_files():
        if wanted == root / "checkpoints" / file.path:
            found = file.find(root / "checkpoints")
            if found:
                return found
            raise CheckpointError(f"{wanted} is missing: {_remedy(file)}")
    raise CheckpointError(
        f"{wanted} is missing: name an existing file by its absolute path, or relative to the repository"
    )


def locate_initial(path: str | Path, root: Path = REPOSITORY_ROOT) -> Path:
    """Find the initial weights of a training: relative to the working folder, which has the runs, else by `locate`.

    Raises:
        CheckpointError: the file is in neither place.
    """
    return Path(path) if Path(path).is_file() else locate(path, root)


def find_initial_vae(name: str, root: Path = REPOSITORY_ROOT) -> Path:
    """Find the initial autoencoder of a training: relative to the working folder, else by `find_vae`.

    Raises:
        CheckpointError: the folder is in neither place.
    """
    return Path(name) if (Path(name) / "config.json").is_file() else find_vae(name, root)


def find_vae(name: str, root: Path = REPOSITORY_ROOT) -> Path:
    """Find the folder of a diffusers autoencoder by a folder name or the name of its repository on the hub.

    The published autoencoder is searched in `checkpoints/vae` and then in the local cache of the hub client. Nothing is
    downloaded.

    Raises:
        CheckpointError: the autoencoder is missing.
    """
    if (root / name / "config.json").is_file():
        return root / name
    if name == VAE_REPOSITORY and (root / "checkpoints" / VAE_WEIGHTS).is_file():
        return root / "checkpoints" / Path(VAE_WEIGHTS).parent
    cached = _cached_vae(name) if name.count("/") == 1 and not name.startswith((".", "/")) else None
    if cached:
        return cached
    if name == VAE_REPOSITORY:
        raise CheckpointError(f"the VAE {name} is not here: run python -m scripts.download_weights")
    raise CheckpointError(f"{name} is neither a folder with a VAE nor in the hub's cache: name an existing one")


def find_tiny_vae(name: str, root: Path = REPOSITORY_ROOT) -> Path:
    """Find the folder of the AutoencoderTiny with the latents of the VAE `name`; nothing is downloaded.

    For the published VAE it is `checkpoints/vae_tiny` or the hub client's cache of `TINY_VAE_REPOSITORY`, for a folder
    the one beside it whose name ends in `_tiny`.

    Raises:
        CheckpointError: it is missing.
    """
    is_published = name == VAE_REPOSITORY
    beside = root / ("checkpoints/vae_tiny" if is_published else f"{name.rstrip('/')}_tiny")
    if (beside / "config.json").is_file() and (beside / Path(TINY_VAE_WEIGHTS).name).is_file():
        return beside
    cached = _cached_vae(TINY_VAE_REPOSITORY) if is_published else None
    if cached:
        return cached
    remedy = (
        f"copy the files of {TINY_VAE_REPOSITORY} on the hub into {beside}" if is_published else f"expected {beside}"
    )
    raise CheckpointError(f"the VAE {name} has no tiny one on this machine: {remedy}, or choose --vae full")


@dataclass(frozen=True)
class WeightSet:
    """A U-Net and its configuration, which names the audio encoder and the VAE.

    Attributes:
        name: "published-512", "published-256" or "demo".
        unet_config: YAML of the U-Net.
        unet_checkpoint: weights of the U-Net.
    """

    name: str
    unet_config: Path
    unet_checkpoint: Path


def find_weight_set(root: Path = REPOSITORY_ROOT) -> WeightSet:
    """Return the default weights: the published ones if all files are present, else the demo weights.

    Files that have a fallback may be missing.

    Raises:
        CheckpointError: both are missing, or the release of the published U-Net is unknown.
    """
    checkpoints = root / "checkpoints"
    required = [file for file in files_for(["inference"]) if file.fallback is None]
    missing = [file.path for file in required if not file.is_here(checkpoints)]
    if {VAE_CONFIG, VAE_WEIGHTS} & set(missing) and _cached_vae(VAE_REPOSITORY):
        missing = [path for path in missing if path not in (VAE_CONFIG, VAE_WEIGHTS)]
    if not missing:
        version = recorded_version(checkpoints)
        if version is None:
            raise CheckpointError(unknown_release(checkpoints))
        published = VERSIONS[version]
        return WeightSet(f"published-{published.resolution}", root / published.unet_config, checkpoints / UNET)
    if UNET not in missing:
        logger.warning("the published weights lack %s: run python -m scripts.download_weights", ", ".join(missing))
    demo = WeightSet("demo", root / DEMO_UNET_CONFIG, checkpoints / DEMO_UNET)
    if not demo.unet_checkpoint.is_file():
        raise CheckpointError(
            f"no weights in {checkpoints}: run python -m scripts.download_weights, or restore {DEMO_UNET} from git"
        )
    return demo


def recorded_version(checkpoints: Path = CHECKPOINTS) -> str | None:
    """Return the recorded release of `latentsync_unet.pt`.

    The result is None if there is no record or its fingerprint belongs to another file. A record without a fingerprint,
    written by hand, is valid for any file.

    Raises:
        CheckpointError: the record is damaged.
    """
    record, unet = checkpoints / VERSION_RECORD, checkpoints / UNET
    try:
        note = json.loads(record.read_text(encoding="utf-8"))
        version, fingerprint = note["version"], note.get("fingerprint")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f'{record} is damaged: delete it, or write {{"version": "1.6"}} into it') from None
    if version not in VERSIONS:
        raise CheckpointError(f"{record} names version {version!r}: write one of {', '.join(VERSIONS)} into it")
    is_of_this_file = fingerprint is None or not unet.is_file() or fingerprint == _fingerprint(unet)
    return version if is_of_this_file else None


def record_version(version: str, checkpoints: Path = CHECKPOINTS) -> None:
    """Record the release of `latentsync_unet.pt` in a JSON file beside it, with a fingerprint of the weights file."""
    note = {"version": version, "repository": _published(version).repository}
    if (checkpoints / UNET).is_file():
        note["fingerprint"] = _fingerprint(checkpoints / UNET)
    with atomic_write(checkpoints / VERSION_RECORD) as beside:
        beside.write_text(json.dumps(note) + "\n", encoding="utf-8")


def unknown_release(checkpoints: Path = CHECKPOINTS) -> str:
    """Return an error message for a `latentsync_unet.pt` of unknown release: reason and remedy in one line."""
    unet = checkpoints / UNET
    reason = f"{VERSION_RECORD} beside it was written for another file"
    if not (checkpoints / VERSION_RECORD).is_file():
        reason = f"the releases have equal shapes and there is no {VERSION_RECORD} beside it"
    folder = "" if checkpoints == CHECKPOINTS else f" --checkpoints_dir {checkpoints}"
    choices = " or ".join(f"--version {version} ({VERSIONS[version].resolution} px)" for version in sorted(VERSIONS))
    return (
        f"{unet} is of an unknown release, {reason}: run python -m scripts.download_weights{folder} {choices}, which "
        "only records it, or name --unet_config_path and --inference_ckpt_path"
    )


def _fingerprint(path: Path) -> str:
    """Hash size and last MiB of a file, which identify its content: torch files end with a checksum of every tensor."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _FINGERPRINT_BYTES))
        return hashlib.sha256(f"{size}:".encode() + file.read()).hexdigest()


def has_content(path: Path) -> bool:
    """Return True for a file that is neither empty nor the pointer that git writes for a file in LFS."""
    if not path.is_file() or path.stat().st_size == 0:
        return False
    if not os.access(path, os.R_OK):
        return True  # the reader of the file raises an error that names it
    with path.open("rb") as file:
        return file.read(len(_LFS_POINTER)) != _LFS_POINTER


def _published(version: str) -> PublishedVersion:
    if version not in VERSIONS:
        raise InputError(f"unknown version {version!r} of the published weights: use one of {', '.join(VERSIONS)}")
    return VERSIONS[version]


def _remedy(file: WeightFile) -> str:
    if file.need == "optional":
        return f"download it from {file.repository} on the hub"
    option = " --training" if file.need == "training" else ""
    return f"run python -m scripts.download_weights{option} (it comes from {file.repository} on the hub)"


def _cached_vae(repository: str) -> Path | None:
    """Return the snapshot folder of a VAE in the hub client's cache if it has configuration and weights."""
    names = ("config.json", "diffusion_pytorch_model.safetensors")
    folders = {
        Path(found).parent for name in names if isinstance(found := try_to_load_from_cache(repository, name), str)
    }
    complete = len(folders) == 1 and all((next(iter(folders)) / name).is_file() for name in names)
    return folders.pop() if complete else None
