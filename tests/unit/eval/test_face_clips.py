"""Crops of real (tiny) videos: made once, alike for all videos of a sample, bounded on disk."""

from pathlib import Path

import numpy as np
import pytest

from eval.face_clips import FaceClips, common_frames, paired_batches
from latentsync.errors import InputError, NotMeasured
from latentsync.face.align import alignment_matrices, crop_faces
from latentsync.media.repeated_reader import Repeat
from tests.tiny_pipeline import ANCHORS, ToldDetector
from tests.unit.data.clips import ffmpeg
from tests.unit.eval.made_clips import SIZE, clip_of, textured, write_video


class CountingDetector(ToldDetector):
    def __init__(self, has_face=lambda frame: True) -> None:
        super().__init__(has_face)
        self.num_frames = 0

    def detect(self, frames):
        self.num_frames += len(frames)
        return super().detect(frames)


def is_bright(frame: np.ndarray) -> bool:
    return frame.mean() > 40


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("videos")
    source = textured(20, 128)
    source[5:9] = 0
    other = textured(30, 128, seed=3)
    return {
        "source": write_video(folder / "source.mkv", source),
        "result": write_video(folder / "result.mkv", other),
        "black": write_video(folder / "black.mkv", np.zeros_like(source[:6])),
    }


@pytest.fixture
def clips(tmp_path):
    with FaceClips(
        tmp_path / "cache", resolution=SIZE, detector=CountingDetector(is_bright), detector_name="told"
    ) as made:
        yield made


def test_a_result_is_cropped_where_the_source_has_its_face(clips, videos):
    source = clips.crops(videos["source"])
    assert source.crops.shape == (20, SIZE, SIZE, 3)
    assert source.valid_spans() == [slice(0, 5), slice(9, 20)]
    assert (source.crops[5:9] == 127).all()
    result = clips.crops(videos["result"], videos["source"], Repeat.BOUNCE)
    assert len(result) == 30
    # beyond the source's 20 frames it is played backwards: frame 20 shows where the face is in frame 18
    np.testing.assert_array_equal(result.matrices[20:], source.matrices[18:8:-1])
    looped = clips.crops(videos["result"], videos["source"], Repeat.LOOP)
    np.testing.assert_array_equal(looped.matrices[20:], source.matrices[:10])
    frames = textured(30, 128, seed=3)
    matrices = alignment_matrices(np.tile(ANCHORS, (30, 1, 1)), SIZE)
    expected = ((crop_faces(list(frames), matrices, SIZE) + 1) * 127.5).permute(0, 2, 3, 1).numpy()
    shown = result.valid
    assert np.flatnonzero(~shown).tolist() == [5, 6, 7, 8]
    assert np.abs(result.crops[shown] - expected[shown]).max() <= 1
    assert clips._detector.num_frames == 20  # no face was looked for in the result


def test_geometry_is_kept_by_content(clips, videos, tmp_path):
    first = clips.geometry(videos["source"])
    with FaceClips(tmp_path / "cache", detector=CountingDetector(), detector_name="told") as again:
        renamed = tmp_path / "renamed.mkv"
        renamed.write_bytes(videos["source"].read_bytes())
        second = again.geometry(renamed)
        assert again._detector.num_frames == 0
    np.testing.assert_array_equal(first.anchors, second.anchors)
    np.testing.assert_array_equal(first.rows, second.rows)
    assert first.shots() == second.shots()
    found = first.detections()
    assert [len(one) for one in found] == [1] * 5 + [0] * 4 + [1] * 11
    np.testing.assert_allclose(found[0][0].anchors, ANCHORS)
    with FaceClips(tmp_path / "cache", detector=CountingDetector(), detector_name="another") as other:
        other.geometry(renamed)
        assert other._detector.num_frames == 20


def test_cuts_are_kept(clips, videos):
    shots = clips.geometry(videos["source"]).shots()
    assert shots == [(0, 5), (5, 9), (9, 20)]


def test_without_a_face_nothing_is_measured(clips, videos):
    with pytest.raises(NotMeasured, match=r"no face was found in black\.mkv"):
        clips.crops(videos["black"])


def test_crops_on_disk_are_bounded_and_go_at_the_end(tmp_path, videos):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    detector = CountingDetector()
    with FaceClips(
        tmp_path / "cache", resolution=16, detector=detector, detector_name="told", max_clips=3, scratch=scratch
    ) as clips:
        kept = clips.crops(videos["source"])
        for like in ("result", "black"):
            for name in ("source", "result"):
                clips.crops(videos[name], videos[like], Repeat.LOOP)
        assert len([path for path in scratch.rglob("*") if path.is_file()]) == 3
        assert kept.crops[3].any()  # still readable by who holds it
    assert not list(scratch.iterdir())
    with pytest.raises(InputError, match="max_clips"):
        FaceClips(tmp_path, max_clips=2)


def test_sound_is_as_long_as_the_frames(clips, videos, repository):
    speech = repository / "assets" / "demo1_audio.wav"
    assert clips.samples(speech, videos["result"], 10).shape == (6400,)
    assert np.abs(clips.samples(speech, videos["result"], 100)).max() > 0.01


def test_the_own_sound_of_a_video_starts_with_its_first_frame(clips, videos, repository, tmp_path):
    speech = repository / "assets" / "demo1_audio.wav"
    late = tmp_path / "late.mkv"
    ffmpeg(
        "-itsoffset",
        "0.4",
        "-i",
        str(videos["source"]),
        "-i",
        str(speech),
        "-c:v",
        "copy",
        "-c:a",
        "pcm_s16le",
        str(late),
    )
    whole = clips.samples(late, videos["result"], 100)  # the speech of another video
    np.testing.assert_array_equal(clips.samples(late, late, 90), whole[10 * 640 :])


def test_chunks_hold_valid_frames_only():
    crops = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    first = clip_of(crops, np.array([True, False, True, True, True, True]))
    second = clip_of(crops[:5] + 100, np.array([True, True, True, False, True]))
    assert common_frames(first, second).tolist() == [0, 2, 4]
    parts = [(one[:, 0, 0, 0].tolist(), two[:, 0, 0, 0].tolist()) for one, two in paired_batches(first, second, 2)]
    assert parts == [([0, 2], [100, 102]), ([4], [104])]
    assert [chunk[:, 0, 0, 0].tolist() for chunk in first.valid_batches(3)] == [[0, 2, 3], [4, 5]]
    assert first.valid_spans(2) == [slice(2, 6)]
