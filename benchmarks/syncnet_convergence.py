"""Study why a SyncNet's loss stays at 0.693: small trainings that differ in one setting each, and their document.

    python -m benchmarks.syncnet_convergence run --data data --out runs/syncnet_convergence
    python -m benchmarks.syncnet_convergence document --out runs/syncnet_convergence

Every run is scripts/train_syncnet.py with configs/demo/syncnet_study.yaml and a few overrides, about two minutes on one
core; all process the same number of windows. Finished runs are skipped, so the command can be repeated to resume. Each
run is also evaluated on the same clean held-out clips (eval/eval_syncnet_acc.py). `document` redraws the curves in
docs/syncnet_convergence/ and the tables of docs/syncnet_convergence.md, and keeps the text of the document.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.syncnet_convergence_document import write_document
from eval import eval_syncnet_acc
from latentsync.cli import SIGNAL_EXIT_BASE, OneLineParser, Stopped, run_command
from latentsync.data.clip_list import list_clips
from latentsync.errors import InputError
from latentsync.storage.output_file import atomic_output
from latentsync.storage.owned_folder import claim_folder
from latentsync.weights import REPOSITORY_ROOT
from scripts import train_syncnet

logger = logging.getLogger(__name__)

CONFIG = REPOSITORY_ROOT / "configs" / "demo" / "syncnet_study.yaml"
NUM_WINDOWS = 8_000
_NUM_LOGS, _NUM_VALIDATIONS = 40, 4
_BASE_BATCH = 64
_STRIDES = "model.audio_encoder.downsample_factors=[[4,2],[2,2],[2,2],[2,2],[3,{last}]]"


@dataclass(frozen=True)
class Study:
    """One training of the study.

    Attributes:
        name: name of its folder and of its row in the tables.
        overrides: overrides of configs/demo/syncnet_study.yaml.
        batch_size: items per step.
        windows_per_item: windows per item; a step processes batch_size x windows_per_item.
        clips: folder of training clips in --data.
        held_out_clips: folder of held-out clips in --data.
        num_clips: number of training clips; 0 for all.
        num_windows: total number of windows.
    """

    name: str
    overrides: list[str] = field(default_factory=list)
    batch_size: int = _BASE_BATCH
    windows_per_item: int = 1
    clips: str = "train"
    held_out_clips: str = "val"
    num_clips: int = 0
    num_windows: int = NUM_WINDOWS

    @property
    def max_steps(self) -> int:
        """Number of steps for `num_windows`."""
        return self.num_windows // (self.batch_size * self.windows_per_item)

    def arguments(self, clips: Path, held_out: Path, cache: Path, run_dir: Path) -> list[str]:
        """Return the arguments of scripts/train_syncnet.py."""
        return [
            *("--config", str(CONFIG), f"data.train_clips={clips}", f"data.validation_clips={held_out}"),
            *(f"data.cache_dir={cache}", f"training.run_dir={run_dir}", f"training.batch_size={self.batch_size}"),
            *(f"training.max_steps={self.max_steps}", f"training.log_every={max(1, self.max_steps // _NUM_LOGS)}"),
            *(f"training.validate_every={max(1, self.max_steps // _NUM_VALIDATIONS)}", "training.num_threads=1"),
            *self.overrides,
        ]


def frames(number: int, num_mel_columns: int, last_stride: int) -> list[str]:
    """Return overrides for windows of `number` frames."""
    return [
        f"data.num_frames={number}",
        f"data.num_mel_columns={num_mel_columns}",
        f"model.visual_encoder.in_channels={3 * number}",
        _STRIDES.format(last=last_stride),
    ]


def width(number: int) -> list[str]:
    """Return overrides for embeddings of `number` entries."""
    return [
        f"model.visual_encoder.block_out_channels=[16,32,64,{number}]",
        f"model.audio_encoder.block_out_channels=[4,16,32,64,{number}]",
    ]


def grouped(name: str, overrides: Sequence[str] = (), batch_size: int = 16) -> Study:
    """Return a training that compares four windows of each clip with each other."""
    return Study(name, ["pairs.windows_per_clip=4", *overrides], batch_size, 4)


_CONTRASTIVE = ["pairs.contrastive_weight=1.0"]
_MUON = ["training.optimizer.name=muon", "training.optimizer.matrix_lr=6.0e-3", "training.optimizer.weight_decay=0.0"]

STUDIES = [
    Study("published pairs"),
    grouped("4 windows a clip"),
    Study("published pairs, batch 16", batch_size=16),
    Study("published pairs, batch 256", batch_size=256),
    Study("published pairs, rate 1e-3", ["training.optimizer.lr=1.0e-3"]),
    Study("published pairs, rate 1e-4", ["training.optimizer.lr=1.0e-4"]),
    Study("published pairs, rate 3e-5", ["training.optimizer.lr=3.0e-5"]),
    Study("published pairs, contrastive", _CONTRASTIVE),
    Study("published pairs, no warm-up", ["training.schedule.warmup_steps=0"]),
    Study("published pairs, seed 1", ["training.seed=1"]),
    grouped("4 windows, contrastive", _CONTRASTIVE),
    grouped("4 windows, Muon", _MUON),
    grouped("4 windows, contrastive, Muon", _CONTRASTIVE + _MUON),
    grouped("4 windows, seed 1", ["training.seed=1"]),
    grouped("4 windows, 5 frames", frames(5, 16, 1)),
    grouped("4 windows, 25 frames", frames(25, 80, 5)),
    grouped("4 windows, width 32", width(32)),
    grouped("4 windows, width 512", width(512)),
    grouped(
        "4 windows, attention",
        ["model.visual_encoder.attn_blocks=[0,0,1,0]", "model.audio_encoder.attn_blocks=[0,0,0,1,0]"],
    ),
    grouped("4 windows, sound 6 frames late", ["data.audio_offset_frames=6"]),
    replace(grouped("4 windows, 60 aligned clips"), num_clips=60),
    replace(grouped("4 windows, 60 clips of a fixed box"), num_clips=60, clips="train_box", held_out_clips="val_box"),
    grouped("4 windows, batch 16", batch_size=4),
    grouped("4 windows, batch 256", batch_size=64),
    grouped("4 windows, rate 5e-3", ["training.optimizer.lr=5.0e-3"]),
    grouped("4 windows, rate 5e-3, no warm-up", ["training.optimizer.lr=5.0e-3", "training.schedule.warmup_steps=0"]),
    Study("published pairs, four times longer", num_windows=4 * NUM_WINDOWS),
]


def run_study(study: Study, data: Path, out: Path) -> None:
    """Train, evaluate on clean clips and write `<out>/<name>/result.json`; skip the study if that file exists.

    Raises:
        InputError: the training or the evaluation failed.
    """
    folder = study_folder(out, study)
    if (folder / "result.json").is_file():
        return
    logger.info("%s: %d steps", study.name, study.max_steps)
    cache, clips, held_out = out / "cache", data / study.clips, data / study.held_out_clips
    if study.num_clips:
        paths = [str(path.resolve()) for path in list_clips(clips)[: study.num_clips]]
        clips = out / "lists" / f"{folder.name}.txt"  # not in the run folder, which the training creates
        with atomic_output(clips) as temporary:
            temporary.write_text("\n".join(paths) + "\n", encoding="utf-8")
    status = train_syncnet.main(study.arguments(clips, held_out, cache, folder))
    if status > SIGNAL_EXIT_BASE:
        raise Stopped(status - SIGNAL_EXIT_BASE)
    if status != 0:
        raise InputError(f"the study {study.name!r} failed: see above")
    evaluated = folder / "clean.json"
    clean = [
        *("--config", str(folder / "config.yaml"), "--checkpoint", str(folder / "stable_syncnet.pt")),
        *("--clips", str(held_out), "--num_clips", "20", "--windows_per_clip", "8", "--cache_dir", str(cache)),
        *("--out", str(evaluated), "data.audio_offset_frames=0"),
    ]
    if eval_syncnet_acc.main(clean) != 0:
        raise InputError(f"the study {study.name!r} cannot be evaluated: see above")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    result = {
        "name": study.name,
        "overrides": study.overrides,
        "clips": study.clips,
        "windows_per_step": study.batch_size * study.windows_per_item,
        "rows": rows,
        "clean": json.loads(evaluated.read_text()),
    }
    with atomic_output(folder / "result.json") as temporary:
        temporary.write_text(json.dumps(result) + "\n", encoding="utf-8")


def main() -> int:
    """Run the command and return its exit code."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["run", "document"])
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with train, val, train_box, val_box")
    parser.add_argument("--out", type=Path, default=Path("runs/syncnet_convergence"))
    parser.add_argument("--only", nargs="*", help="names of runs (default: all)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    chosen = [study for study in STUDIES if not options.only or study.name in options.only]
    return run_command(lambda: _main(options, chosen), when_stopped="repeat the command to resume")


def _main(options: argparse.Namespace, chosen: Sequence[Study]) -> int:
    if options.command == "document":
        write_document(options.out, [study.name for study in STUDIES])
        return 0
    claim_folder(options.out, "SyncNet study", "name another --out", _is_of_older_version)
    for study in chosen:
        missing = [name for name in (study.clips, study.held_out_clips) if not (options.data / name).is_dir()]
        if missing:
            logger.warning("%s is skipped: %s is missing", study.name, options.data / missing[0])
        else:
            run_study(study, options.data, options.out)
    return 0


def _is_of_older_version(out: Path) -> bool:
    folders = {study_folder(out, study) for study in STUDIES}
    return any((folder / "config.yaml").is_file() for folder in folders)


def study_folder(out: Path, study: Study) -> Path:
    """Return the run folder of a study."""
    return out / study.name.replace(" ", "_").replace(",", "")


if __name__ == "__main__":
    sys.exit(main())
