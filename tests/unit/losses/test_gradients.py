"""Every loss term's gradient at the U-Net's output, in the number formats of each kind of device."""

from pathlib import Path

import pytest

from benchmarks.loss_gradients import TERMS, GradientWindow, compare, vgg16_root
from tests.clamp_gradients import clamp_without_gradient_at_bounds

TIMESTEP = 500


@pytest.fixture(scope="module")
def window() -> GradientWindow:
    return GradientWindow()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vgg16_root(tmp_path_factory.mktemp("vgg16"))


@pytest.mark.parametrize("precision", ["bf16", pytest.param("fp16", marks=pytest.mark.long)])
@pytest.mark.parametrize("term", TERMS)
def test_the_gradient_in_half_precision_is_that_of_float32(
    term: str, precision: str, window: GradientWindow, root: Path
) -> None:
    reference = window.gradient(term, "no", TIMESTEP, root)
    assert reference.isfinite().all()
    assert reference.norm() > 0
    gradient = window.gradient(term, precision, TIMESTEP, root)
    assert gradient.isfinite().all()
    match = compare(gradient, reference)
    assert 0.9 < match.norm_ratio < 1.1
    assert match.cosine >= 0.99


@pytest.mark.parametrize("term", ["sync", "trepa"])
def test_the_gradient_does_not_depend_on_what_clamp_gives_at_its_bounds(
    term: str, window: GradientWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_installed = window.gradient(term, "no", TIMESTEP)
    clamp_without_gradient_at_bounds(monkeypatch)
    match = compare(window.gradient(term, "no", TIMESTEP), as_installed)
    assert match.norm_ratio == pytest.approx(1, rel=1e-3)
    assert match.cosine > 0.9999
