"""Talking clips: functions of (seed, index), and their video files."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from demo.synthetic.clip import TalkingClip, _fixed_box, write_video
from latentsync.errors import ToolError
from latentsync.face.align import alignment_matrices

TONE = (0.5 * np.sin(np.arange(8000) * 0.2) * np.sin(np.arange(8000) * 0.002)).astype(np.float32)
CLIP = TalkingClip(0, 1, 0.2, np.zeros(3200, dtype=np.float32), frame_size=128)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed: it writes videos")
def test_a_video_appears_whole_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "-a video.mp4"
    write_video(CLIP, path)
    assert list(tmp_path.iterdir()) == [path]
    content = path.read_bytes()
    assert b"avc1" in content
    assert b"mp4a" in content


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed: it writes videos")
def test_a_format_ffmpeg_does_not_know_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="could not write"):
        write_video(CLIP, tmp_path / "video.nosuchformat")
    assert list(tmp_path.iterdir()) == []


def test_missing_ffmpeg_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="ffmpeg"):
        write_video(CLIP, tmp_path / "video.mp4")


def test_a_clip_depends_on_seed_and_index_only() -> None:
    def first_crop(seed: int, index: int) -> np.ndarray:
        return next(TalkingClip(seed, index, 0.5, TONE).crops(64))

    assert (first_crop(3, 1) == first_crop(3, 1)).all()
    assert (first_crop(3, 1) != first_crop(3, 2)).any()
    assert (first_crop(3, 1) != first_crop(4, 1)).any()


def test_frames_and_tracks_of_a_clip_agree() -> None:
    clip = TalkingClip(0, 0, 0.5, TONE)
    assert len(clip.states) == len(clip.frame_track) == len(clip.anchors()) == 12
    assert [s.opening for s in clip.states] == pytest.approx(clip.frame_track[:, 0].tolist())
    np.testing.assert_allclose(clip.frame_track[5], clip.track[20], atol=1e-6)
    assert next(clip.frames(1)).shape == (512, 512, 3)


def test_a_fixed_box_begins_at_the_face_and_does_not_follow_it() -> None:
    clip = TalkingClip(3, 1, 4.0, np.zeros(64000, dtype=np.float32))
    box = _fixed_box(clip._detected()[0], 128)
    aligned = alignment_matrices(clip._detected(), 128)
    truth = np.concatenate([clip.anchors(), np.ones((100, 3, 1))], axis=2)
    in_box, in_crop = truth @ box.T, np.einsum("fij,fpj->fpi", aligned, truth)
    middle = in_crop[0].mean(axis=0)
    assert np.abs(in_box[0].mean(axis=0) - middle).max() < 6
    assert (box[0, 0], box[0, 1]) == (box[1, 1], 0)
    assert in_box.mean(axis=1).std(axis=0).max() > 3 * in_crop.mean(axis=1).std(axis=0).max()
    assert next(clip.crops(64, "fixed_box")).shape == (64, 64, 3)
