"""Who judges the sync of a clip, and of which pictures: our own SyncNet, or SyncNet-v2 on the crops of a face track."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from latentsync.errors import InputError
from latentsync.judges.face_tracks import CROP_SIZE, crop_track, link_tracks
from latentsync.judges.stable_sync_scorer import load_stable_sync_scorer
from latentsync.judges.sync_score import SyncScorer
from latentsync.judges.syncnet_v2 import SyncNetV2Scorer, load_syncnet_v2
from latentsync.media.reader import VideoReader
from preprocess.clip import Clip
from preprocess.face_track_file import read_face_track


@dataclass(frozen=True)
class FacePictures:
    """What a judge looks at.

    Attributes:
        crops: (n, h, w, 3) uint8 RGB, one a frame; empty where the clip shows no face for long enough.
        first_frame: the clip's frame that the first crop is of.
    """

    crops: NDArray[np.uint8]
    first_frame: int = 0


@dataclass(frozen=True)
class SyncJudge:
    """A scorer and what it is shown.

    Attributes:
        scorer: gives the verdict.
        pictures: clip -> what the scorer looks at.
    """

    scorer: SyncScorer
    pictures: Callable[[Clip], FacePictures]


def stable_judge(config_path: Path, checkpoint: Path, device: torch.device) -> SyncJudge:
    """Our own SyncNet on the aligned crops that the clip consists of.

    Args:
        config_path: YAML the network was trained by, such as configs/demo/syncnet.yaml.
        checkpoint: its weights.
        device: where it computes, in float32.

    Raises:
        ConfigError: the YAML cannot be used, or describes a SyncNet on latents.
        CheckpointError: the weights are damaged or do not fit.
    """
    return SyncJudge(load_stable_sync_scorer(config_path, checkpoint, device), _aligned_pictures)


def syncnet_v2_judge(checkpoint: Path, device: torch.device) -> SyncJudge:
    """SyncNet-v2 on the crops of the longest face track in the clip's segment.

    Raises:
        CheckpointError: the weights are damaged or of another network.
    """
    return SyncJudge(SyncNetV2Scorer(load_syncnet_v2(checkpoint, device)), _tracked_pictures)


def _aligned_pictures(clip: Clip) -> FacePictures:
    with VideoReader(clip.path) as frames:
        return FacePictures(np.stack(list(frames)))


def _tracked_pictures(clip: Clip) -> FacePictures:
    """Crops of the longest track (the first of equals), from the clip's segment, whose frames are the clip's."""
    if "segment" not in clip.facts or "faces" not in clip.facts:
        raise InputError(f"{clip.path} has no face track: run step 5 before SyncNet-v2, or use scorer=stable_syncnet")
    boxes = read_face_track(str(clip.facts["faces"])).boxes
    track = max(link_tracks(boxes[:, None]), key=len, default=None)
    if track is None:
        return FacePictures(np.empty((0, CROP_SIZE, CROP_SIZE, 3), np.uint8))
    with VideoReader(str(clip.facts["segment"])) as frames:
        return FacePictures(np.stack(list(crop_track(frames, track))), track.first_frame)
