"""The first pass of one video in workers: its tracks equal those of one process bit for bit."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.errors import InputError, LatentSyncError
from latentsync.executors.base import CRASHED, ERROR, Executor, Failed
from latentsync.executors.local import LocalExecutor
from latentsync.face.describer import DescriberChoice
from latentsync.face.detection import Detection, FaceDetector
from latentsync.face.face_tracks import FaceTracks
from latentsync.face.mtcnn import MtcnnDetector
from latentsync.media.probe import probe_video
from latentsync.media.reader import VideoReader
from latentsync.media.writer import VideoWriter
from latentsync.pipelines.face_pass import find_tracks
from latentsync.pipelines.face_workers import FaceWorkers, plan_parts
from latentsync.pipelines.segment_results import MAX_ATTEMPTS
from latentsync.pipelines.segments import Segment
from latentsync.weights import REPOSITORY_ROOT
from tests.integration.test_lipsync_pipeline import QUICK, face_is_shown, make_speech, make_video
from tests.integration.test_segment_workers import InThisProcess
from tests.tiny_pipeline import ANCHORS, tiny_pipeline
from tests.unit.face.test_detected_faces import assert_equal_tracks

FPS = Fraction(25)
DEMO_VIDEO = REPOSITORY_ROOT / "assets" / "demo1_video.mp4"
NUM_FRAMES = 125
CUT = 48
"""The first frame of a part."""
GAP = range(91, 102)
"""Frames without the second person: the end of a part, and the start of the next one."""


class BrightFace:
    """Detector of one face that moves with the brightness of the frame."""

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Detection]]:
        found = []
        for frame in frames:
            move = np.float32(frame[40:].mean() / 20)
            face = Detection(np.array([20, 10, 100, 110]) + move, 0.99, ANCHORS + move)
            found.append([face] if face_is_shown(frame) else [])
        return found


def load_mtcnn(device: torch.device, exact: bool) -> FaceDetector:
    return MtcnnDetector(device)


def load_bright(device: torch.device, exact: bool) -> FaceDetector:
    return BrightFace()


def workers(executor: Executor, load: Callable[[torch.device, bool], FaceDetector] = load_bright) -> FaceWorkers:
    return FaceWorkers(executor, 3, load, on_accelerators=False, min_frames=1)


def tracks(
    video: Path, detector: FaceDetector, faces: FaceWorkers | None = None, max_frames: int | None = None, exact=False
) -> FaceTracks:
    given = probe_video(video), FPS, detector, (), max_frames, exact
    return find_tracks(*given) if faces is None else find_tracks(*given, detect=partial(faces, video.parent))


@pytest.fixture(scope="module")
def two_people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of two people who change sides at a cut; one is away for a while."""
    path = tmp_path_factory.mktemp("two_people") / "v.mp4"
    with (
        VideoReader(DEMO_VIDEO, FPS, NUM_FRAMES, (208, 208)) as reader,
        VideoWriter(path, 416, 208, FPS, crf=12) as writer,
    ):
        for i, frame in enumerate(reader):
            other = frame[:, ::-1, ::-1] // 2 + 20
            if i in GAP:
                other[40:180, 40:180] = other[20:180, 20:180].mean(axis=(0, 1))
            writer.write(np.concatenate((frame, other) if i < CUT else (other, frame), axis=1))
    return path


@pytest.mark.parametrize(
    ("max_frames", "exact", "scenes"),
    [(None, False, [0, 0, 1, 1, 1]), pytest.param(36, True, [0, 0], marks=pytest.mark.long)],
)
def test_the_tracks_of_real_faces_equal_those_of_one_process(
    two_people: Path, max_frames: int | None, exact: bool, scenes: list[int]
):
    detector = MtcnnDetector()
    whole = tracks(two_people, detector, None, max_frames, exact)
    assert [track.scene for track in whole.tracks] == scenes
    assert whole.num_frames == (max_frames or NUM_FRAMES)
    found = tracks(two_people, detector, workers(InThisProcess(Failed(CRASHED, "")), load_mtcnn), max_frames, exact)
    assert_equal_tracks(found, whole)


def test_the_face_embedding_is_the_same_in_workers(tmp_path: Path, embedding_weights: Path):
    video = make_video(tmp_path / "v.mp4", 40, range(17, 20))
    given, describer = (probe_video(video), FPS, BrightFace()), DescriberChoice(embedding_weights)
    whole = find_tracks(*given, describer=describer)
    assert {look.shape for track in whole.tracks for _, look in track.looks} == {(512,)}
    in_workers = partial(workers(InThisProcess(Failed(CRASHED, ""))), tmp_path)
    assert_equal_tracks(find_tracks(*given, detect=in_workers, describer=describer), whole)


