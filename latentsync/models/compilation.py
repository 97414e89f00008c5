"""Compilation of the U-Net's repeated blocks by torch.compile.

Blocks of the same kind and shapes share one compiled form, so a U-Net needs a few dozen of them for each number of
windows, with and without guidance. Parameter names do not change. Results differ by rounding. Compiled blocks do not
use the fused layers of `latentsync.models.cpu_inference`.
"""

import inspect

import torch

from latentsync.errors import ConfigError
from latentsync.models.unet import UNet3DConditionModel

INDUCTOR = "inductor"
MAX_FORMS = 256
"""Limit on the compiled forms of one function; torch's own of 8 is an error with whole graphs."""


def check_compiler(device: torch.device) -> None:
    """Compile and run a sum on a device, which requires the same tools as compiling the blocks.

    Raises:
        ConfigError: torch.compile does not work.
    """
    try:
        torch.compile(lambda x: x + 1, fullgraph=True)(torch.zeros(8, device=device))
    except Exception as error:
        needed = "Triton and a C compiler" if device.type == "cuda" else "a C++ compiler such as g++"
        remedy = f"install {needed}, or omit --compile"
        raise ConfigError(f"torch.compile does not work on {device}: {remedy} ({_cause(error)})") from error


def compile_blocks(unet: UNet3DConditionModel, backend: str = INDUCTOR, mode: str | None = None) -> None:
    """Replace the repeated blocks by forms that are compiled when inputs of new shapes first reach them.

    Args:
        unet: the network; its other layers run as they are.
        backend, mode: of torch.compile. Modes with CUDA graphs are not supported: the skips would be overwritten.
    """
    import torch._dynamo.config as limits  # torch's compiler, which only --compile needs

    limits.cache_size_limit = max(limits.cache_size_limit, MAX_FORMS)
    # Recent releases of torch apply that to this thread only, and the pipeline predicts in another one.
    has_own_limit = "recompile_limit" in inspect.signature(torch.compile).parameters
    own_limit = {"recompile_limit": MAX_FORMS} if has_own_limit else {}
    unet.compile_repeated_blocks(fullgraph=True, dynamic=False, backend=backend, mode=mode, **own_limit)


def _cause(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
