"""How well the demo VAE gives back what it is shown."""

from collections.abc import Sequence

import numpy as np
import torch

from latentsync.demo_training.clip_set import Clip
from latentsync.demo_training.colour_distance import chroma_error, psnr_db
from latentsync.demo_training.figures.image_measures import mouth_psnr_db, to_crops, to_images
from latentsync.demo_training.figures.real_crops import real_crops
from latentsync.demo_training.figures.setup import Evaluation
from latentsync.models.vae import LatentCodec, load_vae
from latentsync.pipelines.crop_sheet import write_crop_sheet

FRAMES = (20, 70, 120)
_SHEET_COLUMNS = 8
_SHEET_PAIRS = 3


def measure_vae(evaluation: Evaluation) -> dict[str, float]:
    """Three frames a clip: mean PSNR per picture, PSNR of all mouths, mean chroma error; the same of real crops."""
    codec = load_vae(evaluation.weights / "vae")
    originals = frames_of(evaluation.clips)
    decoded = _reconstructed(codec, originals)
    write_crop_sheet(_sheet_rows(originals, decoded), evaluation.out / "vae.png")
    return _figures(originals, decoded) | _measure_real(codec, evaluation)


def _sheet_rows(originals: np.ndarray, decoded: np.ndarray) -> list[np.ndarray]:
    """Up to three pairs of full rows, as wide as there are pictures for."""
    width = min(_SHEET_COLUMNS, len(originals))
    starts = range(0, min(len(originals), _SHEET_PAIRS * width) - width + 1, width)
    return [part[start : start + width] for start in starts for part in (originals, decoded)]


def reconstruction_figures(codec: LatentCodec, originals: np.ndarray) -> dict[str, float]:
    """Distances between pictures (n, R, R, 3) uint8 and what the VAE gives back."""
    return _figures(originals, _reconstructed(codec, originals))


def _figures(originals: np.ndarray, decoded: np.ndarray) -> dict[str, float]:
    return {
        **_distances(originals, decoded),
        "mouth_psnr_db": mouth_psnr_db(originals, decoded),
        "num_pictures": len(originals),
    }


def _measure_real(codec: LatentCodec, evaluation: Evaluation) -> dict[str, float]:
    """The same distances of every real video, and the worst of them."""
    if evaluation.real is None:
        return {}
    figures: dict[str, float] = {}
    rows = []
    for name, originals in real_crops(evaluation.real, evaluation.clips[0].crops.shape[1]):
        decoded = _reconstructed(codec, originals)
        figures |= {f"real_{key}/{name}": value for key, value in _distances(originals, decoded).items()}
        rows += [originals, decoded]
    width = min(len(row) for row in rows)
    write_crop_sheet([row[:width] for row in rows], evaluation.out / "vae_real.png")
    worst_psnr = min(value for key, value in figures.items() if key.startswith("real_psnr_db/"))
    worst_chroma = max(value for key, value in figures.items() if key.startswith("real_chroma_error/"))
    return figures | {"real_psnr_db_worst": worst_psnr, "real_chroma_error_worst": worst_chroma}


def frames_of(clips: Sequence[Clip]) -> np.ndarray:
    """The frames that are looked at, of all clips together, (n, R, R, 3) uint8."""
    return np.concatenate([clip.crops[[frame for frame in FRAMES if frame < len(clip.crops)]] for clip in clips])


@torch.inference_mode()
def _reconstructed(codec: LatentCodec, crops: np.ndarray) -> np.ndarray:
    """Encoded and decoded again, eight at a time."""
    parts = [to_images(crops[i : i + 8]) for i in range(0, len(crops), 8)]
    return np.concatenate([to_crops(codec.decode(codec.encode(part))) for part in parts])


def _distances(originals: np.ndarray, decoded: np.ndarray) -> dict[str, float]:
    return {
        "psnr_db": float(np.mean([psnr_db(a, b) for a, b in zip(originals, decoded, strict=True)])),
        "chroma_error": chroma_error(originals, decoded),
    }
