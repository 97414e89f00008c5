"""Measure quality and time of presets and other sampling settings, for any weights.

    python -m benchmarks.speed_ladder --out runs/ladder [--processes 2] [--rows "20 leading" "preset fast"]

Held-out synthetic people are generated with the speech of others, from the aligned crops on, with the windows of the
pipeline; the same people rendered with that speech are the ground truth. Every (row, dub, seed) is stored in OUT under
a key of settings, weights, code and clips: repeat the command to resume, or with more dubs, seeds or rows to extend it.
OUT receives table.md, ladder.json, ladder.png and contact sheets (truth, then the rows in the order of the table), and
they are written again after every row.

Intervals are 95 % bootstrap intervals of means over dubs, all seeds of a dub together. A row is "no worse" in a
quantity unless the interval of its paired difference to the reference (same dubs, same seeds) lies wholly on the worse
side of zero. The time is processor time of one thread (on other devices wall-clock time), measured in turn.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.speed_ladder.document import Results, to_json, to_markdown
from benchmarks.speed_ladder.dubs import make_dubs
from benchmarks.speed_ladder.ladder import Ladder, tile_frames
from benchmarks.speed_ladder.plot import draw
from benchmarks.speed_ladder.quality import measure_quality
from benchmarks.speed_ladder.rows import REFERENCE, Row, chosen_rows, parse_row
from benchmarks.speed_ladder.summary import summarize
from benchmarks.speed_ladder.times import measure_times, stored_times
from benchmarks.speed_ladder.whole import measure_whole, stored_wholes
from eval.stored_results import write_report
from latentsync.cli import OneLineParser, run_command
from latentsync.errors import InputError
from latentsync.pipelines.contact_sheet import write_crop_sheet
from latentsync.recipes.lipsync_arguments import add_weight_arguments, chosen_build
from latentsync.storage.atomic import atomic_write
from latentsync.storage.owned_folder import claim_folder, locked
from latentsync.weights import CHECKPOINTS, DEMO_UNET, DEMO_UNET_CONFIG, REPOSITORY_ROOT
from scripts.inference import build_parser as build_inference_parser

logger = logging.getLogger(__name__)

PROGRAM = "speed ladder"
_REMEDY = "name another --out"


def write_results(ladder: Ladder, rows: Sequence[Row], num_seeds: int) -> None:
    """Write tables, plot and contact sheets of everything that is stored."""
    values = {
        row.name: {
            (index, seed): stored
            for index in range(len(ladder.dubs))
            for seed in range(num_seeds)
            if (stored := ladder.stored(row, index, seed)) is not None
        }
        for row in rows
    }
    found = {name: summarize(one, values[rows[0].name]) for name, one in values.items()}
    summaries = {name: summary for name, summary in found.items() if summary is not None}
    times, wholes = stored_times(ladder, rows), stored_wholes(ladder, rows)
    results = Results(description(ladder, rows[0], num_seeds), rows, summaries, times, wholes)
    with atomic_write(ladder.out / "table.md") as temporary:
        temporary.write_text(to_markdown(results), encoding="utf-8")
    write_report(to_json(results), ladder.out / "ladder.json")
    draw(results, ladder.out / "ladder.png")
    write_sheets(ladder, rows)


def write_sheets(ladder: Ladder, rows: Sequence[Row]) -> None:
    """Write a contact sheet per shown dub: the truth, then every measured row."""
    for index, dub in enumerate(ladder.dubs[: ladder.num_sheets]):
        tiles = [ladder.tiles(row, index) for row in rows]
        shown = [one for one in tiles if one is not None]
        if shown:
            truth = dub.truth[tile_frames(len(dub.truth))]
            write_crop_sheet([truth, *shown], ladder.out / f"sheet_{index}.png", tile=128)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = OneLineParser(
        prog="python -m benchmarks.speed_ladder",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for clips, stored results and tables")
    add("--rows", nargs="+", metavar="NAME", help="names of rows.py (default: all), always with the reference")
    add("--reference", default=REFERENCE.name, metavar="NAME", help="row to compare with (default: %(default)s)")
    add("--add_row", type=parse_row, action="append", default=[], metavar="NAME=ARGUMENTS", help="of ./inference.sh")
    add("--dubs", type=int, default=20, help="number of held-out dubs (default: %(default)s)")
    add("--seeds", type=int, default=3, help="number of noise seeds (default: %(default)s)")
    add("--frames", type=int, default=48, help="frames of each dub (default: %(default)s)")
    add("--processes", type=int, default=1, help="processes of one thread each (default: %(default)s)")
    add("--sheets", type=int, default=3, help="number of dubs with a contact sheet (default: %(default)s)")
    add("--time", action="store_true", help="measure the time of all rows again")
    add("--whole", action="store_true", help="also run ./inference.sh on the bundled demo with every row")
    add_weight_arguments(parser)
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--dtype", default="auto", help="auto, float32, bfloat16 or float16")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 2 if an input is invalid."""
    options = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    return run_command(lambda: _main(options), when_stopped="repeat the command to resume")


