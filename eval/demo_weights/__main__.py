"""`python -m eval.demo_weights [GROUP ...] --data DIR --weights DIR --out DIR`: evaluate the demo weights.

Measures the demo weights on held-out synthetic clips against fixed targets. Groups: syncnet, vae, mouth_reader, dubs,
size, and inference (measured only if named). The output folder receives `figures.json`, `table.md` and contact sheets.
Stored results with equal weights, clips and settings are reused, so the command can be repeated to resume.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from demo.synthetic.clip_set import find_clips
from eval.demo_weights.dubs import MEASUREMENT, PAIRS, measure_dubs
from eval.demo_weights.networks import (
    measure_inference,
    measure_mouth_reader,
    measure_size,
    measure_syncnet,
    measure_vae,
)
from eval.demo_weights.settings import Evaluation, clip_key, files_key
from eval.demo_weights.targets import markdown_table
from eval.stored_results import Values
from latentsync.cli import OneLineParser, run_command
from latentsync.errors import InputError
from latentsync.pipelines.options import LipsyncOptions
from latentsync.storage.atomic import atomic_write
from latentsync.storage.content_cache import cache_key
from latentsync.storage.owned_folder import claim_folder, locked

logger = logging.getLogger(__name__)

PROGRAM = "demo figures"
_REMEDY = "name another --out"
_BATCH_WINDOWS = 5


@dataclass(frozen=True)
class Group:
    """Values that are measured together.

    Attributes:
        measure: returns the values.
        files: returns the files besides the clips that affect the values.
        settings: returns the settings that affect the values, as text.
        repeats: True if the values are measured again even if nothing has changed.
    """

    measure: Callable[[Evaluation], Values]
    files: Callable[[Evaluation], list[Path]]
    settings: Callable[[Evaluation], str] = lambda evaluation: ""
    repeats: bool = False


GROUPS = {
    "syncnet": Group(measure_syncnet, Evaluation.syncnet_files, Evaluation.syncnet_settings),
    "vae": Group(measure_vae, Evaluation.reconstruction_files),
    "mouth_reader": Group(measure_mouth_reader, Evaluation.mouth_reader_files),
    "dubs": Group(measure_dubs, Evaluation.dub_files, Evaluation.dub_settings),
    "size": Group(measure_size, Evaluation.weight_files),
    "inference": Group(measure_inference, Evaluation.weight_files, repeats=True),
}
DEFAULT_GROUPS = tuple(name for name in GROUPS if name != "inference")


def evaluate(evaluation: Evaluation, names: tuple[str, ...]) -> dict[str, Values]:
    """Measure the named groups and write `figures.json` and `table.md`.

    Both files also contain the groups measured earlier with the same weights, clips and settings.

    Returns:
        The values of all these groups by name.
    """
    clips = cache_key(*(clip_key(clip) for clip in evaluation.clips))
    stored = _stored(evaluation.out / "figures.json")
    results = {name: result for name, result in stored.items() if _is_current(name, result, evaluation, clips)}
    for name in names:
        key = _key(GROUPS[name], evaluation, clips)
        if name not in results or GROUPS[name].repeats:
            logger.info("measuring %s", name)
            results[name] = {"key": key, "figures": GROUPS[name].measure(evaluation)}
        _write(evaluation.out, results)
    return {name: result["figures"] for name, result in results.items()}


def _is_current(name: str, result: dict, evaluation: Evaluation, clips: str) -> bool:
    """Return True if a stored result was measured with these weights, clips and settings."""
    try:
        return result.get("key") == _key(GROUPS[name], evaluation, clips)
    except InputError:  # its weights are missing
        return False


def _key(group: Group, evaluation: Evaluation, clips: str) -> str:
    return cache_key(MEASUREMENT, clips, files_key(group.files(evaluation)), group.settings(evaluation))


def _stored(path: Path) -> dict[str, dict]:
    """Return the results of an earlier run; none if the file is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: content[name] for name in GROUPS if name in content}


