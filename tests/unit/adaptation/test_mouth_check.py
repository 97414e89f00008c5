"""Checks that overflow in half precision are repeated in float32."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from latentsync.adaptation import mouth_check
from latentsync.adaptation.check_videos import CheckVideo
from latentsync.adaptation.mouth_check import CheckResult, MouthCheck
from latentsync.errors import NonFiniteError
from latentsync.pipelines.options import LipsyncOptions

RNG = np.random.default_rng(0)
FOOTAGE = CheckVideo(
    "own", RNG.integers(0, 256, (10, 64, 64, 3), dtype=np.uint8), RNG.standard_normal(6400).astype(np.float32), True
)


def openings(crops: np.ndarray) -> np.ndarray:
    """Stand for a reader of mouths."""
    return crops.reshape(len(crops), -1)[:, :2].astype(np.float32)


@pytest.fixture
def check_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[torch.dtype], CheckResult]]:
    """Return a function that runs two checks with networks that overflow in the given data types."""

    def run(*overflowing: torch.dtype) -> tuple[list[torch.dtype], CheckResult]:
        used: list[torch.dtype] = []

        class Dubber:
            def __init__(self, synthesizer: tuple[torch.dtype, torch.dtype], *others: object) -> None:
                self.dtype, codec_dtype = synthesizer
                assert codec_dtype == self.dtype

            def __call__(self, crops: np.ndarray, features: torch.dtype, advance: object) -> np.ndarray:
                assert features == self.dtype
                used.append(self.dtype)
                if self.dtype in overflowing:
                    raise NonFiniteError("the U-Net's result has no numbers")
                return crops

        network = SimpleNamespace(requires_grad_=lambda grad: network.dtype)

        def load_unet(model: object, path: Path, device: torch.device, dtype: torch.dtype, size: int) -> Any:
            network.dtype = dtype
            return network

        replacements: dict[str, object] = {
            "load_unet": load_unet,
            "load_vae": lambda path, device, dtype, decoder: dtype,
            "find_vae": lambda name: name,
            "locate": lambda name: name,
            "load_whisper_encoder": lambda path, device, dtype: dtype,
            "WhisperFeatures": lambda encoder, samples: encoder,
            "WindowSynthesizer": lambda unet, codec, size: (unet, codec),
            "CropDubber": Dubber,
        }
        for name, replacement in replacements.items():
            monkeypatch.setattr(mouth_check, name, replacement)
        configuration = SimpleNamespace(
            model=None, vae="vae", audio=SimpleNamespace(whisper="whisper"),
            data=SimpleNamespace(resolution=64, num_frames=16, video_fps=25),
        )  # fmt: skip
        device = torch.device("cpu")
        check = MouthCheck(
            cast(Any, configuration), LipsyncOptions(2), [FOOTAGE], openings, device, dtype=torch.bfloat16
        )
        check(Path("unet.pt"), 1.0)
        return used, check(Path("unet.pt"), 1.5)

    return run


def test_weights_that_overflow_are_checked_in_float32_from_then_on(
    check_with: Callable[..., tuple[list[torch.dtype], CheckResult]], caplog: pytest.LogCaptureFixture
):
    used, result = check_with(torch.bfloat16)
    assert used == [torch.bfloat16, torch.float32, torch.float32]
    assert "repeated in float32: the U-Net's result has no numbers" in caplog.text
    assert result.guidance_scale == 1.5


def test_weights_that_fit_stay_in_half_precision(check_with: Callable[..., tuple[list[torch.dtype], CheckResult]]):
    assert check_with()[0] == [torch.bfloat16, torch.bfloat16]


def test_weights_without_numbers_in_float32_are_an_error(
    check_with: Callable[..., tuple[list[torch.dtype], CheckResult]],
):
    with pytest.raises(NonFiniteError):
        check_with(torch.bfloat16, torch.float32)
