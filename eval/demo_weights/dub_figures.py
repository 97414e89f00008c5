"""How the demo U-Net dubs: each clip with the next one's speech, and some with their own."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from demo.synthetic.clip_set import AUDIO_SAMPLE_RATE, FRAMES_PER_SECOND, Clip
from eval.demo_weights.measured_pairs import Figures, MeasuredPairs
from eval.demo_weights.rendered_truth import truth_of
from eval.demo_weights.setup import Evaluation, clip_key, files_key
from eval.demo_weights.sync_figures import load_scorer
from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.whisper_features import WhisperFeatures
from latentsync.audio.whisper_model import load_whisper_encoder
from latentsync.config import load_config
from latentsync.errors import InputError
from latentsync.judges.crop_measures import (
    correlation,
    edge_step,
    feather_reach,
    flicker,
    mouth_psnr_db,
    to_images,
)
from latentsync.judges.mouth_reader import MouthReader, load_mouth_reader, read_mouth
from latentsync.judges.perceptual_distance import VaeEncoderDistance
from latentsync.judges.stable_sync_scorer import StableSyncScorer, in_sync_similarity, score_similarities
from latentsync.models.checkpoint import load_unet
from latentsync.models.vae import load_vae
from latentsync.pipelines.contact_sheet import write_crop_sheet
from latentsync.pipelines.crop_dubber import CropDubber
from latentsync.pipelines.synthesis import WindowSynthesizer
from latentsync.recipes.unet_run import UNetRun
from latentsync.storage.content_cache import ArrayCache, cache_key

logger = logging.getLogger(__name__)

PAIRS = "dubs.jsonl"
"""Figures of pairs, below the output folder."""
MEASUREMENT = 1
"""Counted up when what is measured changes, so that older results are not mixed in."""

_SHEET_COLUMNS = 8


@dataclass
class DubJudges:
    """The dubber, called with crops (f, R, R, 3) and samples (s,), and everything that looks at its work."""

    dub: Callable[[np.ndarray, np.ndarray], np.ndarray]
    reader: MouthReader
    scorer: StableSyncScorer
    distance: VaeEncoderDistance


def load_judges(evaluation: Evaluation) -> DubJudges:
    """The U-Net and the VAE in bfloat16, as on a CPU that has it; the judges in float32."""
    run = load_config(evaluation.unet_config, UNetRun)
    unet = load_unet(run.model, evaluation.unet, dtype=torch.bfloat16, resolution=run.data.resolution)
    codec = load_vae(evaluation.weights / "vae", dtype=torch.bfloat16)
    synthesizer = WindowSynthesizer(unet, codec, run.data.resolution)
    dubber = CropDubber(synthesizer, run.data.num_frames, FRAMES_PER_SECOND, evaluation.options)
    encoder = load_whisper_encoder(evaluation.weights / "whisper.pt", dtype=torch.bfloat16)
    return DubJudges(
        dub=lambda crops, speech: dubber(crops, WhisperFeatures(encoder, ArraySamples(speech))),
        reader=load_mouth_reader(evaluation.weights / "mouth_reader.pt"),
        scorer=load_scorer(evaluation),
        distance=VaeEncoderDistance(load_vae(evaluation.weights / "vae").vae.encoder),
    )


def measure_dubs(evaluation: Evaluation) -> Figures:
    """Dubs and measures what is not measured yet; see `summary` for what comes out.

    Raises InputError where there is only one clip, so that none can speak for another.
    """
    clips = evaluation.clips
    dubs = [(clip, clips[(i + 1) % len(clips)]) for i, clip in enumerate(clips[: evaluation.num_dubs])]
    own = [(clip, clip) for clip in clips[: evaluation.num_own]]
    if dubs and len(clips) < 2:
        raise InputError("dubs need two clips at least: raise --clips, or make more held-out clips")
    measured = measure_pairs(evaluation, dubs + own)
    return summary(measured[: len(dubs)], measured[len(dubs) :])


def measure_pairs(evaluation: Evaluation, pairs: list[tuple[Clip, Clip]]) -> list[Figures]:
    """Figures of every pair (clip, driver), from `dubs.jsonl` where they are; networks load when one is missing."""
    texts = (evaluation.painting_text(), evaluation.syncnet_text())
    settings = cache_key(MEASUREMENT, *texts, files_key(evaluation.dub_files()))
    store = MeasuredPairs(evaluation.out / PAIRS)
    judges = cache(lambda: load_judges(evaluation))
    results = []
    for number, (clip, driver) in enumerate(pairs):
        key = cache_key(settings, clip_key(clip), clip_key(driver))
        label = f"{clip.folder.name} says {driver.folder.name}"
        results.append(store.get(key, label, partial(_measure_with, judges, clip, driver, evaluation)))
        logger.info("%d of %d: %s %s", number + 1, len(pairs), label, _shown(results[-1]))
    return results


def paint(clip: Clip, driver: Clip, num_frames: int, judges: DubJudges, evaluation: Evaluation) -> np.ndarray:
    """The clip's crops (num_frames, R, R, 3) uint8 dubbed by the driver; kept, so that other judges may look later."""
    files = files_key([*evaluation.painting_files(), *(one.folder / "speech.wav" for one in (clip, driver))])
    key = cache_key("painted", num_frames, evaluation.painting_text(), files, clip_key(clip))
    painted = ArrayCache(evaluation.out / "painted")
    return painted.get(key, lambda: judges.dub(clip.crops[:num_frames], driver.speech()))


