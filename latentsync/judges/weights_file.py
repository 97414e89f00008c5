"""Reading the weights of judges: without running code from the file, and demanding every name and shape."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from latentsync.errors import CheckpointError
from latentsync.storage.weight_file import check_archive, check_kinds, plain_tensors


def read_weights_file(path: Path, wrappers: Sequence[str] = ()) -> dict:
    """The content of a file that torch.save wrote, on the CPU.

    Args:
        path: the file.
        wrappers: keys under which the content proper may lie; the first that is there is opened.

    Raises:
        CheckpointError: it is missing, damaged, or holds anything but plain data by name.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: run python -m scripts.download_weights --training, or name another")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged or hostile bytes fail inside torch.load in many ways
        raise CheckpointError(f"{path} is damaged or unsafe to load: download it again") from error
    check_archive(path)
    for wrapper in wrappers:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds no weights by name: download it again")
    return dict(content)


def fill_network(network: nn.Module, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Gives the network, which may be on the meta device, exactly these weights.

    Raises:
        CheckpointError: a name is missing or unknown, or a shape is another; `path` is named.
    """
    expected = network.state_dict()
    faults = {
        "lacks": [name for name in expected if name not in weights],
        "has unknown": [name for name in weights if name not in expected],
        "has another shape in": [
            name
            for name, tensor in expected.items()
            if name in weights and getattr(weights[name], "shape", None) != tensor.shape
        ],
    }
    for what, names in faults.items():
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise CheckpointError(f"{path} {what} {names[0]}{more}: it is not the network expected, download it again")
    check_kinds(expected, weights, path)
    network.load_state_dict(plain_tensors(weights, path), assign=True)
