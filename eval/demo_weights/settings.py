"""Settings of an evaluation of the demo weights, and the keys under which its results are stored."""

from dataclasses import dataclass, field
from pathlib import Path

from demo.synthetic.clip_set import Clip
from latentsync.config import load_config
from latentsync.errors import InputError
from latentsync.pipelines.options import LipsyncOptions
from latentsync.recipes.syncnet_run import SyncNetRun
from latentsync.recipes.unet_run import UNetRun
from latentsync.storage.content_cache import cache_key, content_key
from latentsync.weights import REPOSITORY_ROOT

_CLIP_FILES = ("crops.npy", "speech.wav", "frames_track.npy")
_VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm")


@dataclass(frozen=True)
class Evaluation:
    """Settings of one evaluation: weights, held-out clips, and how much of them is measured.

    Attributes:
        clips: held-out clips for the SyncNet, the VAE and the mouth reader; the dubs use the first of them.
        weights: folder of the demo weights.
        unet: the U-Net's weights, normally in that folder.
        out: folder of values, contact sheets and stored results.
        cache: folder of rendered ground truth, which does not depend on weights.
        real: folder of real videos, or None to measure none.
        num_dubs: number of clips dubbed with the next clip's speech.
        num_own: number of clips generated with their own speech.
        num_frames: frames of each dub; 124 are ten windows of 16 that overlap by 4.
        options: denoising steps, guidance, overlap and seed of the dubs.
        unet_config, syncnet_config: root configurations of the two networks.
    """

    clips: list[Clip]
    weights: Path
    unet: Path
    out: Path
    cache: Path
    real: Path | None = None
    num_dubs: int = 50
    num_own: int = 10
    num_frames: int = 124
    options: LipsyncOptions = field(default_factory=LipsyncOptions)
    unet_config: Path = REPOSITORY_ROOT / "configs" / "demo" / "unet.yaml"
    syncnet_config: Path = REPOSITORY_ROOT / "configs" / "demo" / "syncnet.yaml"

    def unet_settings(self) -> str:
        """Return the part of the U-Net's configuration that affects a dub; its training settings do not."""
        run = load_config(self.unet_config, UNetRun)
        return f"{run.model} {run.data.resolution} {run.data.num_frames}"

    def syncnet_settings(self) -> str:
        """Return the part of the SyncNet's configuration that affects a score."""
        run = load_config(self.syncnet_config, SyncNetRun)
        data = run.data
        return f"{run.model} {data.resolution} {data.num_frames} {data.num_mel_columns} {data.lower_half}"

    def generation_settings(self) -> str:
        """Return the settings that affect the pixels of a dub."""
        return f"{self.unet_settings()} {self.num_frames} {self.options}"

    def dub_settings(self) -> str:
        """Return the settings that affect the values of the group `dubs`."""
        return f"{self.num_dubs} {self.num_own} {self.generation_settings()} {self.syncnet_settings()}"

    def weight_files(self) -> list[Path]:
        """Return every weight file, with `unet` in place of the folder's U-Net."""
        others = [path for path in sorted(self.weights.rglob("*")) if path.is_file()]
        return [self.unet, *(path for path in others if path.name != "latentsync_unet.pt")]

    def vae_files(self) -> list[Path]:
        """Return the files of the VAE; none if its folder is missing."""
        return sorted((self.weights / "vae").glob("*"))

    def reconstruction_files(self) -> list[Path]:
        """Return the files besides the clips that affect the values of the group `vae`."""
        return self.vae_files() + ([] if self.real is None else find_videos(self.real))

    def syncnet_files(self) -> list[Path]:
        """Return the files besides the clips that affect the values of the group `syncnet`."""
        return [self.weights / "stable_syncnet.pt"]

    def mouth_reader_files(self) -> list[Path]:
        """Return the files besides the clips that affect the values of the group `mouth_reader`."""
        return [self.weights / "mouth_reader.pt"]

    def generation_files(self) -> list[Path]:
        """Return the files besides the clips that affect the pixels of a dub."""
        return [self.unet, self.weights / "whisper.pt", *self.vae_files()]

    def dub_files(self) -> list[Path]:
        """Return the files besides the clips that affect the values of the group `dubs`."""
        return [*self.generation_files(), *self.syncnet_files(), *self.mouth_reader_files()]


def find_videos(folder: Path) -> list[Path]:
    """Return the videos of a folder sorted by name; raise InputError if there are none."""
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in _VIDEO_SUFFIXES)
    if not found:
        raise InputError(f"{folder}: holds no videos; name a folder of real talking people, or leave --real out")
    return found


def files_key(files: list[Path]) -> str:
    """Return one key of the contents of files, regardless of their names; raise InputError if one is missing."""
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise InputError(f"{missing[0]} is missing: name the folder that holds it, or train it first")
    return cache_key(*(content_key(path) for path in files))


def clip_key(clip: Clip) -> str:
    """Return one key of the measured files of a clip."""
    return files_key([clip.folder / name for name in _CLIP_FILES])
