import pytest
import torch

from latentsync.pipelines.memory_remedy import memory_remedy
from latentsync.pipelines.options import LipsyncOptions

CARD, CPU = torch.device("cuda:0"), torch.device("cpu")
LEAST = LipsyncOptions(batch_windows=1, vae_batch_size=1)
SMALL_WEIGHTS = "the 256 px weights (source setup_env.sh --version 1.5)"


@pytest.mark.parametrize(
    ("device", "dtype", "resolution", "options", "expected"),
    [
        (
            CARD,
            torch.float32,
            512,
            LipsyncOptions(batch_windows=2),
            f"try --batch_size 1, --vae_batch_size 1, --dtype float16 or {SMALL_WEIGHTS}",
        ),
        (CARD, torch.float16, 512, LEAST, f"try {SMALL_WEIGHTS}"),
        (CARD, torch.float16, 256, LEAST, "close other programs that use its memory, or use --device cpu"),
        (CPU, torch.float32, 256, LEAST, "try --dtype bfloat16"),
        (CPU, torch.bfloat16, 256, None, "close other programs that use its memory"),
    ],
)
def test_only_what_is_not_so_already_is_advised(device, dtype, resolution: int, options, expected: str):
    assert memory_remedy(device, dtype, resolution, options) == expected
