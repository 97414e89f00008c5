"""Values of single demo networks (SyncNet, VAE, mouth reader), the size of all weights, and the time of inference."""

import subprocess
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from demo.synthetic.clip_metrics import (
    image_metrics,
    mouth_reading_metrics,
    reconstruct,
    reconstruction_metrics,
    sample_frames,
)
from eval.demo_weights.settings import Evaluation, find_videos
from eval.stored_results import Values
from latentsync.errors import InputError, ToolError
from latentsync.face.align import alignment_matrices, crop_faces
from latentsync.face.detection import FaceDetector
from latentsync.face.detector import build_detector
from latentsync.judges.crop_measures import to_crops
from latentsync.judges.mouth_reader import load_mouth_reader
from latentsync.judges.stable_sync_scorer import (
    StableSyncScorer,
    load_stable_sync_scorer,
    score_similarities,
    similarity_curve,
)
from latentsync.media.reader import VideoReader
from latentsync.models.vae import LatentCodec, load_vae
from latentsync.pipelines.contact_sheet import write_crop_sheet
from latentsync.weights import AUXILIARY, REPOSITORY_ROOT

MIN_OFFSET_FRAMES = 3
"""Smallest offset in frames between the video and the audio of a negative."""

THRESHOLD = 0.5

NUM_CROPS = 8
"""Crops measured per real video."""
_CROP_SPACING = 14
_SHEET_COLUMNS = 8
_SHEET_PAIRS = 3


def load_scorer(evaluation: Evaluation) -> StableSyncScorer:
    """Load the demo SyncNet as a scorer."""
    return load_stable_sync_scorer(evaluation.syncnet_config, evaluation.weights / "stable_syncnet.pt")


def measure_syncnet(evaluation: Evaluation) -> Values:
    """Return the accuracy over all windows of all clips, and the share of clips whose best offset is 0.

    `hit` is the share of windows whose similarity with their own audio exceeds the threshold. `reject` is the share of
    negatives (a window with other audio of its clip, at least 3 frames away) that do not exceed it. `accuracy` is their
    mean at threshold 0.5, `best_accuracy` that at the best threshold.
    """
    scorer = load_scorer(evaluation)
    own, other, offsets = [], [], []
    for clip in evaluation.clips:
        similarities = scorer.similarities(clip.crops, clip.speech())
        starts = np.arange(len(similarities))
        own.append(np.diagonal(similarities))
        other.append(similarities[np.abs(starts[:, None] - starts) >= MIN_OFFSET_FRAMES])
        offsets.append(score_similarities(similarity_curve(similarities)).offset)
    positives, negatives = np.sort(np.concatenate(own)), np.sort(np.concatenate(other))
    hit, reject = shares(positives, negatives, THRESHOLD)
    thresholds = np.linspace(0.01, 0.99, 99)
    accuracies = [sum(shares(positives, negatives, threshold)) / 2 for threshold in thresholds]
    return {
        "accuracy": (hit + reject) / 2,
        "hit": hit,
        "reject": reject,
        "best_accuracy": float(max(accuracies)),
        "best_threshold": float(thresholds[int(np.argmax(accuracies))]),
        "offset_0": float(np.mean(np.array(offsets) == 0)),
        "worst_offset": float(np.abs(offsets).max()),
        "num_clips": len(offsets),
    }


def shares(positives: np.ndarray, negatives: np.ndarray, threshold: float) -> tuple[float, float]:
    """Return the share of positives above a threshold and of negatives not above it; both arrays are sorted."""
    above = 1 - np.searchsorted(positives, threshold, side="right") / len(positives)
    return float(above), float(np.searchsorted(negatives, threshold, side="right") / len(negatives))


def measure_mouth_reader(evaluation: Evaluation) -> Values:
    """Return the correlation of the mouth reader with the rendered ground truth."""
    reader = load_mouth_reader(evaluation.weights / "mouth_reader.pt")
    return mouth_reading_metrics(reader, evaluation.clips)


def measure_vae(evaluation: Evaluation) -> Values:
    """Return the reconstruction metrics over three frames per clip, and those of real crops if there are any."""
    codec = load_vae(evaluation.weights / "vae")
    originals = sample_frames(evaluation.clips)
    decoded = reconstruct(codec, originals)
    write_crop_sheet(_sheet_rows(originals, decoded), evaluation.out / "vae.png")
    return reconstruction_metrics(originals, decoded) | _measure_real(codec, evaluation)


def _sheet_rows(originals: np.ndarray, decoded: np.ndarray) -> list[np.ndarray]:
    """Return up to three pairs of full rows of equal width."""
    width = min(_SHEET_COLUMNS, len(originals))
    starts = range(0, min(len(originals), _SHEET_PAIRS * width) - width + 1, width)
    return [part[start : start + width] for start in starts for part in (originals, decoded)]


def _measure_real(codec: LatentCodec, evaluation: Evaluation) -> Values:
    """Return the image metrics of every real video, and the worst of them."""
    if evaluation.real is None:
        return {}
    values: Values = {}
    rows = []
    for name, originals in real_crops(evaluation.real, evaluation.clips[0].crops.shape[1]):
        decoded = reconstruct(codec, originals)
        values |= {f"real_{key}/{name}": value for key, value in image_metrics(originals, decoded).items()}
        rows += [originals, decoded]
    width = min(len(row) for row in rows)
    write_crop_sheet([row[:width] for row in rows], evaluation.out / "vae_real.png")
    worst_psnr = min(value for key, value in values.items() if key.startswith("real_psnr_db/"))
    worst_chroma = max(value for key, value in values.items() if key.startswith("real_chroma_error/"))
    return values | {"real_psnr_db_worst": worst_psnr, "real_chroma_error_worst": worst_chroma}


def real_crops(folder: Path, resolution: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each video's name and up to 8 aligned crops (n, R, R, 3) uint8 of its best detection, 0.56 s apart."""
    detector = build_detector("auto", "cpu", AUXILIARY)
    for video in find_videos(folder):
        crops = [crop for frame in _frames(video) if (crop := _crop(frame, detector, resolution)) is not None]
        if not crops:
            raise InputError(f"{video}: no face found in its first seconds; take it out of the folder")
        yield video.stem, np.stack(crops)


def _frames(video: Path) -> Iterator[np.ndarray]:
    with VideoReader(video, Fraction(25)) as reader:
        for index, frame in enumerate(reader):
            if index % _CROP_SPACING == 0:
                yield frame
            if index >= _CROP_SPACING * (NUM_CROPS - 1):
                return


def _crop(frame: np.ndarray, detector: FaceDetector, resolution: int) -> np.ndarray | None:
    faces = detector.detect([frame])[0]
    if not faces:
        return None
    matrices = alignment_matrices(faces[0].anchors[None], resolution)
    return to_crops(crop_faces([frame], matrices, resolution))[0]


def measure_size(evaluation: Evaluation) -> Values:
    """Return the size of all weight files, also in megabytes of 1,000,000 bytes."""
    num_bytes = sum(path.stat().st_size for path in evaluation.weight_files())
    return {"megabytes": num_bytes / 1e6, "bytes": num_bytes}


def measure_inference(evaluation: Evaluation) -> Values:
    """Return the wall-clock seconds of `./inference.sh` on the bundled demo, with its default weights."""
    evaluation.out.mkdir(parents=True, exist_ok=True)
    command = [str(REPOSITORY_ROOT / "inference.sh"), "--video_out_path", str(evaluation.out / "inference.mp4")]
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ToolError(f"inference.sh failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return {"seconds": time.monotonic() - start}
