"""Step 7: picture and sound belong together, and the frames between them go. A SyncNet measures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from latentsync.judges.sync_score import MAX_SHIFT, SyncScore, SyncScorer
from latentsync.media.audio_samples import AudioSamples
from latentsync.media.probe import probe_video
from latentsync.weights import locate
from preprocess.clip import Clip, JsonValue
from preprocess.encoding import FPS, SAMPLES_PER_FRAME
from preprocess.step import Process
from preprocess.sync_judge import SyncJudge, stable_judge, syncnet_v2_judge
from preprocess.sync_shift import kept_part, write_part
from preprocess.verdict import Done, Output, Rejected, Verdict

SCORERS = ("syncnet_v2", "stable_syncnet")


@dataclass(frozen=True)
class SyncConfig:
    """Settings of step 7.

    Attributes:
        scorer: who measures: syncnet_v2 (the published judge, on face tracks) or stable_syncnet (our own).
        min_confidence: clips below this are out of sync, as syncnet_v2 counts.
        min_stable_confidence: the same for stable_syncnet, whose similarities lie in [0, 1]. The demo weights gave 0.77
            and more to held-out synthetic clips of 5 s, 0.20 and less to other speech (benchmarks/sync_confidence.py).
        max_offset: frames by which picture and sound may be apart; so many are mended.
        min_frames: clips whose face, or whose mended rest, is shorter than this are rejected.
        crf: quality of the clips that are mended (the others stay as they are); 0 is lossless, 51 the worst.
        syncnet_v2_checkpoint: weights of syncnet_v2, relative to the repository.
        stable_config: YAML of the network that stable_syncnet is, on pixels.
        stable_checkpoint: its weights.
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
    """Rejects clips out of sync, and takes the offset out of the others; at offset 0 a clip goes on as it is.

    Adds the facts `offset` (as measured, see `sync_score`), `confidence`, `distance` and `scorer`; `num_frames` where
    frames had to go.
    """

    config: SyncConfig = field(default_factory=SyncConfig)

    number: ClassVar[int] = 7
    name: ClassVar[str] = "sync"
    folder: ClassVar[str | None] = "av_synced"
    version: ClassVar[int] = 2
    reasons: ClassVar[Mapping[str, str]] = {
        "out_of_sync": "at no shift do picture and sound go together well enough, or not at the same one again",
        "offset_too_large": "picture and sound are further apart than max_offset frames",
        "too_short": "the face, the sound, or what is left once the offset is out, lasts less than min_frames",
    }
    uses_device: ClassVar[bool] = True

    def weights(self) -> list[Path]:
        """The judge's weights (with its YAML, for stable_syncnet); raises CheckpointError where one is missing."""
        if self.config.scorer == "syncnet_v2":
            return [locate(self.config.syncnet_v2_checkpoint)]
        return [locate(self.config.stable_checkpoint), locate(self.config.stable_config)]

    def load(self, device: torch.device) -> Process:
        """The function of one clip; raises CheckpointError or ConfigError where the judge cannot be loaded."""
        judge = self._judge(device)

        def process(clip: Clip, work: Path) -> Verdict:
            with AudioSamples.decode(clip.path, work) as sound:
                return self._process(clip, work, judge, sound)

        return process

    def _judge(self, device: torch.device) -> SyncJudge:
        files = self.weights()
        if self.config.scorer == "syncnet_v2":
            return syncnet_v2_judge(files[0], device)
        return stable_judge(files[1], files[0], device)

    def _process(self, clip: Clip, work: Path, judge: SyncJudge, sound: AudioSamples) -> Verdict:
        config = self.config
        pictures = judge.pictures(clip)
        crops, first = pictures.crops, pictures.first_frame
        stop = min((first + len(crops)) * SAMPLES_PER_FRAME, sound.num_samples)
        samples = sound.read(first * SAMPLES_PER_FRAME, stop)
        num_frames = kept_part(0, len(crops), len(samples)).num_frames
        if num_frames < config.min_frames:
            return Rejected("too_short", f"{num_frames} frames with face and sound, wanted {config.min_frames}")
        score = judge.scorer.score(crops, samples)
        facts = self._facts(score)
        refusal = self._refusal(score)
        if refusal is not None:
            return Rejected(*refusal, facts)
        if score.offset == 0:
            return Done((Output(facts=facts),))
        part = kept_part(score.offset, probe_video(clip.path).num_frames_at(FPS), sound.num_samples)
        if part.num_frames < config.min_frames:
            what = f"{part.num_frames} frames are left in sync, wanted {config.min_frames}"
            return Rejected("too_short", what, facts)
        rest = offset_left(judge.scorer, crops, samples, score.offset)
        if rest != 0:
            return Rejected("out_of_sync", f"moved by {-score.offset} frames it is still {rest} off", facts)
        mended = work / "clip.mp4"
        write_part(clip.path, mended, part, config.crf)
        return Done((Output(mended, facts=facts | {"num_frames": part.num_frames}),))

    def _facts(self, score: SyncScore) -> dict[str, JsonValue]:
        return {
            "offset": score.offset,
            "confidence": score.confidence,
            "distance": score.distance,
            "scorer": self.config.scorer,
        }

    def _refusal(self, score: SyncScore) -> tuple[str, str] | None:
        """Reason and detail where the measurement alone rules the clip out."""
        config = self.config
        least = config.min_confidence if config.scorer == "syncnet_v2" else config.min_stable_confidence
        if score.confidence < least:
            return "out_of_sync", f"confidence {score.confidence:.2f}, wanted {least:g}"
        if abs(score.offset) > config.max_offset:
            return "offset_too_large", f"{score.offset} frames, at most {config.max_offset}"
        return None


def offset_left(scorer: SyncScorer, crops: np.ndarray, samples: np.ndarray, offset: int) -> int:
    """The offset that is measured once this one is taken out of a clip."""
    part = kept_part(offset, len(crops), len(samples))
    first_sample = part.first_sound_frame * SAMPLES_PER_FRAME
    kept_samples = samples[first_sample : first_sample + part.num_frames * SAMPLES_PER_FRAME]
    return scorer.score(crops[part.first_frame : part.first_frame + part.num_frames], kept_samples).offset
