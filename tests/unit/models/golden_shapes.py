"""Names and shapes of the published weights, from the compressed golden files."""

import gzip
import json
import math
from pathlib import Path

from torch import nn


def golden_shapes(golden_dir: Path, name: str) -> dict[str, dict[str, list[int]]]:
    return json.loads(gzip.decompress((golden_dir / f"{name}.json.gz").read_bytes()))


def state_shapes(model: nn.Module) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in model.state_dict().items()}


def num_entries(shapes: dict[str, list[int]]) -> int:
    return sum(math.prod(shape) for shape in shapes.values())
