"""FID and FVD: what goes into their networks, how it is counted, and which files are refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eval.frechet import FeatureStatistics
from eval.metrics.fid import METRIC as FID
from eval.metrics.fid import NUM_FEATURES, feature_extractor, load_inception
from eval.metrics.fvd import METRIC as FVD
from eval.metrics.fvd import load_i3d
from eval.metrics.metric import FrechetDistance
from latentsync.errors import CheckpointError
from tests.unit.eval.made_clips import MadeClips, clip_of, pair_of, textured

CPU = torch.device("cpu")


class MeanColours(torch.nn.Module):
    """Stands in for Inception: 2048 features of a uint8 image."""

    def forward(self, images):
        assert images.dtype == torch.uint8
        means = images.float().mean((2, 3))
        return (means.repeat(1, NUM_FEATURES // 3 + 1)[:, :NUM_FEATURES],)


class TinyI3d(torch.nn.Module):
    """Stands in for I3D, with its way of being called."""

    def forward(self, videos, rescale: bool = False, resize: bool = False, return_features: bool = False):
        assert not rescale
        assert not resize
        assert return_features
        assert videos.shape[1:] == torch.Size([3, 16, 224, 224])
        assert videos.abs().max() <= 1
        return videos.mean((3, 4)).flatten(1).repeat(1, 9)[:, :400]


def gathered(features: np.ndarray) -> FeatureStatistics:
    statistics = FeatureStatistics(features.shape[1])
    statistics.add(features)
    return statistics


def test_fid_takes_every_fifth_frame_and_warns_of_few():
    result, real = textured(23), textured(12, seed=5)
    clips = MadeClips({"result": clip_of(result), "reference": clip_of(real)})
    loaded = FrechetDistance("fid", NUM_FEATURES, feature_extractor(MeanColours(), CPU))
    ours, theirs = loaded.features(pair_of(), clips)
    assert (ours.shape, theirs.shape) == ((5, NUM_FEATURES), (3, NUM_FEATURES))
    np.testing.assert_allclose(ours[:, :3], result[::5].mean((1, 2)), rtol=1e-4)
    small = loaded.values(gathered(ours[:, :40]), gathered(theirs[:, :40]))
    assert small.values["fid"] > 0
    assert (small.num_generated, small.num_real) == (5, 3)
    assert small.warning is not None
    assert "compare it only" in small.warning


def test_fvd_takes_windows_inside_spans(tmp_path):
    path = tmp_path / "i3d.pt"
    torch.jit.script(TinyI3d()).save(str(path))
    loaded = replace(FVD, file=path).load(CPU)
    shown = np.ones(60, bool)
    shown[20] = False  # frames 0-19 hold one window, 21-59 two
    crops = textured(60)
    clips = MadeClips({"result": clip_of(crops, shown), "source": clip_of(crops[:16])})
    ours, theirs = loaded.features(pair_of(None), clips)
    assert (ours.shape, theirs.shape) == ((3, 400), (1, 400))
    np.testing.assert_array_equal(ours[0], theirs[0])
    colours = (crops[37:53].mean((1, 2)).T / 127.5 - 1).ravel()  # channels, then frames
    np.testing.assert_allclose(ours[2][:48], colours, atol=2e-3)
    found = loaded.values(gathered(ours), gathered(ours))
    assert found.values["fvd"] == pytest.approx(0, abs=1e-6)
    assert found.warning is not None
    assert "under 800" in found.warning


def test_wrong_files_are_refused(tmp_path):
    missing, wrong = tmp_path / "missing.pt", tmp_path / "wrong.pt"
    torch.save({"weight": torch.zeros(3)}, wrong)
    for load in (load_inception, load_i3d):
        with pytest.raises(CheckpointError, match="missing"):
            load(missing)
        with pytest.raises(CheckpointError, match="wrong"):
            load(wrong)
    hostile = tmp_path / "hostile.pth"
    torch.save({"weight": Path("/")}, hostile)  # any object but plain tensors needs code to be run
    with pytest.raises(CheckpointError, match="unsafe"):
        load_inception(hostile)


def test_inception_is_read_from_a_file(tmp_path, monkeypatch):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    path = tmp_path / "inception.pth"
    torch.save({}, path)
    with monkeypatch.context() as patched:
        patched.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        network = FeatureExtractorInceptionV3("fid", ["2048"], feature_extractor_weights_path=str(path))
    torch.save(network.state_dict(), path)
    loaded = replace(FID, file=path).load(CPU)
    clips = MadeClips({"result": clip_of(textured(1))})
    ours, _ = loaded.features(pair_of("result"), clips)
    with torch.inference_mode():
        (expected,) = network(torch.from_numpy(textured(1)).permute(0, 3, 1, 2))
    np.testing.assert_allclose(ours, expected.numpy(), rtol=1e-5)
