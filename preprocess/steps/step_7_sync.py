"""Step 7: reject clips whose audio and video are out of sync, and remove a small offset. A SyncNet measures both."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from latentsync.errors import InputError
from latentsync.judges.face_tracks import CROP_SIZE, crop_track, link_tracks
from latentsync.judges.sync_score import MAX_SHIFT, SyncScore, SyncScorer
from latentsync.media.audio_samples import AudioSamples
from latentsync.media.probe import probe_video
from latentsync.media.reader import VideoReader
from latentsync.weights import locate
from preprocess.step import Clip, Done, JsonValue, Output, ProcessClip, Rejected, StepResult
from preprocess.steps.clip_files import FPS, SAMPLES_PER_FRAME, ClipCutter
from preprocess.steps.single_face import read_single_face

SCORERS = ("syncnet_v2", "stable_syncnet")


@dataclass(frozen=True)
class SyncConfig:
    """Settings of step 7.

    Attributes:
        scorer: syncnet_v2 (the published scorer, on face tracks) or stable_syncnet (StableSyncNet, on aligned crops).
        min_confidence: minimum sync confidence of syncnet_v2.
        min_stable_confidence: minimum sync confidence of stable_syncnet, 0 to 1. The demo weights gave 0.77 and more to
            held-out synthetic clips of 5 s, and 0.20 and less to other speech (benchmarks/sync_confidence.py).
        max_offset: maximum offset in frames; offsets up to it are removed.
        min_frames: minimum number of frames with face and audio, before and after the offset is removed.
        crf: x264's constant rate factor of the clips whose offset is removed, 0 (lossless) to 51. The files of other
            clips are unchanged.
        syncnet_v2_checkpoint: weights of syncnet_v2, relative to the repository.
        stable_config: YAML that stable_syncnet was trained with, on pixels.
        stable_checkpoint: weights of stable_syncnet.
    """

    scorer: str = "syncnet_v2"
    min_confidence: float = 3.0
    min_stable_confidence: float = 0.4
    max_offset: int = 6
    min_frames: int = 50
    crf: int = 10
    syncnet_v2_checkpoint: str = "checkpoints/auxiliary/syncnet_v2.model"
    stable_config: str = "configs/demo/syncnet.yaml"
    stable_checkpoint: str = "checkpoints/demo/stable_syncnet.pt"

    def __post_init__(self) -> None:
        if self.scorer not in SCORERS:
            raise ValueError(f"sync.scorer: use {' or '.join(SCORERS)}, not {self.scorer!r}")
        if not 0 <= self.max_offset < MAX_SHIFT:
            raise ValueError(f"sync.max_offset is {self.max_offset}: use 0 to {MAX_SHIFT - 1}, more is not measured")
        if self.min_frames <= 2 * MAX_SHIFT + self.max_offset:
            raise ValueError(f"sync.min_frames is {self.min_frames}: all {2 * MAX_SHIFT + 1} shifts need more")
        if not 0 <= self.crf <= 51:
            raise ValueError(f"sync.crf is {self.crf}: use 0 (lossless) to 51")


@dataclass(frozen=True)
class SyncStep:
    """Rejects clips out of sync and removes the offset of the others; at offset 0 a clip's file is unchanged.

    Facts: `offset` (as measured, see `sync_score`), `confidence`, `distance` and `scorer`; `num_frames` if frames were
    removed.
    """

    config: SyncConfig = field(default_factory=SyncConfig)

    number: ClassVar[int] = 7
    name: ClassVar[str] = "sync"
    folder: ClassVar[str | None] = "av_synced"
    version: ClassVar[int] = 2
    reasons: ClassVar[Mapping[str, str]] = {
        "out_of_sync": "the sync confidence is too low, or a second measurement after the shift finds an offset again",
        "offset_too_large": "audio and video are more than max_offset frames apart",
        "too_short": "the face, the audio, or the clip without its offset lasts less than min_frames",
    }
    uses_device: ClassVar[bool] = True

    def weights(self) -> list[Path]:
        """Return the scorer's weights (and its YAML, for stable_syncnet); raise CheckpointError if one is missing."""
        if self.config.scorer == "syncnet_v2":
            return [locate(self.config.syncnet_v2_checkpoint)]
        return [locate(self.config.stable_checkpoint), locate(self.config.stable_config)]

    def load(self, device: torch.device) -> ProcessClip:
        """Load the scorer and return the function of one clip.

        Raises:
            CheckpointError, ConfigError: the scorer cannot be loaded.
        """
        # imported here: every worker of every step imports this module, and the networks take 3 s
        from latentsync.judges.stable_sync_scorer import load_stable_sync_scorer
        from latentsync.judges.syncnet_v2 import SyncNetV2Scorer, load_syncnet_v2

        files = self.weights()
        is_published = self.config.scorer == "syncnet_v2"
        scorer: SyncScorer = (
            SyncNetV2Scorer(load_syncnet_v2(files[0], device))
            if is_published
            else load_stable_sync_scorer(files[1], files[0], device)
        )
        read_crops = read_tracked_crops if is_published else read_aligned_crops

        def process(clip: Clip, work: Path) -> StepResult:
            with AudioSamples.decode(clip.path, work) as audio:
                return self._process(clip, work, scorer, read_crops(clip), audio)

        return process

    def _process(
        self, clip: Clip, work: Path, scorer: SyncScorer, face: "FaceCrops", audio: AudioSamples
    ) -> StepResult:
        config = self.config
        crops, first = face.crops, face.first_frame
        stop = min((first + len(crops)) * SAMPLES_PER_FRAME, audio.num_samples)
        samples = audio.read(first * SAMPLES_PER_FRAME, stop)
        num_frames = synced_part(0, len(crops), len(samples)).num_frames
        if num_frames < config.min_frames:
            return Rejected("too_short", f"{num_frames} frames with face and audio, {config.min_frames} needed")
        score = scorer.score(crops, samples)
        facts = self._facts(score)
        rejection = self._check(score, facts)
        if rejection is not None:
            return rejection
        if score.offset == 0:
            return Done((Output(facts=facts),))
        part = synced_part(score.offset, probe_video(clip.path).num_frames_at(FPS), audio.num_samples)
        if part.num_frames < config.min_frames:
            detail = f"{part.num_frames} frames are left in sync, {config.min_frames} needed"
            return Rejected("too_short", detail, facts)
        remaining = remaining_offset(scorer, crops, samples, score.offset)
        if remaining != 0:
            detail = f"shifted by {-score.offset} frames, the offset is {remaining}"
            return Rejected("out_of_sync", detail, facts)
        synced = work / "clip.mp4"
        ClipCutter(clip.path, config.crf).cut(part.first_frame, part.num_frames, synced, part.first_audio_frame)
        return Done((Output(synced, facts=facts | {"num_frames": part.num_frames}),))

    def _facts(self, score: SyncScore) -> dict[str, JsonValue]:
        return {
            "offset": score.offset,
            "confidence": score.confidence,
            "distance": score.distance,
            "scorer": self.config.scorer,
        }

    def _check(self, score: SyncScore, facts: Mapping[str, JsonValue]) -> Rejected | None:
        """Return the rejection that follows from the score alone, or None."""
        config = self.config
        lowest = config.min_confidence if config.scorer == "syncnet_v2" else config.min_stable_confidence
        if score.confidence < lowest:
            return Rejected("out_of_sync", f"confidence {score.confidence:.2f}, at least {lowest:g} needed", facts)
        if abs(score.offset) > config.max_offset:
            return Rejected("offset_too_large", f"{score.offset} frames, at most {config.max_offset}", facts)
        return None


