"""Dubs by the demo U-Net: held-out clips generated with the next clip's speech, and some with their own."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from demo.synthetic.clip import FPS, TalkingClip
from demo.synthetic.clip_set import Clip
from demo.synthetic.speech import SAMPLE_RATE
from eval.demo_weights.networks import load_scorer
from eval.demo_weights.settings import Evaluation, clip_key, files_key
from eval.stored_results import ResultLog, Values
from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.whisper_features import WhisperFeatures
from latentsync.audio.whisper_model import load_whisper_encoder
from latentsync.config import load_config
from latentsync.errors import InputError
from latentsync.face.mask import lower_half
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
"""Values of the pairs, in the output folder."""
MEASUREMENT = 1
"""Incremented when a value changes its meaning, so that older results are not reused."""

_SHEET_COLUMNS = 8
_UPPER_SHARE = 1 / 3
"""Upper share of the crop in which nothing moves with the speech."""


@dataclass
class DubNetworks:
    """The dubber, called with crops (f, R, R, 3) and samples (s,), and the networks that measure its results."""

    dub: Callable[[np.ndarray, np.ndarray], np.ndarray]
    reader: MouthReader
    scorer: StableSyncScorer
    distance: VaeEncoderDistance


def load_networks(evaluation: Evaluation) -> DubNetworks:
    """Load the U-Net and its VAE in bfloat16, as inference does on a CPU that supports it; the others in float32."""
    run = load_config(evaluation.unet_config, UNetRun)
    unet = load_unet(run.model, evaluation.unet, dtype=torch.bfloat16, resolution=run.data.resolution)
    codec = load_vae(evaluation.weights / "vae", dtype=torch.bfloat16)
    synthesizer = WindowSynthesizer(unet, codec, run.data.resolution)
    dubber = CropDubber(synthesizer, run.data.num_frames, FPS, evaluation.options)
    encoder = load_whisper_encoder(evaluation.weights / "whisper.pt", dtype=torch.bfloat16)
    return DubNetworks(
        dub=lambda crops, speech: dubber(crops, WhisperFeatures(encoder, ArraySamples(speech))),
        reader=load_mouth_reader(evaluation.weights / "mouth_reader.pt"),
        scorer=load_scorer(evaluation),
        distance=VaeEncoderDistance(load_vae(evaluation.weights / "vae").vae.encoder),
    )


def measure_dubs(evaluation: Evaluation) -> Values:
    """Generate and measure all dubs that are not stored; see `summary` for the values.

    Raises:
        InputError: there is only one clip, so that no other clip can drive it.
    """
    clips = evaluation.clips
    dubs = [(clip, clips[(i + 1) % len(clips)]) for i, clip in enumerate(clips[: evaluation.num_dubs])]
    own = [(clip, clip) for clip in clips[: evaluation.num_own]]
    if dubs and len(clips) < 2:
        raise InputError("dubs need two clips at least: raise --clips, or make more held-out clips")
    measured = measure_pairs(evaluation, dubs + own)
    return summary(measured[: len(dubs)], measured[len(dubs) :])


def measure_pairs(evaluation: Evaluation, pairs: list[tuple[Clip, Clip]]) -> list[Values]:
    """Return the values of every pair (clip, driver), from `dubs.jsonl` if stored; networks are loaded on demand."""
    texts = (evaluation.generation_settings(), evaluation.syncnet_settings())
    settings = cache_key(MEASUREMENT, *texts, files_key(evaluation.dub_files()))
    stored = ResultLog(evaluation.out / PAIRS)
    networks = cache(lambda: load_networks(evaluation))
    results = []
    for number, (clip, driver) in enumerate(pairs):
        key = cache_key(settings, clip_key(clip), clip_key(driver))
        label = f"{clip.folder.name} says {driver.folder.name}"
        results.append(stored.get(key, label, partial(_measure_with, networks, clip, driver, evaluation)))
        logger.info("%d of %d: %s %s", number + 1, len(pairs), label, _shown(results[-1]))
    return results


def generate(clip: Clip, driver: Clip, num_frames: int, networks: DubNetworks, evaluation: Evaluation) -> np.ndarray:
    """Return the clip's crops (num_frames, R, R, 3) uint8 dubbed with the driver's speech.

    They are stored, so that a change of the measuring networks does not require a new dub.
    """
    files = files_key([*evaluation.generation_files(), *(one.folder / "speech.wav" for one in (clip, driver))])
    key = cache_key("painted", num_frames, evaluation.generation_settings(), files, clip_key(clip))
    stored = ArrayCache(evaluation.out / "painted")
    return stored.get(key, lambda: networks.dub(clip.crops[:num_frames], driver.speech()))


def measure_pair(clip: Clip, driver: Clip, networks: DubNetworks, evaluation: Evaluation) -> Values:
    """Return the values of one dub, and write its contact sheet (source, dub, ground truth, driver)."""
    num_frames = min(evaluation.num_frames, len(clip.crops), len(driver.crops))
    speech = driver.speech()[: num_frames * SAMPLE_RATE // FPS]
    truth = rendered_truth(clip, driver, num_frames, evaluation.cache)
    source, driving = clip.crops[:num_frames], driver.crops[:num_frames]
    dubbed = generate(clip, driver, num_frames, networks, evaluation)
    chosen = np.linspace(0, num_frames - 1, _SHEET_COLUMNS + 2).astype(int)[1:-1]
    write_crop_sheet([rows[chosen] for rows in (source, dubbed, truth, driving)], _sheet(clip, driver, evaluation.out))
    mouth = read_mouth(networks.reader, dubbed)
    curve = networks.scorer.curve(dubbed, speech)
    reach = feather_reach(dubbed.shape[1])
    return {
        "opening": correlation(mouth[:, 0], driver.frames_track[:num_frames, 0]),
        "width": correlation(mouth[:, 1], driver.frames_track[:num_frames, 1]),
        "opening_original": correlation(mouth[:, 0], clip.frames_track[:num_frames, 0]),
        "width_original": correlation(mouth[:, 1], clip.frames_track[:num_frames, 1]),
        "sync": in_sync_similarity(curve),
        "sync_offset": score_similarities(curve).offset,
        "sync_truth": in_sync_similarity(networks.scorer.curve(truth, speech)),
        "sync_driving": in_sync_similarity(networks.scorer.curve(driving, speech)),
        "edge_step": edge_step(dubbed, reach),
        "edge_step_truth": edge_step(truth, reach),
        "edge_neighbours": edge_step(dubbed),
        "edge_neighbours_truth": edge_step(truth),
        "flicker": flicker(dubbed),
        "flicker_truth": flicker(truth),
        "mouth_psnr_db": mouth_psnr_db(dubbed, truth),
        "vae_distance": vae_distance(networks.distance, dubbed, truth),
    }


def summary(dubs: list[Values], own: list[Values]) -> Values:
    """Return the values over all dubs; names that begin with `own_` are of clips generated with their own speech.

    Ratios are the mean over results divided by the mean over ground truth: the person rendered with the driving speech,
    or the driving clips for `sync_ratio_driving`. `opening` and `width` are correlations with the driving mouth.
    """
    values: Values = {"num_dubs": len(dubs), "num_own": len(own)}
    if dubs:
        values |= {name: _mean(dubs, name) for name in ("opening", "width", "opening_original", "width_original")}
        values["opening_worst"] = min(row["opening"] for row in dubs)
        values["opening_original_size"] = float(np.mean([abs(row["opening_original"]) for row in dubs]))
        values["sync"] = _mean(dubs, "sync")
        values["sync_ratio"] = _ratio(dubs, "sync", "sync_truth")
        values["sync_ratio_driving"] = _ratio(dubs, "sync", "sync_driving")
        values["sync_offset_0"] = float(np.mean([row["sync_offset"] == 0 for row in dubs]))
        values["edge_ratio"] = _ratio(dubs, "edge_step", "edge_step_truth")
        values["edge_neighbours_ratio"] = _ratio(dubs, "edge_neighbours", "edge_neighbours_truth")
        values["flicker_ratio"] = _ratio(dubs, "flicker", "flicker_truth")
        values |= {name: _mean(dubs, name) for name in ("mouth_psnr_db", "vae_distance")}
    if own:
        values |= {f"own_{name}": _mean(own, name) for name in ("opening", "mouth_psnr_db", "vae_distance")}
        values["own_sync_ratio"] = _ratio(own, "sync", "sync_truth")
        values["own_flicker_ratio"] = _ratio(own, "flicker", "flicker_truth")
    return values


@torch.inference_mode()
def vae_distance(distance: VaeEncoderDistance, first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean distance of VAE features (stand-in for LPIPS) of the lower halves, over every fourth frame."""
    parts = [to_images(lower_half(crops[::4], channels_last=True)) for crops in (first, second)]
    pairs = zip(*(part.split(8) for part in parts), strict=True)
    return float(torch.cat([distance(one, other) for one, other in pairs]).mean())