def measure_pair(clip: Clip, driver: Clip, judges: DubJudges, evaluation: Evaluation) -> Figures:
    """One dub, its contact sheet (source, dubbed, what it should be, driver) and its figures."""
    num_frames = min(evaluation.num_frames, len(clip.crops), len(driver.crops))
    speech = driver.speech()[: num_frames * AUDIO_SAMPLE_RATE // FRAMES_PER_SECOND]
    truth = truth_of(clip, driver, num_frames, evaluation.cache)
    source, driving = clip.crops[:num_frames], driver.crops[:num_frames]
    dubbed = paint(clip, driver, num_frames, judges, evaluation)
    chosen = np.linspace(0, num_frames - 1, _SHEET_COLUMNS + 2).astype(int)[1:-1]
    write_crop_sheet([rows[chosen] for rows in (source, dubbed, truth, driving)], _sheet(clip, driver, evaluation.out))
    mouth = read_mouth(judges.reader, dubbed)
    curve = judges.scorer.curve(dubbed, speech)
    reach = feather_reach(dubbed.shape[1])
    return {
        "opening": correlation(mouth[:, 0], driver.frames_track[:num_frames, 0]),
        "width": correlation(mouth[:, 1], driver.frames_track[:num_frames, 1]),
        "opening_original": correlation(mouth[:, 0], clip.frames_track[:num_frames, 0]),
        "width_original": correlation(mouth[:, 1], clip.frames_track[:num_frames, 1]),
        "sync": in_sync_similarity(curve),
        "sync_offset": score_similarities(curve).offset,
        "sync_truth": in_sync_similarity(judges.scorer.curve(truth, speech)),
        "sync_driving": in_sync_similarity(judges.scorer.curve(driving, speech)),
        "edge_step": edge_step(dubbed, reach),
        "edge_step_truth": edge_step(truth, reach),
        "edge_neighbours": edge_step(dubbed),
        "edge_neighbours_truth": edge_step(truth),
        "flicker": flicker(dubbed),
        "flicker_truth": flicker(truth),
        "mouth_psnr_db": mouth_psnr_db(dubbed, truth),
        "vae_distance": vae_distance(judges.distance, dubbed, truth),
    }


def summary(dubs: list[Figures], own: list[Figures]) -> Figures:
    """One figure each over all dubs; names beginning with `own_` are of clips painted to their own speech.

    Ratios are a mean over results over the same mean over ground truth: the person rendered with the driving speech, or
    for `sync_ratio_driving` the driving clips. `opening` and `width` are correlations with the driving mouth's track.
    """
    figures: Figures = {"num_dubs": len(dubs), "num_own": len(own)}
    if dubs:
        figures |= {name: _mean(dubs, name) for name in ("opening", "width", "opening_original", "width_original")}
        figures["opening_worst"] = min(row["opening"] for row in dubs)
        figures["opening_original_size"] = float(np.mean([abs(row["opening_original"]) for row in dubs]))
        figures["sync"] = _mean(dubs, "sync")
        figures["sync_ratio"] = _ratio(dubs, "sync", "sync_truth")
        figures["sync_ratio_driving"] = _ratio(dubs, "sync", "sync_driving")
        figures["sync_offset_0"] = float(np.mean([row["sync_offset"] == 0 for row in dubs]))
        figures["edge_ratio"] = _ratio(dubs, "edge_step", "edge_step_truth")
        figures["edge_neighbours_ratio"] = _ratio(dubs, "edge_neighbours", "edge_neighbours_truth")
        figures["flicker_ratio"] = _ratio(dubs, "flicker", "flicker_truth")
        figures |= {name: _mean(dubs, name) for name in ("mouth_psnr_db", "vae_distance")}
    if own:
        figures |= {f"own_{name}": _mean(own, name) for name in ("opening", "mouth_psnr_db", "vae_distance")}
        figures["own_sync_ratio"] = _ratio(own, "sync", "sync_truth")
        figures["own_flicker_ratio"] = _ratio(own, "flicker", "flicker_truth")
    return figures


@torch.inference_mode()
def vae_distance(distance: VaeEncoderDistance, first: np.ndarray, second: np.ndarray) -> float:
    """The stand-in for LPIPS on the lower halves of two stacks, every fourth frame."""
    half = first.shape[1] // 2
    parts = [to_images(crops[::4, half:]) for crops in (first, second)]
    pairs = zip(*(part.split(8) for part in parts), strict=True)
    return float(torch.cat([distance(one, other) for one, other in pairs]).mean())


def _measure_with(judges: Callable[[], DubJudges], clip: Clip, driver: Clip, evaluation: Evaluation) -> Figures:
    return measure_pair(clip, driver, judges(), evaluation)


def _shown(figures: Figures) -> str:
    return ", ".join(f"{name} {figures[name]:.3f}" for name in ("opening", "width", "sync", "sync_truth"))


def _sheet(clip: Clip, driver: Clip, out: Path) -> Path:
    return out / "dubs" / f"{clip.folder.name}_says_{driver.folder.name}.png"


def _mean(rows: list[Figures], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def _ratio(rows: list[Figures], name: str, other: str) -> float:
    return _mean(rows, name) / _mean(rows, other)
