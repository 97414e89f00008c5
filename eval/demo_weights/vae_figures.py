"""How well the demo VAE gives back what it is shown."""

import numpy as np

from demo.synthetic.clip_metrics import image_metrics, reconstruct, reconstruction_metrics, sample_frames
from eval.demo_weights.real_crops import real_crops
from eval.demo_weights.setup import Evaluation
from latentsync.models.vae import LatentCodec, load_vae
from latentsync.pipelines.contact_sheet import write_crop_sheet

_SHEET_COLUMNS = 8
_SHEET_PAIRS = 3


def measure_vae(evaluation: Evaluation) -> dict[str, float]:
    """Three frames a clip: mean PSNR per picture, PSNR of all mouths, mean chroma error; the same of real crops."""
    codec = load_vae(evaluation.weights / "vae")
    originals = sample_frames(evaluation.clips)
    decoded = reconstruct(codec, originals)
    write_crop_sheet(_sheet_rows(originals, decoded), evaluation.out / "vae.png")
    return reconstruction_metrics(originals, decoded) | _measure_real(codec, evaluation)


def _sheet_rows(originals: np.ndarray, decoded: np.ndarray) -> list[np.ndarray]:
    """Up to three pairs of full rows, as wide as there are pictures for."""
    width = min(_SHEET_COLUMNS, len(originals))
    starts = range(0, min(len(originals), _SHEET_PAIRS * width) - width + 1, width)
    return [part[start : start + width] for start in starts for part in (originals, decoded)]


def _measure_real(codec: LatentCodec, evaluation: Evaluation) -> dict[str, float]:
    """The same distances of every real video, and the worst of them."""
    if evaluation.real is None:
        return {}
    figures: dict[str, float] = {}
    rows = []
    for name, originals in real_crops(evaluation.real, evaluation.clips[0].crops.shape[1]):
        decoded = reconstruct(codec, originals)
        figures |= {f"real_{key}/{name}": value for key, value in image_metrics(originals, decoded).items()}
        rows += [originals, decoded]
    width = min(len(row) for row in rows)
    write_crop_sheet([row[:width] for row in rows], evaluation.out / "vae_real.png")
    worst_psnr = min(value for key, value in figures.items() if key.startswith("real_psnr_db/"))
    worst_chroma = max(value for key, value in figures.items() if key.startswith("real_chroma_error/"))
    return figures | {"real_psnr_db_worst": worst_psnr, "real_chroma_error_worst": worst_chroma}
