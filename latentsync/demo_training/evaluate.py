"""`python -m latentsync.demo_training.evaluate MODEL --data DIR --weights DIR --out DIR`: figures on held-out clips.

Prints one JSON line, and writes it with contact sheets into the output folder.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from latentsync.audio.frame_tokens import frame_tokens
from latentsync.audio.mel import mel_window, syncnet_mel
from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.whisper_features import WhisperFeatures
from latentsync.audio.whisper_model import WhisperEncoder, load_whisper_encoder
from latentsync.config import load_config
from latentsync.demo_training.clip_set import FRAMES_PER_SECOND, Clip, find_clips
from latentsync.demo_training.colour_distance import chroma_error, lab, psnr_db
from latentsync.demo_training.mouth_reader import load_mouth_reader, read_mouth
from latentsync.demo_training.syncnet import CONFIG as SYNCNET_CONFIG
from latentsync.demo_training.syncnet import NEAREST_NEGATIVE, NUM_FRAMES, lower_half
from latentsync.demo_training.syncnet_run import SyncNetRun
from latentsync.demo_training.unet import CONFIG as UNET_CONFIG
from latentsync.diffusion.noise import window_noise
from latentsync.diffusion.sampler import denoise
from latentsync.diffusion.scheduler import build_scheduler
from latentsync.errors import LatentSyncError
from latentsync.face.colour import match_colour
from latentsync.face.mask import blend_mask, keep_mask, latent_mask
from latentsync.models.checkpoint import load_syncnet, load_unet
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.vae import LatentCodec, load_vae
from latentsync.recipes.unet_run import UNetRun

logger = logging.getLogger(__name__)

_MOUTH = (slice(None), slice(72, 112), slice(40, 88))
_OFFSETS = range(-15, 16)


def to_images(crops: np.ndarray) -> torch.Tensor:
    """Crops (n, h, w, 3) uint8 to (n, 3, h, w) in [-1, 1]."""
    return torch.from_numpy(np.array(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_crops(images: torch.Tensor) -> np.ndarray:
    """Images (n, 3, h, w) about [-1, 1] to (n, h, w, 3) uint8."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def write_sheet(rows: list[np.ndarray], path: Path, scale: int = 2) -> None:
    """Contact sheet: every row is a stack of crops (n, h, w, 3)."""
    sheet = Image.fromarray(np.concatenate([np.concatenate(list(row), axis=1) for row in rows]))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.LANCZOS).save(path)


@torch.inference_mode()
def evaluate_vae(clips: list[Clip], weights: Path, out: Path) -> dict[str, float]:
    """Reconstruction of three frames a clip: PSNR, PSNR of the mouth, mean chroma error."""
    codec = load_vae(weights / "vae")
    originals = np.concatenate([clip.crops[[20, 70, 120]] for clip in clips])
    decoded = to_crops(codec.decode(codec.encode(to_images(originals))))
    write_sheet([part[i : i + 8] for i in range(0, 24, 8) for part in (originals, decoded)], out / "vae.png")
    return {
        "psnr_db": float(np.mean([psnr_db(a, b) for a, b in zip(originals, decoded, strict=True)])),
        "mouth_psnr_db": psnr_db(originals[_MOUTH], decoded[_MOUTH]),
        "chroma_error": chroma_error(originals, decoded),
    }


def evaluate_mouth_reader(clips: list[Clip], weights: Path, out: Path) -> dict[str, float]:
    """Correlation of what is read with the truth, over all frames and per clip."""
    reader = load_mouth_reader(weights / "mouth_reader.pt")
    read = [read_mouth(reader, clip.crops) for clip in clips]
    truth = [clip.frames_track for clip in clips]
    per_clip = [correlation(a[:, 0], b[:, 0]) for a, b in zip(read, truth, strict=True)]
    together = [correlation(np.concatenate(read)[:, i], np.concatenate(truth)[:, i]) for i in range(2)]
    return {"opening": together[0], "width": together[1], "opening_worst_clip": min(per_clip)}


class CropDubber:
    """Repaints aligned crops for given speech, as the pipeline does, without files."""

    def __init__(self, unet: UNet3DConditionModel, codec: LatentCodec, encoder: WhisperEncoder):
        self.unet, self.codec, self.encoder = unet.eval(), codec, encoder

    @torch.inference_mode()
    def __call__(self, crops: np.ndarray, speech: np.ndarray, num_steps: int = 20, guidance: float = 1.5) -> np.ndarray:
        """Crops (f, R, R, 3) uint8 and samples -> repainted crops, f a multiple of the window."""
        images = to_images(crops)
        resolution, size = images.shape[-1], images.shape[-1] // self.codec.factor
        masked = self.codec.encode(images * keep_mask(resolution))
        reference = self.codec.encode(images)
        mask = latent_mask(resolution, size).expand(len(images), 1, -1, -1).to(masked)
        constant = torch.cat([mask, masked, reference], 1).unflatten(0, (-1, NUM_FRAMES)).transpose(1, 2)
        features = WhisperFeatures(self.encoder, ArraySamples(speech))
        audio = frame_tokens(features, range(len(crops)), Fraction(FRAMES_PER_SECOND)).unflatten(0, (-1, NUM_FRAMES))
        noise = window_noise(0, 0, (len(audio), self.codec.latent_channels, NUM_FRAMES, size, size))
        latents = denoise(self.unet, build_scheduler("ddim"), noise, constant, audio.to(masked), num_steps, guidance)
        painted = self.codec.decode(latents.transpose(1, 2).flatten(0, 1)).float().clamp(-1, 1)
        painted = match_colour(painted, images)
        return to_crops(torch.lerp(images, painted, blend_mask(resolution)))


