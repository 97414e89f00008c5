"""What an evaluation of the demo weights looks at, and the names under which its results are kept."""

from dataclasses import dataclass, field
from pathlib import Path

from demo.synthetic.clip_set import Clip
from eval.demo_weights.real_crops import find_videos
from latentsync.config import load_config
from latentsync.errors import InputError
from latentsync.pipelines.options import LipsyncOptions
from latentsync.recipes.syncnet_run import SyncNetRun
from latentsync.recipes.unet_run import UNetRun
from latentsync.storage.content_cache import cache_key, content_key
from latentsync.weights import REPOSITORY_ROOT

_CLIP_FILES = ("crops.npy", "speech.wav", "frames_track.npy")


@dataclass(frozen=True)
class Evaluation:
    """One evaluation: weights, held-out clips, and how much of them is measured.

    Attributes:
        clips: held-out clips for the SyncNet, the VAE and the mouth reader; the dubs take the first of them.
        weights: folder of the demo weights.
        unet: the U-Net's weights, normally in that folder.
        out: folder for figures, contact sheets and results to go on from.
        cache: folder of rendered ground truth, which does not depend on weights.
        real: folder of real videos; None measures none.
        num_dubs: clips dubbed with the next clip's speech.
        num_own: clips painted anew to their own speech.
        num_frames: frames of each dub; 124 are ten windows of 16 that share 4.
        options: steps, guidance, overlap and seed of the dubs.
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

    def unet_text(self) -> str:
        """What of the U-Net's configuration decides a dub; its training does not."""
        run = load_config(self.unet_config, UNetRun)
        return f"{run.model} {run.data.resolution} {run.data.num_frames}"

    def syncnet_text(self) -> str:
        """What of the SyncNet's configuration decides a score."""
        run = load_config(self.syncnet_config, SyncNetRun)
        data = run.data
        return f"{run.model} {data.resolution} {data.num_frames} {data.num_mel_columns} {data.lower_half}"

    def painting_text(self) -> str:
        """What a dub's pixels depend on besides files."""
        return f"{self.unet_text()} {self.num_frames} {self.options}"

    def dub_text(self) -> str:
        """What the figures of all dubs depend on besides files."""
        return f"{self.num_dubs} {self.num_own} {self.painting_text()} {self.syncnet_text()}"

    def weight_files(self) -> list[Path]:
        """Every file of weights, the given U-Net instead of the folder's."""
        others = [path for path in sorted(self.weights.rglob("*")) if path.is_file()]
        return [self.unet, *(path for path in others if path.name != "latentsync_unet.pt")]

    def vae_files(self) -> list[Path]:
        """The files of the VAE; none where there is no such folder."""
        return sorted((self.weights / "vae").glob("*"))

    def reconstruction_files(self) -> list[Path]:
        """What the VAE's figures depend on besides the clips."""
        return self.vae_files() + ([] if self.real is None else find_videos(self.real))

    def syncnet_files(self) -> list[Path]:
        """What the SyncNet's figures depend on besides the clips and `syncnet_text`."""
        return [self.weights / "stable_syncnet.pt"]

    def reader_files(self) -> list[Path]:
        """What the mouth reader's figures depend on besides the clips."""
        return [self.weights / "mouth_reader.pt"]

    def painting_files(self) -> list[Path]:
        """What a dub's pixels depend on besides the clips and `painting_text`."""
        return [self.unet, self.weights / "whisper.pt", *self.vae_files()]

    def dub_files(self) -> list[Path]:
        """What the figures of all dubs depend on besides the clips and `dub_text`."""
        return [*self.painting_files(), *self.syncnet_files(), *self.reader_files()]


def files_key(files: list[Path]) -> str:
    """One key for the contents of files, whatever they are called. Raises InputError where one is missing."""
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise InputError(f"{missing[0]} is missing: name the folder that holds it, or train it first")
    return cache_key(*(content_key(path) for path in files))


def clip_key(clip: Clip) -> str:
    """One key for what is measured of a clip."""
    return files_key([clip.folder / name for name in _CLIP_FILES])
