"""Takes the motion modules out of a U-Net's weights: ``python -m demo.training.spatial_weights IN OUT``.

What is left is the network of stage 1, to go on with it more cheaply; the stage after puts new motion modules in.
"""

import sys
from pathlib import Path

import torch

from latentsync.cli import OneLineParser, run_command
from latentsync.storage.output_file import atomic_output, check_output_file
from latentsync.storage.weight_file import read_weight_file


def write_spatial_weights(source: Path, target: Path) -> int:
    """Copies a checkpoint without its motion modules; returns how many tensors were left out.

    Raises:
        CheckpointError: the source cannot be read.
    """
    content = read_weight_file(source)
    weights = content["state_dict"]
    kept = {name: value for name, value in weights.items() if "motion_modules." not in name}
    with atomic_output(target, "OUT") as beside:
        torch.save({**content, "state_dict": kept}, beside)
    return len(weights) - len(kept)


def main() -> int:
    """Runs the command."""
    parser = OneLineParser(prog="python -m demo.training.spatial_weights", description=__doc__)
    parser.add_argument("source", type=Path, metavar="IN")
    parser.add_argument("target", type=Path, metavar="OUT")
    arguments = parser.parse_args()
    return run_command(lambda: _main(arguments.source, arguments.target))


def _main(source: Path, target: Path) -> int:
    check_output_file(target, [source], "OUT")
    print(f"left out {write_spatial_weights(source, target)} tensors of motion modules")
    return 0


if __name__ == "__main__":
    sys.exit(main())
