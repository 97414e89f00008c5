from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.whisper_features import WhisperFeatures
from latentsync.errors import ConfigError, DeviceMemoryError, NonFiniteError
from latentsync.face.mask import keep_mask
from latentsync.pipelines.lipsync_job import Cancelled
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.synthesis import WindowSynthesizer
from latentsync.pipelines.window_stages import Window, generate_crops
from tests.golden_values import det
from tests.tiny_pipeline import RESOLUTION, tiny_pipeline

QUICK = LipsyncOptions(num_inference_steps=2)


@pytest.fixture(scope="module")
def pipeline():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def features(pipeline) -> WhisperFeatures:
    return WhisperFeatures(pipeline.audio_encoder, ArraySamples(det("speech", (32000,), 0.1).numpy()))


def windows() -> list[Window]:
    """Return three windows that share no frames."""
    crops = {start: torch.tanh(det(f"crop{start}", (16, 3, RESOLUTION, RESOLUTION))) for start in (0, 12, 24)}
    return [Window(start, images, num_shared=0, num_settled=16) for start, images in crops.items()]


def generate(pipeline, features, chosen: list[Window], options: LipsyncOptions = QUICK) -> list[torch.Tensor]:
    together = replace(options, batch_windows=len(chosen))
    return list(generate_crops(pipeline.synthesizer, chosen, features, Fraction(25), together))


def denoise_one(pipeline, features, progress) -> None:
    synthesizer, (window,) = pipeline.synthesizer, windows()[:1]
    conditioning = synthesizer.encode(window.crops, window.start, QUICK)[None]
    synthesizer.denoise(conditioning, [window.start], features, Fraction(25), QUICK, progress)


def test_a_window_does_not_depend_on_the_others_of_its_batch(pipeline, features):
    together = generate(pipeline, features, windows())
    for window, batched in zip(windows(), together, strict=True):
        (alone,) = generate(pipeline, features, [window])
        torch.testing.assert_close(batched, alone, rtol=0, atol=1e-4)


def test_the_result_depends_on_the_audio_at_its_own_time_and_on_the_seed(pipeline, features):
    first = windows()[0]
    (here,) = generate(pipeline, features, [first])
    (later,) = generate(pipeline, features, [replace(first, start=20)])
    (other,) = generate(pipeline, features, [first], replace(QUICK, seed=5))
    assert (here - later).abs().max() > 1e-3
    assert (here - other).abs().max() > 1e-2


def test_exact_keeps_the_crop_outside_the_mask_and_matches_no_colour(pipeline, features):
    exact = replace(QUICK, exact=True, overlap_frames=0)
    keep = keep_mask(RESOLUTION) > 0
    (window,) = windows()[:1]
    (published,) = generate(pipeline, features, [window], exact)
    (default,) = generate(pipeline, features, [window])
    assert torch.equal(published[:, :, keep], window.crops[:, :, keep])
    assert not torch.equal(default[:, :, keep], window.crops[:, :, keep])
    assert (published - default)[:, :, ~keep].abs().max() > 1e-2


def test_exact_draws_the_vaes_latents_by_seed_and_place(pipeline, features, monkeypatch):
    seen: list[list[int] | None] = []
    codec = pipeline.synthesizer.codec
    encode = codec.encode

    def spy(images, *args, **kwargs):
        generator = kwargs.get("generator")
        seen.append(None if generator is None else generator.initial_seed())
        return encode(images, *args, **kwargs)

    monkeypatch.setattr(codec, "encode", spy)
    generate(pipeline, features, windows()[:1])
    assert seen == [None, None]
    exact = replace(QUICK, exact=True, overlap_frames=0)
    together = generate(pipeline, features, windows()[:2], exact)
    assert seen[2] == seen[3] != seen[4] == seen[5]
    for window, batched in zip(windows()[:2], together, strict=True):
        (alone,) = generate(pipeline, features, [window], exact)
        torch.testing.assert_close(batched, alone, rtol=0, atol=1e-4)


