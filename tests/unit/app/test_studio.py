from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from latentsync.app.limits import Limits
from latentsync.app.studio import Studio
from latentsync.errors import InputError
from latentsync.pipelines.options import LipsyncOptions


def test_too_many_steps_are_refused_before_any_file_is_looked_at():
    studio = Studio(cast(Any, SimpleNamespace()), None, LipsyncOptions(), "demo", Limits(max_steps=5))
    with pytest.raises(InputError, match="5 are the most"):
        studio.check(Path("nowhere"), Path("nowhere"), LipsyncOptions(num_inference_steps=6))