def _write(out: Path, results: dict[str, dict]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    table = markdown_table({name: result["figures"] for name, result in results.items()})
    for name, text in (("figures.json", json.dumps(results, indent=1) + "\n"), ("table.md", table)):
        with atomic_write(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def parse_evaluation(arguments: argparse.Namespace) -> Evaluation:
    """Build the settings from the command line; raise InputError if a number is out of range."""
    if min(arguments.dubs, arguments.own) < 0 or arguments.frames < 32 or arguments.clips < 1:
        raise InputError("--clips must be at least 1, --dubs and --own at least 0, --frames at least 32")
    return Evaluation(
        clips=find_clips(arguments.data)[: arguments.clips],
        weights=arguments.weights,
        unet=arguments.unet or arguments.weights / "latentsync_unet.pt",
        out=arguments.out,
        cache=arguments.cache,
        real=arguments.real,
        num_dubs=arguments.dubs,
        num_own=arguments.own,
        num_frames=arguments.frames,
        options=LipsyncOptions(arguments.steps, arguments.guidance, batch_windows=_BATCH_WINDOWS),
        unet_config=arguments.unet_config or Evaluation.unet_config,
        syncnet_config=arguments.syncnet_config or Evaluation.syncnet_config,
    )


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = OneLineParser(
        prog="python -m eval.demo_weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)} (default: all but inference)")
    add("--data", type=Path, required=True, help="folder of held-out clips")
    add("--weights", type=Path, required=True, help="folder of the demo weights")
    add("--out", type=Path, required=True, help="folder for values and contact sheets")
    add("--cache", type=Path, default=Path("cache/demo_truth"), help="folder for rendered ground truth (300 MB)")
    add(
        "--real",
        type=Path,
        default=None,
        help="folder of real videos for the VAE; its contact sheet shows them",
    )
    add("--unet", type=Path, default=None, help="another U-Net's weights instead of the folder's")
    add("--unet_config", type=Path, default=None, help="its configuration (default: configs/demo/unet.yaml)")
    add("--syncnet_config", type=Path, default=None, help="the SyncNet's (default: configs/demo/syncnet.yaml)")
    add("--clips", type=int, default=100, help="number of clips")
    add("--dubs", type=int, default=50, help="number of clips dubbed with the next clip's speech")
    add("--own", type=int, default=10, help="number of clips generated with their own speech")
    add("--frames", type=int, default=124, help="frames of each dub")
    add("--steps", type=int, default=20, help="denoising steps")
    add("--guidance", type=float, default=1.5, help="guidance scale")
    add("--threads", type=int, default=None, help="CPU threads (default: all)")
    return parser


def main() -> int:
    """Run the command; return 0, or 2 if an input is invalid."""
    parser = build_parser()
    arguments = parser.parse_args()
    unknown = [name for name in arguments.groups if name not in GROUPS]
    if unknown:
        parser.error(f"unknown group {unknown[0]}: use {', '.join(GROUPS)}")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    return run_command(lambda: _main(arguments), when_stopped="repeat the command to resume")


def _main(arguments: argparse.Namespace) -> int:
    evaluation = parse_evaluation(arguments)
    claim_folder(evaluation.out, PROGRAM, _REMEDY, _is_of_older_version)
    with locked(evaluation.out, f"wait for it, or {_REMEDY}"):
        evaluate(evaluation, tuple(arguments.groups) or DEFAULT_GROUPS)
    sys.stdout.write((arguments.out / "table.md").read_text(encoding="utf-8"))
    return 0


def _is_of_older_version(out: Path) -> bool:
    """Return True if a folder holds `figures.json`, or `dubs.jsonl`, which is written first."""
    stored = _stored(out / "figures.json")
    if stored and all(isinstance(result, dict) and "figures" in result for result in stored.values()):
        return True
    try:
        with (out / PAIRS).open(encoding="utf-8") as file:
            return {"key", "pair", "figures"} == json.loads(file.readline()).keys()
    except (OSError, ValueError, AttributeError):
        return False


if __name__ == "__main__":
    sys.exit(main())
