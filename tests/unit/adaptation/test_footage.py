"""Footage of a person: pieces of a video, and their clips."""

from pathlib import Path

import numpy as np
import pytest

from latentsync.adaptation.footage import MAX_PIECE_FRAMES, Piece, cut_footage, plan_pieces
from latentsync.audio.sample_source import ArraySamples
from latentsync.data.video_window import read_frames
from latentsync.errors import InputError
from latentsync.face.detector import build_detector
from latentsync.media.audio_samples import AudioSamples
from latentsync.media.ffmpeg_tools import run_tool
from latentsync.pipelines.lipsync_job import probe_video
from latentsync.weights import REPOSITORY_ROOT

DEMO = REPOSITORY_ROOT / "assets" / "demo1_video.mp4"


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([(0, 40)], [(0, 40)]),
        ([(0, 31)], []),
        ([(10, 80)], [(10, 48), (48, 80)]),
        ([(0, 300)], [(0, 75), (75, 150), (150, 225), (225, 300)]),
        ([(5, 45), (50, 70), (80, 200)], [(5, 45), (80, 140), (140, 200)]),
    ],
)
def test_pieces(segments: list[tuple[int, int]], expected: list[tuple[int, int]]):
    pieces = plan_pieces(segments, min_frames=32)
    assert pieces == [Piece(*piece) for piece in expected]
    assert all(32 <= len(piece) <= MAX_PIECE_FRAMES + 1 for piece in pieces)


def test_two_people_are_refused_with_the_name_of_the_video(tmp_path: Path):
    video = tmp_path / "two people.mp4"
    split = "[0:v]trim=duration=1,scale=256:-2,split[a][b];[a][b]hstack[out]"
    run_tool(["ffmpeg", "-v", "error", "-i", str(DEMO), "-filter_complex", split, "-map", "[out]", str(video)])
    with pytest.raises(InputError, match=r"two people\.mp4: 2 people are in one scene: choose one with --face"):
        cut_footage(video, tmp_path / "clips", build_detector("mtcnn"), "only", 64, 32, lambda *call: None)
    assert not list((tmp_path / "clips").glob("*.mp4"))


@pytest.mark.slow
def test_clips_have_the_aligned_face_and_its_sound(tmp_path: Path):
    calls: list[tuple[str, int, int]] = []
    detector = build_detector("mtcnn")
    paths = cut_footage(DEMO, tmp_path / "clips", detector, "largest", 64, 32, lambda *call: calls.append(call))
    starts = [int(path.stem) for path in paths]
    assert starts == [0, 62]
    assert sorted(path.name for path in (tmp_path / "clips").iterdir()) == [path.name for path in paths]
    assert calls[-1] == ("clips", 125, 125)
    with AudioSamples.decode(DEMO) as sound:
        whole = sound.read(0, sound.num_samples)
    for path, start, stop in zip(paths, starts, (62, 125), strict=True):
        frames = read_frames(path, range(stop - start), 64)
        assert frames[:, 20:44, 20:44].std(axis=(1, 2)).min() > 3, "not a black image"
        change = np.abs(np.diff(frames.astype(float), axis=0)).mean()
        assert change < 8, "the face stays in its place"
        with AudioSamples.decode(path) as sound:
            samples = sound.read(0, sound.num_samples)
        first = start * 640
        length = min(len(samples), len(whole) - first)
        np.testing.assert_allclose(samples[:length], whole[first : first + length], atol=1e-4)
        assert ArraySamples(samples).num_samples == (stop - start) * 640


@pytest.mark.slow
def test_the_sound_of_a_late_video_belongs_to_its_frames(tmp_path: Path):
    late = tmp_path / "late.mkv"
    inputs = ["-itsoffset", "0.4", "-i", str(DEMO), "-i", str(DEMO)]
    run_tool(["ffmpeg", "-v", "error", *inputs, "-map", "0:v", "-map", "1:a", "-t", "4", "-c", "copy", str(late)])
    clip = cut_footage(late, tmp_path / "clips", build_detector("mtcnn"), "only", 64, 32, lambda *call: None)[0]
    first = round(probe_video(late).late_s * 16000)
    assert first >= 6400
    with AudioSamples.decode(late) as whole, AudioSamples.decode(clip) as sound:
        np.testing.assert_allclose(sound.read(0, 8000), whole.read(first, first + 8000), atol=1e-4)


@pytest.mark.slow
def test_too_little_footage_and_no_sound(tmp_path: Path):
    short, silent = tmp_path / "short.mp4", tmp_path / "silent.mp4"
    run_tool(["ffmpeg", "-v", "error", "-i", str(DEMO), "-t", "2", "-c:v", "libx264", str(short)])
    run_tool(["ffmpeg", "-v", "error", "-i", str(DEMO), "-t", "3.2", "-an", str(silent)])
    detector = build_detector("mtcnn")
    with pytest.raises(InputError, match=r"short\.mp4 shows the face for 2\.0 s.*give at least 3 s"):
        cut_footage(short, tmp_path / "a", detector, "largest", 64, 32, lambda *call: None)
    assert not probe_video(silent).has_audio
    for path in cut_footage(silent, tmp_path / "b", detector, "largest", 64, 32, lambda *call: None):
        with AudioSamples.decode(path) as sound:
            assert not sound.read(0, sound.num_samples).any()
