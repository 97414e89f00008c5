"""Remove the motion modules from a U-Net's weights: ``python -m demo.training.spatial_weights IN OUT``.

The result is a network of stage 1, which is cheaper to train further; the next stage adds new motion modules.
"""

import sys
from pathlib import Path

import torch

from latentsync.cli import OneLineParser, run_command
from latentsync.storage.output_file import atomic_output, check_output_file
from latentsync.storage.weight_file import read_weight_file


def write_spatial_weights(source: Path, target: Path) -> int:
    """Copy a checkpoint without its motion modules; return the number of removed tensors.

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
    """Run the command."""
    parser = OneLineParser(prog="python -m demo.training.spatial_weights", description=__doc__)
    parser.add_argument("source", type=Path, metavar="IN")
    parser.add_argument("target", type=Path, metavar="OUT")
    arguments = parser.parse_args()
    return run_command(lambda: _main(arguments.source, arguments.target))


def _main(source: Path, target: Path) -> int:
    check_output_file(target, [source], "OUT")
    print(f"removed {write_spatial_weights(source, target)} tensors of motion modules")
    return 0


if __name__ == "__main__":
    sys.exit(main())