def rendered_truth(clip: Clip, driver: Clip, num_frames: int, cache_dir: Path) -> np.ndarray:
    """Return crops (num_frames, R, R, 3) uint8 of the clip's person rendered with the driver's speech; cached.

    Raises:
        InputError: the clips differ in length, or were rendered by another version of the renderer.
    """
    if driver.folder == clip.folder:
        return clip.crops[:num_frames]
    if len(clip.crops) != len(driver.crops):
        raise InputError(f"{clip.folder} and {driver.folder} differ in length: make the set with one --seconds")
    key = cache_key("rendered truth", clip_key(clip), clip_key(driver), num_frames)
    truth = ArrayCache(cache_dir).get(key, lambda: _render(clip, driver, num_frames))
    rows = slice(0, int(_UPPER_SHARE * truth.shape[1]))
    difference = truth[:, rows].astype(np.int16) - clip.crops[:num_frames, rows]
    if np.abs(difference).max() > 1:
        raise InputError(f"{clip.folder} differs from what the renderer draws now: make the clips anew")
    return truth


def _render(clip: Clip, driver: Clip, num_frames: int) -> np.ndarray:
    duration_s = len(clip.crops) / FPS
    speech = TalkingClip(driver.meta["seed"], driver.meta["index"], duration_s).samples  # without the added noise
    look = clip.meta.get("look", "plain")
    talking = TalkingClip(clip.meta["seed"], clip.meta["index"], duration_s, speech, look=look)
    return np.stack(list(islice(talking.crops(clip.crops.shape[1]), num_frames)))


def _measure_with(networks: Callable[[], DubNetworks], clip: Clip, driver: Clip, evaluation: Evaluation) -> Values:
    return measure_pair(clip, driver, networks(), evaluation)


def _shown(values: Values) -> str:
    return ", ".join(f"{name} {values[name]:.3f}" for name in ("opening", "width", "sync", "sync_truth"))


def _sheet(clip: Clip, driver: Clip, out: Path) -> Path:
    return out / "dubs" / f"{clip.folder.name}_says_{driver.folder.name}.png"


def _mean(rows: list[Values], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def _ratio(rows: list[Values], name: str, other: str) -> float:
    return _mean(rows, name) / _mean(rows, other)