def _main(options: argparse.Namespace) -> int:
    if min(options.dubs, options.seeds, options.processes) < 1 or options.frames < 32 or options.sheets < 0:
        raise InputError("--dubs, --seeds and --processes must be at least 1, --frames 32, --sheets 0")
    torch.set_num_threads(1)
    rows = [*chosen_rows(options.rows, options.reference), *options.add_row]
    weights = forwarded(options)
    _, build = chosen_build(build_inference_parser().parse_args(weights))
    claim_folder(options.out, PROGRAM, _REMEDY)
    with locked(options.out, f"wait for it, or {_REMEDY}"):
        resolution = build.run.data.resolution
        dubs = make_dubs(options.out / "dubs", options.dubs, options.frames, resolution, options.processes)
        ladder = Ladder(tuple(dubs), tuple(weights), options.out.resolve(), options.sheets)
        rows = ladder.merged(rows)

        def write() -> None:
            write_results(ladder, rows, options.seeds)

        measure_quality(ladder, rows, options.seeds, options.processes, write)
        known = stored_times(ladder, rows)
        untimed = rows if options.time else [row for row in rows if row.name not in known]
        if untimed:
            measure_times(ladder, untimed, rows[0])
        if options.whole:
            for row in rows:
                logger.info("whole command: %s", row.name)
                measure_whole(ladder, row)
        write()
    sys.stdout.write((options.out / "table.md").read_text(encoding="utf-8"))
    return 0


def forwarded(options: argparse.Namespace) -> list[str]:
    """Return the arguments of `./inference.sh` that name weights (by default the demo's), device and dtype.

    Raises:
        InputError: only one of configuration and checkpoint is named.
    """
    config, checkpoint = options.unet_config_path, options.inference_ckpt_path
    if (config is None) != (checkpoint is None):
        raise InputError("--unet_config_path and --inference_ckpt_path belong together: give both or neither")
    config = (config or REPOSITORY_ROOT / DEMO_UNET_CONFIG).resolve()
    checkpoint = (checkpoint or CHECKPOINTS / DEMO_UNET).resolve()
    weights = ["--unet_config_path", str(config), "--inference_ckpt_path", str(checkpoint)]
    return [*weights, "--device", options.device, "--dtype", options.dtype]


def description(ladder: Ladder, reference: Row, num_seeds: int) -> str:
    """Return a sentence that names what the ladder was measured with."""
    build, num_frames = ladder.chosen(reference).build, len(ladder.dubs[0].clip.crops)
    unet = build.unet.relative_to(REPOSITORY_ROOT) if build.unet.is_relative_to(REPOSITORY_ROOT) else build.unet.name
    dtype = str(build.dtype).removeprefix("torch.")
    return (
        f"`{unet}` in {dtype} on {build.device.type}; up to {len(ladder.dubs)} dubs of {num_frames} frames with "
        f"{num_seeds} noise seeds."
    )


if __name__ == "__main__":
    sys.exit(main())
