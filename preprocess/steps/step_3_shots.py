"""Step 3: split a video into shots, exact to the frame, with PySceneDetect's adaptive detector.

The detector compares each frame's change of hue, saturation and brightness with the change of its neighbours, so that
camera motion is not a cut. Its own minimum shot length is disabled, because it would suppress the second of two close
cuts; shots of less than `min_frames` are dropped instead. A cut within two frames of a stronger one is still missed,
because the stronger one is among its neighbours.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from latentsync.errors import ConfigError
from latentsync.media.probe import probe_video
from latentsync.media.reader import VideoReader
from preprocess.step import Clip, CpuStep, Done, Output, Rejected, StepResult
from preprocess.steps.clip_files import FPS, Part, cut_parts

_DETECTION_SIDE = 256
"""Longer side in pixels of the frames given to the detector; `scenedetect` shrinks large videos likewise."""
_WINDOW = 2
"""Frames on either side that the detector compares with. Its answer is delayed by as many frames."""


@dataclass(frozen=True)
class ShotsConfig:
    """Settings of step 3.

    Attributes:
        adaptive_threshold: minimum ratio of a frame's change to the mean change of its neighbours for a cut; 2 as
            published (`scenedetect detect-adaptive --threshold 2`; PySceneDetect's default is 3).
        min_content_value: minimum change of a cut (0-255, mean of hue, saturation and brightness).
        min_frames: shorter shots are dropped.
        crf: x264's constant rate factor of the shots, 0 (lossless) to 51.
    """

    adaptive_threshold: float = 2.0
    min_content_value: float = 15.0
    min_frames: int = 25
    crf: int = 10

    def __post_init__(self) -> None:
        if self.min_frames < 1 or self.adaptive_threshold <= 0 or not 0 <= self.crf <= 51:
            raise ConfigError("shots: use min_frames of 1 or more, adaptive_threshold above 0, crf 0 to 51")


@dataclass(frozen=True)
class ShotsStep(CpuStep):
    """Cuts a video at its shot boundaries. All shots, including dropped ones, add up to the video without overlap.

    Facts: first_frame (int, in the resampled video), num_frames (int).
    """

    config: ShotsConfig = field(default_factory=ShotsConfig)

    number: ClassVar[int] = 3
    name: ClassVar[str] = "shots"
    folder: ClassVar[str | None] = "shot"
    version: ClassVar[int] = 2
    reasons: ClassVar[Mapping[str, str]] = {"only_short_shots": "every shot has less than min_frames frames"}

    def process(self, clip: Clip, work: Path) -> StepResult:
        """Return the shots of one video, written into `work`. A video of one shot is passed on unchanged."""
        starts, num_frames = self._find_starts(clip.path)
        lengths = [stop - start for start, stop in pairwise([*starts, num_frames])]
        shots = [Part(index, *span) for index, span in enumerate(zip(starts, lengths, strict=True))]
        kept = [shot for shot in shots if shot.num_frames >= self.config.min_frames]
        if not kept:
            longest = max(shot.num_frames for shot in shots)
            return Rejected("only_short_shots", f"{len(shots)} shots, the longest has {longest} frames")
        if len(shots) == 1:
            return Done((Output(facts={"first_frame": 0, "num_frames": num_frames}),))
        return cut_parts(clip.path, kept, "shot", self.config.crf, work)

    def _find_starts(self, path: Path) -> tuple[list[int], int]:
        """Return the first frame of every shot, and the number of frames of the video."""
        info = probe_video(path)
        scale = min(1.0, _DETECTION_SIDE / max(info.width, info.height))
        size = max(1, round(info.width * scale)), max(1, round(info.height * scale))
        with VideoReader(path, fps=Fraction(FPS), size=size, info=info) as frames:
            starts = find_shot_starts(frames, self.config.adaptive_threshold, self.config.min_content_value)
            return starts, frames.num_read


def find_shot_starts(
    frames: Iterable[np.ndarray], adaptive_threshold: float = 2.0, min_content_value: float = 15.0
) -> list[int]:
    """Return the index of the first frame of every shot, starting with 0.

    The video is mirrored at its ends, so that the detector has neighbours to compare with. Repeating the end frames
    would halve the neighbours' mean, and any motion would exceed the published threshold of 2. With mirroring, a cut
    one frame from an end is found up to a threshold of 4.

    Args:
        frames: uint8 RGB frames (h, w, 3) of the whole video.
        adaptive_threshold, min_content_value: as in `ShotsConfig`.
    """
    from scenedetect import AdaptiveDetector, FrameTimecode  # slow to import, and only this step needs it

    detector = AdaptiveDetector(
        adaptive_threshold, min_scene_len=1, window_width=_WINDOW, min_content_val=min_content_value
    )
    starts = {0}
    for position, frame in enumerate(_mirror_ends(frames), start=-_WINDOW):
        bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        time = FrameTimecode(position + _WINDOW, float(FPS))
        starts.update(cut.frame_num - _WINDOW for cut in detector.process_frame(time, bgr))
    return sorted(starts)


def _mirror_ends(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the frames with `_WINDOW` mirrored frames at each end. An end frame is repeated only in a shorter video."""
    following = iter(frames)
    first = list(islice(following, _WINDOW + 1))
    if not first:
        return
    yield from (first[min(distance, len(first) - 1)] for distance in range(_WINDOW, 0, -1))
    last: deque[np.ndarray] = deque(maxlen=_WINDOW + 1)
    for frame in chain(first, following):
        last.append(frame)
        yield frame
    yield from (last[-1 - min(distance, len(last) - 1)] for distance in range(1, _WINDOW + 1))