def test_progress_ends_at_one_and_may_stop_the_work(pipeline, features):
    shares: list[float] = []
    denoise_one(pipeline, features, shares.append)
    assert shares == [0.5, 1.0]

    def stop(share: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        denoise_one(pipeline, features, stop)


def test_a_vae_with_other_latent_channels_is_rejected(pipeline):
    class EightChannels:
        latent_channels = 8
        factor = 8

    with pytest.raises(ConfigError, match="25 input"):
        WindowSynthesizer(pipeline.synthesizer.unet, EightChannels(), RESOLUTION)  # type: ignore[arg-type]


def test_the_vaes_batch_size_changes_nothing_but_rounding(pipeline, features):
    (default,) = generate(pipeline, features, windows()[:1])
    (explicit,) = generate(pipeline, features, windows()[:1], replace(QUICK, vae_batch_size=8))
    (single,) = generate(pipeline, features, windows()[:1], replace(QUICK, vae_batch_size=1))
    assert torch.equal(default, explicit)
    torch.testing.assert_close(single, default, rtol=0, atol=1e-4)


def test_the_vae_gets_no_more_images_at_once_than_requested(pipeline, features, monkeypatch):
    vae = pipeline.synthesizer.codec.vae
    seen = []
    for name in ("encode", "decode"):
        original = getattr(vae, name)

        def call(batch, original=original, **options):
            seen.append(len(batch))
            return original(batch, **options)

        monkeypatch.setattr(vae, name, call)
    generate(pipeline, features, windows()[:1], replace(QUICK, vae_batch_size=3))
    assert seen == 3 * [3, 3, 3, 3, 3, 1]  # masked frames, frames, results


def test_latents_that_are_not_finite_stop_the_job(pipeline, features, monkeypatch):
    unet = pipeline.synthesizer.unet
    monkeypatch.setattr(unet, "forward", lambda sample, *others: torch.full_like(sample[:, :4], torch.nan))
    with pytest.raises(NonFiniteError) as caught:
        generate(pipeline, features, windows()[:1])
    message = str(caught.value)
    assert message.startswith("the U-Net's latents are not finite (NaN or infinity), in float32 on cpu")
    assert "the weights or the input may be damaged" in message
    assert "float16" not in message


def test_an_overflow_in_float16_stops_the_job_and_names_float32(features):
    made = tiny_pipeline()
    unet = made.synthesizer.unet
    with torch.no_grad():
        unet.conv_out.weight.mul_(1e6)  # beyond 65504, the largest float16, and far below float32's
    generate(made, features, windows()[:1])
    made = LipsyncPipeline(unet.half(), made.synthesizer.codec, *others(made))
    with pytest.raises(NonFiniteError, match=r"the U-Net's latents are .* in float16 on cpu .*--dtype float32"):
        generate(made, features, windows()[:1])


def test_a_vae_that_gives_nan_is_named(pipeline, features, monkeypatch):
    vae = pipeline.synthesizer.codec.vae
    original = vae.decode
    monkeypatch.setattr(vae, "decode", lambda *given, **options: (original(*given, **options)[0] * torch.nan,))
    with pytest.raises(NonFiniteError, match="the VAE's decoded images"):
        generate(pipeline, features, windows()[:1])
    monkeypatch.undo()
    bad = replace(windows()[0], crops=torch.full((16, 3, RESOLUTION, RESOLUTION), torch.nan))
    with pytest.raises(NonFiniteError, match="the VAE's latents of the video"):
        generate(pipeline, features, [bad])


def test_audio_that_is_not_finite_is_named(pipeline):
    class Broken:
        num_rows = 100

        def rows(self, start: int, stop: int) -> torch.Tensor:
            return torch.full((stop - start, 2, 16), torch.nan)

    with pytest.raises(NonFiniteError, match="the audio features"):
        generate(pipeline, Broken(), windows()[:1])


def test_a_u_net_without_memory_is_named(pipeline, features, monkeypatch):
    def forward(*given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(pipeline.synthesizer.unet, "forward", forward)
    with pytest.raises(DeviceMemoryError, match=r"^the U-Net ran out of memory on cpu$"):
        generate(pipeline, features, windows()[:1])


def others(made: LipsyncPipeline) -> tuple:
    return made.audio_encoder, made.detector, RESOLUTION
