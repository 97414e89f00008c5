import numpy as np
import pytest

from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.whisper_features import WhisperFeatures
from latentsync.face.mask import keep_mask
from latentsync.pipelines.crop_dubber import CropDubber
from latentsync.pipelines.options import LipsyncOptions
from tests.tiny_pipeline import RESOLUTION, tiny_pipeline


@pytest.fixture(scope="module")
def pipeline():
    return tiny_pipeline()


def dub(pipeline, **options) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (19, RESOLUTION, RESOLUTION, 3), dtype=np.uint8)
    speech = (0.1 * rng.standard_normal(16000)).astype(np.float32)
    dubber = CropDubber(pipeline.synthesizer, 8, 25, LipsyncOptions(2, 1.0, **options))
    return crops, dubber(crops, WhisperFeatures(pipeline.audio_encoder, ArraySamples(speech)))


def test_generates_inside_the_mask_only(pipeline):
    crops, dubbed = dub(pipeline, overlap_frames=4)
    assert dubbed.shape == crops.shape
    keep = keep_mask(RESOLUTION).numpy() == 1
    np.testing.assert_array_equal(dubbed[:, keep], crops[:, keep])
    assert (dubbed[:, ~keep] != crops[:, ~keep]).mean() > 0.3


def test_windows_at_once_do_not_change_the_result(pipeline):
    _, one = dub(pipeline, overlap_frames=4, batch_windows=1)
    _, three = dub(pipeline, overlap_frames=4, batch_windows=3)
    assert np.abs(one.astype(int) - three).max() <= 1
