"""The folder of a finished adaptation: weights, configuration, report and record."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

import latentsync
from latentsync.adaptation.report import AdaptationReport
from latentsync.adaptation.settings import AdaptationSettings, write_note
from latentsync.recipes.adapted_weights import CONFIG, RECORD, VERSION
from latentsync.storage.content_cache import content_key
from latentsync.storage.output_file import atomic_output
from latentsync.weights import REPOSITORY_ROOT, find_vae, locate, locate_initial


def write_result(
    settings: AdaptationSettings,
    report: AdaptationReport,
    weights: Sequence[Path],
    rows: Sequence[np.ndarray],
) -> None:
    """Write weights, configuration and report, and last the record, which makes the result complete.

    Args:
        settings: of the adaptation.
        report: its guidance scale is stored with the weights.
        weights: files with the adapted U-Net, or its low-rank changes, and with the decoder of the VAE if it was
            trained.
        rows: of the contact sheet.

    Raises:
        InputError: a file cannot be written.
    """
    out, run = settings.out, settings.run
    for file in weights:
        with atomic_output(out / file.name) as beside:
            shutil.copyfile(file, beside)
    with atomic_output(out / CONFIG) as beside:
        OmegaConf.save(OmegaConf.create(_inference_config(settings, report.guidance_scale)), beside)
    report.write(out, rows)
    vae, base = find_vae(run.vae), locate_initial(str(run.initial))
    belongs = [locate(run.audio.whisper), *sorted(path for path in vae.iterdir() if path.is_file()), base]
    write_note(
        out / RECORD,
        {
            "version": VERSION,
            "latentsync": latentsync.__version__,
            "settings": settings.key,
            "videos": {path.name: content_key(path) for path in settings.videos},
            "base": _name(base),
            "files": {name: content_key(out / name) for name in (*(file.name for file in weights), CONFIG)},
            "belongs_to": {_name(path): content_key(path) for path in belongs},
            "report": report.values(),
        },
    )


def _inference_config(settings: AdaptationSettings, guidance_scale: float) -> dict:
    """Return the sections of the configuration that inference reads."""
    run = asdict(settings.run)
    data = {name: run["data"][name] for name in ("resolution", "num_frames", "video_fps")}
    sampling = run["run"] | {"guidance_scale": guidance_scale}
    return {"model": run["model"], "data": data, "run": sampling, "audio": run["audio"], "vae": run["vae"]}


def _name(path: Path) -> str:
    """Return the path of a file relative to the repository, or its absolute path."""
    resolved = path.resolve()
    inside = resolved.is_relative_to(REPOSITORY_ROOT)
    return (resolved.relative_to(REPOSITORY_ROOT) if inside else resolved).as_posix()