@dataclass(frozen=True)
class FaceCrops:
    """Input of a sync scorer.

    Attributes:
        crops: (n, h, w, 3) uint8 RGB, one per frame; empty if no face is visible for long enough.
        first_frame: frame of the clip to which the first crop belongs.
    """

    crops: NDArray[np.uint8]
    first_frame: int = 0


def read_aligned_crops(clip: Clip) -> FaceCrops:
    """Read the aligned crops of a clip as step 6 writes it, the input of StableSyncNet."""
    with VideoReader(clip.path) as frames:
        return FaceCrops(np.stack(list(frames)))


def read_tracked_crops(clip: Clip) -> FaceCrops:
    """Crop the longest face track (the first of equals) from the clip's segment, the input of SyncNet-v2.

    The segment has the same frames as the clip.

    Raises:
        InputError: step 5 has not stored the face of the clip.
    """
    if "segment" not in clip.facts or "faces" not in clip.facts:
        raise InputError(f"{clip.path} has no face track: run step 5 before SyncNet-v2, or use scorer=stable_syncnet")
    boxes = read_single_face(str(clip.facts["faces"])).boxes
    track = max(link_tracks(boxes[:, None]), key=len, default=None)
    if track is None:
        return FaceCrops(np.empty((0, CROP_SIZE, CROP_SIZE, 3), np.uint8))
    with VideoReader(str(clip.facts["segment"])) as frames:
        return FaceCrops(np.stack(list(crop_track(frames, track))), track.first_frame)


@dataclass(frozen=True)
class SyncedPart:
    """Part of a clip that has both video and audio after one is shifted against the other.

    Attributes:
        first_frame: first video frame.
        first_audio_frame: the frame (of 640 samples) whose audio belongs to it.
        num_frames: length in frames; 0 or less if nothing is left.
    """

    first_frame: int
    first_audio_frame: int
    num_frames: int


def synced_part(offset: int, num_frames: int, num_samples: int) -> SyncedPart:
    """Return the part with both video and audio, if video frame i belongs to the audio of frame ``i - offset``."""
    first = max(0, offset)
    stop = min(num_frames, num_samples // SAMPLES_PER_FRAME + offset)
    return SyncedPart(first, first - offset, stop - first)


def remaining_offset(scorer: SyncScorer, crops: np.ndarray, samples: np.ndarray, offset: int) -> int:
    """Measure the offset again after removing the measured one."""
    part = synced_part(offset, len(crops), len(samples))
    first_sample = part.first_audio_frame * SAMPLES_PER_FRAME
    synced_samples = samples[first_sample : first_sample + part.num_frames * SAMPLES_PER_FRAME]
    return scorer.score(crops[part.first_frame : part.first_frame + part.num_frames], synced_samples).offset
