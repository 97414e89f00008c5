"""Step 3: one file per shot, exact to the frame, by PySceneDetect's adaptive detector.

The detector compares each frame's change of hue, saturation and brightness with that of its neighbours, so that a
moving camera is no cut. It is asked about every frame, without its least shot length: that would hide the second of two
cuts that are close (a cut within two frames of a stronger one is missed all the same, since they are its neighbours).
Shots of less than `min_frames` are dropped instead.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import torch
from scenedetect import AdaptiveDetector, FrameTimecode

from latentsync.errors import ConfigError
from latentsync.media.probe import probe_video
from latentsync.media.reader import VideoReader
from preprocess.clip import Clip
from preprocess.cut import ClipCutter
from preprocess.encoding import FPS
from preprocess.step import Process
from preprocess.verdict import Done, Output, Rejected, Verdict

_LONGEST_SIDE = 256
"""Pixels in which cuts are looked for, as `scenedetect` itself shrinks large videos."""
_WINDOW = 2
"""Frames on either side that the detector compares with; it answers as much later."""


@dataclass(frozen=True)
class ShotsConfig:
    """What is a cut, and what is a shot.

    Attributes:
        adaptive_threshold: how many times more than its neighbours a frame must change to be a cut; 2 as published
            (`scenedetect detect-adaptive --threshold 2`; PySceneDetect's own default is 3).
        min_content_value: the least change (0-255, mean of hue, saturation and brightness) that can be a cut.
        min_frames: shorter shots are dropped.
        crf: of the cut pieces, 0 (lossless) to 51.
    """

    adaptive_threshold: float = 2.0
    min_content_value: float = 15.0
    min_frames: int = 25
    crf: int = 10

    def __post_init__(self) -> None:
        if self.min_frames < 1 or self.adaptive_threshold <= 0 or not 0 <= self.crf <= 51:
            raise ConfigError("shots: min_frames is at least 1, adaptive_threshold positive, crf 0 to 51")


@dataclass(frozen=True)
class ShotsStep:
    """Cuts a clip where the shot changes; the shots, dropped ones included, are the clip without overlap or loss.

    Facts: first_frame (int, in the resampled video), num_frames (int).
    """

    config: ShotsConfig = field(default_factory=ShotsConfig)

    number: ClassVar[int] = 3
    name: ClassVar[str] = "shots"
    folder: ClassVar[str | None] = "shot"
    version: ClassVar[int] = 2
    reasons: ClassVar[Mapping[str, str]] = {"only_short_shots": "every shot has less than min_frames frames"}
    uses_device: ClassVar[bool] = False

    def weights(self) -> list[Path]:
        """None."""
        return []

    def load(self, device: torch.device) -> Process:
        """Nothing to load."""
        return self._process

    def _process(self, clip: Clip, work: Path) -> Verdict:
        starts, num_frames = self._find(clip.path)
        shots = [(first, stop - first) for first, stop in zip(starts, [*starts[1:], num_frames], strict=True)]
        kept = [(number, *shot) for number, shot in enumerate(shots) if shot[1] >= self.config.min_frames]
        if not kept:
            longest = max(length for _, length in shots)
            return Rejected("only_short_shots", f"{len(shots)} shots, the longest has {longest} frames")
        if len(shots) == 1:
            return Done((Output(facts={"first_frame": 0, "num_frames": num_frames}),))
        cutter = ClipCutter(clip.path, self.config.crf)
        outputs = []
        for number, first, length in kept:
            suffix = f"_shot{number:03d}"
            cutter.cut(first, length, work / f"{suffix}.mp4")
            facts = {"first_frame": first, "num_frames": length}
            outputs.append(Output(work / f"{suffix}.mp4", suffix, facts))
        return Done(tuple(outputs))

    def _find(self, path: Path) -> tuple[list[int], int]:
        """The first frame of every shot, and how many frames there are."""
        info = probe_video(path)
        scale = min(1.0, _LONGEST_SIDE / max(info.width, info.height))
        size = max(1, round(info.width * scale)), max(1, round(info.height * scale))
        with VideoReader(path, fps=Fraction(FPS), size=size, info=info) as frames:
            starts = shot_starts(frames, self.config.adaptive_threshold, self.config.min_content_value)
            return starts, frames.num_read


def shot_starts(
    frames: Iterable[np.ndarray], adaptive_threshold: float = 2.0, min_content_value: float = 15.0
) -> list[int]:
    """The number of every frame that begins a shot, 0 first, of uint8 RGB frames (h, w, 3) as they come.

    The video is mirrored at its ends, so that the detector has neighbours to compare there: repeating the end frames
    would halve the neighbours' mean, and any motion would pass the published threshold of 2. A cut one frame from an
    end is found up to a threshold of 4.
    """
    detector = AdaptiveDetector(
        adaptive_threshold, min_scene_len=1, window_width=_WINDOW, min_content_val=min_content_value
    )
    starts = {0}
    for position, frame in enumerate(_with_ends_mirrored(frames), start=-_WINDOW):
        blue_green_red = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        time = FrameTimecode(position + _WINDOW, float(FPS))
        starts.update(cut.frame_num - _WINDOW for cut in detector.process_frame(time, blue_green_red))
    return sorted(starts)


def _with_ends_mirrored(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The frames with `_WINDOW` more at each end, the end frame itself not repeated (unless the video is shorter)."""
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
