"""Jobs of the app with several voices, with tiny random networks and two faces at fixed places."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latentsync.app.lipsync_service import LipsyncOutcome, LipsyncService
from latentsync.app.sync_comparison import NamedSyncScorer
from latentsync.errors import InputError
from latentsync.face.describer import DescriberChoice
from latentsync.jobs.job import Job
from latentsync.jobs.limits import Limits
from latentsync.judges.sync_score import SyncScore
from latentsync.media.reader import VideoReader
from latentsync.media.writer import VideoWriter
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.pipelines.report import PersonReport
from latentsync.pipelines.timeline import write_timeline
from latentsync.pipelines.voices import Voice, Voices
from tests.integration.test_lipsync_pipeline import QUICK, make_speech, make_video
from tests.integration.test_several_people import TwoFaces
from tests.tiny_pipeline import tiny_pipeline


@pytest.fixture(scope="module")
def pipeline() -> LipsyncPipeline:
    return tiny_pipeline()


class Recorder:
    """Sync scorer that records its inputs."""

    def __init__(self) -> None:
        self.scored: list[tuple[np.ndarray, np.ndarray]] = []

    def score(self, crops: np.ndarray, samples: np.ndarray) -> SyncScore:
        self.scored.append((crops, samples))
        return SyncScore(0, 1.0, 0.0)


def test_each_person_has_a_line_and_the_first_is_measured_with_the_own_voice(
    pipeline: LipsyncPipeline, tmp_path: Path, monkeypatch
):
    drawn: list[str] = []

    def write(people: Sequence[PersonReport], num_frames: int, fps: float, path: Path) -> None:
        drawn.extend(person.speech.name for person in people)
        write_timeline(people, num_frames, fps, path)

    monkeypatch.setattr("latentsync.app.lipsync_service.write_timeline", write)
    pipeline.detector = TwoFaces(right_leaves=15)
    ben, anna = make_speech(tmp_path / "voice_1.wav", 0.48), make_speech(tmp_path / "voice_2.wav", 1.0, 16000)
    recorder = Recorder()
    service = LipsyncService(pipeline, NamedSyncScorer("a scorer", recorder), QUICK, "demo", Limits())
    work = service.lipsync(
        make_video(tmp_path / "v.mp4", 30), Voices((Voice("right", ben), Voice("left", anna))), QUICK
    )
    outcome = work(Job("id", tmp_path, None, names={ben: "ben.wav", anna: "anna.wav"}))
    assert "face right (ben.wav): 15 of 25 frames synced" in outcome.lines
    assert "face left (anna.wav): 25 of 25 frames synced" in outcome.lines
    assert DescriberChoice().line() in outcome.lines
    assert outcome.lines[-1] == "the sync is that of face right with ben.wav"
    assert any("faces right and left, 25 frames per second" in line for line in outcome.lines)
    assert [len(crops) for crops, _ in recorder.scored] == [12, 12]  # the first speech ends before its person leaves
    assert "face right (ben.wav)" in outcome.summary.read_text()
    assert drawn == ["ben.wav", "anna.wav"]
    assert outcome.timeline is not None
    assert outcome.timeline in outcome.files
    assert outcome.timeline.read_bytes()[:4] == b"\x89PNG"
    assert LipsyncOutcome.of(tmp_path, outcome.record()) == outcome


def test_everyone_counts_against_the_limit_before_a_mouth_is_generated(pipeline: LipsyncPipeline, tmp_path: Path):
    pipeline.detector = TwoFaces()
    voices = Voices.of_selected("all", make_speech(tmp_path / "speech.wav", 1.0))
    reported: list[str] = []
    job = Job("id", tmp_path, None)
    job.report = lambda stage, done, total: reported.append(stage)
    for seconds, stages in ((0.8, {"faces"}), (0.9, {"faces", "lips", "sync"})):
        service = LipsyncService(pipeline, None, QUICK, "demo", Limits(max_seconds=seconds))
        work = service.lipsync(make_video(tmp_path / "v.mp4", 30), voices, QUICK)
        reported.clear()
        if "lips" in stages:
            assert len(work(job).lines) > 3
        else:
            with pytest.raises(InputError, match="2 people in 25 frames are too many, the maximum is 48"):
                work(job)
            assert not (tmp_path / "lipsync.mp4").exists()
        assert set(reported) == stages


def test_a_numbered_person_masks_and_silence_reach_the_result_and_its_summary(
    pipeline: LipsyncPipeline, tmp_path: Path
):
    pipeline.detector = TwoFaces()
    video, speech = make_video(tmp_path / "v.mp4", 30), make_speech(tmp_path / "speech.wav", 1.0)
    with VideoReader(video) as source, VideoWriter(tmp_path / "occluder.mp4", source.width, source.height, 25) as masks:
        for i, frame in enumerate(source):
            masks.write(np.full_like(frame, 255 if i < 10 else 0))
    options = replace(QUICK, occluder=str(tmp_path / "occluder.mp4"), silence="keep", face="person2")
    service = LipsyncService(pipeline, None, QUICK, "demo", Limits())
    voices = Voices.of_selected("person2", speech)
    service.check(video, voices, options)
    names = {tmp_path / "occluder.mp4": "hand.mkv"}
    lines = service.lipsync(video, voices, options)(Job("id", tmp_path, None, names=names)).lines
    assert any("face person2, 25 frames per second" in line for line in lines)
    assert lines[-1].endswith("silence keep, things in front of the face hand.mkv")
    assert any("0.00-0.40 s" in line for line in lines), lines