def evaluate_unet(clips: list[Clip], weights: Path, out: Path) -> dict[str, float]:
    """Dubs each clip with the next one's speech: mouth against both speeches, colour at the edge, flicker."""
    run = load_config(UNET_CONFIG, UNetRun)
    unet = load_unet(run.model, weights / "latentsync_unet.pt", dtype=torch.bfloat16)
    codec = load_vae(weights / "vae", dtype=torch.bfloat16)
    dub = CropDubber(unet, codec, load_whisper_encoder(weights / "whisper.pt"))
    reader = load_mouth_reader(weights / "mouth_reader.pt")
    figures: dict[str, list[float]] = {}
    rows = []
    for clip, driver in zip(clips, clips[1:] + clips[:1], strict=True):
        original = np.array(clip.crops[: 8 * NUM_FRAMES])
        dubbed = dub(original, driver.speech())
        mouth = read_mouth(reader, dubbed)
        count = len(original)
        figures.setdefault("opening_driving", []).append(correlation(mouth[:, 0], driver.frames_track[:count, 0]))
        figures.setdefault("width_driving", []).append(correlation(mouth[:, 1], driver.frames_track[:count, 1]))
        figures.setdefault("opening_original", []).append(correlation(mouth[:, 0], clip.frames_track[:count, 0]))
        figures.setdefault("edge_step_ratio", []).append(edge_step(dubbed) / edge_step(original))
        figures.setdefault("flicker_ratio", []).append(flicker(dubbed) / flicker(np.array(driver.crops[:count])))
        rows += [original[24:104:10], dubbed[24:104:10], np.array(driver.crops[24:104:10])]
    write_sheet(rows[:18], out / "unet.png")
    result = {name: float(np.mean(values)) for name, values in figures.items()}
    return result | {"opening_driving_worst": min(figures["opening_driving"])}


def edge_step(crops: np.ndarray) -> float:
    """Mean Lab distance between neighbouring pixels on either side of the mask's edge."""
    keep = keep_mask(crops.shape[1]).numpy()
    colours = lab(crops)
    across = np.linalg.norm(np.diff(colours, axis=1), axis=-1)[:, np.diff(keep, axis=0) != 0]
    along = np.linalg.norm(np.diff(colours, axis=2), axis=-1)[:, np.diff(keep, axis=1) != 0]
    return float(np.concatenate([across, along], axis=1).mean())


def flicker(crops: np.ndarray) -> float:
    """Mean absolute second difference over time of the mouth's pixels."""
    return float(np.abs(np.diff(crops[_MOUTH].astype(np.float32), n=2, axis=0)).mean())


@torch.inference_mode()
def evaluate_syncnet(clips: list[Clip], weights: Path, out: Path) -> dict[str, float]:
    """Accuracy on own and shifted sound at threshold 0.5, and the share of clips whose best offset is 0."""
    run = load_config(SYNCNET_CONFIG, SyncNetRun)
    syncnet = load_syncnet(run.model, weights / "stable_syncnet.pt").eval()
    positives, negatives, num_found = [], [], 0
    for clip in clips:
        starts = list(range(0, len(clip.crops) - NUM_FRAMES + 1, 2))
        mel = syncnet_mel(clip.speech())
        last = len(clip.crops) - NUM_FRAMES
        pictures = torch.stack([lower_half(clip.crops[s : s + NUM_FRAMES]).flatten(0, 1) for s in starts])
        sounds = torch.stack([mel_window(mel, s)[None] for s in range(last + 1)])
        vision, audio = syncnet.visual_encoder(pictures), syncnet.audio_encoder(sounds)
        similarity = (vision @ audio.T).numpy()
        for row, start in zip(similarity, starts, strict=True):
            far = np.abs(np.arange(last + 1) - start) >= NEAREST_NEGATIVE
            positives.append(row[start])
            negatives.extend(row[far])
        inner = [(row, s) for row, s in zip(similarity, starts, strict=True) if 15 <= s <= last - 15]
        curve = [np.mean([row[s + offset] for row, s in inner]) for offset in _OFFSETS]
        num_found += _OFFSETS[int(np.argmax(curve))] == 0
    hit, reject = np.mean(np.array(positives) > 0.5), np.mean(np.array(negatives) <= 0.5)
    return {
        "accuracy": float(hit + reject) / 2,
        "hit": float(hit),
        "reject": float(reject),
        "offset_0": num_found / len(clips),
    }


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's; 0 where one of the two never moves."""
    if min(first.std(), second.std()) < 1e-6:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


_EVALUATIONS: dict[str, Callable[[list[Clip], Path, Path], dict[str, float]]] = {
    "vae": evaluate_vae,
    "mouth_reader": evaluate_mouth_reader,
    "unet": evaluate_unet,
    "syncnet": evaluate_syncnet,
}


def main() -> int:
    """Reads the command line and evaluates; 2 when an input cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m latentsync.demo_training.evaluate", description=__doc__)
    parser.add_argument("model", choices=_EVALUATIONS)
    parser.add_argument("--data", type=Path, required=True, help="folder of held-out clips")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the demo weights")
    parser.add_argument("--out", type=Path, required=True, help="folder for figures and contact sheets")
    parser.add_argument("--clips", type=int, default=None, help="number of clips (default: all)")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: all)")
    args = parser.parse_args()
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    try:
        figures = _EVALUATIONS[args.model](find_clips(args.data)[: args.clips], args.weights, args.out)
    except LatentSyncError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"model": args.model, **{name: round(value, 4) for name, value in figures.items()}})
    (args.out / f"{args.model}.json").write_text(line + "\n", encoding="utf-8")
    sys.stdout.write(line + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
