"""Weight files: which there are, where they are published, where they belong, and whether they are here."""

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
    """One release of the published U-Net; the releases have the same tensor shapes, so a file does not tell which."""

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

UNET = "latentsync_unet.pt"
WHISPER_TINY = "whisper/tiny.pt"
VAE_CONFIG = "vae/config.json"
VAE_WEIGHTS = "vae/diffusion_pytorch_model.safetensors"
FACE_ALIGNMENT = ("auxiliary/s3fd-619a316812.pth", "auxiliary/2DFAN4-cd938726ad.zip")
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
        path: where it belongs, relative to the checkpoints folder.
        repository: its repository on the hub.
        need: what requires it; "optional" files are never downloaded unasked.
        older_path: another name under which earlier releases left it, here and in the repository.
        hub_name: its name in the repository where that is not `path`; always the end of `path`.
        fallback: what is used while it is missing; None where nothing can replace it.
    """

    path: str
    repository: str
    need: Need
    older_path: str | None = None
    hub_name: str | None = None
    fallback: str | None = None

    def find(self, checkpoints: Path = CHECKPOINTS) -> Path | None:
        """The file, under either of its names, or None when it is not here.

        An empty file does not count, nor does the pointer that git leaves in place of a file without its LFS extension.
        """
        names = [name for name in (self.path, self.older_path) if name]
        return next((checkpoints / name for name in names if _has_content(checkpoints / name)), None)

    def is_here(self, checkpoints: Path = CHECKPOINTS) -> bool:
        """Whether the file is in the checkpoints folder."""
        return self.find(checkpoints) is not None


def published_files(version: str = DEFAULT_VERSION) -> tuple[WeightFile, ...]:
    """Every published file of a release ("1.6" or "1.5").

    Raises:
        InputError: there is no such release.
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
        WeightFile("stable_syncnet.pt", repository, "training", older_path="latentsync_syncnet.pt"),
        *(WeightFile(f"auxiliary/{name}", AUXILIARY_REPOSITORY, "training") for name in auxiliary),
    )


def files_for(needs: Sequence[Need], version: str = DEFAULT_VERSION) -> list[WeightFile]:
    """The published files that the named purposes want."""
    return [file for file in published_files(version) if file.need in needs]


def locate(path: str | Path, root: Path = REPOSITORY_ROOT) -> Path:
    """A weights file that a configuration names, relative to the repository (absolute paths stay as they are).

    A published file is also found under its older name.

    Raises:
        CheckpointError: it is not here; the message says how to get it.
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
    raise CheckpointError(f"{wanted} is missing: name an existing weights file")


def locate_initial(path: str | Path, root: Path = REPOSITORY_ROOT) -> Path:
    """Weights that a training starts from: relative to the working folder, where runs lie, or else as in `locate`.

    Raises:
        CheckpointError: they are in neither place.
    """
    return Path(path) if Path(path).is_file() else locate(path, root)


def find_initial_vae(name: str, root: Path = REPOSITORY_ROOT) -> Path:
    """An autoencoder that a training starts from: in the working folder, where runs lie, or else as in `find_vae`.

    Raises:
        CheckpointError: it is in neither place.
    """
    return Path(name) if (Path(name) / "config.json").is_file() else find_vae(name, root)


def find_vae(name: str, root: Path = REPOSITORY_ROOT) -> Path:
    """The folder of the diffusers autoencoder that a configuration names: a folder, or a repository on the hub.

    The published one is taken from `checkpoints/vae`, or else from the hub's own cache on this machine; nothing is
    downloaded here.

    Raises:
        CheckpointError: it is not here.
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


@dataclass(frozen=True)
class WeightSet:
    """Weights that belong together; the configuration names the audio encoder and the VAE.

    Attributes:
        name: "published-512", "published-256" or "demo".
        unet_config: YAML of the U-Net.
        unet_checkpoint: weights of the U-Net.
    """

    name: str
    unet_config: Path
    unet_checkpoint: Path


def find_weight_set(root: Path = REPOSITORY_ROOT) -> WeightSet:
    """The weights to use when the user names none: the published ones if they are all here, else the demo ones.

    Files that have a fallback may be missing.

    Raises:
        CheckpointError: neither are here, or the published U-Net is of an unknown release.
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
    """The release that `latentsync_unet.pt` was noted to be of, or None.

    None where there is no note, or where its fingerprint is of another file. A note without a fingerprint, as a person
    would write it, is taken for any file.

    Raises:
        CheckpointError: the note is damaged.
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
    """Notes of which release `latentsync_unet.pt` is, in a small file beside it that holds for this file alone."""
    note = {"version": version, "repository": _published(version).repository}
    if (checkpoints / UNET).is_file():
        note["fingerprint"] = _fingerprint(checkpoints / UNET)
    with atomic_write(checkpoints / VERSION_RECORD) as beside:
        beside.write_text(json.dumps(note) + "\n", encoding="utf-8")


def unknown_release(checkpoints: Path = CHECKPOINTS) -> str:
    """One line on a `latentsync_unet.pt` whose release is unknown: why, and what to do."""
    unet = checkpoints / UNET
    reason = f"{VERSION_RECORD} beside it was written for another file"
    if not (checkpoints / VERSION_RECORD).is_file():
        reason = f"the releases have equal shapes and there is no {VERSION_RECORD} beside it"
    folder = "" if checkpoints == CHECKPOINTS else f" --checkpoints_dir {checkpoints}"
    choices = " or ".join(f"--version {version} ({VERSIONS[version].resolution} px)" for version in sorted(VERSIONS))
    return (
        f"{unet} is of an unknown release, {reason}: run python -m scripts.download_weights{folder} {choices}, which "
        "only notes it, or name --unet_config_path and --inference_ckpt_path"
    )


def _fingerprint(path: Path) -> str:
    """Name of a file's content by its size and last MiB: torch's files end with a checksum of every tensor."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _FINGERPRINT_BYTES))
        return hashlib.sha256(f"{size}:".encode() + file.read()).hexdigest()


def _has_content(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size == 0:
        return False
    if not os.access(path, os.R_OK):
        return True  # whoever reads it names it
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
    """The snapshot folder of a VAE in the hub's cache, if its configuration and weights are both there."""
    names = ("config.json", "diffusion_pytorch_model.safetensors")
    folders = {
        Path(found).parent for name in names if isinstance(found := try_to_load_from_cache(repository, name), str)
    }
    complete = len(folders) == 1 and all((next(iter(folders)) / name).is_file() for name in names)
    return folders.pop() if complete else None
