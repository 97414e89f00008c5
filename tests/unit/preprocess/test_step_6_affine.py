"""Step 6: dots at the anchors are aligned to the template, whatever clip was aligned before."""

import pickle

import numpy as np
import pytest
import torch

from latentsync.errors import InputError
from latentsync.media.audio_samples import AudioSamples
from latentsync.media.probe import probe_audio, probe_video
from latentsync.media.reader import VideoReader
from preprocess.step import Clip, Done, Rejected
from preprocess.steps.single_face import write_single_face
from preprocess.steps.step_6_affine import AffineConfig, AffineStep, _align, outside_shares
from tests.unit.preprocess.face_clips import SIZE, anchors, dots, face_of, segment, template

NUM_FRAMES = 12
RESOLUTION = 64
CONFIG = AffineConfig(resolution=RESOLUTION)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segments")
    return [segment(folder, f"clip{seed}", anchors(NUM_FRAMES, seed=seed), seed) for seed in (1, 2)]


@pytest.fixture
def process():
    return AffineStep(CONFIG).load(torch.device("cpu"))


def aligned(process, clip, work):
    work.mkdir()
    result = process(clip, work)
    assert isinstance(result, Done), result
    (output,) = result.outputs
    assert output.facts == {"num_frames": NUM_FRAMES}
    assert [path.name for path in work.iterdir()] == [output.file.name]
    return output.file


@pytest.fixture(scope="module")
def files(clips, tmp_path_factory):
    """Align both clips with one worker, in order."""
    folder, process = tmp_path_factory.mktemp("aligned"), AffineStep(CONFIG).load(torch.device("cpu"))
    return [aligned(process, clip, folder / clip.name) for clip in clips]


def test_every_frame_lies_on_the_template(files, clips):
    with VideoReader(files[0]) as frames:
        crops = list(frames)
    assert len(crops) == NUM_FRAMES
    for crop in crops:
        assert crop.shape == (RESOLUTION, RESOLUTION, 3)
        assert np.abs(dots(crop) - template(RESOLUTION)).max() < 0.35
    with VideoReader(clips[0].path) as frames:
        assert np.abs(dots(next(iter(frames))) - template(RESOLUTION)).max() > 10


def test_the_file_has_the_format_for_training(files):
    info, sound = probe_video(files[0]), probe_audio(files[0])
    assert (info.width, info.height, info.fps, info.codec, info.pixel_format) == (64, 64, 25, "h264", "yuv420p")
    assert info.color_space == info.color_transfer == "bt709"
    assert (sound.codec, sound.sample_rate, sound.channels) == ("alac", 16000, 1)


def test_the_audio_is_unchanged(files, clips):
    with AudioSamples.decode(clips[0].path) as before, AudioSamples.decode(files[0]) as after:
        assert after.num_samples == before.num_samples == NUM_FRAMES * 640
        assert np.array_equal(after.read(0, after.num_samples), before.read(0, before.num_samples))


def test_nothing_leaks_from_clip_to_clip(process, files, clips, tmp_path):
    backward = [aligned(process, clip, tmp_path / clip.name).read_bytes() for clip in reversed(clips)]
    assert backward[::-1] == [path.read_bytes() for path in files]
    assert backward[0] != backward[1]


def test_detector_jitter_is_smoothed(process, files, clips, tmp_path):
    points = anchors(NUM_FRAMES, seed=1)
    tremble = np.random.default_rng(0).normal(0, 2.0, (NUM_FRAMES, 1, 2)).astype(np.float32)
    write_single_face(tmp_path / "trembling.npz", face_of(points + tremble))
    clip = Clip(**{**vars(clips[0]), "facts": {"faces": str(tmp_path / "trembling.npz")}})
    places = []
    for path in (files[0], aligned(process, clip, tmp_path / "work")):
        with VideoReader(path) as frames:
            places.append(np.array([dots(crop) for crop in frames]))
    scale = RESOLUTION / 72  # crop pixels a frame pixel where the dots' face is largest
    steps = np.abs(np.diff(places[1] - places[0], axis=0)).mean()
    assert steps < 0.5 * scale * np.abs(np.diff(tremble, axis=0)).mean()


def test_a_face_that_leaves_the_frame_is_rejected(process, tmp_path):
    points = anchors(NUM_FRAMES) + np.linspace(0, 70, NUM_FRAMES)[:, None, None].astype(np.float32) * [1, 0]
    clip = segment(tmp_path, "leaving", points)
    (tmp_path / "work").mkdir()
    result = process(clip, tmp_path / "work")
    assert isinstance(result, Rejected)
    assert result.reason in AffineStep.reasons
    assert "at frame 11" in result.detail
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize("num_tracked", [NUM_FRAMES - 2, NUM_FRAMES + 2])
def test_a_face_track_of_another_length_is_an_error(process, clips, tmp_path, num_tracked):
    write_single_face(tmp_path / "faces.npz", face_of(anchors(num_tracked, seed=1)))
    clip = Clip(**{**vars(clips[0]), "facts": {"faces": str(tmp_path / "faces.npz")}})
    (tmp_path / "work").mkdir()
    with pytest.raises(InputError, match=f"has not the {num_tracked} frames of its face track: run step 5 again"):
        process(clip, tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []


def test_memory_holds_a_few_frames_only():
    taken = []

    def frames():
        for number in range(40):
            taken.append(number)
            yield np.zeros((SIZE, SIZE, 3), dtype=np.uint8)

    matrices = np.tile(np.array([[1.0, 0, 0], [0, 1, 0]], dtype=np.float32), (40, 1, 1))
    for number, _ in enumerate(_align(frames(), matrices, RESOLUTION)):
        assert len(taken) <= number + 8
    assert len(taken) == 40


class TestOutsideShares:
    def test_known_shares(self):
        shifts = [0, -32, 64, 32]
        matrices = np.array([[[1, 0, -shift], [0, 1, 0]] for shift in shifts], dtype=np.float32)
        assert np.allclose(outside_shares(matrices, 64, 64, 64), [0, 0.5, 1, 0.5])
        assert np.allclose(outside_shares(matrices, 64, 128, 64), [0, 0.5, 0, 0])

    def test_equals_the_grey_share_of_the_crop(self):
        from latentsync.face.align import alignment_matrices, crop_faces

        matrices = alignment_matrices(anchors(3) + np.float32([60, 40]), RESOLUTION)
        white = np.full((SIZE, SIZE, 3), 255, dtype=np.uint8)
        crops = crop_faces([white] * 3, matrices, RESOLUTION)
        grey = (crops < 0.5).float().mean(dim=(1, 2, 3)).numpy()
        assert grey.min() > 0.05
        assert np.abs(outside_shares(matrices, RESOLUTION, SIZE, SIZE) - grey).max() < 0.01


class TestStep:
    def test_it_is_picklable_and_needs_no_weights(self):
        step = AffineStep(AffineConfig(resolution=128, crf=12))
        assert pickle.loads(pickle.dumps(step)) == step
        assert step.weights() == []

    @pytest.mark.parametrize(
        "wrong", [{"resolution": 255}, {"resolution": 0}, {"crf": 52}, {"max_outside": 1.5}], ids=str
    )
    def test_settings_out_of_range_are_errors(self, wrong):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} .* (is out of range|cannot be used)"):
            AffineConfig(**wrong)
