from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from latentsync.app.limits import Limits
from latentsync.app.studio import Studio
from latentsync.errors import InputError
from latentsync.pipelines.options import LipsyncOptions


def test_too_many_steps_are_refused_before_any_file_is_looked_at():
    studio = Studio(cast(Any, SimpleNamespace()), None, LipsyncOptions(), "demo", Limits(max_steps=5))
    with pytest.raises(InputError, match="5 are the most"):
        studio.check(Path("nowhere"), Path("nowhere"), LipsyncOptions(num_inference_steps=6))


def test_every_job_takes_the_servers_vae_batch_size(tmp_path: Path):
    class Stop(Exception):
        pass

    class Pipeline:
        resolution = 64
        model_fps = 25
        device = torch.device("cpu")

        def __call__(self, video: Path, speech: Path, out: Path, options: LipsyncOptions, **others: object) -> None:
            assert options.vae_batch_size == 3
            assert options.seed == 9
            raise Stop

    studio = Studio(cast(Any, Pipeline()), None, LipsyncOptions(vae_batch_size=3), "demo", Limits())
    work = studio.lipsync(Path("nowhere"), Path("nowhere"), LipsyncOptions(seed=9))
    with pytest.raises(Stop):
        work(cast(Any, SimpleNamespace(folder=tmp_path, report=None)))
