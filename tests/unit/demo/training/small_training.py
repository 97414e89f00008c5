"""Settings of a demo training of a few steps."""

from pathlib import Path
from typing import Any

from demo.training.demo_network import DemoDataConfig
from latentsync.training.trainer_config import OptimizerConfig, TrainerConfig


def small_run(clips: Path, run_dir: Path, max_steps: int, batch_size: int, **settings: Any) -> dict[str, Any]:
    """Return the sections `data` and `training` of a root configuration: Muon on the CPU, one thread."""
    matrix_lr, plain_names = settings.pop("matrix_lr", 1e-2), settings.pop("plain_names", [])
    training = TrainerConfig(
        run_dir=str(run_dir),
        max_steps=max_steps,
        batch_size=batch_size,
        num_workers=0,
        num_threads=1,
        device="cpu",
        optimizer=OptimizerConfig("muon", 2e-3, matrix_lr, weight_decay=0.0, plain_names=plain_names),
        **settings,
    )
    return {"data": DemoDataConfig(str(clips), str(clips)), "training": training}
