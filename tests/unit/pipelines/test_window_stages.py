"""The stages between crops: every frame is encoded and decoded once, and windows are blended."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.whisper_features import WhisperFeatures
from latentsync.pipelines import window_stages
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.window_stages import BatchLimit, Chunk, Window, batch_chunks, encode_windows, generate_crops
from latentsync.pipelines.windows import plan_windows
from tests.golden_values import det
from tests.tiny_pipeline import RESOLUTION, tiny_pipeline

OPTIONS = LipsyncOptions(num_inference_steps=1, guidance_scale=1.0)
CROPS = torch.tanh(det("crops", (19, 3, RESOLUTION, RESOLUTION)))
NUM_WINDOW_FRAMES = 8


@pytest.fixture(scope="module")
def pipeline():
    return tiny_pipeline()


def windows(crops: torch.Tensor = CROPS, first: int = 0, overlap: int = 4) -> Iterator[Window]:
    num_read = 0
    for span in plan_windows(len(crops), NUM_WINDOW_FRAMES, overlap):
        new = crops[num_read : span.stop]
        yield Window(first + span.start, new, num_read - span.start, span.settled - span.start)
        num_read = span.stop


def generate(pipeline, *given: Window, **changes) -> torch.Tensor:
    features = WhisperFeatures(pipeline.audio_encoder, ArraySamples(det("speech", (32000,), 0.1).numpy()))
    options = replace(OPTIONS, **changes)
    return torch.cat(list(generate_crops(pipeline.synthesizer, given, features, Fraction(25), options)))


def count_images(codec, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    counts = {"encode": 0, "decode": 0}

    def counting(name: str):
        original = getattr(codec, name)

        def call(images, *args, **kwargs):
            counts[name] += len(images)
            return original(images, *args, **kwargs)

        return call

    for name in counts:
        monkeypatch.setattr(codec, name, counting(name))
    return counts


@pytest.mark.parametrize("overlap", [0, 4])
@pytest.mark.parametrize("num_frames", [1, 5, 8, 9, 19])
def test_every_frame_is_encoded_twice_and_decoded_once(pipeline, monkeypatch, overlap: int, num_frames: int):
    counts = count_images(pipeline.synthesizer.codec, monkeypatch)
    generated = generate(pipeline, *windows(CROPS[:num_frames], overlap=overlap))
    assert counts == {"encode": 2 * num_frames, "decode": num_frames}  # masked and unmasked; the generated latents
    assert len(generated) == num_frames


def test_a_window_has_the_latents_of_its_own_frames(pipeline):
    synthesizer = pipeline.synthesizer
    alone = torch.cat([synthesizer.encode(crop[None], 0, OPTIONS) for crop in CROPS])
    chunks = (Chunk([], window) for window in windows())
    for chunk in encode_windows(synthesizer, chunks, OPTIONS):
        assert chunk.window is not None
        assert chunk.window.conditioning is not None
        expected = alone[chunk.window.start : chunk.window.start + len(chunk.window)]
        torch.testing.assert_close(chunk.window.conditioning, expected, rtol=0, atol=1e-4)


def test_an_interval_does_not_depend_on_the_one_before(pipeline):
    other = CROPS.flip(0)
    together = generate(pipeline, *windows(), *windows(other, first=len(CROPS)))
    alone = generate(pipeline, *windows(other, first=len(CROPS)))
    torch.testing.assert_close(together[len(CROPS) :], alone, rtol=0, atol=1e-4)


def test_the_number_of_windows_at_once_changes_rounding_only(pipeline):
    one, three = (generate(pipeline, *windows(), batch_windows=number) for number in (1, 3))
    torch.testing.assert_close(one, three, rtol=0, atol=1e-4)


def test_chunks_without_a_window_and_windows_of_other_lengths_are_not_batched():
    chunks = [Chunk([], window) for window in windows(CROPS[:12])]
    chunks += [Chunk([]), *(Chunk([], window) for window in windows(CROPS[:5])), *chunks]
    assert [len(batch) for batch in batch_chunks(chunks, BatchLimit(4))] == [2, 1, 1, 2]


def test_the_first_window_decides_how_many_the_next_batches_have(pipeline, monkeypatch):
    def denoise(conditioning: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        sizes.append(len(conditioning))
        return original(conditioning, *args, **kwargs)

    sizes: list[int] = []
    original = pipeline.synthesizer.denoise
    monkeypatch.setattr(pipeline.synthesizer, "denoise", denoise)
    monkeypatch.setattr(window_stages, "fitting_batch_size", lambda device, largest: 2)
    crops = torch.cat((CROPS, CROPS))
    chosen = generate(pipeline, *windows(crops, overlap=0), batch_windows=None)
    assert sizes == [1, 2, 2]  # 38 frames are 4 windows of 8 and one of 6, which begins earlier
    torch.testing.assert_close(chosen, generate(pipeline, *windows(crops, overlap=0)), rtol=0, atol=1e-4)