def test_a_job_with_workers_that_die_gives_the_result_of_one_process(tmp_path: Path, caplog):
    video, speech = make_video(tmp_path / "v.mp4", 40, range(17, 20)), make_speech(tmp_path / "s.wav", 1.6)
    pipeline = tiny_pipeline()
    pipeline.detector = BrightFace()
    options = replace(QUICK, guidance_scale=1.0)
    pipeline(video, speech, tmp_path / "whole.mp4", options)
    done: list[tuple[str, float, int]] = []
    pipeline(
        *(video, speech, tmp_path / "joined.mp4", options, tmp_path / "temporary"),
        progress=lambda *given: done.append(given),
        first_pass=workers(InThisProcess(Failed(CRASHED, "its worker was killed"))),
    )
    assert "frames 0 to 16 run again: its worker was killed" in caplog.text
    assert (tmp_path / "joined.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    faces = [given for given in done if given[0] == "faces"]
    assert faces[-1] == ("faces", 40, 40)
    assert [number for _, number, _ in faces] == sorted(number for _, number, _ in faces)
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.slow
def test_the_tracks_of_two_processes_equal_those_of_one(tmp_path: Path):
    video = make_video(tmp_path / "v.mp4", 72, range(30, 35))
    found = tracks(video, BrightFace(), workers(LocalExecutor(num_workers=2)))
    assert_equal_tracks(found, tracks(video, BrightFace()))
    assert len(found.tracks) == 1
    assert len(found.tracks[0]) == 67


def test_a_video_that_is_shorter_or_longer_than_its_header_tells_is_read_to_its_end(tmp_path: Path):
    video = make_video(tmp_path / "v.mp4", 80)
    info, faces = probe_video(video), workers(InThisProcess())
    whole = tracks(video, BrightFace())
    for duration_s in (1.3, 6.0):
        wrong = replace(info, duration_s=duration_s)
        found = find_tracks(wrong, FPS, BrightFace(), detect=partial(faces, tmp_path))
        assert_equal_tracks(found, whole)


@pytest.mark.parametrize(
    ("first", "error", "message"),
    [
        ([Failed(ERROR, "the disk is gone")], LatentSyncError, "the disk is gone"),
        ([Failed(CRASHED, "its worker was killed")] * 3 * MAX_ATTEMPTS, LatentSyncError, "its worker was killed"),
        ([KeyboardInterrupt("stop")], KeyboardInterrupt, "stop"),
    ],
)
def test_failures_and_ctrl_c_end_the_job(tmp_path: Path, first: list, error: type[BaseException], message: str):
    video, speech = make_video(tmp_path / "v.mp4", 60), make_speech(tmp_path / "s.wav", 1.0)
    with pytest.raises(error, match=message):
        tiny_pipeline()(
            *(video, speech, tmp_path / "out.mp4", QUICK, tmp_path / "temporary"),
            first_pass=workers(InThisProcess(*first)),
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.wav", "temporary", "v.mp4"]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_an_error_of_the_progress_ends_the_search(tmp_path: Path):
    def stop(done: int, total: int) -> None:
        raise InputError("stopped")

    info, faces = probe_video(make_video(tmp_path / "v.mp4", 60)), partial(workers(InThisProcess()), tmp_path)
    with pytest.raises(InputError, match="stopped"):
        find_tracks(info, FPS, BrightFace(), progress=stop, detect=faces)


def test_a_short_video_is_searched_in_this_process(tmp_path: Path):
    video = make_video(tmp_path / "v.mp4", 40)
    alone = FaceWorkers(InThisProcess(KeyboardInterrupt()), 4, load_bright, on_accelerators=False)
    assert_equal_tracks(tracks(video, BrightFace(), alone), tracks(video, BrightFace()))


def test_parts_begin_with_a_batch_and_contain_every_frame():
    assert plan_parts(100, 24, 3, 1) == [Segment(0, 24), Segment(24, 72), Segment(72, 100)]
    assert plan_parts(48, 24, 2, 1) == [Segment(0, 24), Segment(24, 48)]
    assert plan_parts(100, 24, 3, 60) == [Segment(0, 100)]
    assert plan_parts(10, 24, 3, 1) == [Segment(0, 10)]
    assert len(plan_parts(90_000, 24, 64, 1)) == 64
