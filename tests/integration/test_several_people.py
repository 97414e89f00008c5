"""Several people in one pass, with tiny random networks and two faces at fixed places."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latentsync.errors import ConfigError, InputError
from latentsync.face.detection import Detection
from latentsync.face.face_tracks import FaceTracks
from latentsync.face.tracker import Track
from latentsync.media.probe import probe_audio
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.pipelines.report import LipsyncReport
from latentsync.pipelines.voices import Voice, Voices
from tests.integration.test_lipsync_pipeline import QUICK, WIDTH, make_speech, make_video
from tests.tiny_pipeline import ANCHORS, tiny_pipeline

HALF = WIDTH // 2


class TwoFaces:
    """Detector of a face on the left and one on the right; the right one is absent from the given frame on."""

    def __init__(self, right_leaves: int = 1000) -> None:
        self.num_frames, self.right_leaves = 0, right_leaves

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Detection]]:
        left, right = face(4), face(HALF + 4)
        found = [[left, right] if self.num_frames + i < self.right_leaves else [left] for i in range(len(frames))]
        self.num_frames += len(frames)
        return found


def face(x: int) -> Detection:
    box = np.array([x, 20, x + 48, 90], dtype=np.float32)
    return Detection(box, 0.99, (ANCHORS - ANCHORS.mean(axis=0)) * 0.6 + [x + 24, 40])


@pytest.fixture(scope="module")
def pipeline() -> LipsyncPipeline:
    return tiny_pipeline()


class Collector:
    """Changed pixels of every frame."""

    def __init__(self) -> None:
        self.sources: list[np.ndarray] = []
        self.results: list[np.ndarray] = []

    def __call__(self, index: int, source: np.ndarray, result: np.ndarray, matrix: np.ndarray | None) -> None:
        self.sources.append(source.copy())
        self.results.append(result.copy())

    def changed(self) -> np.ndarray:
        """Return (f, h, w) of booleans."""
        return (np.stack(self.sources) != np.stack(self.results)).any(axis=-1)


def dub(
    pipeline: LipsyncPipeline, folder: Path, speech: Path | Voices, name: str = "out.mp4", right_leaves: int = 1000
) -> tuple[LipsyncReport, Collector]:
    pipeline.detector = TwoFaces(right_leaves)
    frames, options = Collector(), replace(QUICK, timeline=True)
    report = pipeline(make_video(folder / "v.mp4", 30), speech, folder / name, options, frame_callback=frames)
    assert (folder / f"{Path(name).stem}_timeline.png") in report.extra_files
    return report, frames


def test_a_person_without_a_voice_keeps_every_pixel(pipeline: LipsyncPipeline, tmp_path: Path):
    speech = make_speech(tmp_path / "s.wav", 1.0)
    for side, own, other in (("left", slice(0, HALF), slice(HALF, None)), ("right", slice(HALF, None), slice(0, HALF))):
        _, frames = dub(pipeline, tmp_path, Voices((Voice(side, speech),)))
        assert frames.changed()[:, :, own].any(axis=(1, 2)).all()
        assert not frames.changed()[:, :, other].any()


def test_two_voices_in_one_run_equal_two_runs(pipeline: LipsyncPipeline, tmp_path: Path):
    first, second = make_speech(tmp_path / "a.wav", 1.0), make_speech(tmp_path / "b.wav", 1.0, 16000)
    alone = [dub(pipeline, tmp_path, Voices((voice,)))[1] for voice in (Voice("left", first), Voice("1", second))]
    report, both = dub(pipeline, tmp_path, Voices((Voice("left", first), Voice("1", second))))
    expected = np.stack(alone[0].results)
    expected[alone[1].changed()] = np.stack(alone[1].results)[alone[1].changed()]
    assert np.array_equal(np.stack(both.results), expected)
    assert report.num_synced == report.num_frames == 25
    assert [person["name"] for person in report.values()["people"]] == ["left", "1"]
    assert "face left (a.wav): 25 of 25 frames synced" in report.lines()


def test_the_result_lasts_as_long_as_the_longest_voice_and_has_the_mix(pipeline: LipsyncPipeline, tmp_path: Path):
    short, long = make_speech(tmp_path / "a.wav", 0.4), make_speech(tmp_path / "b.wav", 1.6, 16000)
    report, frames = dub(pipeline, tmp_path, Voices((Voice("left", short), Voice("right", long))))
    assert report.num_frames == 40
    assert frames.changed()[:, :, :HALF].any(axis=(1, 2)).all()  # silence after the end of the voice closes the mouth
    sound = probe_audio(tmp_path / "out.mp4")
    assert (sound.sample_rate, sound.channels) == (44100, 2)
    assert sound.duration_s == pytest.approx(1.6, abs=0.05)


def test_a_voice_follows_its_person_across_a_cut_and_a_selected_face_does_not(
    pipeline: LipsyncPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("latentsync.face.face_tracks.FaceTracks.follow_person", followed_person)
    speech = make_speech(tmp_path / "s.wav", 1.0)
    _, kept = dub(pipeline, tmp_path, Voices.parse([f"left={speech}"]))
    _, selected = dub(pipeline, tmp_path, Voices.of_selected("left", speech), "selected.mp4")
    assert kept.changed()[:, :, HALF:].any()
    assert not selected.changed()[:, :, HALF:].any()


def followed_person(found: FaceTracks, selector: str) -> tuple[list[Track], list[Track]]:
    """Stand-in that follows the face on the right."""
    return found.follow("right"), []


def test_the_sound_may_be_another_file(pipeline: LipsyncPipeline, tmp_path: Path):
    speech, sound = make_speech(tmp_path / "s.wav", 1.0), make_speech(tmp_path / "music.wav", 3.0, 48000)
    dub(pipeline, tmp_path, Voices((Voice("left", speech),), sound))
    written = probe_audio(tmp_path / "out.mp4")
    assert written.sample_rate == 48000
    assert written.duration_s == pytest.approx(1.0, abs=0.05)


def test_the_report_tells_when_each_face_is_absent(pipeline: LipsyncPipeline, tmp_path: Path):
    speech = make_speech(tmp_path / "s.wav", 1.0)
    report, _ = dub(pipeline, tmp_path, Voices((Voice("left", speech), Voice("right", speech))), right_leaves=15)
    assert [person.num_synced for person in report.people] == [25, 15]
    assert report.num_synced == 25
    assert "face right (s.wav): unchanged, the followed face is absent: 0.60-1.00 s" in report.lines()


def test_nothing_is_left_if_a_voice_belongs_to_nobody(pipeline: LipsyncPipeline, tmp_path: Path):
    speech = make_speech(tmp_path / "s.wav", 1.0)
    with pytest.raises(InputError, match="'2' matches none"):
        dub(pipeline, tmp_path, Voices((Voice("left", speech), Voice("2", speech))))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.wav", "v.mp4"]


def test_without_sound_the_speaker_is_the_largest_face_and_the_report_says_so(pipeline, tmp_path):
    pipeline.detector = TwoFaces()
    options = replace(QUICK, face="speaker")
    report = pipeline(
        make_video(tmp_path / "v.mp4", 30), make_speech(tmp_path / "s.wav", 1.0), tmp_path / "o.mp4", options
    )
    assert any(line.startswith("who speaks is unknown (the source has no sound)") for line in report.lines())
    assert [person.name for person in report.people] == ["speaker"]
    assert report.num_synced == report.num_frames


def test_the_speaker_contradicts_exact_before_the_work(pipeline, tmp_path):
    with pytest.raises(ConfigError, match="face is speaker, which contradicts exact"):
        replace(QUICK, face="speaker", exact=True, overlap_frames=0)
    voices = Voices((Voice("speaker", make_speech(tmp_path / "s.wav", 1.0)),))
    exact = replace(QUICK, exact=True, overlap_frames=0)
    pipeline.exact_detector = TwoFaces()
    with pytest.raises(ConfigError, match="face is speaker, which contradicts exact"):
        pipeline(make_video(tmp_path / "v.mp4", 30), voices, tmp_path / "o.mp4", exact)
