"""Segments of a result: their frames equal those of the whole job bit for bit before they are encoded."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from latentsync.face.detection import Detection
from latentsync.media.writer import VideoWriter
from latentsync.pipelines import person_stages
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.segment_generation import SegmentedJob, generate_segment
from latentsync.pipelines.segments import Segment
from latentsync.pipelines.voices import Voice, Voices
from tests.integration.test_front_of_faces import write_masks
from tests.integration.test_lipsync_pipeline import EXACT, QUICK, face_is_shown, make_speech, make_video
from tests.integration.test_several_people import TwoFaces
from tests.tiny_pipeline import ANCHORS, tiny_pipeline

Cut = Callable[[int], list[Segment]]
"""Returns segments of a result of that length."""


@pytest.fixture(scope="module")
def pipeline() -> LipsyncPipeline:
    return tiny_pipeline()


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Frames that were given to encoders so far."""
    frames: list[np.ndarray] = []
    write = VideoWriter.write

    def spy(writer: VideoWriter, frame: np.ndarray) -> None:
        frames.append(frame.copy())
        write(writer, frame)

    monkeypatch.setattr(VideoWriter, "write", spy)
    return frames


@pytest.fixture
def matrices(monkeypatch: pytest.MonkeyPatch) -> set[bytes]:
    """Matrices with which faces were cropped so far."""
    used: set[bytes] = set()

    def recording(crop: Callable) -> Callable:
        def spy(frames, given, *rest):
            used.update(matrix.tobytes() for matrix in given)
            return crop(frames, given, *rest)

        return spy

    for name in ("crop_faces", "crop_faces_as_published"):
        monkeypatch.setattr(person_stages, name, recording(getattr(person_stages, name)))
    return used


def generate(
    pipeline: LipsyncPipeline, folder: Path, video: Path, voices: Path | Voices, options: LipsyncOptions, cut: Cut
) -> list[Segment]:
    """Generate the segments of a job in this process, as workers do, the last one first."""
    with pipeline.open_job(video, voices, folder / "out.mp4", options) as job:
        people = pipeline.find_people(job)
        job = job.fit(len(people[0].plan))
        whole, segments = SegmentedJob.of(job, people), cut(job.num_frames)
        for number, segment in reversed(list(enumerate(segments))):
            generate_segment(pipeline, whole, segment, folder / f"{number}.mp4")
    return segments


def anywhere(num_frames: int) -> list[Segment]:
    """Cut within windows, where cuts are expensive."""
    first, second = num_frames // 4, 3 * num_frames // 4
    return [Segment(0, first), Segment(first, second), Segment(second, num_frames)]


class MovingFace:
    """Detector of a face that moves a little in every frame; its black first corner marks a frame without it."""

    def __init__(self) -> None:
        self.num_frames = 0

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Detection]]:
        found = []
        for number, frame in enumerate(frames, self.num_frames):
            move = 3 * np.sin([[number, 0.7 * number], [1.1 * number, number], [1.7 * number, 0.6 * number]])
            face = Detection(np.array([20, 10, 100, 110]), 0.99, (ANCHORS + move).astype(np.float32))
            found.append([face] if face_is_shown(frame) else [])
        self.num_frames += len(frames)
        return found


SIMPLE = replace(QUICK, guidance_scale=1.0)
CASES: dict[str, LipsyncOptions] = {
    "gap": SIMPLE,
    "bounce, batches, long overlap": replace(SIMPLE, batch_windows=2, overlap_frames=12),
    "silence": replace(SIMPLE, sync_mode="silence"),
    "masks": SIMPLE,
    "two people": SIMPLE,
    "exact": replace(EXACT, guidance_scale=1.0),
}
MARKS = {"gap": pytest.mark.long, "silence": pytest.mark.long}


@pytest.mark.parametrize("case", [pytest.param(case, marks=MARKS.get(case, ())) for case in CASES])
def test_frames_equal_those_of_the_whole_job(
    pipeline: LipsyncPipeline,
    tmp_path: Path,
    written: list[np.ndarray],
    matrices: set[bytes],
    case: str,
):
    options, find = CASES[case], TwoFaces if case == "two people" else MovingFace
    voices: Path | Voices = make_speech(tmp_path / "s.wav", {"silence": 0.6, "gap": 2.4}.get(case, 1.6))
    num_frames = {"silence": 60, "gap": 60, "bounce, batches, long overlap": 25}.get(case, 40)
    video = make_video(tmp_path / "v.mp4", num_frames, range(5, 8) if case == "gap" else range(0))
    if case == "two people":
        voices = Voices((Voice("left", voices), Voice("right", make_speech(tmp_path / "other.wav", 1.2, 16000))))
    if case == "masks":
        options = replace(options, occluder=str(write_masks(tmp_path / "masks", 40)))

    written.clear()
    pipeline.detector = pipeline.exact_detector = find()
    report = pipeline(video, voices, tmp_path / "whole.mp4", options)
    expected = np.stack(written)
    assert len(expected) == report.num_frames >= 40

    written.clear()
    of_whole = matrices.copy()
    matrices.clear()
    pipeline.detector = pipeline.exact_detector = find()
    segments = generate(pipeline, tmp_path, video, voices, options, anywhere)
    starts = np.cumsum([0, *(len(segment) for segment in segments[::-1])])
    parts = [written[start:stop] for start, stop in pairwise(starts)]
    for segment, part in zip(segments, reversed(parts), strict=True):
        np.testing.assert_array_equal(part, expected[segment.start : segment.stop], err_msg=str(segment))
    assert matrices == of_whole  # what the smoothed alignment adds may be too small to change a pixel
