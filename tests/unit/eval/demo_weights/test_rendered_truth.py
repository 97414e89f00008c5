import shutil

import numpy as np
import pytest

from demo.synthetic.clip_set import Clip, find_clips
from demo.synthetic.dataset import DatasetConfig, make_dataset
from eval.demo_weights import rendered_truth
from eval.demo_weights.rendered_truth import truth_of
from latentsync.errors import InputError


@pytest.fixture(scope="module")
def clips(tmp_path_factory, espeak) -> list[Clip]:
    root = tmp_path_factory.mktemp("rendered")
    make_dataset(DatasetConfig(root, num_clips=2, seconds=0.8, seed=3, resolution=64))
    return find_clips(root)


def test_only_the_lower_face_moves_with_the_other_speech(clips, tmp_path, monkeypatch):
    truth = truth_of(clips[0], clips[1], 12, tmp_path)
    assert truth.shape == (12, 64, 64, 3)
    np.testing.assert_array_equal(truth[:, :30], clips[0].crops[:12, :30])
    assert np.abs(truth[:, 35:].astype(int) - clips[0].crops[:12, 35:]).max() > 20
    monkeypatch.setattr(rendered_truth, "_render", None)
    np.testing.assert_array_equal(truth_of(clips[0], clips[1], 12, tmp_path), truth)


def test_own_speech_needs_no_render(clips, tmp_path):
    np.testing.assert_array_equal(truth_of(clips[0], clips[0], 9, tmp_path), clips[0].crops[:9])


def test_clips_of_another_renderer_are_refused(clips, tmp_path):
    folder = tmp_path / "clip_00000"
    shutil.copytree(clips[0].folder, folder)
    np.save(folder / "crops.npy", 255 - clips[0].crops)
    with pytest.raises(InputError, match="make the clips anew"):
        truth_of(Clip(folder), clips[1], 4, tmp_path / "cache")
