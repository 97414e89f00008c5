"""Measure whether one VAE encoding can serve the masked image and the reference image.

    python -m benchmarks.masked_latents [arguments of ./inference.sh]

The two images differ under the mask only. So the masked latents are replaced by the reference latents outside the mask,
and under the mask by the mean of masked latents over time. With a margin, cells within so many cells of the mask's
border keep their own masked latents, which still needs the second encoding. Prints the PSNR of the masked latents (the
peak is their range) and of the generated mouth in dB, over the first frames of the video.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measurement import markdown_table
from latentsync.audio.whisper_features import WhisperFeatures
from latentsync.cli import run_command
from latentsync.face.mask import latent_mask
from latentsync.face.paste import FacePaster
from latentsync.media.transcode import cut_audio
from latentsync.pipelines.lipsync_job import LipsyncJob
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.pipelines.window_stages import Chunk, decode_windows, denoise_windows
from latentsync.recipes.lipsync_arguments import ChosenPipeline
from scripts import inference

NUM_FRAMES, FPS = 52, 25
MARGINS = (0, 1, 2)
COLUMNS = ("margin, cells", "masked latents, dB", "mouth, dB")


def composed(own: Tensor, num_latents: int, resolution: int, margin: int) -> Tensor:
    """Return constant channels (n, 1 + 2 L, h, w) with masked latents composed of reference latents and a mean."""
    mask, masked, reference = own.split((1, num_latents, num_latents), dim=1)
    generated = 1 - latent_mask(resolution, own.shape[-1]).to(own)[None, None]
    near, inside = _grown(generated, margin), 1 - _grown(1 - generated, margin)
    shared = torch.lerp(reference, masked, near)
    return torch.cat((mask, torch.lerp(shared, masked.mean(dim=0, keepdim=True), inside), reference), dim=1)


def _grown(mask: Tensor, margin: int) -> Tensor:
    return F.max_pool2d(mask, 2 * margin + 1, stride=1, padding=margin)


def psnr_db(image: Tensor, reference: Tensor, peak: float) -> float:
    """Return the PSNR over all values."""
    return float(10 * torch.log10(peak**2 / (image - reference).square().mean()))


@torch.inference_mode()
def measure(pipeline: LipsyncPipeline, job: LipsyncJob) -> list[dict[str, float]]:
    """Return the rows of the table."""
    (person,) = pipeline.find_people(job)
    stages = pipeline.stages(job, person)
    chunks = list(stages.encode(stages.align(pipeline.read(job, len(person.plan)))))
    features = WhisperFeatures(pipeline.audio_encoder, person.voice.samples)
    num_latents, resolution = pipeline.synthesizer.codec.latent_channels, pipeline.resolution
    in_mouth = FacePaster(resolution, pipeline.device).weight > 0.5

    windows = [chunk.window for chunk in chunks if chunk.window is not None]
    encoded = [window.conditioning for window in windows if window.conditioning is not None]

    def masked(conditioning: list[Tensor]) -> Tensor:
        return torch.cat(conditioning)[:, 1 : 1 + num_latents]

    def mouths(conditioning: list[Tensor]) -> Tensor:
        synthesizer, options = pipeline.synthesizer, job.options
        pairs = zip(windows, conditioning, strict=True)
        changed = (Chunk([], replace(window, conditioning=channels)) for window, channels in pairs)
        denoised = denoise_windows(synthesizer, changed, features, job.fps, options)
        decoded = decode_windows(synthesizer, denoised, options)
        return torch.cat([chunk.generated for chunk in decoded if chunk.generated is not None])[:, :, in_mouth]

    expected, peak = mouths(encoded), float(masked(encoded).max() - masked(encoded).min())
    rows = []
    for margin in MARGINS:
        changed = [composed(own, num_latents, resolution, margin) for own in encoded]
        values = margin, psnr_db(masked(changed), masked(encoded), peak), psnr_db(mouths(changed), expected, 2.0)
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Print the table; return 0, or 2 if an input is invalid."""
    given = inference.build_parser().parse_args(arguments)

    def run() -> int:
        chosen = ChosenPipeline.of(given)
        pipeline = chosen.load()
        with tempfile.TemporaryDirectory() as folder:
            audio = Path(folder) / "speech.wav"
            cut_audio(given.audio_path, audio, NUM_FRAMES / FPS)
            with pipeline.open_job(given.video_path, audio, Path(folder) / "out.mp4", chosen.options) as job:
                print(markdown_table(COLUMNS, measure(pipeline, job)))
        return 0

    return run_command(run, when_stopped="nothing was written")


if __name__ == "__main__":
    sys.exit(main())
