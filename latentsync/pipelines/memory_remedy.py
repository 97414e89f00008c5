"""What a user can change when lip-syncing runs out of memory."""

import torch

from latentsync.pipelines.options import LipsyncOptions

_SMALL_RESOLUTION = 256


def memory_remedy(
    device: torch.device, dtype: torch.dtype, resolution: int, options: LipsyncOptions | None = None
) -> str:
    """Names the options that would lower the memory of a run, those that cost the least first.

    Args:
        device, dtype: where the networks run, and their number format.
        resolution: side of the crops in pixels.
        options: of the run; None while the networks are loaded.
    """
    changes = []
    if options is not None and options.batch_windows > 1:
        changes.append("--batch_size 1")
    if options is not None and options.vae_batch_size > 1:
        changes.append("--vae_batch_size 1")
    if dtype == torch.float32:
        changes.append("--dtype bfloat16" if device.type == "cpu" else "--dtype float16")
    if resolution > _SMALL_RESOLUTION:
        changes.append("the 256 px weights (source setup_env.sh --version 1.5)")
    if not changes:
        return "close other programs that use its memory" + ("" if device.type == "cpu" else ", or use --device cpu")
    return f"try {' or '.join([', '.join(changes[:-1]), changes[-1]] if len(changes) > 1 else changes)}"
