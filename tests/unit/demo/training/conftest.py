"""Clips that the tests of the demo trainings share."""

from pathlib import Path

import pytest

from tests.unit.eval.demo_weights.clips import write_clips


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), 2)
